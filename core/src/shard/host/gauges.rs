//! What publishers learn of a topic: how far its subscribers are behind.
//!
//! Nothing is kept for a topic until somebody asks. From then on each shard looks over that topic's cursors at most a hundred
//! times a second, and only after something has moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire};

use crossbeam_utils::CachePadded;

use crate::types::TopicId;

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
pub struct Watch {
    /// Each with where to say it.
    pub topics: Vec<(TopicId, Arc<Gauges>)>,
    /// The next look, in the driver's time.
    pub next_ns: u64,
    /// What the counters said at the last look: as long as they say it, nothing has moved.
    pub seen: [u64; 6],
    /// Something has moved since.
    pub has_moved: bool,
}

impl Watch {
    /// When the shard should be awake to look again.
    pub fn due_ns(&self) -> Option<u64> {
        self.has_moved.then_some(self.next_ns)
    }
}

/// True once every shard has answered.
pub fn are_watched(gauges: &Gauges) -> bool {
    gauges.iter().all(|gauge| gauge.is_watched.load(Acquire))
}
