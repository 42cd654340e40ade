//! What every real driver promises, proved on loopback for each of them by the same tests.
//!
//! Clients are plain `std` sockets. Waiting is bounded by a watchdog that only a hang can reach.
#![allow(clippy::disallowed_methods, reason = "test threads sleep to let the kernel or another thread get ahead")]

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

pub use crate::driver::*;
pub use crate::sys::socket::{ListenOptions, listen, local_addr};

mod accepting;
mod receiving;
mod sending;
mod turning;

pub use accepting::*;
pub use receiving::*;
pub use sending::*;
pub use turning::*;

const WATCHDOG_NS: u64 = 30_000_000_000;

/// Makes a driver of one kind.
pub trait Make {
    type Driver: Driver;
    fn make(limits: &DriverLimits, listeners: Vec<OwnedFd>) -> io::Result<Self::Driver>;
}

pub struct Rig<D: Driver> {
    pub driver: D,
    pub addr: SocketAddr,
    pub accepted: Vec<Slot>,
    pub ended: Vec<(Slot, Option<i32>)>,
    pub writable: Vec<Slot>,
    /// Bytes received, by slot; emptied when a slot is accepted anew.
    pub received: Vec<Vec<u8>>,
    pub woken: usize,
    events: Vec<Event>,
}

pub fn limits(slots: u32) -> DriverLimits {
    DriverLimits { slots, recv_buffers: 64, recv_bytes: 4096, events_per_turn: 256 }
}

pub fn listener() -> OwnedFd {
    listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
}

impl<D: Driver> Rig<D> {
    pub fn over(driver: D, addr: SocketAddr, slots: u32) -> Self {
        Rig {
            driver,
            addr,
            accepted: Vec::new(),
            ended: Vec::new(),
            writable: Vec::new(),
            received: vec![Vec::new(); slots as usize],
            woken: 0,
            events: Vec::new(),
        }
    }

    pub fn new<M: Make<Driver = D>>(limits: &DriverLimits) -> Self {
        let listener = listener();
        let addr = local_addr(&listener).unwrap();
        let mut rig = Rig::over(M::make(limits, vec![listener]).unwrap(), addr, limits.slots);
        rig.driver.accept_while_below(limits.slots);
        rig
    }

    /// One turn of at most 5 ms; the buffers go back at once.
    pub fn turn(&mut self) {
        let deadline = self.driver.now_ns() + 5_000_000;
        self.turn_for(Wait::Until(deadline));
    }

    pub fn turn_for(&mut self, wait: Wait) {
        let mut events = std::mem::take(&mut self.events);
        self.driver.turn(wait, &mut events).unwrap();
        for event in events.drain(..) {
            match event {
                Event::Accepted { slot, peer, .. } => {
                    assert!(peer.is_some_and(|peer| peer.ip().is_loopback()), "{peer:?}");
                    self.received[slot.0 as usize].clear();
                    self.accepted.push(slot);
                }
                Event::Received { slot, buf } => {
                    assert!(!buf.filled().is_empty() && buf.start >= RECV_HEADROOM);
                    self.received[slot.0 as usize].extend_from_slice(buf.filled());
                    self.driver.give_back(buf);
                }
                Event::End { slot, error } => self.ended.push((slot, error)),
                Event::Writable { slot } => self.writable.push(slot),
                Event::Worn { slot } => panic!("{slot:?} has no keys"),
                Event::Woken => self.woken += 1,
            }
        }
        self.events = events;
    }

    pub fn turn_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = crate::sys::clock::monotonic_ns() + WATCHDOG_NS;
        while !done(self) {
            self.turn();
            assert!(crate::sys::clock::monotonic_ns() < deadline, "never happened: {what}");
        }
    }

    /// Some turns in which nothing is expected.
    pub fn settle(&mut self) {
        for _ in 0..6 {
            self.turn();
        }
    }

    pub fn connect(&mut self) -> (TcpStream, Slot) {
        let before = self.accepted.len();
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        self.turn_until("accept", |rig| rig.accepted.len() > before);
        (client, *self.accepted.last().unwrap())
    }

    pub fn send(&mut self, slot: Slot, bytes: &[u8]) -> Sent {
        let mut batch = SendBatch::new();
        batch.push_one(slot, bytes);
        let mut results = SendResults::new();
        self.driver.send(&batch, &mut results);
        assert_eq!(results.len(), 1);
        results[0]
    }

    /// Sends all of it, waiting for room as a shard does.
    pub fn send_all(&mut self, slot: Slot, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.send(slot, bytes) {
                Sent::Bytes(count) => bytes = &bytes[count..],
                Sent::Blocked => self.wait_writable(slot),
                Sent::Failed(errno) => panic!("send failed with errno {errno}"),
            }
        }
    }

    pub fn wait_writable(&mut self, slot: Slot) {
        self.writable.retain(|&s| s != slot);
        self.driver.want_writable(slot);
        self.turn_until("writable", |rig| rig.writable.contains(&slot));
    }
}

/// FIN or RST, not silence: reads to the end.
pub fn assert_closed(client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = Vec::new();
    match client.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// Bytes without a period.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Fills the socket until it stays full.
pub fn fill<D: Driver>(rig: &mut Rig<D>, slot: Slot) {
    let chunk = vec![0; 64 << 10];
    // The kernel may take more a moment after it took nothing: full is what stays so.
    let mut blocked = 0;
    while blocked < 20 {
        match rig.send(slot, &chunk) {
            Sent::Bytes(_) => blocked = 0,
            Sent::Blocked => {
                blocked += 1;
                thread::sleep(Duration::from_millis(2));
            }
            Sent::Failed(errno) => panic!("errno {errno}"),
        }
    }
}

/// Closes with RST.
pub fn reset(client: TcpStream) {
    rustix::net::sockopt::set_socket_linger(client.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(client);
}

/// Runs `test` of this module, an ignored one, in a process of its own: for what changes the whole process.
pub fn in_own_process(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1", test])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// All of the above for one driver.
macro_rules! prove {
    ($make:ty, [$($test:ident),* $(,)?]) => {
        $(#[test]
        fn $test() {
            $crate::driver::conformance::$test::<$make>();
        })*

        #[test]
        #[ignore = "changes the process's limits: run by the test of the same name"]
        fn own_process_descriptors() {
            $crate::driver::conformance::running_out_of_descriptors_is_survived::<$make>();
        }

        #[test]
        fn running_out_of_descriptors_is_survived() {
            let path = module_path!().split_once("::").unwrap().1;
            $crate::driver::conformance::in_own_process(&format!("{path}::own_process_descriptors"));
        }
    };
    ($make:ty) => {
        $crate::driver::conformance::prove!($make, [
            accepts_and_echoes,
            a_batch_is_answered_in_order,
            short_sends_deliver_a_blob_byte_for_byte,
            gathered_short_sends_deliver_byte_for_byte,
            writable_is_reported_once_for_each_request,
            room_made_before_the_request_is_not_missed,
            a_peer_that_has_ended_and_takes_nothing_keeps_nobody_busy,
            a_thousand_connections_are_served,
            every_close_is_seen_by_the_peer,
            dropping_the_driver_closes_everything,
            a_full_table_leaves_the_rest_in_the_backlog,
            the_limit_on_accepts_moves_both_ways,
            stop_listening_takes_the_backlog_and_no_more,
            stop_listening_with_a_full_table_still_closes,
            two_listeners_are_both_served,
            a_listener_that_is_left_goes_on_listening_for_another,
            ipv6_peers_are_named,
            few_buffers_starve_nobody,
            buffers_on_loan_outlive_the_connection,
            a_reused_slot_never_speaks_for_its_predecessor,
            a_wake_is_never_lost,
            a_wait_ends_at_its_deadline_and_not_before,
            pausing_loses_nothing,
            a_peer_that_goes_is_noticed_though_it_is_not_read,
            after_the_peers_fin_we_can_still_send,
            after_our_fin_we_still_receive,
            a_reset_is_reported_once,
            a_burst_ending_in_fin_is_read_to_its_end,
            a_busy_connection_leaves_room_for_others,
            a_turn_reports_no_more_than_its_limit,
        ]);
    };
}
pub(crate) use prove;
