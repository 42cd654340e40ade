//! Accepting: as many as there is room for, the rest left waiting, nobody dropped.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

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

pub fn a_listener_that_is_left_goes_on_listening_for_another<M: Make>() {
    let (left, own) = (listener(), listener());
    let addrs = [local_addr(&left).unwrap(), local_addr(&own).unwrap()];
    let others = TcpListener::from(left.try_clone().unwrap());
    let driver = M::make(&limits(16), vec![left, own]).unwrap();
    let mut rig = Rig::over(driver, addrs[0], 16);
    rig.driver.accept_while_below(16);
    let (_client, slot) = rig.connect();
    // What waits in both backlogs.
    rig.driver.accept_while_below(0);
    rig.settle();
    let _waiting: Vec<_> = addrs.iter().flat_map(|addr| [*addr; 3]).map(|to| TcpStream::connect(to).unwrap()).collect();
    rig.driver.leave_listener(0);
    rig.driver.stop_listening();
    rig.turn_until("the other backlog", |rig| rig.accepted.len() == 4);
    rig.settle();
    let _later = TcpStream::connect(addrs[0]).unwrap();
    rig.settle();
    assert_eq!(rig.accepted.len(), 4, "nothing of the one that is left");
    assert_eq!(TcpStream::connect(addrs[1]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    others.set_nonblocking(true).unwrap();
    assert_eq!(std::iter::from_fn(|| others.accept().ok()).count(), 4, "nobody is lost");
    assert_eq!(rig.send(slot, b"still here"), Sent::Bytes(10));
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
