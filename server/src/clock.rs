//! Job: the binary's one place that reads clocks and sleeps, so that everything else takes time as an argument.
//! Knows: the host's clocks. Must never know: why anybody asks.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic now.
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock microseconds since 1970, as messages carry them.
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Sleeps for `span`.
pub fn sleep(span: Duration) {
    std::thread::sleep(span);
}
