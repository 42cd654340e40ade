//! The ingest ring under 1 to 8 producers, beside crossbeam's `ArrayQueue` of boxed payloads.
//!
//! The queue gives each message to one taker, the ring to every shard; with one reader they do the same.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use crossbeam_queue::ArrayQueue;
use fanwire::bench::{Head, Reader, Refused, Ring};
use fanwire::{Kind, Priority, TopicId};

const RING_BYTES: usize = 1 << 20;
/// As many messages of 512 B as the ring has room for, about.
const QUEUE_MESSAGES: usize = 1_820;
/// Messages that a shard reads before it gives the room back.
const READ_AT_ONCE: usize = 1_024;
const HEAD: Head = Head::message(TopicId(1), Priority::Normal, Kind::Binary);

pub fn benches(criterion: &mut Criterion) {
    alone(criterion);
    for producers in [1, 2, 4, 8] {
        crowd(criterion, producers);
    }
}

fn ring() -> (std::sync::Arc<Ring>, Reader) {
    let (ring, readers) = Ring::new(RING_BYTES, 1).expect("a legal ring");
    (ring, readers.into_iter().next().expect("one reader"))
}

/// Reads what is there, gives the room back, and returns the number of messages and the sum of their first bytes.
fn read(reader: &mut Reader) -> (u64, u64) {
    let (mut messages, mut sum) = (0, 0);
    for _ in 0..READ_AT_ONCE {
        let Some(record) = reader.next() else { break };
        messages += 1;
        sum += u64::from(black_box(record.body.bytes())[0]);
    }
    if messages > 0 {
        reader.release();
    }
    (messages, sum)
}

fn take(queue: &ArrayQueue<Box<[u8]>>) -> (u64, u64) {
    let (mut messages, mut sum) = (0, 0);
    for _ in 0..READ_AT_ONCE {
        let Some(message) = queue.pop() else { break };
        messages += 1;
        sum += u64::from(black_box(&message)[0]);
    }
    (messages, sum)
}

/// One thread: 64 messages in, 64 messages out.
fn alone(criterion: &mut Criterion) {
    const MESSAGES: u64 = 64;
    let (ring, mut reader) = ring();
    let queue = ArrayQueue::new(QUEUE_MESSAGES);
    let payload = [7; 512];
    let mut ours = |payload: &[u8]| {
        (0..MESSAGES).for_each(|_| assert!(ring.try_publish(&HEAD, payload).is_ok()));
        read(&mut reader)
    };
    let theirs = |payload: &[u8]| {
        (0..MESSAGES).for_each(|_| assert!(queue.push(payload.into()).is_ok()));
        take(&queue)
    };
    assert_eq!((ours(&payload), theirs(&payload)), ((MESSAGES, 7 * MESSAGES), (MESSAGES, 7 * MESSAGES)));
    let mut group = criterion.benchmark_group("ring-alone/512");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(&payload))));
    group.bench_function("array-queue", |b| b.iter(|| theirs(black_box(&payload))));
    group.finish();
}

/// `producers` threads publish `each` messages, this thread reads them all: from their common start to the last message.
fn race(
    producers: u64,
    each: u64,
    publish: impl Fn(&[u8]) -> bool + Sync,
    mut read: impl FnMut() -> (u64, u64),
) -> Duration {
    let barrier = Barrier::new(producers as usize + 1);
    let (barrier, publish) = (&barrier, &publish);
    thread::scope(|scope| {
        for producer in 1..=producers {
            scope.spawn(move || {
                let payload = [producer as u8; 512];
                barrier.wait();
                for _ in 0..each {
                    while !publish(black_box(&payload)) {
                        thread::yield_now();
                    }
                }
            });
        }
        barrier.wait();
        let began = Instant::now();
        let (mut messages, mut sum) = (0, 0);
        while messages < producers * each {
            let (more, of_them) = read();
            if more == 0 {
                thread::yield_now();
            }
            messages += more;
            sum += of_them;
        }
        let took = began.elapsed();
        assert_eq!((messages, sum), (producers * each, each * producers * (producers + 1) / 2), "each message once");
        took
    })
}

fn crowd(criterion: &mut Criterion, producers: u64) {
    /// Messages of one iteration, over all producers.
    const MESSAGES: u64 = 1_024;
    let each = MESSAGES / producers;
    let mut group = criterion.benchmark_group(format!("ring-{producers}-producers/512"));
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("fanwire", |b| {
        b.iter_custom(|iterations| {
            let (ring, mut reader) = ring();
            let publish = |payload: &[u8]| match ring.try_publish(&HEAD, payload) {
                Ok(_) => true,
                Err(Refused::Full) => false,
                Err(other) => panic!("{other:?}"),
            };
            race(producers, each * iterations, publish, || read(&mut reader))
        });
    });
    group.bench_function("array-queue", |b| {
        b.iter_custom(|iterations| {
            let queue = ArrayQueue::new(QUEUE_MESSAGES);
            race(producers, each * iterations, |payload| queue.push(payload.into()).is_ok(), || take(&queue))
        });
    });
    group.finish();
}
