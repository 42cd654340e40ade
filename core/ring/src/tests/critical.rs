//! Critical messages have room of their own and are read first, but never before the record that makes their topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::*;
use super::head;
use crate::types::{Kind, Priority, TopicId};

/// 64 units in each area.
const SMALL: usize = 4096;

fn one() -> (Arc<Ring>, Reader) {
    let (ring, mut readers) = Ring::with_origin(SMALL, 1, 0).unwrap();
    (ring, readers.pop().unwrap())
}

fn critical(topic: u32) -> Head {
    Head::message(TopicId(topic), Priority::Critical, Kind::Binary)
}

fn about(kind: RecordKind, topic: u32) -> Head {
    Head { kind, ..head(topic) }
}

/// All that is there to read, as (kind, topic, is critical).
fn read_all(reader: &mut Reader) -> Vec<(RecordKind, u32, bool)> {
    let mut seen = Vec::new();
    while let Some(record) = reader.next() {
        seen.push((record.head.kind, record.head.topic.0, record.head.is_critical()));
    }
    reader.release();
    seen
}

fn messages(topics: &[u32], is_critical: bool) -> Vec<(RecordKind, u32, bool)> {
    topics.iter().map(|&topic| (RecordKind::Message, topic, is_critical)).collect()
}

#[test]
fn bulk_that_fills_the_ring_refuses_no_critical_message_and_delays_none() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut reader) = one();
    let (mut taken, mut refused) = (0, 0);
    for round in 0..100 {
        while ring.try_publish(&head(1), &[7; 100]).is_ok() {}
        // The table of shared payloads is each area's own, too.
        while ring.try_publish_shared(&head(1), pool.copy_from(b"x").unwrap()).is_ok() {}
        assert_eq!(ring.try_publish(&head(1), &[]), Err(Refused::Full));
        for number in 0..20 {
            match ring.try_publish(&critical(2), &[round, number]) {
                Ok(_) => taken += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(ring.try_publish_shared(&critical(2), pool.copy_from(b"large").unwrap()).is_ok());
        for number in 0..20 {
            assert_eq!(reader.next().unwrap().body.bytes(), [round, number], "before all bulk");
        }
        assert_eq!(reader.next().unwrap().body.bytes(), b"large");
        // Half of the bulk: it is never read to its end.
        for _ in 0..16 {
            assert_eq!(reader.next().unwrap().head.topic.0, 1);
        }
        reader.release();
    }
    assert_eq!((taken, refused), (2000, 0));
}

#[test]
fn the_critical_area_is_taken_to_its_last_byte_and_no_further() {
    let (ring, mut reader) = one();
    for _ in 0..64 {
        ring.try_publish(&critical(1), &[]).unwrap();
    }
    assert_eq!(ring.try_publish(&critical(1), &[]), Err(Refused::Full));
    assert_eq!(ring.try_publish_many(&critical(1), &[b""]), Err(Refused::Full));
    assert_eq!(ring.publish_timeout(&critical(1), &[], Duration::from_millis(1)), Err(Refused::Full));
    ring.try_publish(&head(2), &[]).unwrap();
    assert_eq!(ring.used_bytes(), SMALL as u64 + 64);
    assert_eq!(reader.backlog_bytes(), SMALL as u64 + 64);
    assert_eq!(reader.next().unwrap().head.topic.0, 1);
    reader.release();
    // The head is a word longer than in the main area: a unit holds no payload byte beside it.
    assert_eq!(ring.try_publish(&critical(1), b"1"), Err(Refused::Full));
    ring.try_publish(&critical(1), &[]).unwrap();
    assert_eq!(ring.try_publish(&critical(1), &vec![0; SMALL / 2 - 64 + 1]), Err(Refused::TooLarge));
    assert_eq!(read_all(&mut reader).len(), 64 + 1);
    ring.try_publish(&critical(1), &vec![0; SMALL / 2 - 64]).unwrap();
}

#[test]
fn the_largest_inline_payload_fits_the_critical_area_of_the_smallest_ring() {
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, 1).unwrap();
    for _ in 0..20 {
        ring.try_publish(&critical(1), &vec![7; INLINE_MAX]).unwrap();
        assert_eq!(ring.try_publish_many(&critical(1), &[b"x", &vec![8; INLINE_MAX]]), Ok(2));
        assert_eq!(read_all(&mut readers[0]).len(), 3);
    }
    assert_eq!(ring.try_publish(&critical(1), &vec![7; INLINE_MAX + 1]), Err(Refused::TooLarge));
}

#[test]
fn every_head_comes_back_from_the_critical_area_and_no_two_positions_are_the_same() {
    let (ring, mut reader) = one();
    let full = Head {
        payload_kind: Kind::Json,
        flags: 0xff,
        ttl_ms: u32::MAX,
        time_ns: u64::MAX - 1,
        key: u64::MAX - 2,
        seq: u64::MAX,
        ..critical(u32::MAX)
    };
    let first = ring.try_publish(&head(1), b"main").unwrap();
    let second = ring.try_publish(&full, b"critical").unwrap();
    assert_ne!(first, second);
    let record = reader.next().unwrap();
    assert_eq!((record.position, record.head, record.body.bytes()), (second, full, &b"critical"[..]));
    let record = reader.next().unwrap();
    assert_eq!((record.position, record.head, record.body.bytes()), (first, head(1), &b"main"[..]));
}

#[test]
fn a_critical_message_waits_for_its_topic_and_for_nothing_else() {
    let (ring, mut reader) = one();
    ring.try_publish(&about(RecordKind::TopicCreated, 1), b"one").unwrap();
    assert_eq!(read_all(&mut reader).len(), 1);
    ring.try_publish(&head(1), b"bulk").unwrap();
    ring.try_publish(&critical(1), b"known").unwrap();
    ring.try_publish(&about(RecordKind::TopicCreated, 2), b"two").unwrap();
    ring.try_publish(&head(1), b"bulk").unwrap();
    ring.try_publish(&critical(2), b"new").unwrap();
    ring.try_publish(&critical(1), b"behind it").unwrap();
    let mut expected = messages(&[1], true);
    expected.extend(messages(&[1], false));
    expected.push((RecordKind::TopicCreated, 2, false));
    expected.extend(messages(&[2, 1], true));
    expected.extend(messages(&[1], false));
    assert_eq!(read_all(&mut reader), expected);
}

#[test]
fn a_number_that_is_used_again_waits_for_its_new_topic() {
    let (ring, mut reader) = one();
    let again = 5 | 1 << crate::types::TOPIC_INDEX_BITS;
    ring.try_publish(&about(RecordKind::TopicCreated, 5), b"a").unwrap();
    ring.try_publish(&about(RecordKind::TopicRemoved, 5), b"").unwrap();
    read_all(&mut reader);
    ring.try_publish(&about(RecordKind::TopicCreated, again), b"b").unwrap();
    ring.try_publish(&critical(again), b"").unwrap();
    assert_eq!(read_all(&mut reader), [(RecordKind::TopicCreated, again, false), (RecordKind::Message, again, true)]);
}

#[test]
fn what_was_published_before_a_topic_was_removed_is_read_before_that() {
    let (ring, mut reader) = one();
    ring.try_publish(&about(RecordKind::TopicRemoved, 1), b"").unwrap();
    // Read up to before the record, then the critical message is published, then the record is looked at again.
    let (other, mut late) = one();
    for ring in [&ring, &other] {
        ring.try_publish(&critical(1), b"").unwrap();
    }
    assert_eq!(read_all(&mut reader), [(RecordKind::Message, 1, true), (RecordKind::TopicRemoved, 1, false)]);
    assert_eq!(read_all(&mut late), messages(&[1], true));
    other.try_publish(&about(RecordKind::TopicRemoved, 1), b"").unwrap();
    assert_eq!(read_all(&mut late), [(RecordKind::TopicRemoved, 1, false)]);
}

#[test]
fn a_flood_of_critical_messages_lets_one_record_in_sixty_five_pass() {
    let (ring, mut reader) = one();
    for _ in 0..40 {
        ring.try_publish(&head(2), &[]).unwrap();
    }
    let mut critical_read = 0;
    let mut main_read = 0;
    for _ in 0..1000 {
        while ring.try_publish(&critical(1), &[]).is_ok() {}
        let record = reader.next().unwrap();
        if record.head.is_critical() {
            critical_read += 1
        } else {
            main_read += 1
        }
        reader.release();
    }
    assert_eq!((critical_read, main_read), (985, 15));
}

#[test]
fn a_closed_ring_is_read_to_the_end_of_both_areas() {
    let (ring, mut reader) = one();
    ring.try_publish(&about(RecordKind::TopicCreated, 1), b"a").unwrap();
    ring.try_publish(&critical(1), &[]).unwrap();
    ring.close();
    assert_eq!(ring.try_publish(&critical(1), &[]), Err(Refused::Stopped));
    assert_eq!(ring.try_publish_many(&critical(1), &[b""]), Err(Refused::Stopped));
    assert!(!reader.is_finished());
    assert!(reader.next().is_some());
    assert!(!reader.is_finished(), "the critical message is still to come");
    assert!(reader.next().is_some());
    assert!(reader.is_finished());
}

#[test]
fn a_critical_message_wakes_who_sleeps_and_is_found_by_who_is_about_to() {
    let (ring, mut reader) = one();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    reader.set_waker(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    assert!(reader.prepare_sleep());
    ring.try_publish(&critical(1), &[]).unwrap();
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    assert!(!reader.prepare_sleep());
    assert_eq!(read_all(&mut reader).len(), 1);
    assert!(reader.prepare_sleep());
}

#[test]
fn shared_payloads_of_both_areas_are_given_up() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut readers) = Ring::with_origin(SMALL, 2, 0).unwrap();
    for head in [head(1), critical(1)] {
        ring.try_publish_shared(&head, pool.copy_from(b"x").unwrap()).unwrap();
    }
    assert_eq!(read_all(&mut readers[0]).len(), 2);
    assert!(pool.used_bytes() > 0);
    drop(readers.pop());
    assert_eq!(pool.used_bytes(), 0);
}
