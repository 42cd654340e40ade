//! Turns, wakes, closes and the reuse of slots.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::*;

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
                Event::Worn { .. } | Event::Woken => woken += 1,
                Event::Writable { .. } => writable += 1,
                Event::End { .. } => panic!("nobody ended"),
            }
        }
        assert!(driver.now_ns() < deadline, "{accepted} {received} {woken} {writable}");
    }
}
