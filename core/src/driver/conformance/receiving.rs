//! Receiving: every byte, then the end, whoever else is talking.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::*;

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

pub fn a_peer_that_goes_is_noticed_though_it_is_not_read<M: Make>() {
    let mut rig = Rig::new::<M>(&limits(4));
    // Everything was read: its FIN is its end.
    let (mut client, slot) = rig.connect();
    client.write_all(b"read").unwrap();
    rig.turn_until("bytes", |rig| rig.received[slot.0 as usize] == b"read");
    rig.driver.pause_recv(slot);
    client.shutdown(Shutdown::Write).unwrap();
    rig.turn_until("end", |rig| !rig.ended.is_empty());
    assert_eq!(rig.ended, [(slot, None)]);
    rig.driver.resume_recv(slot);
    rig.settle();
    assert_eq!(rig.ended, [(slot, None)], "once");
    rig.driver.close(slot);
    rig.ended.clear();
    // Something was not: its FIN comes behind that.
    let (mut client, slot) = rig.connect();
    rig.driver.pause_recv(slot);
    let before = rig.received[slot.0 as usize].len();
    client.write_all(b"unread").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    rig.settle();
    assert!(rig.ended.is_empty() && rig.received[slot.0 as usize].len() == before, "paused means paused");
    // But it goes altogether: with bytes of ours unread, its kernel resets the connection.
    rig.send_all(slot, b"never read");
    drop(client);
    rig.turn_until("a broken connection", |rig| !rig.ended.is_empty());
    assert!(matches!(rig.ended[..], [(ended, Some(_))] if ended == slot), "{:?}", rig.ended);
    assert_eq!(rig.received[slot.0 as usize].len(), before);
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
