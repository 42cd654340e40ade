//! What publishers learn of a topic: how far its subscribers are behind.
//!
//! Nothing is kept for a topic until somebody asks. From then on each shard looks over that topic's cursors at most a hundred
//! times a second, and only after something has moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crossbeam_utils::CachePadded;

use super::Shard;
use super::table::NONE;
use super::topics::Stream;
use crate::driver::Driver;
use crate::log::Place;
use crate::registry::topic_index;
use crate::types::TopicId;

/// At least so long between two looks…
const LOOK_EVERY_NS: u64 = 10_000_000;
/// …and so much longer for each cursor looked at.
const LOOK_EVERY_NS_PER_CURSOR: u64 = 1_000;
/// A lag of the whole budget, in the unit of [`Gauge::fullest`].
pub const FULL: u64 = 1 << 20;

/// What one shard says of one topic.
#[derive(Debug, Default)]
pub struct Gauge {
    /// The shard looks after it.
    pub is_watched: AtomicBool,
    /// Subscribers.
    pub subscribers: AtomicU64,
    /// The largest lag as a share of its lane's budget, in parts of [`FULL`].
    pub fullest: AtomicU64,
    /// When the oldest message was published that some subscriber has still to get: nanoseconds since the Unix epoch; 0: none.
    pub oldest_ns: AtomicU64,
    /// Messages lost by slow subscribers, by priority.
    pub dropped: [AtomicU64; 4],
}

/// One [`Gauge`] for each shard.
pub type Gauges = Box<[CachePadded<Gauge>]>;

/// The topics that somebody asked about.
#[derive(Debug, Default)]
pub(super) struct Watch {
    topics: Vec<(TopicId, Arc<Gauges>)>,
    /// The next look, in the driver's time.
    next_ns: u64,
    /// What the counters said at the last look: as long as they say it, nothing has moved.
    seen: [u64; 6],
    /// Something has moved since.
    has_moved: bool,
}

impl Watch {
    /// When the shard should be awake to look again.
    pub fn due_ns(&self) -> Option<u64> {
        self.has_moved.then_some(self.next_ns)
    }
}

impl<D: Driver> Shard<D> {
    /// Looks after a topic from now on, if it is known here by now; else the host will ask again.
    pub(super) fn watch(&mut self, topic: TopicId, gauges: Arc<Gauges>) {
        let is_known =
            self.topics.get(topic_index(topic) as usize).and_then(Option::as_ref).is_some_and(|t| t.id == topic);
        if !is_known {
            return;
        }
        self.look(topic, &gauges);
        gauges[self.number as usize].is_watched.store(true, Release);
        if !self.watch.topics.iter().any(|(id, _)| *id == topic) {
            self.watch.topics.push((topic, gauges));
        }
    }

    /// Brings what is said of watched topics up to date, if it is time.
    pub(super) fn look_over_watched(&mut self) {
        if self.watch.topics.is_empty() {
            return;
        }
        let stats = &self.stats;
        let now = [
            stats.messages,
            stats.deliveries,
            stats.gaps,
            stats.passed_over + stats.closed,
            self.links.len() as u64,
            self.memberships.len() as u64,
        ];
        self.watch.has_moved |= now != self.watch.seen;
        self.watch.seen = now;
        if !self.watch.has_moved || self.now_ns < self.watch.next_ns {
            return;
        }
        let mut topics = std::mem::take(&mut self.watch.topics);
        let mut looked_at = 0;
        topics.retain(|(topic, gauges)| match self.look(*topic, gauges) {
            Some(cursors) => {
                looked_at += cursors;
                true
            }
            None => false,
        });
        self.watch.topics = topics;
        self.watch.has_moved = false;
        self.watch.next_ns = self.now_ns + LOOK_EVERY_NS + looked_at * LOOK_EVERY_NS_PER_CURSOR;
    }

    /// Writes down how a topic's subscribers stand; returns the number of cursors looked at. `None`: the topic is gone.
    fn look(&self, topic: TopicId, gauges: &Gauges) -> Option<u64> {
        let gauge = &gauges[self.number as usize];
        let known = self.topics[topic_index(topic) as usize].as_ref().filter(|t| t.id == topic);
        let Some(state) = known else {
            gauge.subscribers.store(0, Relaxed);
            gauge.fullest.store(0, Relaxed);
            gauge.oldest_ns.store(0, Relaxed);
            return None;
        };
        let (mut fullest, mut oldest_ns, mut looked_at) = (0, u64::MAX, 0);
        let lanes = state.lanes.iter().filter(|&&lane| lane != NONE);
        for &id in lanes.flat_map(|&lane| &self.lanes[lane].streams).filter(|&&id| id != NONE) {
            let stream = &self.streams[id];
            looked_at += stream.cursors.subs.len() as u64;
            let Some(seq) = self.last_of(stream) else { continue };
            if let Place::At(entry) | Place::Before(entry) = stream.log.place(seq) {
                let lag = stream.log.head() - entry.offset;
                fullest = fullest.max(lag.saturating_mul(FULL) / (stream.log.budget_bytes() as u64).max(1));
                oldest_ns = oldest_ns.min(entry.time_ns);
            }
        }
        gauge.subscribers.store(state.members.len() as u64, Relaxed);
        gauge.fullest.store(fullest, Relaxed);
        gauge.oldest_ns.store(if oldest_ns == u64::MAX { 0 } else { oldest_ns }, Relaxed);
        for (shown, dropped) in gauge.dropped.iter().zip(state.dropped) {
            shown.store(dropped, Relaxed);
        }
        Some(looked_at)
    }

    /// The place of the cursor that is furthest behind, of those that are not behind because they asked for less.
    fn last_of(&self, stream: &Stream) -> Option<u64> {
        let mut last = stream.log.next_seq();
        for (sub, &link) in stream.cursors.subs.iter().zip(&stream.cursors.links) {
            if sub.seq >= last {
                continue;
            }
            let special = self.links[link].special;
            if special == NONE || self.specials[special].interval_ns == 0 {
                last = sub.seq;
            }
        }
        (last < stream.log.next_seq()).then_some(last)
    }
}

/// True once every shard has answered.
pub fn are_watched(gauges: &Gauges) -> bool {
    gauges.iter().all(|gauge| gauge.is_watched.load(Acquire))
}
