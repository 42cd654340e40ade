//! TLS over simulated sockets: whatever the network does, content arrives whole, in order, and once.

use std::io::{IoSlice, Read as _, Write as _};
use std::sync::Arc;

use fanwire_tls::{AcceptorConfig, ClientCertificates, HEADER_BYTES, Identity, Version};
use rustls::crypto::ring::{ALL_CIPHER_SUITES, default_provider};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

mod limits;

use super::*;
use crate::driver::sim::{Read, Rng, SimDriver, SimNet, SimOptions, SimSocket};
use crate::driver::{DriverLimits, Sent};

const HELD: usize = 1 << 20;
const SEEDS: u64 = 60;

/// A certificate, and what trusts it.
struct Authority {
    acceptors: Arc<Acceptors>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let (identity, certificate) = identity();
        Self { acceptors: Arc::new(Acceptors::new(acceptor(identity))), certificate }
    }

    fn client(&self, suites: &[SupportedCipherSuite]) -> ClientConnection {
        client(&self.certificate, suites)
    }

    fn over(&self, net: &SimNet, held_bytes_max: usize) -> Tls<SimDriver> {
        let limits = net.limits();
        let options = TlsOptions {
            is_tls: vec![true],
            acceptors: self.acceptors.clone(),
            slots: limits.slots,
            events_per_turn: limits.events_per_turn,
            held_bytes_max,
        };
        Tls::new(net.driver(0), options)
    }
}

fn identity() -> (Identity, CertificateDer<'static>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let identity = Identity { chain_pem: cert.pem().into(), key_pem: signing_key.serialize_pem().into() };
    (identity, cert.der().clone())
}

fn acceptor(identity: Identity) -> Acceptor {
    let config = AcceptorConfig {
        identities: vec![identity],
        client_ca_pem: None,
        client_certificates: ClientCertificates::Ignored,
        version_min: Version::V12,
    };
    Acceptor::new(&config).expect("a good certificate")
}

fn client(certificate: &CertificateDer<'static>, suites: &[SupportedCipherSuite]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let provider = rustls::crypto::CryptoProvider { cipher_suites: suites.to_vec(), ..default_provider() };
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    client.set_buffer_limit(None);
    client
}

/// The smallest shard: echoes every byte, in gathered sends, and closes in good order when its peer has ended.
struct Echo {
    driver: Tls<SimDriver>,
    events: Vec<Event>,
    /// Bytes still to be sent, by slot.
    queued: Vec<Option<Vec<u8>>>,
    blocked: Vec<bool>,
    ended: Vec<Option<Option<i32>>>,
    has_said_close: Vec<bool>,
    most_events: usize,
}

impl Echo {
    fn new(mut driver: Tls<SimDriver>) -> Self {
        driver.accept_while_below(u32::MAX);
        let slots = 64;
        Echo {
            driver,
            events: Vec::new(),
            queued: vec![None; slots],
            blocked: vec![false; slots],
            ended: vec![None; slots],
            has_said_close: vec![false; slots],
            most_events: 0,
        }
    }

    fn close(&mut self, slot: usize) {
        self.driver.close(Slot(slot as u32));
        self.queued[slot] = None;
    }

    fn turn(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.driver.turn(Wait::Until(u64::MAX), &mut events).expect("the sim driver never fails");
        self.most_events = self.most_events.max(events.len());
        for event in events.drain(..) {
            match event {
                Event::Accepted { slot, .. } => {
                    let slot = slot.0 as usize;
                    assert!(self.queued[slot].is_none(), "slot {slot} accepted twice");
                    self.queued[slot] = Some(Vec::new());
                    (self.blocked[slot], self.ended[slot], self.has_said_close[slot]) = (false, None, false);
                }
                Event::Received { slot, buf } => {
                    assert!(self.ended[slot.0 as usize].is_none(), "bytes after the end");
                    assert!(!buf.filled().is_empty() && buf.start >= crate::driver::RECV_HEADROOM);
                    if let Some(queued) = &mut self.queued[slot.0 as usize] {
                        queued.extend_from_slice(buf.filled());
                    }
                    self.driver.give_back(buf);
                }
                Event::End { slot, error } => {
                    let slot = slot.0 as usize;
                    assert!(self.ended[slot].is_none(), "two ends");
                    self.ended[slot] = Some(error);
                    if error.is_some() && self.queued[slot].is_some() {
                        self.close(slot);
                    }
                }
                Event::Writable { slot } => self.blocked[slot.0 as usize] = false,
                Event::Worn { .. } => panic!("no key is used up here"),
                Event::Woken => {}
            }
        }
        self.events = events;
        (0..self.queued.len()).for_each(|slot| self.send_queued(slot));
    }

    fn send_queued(&mut self, slot: usize) {
        let Some(queued) = &mut self.queued[slot] else { return };
        if self.blocked[slot] {
            return;
        }
        if queued.is_empty() {
            if self.ended[slot].is_some() {
                if !std::mem::replace(&mut self.has_said_close[slot], true) {
                    self.driver.shutdown_write(Slot(slot as u32));
                } else {
                    self.close(slot);
                }
            }
            return;
        }
        let mut results = SendResults::new();
        {
            let mut batch = SendBatch::new();
            let (front, back) = queued.split_at(queued.len() / 3);
            if front.is_empty() {
                batch.push_one(Slot(slot as u32), back);
            } else {
                batch.push(Slot(slot as u32), &[IoSlice::new(front), IoSlice::new(back)]);
            }
            self.driver.send(&batch, &mut results);
        }
        match results[0] {
            Sent::Bytes(taken) => {
                assert!(taken > 0 && taken <= queued.len());
                let is_whole = taken == queued.len();
                queued.drain(..taken);
                if !is_whole {
                    self.blocked[slot] = true;
                    self.driver.want_writable(Slot(slot as u32));
                }
            }
            Sent::Blocked => {
                self.blocked[slot] = true;
                self.driver.want_writable(Slot(slot as u32));
            }
            Sent::Failed(_) => self.close(slot),
        }
    }

    /// Steps until nothing is due and clients (`between`) move nothing; time moves on for what is late.
    fn settle(&mut self, net: &SimNet, mut between: impl FnMut() -> bool) {
        let mut idle = 0;
        for _ in 0..200_000 {
            self.turn();
            let has_moved = between();
            idle += 1;
            if has_moved || net.is_due(0) || self.driver.has_work() {
                idle = 0;
            }
            // A client may answer in its next step what it has read in this one.
            if idle < 3 {
                continue;
            }
            idle = 0;
            let lingers = self.driver.lingering.front().map(|(until_ns, _)| *until_ns);
            match net.next_due(0).into_iter().chain(lingers).min() {
                Some(due) => net.advance_to(due),
                None => return,
            }
        }
        panic!("it never comes to rest");
    }
}

/// A TLS client on a simulated socket.
struct Peer {
    socket: SimSocket,
    tls: ClientConnection,
    unsent: Vec<u8>,
    heard: Vec<u8>,
    /// `Ok`: `close_notify`, and then the end.
    ended: Option<Result<(), Read>>,
}

impl Peer {
    fn new(socket: SimSocket, tls: ClientConnection) -> Self {
        Peer { socket, tls, unsent: Vec::new(), heard: Vec::new(), ended: None }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).expect("it is kept");
    }

    /// Moves bytes both ways, at most `most` at once. False: there were none.
    fn step(&mut self, most: usize) -> bool {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.unsent).expect("memory takes all");
        }
        let now = self.unsent.len().min(most);
        let taken = if now > 0 { self.socket.write(&self.unsent[..now]).unwrap_or(0) } else { 0 };
        self.unsent.drain(..taken);
        let mut bytes = Vec::new();
        let read = self.socket.read(most, &mut bytes);
        let mut left = &bytes[..];
        while !left.is_empty() {
            self.tls.read_tls(&mut left).expect("it has room");
            let state = self.tls.process_new_packets().expect("good records");
            let mut content = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut content).expect("that much is there");
            self.heard.extend(content);
        }
        if matches!(read, Read::End | Read::Reset) && self.ended.is_none() {
            self.ended = Some(if matches!(self.tls.reader().read(&mut [0; 1]), Ok(0)) { Ok(()) } else { Err(read) });
        }
        taken + bytes.len() > 0
    }
}

fn echo_everything(authority: &Authority, seed: u64, options: SimOptions, lengths: &[usize]) {
    let mut rng = Rng::new(seed);
    let net = SimNet::new(seed, options);
    let mut echo = Echo::new(authority.over(&net, HELD));
    let mut peers = Vec::new();
    for (n, &length) in lengths.iter().enumerate() {
        let suite = ALL_CIPHER_SUITES[n % ALL_CIPHER_SUITES.len()];
        // The certificate is of an elliptic curve: suites for RSA are not agreed.
        let suite = if format!("{:?}", suite.suite()).contains("RSA") { ALL_CIPHER_SUITES[n % 3] } else { suite };
        let mut peer = Peer::new(net.connect(0), authority.client(&[suite]));
        let said: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        peer.say(&said);
        peers.push((peer, said, false));
    }
    let most = 1 + rng.index(20_000);
    echo.settle(&net, || {
        let mut has_moved = false;
        for (peer, said, has_closed) in &mut peers {
            has_moved |= peer.step(most);
            if peer.heard.len() == said.len() && !peer.tls.is_handshaking() && !*has_closed {
                *has_closed = true;
                peer.tls.send_close_notify();
                has_moved = true;
            }
        }
        has_moved
    });
    assert!(echo.most_events <= net.limits().events_per_turn + 64);
    if net.has_resets() {
        return;
    }
    for (n, (peer, said, _)) in peers.iter().enumerate() {
        assert_eq!(peer.heard.len(), said.len(), "seed {seed}, client {n}");
        assert!(peer.heard == *said, "seed {seed}, client {n}");
        assert_eq!(peer.ended, Some(Ok(())), "seed {seed}, client {n}: close_notify");
    }
    assert!(echo.queued.iter().all(Option::is_none), "seed {seed}: all are closed");
    assert_eq!(echo.driver.held.bytes(), 0, "seed {seed}: nothing is held");
    assert_eq!(net.open_slots(0), 0, "seed {seed}");
}

#[test]
fn content_arrives_whole_under_every_fault() {
    let authority = Authority::new();
    for seed in 0..SEEDS {
        let options = SimOptions::seeded(&mut Rng::new(seed));
        let options = SimOptions { failed_send: 0, reset: 0, ..options };
        let events_per_turn = options.limits.events_per_turn.max(8);
        let limits = DriverLimits { events_per_turn, slots: 64, ..options.limits };
        let options = SimOptions { limits, backlog: 64, ..options };
        echo_everything(&authority, seed, options, &[0, 1, 700, 5_000, 40_000]);
    }
}

#[test]
fn connections_that_are_reset_leave_nothing_behind() {
    let authority = Authority::new();
    for seed in 0..SEEDS {
        let options = SimOptions { failed_send: 5, reset: 5, reset_loses: 500, ..SimOptions::calm() };
        let mut rng = Rng::new(seed);
        let net = SimNet::new(seed, options);
        let mut echo = Echo::new(authority.over(&net, HELD));
        let mut peers: Vec<_> =
            (0..8).map(|_| Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES))).collect();
        peers.iter_mut().for_each(|peer| peer.say(&vec![7; 30_000]));
        let most = 1 + rng.index(9_000);
        echo.settle(&net, || {
            let mut has_moved = false;
            for peer in peers.iter_mut().filter(|peer| !peer.socket.is_closed()) {
                has_moved |= peer.step(most);
                if peer.heard.len() == 30_000 || peer.ended.is_some() {
                    peer.socket.close();
                }
            }
            has_moved
        });
        assert_eq!(echo.driver.held.bytes(), 0, "seed {seed}");
        assert_eq!(net.open_slots(0), 0, "seed {seed}");
    }
}

#[test]
fn whoever_speaks_plain_text_is_cut_off_and_never_answered_in_it() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, HELD));
    let socket = net.connect(0);
    socket.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut heard = Vec::new();
    echo.settle(&net, || matches!(socket.read(usize::MAX, &mut heard), Read::Bytes(_)));
    // One alert, or nothing.
    assert!(heard.is_empty() || heard[0] == 21, "{heard:?}");
    assert!(echo.queued.iter().all(Option::is_none));
}

#[test]
fn before_the_handshake_is_done_nothing_can_be_sent() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut driver = authority.over(&net, HELD);
    driver.accept_while_below(u32::MAX);
    let socket = net.connect(0);
    let mut events = Vec::new();
    driver.turn(Wait::No, &mut events).expect("a turn");
    let [Event::Accepted { slot, .. }] = events[..] else { panic!("{events:?}") };
    let mut batch = SendBatch::new();
    batch.push_one(slot, b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let mut results = SendResults::new();
    driver.send(&batch, &mut results);
    assert_eq!(results[..], [Sent::Failed(ENOTCONN)]);
    driver.close(slot);
    let mut heard = Vec::new();
    socket.read(usize::MAX, &mut heard);
    assert!(heard.is_empty());
}

#[test]
fn greetings_are_answered_a_few_a_turn() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, HELD));
    let mut peers: Vec<_> = (0..20).map(|_| Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES))).collect();
    for peer in &mut peers {
        peer.step(usize::MAX);
    }
    echo.turn();
    let mut answered = 0;
    for _ in 0..40 {
        let count = peers.iter().filter(|peer| peer.socket.readable() > 0).count();
        assert!(count <= answered + HANDSHAKES_PER_TURN, "{count} after {answered}");
        answered = count;
        if count == peers.len() {
            return;
        }
        echo.turn();
    }
    panic!("only {answered} were answered");
}

/// Each of them moves what it can. False: there was nothing.
fn all_step(peers: &mut [Peer]) -> bool {
    peers.iter_mut().filter_map(|peer| peer.step(usize::MAX).then_some(())).count() > 0
}

#[test]
fn what_is_opened_in_a_turn_is_bounded_however_many_send_the_smallest_records() {
    const RECORDS: usize = 3_000;
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, HELD));
    let mut peers: Vec<_> = (0..40).map(|_| Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES))).collect();
    echo.settle(&net, || all_step(&mut peers));
    for peer in &mut peers {
        (0..RECORDS).for_each(|_| peer.say(b"x"));
    }
    echo.settle(&net, || all_step(&mut peers));
    assert!(peers.iter().all(|peer| peer.heard.len() == RECORDS), "all of it came through");
    // What one receive buffer holds of them is opened as a whole.
    let buffer = net.limits().recv_bytes as usize;
    let last = buffer / (HEADER_BYTES + 1 + 1 + 16) * 4 + 4 + 2 * (buffer >> 10);
    let most = echo.driver.counts.opened_most;
    assert!(most <= OPENING_PER_TURN + last, "{most} in a turn");
    assert!(most >= OPENING_PER_TURN, "{most}: it has not come to the limit");
}

#[test]
fn what_clients_make_us_hold_is_bounded() {
    let authority = Authority::new();
    // Handshakes of 8 KiB and a little each: there is room for four.
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, 40 << 10));
    let mut peers: Vec<_> = (0..12).map(|_| Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES))).collect();
    // Hellos that are not whole.
    for peer in &mut peers {
        peer.tls.write_tls(&mut peer.unsent).expect("memory takes all");
        peer.socket.write(&peer.unsent[..50]);
    }
    for _ in 0..30 {
        echo.turn();
        assert!(echo.driver.held.bytes() <= 40 << 10);
    }
    assert_eq!(echo.queued.iter().flatten().count(), 4);
    // Their memory is there again when they are gone.
    peers.iter().for_each(|peer| peer.socket.close());
    echo.settle(&net, || false);
    assert_eq!(echo.driver.held.bytes(), 0);
}

#[test]
fn a_half_record_costs_its_length_and_no_more() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, 64 << 10));
    let mut peers: Vec<_> = (0..6).map(|_| Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES))).collect();
    echo.settle(&net, || peers.iter_mut().fold(false, |moved, peer| moved | peer.step(usize::MAX)));
    assert_eq!(echo.driver.held.bytes(), 0);
    // The head of the longest record that there can be, and one byte: room for three.
    let head = [23, 3, 3, 0x41, 0, 0];
    for peer in &peers {
        peer.socket.write(&head);
    }
    echo.settle(&net, || false);
    assert!(echo.driver.held.bytes() <= 64 << 10);
    assert_eq!(echo.queued.iter().flatten().count(), 3);
}

#[test]
fn new_certificates_are_for_new_connections_alone() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, HELD));
    let mut old = Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES));
    old.say(b"before");
    echo.settle(&net, || old.step(usize::MAX));
    let (next, certificate) = identity();
    authority.acceptors.replace(acceptor(next));
    let mut new = Peer::new(net.connect(0), client(&certificate, ALL_CIPHER_SUITES));
    new.say(b"new");
    old.say(b", after");
    echo.settle(&net, || old.step(usize::MAX) | new.step(usize::MAX));
    assert_eq!((&old.heard[..], &new.heard[..]), (&b"before, after"[..], &b"new"[..]));
}

/// What a shard has sent before it closes arrives, although the socket could not take all of a record.
#[test]
fn a_close_waits_for_the_rest_of_a_record_but_not_for_ever() {
    let authority = Authority::new();
    for reads in [true, false] {
        let net = SimNet::new(1, SimOptions { send_capacity: 3_000, ..SimOptions::calm() });
        let mut echo = Echo::new(authority.over(&net, HELD));
        let mut peer = Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES));
        echo.settle(&net, || peer.step(usize::MAX));
        let content = vec![9; 10_000];
        let mut batch = SendBatch::new();
        batch.push_one(Slot(0), &content);
        let mut results = SendResults::new();
        echo.driver.send(&batch, &mut results);
        drop(batch);
        let Sent::Bytes(taken) = results[0] else { panic!("{results:?}") };
        echo.close(0);
        let begin_ns = net.now_ns();
        echo.settle(&net, || reads && peer.step(usize::MAX));
        assert_eq!(net.open_slots(0), 0);
        assert!(reads || net.now_ns() - begin_ns >= LINGER_NS);
        if reads {
            assert_eq!(peer.heard.len(), taken);
        }
        assert_eq!(echo.driver.held.bytes(), 0);
    }
}

#[test]
fn who_sends_seldom_keeps_no_expanded_key() {
    let authority = Authority::new();
    let net = SimNet::new(7, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, HELD));
    let mut peer = Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES));
    let mut said = 0;
    let mut say = |echo: &mut Echo, peer: &mut Peer| {
        peer.say(b"ping");
        said += 4;
        echo.settle(&net, || peer.step(usize::MAX));
        assert_eq!(peer.heard.len(), said);
    };
    let keeps_key =
        |echo: &mut Echo| echo.driver.session(Slot(0)).and_then(Session::connection).map(|tls| tls.keeps_key());
    say(&mut echo, &mut peer);
    assert_eq!(keeps_key(&mut echo), Some(false), "it has sent once");
    net.advance_to(net.now_ns() + hot_keys::KEPT_NS);
    say(&mut echo, &mut peer);
    assert_eq!(keeps_key(&mut echo), Some(false), "seldom");
    assert_eq!(echo.driver.hot_keys.next_ns(), None, "nothing is waited for");
    for _ in 0..5 {
        net.advance_to(net.now_ns() + hot_keys::KEPT_NS - 1);
        say(&mut echo, &mut peer);
        assert_eq!(keeps_key(&mut echo), Some(true), "often enough");
    }
    // It is looked at once while it is in use, and then when it may lose its key.
    for _ in 0..2 {
        let next_ns = echo.driver.hot_keys.next_ns().expect("its key is kept");
        assert!(next_ns <= net.now_ns() + 2 * hot_keys::KEPT_NS);
        net.advance_to(next_ns);
        echo.turn();
    }
    assert_eq!(keeps_key(&mut echo), Some(false), "it has sent nothing for long");
    assert_eq!(echo.driver.hot_keys.next_ns(), None, "nothing is waited for");
    say(&mut echo, &mut peer);
    assert_eq!(keeps_key(&mut echo), Some(false));
}
