//! Models of readers that are passed over and let in again: `readers` says why they hold.

use std::sync::Arc;

use ::loom::thread;

use super::super::{PayloadPool, Reader, Ring, Standing};
use super::{explore, is_taken, join, with_ring};
use crate::sleeper::head;

/// Eight units in each area, of which a claim takes four.
const SMALL: usize = 512;

fn ring<const READERS: usize>() -> (Arc<Ring>, [Reader; READERS]) {
    let (ring, readers) = Ring::with_origin(SMALL, READERS, 0).unwrap();
    (ring, readers.try_into().ok().unwrap())
}

/// One unit that repeats its number.
fn publish(ring: &Ring, number: u32) -> bool {
    ring.try_publish(&head(number), &[number as u8; 4]).is_ok()
}

/// Reads what is there: whole messages, with numbers that follow each other.
fn read(reader: &mut Reader) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(record) = reader.next() {
        let number = record.head.topic.0;
        assert_eq!(record.body.bytes(), [number as u8; 4]);
        numbers.push(number);
    }
    reader.release();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    numbers
}

/// Passes a reader over and lets it notice.
fn out(ring: &Ring, reader: &mut Reader) {
    assert!(ring.pass_over(reader.index()));
    while reader.next().is_some() {}
    assert!(reader.is_passed_over());
}

#[test]
fn nothing_is_overwritten_that_one_reads_who_is_passed_over() {
    explore(3, || {
        let (ring, [mut stalled, mut other]) = ring();
        assert!((0..8).all(|number| publish(&ring, number)));
        assert_eq!(read(&mut other).len(), 8);
        let reading = thread::spawn(move || {
            // Some of it, and only what follows each other.
            read(&mut stalled);
            stalled
        });
        let publishing = with_ring(&ring, move |ring| {
            ring.pass_over(0);
            let mut next = 8;
            for _ in 0..2 {
                while publish(ring, next) {
                    next += 1;
                }
                read(&mut other);
            }
            assert!(next > 8);
            (other, next)
        });
        let mut stalled = join(reading);
        let (mut other, mut next) = join(publishing);
        read(&mut stalled);
        assert!(stalled.is_passed_over());
        assert!(publish(&ring, next));
        next += 1;
        assert!(other.readmit(0));
        assert_eq!(stalled.rejoin(), Some(other.standing()));
        let rest = read(&mut other);
        assert_eq!(rest.last(), Some(&(next - 1)));
        assert_eq!(read(&mut stalled), rest);
    });
}

#[test]
fn whoever_is_let_in_again_misses_nothing_and_nothing_of_it_is_overwritten() {
    explore(3, || {
        let (ring, [mut stalled, mut other]) = ring();
        out(&ring, &mut stalled);
        assert!((0..6).all(|number| publish(&ring, number)));
        let helping = thread::spawn(move || {
            let seen = other.next().unwrap().head.topic.0;
            assert!(other.readmit(0));
            let standing = other.standing();
            let last = read(&mut other).last().copied().unwrap_or(seen);
            (other, standing, last)
        });
        let publishing = with_ring(&ring, |ring| (6..11).take_while(|&number| publish(ring, number)).count() as u32);
        let mut from = None;
        let mut seen = Vec::new();
        for _ in 0..2 {
            from = from.or_else(|| stalled.rejoin());
            seen.extend(read(&mut stalled));
        }
        let (mut other, standing, last) = join(helping);
        let taken = 6 + join(publishing);
        from = from.or_else(|| stalled.rejoin());
        assert_eq!(from, Some(standing));
        seen.extend(read(&mut stalled));
        assert_eq!(seen, (1..taken).collect::<Vec<_>>());
        assert_eq!(read(&mut other), (last + 1..taken).collect::<Vec<_>>());
    });
}

#[test]
fn nobody_is_let_in_to_a_place_that_the_ring_does_not_keep() {
    explore(3, || {
        let (ring, [mut stalled, mut other, mut third]) = ring();
        out(&ring, &mut stalled);
        assert!((0..8).all(|number| publish(&ring, number)));
        read(&mut third);
        let helping = thread::spawn(move || {
            let has_read = other.next().is_some();
            let is_in = other.readmit(0);
            assert!(has_read || !is_in);
            (is_in, other)
        });
        let publishing = with_ring(&ring, |ring| {
            ring.pass_over(1);
            (8..11).take_while(|&number| publish(ring, number)).count() as u32
        });
        let (is_in, other) = join(helping);
        let taken = 8 + join(publishing);
        let at: Standing = other.standing();
        if is_in {
            assert_eq!(stalled.rejoin(), Some(at));
            assert_eq!(read(&mut stalled), (1..taken).collect::<Vec<_>>());
        } else {
            assert_eq!(stalled.rejoin(), None);
            assert!(third.readmit(0), "it goes on asking");
        }
    });
}

#[test]
fn a_shared_payload_lives_while_one_reads_it_who_is_passed_over_and_no_longer() {
    explore(2, || {
        let pool = PayloadPool::new(4096);
        let (ring, [mut stalled, mut other]) = ring();
        assert!(is_taken(ring.try_publish_shared(&head(3), pool.copy_from(&[3; 4]).unwrap())));
        let reading = thread::spawn(move || {
            read(&mut stalled);
            stalled
        });
        let going_on = thread::spawn(move || assert_eq!(read(&mut other), [3]));
        ring.pass_over(0);
        let mut stalled = join(reading);
        join(going_on);
        read(&mut stalled);
        assert_eq!(pool.used_bytes(), 0);
    });
}

#[test]
fn nobody_is_waited_for_who_goes_while_he_is_let_in() {
    explore(3, || {
        let (ring, [mut stalled, mut other]) = ring();
        out(&ring, &mut stalled);
        let going = thread::spawn(move || drop(stalled));
        other.readmit(0);
        join(going);
        assert!(!ring.awaits(0) && ring.awaits(1));
        assert!(!ring.is_closed());
    });
}

#[test]
fn two_that_would_let_the_same_reader_in_agree_on_one_place() {
    explore(3, || {
        let (ring, [mut stalled, mut first, mut second]) = ring();
        out(&ring, &mut stalled);
        assert!((0..3).all(|number| publish(&ring, number)));
        first.next().unwrap();
        let helping = thread::spawn(move || (first.readmit(0), first));
        let is_in = second.readmit(0);
        let (other, first) = join(helping);
        assert!(is_in || other, "one of them does");
        assert!(!(is_in && other));
        let at = if is_in { second.standing() } else { first.standing() };
        assert_eq!(stalled.rejoin(), Some(at));
    });
}
