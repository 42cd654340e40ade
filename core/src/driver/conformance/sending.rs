//! Sending: every byte once, in order, however it is cut.

use std::io::{IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::thread;

use super::*;

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

/// The peer has ended, takes nothing, and nobody hears of it, for receiving is paused: that keeps nobody busy, and room is told of.
pub fn a_peer_that_has_ended_and_takes_nothing_keeps_nobody_busy<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    let (mut client, slot) = rig.connect();
    rig.driver.pause_recv(slot);
    fill(&mut rig, slot);
    client.shutdown(Shutdown::Write).unwrap();
    rig.settle();
    rig.writable.clear();
    // As a shard does: it sends, and where nothing is taken it waits for room.
    let mut told = 0;
    for _ in 0..100 {
        if rig.send(slot, b"more") == Sent::Blocked {
            rig.driver.want_writable(slot);
        }
        rig.turn_for(Wait::No);
        told += std::mem::take(&mut rig.writable).len();
    }
    assert!(told <= 2, "told of room {told} times, and there was none");
    rig.driver.want_writable(slot);
    let reader = thread::spawn(move || client.read_to_end(&mut Vec::new()));
    rig.turn_until("room", |rig| rig.writable.contains(&slot));
    rig.driver.close(slot);
    rig.turn_for(Wait::No);
    assert!(reader.join().unwrap().is_ok_and(|bytes| bytes > 0));
}
