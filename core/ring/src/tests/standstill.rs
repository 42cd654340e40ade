//! A reader that stands still is passed over, reads nothing that was overwritten, and is let in again with nothing missing in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::super::*;
use super::head;
use crate::types::{Kind, Priority, TopicId};

const MS: u64 = 1_000_000;

fn two(bytes: usize) -> (Arc<Ring>, Reader, Reader) {
    let (ring, mut readers) = Ring::with_origin(bytes, 2, 0).unwrap();
    let second = readers.pop().unwrap();
    (ring, readers.pop().unwrap(), second)
}

/// A message whose bytes all depend on its number.
fn message(number: u32, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| (i as u32).wrapping_mul(number | 1) as u8).collect();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

/// The number of a message that is whole.
fn number_of(bytes: &[u8]) -> u32 {
    let (payload, number) = bytes.split_at(bytes.len() - 4);
    let number = u32::from_le_bytes(number.try_into().unwrap());
    assert_eq!(bytes, message(number, payload.len()), "torn");
    number
}

/// Publishes numbers from `next` on until the ring is full.
fn fill(ring: &Ring, next: &mut u32, len: usize) -> usize {
    let mut taken = 0;
    while ring.try_publish(&head(1), &message(*next, len)).is_ok() {
        *next += 1;
        taken += 1;
    }
    taken
}

fn read_numbers(reader: &mut Reader) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(record) = reader.next() {
        numbers.push(number_of(record.body.bytes()));
    }
    reader.release();
    numbers
}

/// Fills the ring `rounds` times, with one reader alone.
fn go_on(ring: &Ring, reader: &mut Reader, next: &mut u32, rounds: usize) {
    let mut expected = None;
    for round in 0..rounds {
        assert!(fill(ring, next, round * 37 % 700) > 0, "round {round}");
        for number in read_numbers(reader) {
            assert_eq!(expected.unwrap_or(number), number, "round {round}");
            expected = Some(number + 1);
        }
    }
    assert_eq!(expected, Some(*next));
}

#[test]
fn others_go_on_without_one_that_was_passed_over() {
    let (ring, mut stalled, mut other) = two(16 << 10);
    let mut next = 0;
    assert!(fill(&ring, &mut next, 100) > 50);
    assert_eq!(read_numbers(&mut other).len(), next as usize);
    assert_eq!(fill(&ring, &mut next, 100), 0, "it is waited for");
    assert!(ring.pass_over(0));
    assert!(!ring.pass_over(0), "once");
    assert!(!ring.awaits(0) && ring.awaits(1));
    go_on(&ring, &mut other, &mut next, 100);
    assert!(!stalled.is_passed_over(), "it has not noticed");
    assert!(stalled.next().is_none());
    assert!(stalled.is_passed_over());
    assert!(stalled.next().is_none());
    assert_eq!(stalled.rejoin(), None);
    go_on(&ring, &mut other, &mut next, 100);
}

#[test]
fn nobody_sleeps_before_a_hole_behind_which_there_is_something() {
    for len in [1, 200, 1_000] {
        let (ring, mut stalled, mut other) = two(16 << 10);
        other.set_waker(Arc::new(|| {}));
        let mut next = 0;
        while next < 4 {
            ring.try_publish(&head(1), &message(next, 700)).unwrap();
            next += 1;
        }
        assert!(stalled.next().is_some());
        assert!(ring.pass_over(0));
        assert_eq!(read_numbers(&mut other).len(), 4);
        // One by one, so that it waits wherever a record ends, at the hole's beginning too.
        for _ in 0..2_000 {
            ring.try_publish(&head(1), &message(next, len)).unwrap();
            assert!(!other.prepare_sleep(), "record {next} of {len} bytes");
            assert_eq!(read_numbers(&mut other), [next]);
            next += 1;
            assert!(other.prepare_sleep());
            other.cancel_sleep();
        }
    }
}

#[test]
fn what_was_lent_stays_whole_for_as_long_as_its_reader_stands() {
    let pool = PayloadPool::new(1 << 20);
    for before in [0, 1, 30] {
        let (ring, mut stalled, mut other) = two(16 << 10);
        let mut next = 0;
        // Not from the beginning, so that the hole lies anywhere, across the end of the memory too.
        for _ in 0..3 + before {
            ring.try_publish(&head(1), &message(next, 500)).unwrap();
            next += 1;
            assert_eq!(read_numbers(&mut stalled), read_numbers(&mut other));
        }
        fill(&ring, &mut next, 500);
        let first = next - 20;
        let record = stalled.next().unwrap();
        let number = number_of(record.body.bytes());
        assert!(number < first);
        read_numbers(&mut other);
        assert!(ring.pass_over(0));
        go_on(&ring, &mut other, &mut next, 300);
        assert_eq!(number_of(record.body.bytes()), number);
        let shared = pool.copy_from(b"x").unwrap();
        assert!(ring.try_publish_shared(&head(1), shared).is_ok());
        assert_eq!(other.next().unwrap().body.bytes(), b"x");
        other.release();
        // It may go on within what it has claimed: every record is whole and the next one.
        for (seen, expected) in read_numbers(&mut stalled).into_iter().zip(number + 1..) {
            assert_eq!(seen, expected);
        }
        assert!(stalled.is_passed_over());
        go_on(&ring, &mut other, &mut next, 300);
    }
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn a_reader_that_is_let_in_again_reads_what_the_other_reads() {
    let (ring, mut stalled, mut other) = two(16 << 10);
    let mut next = 0;
    for _ in 0..20 {
        fill(&ring, &mut next, 100);
        read_numbers(&mut other);
        assert!(ring.pass_over(0));
        go_on(&ring, &mut other, &mut next, 5);
        assert!(!other.readmit(0), "it has not noticed");
        while stalled.next().is_some() {}
        fill(&ring, &mut next, 100);
        // In the middle of a turn, before anything is released.
        for _ in 0..7 {
            other.next().unwrap();
        }
        assert!(!other.readmit(1) && !other.readmit(2), "nobody lets himself in, or one that is not there");
        assert_eq!(stalled.rejoin(), None);
        assert!(other.readmit(0));
        assert!(!other.readmit(0), "once");
        assert_eq!(stalled.rejoin(), Some(other.standing()));
        assert!(!stalled.is_passed_over() && ring.awaits(0));
        let rest = read_numbers(&mut other);
        assert_eq!(fill(&ring, &mut next, 100), 7, "it is waited for again: what lies before its place is free");
        let mut read = read_numbers(&mut stalled);
        assert_eq!(read.split_off(rest.len()).len(), 7);
        assert_eq!(read, rest);
        assert_eq!(read_numbers(&mut other).len(), 7);
        ring.try_publish(&head(1), &message(next, 9)).unwrap();
        next += 1;
        assert_eq!(read_numbers(&mut stalled), read_numbers(&mut other));
    }
}

#[test]
fn nobody_is_let_in_by_one_that_is_behind_it_or_was_passed_over_itself() {
    let (ring, mut readers) = Ring::with_origin(16 << 10, 3, 0).unwrap();
    let (mut third, mut second, mut first) = (readers.pop().unwrap(), readers.pop().unwrap(), readers.pop().unwrap());
    let mut next = 0;
    fill(&ring, &mut next, 100);
    // Within one claim the first gets ahead of the second after it was passed over.
    first.next().unwrap();
    assert!(ring.pass_over(0));
    second.next().unwrap();
    while first.next().is_some() {}
    assert!(first.is_passed_over());
    assert!(first.standing().main > second.standing().main);
    assert!(!second.readmit(0), "it is behind");
    read_numbers(&mut second);
    assert!(ring.pass_over(1));
    assert!(!second.readmit(0), "the ring does not keep its place");
    read_numbers(&mut third);
    assert!(!ring.pass_over(2), "the last one");
    assert!(third.readmit(0));
    assert_eq!(first.rejoin(), Some(third.standing()));
    while second.next().is_some() {}
    assert!(second.is_passed_over());
    assert!(first.readmit(1), "by any that is awaited");
    assert_eq!(second.rejoin(), Some(first.standing()));
    ring.try_publish(&head(1), &message(next, 9)).unwrap();
    for reader in [&mut first, &mut second, &mut third] {
        assert_eq!(read_numbers(reader), [next]);
    }
}

#[test]
fn one_that_is_passed_over_again_before_it_came_to_see_that_it_is_in_asks_again() {
    let (ring, mut stalled, mut other) = two(16 << 10);
    let mut next = 0;
    for _ in 0..3 {
        assert!(ring.pass_over(0));
        while stalled.next().is_some() {}
        assert_eq!(stalled.rejoin(), None);
        assert!(other.readmit(0));
        fill(&ring, &mut next, 100);
        read_numbers(&mut other);
    }
    assert!(ring.pass_over(0));
    go_on(&ring, &mut other, &mut next, 20);
    assert_eq!(stalled.rejoin(), None);
    assert!(other.readmit(0), "it has asked again");
    assert_eq!(stalled.rejoin(), Some(other.standing()));
}

#[test]
fn it_takes_250_ms_of_standing_still_and_a_stopped_process_does_not_count() {
    let (ring, mut stalled, mut other) = two(16 << 10);
    let mut next = 0;
    fill(&ring, &mut next, 100);
    assert_eq!(ring.look_for_standstill(0), None);
    for at in 1..100 {
        assert_eq!(ring.look_for_standstill(at * 100 * MS), None, "nobody has read on");
    }
    read_numbers(&mut other);
    assert_eq!(ring.look_for_standstill(20_000 * MS), None);
    // The clock leaps by an hour: of that, 100 ms count.
    assert_eq!(ring.look_for_standstill(3_600_000 * MS), None);
    assert_eq!(ring.look_for_standstill(3_600_100 * MS), None);
    assert_eq!(ring.look_for_standstill(3_600_150 * MS - 1), None);
    // It moves: all begins anew.
    stalled.next().unwrap();
    stalled.release();
    let from = 3_600_150;
    for ms in [0, 50, 150, 249] {
        assert_eq!(ring.look_for_standstill((from + ms) * MS), None, "{ms} ms");
    }
    assert_eq!(ring.look_for_standstill((from + 250) * MS), Some(0));
    assert!(!ring.awaits(0));
    assert_eq!(ring.look_for_standstill((from + 900) * MS), None, "nobody else stands");
}

#[test]
fn the_only_reader_is_never_passed_over() {
    let (ring, mut readers) = Ring::with_origin(16 << 10, 1, 0).unwrap();
    let mut next = 0;
    fill(&ring, &mut next, 100);
    for at in 0..100 {
        assert_eq!(ring.look_for_standstill(at * 50 * MS), None);
    }
    assert!(!ring.pass_over(0) && !ring.pass_over(1));
    assert_eq!(read_numbers(&mut readers[0]).len(), next as usize);
}

#[test]
fn publishers_that_find_the_ring_full_pass_over_who_stands_still_and_get_through() {
    let (ring, stalled, mut other) = two(16 << 10);
    let clock = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&clock);
    // Each look takes 10 ms.
    ring.watch_standstill(Box::new(move || now.fetch_add(10 * MS, Ordering::Relaxed)));
    let mut next = 0;
    let mut refused = 0;
    for _ in 0..5_000 {
        match ring.try_publish(&head(1), &message(next, 100)) {
            Ok(_) => next += 1,
            Err(_) => refused += 1,
        }
        while other.next().is_some() {}
        other.release();
    }
    // The first look, and 250 ms from it on, 10 at a time.
    assert_eq!(refused, 26);
    assert_eq!(clock.load(Ordering::Relaxed), 26 * 10 * MS);
    drop(stalled);
}

#[test]
fn who_waits_for_room_looks_as_well() {
    let (ring, _stalled, mut other) = two(16 << 10);
    let clock = AtomicU64::new(0);
    ring.watch_standstill(Box::new(move || clock.fetch_add(100 * MS, Ordering::Relaxed)));
    let mut next = 0;
    while ring.main.used_bytes() < ring.capacity() - 200 {
        ring.try_publish(&head(1), &message(next, 100)).unwrap();
        next += 1;
    }
    read_numbers(&mut other);
    assert!(ring.publish_timeout(&head(1), &message(next, 300), Duration::from_secs(3600)).is_ok());
    assert!(!ring.awaits(0));
}

#[test]
fn bulk_does_not_let_the_critical_area_stand_either() {
    let (ring, mut stalled, mut other) = two(16 << 10);
    let critical = Head::message(TopicId(1), Priority::Critical, Kind::Binary);
    let mut next = 0;
    while ring.try_publish(&critical, &message(next, 100)).is_ok() {
        next += 1;
    }
    read_numbers(&mut other);
    for at in [0, 100, 200] {
        assert_eq!(ring.look_for_standstill(at * MS), None);
    }
    assert_eq!(ring.look_for_standstill(250 * MS), Some(0));
    for _ in 0..1000 {
        ring.try_publish(&critical, &message(next, 300)).unwrap();
        assert_eq!(read_numbers(&mut other), [next]);
        next += 1;
    }
    while stalled.next().is_some() {}
    ring.try_publish(&critical, &message(next, 300)).unwrap();
    ring.try_publish(&head(2), &message(next + 1, 300)).unwrap();
    assert!(other.readmit(0));
    assert_eq!(stalled.rejoin(), Some(other.standing()));
    assert_eq!(read_numbers(&mut stalled), [next, next + 1]);
    // It has read so many critical ones that one of the others has its turn.
    assert_eq!(read_numbers(&mut other), [next + 1, next]);
}

#[test]
fn payloads_that_only_one_shares_who_was_passed_over_are_given_back() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut stalled, mut other) = two(4096);
    let share = |byte: u8| ring.try_publish_shared(&head(1), pool.copy_from(&[byte]).unwrap());
    // All four slots: the other has done with them, one is lent to the one that stands.
    for byte in 0..4 {
        assert!(share(byte).is_ok());
    }
    while other.next().is_some() {}
    other.release();
    let each = pool.used_bytes() / 4;
    let record = stalled.next().unwrap();
    assert_eq!(record.body.bytes(), [0]);
    assert!(share(9).is_err());
    assert!(ring.pass_over(0));
    // What it has claimed, it may read: nothing is free before it notices. What comes later is.
    assert!(share(9).is_err());
    assert_eq!(record.body.bytes(), [0]);
    let mut read = vec![];
    while let Some(record) = stalled.next() {
        read.push(record.body.bytes()[0]);
    }
    assert_eq!(read, [1, 2, 3]);
    assert!(!stalled.is_passed_over() || pool.used_bytes() == 0);
    for round in 0..500 {
        assert!(share(7).is_ok(), "round {round}");
        assert_eq!(other.next().unwrap().body.bytes(), [7]);
        other.release();
        assert!(pool.used_bytes() <= 5 * each);
        // Behind its claim, so that it comes to see that it is out.
        ring.try_publish(&head(1), &[0; 1000]).unwrap();
        while other.next().is_some() {}
        other.release();
        while let Some(record) = stalled.next() {
            assert!(record.body.bytes()[0] == 7 || record.body.bytes().len() == 1000);
        }
    }
    assert!(stalled.is_passed_over());
    assert_eq!(pool.used_bytes(), 0);
    assert!(share(8).is_ok());
    assert!(other.readmit(0));
    assert_eq!(stalled.rejoin(), Some(other.standing()));
    for reader in [&mut other, &mut stalled] {
        assert_eq!(reader.next().unwrap().body.bytes(), [8]);
        assert!(reader.next().is_none());
    }
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn a_ring_ends_with_its_last_awaited_reader_and_a_closed_one_holds_nobody() {
    let (ring, mut stalled, other) = two(4096);
    assert!(ring.pass_over(0));
    drop(other);
    assert!(ring.is_closed(), "nobody could let the other in again");
    assert!(stalled.next().is_none());
    assert!(stalled.is_passed_over() && stalled.is_finished());

    let (ring, mut stalled, mut other) = two(4096);
    ring.try_publish(&head(1), b"").unwrap();
    assert!(ring.pass_over(0));
    while stalled.next().is_some() {}
    assert!(!stalled.is_finished());
    ring.close();
    assert!(stalled.is_finished());
    assert!(!other.is_finished());
    assert!(other.next().is_some());
    drop(stalled);
    assert!(!other.readmit(0), "it is gone");
}

#[test]
fn one_that_was_passed_over_does_not_sleep_before_it_knows() {
    let (ring, mut stalled, mut other) = two(4096);
    stalled.set_waker(Arc::new(|| {}));
    assert!(stalled.prepare_sleep());
    stalled.cancel_sleep();
    assert!(ring.pass_over(0));
    assert!(!stalled.prepare_sleep());
    assert!(stalled.next().is_none());
    assert!(stalled.is_passed_over() && stalled.prepare_sleep());
    stalled.cancel_sleep();
    let wakes = Arc::new(AtomicU64::new(0));
    assert_eq!(wakes.load(Ordering::Relaxed), 0);
    assert!(other.readmit(0));
    assert!(stalled.rejoin().is_some());
}

/// Threads: two readers that stand still at any moment, one that lets them in, two producers. What a reader sees is whole and in order, and
/// from the place where it is let in it misses nothing.
#[test]
fn readers_that_stand_still_under_load_read_nothing_torn_and_miss_nothing_between_their_gaps() {
    const MESSAGES: u32 = 60_000;
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, 3).unwrap();
    let mut helper = readers.remove(0);
    let noted: [AtomicU64; 2] = Default::default();
    thread::scope(|scope| {
        for (mut reader, noted) in readers.into_iter().zip(&noted) {
            let ring = &ring;
            scope.spawn(move || {
                let mut expected = None;
                let mut turns = 0u32;
                while !reader.is_finished() {
                    turns += 1;
                    let mut read = 0;
                    while let Some(record) = reader.next() {
                        let number = number_of(record.body.bytes());
                        assert_eq!(*expected.get_or_insert(number), number);
                        expected = Some(number + 1);
                        read += 1;
                        if read % 50 == 0 {
                            // Stands, in the middle of a record, while it is passed over or not.
                            (0..turns % 7).for_each(|_| thread::yield_now());
                            assert_eq!(number_of(record.body.bytes()), number);
                        }
                    }
                    reader.release();
                    if reader.is_passed_over() && reader.rejoin().is_some() {
                        let from = noted.load(Ordering::Relaxed) as u32;
                        assert!(expected.unwrap_or(0) <= from);
                        expected = Some(from);
                    }
                    thread::yield_now();
                }
                drop(reader);
                let _ = ring;
            });
        }
        scope.spawn(|| {
            let mut passed = 0;
            for number in 0..MESSAGES {
                while ring.try_publish(&head(1), &message(number, number as usize % 900)).is_err() {
                    passed += u32::from(ring.pass_over(1 + number as usize % 2));
                    thread::yield_now();
                }
            }
            ring.close();
            assert!(passed > 0, "the test would show nothing: {passed}");
        });
        let mut next = 0;
        let mut entries = [0; 2];
        while !helper.is_finished() {
            for _ in 0..100 {
                let Some(record) = helper.next() else { break };
                assert_eq!(number_of(record.body.bytes()), next);
                next += 1;
            }
            for other in 1..=2 {
                // What is noted before is what holds at this place.
                if !ring.awaits(other) {
                    noted[other - 1].store(next.into(), Ordering::Relaxed);
                    entries[other - 1] += u32::from(helper.readmit(other));
                }
            }
            helper.release();
            thread::yield_now();
        }
        assert_eq!(next, MESSAGES);
        assert!(entries.iter().all(|&entries| entries > 0), "{entries:?}");
    });
}
