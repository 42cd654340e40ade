//! Job: the crate's one place that reads clocks and sleeps, so that everything else takes time as an argument.
//! Knows: the host's clocks. Must never know: why anybody asks.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic now.
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock seconds since 1970, as tokens carry them.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Sleeps for `span`.
pub fn sleep(span: Duration) {
    std::thread::sleep(span);
}
