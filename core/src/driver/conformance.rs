//! What every real driver promises, proved on loopback for each of them by the same tests.
//!
//! Clients are plain `std` sockets. Waiting is bounded by a watchdog that only a hang can reach.
#![allow(clippy::disallowed_methods, reason = "test threads sleep to let the kernel or another thread get ahead")]

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::*;
use crate::sys::socket::{ListenOptions, listen, local_addr};

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
                Event::Accepted { slot, peer } => {
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

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Closes with RST.
pub fn reset(client: TcpStream) {
    rustix::net::sockopt::set_socket_linger(client.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(client);
}

pub fn accepts_and_echoes<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(64));
    let mut clients: Vec<_> = (0..40).map(|_| rig.connect()).collect();
    let mut slots: Vec<_> = clients.iter().map(|(_, slot)| slot.0).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), 40, "slots are distinct");
    for round in 0..10u8 {
        for (index, (client, _)) in clients.iter_mut().enumerate() {
            client.write_all(&[round, index as u8]).unwrap();
        }
        for (index, (client, slot)) in clients.iter_mut().enumerate() {
            let slot = *slot;
            rig.turn_until("bytes", |rig| rig.received[slot.0 as usize].len() >= 2);
            let bytes = std::mem::take(&mut rig.received[slot.0 as usize]);
            assert_eq!(bytes, [round, index as u8]);
            rig.send_all(slot, &bytes);
            let mut echo = [0; 2];
            client.read_exact(&mut echo).unwrap();
            assert_eq!(echo, [round, index as u8]);
        }
    }
    assert!(rig.ended.is_empty() && rig.writable.is_empty());
    assert!(rig.driver.counters().receives >= 400 && rig.driver.counters().sends >= 400);
}

pub fn a_batch_is_answered_in_order<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(80));
    let mut clients: Vec<_> = (0..SEND_BATCH_OPS).map(|_| rig.connect()).collect();
    let gone = clients[10].1;
    rig.driver.close(gone);
    let payloads: Vec<[Vec<u8>; 3]> =
        (0..SEND_BATCH_OPS).map(|i| [vec![i as u8; i + 1], vec![7; 3], vec![i as u8; 2]]).collect();
    let mut batch = SendBatch::new();
    for ((_, slot), [a, b, c]) in clients.iter().zip(&payloads) {
        if slot.0 % 2 == 0 {
            batch.push_one(*slot, a);
        } else {
            batch.push(*slot, &[IoSlice::new(a), IoSlice::new(b), IoSlice::new(c)]);
        }
    }
    let mut results = SendResults::new();
    rig.driver.send(&batch, &mut results);
    assert_eq!(results.len(), SEND_BATCH_OPS);
    for (index, ((client, slot), parts)) in clients.iter_mut().zip(&payloads).enumerate() {
        if *slot == gone {
            assert!(matches!(results[index], Sent::Failed(_)));
            continue;
        }
        let expected = if slot.0 % 2 == 0 { parts[0].clone() } else { parts.concat() };
        assert_eq!(results[index], Sent::Bytes(expected.len()));
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, expected);
    }
}

pub fn short_sends_deliver_a_blob_byte_for_byte<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (client, slot) = rig.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(client.as_fd(), 128 << 10).unwrap();
    let blob = pattern(8 << 20);
    let expected = blob.clone();
    let reader = thread::spawn(move || {
        let mut client = client;
        let mut got = Vec::new();
        let mut chunk = [0; 3000];
        while got.len() < expected.len() {
            let count = client.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "ended after {} bytes", got.len());
            got.extend_from_slice(&chunk[..count]);
        }
        got == expected
    });
    rig.send_all(slot, &blob);
    assert!(reader.join().unwrap(), "the blob arrived changed");
    assert!(rig.driver.counters().sends_short > 0, "this test is about short sends");
}

pub fn gathered_short_sends_deliver_byte_for_byte<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (client, slot) = rig.connect();
    let blob = pattern(4 << 20);
    let expected = blob.clone();
    let reader = thread::spawn(move || {
        let mut client = client;
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).unwrap();
        got == expected
    });
    let mut at = 0;
    while at < blob.len() {
        let parts: Vec<_> = blob[at..].chunks(10_007).take(SEND_PARTS_MAX).map(IoSlice::new).collect();
        let mut batch = SendBatch::new();
        batch.push(slot, &parts);
        let mut results = SendResults::new();
        rig.driver.send(&batch, &mut results);
        match results[0] {
            Sent::Bytes(count) => at += count,
            Sent::Blocked => rig.wait_writable(slot),
            Sent::Failed(errno) => panic!("errno {errno}"),
        }
    }
    assert!(reader.join().unwrap(), "the blob arrived changed");
}

fn fill<D: Driver>(rig: &mut Rig<D>, slot: Slot) {
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

pub fn writable_is_reported_once_for_each_request<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (mut client, slot) = rig.connect();
    rig.settle();
    assert!(rig.writable.is_empty(), "nobody asked");
    // Writable already: told at once.
    rig.wait_writable(slot);
    rig.settle();
    assert_eq!(rig.writable.len(), 1);
    rig.writable.clear();

    fill(&mut rig, slot);
    rig.driver.want_writable(slot);
    rig.driver.want_writable(slot);
    rig.settle();
    assert!(rig.writable.is_empty(), "the socket is full");
    rig.driver.want_writable(slot);
    client.set_nonblocking(true).unwrap();
    let mut sink = vec![0; 1 << 20];
    rig.turn_until("writable", |rig| {
        let _ = client.read(&mut sink);
        !rig.writable.is_empty()
    });
    rig.settle();
    assert_eq!(rig.writable, [slot], "three requests while one was pending are one");
}

pub fn room_made_before_the_request_is_not_missed<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (mut client, slot) = rig.connect();
    for _ in 0..5 {
        fill(&mut rig, slot);
        // The reader empties everything, and the driver sees that edge, before anybody asks.
        client.set_nonblocking(true).unwrap();
        let mut sink = vec![0; 1 << 20];
        let mut idle = 0;
        while idle < 10 {
            match client.read(&mut sink) {
                Ok(count) if count > 0 => idle = 0,
                _ => {
                    idle += 1;
                    rig.turn();
                }
            }
        }
        rig.wait_writable(slot);
    }
}

pub fn a_thousand_connections_are_served<M: Make>() {
    let mut limits = limits(1000);
    limits.events_per_turn = 128;
    let mut rig = Rig::new::<M>(&limits);
    let addr = rig.addr;
    let (tell, told) = mpsc::channel();
    let clients = thread::spawn(move || {
        let mut clients: Vec<_> = (0..1000).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for round in 0..3u8 {
            for (index, client) in clients.iter_mut().enumerate() {
                client.write_all(&[round, (index >> 8) as u8, index as u8]).unwrap();
            }
            for (index, client) in clients.iter_mut().enumerate() {
                client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                let mut echo = [0; 3];
                client.read_exact(&mut echo).unwrap();
                assert_eq!(echo, [round, (index >> 8) as u8, index as u8]);
            }
        }
        tell.send(()).unwrap();
        clients
    });
    let mut finished = false;
    rig.turn_until("three echoes for each", |rig| {
        for slot in 0..1000 {
            if !rig.received[slot].is_empty() {
                let bytes = std::mem::take(&mut rig.received[slot]);
                rig.send_all(Slot(slot as u32), &bytes);
            }
        }
        finished |= told.try_recv().is_ok();
        finished
    });
    let clients = clients.join().unwrap();
    assert_eq!(rig.accepted.len(), 1000);
    for slot in 0..1000 {
        rig.driver.close(Slot(slot));
    }
    rig.settle();
    for mut client in clients {
        assert_closed(&mut client);
    }
}

pub fn every_close_is_seen_by_the_peer<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(16));
    let check = |rig: &mut Rig<M::Driver>, mut client: TcpStream, slot: Slot| {
        rig.driver.close(slot);
        rig.settle();
        assert_closed(&mut client);
    };
    // Idle for a while: whatever watches it is armed.
    let (client, slot) = rig.connect();
    rig.settle();
    check(&mut rig, client, slot);
    // Right after accept.
    let (client, slot) = rig.connect();
    check(&mut rig, client, slot);
    // With bytes that nobody read.
    let (mut client, slot) = rig.connect();
    rig.driver.pause_recv(slot);
    client.write_all(&[1; 10_000]).unwrap();
    rig.settle();
    check(&mut rig, client, slot);
    // While a request for writability is pending.
    let (client, slot) = rig.connect();
    fill(&mut rig, slot);
    rig.driver.want_writable(slot);
    rig.settle();
    check(&mut rig, client, slot);
    // The same, not yet submitted.
    let (client, slot) = rig.connect();
    rig.driver.want_writable(slot);
    check(&mut rig, client, slot);
    // After our own FIN.
    let (client, slot) = rig.connect();
    rig.driver.shutdown_write(slot);
    check(&mut rig, client, slot);
    // After the peer's FIN.
    let (client, slot) = rig.connect();
    client.shutdown(Shutdown::Write).unwrap();
    rig.turn_until("end", |rig| rig.ended.iter().any(|(s, _)| *s == slot));
    check(&mut rig, client, slot);
    // With a connection that is never turned again: the last turn must have done it all.
    let (mut client, slot) = rig.connect();
    rig.driver.close(slot);
    rig.turn_for(Wait::No);
    assert_closed(&mut client);
}

pub fn dropping_the_driver_closes_everything<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(16));
    let mut clients: Vec<_> = (0..10).map(|_| rig.connect().0).collect();
    rig.settle();
    drop(rig);
    for client in &mut clients {
        assert_closed(client);
    }
}

pub fn a_full_table_leaves_the_rest_in_the_backlog<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(64));
    let mut clients: Vec<_> = (0..100)
        .map(|index| {
            let mut client = TcpStream::connect(rig.addr).unwrap();
            client.write_all(&[index]).unwrap();
            client
        })
        .collect();
    rig.turn_until("64 accepted", |rig| rig.accepted.len() >= 64);
    rig.settle();
    assert_eq!(rig.accepted.len(), 64);
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody was dropped");
    }
    // Free one at a time: the backlog moves up, each with its first byte intact.
    let mut seen = Vec::new();
    let mut next = 0;
    rig.turn_until("everybody served", |rig| {
        while next < rig.accepted.len() {
            let slot = rig.accepted[next];
            let [index] = rig.received[slot.0 as usize][..] else { break };
            seen.push(index);
            rig.received[slot.0 as usize].clear();
            rig.driver.close(slot);
            next += 1;
        }
        seen.len() == 100
    });
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    rig.turn_for(Wait::No);
    for mut client in clients {
        client.set_nonblocking(false).unwrap();
        assert_closed(&mut client);
    }
}

pub fn the_limit_on_accepts_moves_both_ways<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(16));
    rig.driver.accept_while_below(0);
    let _clients: Vec<_> = (0..10).map(|_| TcpStream::connect(rig.addr).unwrap()).collect();
    rig.settle();
    assert_eq!(rig.accepted.len(), 0);
    rig.driver.accept_while_below(4);
    rig.turn_until("4", |rig| rig.accepted.len() >= 4);
    rig.settle();
    assert_eq!(rig.accepted.len(), 4);
    rig.driver.accept_while_below(2);
    rig.driver.close(Slot(0));
    rig.settle();
    assert_eq!(rig.accepted.len(), 4);
    rig.driver.accept_while_below(16);
    rig.turn_until("all", |rig| rig.accepted.len() == 10);
}

pub fn stop_listening_takes_the_backlog_and_no_more<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(64));
    rig.driver.accept_while_below(0);
    rig.settle();
    let _clients: Vec<_> = (0..50).map(|_| TcpStream::connect(rig.addr).unwrap()).collect();
    rig.driver.stop_listening();
    rig.turn_until("the backlog", |rig| rig.accepted.len() == 50);
    rig.settle();
    assert_eq!(TcpStream::connect(rig.addr).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    // What is open goes on.
    let slot = rig.accepted[0];
    assert_eq!(rig.send(slot, b"still here"), Sent::Bytes(10));
}

pub fn stop_listening_with_a_full_table_still_closes<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(2));
    let kept = [rig.connect(), rig.connect()];
    let mut waiting = TcpStream::connect(rig.addr).unwrap();
    rig.settle();
    rig.driver.stop_listening();
    rig.settle();
    assert_closed(&mut waiting);
    assert!(TcpStream::connect(rig.addr).is_err());
    assert_eq!(rig.send(kept[1].1, b"x"), Sent::Bytes(1));
}

pub fn two_listeners_are_both_served<M: Make>() {
    let (first, second) = (listener(), listener());
    let addrs = [local_addr(&first).unwrap(), local_addr(&second).unwrap()];
    let driver = M::make(&limits(3), vec![first, second]).unwrap();
    let mut rig = Rig::over(driver, addrs[0], 3);
    rig.driver.accept_while_below(3);
    let mut kept = Vec::new();
    for (count, addr) in [addrs[1], addrs[0], addrs[1]].into_iter().enumerate() {
        kept.push(TcpStream::connect(addr).unwrap());
        rig.turn_until("accept", |rig| rig.accepted.len() == count + 1);
    }
    // With one slot left over, both backlogs wait and both move.
    kept.push(TcpStream::connect(addrs[0]).unwrap());
    kept.push(TcpStream::connect(addrs[1]).unwrap());
    rig.settle();
    assert_eq!(rig.accepted.len(), 3);
    rig.driver.close(Slot(0));
    rig.driver.close(Slot(1));
    rig.turn_until("both", |rig| rig.accepted.len() == 5);
}

pub fn ipv6_peers_are_named<M: Make>() {
    let Ok(listener) = listen("[::1]:0".parse().unwrap(), &ListenOptions::default()) else {
        eprintln!("skipped: no IPv6 here");
        return;
    };
    let addr = local_addr(&listener).unwrap();
    let mut driver = M::make(&limits(4), vec![listener]).unwrap();
    driver.accept_while_below(4);
    let client = TcpStream::connect(addr).unwrap();
    let mut events = Vec::new();
    while events.is_empty() {
        driver.turn(Wait::Until(driver.now_ns() + 1_000_000), &mut events).unwrap();
    }
    let [Event::Accepted { peer, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*peer, Some(client.local_addr().unwrap()));
}

pub fn few_buffers_starve_nobody<M: Make>() {
    let limits = DriverLimits { slots: 200, recv_buffers: 4, recv_bytes: 64, events_per_turn: 64 };
    let mut rig = Rig::new::<M>(&limits);
    let mut clients: Vec<_> = (0..200).map(|_| rig.connect()).collect();
    let per_client = 64 * 20 + 13;
    for (client, slot) in &mut clients {
        client.write_all(&vec![slot.0 as u8; per_client]).unwrap();
    }
    rig.turn_until("all of everybody's bytes", |rig| {
        let read: Vec<_> = rig.received.iter().map(Vec::len).collect();
        let (least, most) = (read.iter().min().unwrap(), read.iter().max().unwrap());
        // Nobody is read to the end while another waits for a first buffer.
        assert!(*least > 0 || *most < per_client);
        *least == per_client
    });
    for (_, slot) in &clients {
        assert!(rig.received[slot.0 as usize].iter().all(|&byte| byte == slot.0 as u8));
    }
    assert!(rig.driver.counters().recv_buffers_exhausted > 0);
}

pub fn buffers_on_loan_outlive_the_connection<M: Make>() {
    let mut limits = limits(4);
    limits.recv_buffers = 2;
    let mut rig = Rig::new::<M>(&limits);
    let (mut client, slot) = rig.connect();
    client.write_all(b"first").unwrap();
    let mut events = Vec::new();
    while events.is_empty() {
        rig.driver.turn(Wait::Until(rig.driver.now_ns() + 1_000_000), &mut events).unwrap();
    }
    let Some(Event::Received { buf, .. }) = events.pop() else { panic!("no bytes") };
    rig.driver.close(slot);
    let (mut second, second_slot) = rig.connect();
    second.write_all(b"second").unwrap();
    rig.turn_until("second", |rig| rig.received[second_slot.0 as usize] == b"second");
    assert_eq!(buf.filled(), b"first");
    rig.driver.give_back(buf);
    second.write_all(&[9; 20_000]).unwrap();
    rig.turn_until("the rest", |rig| rig.received[second_slot.0 as usize].len() == 20_006);
}

pub fn a_reused_slot_never_speaks_for_its_predecessor<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(2));
    for round in 0..300u32 {
        let mut old = TcpStream::connect(rig.addr).unwrap();
        old.write_all(b"old").unwrap();
        let before = rig.accepted.len();
        let wants_writable = round % 3 == 0;
        // Closed the moment it is reported, whatever else of it is under way.
        rig.turn_until("old accepted", |rig| rig.accepted.len() > before);
        let slot = rig.accepted[before];
        if wants_writable {
            rig.driver.want_writable(slot);
        }
        if round % 2 == 0 {
            old.write_all(b"older").unwrap();
        }
        rig.driver.close(slot);
        rig.writable.clear();
        rig.ended.clear();
        let mut new = TcpStream::connect(rig.addr).unwrap();
        new.write_all(b"new").unwrap();
        rig.turn_until("new accepted", |rig| rig.accepted.len() > before + 1);
        let slot = rig.accepted[before + 1];
        rig.turn_until("new bytes", |rig| rig.received[slot.0 as usize].len() >= 3);
        assert_eq!(rig.received[slot.0 as usize], b"new");
        assert_eq!(rig.send(slot, b"hello"), Sent::Bytes(5));
        let mut hello = [0; 5];
        new.read_exact(&mut hello).unwrap();
        assert!(rig.writable.is_empty() && rig.ended.is_empty(), "nobody of this connection asked");
        rig.driver.close(slot);
    }
}

pub fn a_wake_is_never_lost<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let waker = rig.driver.waker();
    // Before the sleep.
    waker.wake();
    waker.wake();
    rig.turn_until("woken", |rig| rig.woken > 0);
    // While asleep and around it, in lock step.
    let flag = Arc::new(AtomicBool::new(false));
    let other = thread::spawn({
        let (flag, waker) = (flag.clone(), waker.clone());
        move || {
            for round in 0..2000u32 {
                while flag.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                if round % 7 == 0 {
                    thread::sleep(Duration::from_micros(200));
                }
                flag.store(true, Ordering::Release);
                waker.wake();
            }
        }
    });
    for _ in 0..2000 {
        let before = rig.driver.now_ns();
        while !flag.load(Ordering::Acquire) {
            rig.turn_for(Wait::Until(before + WATCHDOG_NS));
            assert!(rig.driver.now_ns() < before + WATCHDOG_NS, "slept through a wake");
        }
        flag.store(false, Ordering::Release);
    }
    other.join().unwrap();
}

pub fn a_wait_ends_at_its_deadline_and_not_before<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    rig.settle();
    for wait_ns in [1, 50_000, 1_300_000, 5_000_000] {
        let start = rig.driver.now_ns();
        let deadline = start + wait_ns;
        let mut turns = 0;
        while rig.driver.now_ns() < deadline {
            rig.turn_for(Wait::Until(deadline));
            turns += 1;
            assert!(turns < 1000, "spins instead of sleeping");
        }
    }
    // A deadline in the past and Wait::No only look.
    rig.turn_for(Wait::Until(0));
    rig.turn_for(Wait::No);
}

pub fn pausing_loses_nothing<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (mut client, slot) = rig.connect();
    let (mut other, other_slot) = rig.connect();
    let blob = pattern(200_000);
    let writer = thread::spawn({
        let blob = blob.clone();
        move || {
            client.write_all(&blob).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client
        }
    });
    let mut round = 0;
    rig.turn_until("all of it", |rig| {
        round += 1;
        if round % 2 == 0 {
            rig.driver.resume_recv(slot);
        } else {
            rig.driver.pause_recv(slot);
            let before = rig.received[slot.0 as usize].len();
            other.write_all(b".").unwrap();
            let others = rig.received[other_slot.0 as usize].len();
            rig.turn_until("others are not paused", |rig| rig.received[other_slot.0 as usize].len() > others);
            assert_eq!(rig.received[slot.0 as usize].len(), before, "paused means paused");
            assert!(rig.ended.is_empty() || before == 200_000);
        }
        rig.received[slot.0 as usize].len() == 200_000
    });
    assert_eq!(rig.received[slot.0 as usize], blob);
    rig.driver.resume_recv(slot);
    rig.turn_until("end", |rig| !rig.ended.is_empty());
    assert_eq!(rig.ended, [(slot, None)]);
    drop(writer.join().unwrap());
}

pub fn after_the_peers_fin_we_can_still_send<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (mut client, slot) = rig.connect();
    // Bytes and FIN together: both are reported, in order, the end once.
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    rig.turn_until("end", |rig| !rig.ended.is_empty());
    assert_eq!(rig.received[slot.0 as usize], b"last words");
    rig.settle();
    assert_eq!(rig.ended, [(slot, None)]);
    let blob = pattern(1 << 20);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got
    });
    rig.send_all(slot, &blob);
    rig.driver.close(slot);
    rig.turn_for(Wait::No);
    assert_eq!(reader.join().unwrap(), blob);
}

pub fn after_our_fin_we_still_receive<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (mut client, slot) = rig.connect();
    assert_eq!(rig.send(slot, b"bye"), Sent::Bytes(3));
    rig.driver.shutdown_write(slot);
    rig.settle();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"bye");
    assert_eq!(rig.send(slot, b"more"), Sent::Failed(libc::EPIPE));
    client.write_all(b"and you").unwrap();
    rig.turn_until("bytes", |rig| rig.received[slot.0 as usize] == b"and you");
    drop(client);
    rig.turn_until("end", |rig| rig.ended.len() == 1);
}

pub fn a_reset_is_reported_once<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (client, slot) = rig.connect();
    rig.settle();
    reset(client);
    rig.turn_until("end", |rig| !rig.ended.is_empty());
    rig.settle();
    assert_eq!(rig.ended, [(slot, Some(libc::ECONNRESET))]);
    assert!(matches!(rig.send(slot, b"x"), Sent::Failed(_)));
    // Waiting for room on a dead connection ends too.
    rig.wait_writable(slot);
    rig.driver.close(slot);
    rig.settle();
    assert_eq!(rig.ended.len(), 1);
}

pub fn a_burst_ending_in_fin_is_read_to_its_end<M: Make>() {
    let mut limits = limits(8);
    // Exact multiples of the buffer, so that the last read before the end fills it.
    limits.recv_bytes = 1000;
    for len in [0, 1, 999, 1000, 1001, 5000, 70_000] {
        let mut rig = Rig::new::<M>(&limits);
        let mut client = TcpStream::connect(rig.addr).unwrap();
        client.write_all(&vec![3; len]).unwrap();
        drop(client);
        rig.turn_until("end", |rig| !rig.ended.is_empty());
        let slot = rig.accepted[0];
        assert_eq!(rig.ended, [(slot, None)]);
        assert_eq!(rig.received[slot.0 as usize].len(), len);
    }
}

pub fn a_busy_connection_leaves_room_for_others<M: Make>() {
    let mut limits = limits(8);
    limits.events_per_turn = 4;
    limits.recv_bytes = 512;
    let mut rig = Rig::new::<M>(&limits);
    let (flood, flood_slot) = rig.connect();
    let (mut quiet, quiet_slot) = rig.connect();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let stop = stop.clone();
        move || {
            let mut flood = flood;
            flood.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let _ = flood.write(&[0; 60_000]);
            }
        }
    });
    rig.turn_until("flood", |rig| rig.received[flood_slot.0 as usize].len() > 100_000);
    for round in 1..=50 {
        quiet.write_all(b"?").unwrap();
        rig.turn_until("the quiet one's byte", |rig| rig.received[quiet_slot.0 as usize].len() == round);
        rig.received[flood_slot.0 as usize].clear();
    }
    // And a newcomer gets in.
    rig.connect();
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

pub fn a_turn_reports_no_more_than_its_limit<M: Make>() {
    let mut limits = limits(100);
    limits.events_per_turn = 5;
    let listener = listener();
    let addr = local_addr(&listener).unwrap();
    let mut driver = M::make(&limits, vec![listener]).unwrap();
    driver.accept_while_below(100);
    let mut clients: Vec<_> = (0..60).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    driver.waker().wake();
    let (mut accepted, mut received, mut woken, mut writable) = (0, 0, 0, 0);
    let deadline = driver.now_ns() + WATCHDOG_NS;
    while accepted + received + woken + writable < 60 + 60 + 1 + 60 {
        let mut events = Vec::new();
        driver.turn(Wait::Until(driver.now_ns() + 5_000_000), &mut events).unwrap();
        assert!(events.len() <= 5, "{} events", events.len());
        for event in events {
            match event {
                Event::Accepted { slot, .. } => {
                    accepted += 1;
                    driver.want_writable(slot);
                }
                Event::Received { buf, .. } => {
                    received += buf.filled().len();
                    driver.give_back(buf);
                }
                Event::Woken => woken += 1,
                Event::Writable { .. } => writable += 1,
                Event::End { .. } => panic!("nobody ended"),
            }
        }
        assert!(driver.now_ns() < deadline, "{accepted} {received} {woken} {writable}");
    }
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

/// Changes the process's descriptor limit: only [`in_own_process`].
pub fn running_out_of_descriptors_is_survived<M: Make>() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut rig = Rig::new::<M>(&limits(64));
    let first = rig.connect();
    let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(rig.addr).unwrap()).collect();
    let old = getrlimit(Resource::Nofile);
    // Below the lowest free number: no descriptor can be had at all.
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: old.maximum }).unwrap();
    let turns_before = rig.driver.counters().syscalls;
    let end = rig.driver.now_ns() + 300_000_000;
    let mut turns = 0;
    while rig.driver.now_ns() < end {
        rig.turn_for(Wait::Until(end));
        turns += 1;
    }
    let counters = rig.driver.counters();
    if counters.accept_exhausted > 0 {
        assert_eq!(rig.accepted.len(), 1);
        assert!((1..=6).contains(&counters.accept_exhausted), "{counters:?}");
        assert!(turns < 20, "{turns} turns in 300 ms is spinning");
        assert!(counters.syscalls - turns_before < 60);
    } else {
        // Direct descriptors are not counted against the limit.
        assert_eq!((rig.driver.name(), rig.accepted.len()), ("uring", 21));
    }
    // Those that are open go on.
    assert_eq!(rig.send(first.1, b"x"), Sent::Bytes(1));
    setrlimit(Resource::Nofile, old).unwrap();
    // A close ends the waiting at once; nobody of the backlog was lost.
    rig.driver.close(first.1);
    rig.turn_until("the backlog", |rig| rig.accepted.len() == 21);
    drop(clients);
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
            a_thousand_connections_are_served,
            every_close_is_seen_by_the_peer,
            dropping_the_driver_closes_everything,
            a_full_table_leaves_the_rest_in_the_backlog,
            the_limit_on_accepts_moves_both_ways,
            stop_listening_takes_the_backlog_and_no_more,
            stop_listening_with_a_full_table_still_closes,
            two_listeners_are_both_served,
            ipv6_peers_are_named,
            few_buffers_starve_nobody,
            buffers_on_loan_outlive_the_connection,
            a_reused_slot_never_speaks_for_its_predecessor,
            a_wake_is_never_lost,
            a_wait_ends_at_its_deadline_and_not_before,
            pausing_loses_nothing,
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
