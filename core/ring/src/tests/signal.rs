//! Sleeping and waking with real threads. Times are never asserted: a lost wake-up hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::super::*;
use super::head;

const LONG: Duration = Duration::from_secs(3600);

fn counted(reader: &Reader) -> Arc<AtomicUsize> {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    reader.set_waker(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    wakes
}

#[test]
fn only_who_sleeps_is_woken_and_once() {
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, 3).unwrap();
    let wakes: Vec<_> = readers.iter().map(counted).collect();
    let counts = || wakes.iter().map(|wakes| wakes.load(Ordering::Relaxed)).collect::<Vec<_>>();
    assert!(readers[1].prepare_sleep());
    assert!(readers[2].prepare_sleep());
    readers[2].cancel_sleep();
    ring.try_publish_many(&head(1), &[b"a", b"b", b"c"]).unwrap();
    ring.try_publish(&head(1), b"d").unwrap();
    assert_eq!(counts(), [0, 1, 0]);
    assert!(!readers[1].prepare_sleep(), "there is something to read");
    ring.try_publish(&head(1), b"e").unwrap();
    assert_eq!(counts(), [0, 1, 0], "it does not sleep");
    while readers[1].next().is_some() {}
    assert!(readers[1].prepare_sleep());
    ring.wake_reader(0);
    ring.wake_reader(1);
    ring.wake_reader(1);
    ring.wake_reader(99);
    assert_eq!(counts(), [0, 2, 0]);
}

#[test]
fn a_refused_publish_wakes_nobody_and_a_close_wakes_all() {
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, 2).unwrap();
    let wakes: Vec<_> = readers.iter().map(counted).collect();
    assert!(readers[0].prepare_sleep() && readers[1].prepare_sleep());
    assert_eq!(ring.try_publish(&head(1), &vec![0; INLINE_MAX + 1]), Err(Refused::TooLarge));
    assert_eq!(wakes[0].load(Ordering::Relaxed), 0);
    ring.close();
    assert!(wakes.iter().all(|wakes| wakes.load(Ordering::Relaxed) == 1));
    assert!(!readers[0].prepare_sleep(), "nothing will ever come");
}

#[test]
fn who_cannot_be_woken_must_not_sleep() {
    let (_ring, mut readers) = Ring::new(RING_BYTES_MIN, 1).unwrap();
    assert!(!readers[0].prepare_sleep());
    counted(&readers[0]);
    assert!(readers[0].prepare_sleep());
}

#[test]
fn a_wait_without_room_ends() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, _readers) = Ring::with_origin(256, 1, 0).unwrap();
    assert_eq!(ring.try_publish_many(&head(1), &[b"", b"", b"", b""]), Ok(4));
    let short = Duration::from_millis(2);
    assert_eq!(ring.publish_timeout(&head(1), b"", short), Err(Refused::Full));
    assert_eq!(ring.publish_timeout(&head(1), b"", Duration::ZERO), Err(Refused::Full));
    assert_eq!(ring.publish_many_timeout(&head(1), &[b""], short), Err(Refused::Full));
    let (refused, payload) =
        ring.publish_shared_timeout(&head(1), b"", pool.copy_from(b"mine").unwrap(), short).unwrap_err();
    assert_eq!((refused, &*payload), (Refused::Full, &b"mine"[..]));
    let mut attempts = 0;
    assert_eq!(
        ring.retry_timeout(short, || {
            attempts += 1;
            None::<()>
        }),
        None
    );
    assert!(attempts >= 2);
    assert_eq!(ring.retry_timeout(LONG, || Some(5)), Some(5));
}

#[test]
fn room_ends_every_kind_of_wait() {
    let pool = PayloadPool::new(1 << 20);
    let (ring, mut readers) = Ring::with_origin(256, 1, 0).unwrap();
    let mut reader = readers.pop().unwrap();
    thread::scope(|scope| {
        for kind in 0..3 {
            let (ring, pool) = (&ring, &pool);
            scope.spawn(move || {
                for _ in 0..1000 {
                    match kind {
                        0 => drop(ring.publish_timeout(&head(kind), b"x", LONG).unwrap()),
                        1 => assert_eq!(ring.publish_many_timeout(&head(kind), &[&b"x"[..]; 9], LONG), Ok(9)),
                        _ => {
                            let payload = ring.retry_timeout(LONG, || pool.copy_from(b"x")).unwrap();
                            ring.publish_shared_timeout(&head(kind), b"", payload, LONG).unwrap();
                        }
                    }
                }
            });
        }
        let mut counts = [0; 3];
        while counts != [1000, 9000, 1000] {
            match reader.next() {
                Some(record) => counts[record.head.topic.0 as usize] += 1,
                None => {
                    reader.release();
                    thread::yield_now();
                }
            }
        }
    });
    drop(reader);
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn a_dropped_reader_or_a_close_ends_a_wait() {
    for close in [false, true] {
        let (ring, mut readers) = Ring::with_origin(256, 2, 0).unwrap();
        assert_eq!(ring.try_publish_many(&head(1), &[b"", b"", b"", b""]), Ok(4));
        while readers[0].next().is_some() {}
        readers[0].release();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ring.publish_timeout(&head(1), b"", LONG));
            if close {
                ring.close();
                assert_eq!(waiting.join().unwrap(), Err(Refused::Stopped));
            } else {
                drop(readers.pop());
                assert!(waiting.join().unwrap().is_ok());
            }
        });
    }
}
