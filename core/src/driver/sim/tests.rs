//! The simulated network keeps TCP's promises under every fault, and catches misuse.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::driver::{DriverLimits, Sent};

/// Echoes every byte: the smallest shard there is.
struct Echo {
    driver: SimDriver,
    events: Vec<Event>,
    /// Bytes still to be sent, by slot.
    queued: Vec<Option<Vec<u8>>>,
    blocked: Vec<bool>,
    ended: Vec<bool>,
    accepted: usize,
}

impl Echo {
    fn new(mut driver: SimDriver) -> Self {
        driver.accept_while_below(u32::MAX);
        Echo {
            driver,
            events: Vec::new(),
            queued: vec![None; 64],
            blocked: vec![false; 64],
            ended: vec![false; 64],
            accepted: 0,
        }
    }

    fn close(&mut self, slot: usize) {
        self.driver.close(Slot(slot as u32));
        self.queued[slot] = None;
    }

    fn turn(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.driver.turn(Wait::Until(u64::MAX), &mut events).expect("the sim driver never fails");
        for event in events.drain(..) {
            match event {
                Event::Accepted { slot, .. } => {
                    let slot = slot.0 as usize;
                    assert!(self.queued[slot].is_none(), "slot {slot} accepted twice");
                    self.queued[slot] = Some(Vec::new());
                    self.blocked[slot] = false;
                    self.ended[slot] = false;
                    self.accepted += 1;
                }
                Event::Received { slot, buf } => {
                    assert!(!self.ended[slot.0 as usize], "bytes after the end");
                    assert!(!buf.filled().is_empty());
                    if let Some(queued) = &mut self.queued[slot.0 as usize] {
                        queued.extend_from_slice(buf.filled());
                    }
                    self.driver.give_back(buf);
                }
                Event::End { slot, error } => {
                    assert!(!self.ended[slot.0 as usize], "two ends");
                    self.ended[slot.0 as usize] = true;
                    if error.is_some() && self.queued[slot.0 as usize].is_some() {
                        self.close(slot.0 as usize);
                    }
                }
                Event::Writable { slot } => self.blocked[slot.0 as usize] = false,
                Event::Worn { .. } | Event::Woken => {}
            }
        }
        self.events = events;
        self.send_queued();
    }

    fn send_queued(&mut self) {
        for slot in 0..self.queued.len() {
            let Some(queued) = &mut self.queued[slot] else { continue };
            if self.blocked[slot] {
                continue;
            }
            if queued.is_empty() {
                if self.ended[slot] {
                    self.close(slot);
                }
                continue;
            }
            let mut batch = SendBatch::new();
            let (front, back) = queued.split_at(queued.len() / 2);
            if front.is_empty() {
                batch.push_one(Slot(slot as u32), back);
            } else {
                batch.push(Slot(slot as u32), &[IoSlice::new(front), IoSlice::new(back)]);
            }
            let mut results = SendResults::new();
            self.driver.send(&batch, &mut results);
            drop(batch);
            match results[0] {
                Sent::Bytes(n) => {
                    let whole = n == queued.len();
                    queued.drain(..n);
                    if whole && self.ended[slot] {
                        self.close(slot);
                    } else if !whole {
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
    }
}

/// Sends a known stream, half-closes, and expects it back.
struct EchoClient {
    socket: SimSocket,
    to_send: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    outcome: Option<Read>,
}

impl EchoClient {
    fn new(socket: SimSocket, rng: &mut Rng) -> Self {
        let length = rng.skewed(5_000) as usize;
        let to_send = (0..length).map(|_| rng.next_u64() as u8).collect();
        EchoClient { socket, to_send, sent: 0, received: Vec::new(), outcome: None }
    }

    fn act(&mut self, rng: &mut Rng) {
        if self.outcome.is_some() {
            return;
        }
        if self.sent < self.to_send.len() && rng.chance(500) {
            let most = rng.between(1, (self.to_send.len() - self.sent) as u64) as usize;
            if let Some(n) = self.socket.write(&self.to_send[self.sent..self.sent + most]) {
                self.sent += n;
            }
            if self.sent == self.to_send.len() {
                self.socket.shutdown();
            }
        }
        let most = rng.skewed(100_000) as usize;
        match self.socket.read(most, &mut self.received) {
            Read::Bytes(_) | Read::Nothing => {}
            end => self.outcome = Some(end),
        }
    }
}

fn echo_run(seed: u64) {
    let mut rng = Rng::new(seed);
    let options = SimOptions::seeded(&mut rng);
    let faulty = options.reset > 0 || options.failed_send > 0;
    let net = SimNet::new(rng.next_u64(), options);
    let mut shard = Echo::new(net.driver(0));
    let mut clients: Vec<EchoClient> = Vec::new();
    for _ in 0..400_000 {
        if clients.len() < 12 && rng.chance(100) {
            clients.push(EchoClient::new(net.connect(0), &mut rng));
        }
        for client in &mut clients {
            client.act(&mut rng);
        }
        if net.is_due(0) {
            shard.turn();
        } else {
            let later = net.next_due(0).unwrap_or(0).max(net.now_ns() + 1000);
            net.advance_to(later);
        }
        if clients.len() == 12 && clients.iter().all(|client| client.outcome.is_some()) {
            break;
        }
    }
    for client in &clients {
        let n = client.received.len();
        assert_eq!(client.received, client.to_send[..n], "the echoed stream differs");
        match client.outcome {
            Some(Read::End) if !faulty => assert_eq!(n, client.to_send.len(), "FIN before the whole stream"),
            Some(Read::Reset) if !faulty => {
                assert!(!client.socket.is_accepted() && n == 0, "reset without a cause");
            }
            Some(_) => {}
            None => panic!("a client never ended: {n} of {} bytes", client.to_send.len()),
        }
    }
    // The last connection may still be closing.
    for _ in 0..100 {
        net.advance_to(net.now_ns() + 3_000_000_000);
        shard.turn();
    }
    assert_eq!(net.open_slots(0), 0);
    assert_eq!(net.buffers_lent(0), 0);
}

#[test]
fn an_echo_is_byte_exact_under_every_fault() {
    for seed in 0..300 {
        if let Err(panic) = catch_unwind(|| echo_run(seed)) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn the_same_seed_replays_exactly() {
    let trace = |seed: u64| {
        let mut rng = Rng::new(seed);
        let options = SimOptions::seeded(&mut rng);
        let net = SimNet::new(rng.next_u64(), options);
        let mut shard = Echo::new(net.driver(0));
        let mut clients: Vec<EchoClient> = (0..4).map(|_| EchoClient::new(net.connect(0), &mut rng)).collect();
        let mut log = Vec::new();
        for _ in 0..500 {
            for client in &mut clients {
                client.act(&mut rng);
            }
            shard.turn();
            net.advance_to(net.now_ns() + rng.skewed(1_000_000));
            log.push((net.now_ns(), clients.iter().map(|c| c.received.len()).sum::<usize>(), shard.accepted));
        }
        log
    };
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed));
    }
}

/// A driver with one accepted connection.
fn one_connection(options: SimOptions) -> (SimNet, SimDriver, SimSocket, Slot) {
    let net = SimNet::new(1, options);
    let mut driver = net.driver(0);
    driver.accept_while_below(8);
    let socket = net.connect(0);
    let mut events = Vec::new();
    driver.turn(Wait::No, &mut events).unwrap();
    let Event::Accepted { slot, .. } = events[0] else { panic!("{events:?}") };
    (net, driver, socket, slot)
}

fn send(driver: &mut SimDriver, slot: Slot, bytes: &[u8]) -> Sent {
    let mut batch = SendBatch::new();
    batch.push_one(slot, bytes);
    let mut results = SendResults::new();
    driver.send(&batch, &mut results);
    results[0]
}

fn turn(driver: &mut SimDriver) -> Vec<Event> {
    let mut events = Vec::new();
    driver.turn(Wait::No, &mut events).unwrap();
    events
}

fn panics(what: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(what)).is_err()
}

#[test]
fn a_full_pipe_blocks_until_the_client_has_read_a_third() {
    let (_net, mut driver, socket, slot) = one_connection(SimOptions { send_capacity: 300, ..SimOptions::calm() });
    assert_eq!(send(&mut driver, slot, &[7; 400]), Sent::Bytes(300));
    assert_eq!(send(&mut driver, slot, &[7; 100]), Sent::Blocked);
    driver.want_writable(slot);
    driver.want_writable(slot);
    assert!(turn(&mut driver).is_empty());
    let mut read = Vec::new();
    assert_eq!(socket.read(99, &mut read), Read::Bytes(99));
    assert!(turn(&mut driver).is_empty());
    assert_eq!(socket.read(1, &mut read), Read::Bytes(1));
    assert!(matches!(turn(&mut driver)[..], [Event::Writable { .. }]));
    assert!(turn(&mut driver).is_empty(), "one Writable for each request");
}

#[test]
fn what_was_sent_before_a_close_still_arrives() {
    let (_net, mut driver, socket, slot) = one_connection(SimOptions::calm());
    assert_eq!(send(&mut driver, slot, b"last words"), Sent::Bytes(10));
    driver.close(slot);
    let mut read = Vec::new();
    assert_eq!(socket.read(4, &mut read), Read::Bytes(4));
    assert_eq!(socket.read(100, &mut read), Read::Bytes(6));
    assert_eq!(socket.read(100, &mut read), Read::End);
    assert_eq!(read, b"last words");
}

#[test]
fn closing_with_unread_bytes_resets() {
    let (_net, mut driver, socket, slot) = one_connection(SimOptions::calm());
    socket.write(b"unread");
    driver.close(slot);
    assert_eq!(socket.read(1, &mut Vec::new()), Read::Reset);
}

#[test]
fn bytes_come_before_fin_and_fin_is_told_once() {
    let (_net, mut driver, socket, slot) = one_connection(SimOptions::calm());
    socket.write(b"x");
    socket.shutdown();
    let mut events = turn(&mut driver);
    assert!(matches!(events[..], [Event::Received { .. }, Event::End { error: None, .. }]), "{events:?}");
    let Event::Received { buf, .. } = events.remove(0) else { unreachable!() };
    driver.give_back(buf);
    assert!(turn(&mut driver).is_empty());
    assert_eq!(send(&mut driver, slot, b"still open"), Sent::Bytes(10));
}

#[test]
fn a_paused_connection_reports_its_bytes_after_the_resume() {
    let (_net, mut driver, socket, slot) = one_connection(SimOptions::calm());
    driver.pause_recv(slot);
    socket.write(b"x");
    assert!(turn(&mut driver).is_empty());
    driver.resume_recv(slot);
    let mut events = turn(&mut driver);
    let Some(Event::Received { buf, .. }) = events.pop() else { panic!("nothing came") };
    assert_eq!(buf.filled(), b"x");
    driver.give_back(buf);
}

#[test]
fn exhausted_buffers_delay_and_lose_nothing() {
    let limits = DriverLimits { slots: 4, recv_buffers: 1, recv_bytes: 2, events_per_turn: 10 };
    let (_net, mut driver, socket, _slot) = one_connection(SimOptions { limits, ..SimOptions::calm() });
    socket.write(b"abcde");
    let mut seen = Vec::new();
    for _ in 0..3 {
        for event in turn(&mut driver) {
            let Event::Received { buf, .. } = event else { panic!("{event:?}") };
            seen.extend_from_slice(buf.filled());
            driver.give_back(buf);
        }
    }
    assert_eq!(seen, b"abcde");
    assert!(driver.counters().recv_buffers_exhausted > 0);
}

#[test]
fn the_accept_bound_leaves_the_rest_in_the_backlog() {
    let (net, mut driver, _socket, slot) = one_connection(SimOptions::calm());
    driver.accept_while_below(1);
    let waiting = net.connect(0);
    assert!(turn(&mut driver).is_empty());
    assert!(!net.is_due(0));
    driver.close(slot);
    assert!(net.is_due(0));
    assert!(matches!(turn(&mut driver)[..], [Event::Accepted { slot: again, .. }] if again == slot));
    assert!(waiting.is_accepted());
}

#[test]
fn a_stopped_listener_takes_what_waits_and_refuses_the_rest() {
    let (net, mut driver, _socket, _slot) = one_connection(SimOptions::calm());
    driver.accept_while_below(0);
    let waiting = net.connect(0);
    driver.stop_listening();
    let late = net.connect(0);
    assert!(matches!(turn(&mut driver)[..], [Event::Accepted { .. }]));
    assert!(waiting.is_accepted());
    assert_eq!(late.read(1, &mut Vec::new()), Read::Reset);
}

#[test]
fn a_send_to_a_client_that_has_gone_ends_in_a_reset() {
    let (_net, mut driver, socket, slot) = one_connection(SimOptions::calm());
    socket.close();
    assert!(matches!(turn(&mut driver)[..], [Event::End { error: None, .. }]));
    assert_eq!(send(&mut driver, slot, b"x"), Sent::Bytes(1));
    assert!(matches!(send(&mut driver, slot, b"x"), Sent::Failed(_)));
}

#[test]
fn a_waiting_sender_learns_of_a_reset_after_the_end_was_told() {
    let (_net, mut driver, socket, slot) = one_connection(SimOptions { send_capacity: 10, ..SimOptions::calm() });
    socket.shutdown();
    assert!(matches!(turn(&mut driver)[..], [Event::End { error: None, .. }]));
    assert_eq!(send(&mut driver, slot, &[0; 20]), Sent::Bytes(10));
    driver.want_writable(slot);
    socket.reset();
    assert!(matches!(turn(&mut driver)[..], [Event::Writable { .. }]));
    assert!(matches!(send(&mut driver, slot, b"x"), Sent::Failed(_)));
}

#[test]
fn a_wake_before_the_turn_is_not_lost() {
    let (net, mut driver, _socket, _slot) = one_connection(SimOptions::calm());
    let waker = driver.waker();
    waker.wake();
    waker.wake();
    assert!(net.is_due(0));
    assert!(matches!(turn(&mut driver)[..], [Event::Woken]));
    assert!(turn(&mut driver).is_empty());
}

#[test]
fn a_wake_during_sleep_ends_it() {
    let (net, mut driver, _socket, _slot) = one_connection(SimOptions::calm());
    let waker = driver.waker();
    driver.on_sleep(Box::new(move |_| waker.wake()));
    let mut events = Vec::new();
    driver.turn(Wait::Until(net.now_ns() + 1), &mut events).unwrap();
    assert!(matches!(events[..], [Event::Woken]));
}

#[test]
fn misuse_by_a_shard_panics() {
    let (_net, mut driver, _socket, slot) = one_connection(SimOptions::calm());
    assert!(panics(|| {
        send(&mut driver, Slot(5), b"x");
    }));
    assert!(panics(|| driver.want_writable(Slot(5))));
    assert!(panics(|| {
        let mut batch = SendBatch::new();
        batch.push_one(slot, b"x");
        batch.push_one(slot, b"y");
        driver.send(&batch, &mut SendResults::new());
    }));
    driver.shutdown_write(slot);
    assert!(panics(|| {
        send(&mut driver, slot, b"x");
    }));
    driver.close(slot);
    assert!(panics(|| driver.close(slot)));
    assert!(panics(|| driver.pause_recv(slot)));
}

#[test]
fn buffers_are_conserved() {
    let (_net, mut driver, socket, _slot) = one_connection(SimOptions::calm());
    socket.write(b"x");
    let Some(Event::Received { buf, .. }) = turn(&mut driver).pop() else { panic!("nothing came") };
    assert!(panics(|| _ = driver.turn(Wait::Until(1), &mut Vec::new())), "who holds bytes does not sleep");
    let foreign = RecvBuf { bytes: buf.bytes.clone(), start: 0, end: 0, id: buf.id };
    assert!(panics(|| driver.give_back(foreign)));
    let never_lent = RecvBuf { bytes: Box::new([]), start: 0, end: 0, id: 3 };
    assert!(panics(|| driver.give_back(never_lent)));
    driver.give_back(buf);
}
