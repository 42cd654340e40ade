//! Models: every interleaving (up to a bound on preemptions) and every value that the memory model allows a load to
//! see. `cargo test -p fanwire-ring --features loom --lib loom::`
//!
//! All plain memory is watched (`sync::Watch`), so a missing happens-before fails a model even if the bytes happen to be
//! right; a lost wake-up is a deadlock, which loom reports.
//!
//! Planted once each, and found: `Relaxed` for a mark, a release, the limit, a payload's drop and its last drop, a retirement; none of
//! the fences of `signal` (four of them); no second look of a reader that goes to sleep, and of a publisher at who shares; a
//! limit one unit too far; a close, a reader that goes, and a letter that wake nobody; a batch reserved piece by piece; a critical record
//! that waits for no topic, a removal that waits for no critical record, a release of the critical area that wakes nobody. Each model
//! has found at least one of them.

mod standstill;

use std::sync::Arc;

use ::loom::thread::{self, JoinHandle};

use super::sleeper::{WAIT, attributes, head, publish, publish_with, ring};
use super::sync::ArrayQueue;
use super::{Head, Payload, PayloadPool, Position, RecordKind, Refused, Ring};
use crate::types::{Kind, Priority, TopicId};

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Runs `work` on its own thread with the ring.
fn with_ring<T: 'static>(ring: &Arc<Ring>, work: impl FnOnce(&Ring) -> T + 'static) -> JoinHandle<T> {
    let ring = Arc::clone(ring);
    thread::spawn(move || work(&ring))
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap()
}

fn is_taken(result: Result<Position, (Refused, Payload)>) -> bool {
    result.is_ok()
}

fn critical(topic: u32) -> Head {
    Head::message(TopicId(topic), Priority::Critical, Kind::Binary)
}

fn about(kind: RecordKind, topic: u32) -> Head {
    Head { kind, ..head(topic) }
}

#[test]
fn no_critical_message_is_read_before_the_record_that_makes_its_topic() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        let bulk = with_ring(&ring, |ring| publish(ring, 1, 4));
        let maker = with_ring(&ring, |ring| {
            ring.try_publish(&about(RecordKind::TopicCreated, 2), &[2]).unwrap();
            ring.try_publish(&critical(2), &[2]).unwrap();
        });
        let seen = reader.read(3);
        let of_topic = |topic| seen.iter().filter(|&&seen| seen == topic).count();
        assert_eq!((of_topic(1), of_topic(2)), (1, 2));
        // Both are of topic 2: their order is seen by their kinds.
        let kinds: Vec<_> = reader.kinds.iter().filter(|&&(topic, _)| topic == 2).map(|&(_, kind)| kind).collect();
        assert_eq!(kinds, [RecordKind::TopicCreated, RecordKind::Message]);
        join(bulk);
        join(maker);
    });
}

#[test]
fn a_critical_message_is_read_before_the_record_that_removes_its_topic_later() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        let other = with_ring(&ring, |ring| publish(ring, 1, 4));
        let host = with_ring(&ring, |ring| {
            ring.try_publish(&critical(2), &[2]).unwrap();
            ring.try_publish(&about(RecordKind::TopicRemoved, 2), &[2]).unwrap();
        });
        reader.read(3);
        let kinds: Vec<_> = reader.kinds.iter().filter(|&&(topic, _)| topic == 2).map(|&(_, kind)| kind).collect();
        assert_eq!(kinds, [RecordKind::Message, RecordKind::TopicRemoved]);
        join(other);
        join(host);
    });
}

#[test]
fn no_wake_up_is_lost_where_both_areas_are_full() {
    explore(2, || {
        let (ring, [mut reader]) = ring(0);
        assert_eq!(ring.try_publish_many(&head(1), &[&[1], &[1], &[1], &[1]]), Ok(4));
        assert_eq!(ring.try_publish_many(&critical(2), &[&[], &[], &[], &[]]), Ok(4));
        let bulk = with_ring(&ring, |ring| publish(ring, 1, 1));
        let important = with_ring(&ring, |ring| ring.publish_timeout(&critical(2), &[], WAIT).map(drop).unwrap());
        assert_eq!(reader.read(10).len(), 10);
        join(bulk);
        join(important);
    });
}

#[test]
fn two_producers_two_readers_one_order() {
    explore(2, || {
        let (ring, [mut first, mut second]) = ring(0);
        let producers = [1, 2].map(|topic| with_ring(&ring, move |ring| publish(ring, topic, 4)));
        let seen = second.read(2);
        assert!(seen == [1, 2] || seen == [2, 1]);
        producers.into_iter().for_each(join);
        assert_eq!(first.read(2), seen);
    });
}

#[test]
fn a_full_ring_wraps_without_a_race() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        // Records of 1, 2, 2 and 1 units: padding at the end of the first lap, and the ring is full in between.
        let producer = with_ring(&ring, |ring| {
            publish(ring, 1, 4);
            publish(ring, 2, 60);
            publish(ring, 3, 60);
            publish(ring, 4, 4);
        });
        assert_eq!(reader.read(4), [1, 2, 3, 4]);
        join(producer);
    });
}

#[test]
fn attributes_cross_with_their_message_and_wrap_without_a_race() {
    explore(3, || {
        let pool = PayloadPool::new(4096);
        let (ring, [mut reader]) = ring(0);
        let payload = pool.copy_from(&[2; 8]).unwrap();
        // Records of 2, 2, 2 and 1 units: attributes beside a copied payload, and before one by reference; the ring is full in between.
        let producer = with_ring(&ring, |ring| {
            publish_with(ring, 1, 20, 20);
            ring.publish_shared_timeout(&head(2), &attributes(2, 20), payload, WAIT).map(drop).unwrap();
            publish_with(ring, 3, 60, 4);
            publish_with(ring, 4, 4, 0);
        });
        assert_eq!(reader.read(4), [1, 2, 3, 4]);
        join(producer);
        drop(reader);
        assert_eq!(pool.used_bytes(), 0);
    });
}

#[test]
fn the_slower_of_two_readers_decides_when_bytes_are_overwritten() {
    explore(2, || {
        let (ring, [mut first, mut second]) = ring(0);
        publish(&ring, 1, 60);
        publish(&ring, 2, 60);
        let producer = with_ring(&ring, |ring| publish(ring, 3, 60));
        let other = thread::spawn(move || second.read(3));
        assert_eq!(first.read(3), [1, 2, 3]);
        assert_eq!(join(other), [1, 2, 3]);
        join(producer);
    });
}

#[test]
fn two_producers_share_the_last_room() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        for topic in [1, 2, 3] {
            publish(&ring, topic, 4);
        }
        let producers =
            [4, 5].map(|topic| with_ring(&ring, move |ring| ring.try_publish(&head(topic), &[topic as u8; 4]).is_ok()));
        assert_eq!(reader.read(1), [1]);
        let accepted = producers.map(join);
        // There was room for one before the release, and for two after it.
        let count = accepted.iter().filter(|&&taken| taken).count();
        assert!(count >= 1);
        let mut rest = reader.read(2 + count);
        assert!(reader.reader.next().is_none());
        rest.sort_unstable();
        let expected = [(true, 2), (true, 3), (accepted[0], 4), (accepted[1], 5)];
        assert_eq!(rest, expected.iter().filter(|(taken, _)| *taken).map(|&(_, topic)| topic).collect::<Vec<_>>());
    });
}

#[test]
fn a_producer_may_use_room_that_another_one_found() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        assert_eq!(ring.try_publish_many(&head(1), &[&[1], &[1], &[1], &[1]]), Ok(4));
        let producers =
            [4, 5].map(|topic| with_ring(&ring, move |ring| ring.try_publish(&head(topic), &[topic as u8]).is_ok()));
        assert_eq!(reader.read(2), [1, 1]);
        let accepted = producers.map(join);
        let count = accepted.iter().filter(|&&taken| taken).count();
        assert_eq!(reader.read(2 + count).len(), 2 + count);
    });
}

#[test]
fn a_batch_is_not_interleaved() {
    explore(2, || {
        let (ring, [mut reader]) = ring(192);
        let other = with_ring(&ring, |ring| publish(ring, 9, 4));
        let batch = with_ring(&ring, |ring| {
            assert_eq!(ring.publish_many_timeout(&head(7), &[&[7; 4], &[7; 4]], WAIT), Ok(2));
        });
        let seen = reader.read(3);
        assert!(seen == [7, 7, 9] || seen == [9, 7, 7]);
        join(other);
        join(batch);
    });
}

#[test]
fn no_wake_up_of_a_reader_is_lost() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        let producers = [1, 2].map(|topic| with_ring(&ring, move |ring| publish(ring, topic, 4)));
        assert_eq!(reader.read(2).len(), 2);
        producers.into_iter().for_each(join);
    });
}

#[test]
fn news_that_comes_by_another_way_wakes_a_reader_too() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        let mailbox = Arc::new(ArrayQueue::new(1));
        let host = {
            let mailbox = Arc::clone(&mailbox);
            with_ring(&ring, move |ring| {
                let _ = mailbox.push(7);
                ring.wake_reader(0);
            })
        };
        let producer = with_ring(&ring, |ring| publish(ring, 1, 4));
        assert_eq!(reader.read_both(1, &mailbox), (vec![1], 7));
        join(host);
        join(producer);
    });
}

#[test]
fn no_wake_up_of_a_producer_is_lost() {
    explore(3, || {
        let (ring, [mut first, mut second]) = ring(0);
        assert_eq!(ring.try_publish_many(&head(1), &[&[1], &[1], &[1], &[1]]), Ok(4));
        let producer = with_ring(&ring, |ring| publish(ring, 1, 1));
        let other = thread::spawn(move || second.read(4));
        first.read(4);
        join(other);
        join(producer);
    });
}

#[test]
fn a_reader_that_is_dropped_wakes_a_waiting_producer() {
    explore(4, || {
        let (ring, [gone, mut stays]) = ring(0);
        assert_eq!(ring.try_publish_many(&head(1), &[&[1], &[1], &[1], &[1]]), Ok(4));
        assert_eq!(stays.read(4).len(), 4);
        let producer = with_ring(&ring, |ring| publish(ring, 1, 1));
        drop(gone);
        join(producer);
        assert_eq!(stays.read(1).len(), 1);
    });
}

#[test]
fn the_last_reader_that_is_dropped_stops_a_waiting_producer() {
    explore(4, || {
        let (ring, [gone]) = ring(0);
        assert_eq!(ring.try_publish_many(&head(1), &[&[1], &[1], &[1], &[1]]), Ok(4));
        let producer = with_ring(&ring, |ring| ring.publish_timeout(&head(1), &[1], WAIT));
        drop(gone);
        assert_eq!(join(producer), Err(Refused::Stopped));
    });
}

#[test]
fn what_was_taken_before_the_close_is_read_and_nothing_else() {
    explore(3, || {
        let (ring, [mut reader]) = ring(0);
        let producer = with_ring(&ring, |ring| {
            [1, 2].map(|topic| match ring.try_publish(&head(topic), &[topic as u8]) {
                Ok(_) => true,
                Err(refused) => {
                    assert_eq!(refused, Refused::Stopped);
                    false
                }
            })
        });
        let closer = with_ring(&ring, Ring::close);
        let seen = reader.read(usize::MAX);
        join(closer);
        let taken = join(producer);
        assert!(taken[0] || !taken[1]);
        assert_eq!(seen.len(), taken.iter().filter(|&&taken| taken).count());
    });
}

#[test]
fn the_last_reader_of_a_shared_payload_frees_it() {
    explore(2, || {
        let pool = PayloadPool::new(4096);
        let (ring, [mut first, mut second]) = ring(0);
        let payload = pool.copy_from(&[3; 8]).unwrap();
        let producer = with_ring(&ring, |ring| is_taken(ring.try_publish_shared(&head(3), payload)));
        let other = thread::spawn(move || second.read(1));
        assert_eq!(first.read(1), [3]);
        assert_eq!(join(other), [3]);
        assert!(join(producer));
        assert_eq!(pool.used_bytes(), 0);
    });
}

#[test]
fn a_reader_that_is_dropped_while_a_payload_is_published_keeps_no_share() {
    explore(3, || {
        let pool = PayloadPool::new(4096);
        let (ring, [gone, mut stays]) = ring(0);
        let payload = pool.copy_from(&[3; 8]).unwrap();
        let producer = with_ring(&ring, |ring| is_taken(ring.try_publish_shared(&head(3), payload)));
        let dropper = thread::spawn(move || drop(gone));
        assert_eq!(stays.read(1), [3]);
        assert!(join(producer));
        join(dropper);
        assert_eq!(pool.used_bytes(), 0);
    });
}

#[test]
fn readers_that_are_all_dropped_while_a_payload_is_published_keep_no_share() {
    explore(3, || {
        let pool = PayloadPool::new(4096);
        let (ring, [first, second]) = ring(0);
        let payload = pool.copy_from(&[3; 8]).unwrap();
        let producer = with_ring(&ring, |ring| is_taken(ring.try_publish_shared(&head(3), payload)));
        let dropper = thread::spawn(move || drop(first));
        drop(second);
        join(producer);
        join(dropper);
        assert_eq!(pool.used_bytes(), 0);
    });
}

#[test]
fn the_last_drop_of_a_payload_comes_before_its_next_use() {
    explore(3, || {
        let pool = PayloadPool::new(4096);
        let first = pool.copy_from(&[1; 8]).unwrap();
        let second = first.clone();
        let reader = thread::spawn(move || {
            assert_eq!(*second, [1; 8]);
            drop(second);
        });
        let writer = {
            let pool = pool.clone();
            thread::spawn(move || {
                let claim = pool.claim(8).unwrap();
                assert_eq!(*claim, [0; 8]);
            })
        };
        assert_eq!(*first, [1; 8]);
        drop(first);
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(pool.used_bytes(), 0);
    });
}

#[test]
fn adopted_bytes_are_reclaimed_once() {
    struct Owner(Arc<std::sync::atomic::AtomicUsize>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &[5; 8]
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    explore(3, || {
        let drops = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let pool = PayloadPool::new(4096);
        let adopt = || pool.adopt(bytes::Bytes::from_owner(Owner(Arc::clone(&drops)))).unwrap();
        let (first, second) = (adopt(), adopt());
        let third = second.clone();
        let threads = [thread::spawn(move || drop(first)), thread::spawn(move || drop(second))];
        pool.reclaim();
        drop(third);
        pool.reclaim();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        pool.reclaim();
        assert_eq!(drops.load(std::sync::atomic::Ordering::SeqCst), 2);
        assert_eq!(pool.used_bytes(), 0);
    });
}
