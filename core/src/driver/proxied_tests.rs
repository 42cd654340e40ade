//! The adapter on the simulated network, and the conformance suite through it.

use std::os::fd::OwnedFd;

use super::*;
use crate::driver::DriverLimits;
use crate::driver::conformance::{Make, prove};
use crate::driver::epoll::{EpollDriver, EpollOptions};
use crate::driver::sim::{Read, Rng, SimDriver, SimNet, SimOptions, SimSocket};
use crate::driver::uring::{UringDriver, UringOptions};

const TIMEOUT_NS: u64 = 10_000_000_000;
const PROXY: &str = "192.0.2.1:4000";

/// A header that names an IPv4 client.
fn header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[10, 0, 0, 1, 0x12, 0x34, 0x23, 0x29]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".as_slice(), &addresses].concat()
}

fn options(is_proxied: Vec<bool>, headings_max: usize) -> ProxyOptions {
    let trusts: Trusts =
        Arc::new(|peer| peer.is_some_and(|peer| peer.ip() == PROXY.parse::<SocketAddr>().unwrap().ip()));
    ProxyOptions { is_proxied, trusts, headings_max, timeout_ns: TIMEOUT_NS }
}

struct Rig {
    net: SimNet,
    driver: Proxied<SimDriver>,
}

impl Rig {
    fn new(headings_max: usize) -> Self {
        Self::with(SimOptions::calm(), headings_max)
    }

    fn with(options_of_net: SimOptions, headings_max: usize) -> Self {
        let net = SimNet::new(1, options_of_net);
        let mut driver = Proxied::new(net.driver(0), options(vec![true], headings_max));
        driver.accept_while_below(u32::MAX);
        Rig { net, driver }
    }

    fn connect(&self) -> SimSocket {
        self.net.connect_from(0, PROXY.parse().unwrap())
    }

    /// What two turns tell (what is accepted in one is read in the next): accepted peers, bytes, ends.
    fn turn(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..2 {
            self.driver.turn(Wait::No, &mut events).unwrap();
        }
        let mut told = Vec::new();
        for event in events {
            told.push(match event {
                Event::Accepted { listener, peer, .. } => format!("accepted {listener} {peer:?}"),
                Event::Received { buf, .. } => {
                    let text = format!("received {}", String::from_utf8_lossy(buf.filled()));
                    self.driver.give_back(buf);
                    text
                }
                Event::End { error, .. } => format!("end {error:?}"),
                other => format!("{other:?}"),
            });
        }
        assert_eq!(self.driver.headings(), self.driver.stages.len(), "what is left of closed ones");
        told
    }

    fn refused(&self) -> u64 {
        self.driver.counters().proxy_refused
    }
}

fn is_gone(socket: &SimSocket) -> bool {
    matches!(socket.read(1, &mut Vec::new()), Read::End | Read::Reset)
}

#[test]
fn a_connection_is_told_of_with_its_client_and_what_follows_the_header() {
    for cut in 0..=header([203, 0, 113, 7]).len() {
        let mut rig = Rig::new(4);
        let socket = rig.connect();
        let header = header([203, 0, 113, 7]);
        socket.write(&header[..cut]);
        let mut told = rig.turn();
        assert!(told.is_empty() || cut == header.len(), "{cut}: {told:?}");
        socket.write(&[&header[cut..], b"GET"].concat());
        told.extend(rig.turn());
        assert_eq!(told, ["accepted 0 Some(203.0.113.7:4660)", "received GET"], "{cut}");
        socket.write(b" /");
        assert_eq!(rig.turn(), ["received  /"]);
        socket.shutdown();
        assert_eq!(rig.turn(), ["end None"]);
        assert_eq!(rig.refused(), 0);
    }
}

#[test]
fn header_request_and_end_at_once_are_all_told_in_their_order() {
    let mut rig = Rig::new(4);
    let socket = rig.connect();
    socket.write(&[&header([1, 2, 3, 4])[..], b"GET"].concat());
    socket.shutdown();
    assert_eq!(rig.turn(), ["accepted 0 Some(1.2.3.4:4660)", "received GET", "end None"]);
}

#[test]
fn a_proxy_speaks_for_itself_or_for_somebody_whose_address_it_cannot_say() {
    for (bytes, told) in [
        (&b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"[..], format!("accepted 0 Some({PROXY})")),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00", "accepted 0 None".to_owned()),
    ] {
        let mut rig = Rig::new(4);
        let socket = rig.connect();
        socket.write(bytes);
        assert_eq!(rig.turn(), [told]);
    }
}

#[test]
fn who_is_not_trusted_is_closed_whatever_it_says() {
    let mut rig = Rig::new(4);
    let socket = rig.net.connect_from(0, "198.51.100.1:1".parse().unwrap());
    socket.write(&[&header([203, 0, 113, 7])[..], b"GET"].concat());
    assert!(rig.turn().is_empty());
    assert!(is_gone(&socket));
    assert_eq!((rig.refused(), rig.driver.headings(), rig.net.open_slots(0)), (1, 0, 0));
}

#[test]
fn what_is_no_header_is_closed_at_its_first_wrong_byte() {
    for bytes in
        [&b"G"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", &[0xFF; 5000]]
    {
        let mut rig = Rig::new(4);
        let socket = rig.connect();
        socket.write(bytes);
        socket.shutdown();
        assert!(rig.turn().is_empty(), "{bytes:?}");
        assert!(is_gone(&socket));
        assert_eq!((rig.refused(), rig.net.open_slots(0), rig.net.buffers_lent(0)), (1, 0, 0), "{bytes:?}");
    }
}

#[test]
fn a_header_has_its_time_and_not_a_nanosecond_more() {
    for begun in [&b""[..], b"\r\n\r\n"] {
        let mut rig = Rig::new(4);
        let socket = rig.connect();
        assert!(rig.turn().is_empty());
        let came_ns = rig.net.now_ns();
        rig.net.advance_to(came_ns + TIMEOUT_NS / 2);
        socket.write(begun);
        rig.net.advance_to(came_ns + TIMEOUT_NS - 1);
        assert!(rig.turn().is_empty());
        assert_eq!(rig.driver.headings(), 1);
        assert_eq!(
            rig.driver.wait_at_most(Wait::Until(u64::MAX)),
            Wait::Until(came_ns + TIMEOUT_NS),
            "it wakes for it"
        );
        assert_eq!(rig.driver.wait_at_most(Wait::Until(1)), Wait::Until(1));
        assert_eq!(rig.driver.wait_at_most(Wait::No), Wait::No);
        rig.net.advance_to(came_ns + TIMEOUT_NS);
        assert!(rig.turn().is_empty());
        assert!(is_gone(&socket));
        assert_eq!((rig.refused(), rig.driver.headings(), rig.net.open_slots(0)), (1, 0, 0));
        assert_eq!(rig.driver.wait_at_most(Wait::Until(u64::MAX)), Wait::Until(u64::MAX));
    }
}

#[test]
fn so_many_may_be_without_a_header_and_one_more_makes_the_oldest_go() {
    let mut rig = Rig::new(3);
    let sockets: Vec<SimSocket> = (0..3)
        .map(|_| {
            let socket = rig.connect();
            rig.turn();
            socket
        })
        .collect();
    assert_eq!((rig.driver.headings(), rig.refused()), (3, 0));
    let newcomer = rig.connect();
    rig.turn();
    assert_eq!((rig.driver.headings(), rig.refused()), (3, 1));
    assert!(is_gone(&sockets[0]) && !is_gone(&sockets[1]));
    newcomer.write(&header([1, 2, 3, 4]));
    assert_eq!(rig.turn(), ["accepted 0 Some(1.2.3.4:4660)"]);
    // One is told of, so that there is room for one.
    let _another = rig.connect();
    rig.turn();
    assert_eq!((rig.driver.headings(), rig.refused()), (3, 1));
}

#[test]
fn who_ends_before_its_header_is_whole_is_not_told_of_and_not_refused() {
    for begun in [&b""[..], b"\r\n\r\n"] {
        let mut rig = Rig::new(4);
        let socket = rig.connect();
        socket.write(begun);
        rig.turn();
        socket.shutdown();
        assert!(rig.turn().is_empty());
        assert_eq!((rig.refused(), rig.driver.headings(), rig.net.open_slots(0)), (0, 0, 0));
    }
}

#[test]
fn a_slot_that_was_closed_is_another_connections_in_the_next_turn() {
    let limits = DriverLimits { slots: 1, recv_buffers: 4, recv_bytes: 4096, events_per_turn: 16 };
    let mut rig = Rig::with(SimOptions { limits, ..SimOptions::calm() }, 4);
    for _ in 0..3 {
        let bad = rig.connect();
        bad.write(b"bad");
        bad.shutdown();
        assert!(rig.turn().is_empty());
        let good = rig.connect();
        good.write(&header([1, 2, 3, 4]));
        assert_eq!(rig.turn(), ["accepted 0 Some(1.2.3.4:4660)"]);
        good.close();
        assert_eq!(rig.turn(), ["end None"]);
        rig.driver.close(Slot(0));
    }
    assert_eq!(rig.refused(), 3);
}

/// Clients of every kind on a network with every fault: each that is told of is the one that its header names, and has said what
/// it has said.
fn chaos(seed: u64) {
    let mut rng = Rng::new(seed);
    let options_of_net = SimOptions { peer_unknown: 0, ..SimOptions::seeded(&mut rng) };
    let headings_max = 1 + rng.below(4) as usize;
    let mut rig = Rig::with(options_of_net, headings_max);
    let mut clients: Vec<(SimSocket, Vec<u8>, usize)> = Vec::new();
    let mut open: HashMap<u32, (u8, usize)> = HashMap::new();
    for _ in 0..3_000 {
        if clients.len() < 40 && rng.chance(50) {
            let number = clients.len() as u8;
            let peer = if rng.chance(800) { PROXY } else { "198.51.100.1:1" };
            let mut script = header([number, 0, 0, 1]);
            if rng.chance(200) {
                let at = rng.index(12);
                script[at] ^= 1 << rng.below(8);
            }
            script.extend((0..200u32).map(|n| (n as u8).wrapping_mul(number)));
            clients.push((rig.net.connect_from(0, peer.parse().unwrap()), script, 0));
        }
        for (socket, script, at) in &mut clients {
            if *at < script.len() && rng.chance(300) {
                let most = rng.between(1, (script.len() - *at) as u64) as usize;
                *at += socket.write(&script[*at..*at + most]).unwrap_or(0);
            }
        }
        rig.net.advance_to(rig.net.now_ns() + rng.skewed(1_000_000_000));
        let mut events = Vec::new();
        rig.driver.turn(Wait::No, &mut events).unwrap();
        for event in events {
            match event {
                Event::Accepted { slot, peer, .. } => {
                    let Some(SocketAddr::V4(peer)) = peer else { panic!("{peer:?}") };
                    assert_eq!(peer.ip().octets()[1..], [0, 0, 1]);
                    assert_eq!(open.insert(slot.0, (peer.ip().octets()[0], 0)), None, "accepted twice");
                }
                Event::Received { slot, buf } => {
                    let (number, seen) = open.get_mut(&slot.0).expect("nothing is told of a slot that is not accepted");
                    for &byte in buf.filled() {
                        assert_eq!(byte, (*seen as u8).wrapping_mul(*number));
                        *seen += 1;
                    }
                    rig.driver.give_back(buf);
                }
                Event::End { slot, .. } => {
                    open.remove(&slot.0).expect("nothing is told of a slot that is not accepted");
                    rig.driver.close(slot);
                }
                _ => {}
            }
        }
        assert!(rig.driver.headings() <= headings_max);
        assert_eq!(rig.net.open_slots(0) as usize, open.len() + rig.driver.headings());
    }
    rig.net.advance_to(rig.net.now_ns() + 2 * TIMEOUT_NS);
    (0..8).for_each(|_| _ = rig.driver.turn(Wait::No, &mut Vec::new()));
}

#[test]
fn headers_name_their_clients_under_every_fault() {
    for seed in 0..200 {
        if let Err(panic) = std::panic::catch_unwind(|| chaos(seed)) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Connections of other listeners than the proxied one.
mod beside_epoll {
    use super::*;

    struct Beside;

    impl Make for Beside {
        type Driver = Proxied<EpollDriver>;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<Self::Driver> {
            let driver = EpollDriver::new(limits, listeners, &EpollOptions::default())?;
            Ok(Proxied::new(driver, options(vec![false, false, true], 4)))
        }
    }

    prove!(Beside);
}

mod beside_uring {
    use super::*;

    struct Beside;

    impl Make for Beside {
        type Driver = Proxied<UringDriver>;

        fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<Self::Driver> {
            let driver = UringDriver::new(limits, listeners, &UringOptions::default())?;
            Ok(Proxied::new(driver, options(vec![false, false, true], 4)))
        }
    }

    prove!(Beside);
}
