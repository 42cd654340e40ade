//! What the models have in common: a reader that sleeps as a shard does, a tiny ring, and publishing that can be checked.

use std::sync::Arc;
use std::time::Duration;

use super::sync::{ArrayQueue, Bell, deadline_after};
use super::{Head, Reader, RecordKind, Ring};
use crate::types::{Kind, Priority, TopicId};

/// Four units: every record but the third wraps something.
pub(super) const TINY: usize = 256;
/// In models a wait ends by a strike alone.
pub(super) const WAIT: Duration = Duration::from_secs(1);

pub(super) fn head(topic: u32) -> Head {
    Head::message(TopicId(topic), Priority::Normal, Kind::Binary)
}

/// A reader whose thread sleeps on a bell, as a shard sleeps in its driver. Models must not spin: loom would try every
/// number of rounds.
pub(super) struct Sleeper {
    pub(super) reader: Reader,
    /// What it has read: topics and kinds of records.
    pub(super) kinds: Vec<(u32, RecordKind)>,
    bell: Arc<Bell>,
}

impl Sleeper {
    /// Made before the threads that will wake it, for loom cannot see that `OnceLock` orders the waker's registration.
    pub(super) fn new(reader: Reader) -> Self {
        let bell = Arc::new(Bell::new());
        let waker = Arc::clone(&bell);
        reader.set_waker(Arc::new(move || waker.strike()));
        Self { reader, kinds: Vec::new(), bell }
    }

    /// Reads `count` records, or to the end of a closed ring; their payloads must repeat their topics, their attributes, if they
    /// have any, what [`attributes`] makes of them. Gives the topics in order.
    pub(super) fn read(&mut self, count: usize) -> Vec<u32> {
        let mut topics = Vec::new();
        loop {
            let strikes = self.bell.strikes();
            while topics.len() < count
                && let Some(record) = self.reader.next()
            {
                let topic = record.head.topic.0;
                assert!(record.body.bytes().iter().all(|&byte| u32::from(byte) == topic));
                assert_eq!(record.attributes, attributes(topic, record.attributes.len()));
                topics.push(topic);
                self.kinds.push((topic, record.head.kind));
            }
            self.reader.release();
            if topics.len() == count || self.reader.is_finished() {
                return topics;
            }
            if self.reader.prepare_sleep() {
                // The bell forgets nothing: a strike since `strikes` was read ends the wait.
                self.bell.wait(strikes, deadline_after(WAIT));
            }
            self.reader.cancel_sleep();
        }
    }

    /// Reads `count` records and one letter, as a shard hears the ring and its mailbox.
    pub(super) fn read_both(&mut self, count: usize, mailbox: &ArrayQueue<u32>) -> (Vec<u32>, u32) {
        let mut topics = Vec::new();
        let mut letter = None;
        loop {
            let strikes = self.bell.strikes();
            while topics.len() < count
                && let Some(record) = self.reader.next()
            {
                topics.push(record.head.topic.0);
            }
            self.reader.release();
            letter = letter.or_else(|| mailbox.pop());
            if topics.len() == count
                && let Some(letter) = letter
            {
                return (topics, letter);
            }
            // The second look is at both.
            if self.reader.prepare_sleep() && mailbox.is_empty() {
                self.bell.wait(strikes, deadline_after(WAIT));
            }
            self.reader.cancel_sleep();
        }
    }
}

/// Publishes the topic's number `len` times over, waiting for room.
pub(super) fn publish(ring: &Ring, topic: u32, len: usize) {
    ring.publish_timeout(&head(topic), &vec![topic as u8; len], WAIT).unwrap();
}

/// So many bytes of a topic's attributes: none of them is what its payloads are made of.
pub(super) fn attributes(topic: u32, len: usize) -> Vec<u8> {
    vec![!(topic as u8); len]
}

/// Publishes the topic's number `len` times over with so many bytes of attributes, waiting for room.
pub(super) fn publish_with(ring: &Ring, topic: u32, attributes_len: usize, len: usize) {
    let (attributes, payload) = (attributes(topic, attributes_len), vec![topic as u8; len]);
    ring.publish_with_timeout(&head(topic), &attributes, &payload, WAIT).unwrap();
}

/// A tiny ring whose first position is `origin`.
pub(super) fn ring<const READERS: usize>(origin: u64) -> (Arc<Ring>, [Sleeper; READERS]) {
    let (ring, readers) = Ring::with_origin(TINY, READERS, origin).unwrap();
    (ring, readers.into_iter().map(Sleeper::new).collect::<Vec<_>>().try_into().ok().unwrap())
}
