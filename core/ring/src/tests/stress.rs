//! Many producers, several readers that sleep, every way to publish, a ring that is often full: nothing is lost, doubled,
//! torn or out of order, and all readers see the same.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::super::*;
use super::head;

const PRODUCERS: u32 = 8;
const READERS: usize = 4;
const MESSAGES: u64 = 4000;
const LONG: Duration = Duration::from_secs(3600);

/// xorshift64*: the same messages in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// Sequence number, checksum, and bytes that depend on both.
fn message(producer: u32, seq: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; 16 + len];
    let mut random = Random(u64::from(producer) << 32 | (seq + 1));
    bytes[16..].fill_with(|| random.below(256) as u8);
    bytes[..8].copy_from_slice(&seq.to_le_bytes());
    let sum = checksum(producer, &bytes);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn checksum(producer: u32, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (producer, &bytes[..8], &bytes[16..]).hash(&mut hasher);
    hasher.finish()
}

fn produce(producer: u32, ring: &Ring, pool: &PayloadPool) {
    let head = head(producer);
    let mut random = Random(u64::from(producer) + 1);
    let mut seq = 0;
    let mut next = |random: &mut Random| {
        let len = if random.below(20) == 0 { random.below(9000) } else { random.below(300) };
        seq += 1;
        message(producer, seq - 1, len as usize)
    };
    let mut left = MESSAGES;
    while left > 0 {
        match random.below(4) {
            0 => {
                let batch: Vec<_> = (0..left.min(1 + random.below(40))).map(|_| next(&mut random)).collect();
                let slices: Vec<_> = batch.iter().map(|message| &message[..]).collect();
                assert_eq!(ring.publish_many_timeout(&head, &slices, LONG), Ok(batch.len()));
                left -= batch.len() as u64;
            }
            1 => {
                let message = next(&mut random);
                let mut claim = ring.retry_timeout(LONG, || pool.claim(message.len())).unwrap();
                claim.copy_from_slice(&message);
                ring.publish_shared_timeout(&head, b"", claim.freeze(), LONG).unwrap();
                left -= 1;
            }
            _ => {
                ring.publish_timeout(&head, &next(&mut random), LONG).unwrap();
                left -= 1;
            }
        }
    }
}

/// Reads to the end; gives a hash of all that was seen, in order.
fn consume(mut reader: Reader) -> u64 {
    let me = thread::current();
    reader.set_waker(Arc::new(move || me.unpark()));
    let mut order = DefaultHasher::new();
    let mut expected = [0; PRODUCERS as usize];
    let mut last = None;
    let mut random = Random(reader.index() as u64 + 99);
    loop {
        // Turns of various lengths.
        for _ in 0..1 + random.below(200) {
            let Some(record) = reader.next() else { break };
            assert!(last < Some(record.position));
            last = Some(record.position);
            let producer = record.head.topic.0;
            let bytes = record.body.bytes();
            let seq = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(seq, expected[producer as usize]);
            expected[producer as usize] += 1;
            assert_eq!(bytes[8..16], checksum(producer, bytes).to_le_bytes());
            (record.position, producer, seq).hash(&mut order);
        }
        reader.release();
        if reader.is_finished() {
            break;
        }
        if reader.prepare_sleep() {
            thread::park();
        }
        reader.cancel_sleep();
    }
    assert_eq!(expected, [MESSAGES; PRODUCERS as usize]);
    order.finish()
}

#[test]
fn all_readers_see_every_message_in_one_order() {
    let pool = PayloadPool::new(256 << 10);
    let (ring, readers) = Ring::new(RING_BYTES_MIN, READERS).unwrap();
    thread::scope(|scope| {
        let consumers: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || consume(reader))).collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (ring, pool) = (&ring, &pool);
                scope.spawn(move || produce(producer, ring, pool))
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        ring.close();
        let orders: Vec<_> = consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect();
        assert!(orders.iter().all(|&order| order == orders[0]), "{orders:?}");
    });
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn readers_that_come_to_their_end_under_load_hold_nobody_back() {
    let pool = PayloadPool::new(256 << 10);
    let (ring, mut readers) = Ring::new(RING_BYTES_MIN, READERS).unwrap();
    let survivor = readers.pop().unwrap();
    thread::scope(|scope| {
        for (i, mut reader) in readers.into_iter().enumerate() {
            scope.spawn(move || {
                let mut left = 1000 * (i + 1);
                while left > 0 {
                    match reader.next() {
                        Some(_) => left -= 1,
                        None => {
                            reader.release();
                            thread::yield_now();
                        }
                    }
                }
            });
        }
        let survivor = scope.spawn(move || consume(survivor));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (ring, pool) = (&ring, &pool);
                scope.spawn(move || produce(producer, ring, pool))
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        ring.close();
        survivor.join().unwrap();
    });
    assert_eq!(pool.used_bytes(), 0);
}
