//! The log and its cursors, beside what a server keeps that gives every subscriber a queue of counted buffers.

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use fanwire::bench::{BlockPool, Edge, Frame, FramePayload, Log, LogPosition, Place, Referrer};
use fanwire::proto::encoder;
use fanwire::proto::header::{HEADER_BYTES_MAX, Opcode};
use fanwire::{ConnectionId, Kind};

use crate::payload::payload;

const BUDGET: usize = 8 << 20;
const SUBSCRIBERS: usize = 1_000;
/// Messages that a cursor is moved over at once.
const NEWS: u64 = 16;

pub fn benches(criterion: &mut Criterion) {
    append(criterion);
    cursors(criterion);
}

/// A log with its pool, full up to its budget.
struct Source {
    log: Log,
    pool: BlockPool,
    header: ([u8; HEADER_BYTES_MAX], usize),
    payload: Vec<u8>,
}

impl Source {
    fn new(payload: &[u8]) -> Self {
        let mut header = [0; HEADER_BYTES_MAX];
        let len = encoder::header(&mut header, Opcode::Text, payload.len() as u64, false);
        let mut source = Self {
            log: Log::new(Edge::START, BUDGET, Referrer::Source),
            pool: BlockPool::new(4 * BUDGET),
            header: (header, len),
            payload: payload.to_vec(),
        };
        (0..2 * BUDGET / payload.len()).for_each(|_| source.append());
        source
    }

    /// As a shard does it: the oldest segment goes first where the budget says so.
    fn append(&mut self) {
        let frame = Frame {
            position: self.log.next(),
            seq: self.log.last_seq().next(),
            count: 1,
            time_ns: 1_700_000_000_000_000_000,
            expiry_ns: 0,
            key: 0,
            origin: ConnectionId::HOST,
            is_sender_excluded: false,
            kind: Kind::Json,
            header: &self.header.0[..self.header.1],
            payload: FramePayload::Copied(&self.payload),
            tail: &[],
            attributes: &[],
        };
        while self.log.is_over_budget_with(&frame) && self.log.survivor_of_forgetting().is_some() {
            self.log.forget_oldest(&mut self.pool);
        }
        assert!(self.log.append(&frame, &mut self.pool), "the pool holds more than the budget");
    }

    /// The frames from `from` to the head as one send's parts would be: their length.
    fn news(&self, from: LogPosition) -> usize {
        let Place::At(entry) = self.log.place(from) else { return 0 };
        let (mut from, mut bytes) = (entry.offset, 0);
        while from < self.log.head() {
            let run = black_box(self.log.run(from, self.log.head(), 64 << 10));
            from += run.len() as u64;
            bytes += run.len();
        }
        bytes
    }
}

fn append(criterion: &mut Criterion) {
    let payload = payload(512);
    let mut source = Source::new(&payload);
    let frame_bytes = payload.len() + source.header.1;
    let next = source.log.next();
    source.append();
    assert_eq!((source.log.next(), source.news(next)), (next + 1, frame_bytes), "one frame more");
    assert!(
        source.log.charged_bytes() <= BUDGET && source.log.next() - source.log.floor() > 10_000,
        "full, within the budget"
    );
    let mut frame = source.header.0[..source.header.1].to_vec();
    frame.extend_from_slice(&payload);
    let mut queue: VecDeque<Bytes> = VecDeque::new();
    let mut theirs = |frame: &[u8]| {
        queue.push_back(Bytes::copy_from_slice(frame));
        if queue.len() * frame_bytes > BUDGET {
            queue.pop_front();
        }
        queue.len()
    };
    (0..2 * BUDGET / frame_bytes).for_each(|_| _ = theirs(&frame));
    assert_eq!(theirs(&frame), BUDGET / frame_bytes, "full, within the budget");
    let mut group = criterion.benchmark_group("log-append/512");
    group.throughput(Throughput::Elements(1));
    group.bench_function("fanwire", |b| b.iter(|| black_box(&mut source).append()));
    group.bench_function("queue-of-bytes", |b| b.iter(|| theirs(black_box(&frame))));
    group.finish();
}

/// 16 messages to each of 1,000 subscribers: a cursor in the log, beside a queue of its own.
fn cursors(criterion: &mut Criterion) {
    let payload = payload(512);
    let source = Source::new(&payload);
    let head = source.log.next();
    let frame_bytes = payload.len() + source.header.1;
    let mut cursors = vec![head; SUBSCRIBERS];
    let mut ours = || {
        let mut bytes = 0;
        for cursor in &mut cursors {
            *cursor = head.back(NEWS);
            bytes += source.news(*cursor);
            *cursor = head;
        }
        black_box(&cursors);
        bytes
    };
    let frames: Vec<Bytes> = (0..NEWS).map(|_| Bytes::from(vec![b'.'; frame_bytes])).collect();
    let mut queues: Vec<VecDeque<Bytes>> = vec![VecDeque::new(); SUBSCRIBERS];
    let mut theirs = || {
        for frame in &frames {
            queues.iter_mut().for_each(|queue| queue.push_back(frame.clone()));
        }
        let mut bytes = 0;
        for queue in &mut queues {
            for frame in queue.drain(..) {
                bytes += black_box(&frame).len();
            }
        }
        bytes
    };
    let expected = SUBSCRIBERS * NEWS as usize * frame_bytes;
    assert_eq!((ours(), theirs()), (expected, expected), "all bytes to all subscribers");
    let mut group = criterion.benchmark_group(format!("cursor-advance/{SUBSCRIBERS}x{NEWS}"));
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64 * NEWS));
    group.bench_function("fanwire", |b| b.iter(&mut ours));
    group.bench_function("queues-of-bytes", |b| b.iter(&mut theirs));
    group.finish();
}
