//! Models that are too large for loom: more threads, more laps. Random schedules, of which each test tries many thousands; the
//! same ones in every run. `cargo test -p fanwire-ring --features shuttle --lib shuttle::`
//!
//! Here every atomic operation is sequentially consistent: what a weaker order would break is `loom.rs`'s to find. A lost wake-up
//! is a deadlock, two that use the same plain memory at once are found by `sync::Watched`. A failure prints its schedule.

use std::collections::HashMap;
use std::sync::Arc;

use ::shuttle::scheduler::{PctScheduler, RandomScheduler};
use ::shuttle::thread::{self, JoinHandle};
use ::shuttle::{Config, Runner};

use super::sleeper::{Sleeper, WAIT, attributes, head, publish, publish_with, ring};
use super::sync::ArrayQueue;
use super::{PayloadPool, Refused, Ring};

/// Half of the schedules choose at each step, half of them prefer threads and change their minds a few times.
const SCHEDULES: usize = 25_000;
/// Changes of mind.
const DEPTH: usize = 3;
const SEED: u64 = 0x5eed;

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let model = Arc::new(model);
    let config = || {
        let mut config = Config::new();
        config.silence_warnings = true;
        config
    };
    let again = Arc::clone(&model);
    let random = RandomScheduler::new_from_seed(SEED, SCHEDULES / 2);
    let tried = Runner::new(random, config()).run(move || again());
    let preferring = PctScheduler::new_from_seed(SEED, DEPTH, SCHEDULES / 2);
    assert_eq!(tried + Runner::new(preferring, config()).run(move || model()), SCHEDULES);
}

fn with_ring<T: Send + 'static>(ring: &Arc<Ring>, work: impl FnOnce(&Ring) -> T + Send + 'static) -> JoinHandle<T> {
    let ring = Arc::clone(ring);
    thread::spawn(move || work(&ring))
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap()
}

/// Each producer's messages have the topics 16 × its number and on, in order.
fn assert_order(seen: &[u32]) {
    let mut next: HashMap<u32, u32> = HashMap::new();
    for topic in seen {
        let count = next.entry(topic / 16).or_default();
        assert_eq!(topic % 16, *count, "of producer {} in {seen:?}", topic / 16);
        *count += 1;
    }
}

#[test]
fn three_producers_and_three_readers_agree_on_one_order_over_many_laps() {
    explore(|| {
        let (ring, [mut first, mut second, mut third]) = ring(0);
        let producers = [1, 2, 3].map(|producer| {
            with_ring(&ring, move |ring| {
                for (seq, len) in [4, 60, 64, 4].into_iter().enumerate() {
                    publish(ring, producer * 16 + seq as u32, len);
                }
            })
        });
        let others = [thread::spawn(move || second.read(12)), thread::spawn(move || third.read(12))];
        let seen = first.read(12);
        assert_order(&seen);
        for other in others {
            assert_eq!(join(other), seen);
        }
        producers.into_iter().for_each(join);
    });
}

#[test]
fn attributes_of_three_producers_stay_with_their_messages_over_many_laps() {
    explore(|| {
        let (ring, [mut first, mut second]) = ring(0);
        let producers = [1, 2, 3].map(|producer| {
            with_ring(&ring, move |ring| {
                for (seq, (attributes, len)) in [(4, 4), (0, 60), (60, 12), (1, 0)].into_iter().enumerate() {
                    publish_with(ring, producer * 16 + seq as u32, attributes, len);
                }
            })
        });
        let other = thread::spawn(move || second.read(12));
        let seen = first.read(12);
        assert_order(&seen);
        assert_eq!(join(other), seen);
        producers.into_iter().for_each(join);
    });
}

#[test]
fn a_close_among_publishers_loses_nothing_that_was_taken() {
    explore(|| {
        let (ring, [mut first, mut second]) = ring(0);
        let producers = [1, 2, 3].map(|producer| {
            with_ring(&ring, move |ring| {
                let mut taken = 0;
                while taken < 4 {
                    match ring.publish_timeout(&head(producer * 16 + taken), &[(producer * 16 + taken) as u8; 30], WAIT)
                    {
                        Ok(_) => taken += 1,
                        Err(refused) => {
                            assert_eq!(refused, Refused::Stopped);
                            break;
                        }
                    }
                }
                taken as usize
            })
        });
        let closer = with_ring(&ring, Ring::close);
        let other = thread::spawn(move || second.read(usize::MAX));
        let seen = first.read(usize::MAX);
        join(closer);
        assert_order(&seen);
        assert_eq!(join(other), seen);
        assert_eq!(seen.len(), producers.map(join).iter().sum::<usize>());
    });
}

#[test]
fn readers_that_go_among_publishers_keep_no_payload_and_no_producer() {
    explore(|| {
        let pool = PayloadPool::new(1 << 20);
        let (ring, [mut first, mut second, third]) = ring(0);
        let producers = [1, 2].map(|producer| {
            let payloads = [0, 1, 2].map(|seq| pool.copy_from(&[(producer * 16 + seq) as u8; 8]).unwrap());
            with_ring(&ring, move |ring| {
                for (seq, payload) in payloads.into_iter().enumerate() {
                    let topic = producer * 16 + seq as u32;
                    // Some with attributes. With them a record has one unit still: one of two finds no place in four while a reader
                    // that goes is stopped between its last word and giving up its claim, which is two of them.
                    let attributes = attributes(topic, seq % 2 * 8);
                    ring.publish_shared_timeout(&head(topic), &attributes, payload, WAIT).unwrap();
                }
            })
        });
        let leavers = [thread::spawn(move || drop(second.read(2))), thread::spawn(move || drop(third))];
        assert_order(&first.read(6));
        producers.into_iter().for_each(join);
        leavers.into_iter().for_each(join);
        // The last record's payload is lent until the reader goes on.
        first.reader.release();
        assert_eq!(pool.used_bytes(), 0);
    });
}

#[test]
fn no_shard_sleeps_on_a_record_or_on_a_letter() {
    explore(|| {
        let (ring, sleepers) = ring::<2>(0);
        let mailboxes = [(); 2].map(|()| Arc::new(ArrayQueue::new(1)));
        let producers = [1, 2].map(|producer| {
            with_ring(&ring, move |ring| {
                for seq in 0..3 {
                    publish(ring, producer * 16 + seq, 60);
                }
            })
        });
        let host = {
            let mailboxes = mailboxes.clone();
            with_ring(&ring, move |ring| {
                for (number, mailbox) in mailboxes.iter().enumerate() {
                    mailbox.push(number as u32).unwrap();
                    ring.wake_reader(number);
                }
            })
        };
        let shard =
            |mut sleeper: Sleeper, mailbox: Arc<ArrayQueue<u32>>| thread::spawn(move || sleeper.read_both(6, &mailbox));
        let mut shards = sleepers.into_iter().zip(mailboxes).map(|(sleeper, mailbox)| shard(sleeper, mailbox));
        let shards = [shards.next().unwrap(), shards.next().unwrap()];
        for (number, shard) in shards.into_iter().enumerate() {
            let (topics, letter) = join(shard);
            assert_order(&topics);
            assert_eq!(letter, number as u32);
        }
        producers.into_iter().for_each(join);
        join(host);
    });
}
