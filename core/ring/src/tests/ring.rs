//! Limits, layout and life-cycle of the ring, one thread.

use crate::ring::READERS_MAX;
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::head;
use crate::types::{ConnectionId, Kind, Priority, TopicId};

const UNIT: usize = 64;
const HEAD: usize = 56;
/// 64 units.
const SMALL: usize = 4096;

fn one(bytes: usize, origin: u64) -> (Arc<Ring>, Reader) {
    let (ring, mut readers) = Ring::with_origin(bytes, 1, origin).unwrap();
    (ring, readers.pop().unwrap())
}

/// Payload bytes of a record of exactly so many units.
fn filling(units: usize) -> Vec<u8> {
    (0..units * UNIT - HEAD).map(|i| (i * 7 + units) as u8).collect()
}

#[test]
fn a_record_comes_out_as_it_went_in() {
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, 2).unwrap();
    let pool = PayloadPool::new(1 << 20);
    let full = Head {
        kind: RecordKind::TopicPolicy,
        priority: Priority::Low,
        payload_kind: Kind::Json,
        flags: 0xff,
        topic: TopicId(u32::MAX),
        ttl_ms: u32::MAX,
        time_ns: u64::MAX - 1,
        origin: ConnectionId::new(255, 0xff_ffff, u32::MAX - 1),
        key: u64::MAX - 2,
        seq: u64::MAX - 3,
    };
    let first = ring.try_publish(&full, b"hello").unwrap();
    let second = ring.try_publish_shared(&head(4), pool.copy_from(&[1; 1000]).unwrap()).unwrap();
    assert_eq!(ring.try_publish_many(&head(5), &[b"a", b"", b"ccc"]), Ok(3));
    for reader in &mut readers {
        let record = reader.next().unwrap();
        assert_eq!((record.position, record.head, record.body.bytes()), (first, full, &b"hello"[..]));
        let record = reader.next().unwrap();
        assert_eq!((record.position, record.head), (second, head(4)));
        assert!(matches!(record.body, Body::Shared(payload) if **payload == [1; 1000]));
        for expected in [&b"a"[..], b"", b"ccc"] {
            assert_eq!(reader.next().unwrap().body.bytes(), expected);
        }
        assert!(reader.next().is_none());
        reader.release();
    }
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn every_kind_of_head_comes_back() {
    let (ring, mut reader) = one(SMALL, 0);
    let kinds = [
        RecordKind::Message,
        RecordKind::TopicCreated,
        RecordKind::TopicRemoved,
        RecordKind::TopicPolicy,
        RecordKind::Epoch,
    ];
    for kind in kinds {
        for priority in Priority::ALL {
            for payload_kind in [Kind::Text, Kind::Binary, Kind::Json] {
                let head = Head { kind, priority, payload_kind, ..head(1) };
                ring.try_publish(&head, &[]).unwrap();
                assert_eq!(reader.next().unwrap().head, head);
                reader.release();
            }
        }
    }
}

#[test]
fn sizes_out_of_bounds_are_refused() {
    for bytes in [0, 1, 4096, RING_BYTES_MIN - 1, RING_BYTES_MIN + 64, 3 << 20, RING_BYTES_MAX * 2] {
        assert_eq!(Ring::new(bytes, 1).unwrap_err(), RingError::Size(bytes));
    }
    for readers in [0, READERS_MAX + 1] {
        assert_eq!(Ring::new(RING_BYTES_MIN, readers).unwrap_err(), RingError::Readers(readers));
    }
    let (_, readers) = Ring::new(RING_BYTES_MIN, READERS_MAX).unwrap();
    assert_eq!(readers.len(), READERS_MAX);
    assert!(Ring::footprint(RING_BYTES_DEFAULT, 2) < RING_BYTES_DEFAULT / 100 * 108);
}

#[test]
fn exactly_full_is_taken_and_one_more_is_not() {
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, 2).unwrap();
    for i in 0..1024 {
        assert_eq!(ring.try_publish(&head(i), &filling(1)), Ok(Position(u64::from(i) * 64)));
    }
    assert_eq!(ring.used_bytes(), ring.capacity());
    assert_eq!(ring.try_publish(&head(0), &[]), Err(Refused::Full));
    assert_eq!(ring.try_publish_many(&head(0), &[&[]]), Err(Refused::Full));
    // Reading alone gives nothing back, nor does one reader of two.
    assert!(readers[0].next().is_some());
    assert_eq!(ring.try_publish(&head(0), &[]), Err(Refused::Full));
    readers[0].release();
    assert_eq!(ring.try_publish(&head(0), &[]), Err(Refused::Full));
    assert!(readers[1].next().is_some());
    readers[1].release();
    assert_eq!(ring.try_publish(&head(0), &filling(2)), Err(Refused::Full));
    assert!(ring.try_publish(&head(0), &filling(1)).is_ok());
    assert_eq!(ring.try_publish(&head(0), &[]), Err(Refused::Full));
}

#[test]
fn every_record_at_every_offset_is_placed_and_read() {
    for offset in 0..64u64 {
        for units in 1..=32 {
            for origin in [0, u64::from(u32::MAX) * SMALL as u64] {
                let origin = origin + offset * 64;
                let (ring, mut reader) = one(SMALL, origin);
                let payload = filling(units);
                let wraps = offset as usize + units > 64;
                let expected = if wraps { (origin / SMALL as u64 + 1) * SMALL as u64 } else { origin };
                assert_eq!(ring.try_publish(&head(9), &payload), Ok(Position(expected)));
                // The next one begins where this one ends, as a batch does.
                assert_eq!(ring.try_publish_many(&head(10), &[b"next"]), Ok(1));
                let record = reader.next().unwrap();
                assert_eq!((record.position, record.body.bytes()), (Position(expected), &payload[..]));
                assert_eq!(reader.next().unwrap().body.bytes(), b"next");
                assert!(reader.next().is_none());
                reader.release();
                assert_eq!((ring.used_bytes(), reader.backlog_bytes()), (0, 0));
            }
        }
    }
}

#[test]
fn padding_counts_against_the_room() {
    // 40 units, then 30: 24 of padding would make 94 of 64.
    let (ring, mut reader) = one(SMALL, 0);
    for _ in 0..2 {
        ring.try_publish(&head(1), &filling(20)).unwrap();
    }
    assert_eq!(ring.try_publish(&head(2), &filling(30)), Err(Refused::Full));
    reader.next();
    reader.release();
    assert_eq!(ring.try_publish(&head(2), &filling(30)), Err(Refused::Full), "20 of 30 units are free at the start");
    assert_eq!(ring.try_publish(&head(2), &filling(20)), Ok(Position(40 * 64)), "which fits before the end");
}

#[test]
fn the_largest_inline_payload_is_taken_and_one_byte_more_is_not() {
    let (ring, mut reader) = one(RING_BYTES_MIN, 0);
    let largest = vec![7; INLINE_MAX];
    let larger = vec![7; INLINE_MAX + 1];
    // Fifteen rounds see every wrap that this size makes in this ring.
    for _ in 0..15 {
        ring.try_publish(&head(1), &largest).unwrap();
        assert_eq!(ring.try_publish_many(&head(1), &[b"x", &largest]), Ok(2));
        assert_eq!(reader.next().unwrap().body.bytes(), largest);
        assert_eq!(reader.next().unwrap().body.bytes(), b"x");
        assert_eq!(reader.next().unwrap().body.bytes(), largest);
        reader.release();
    }
    assert_eq!(ring.try_publish(&head(1), &larger), Err(Refused::TooLarge));
    assert_eq!(ring.try_publish_many(&head(1), &[&larger]), Err(Refused::TooLarge));
    assert_eq!(ring.try_publish_many(&head(1), &[b"x", &larger, b"y"]), Ok(1));
    assert_eq!(ring.publish_many_timeout(&head(1), &[b"x", &larger, b"y"], Duration::from_secs(9)), Ok(1));
    assert_eq!(reader.next().unwrap().body.bytes(), b"x");
    assert_eq!(reader.next().unwrap().body.bytes(), b"x");
    assert!(reader.next().is_none());
}

#[test]
fn a_batch_takes_what_fits() {
    let (ring, mut reader) = one(SMALL, 0);
    assert_eq!(ring.try_publish_many(&head(1), &[]), Ok(0));
    let payload = filling(10);
    let batch = vec![&payload[..]; 10];
    assert_eq!(ring.try_publish_many(&head(1), &batch), Ok(6));
    assert_eq!(ring.try_publish_many(&head(1), &batch), Err(Refused::Full));
    // No padding was written for the one that did not fit.
    assert_eq!(ring.try_publish_many(&head(2), &[b"1", b"2", b"3", b"4", b"5"]), Ok(4));
    for i in 0..10 {
        assert_eq!(reader.next().unwrap().head.topic.0, if i < 6 { 1 } else { 2 });
    }
    assert!(reader.next().is_none());
    reader.release();
    assert_eq!(ring.publish_many_timeout(&head(3), &batch, Duration::from_millis(1)), Ok(6));
    assert_eq!(ring.publish_many_timeout(&head(3), &batch, Duration::from_millis(1)), Err(Refused::Full));
    assert_eq!(ring.publish_many_timeout(&head(3), &batch, Duration::ZERO), Err(Refused::Full));
}

#[test]
fn a_full_table_of_shared_payloads_is_a_full_ring() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut readers) = Ring::with_origin(SMALL, 2, 0).unwrap();
    let payload = pool.copy_from(b"shared").unwrap();
    let used = pool.used_bytes();
    for _ in 0..4 {
        ring.try_publish_shared(&head(1), payload.clone()).unwrap();
    }
    let (refused, back) = ring.try_publish_shared(&head(1), payload.clone()).unwrap_err();
    assert_eq!((refused, &*back), (Refused::Full, &b"shared"[..]));
    drop((back, payload));
    assert_eq!(pool.used_bytes(), used);
    for reader in &mut readers {
        while let Some(record) = reader.next() {
            assert_eq!(record.body.bytes(), b"shared");
        }
    }
    // Going on is enough for the payload; the room in the ring needs a release.
    assert_eq!(pool.used_bytes(), 0);
    ring.try_publish_shared(&head(1), pool.copy_from(b"again").unwrap()).unwrap();
    assert_eq!(readers[0].next().unwrap().body.bytes(), b"again");
}

#[test]
fn a_refused_shared_payload_keeps_no_slot() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut reader) = one(SMALL, 0);
    for i in 0..64 {
        ring.try_publish(&head(i), &[]).unwrap();
    }
    for _ in 0..10 {
        let (refused, _) = ring.try_publish_shared(&head(1), pool.copy_from(b"x").unwrap()).unwrap_err();
        assert_eq!(refused, Refused::Full);
    }
    while reader.next().is_some() {}
    reader.release();
    for _ in 0..4 {
        ring.try_publish_shared(&head(1), pool.copy_from(b"x").unwrap()).unwrap();
    }
    drop(reader);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn an_abandoned_claim_stalls_nobody() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut reader) = one(SMALL, 0);
    let claim = pool.claim(1000).unwrap();
    ring.try_publish(&head(1), b"after the claim").unwrap();
    assert_eq!(reader.next().unwrap().body.bytes(), b"after the claim");
    drop(claim);
    assert_eq!(pool.used_bytes(), 0);
    assert!(reader.next().is_none());
}

#[test]
fn a_dropped_reader_holds_nobody_back() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut readers) = Ring::with_origin(SMALL, 3, 0).unwrap();
    ring.try_publish_shared(&head(1), pool.copy_from(b"x").unwrap()).unwrap();
    let mut last = readers.pop().unwrap();
    // One reader holds the payload on loan when it goes, one never saw it.
    assert!(readers[0].next().is_some());
    drop(readers);
    assert_eq!(last.next().unwrap().body.bytes(), b"x");
    assert!(last.next().is_none());
    assert_eq!(pool.used_bytes(), 0);
    for i in 0..1000 {
        ring.try_publish(&head(i), &[]).unwrap();
        assert_eq!(last.next().unwrap().head.topic.0, i);
        last.release();
    }
    ring.try_publish_shared(&head(1), pool.copy_from(b"y").unwrap()).unwrap();
    drop(last);
    assert!(ring.is_closed());
    assert_eq!(pool.used_bytes(), 0);
    assert_eq!(ring.try_publish(&head(1), &[]), Err(Refused::Stopped));
}

#[test]
fn a_closed_ring_is_read_to_its_end() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut reader) = one(SMALL, 0);
    ring.try_publish(&head(1), b"last words").unwrap();
    assert!(!reader.is_finished());
    ring.close();
    ring.close();
    assert_eq!(ring.try_publish(&head(1), &[]), Err(Refused::Stopped));
    assert_eq!(ring.try_publish_many(&head(1), &[&[]]), Err(Refused::Stopped));
    assert_eq!(ring.publish_timeout(&head(1), &[], Duration::from_secs(3600)), Err(Refused::Stopped));
    let (refused, payload) = ring.try_publish_shared(&head(1), pool.copy_from(b"x").unwrap()).unwrap_err();
    assert_eq!((refused, &*payload), (Refused::Stopped, &b"x"[..]));
    assert!(!reader.is_finished() && reader.backlog_bytes() == 128);
    assert_eq!(reader.next().unwrap().body.bytes(), b"last words");
    assert!(reader.is_finished());
    assert!(reader.next().is_none());
}

#[test]
fn payloads_that_nobody_read_go_with_the_ring() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, reader) = one(SMALL, 0);
    ring.try_publish_shared(&head(1), pool.copy_from(b"x").unwrap()).unwrap();
    drop((ring, reader));
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn no_mark_grows_old() {
    let (ring, mut reader) = one(SMALL, 0);
    for i in 0..400 {
        ring.try_publish(&head(i), &filling(32)).unwrap();
        assert!(reader.next().is_some());
        reader.release();
    }
    // 200 laps in which records began at two units only.
    assert!(ring.main.oldest_mark_laps() <= 64 + 2, "{}", ring.main.oldest_mark_laps());
    assert!(ring.main.oldest_mark_laps() > 2, "the test would show nothing");
}

#[test]
fn laps_wrap_around() {
    let origin = (u64::from(u32::MAX) - 5) * SMALL as u64;
    let (ring, mut reader) = one(SMALL, origin);
    for i in 0..1000u32 {
        let payload = filling(1 + i as usize % 30);
        ring.try_publish(&head(i), &payload).unwrap();
        let record = reader.next().unwrap();
        assert_eq!((record.head.topic.0, record.body.bytes()), (i, &payload[..]));
        assert!(reader.next().is_none());
        reader.release();
    }
    assert!(reader.position().0 > (u64::from(u32::MAX) + 5) * SMALL as u64);
}

#[test]
fn attributes_come_with_their_message_however_its_payload_crosses() {
    let (ring, mut reader) = one(RING_BYTES_MIN, 0);
    let pool = PayloadPool::new(1 << 20);
    let critical = Head { priority: Priority::Critical, ..head(9) };
    let most = vec![0xa5; ATTRIBUTES_MAX];
    for head in [head(9), critical] {
        for attributes in [&b""[..], b"a", &most] {
            let shared = || pool.copy_from(&[1; 20_000]).unwrap();
            ring.try_publish_with(&head, attributes, b"payload").unwrap();
            ring.try_publish_with(&head, attributes, b"").unwrap();
            ring.try_publish_shared_with(&head, attributes, shared()).unwrap();
            ring.publish_with_timeout(&head, attributes, b"waits", Duration::from_secs(1)).unwrap();
            ring.publish_shared_timeout(&head, attributes, shared(), Duration::from_secs(1)).unwrap();
            ring.try_publish(&head, b"without").unwrap();
            for (expected, len) in [(attributes, 7), (attributes, 0), (attributes, 20_000), (attributes, 5)] {
                let record = reader.next().unwrap();
                assert_eq!((record.head, record.attributes, record.body.bytes().len()), (head, expected, len));
            }
            assert_eq!(reader.next().unwrap().attributes, attributes);
            let record = reader.next().unwrap();
            assert_eq!((record.attributes, record.body.bytes()), (&b""[..], &b"without"[..]));
            assert!(reader.next().is_none());
            reader.release();
        }
        // At the limits and one past them: of attributes, and of what is copied with them.
        let payload = vec![7; INLINE_MAX - ATTRIBUTES_MAX];
        ring.try_publish_with(&head, &most, &payload).unwrap();
        assert_eq!(reader.next().unwrap().body.bytes(), payload);
        let (much, more) = (vec![0; ATTRIBUTES_MAX + 1], vec![7; payload.len() + 1]);
        assert_eq!(ring.try_publish_with(&head, &most, &more), Err(Refused::TooLarge));
        assert_eq!(ring.try_publish_with(&head, &much, b""), Err(Refused::TooLarge));
        let back = ring.try_publish_shared_with(&head, &much, pool.copy_from(b"back").unwrap());
        assert!(matches!(back, Err((Refused::TooLarge, payload)) if *payload == *b"back"));
        reader.release();
    }
    reader.release();
    assert_eq!(pool.used_bytes(), 0);
}
