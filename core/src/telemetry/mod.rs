//! What the engine knows of itself, and how it tells it.
//!
//! Shards write, each its own [`Instruments`]; whoever asks reads. Knows numbers, names and text. Must never know how a shard works.

mod drops;
mod histogram;
pub mod json;
mod metrics;
mod openmetrics;
mod stopwatch;
mod watchers;

use std::time::Duration;

pub use drops::{Drops, PatternNumber, Patterns, Reason};
pub use histogram::{Histogram, Reading};
pub use metrics::{Metric, MetricKind, Sources, metrics, render};
pub use stopwatch::Stopwatch;
pub use watchers::{SysTopic, Wanted, Watchers, is_sys};

use crate::config::Config;

/// What one shard measures beside its counters.
#[derive(Debug, Default)]
pub struct Instruments {
    /// Age of a turn's first message when the shard begins to send, in microseconds.
    pub first_send_us: Histogram,
    /// Its age at the end of the turn in which everything was sent, in microseconds.
    pub last_send_us: Histogram,
    /// Turns, in microseconds.
    pub turn_us: Histogram,
    /// Sends of a turn that sends.
    pub turn_sends: Histogram,
    /// Sends given to the kernel in one call.
    pub batch_sends: Histogram,
    /// Messages that subscribers did not get.
    pub drops: Drops,
}

/// What shards share of this.
#[derive(Debug)]
pub struct Telemetry {
    /// Patterns that drops are counted by.
    pub patterns: Patterns,
    /// Who wants to know what is said on `$sys` topics.
    pub watchers: Watchers,
    /// When the engine was started, by the wall clock: since the Unix epoch.
    pub started: Duration,
}

impl Telemetry {
    /// Of an engine that starts at `wall_ns`: the configuration's patterns come first.
    pub fn new(config: &Config, wall_ns: u64) -> Self {
        let patterns = Patterns::default();
        config.topics.iter().for_each(|topic| _ = patterns.number(&topic.pattern));
        Self { patterns, watchers: Watchers::default(), started: Duration::from_nanos(wall_ns) }
    }
}
