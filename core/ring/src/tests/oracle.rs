//! The ring against a naive twin: a vector of all records and a few numbers. Every answer must be the same.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::head;

const CAPACITY: u64 = 4096;
const SLOTS: usize = 4;
const READERS: usize = 3;
/// Half the ring, less a head.
const LARGEST: usize = 2048 - 56;

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Many(Vec<usize>),
    Share(usize),
    Read { reader: usize, records: usize },
    Release(usize),
    Drop(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![6 => 0..300usize, 2 => 0..=LARGEST, 1 => LARGEST - 2..LARGEST + 3];
    prop_oneof![
        6 => len.clone().prop_map(Step::Publish),
        3 => vec(len.clone(), 0..12).prop_map(Step::Many),
        3 => (0..5000usize).prop_map(Step::Share),
        12 => (0..READERS, 0..20usize).prop_map(|(reader, records)| Step::Read { reader, records }),
        6 => (0..READERS).prop_map(Step::Release),
        1 => (0..400usize).prop_map(|n| if n < READERS { Step::Drop(n) } else { Step::Release(n % READERS) }),
        1 => (0..100u8).prop_map(|n| if n == 0 { Step::Close } else { Step::Publish(n as usize) }),
    ]
}

struct Published {
    position: u64,
    end: u64,
    payload: Vec<u8>,
    shared: bool,
}

/// One reader's state in the twin, and the reader.
struct Reading {
    real: Reader,
    next: usize,
    /// First record whose share it has not given up.
    unfinished: usize,
    released: u64,
}

struct Twin {
    ring: Arc<Ring>,
    pool: PayloadPool,
    readers: Vec<Option<Reading>>,
    records: Vec<Published>,
    tail: u64,
    /// The position that the last reader left behind when it was dropped, if it was.
    closed: bool,
}

impl Twin {
    fn new(origin: u64) -> Self {
        let (ring, readers) = Ring::with_origin(CAPACITY as usize, READERS, origin).unwrap();
        let readers =
            readers.into_iter().map(|real| Some(Reading { real, next: 0, unfinished: 0, released: origin })).collect();
        Self { ring, pool: PayloadPool::new(1 << 20), readers, records: Vec::new(), tail: origin, closed: false }
    }

    fn payload(&self, len: usize) -> Vec<u8> {
        (0..len).map(|i| (i ^ self.records.len()) as u8).collect()
    }

    /// Where a record of so many bytes would lie, or why it would not.
    fn place(&self, bytes: usize) -> Result<(u64, u64), Refused> {
        if self.closed {
            return Err(Refused::Stopped);
        }
        let bytes = (56 + bytes).div_ceil(64) as u64 * 64;
        let lap_end = (self.tail / CAPACITY + 1) * CAPACITY;
        let start = if self.tail + bytes > lap_end { lap_end } else { self.tail };
        let slowest = self.readers.iter().flatten().map(|reader| reader.released).min().unwrap();
        if start + bytes > slowest + CAPACITY { Err(Refused::Full) } else { Ok((start, start + bytes)) }
    }

    fn expect_inline(&mut self, len: usize) -> Result<Position, Refused> {
        if len > LARGEST {
            return Err(Refused::TooLarge);
        }
        let payload = self.payload(len);
        let (position, end) = self.place(len)?;
        self.tail = end;
        self.records.push(Published { position, end, payload, shared: false });
        Ok(Position(position))
    }

    fn slots_in_use(&self) -> usize {
        let first = |reader: &Reading| reader.unfinished;
        let oldest = self.readers.iter().flatten().map(first).min().unwrap_or(self.records.len());
        self.records[oldest..].iter().filter(|record| record.shared).count()
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish(len) => {
                let payload = self.payload(len);
                let real = self.ring.try_publish(&head(self.records.len() as u32), &payload);
                assert_eq!(real, self.expect_inline(len));
            }
            Step::Many(ref lens) => {
                let topic = self.records.len() as u32;
                let (mut expected, mut payloads) = (Ok(0), Vec::new());
                for (i, &len) in lens.iter().enumerate() {
                    // A copy of the naive single publish decides for each.
                    payloads.push(self.payload(len));
                    match self.expect_inline(len) {
                        Ok(_) => expected = Ok(i + 1),
                        Err(refused) if i == 0 => expected = Err(refused),
                        Err(_) => {}
                    }
                    if expected != Ok(i + 1) {
                        payloads.extend(lens[i + 1..].iter().map(|&len| vec![0; len]));
                        break;
                    }
                }
                if lens.is_empty() && self.closed {
                    expected = Err(Refused::Stopped);
                }
                // Closed is found before too large, which only the first can be.
                if self.closed {
                    expected = Err(Refused::Stopped);
                }
                let slices: Vec<_> = payloads.iter().map(|payload| &payload[..]).collect();
                assert_eq!(self.ring.try_publish_many(&head(topic), &slices), expected);
            }
            Step::Share(len) => {
                let payload = self.payload(len);
                let shared = self.pool.copy_from(&payload).unwrap();
                let expected = match self.place(0) {
                    Ok(_) if self.slots_in_use() == SLOTS => Err(Refused::Full),
                    placed => placed,
                };
                let real = self.ring.try_publish_shared(&head(self.records.len() as u32), shared);
                assert_eq!(real.map_err(|(refused, _)| refused), expected.map(|(start, _)| Position(start)));
                if let Ok((position, end)) = expected {
                    self.tail = end;
                    self.records.push(Published { position, end, payload, shared: true });
                }
            }
            Step::Read { reader, records } => {
                let Some(reader) = &mut self.readers[reader] else { return };
                for _ in 0..records {
                    reader.unfinished = reader.next;
                    let Some(expected) = self.records.get(reader.next) else {
                        assert!(reader.real.next().is_none());
                        break;
                    };
                    let real = reader.real.next().unwrap();
                    assert_eq!(real.position.0, expected.position);
                    assert_eq!(real.body.bytes(), expected.payload);
                    assert_eq!(matches!(real.body, Body::Shared(_)), expected.shared);
                    reader.next += 1;
                    assert_eq!(reader.real.backlog_bytes(), self.tail - expected.end);
                }
                assert_eq!(reader.real.is_finished(), self.closed && reader.next == self.records.len());
            }
            Step::Release(reader) => {
                let Some(reader) = &mut self.readers[reader] else { return };
                reader.real.release();
                reader.unfinished = reader.next;
                if reader.next > 0 {
                    reader.released = reader.released.max(self.records[reader.next - 1].end);
                }
            }
            Step::Drop(reader) => {
                self.readers[reader] = None;
                if self.readers.iter().all(Option::is_none) {
                    self.closed = true;
                }
            }
            Step::Close => {
                self.ring.close();
                self.closed = true;
            }
        }
        assert_eq!(self.ring.is_closed(), self.closed);
        let held: usize = self.slots_in_use();
        assert_eq!(self.pool.used_bytes() == 0, held == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_answers_as_its_twin_does(
        steps in vec(step(), 1..200),
        origin in prop_oneof![Just(0), 0..64u64, ((1u64 << 32) * 64 - 200)..((1u64 << 32) * 64)],
    ) {
        let mut twin = Twin::new(origin * 64);
        for step in &steps {
            twin.apply(step);
        }
    }
}
