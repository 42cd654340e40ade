//! Job: the binary's one place that reads clocks and sleeps, so that everything else takes time as an argument.
//! Knows: the host's clocks. Must never know: why anybody asks.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// As good as never, and still a time that an [`Instant`] can hold.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Monotonic now.
pub fn now() -> Instant {
    Instant::now()
}

/// `span` after `start`, however long that is.
pub fn after(start: Instant, span: Duration) -> Instant {
    start.checked_add(span.min(NEVER)).unwrap_or(start)
}

/// So many seconds after `start`: negative ones and what is no number count as none.
pub fn after_seconds(start: Instant, seconds: f64) -> Instant {
    let seconds = if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, NEVER.as_secs_f64()) };
    after(start, Duration::from_secs_f64(seconds))
}

/// Wall-clock microseconds since 1970, as messages carry them.
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Wall-clock seconds since 1970, as tokens carry them.
pub fn unix_s() -> u64 {
    unix_us() / 1_000_000
}

/// Sleeps for `span`.
pub fn sleep(span: Duration) {
    std::thread::sleep(span);
}
