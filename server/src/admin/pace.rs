//! Job: how many requests a second are answered, so that whoever asks without end takes no time from the shards.
//! Knows: what a request costs, time as an argument (GCRA). Must never know: what is asked.
//!
//! Who asks too often waits for their turn; who would wait long is told to come back. Probes cost nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a request takes of a second.
const EACH: Duration = Duration::from_millis(5);
/// The same of one for metrics: a text of 100 KiB.
const METRICS: Duration = Duration::from_millis(50);
/// So much may be asked at once.
const BURST: Duration = Duration::from_secs(2);
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// See the module's head.
#[derive(Default)]
pub struct Pace {
    /// When all that was asked so far is done, at this pace.
    done: Mutex<Option<Instant>>,
}

impl Pace {
    /// How long a request for this path has to wait; `None`: too long.
    pub fn wait(&self, path: &str, now: Instant) -> Option<Duration> {
        let cost = match path {
            "/livez" | "/readyz" => return Some(Duration::ZERO),
            "/metrics" => METRICS,
            _ => EACH,
        };
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let then = done.unwrap_or(now).max(now) + cost;
        let wait = then.saturating_duration_since(now).saturating_sub(BURST);
        if wait > WAIT_MAX {
            return None;
        }
        *done = Some(then);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_then_twenty_scrapes_a_second() {
        let (pace, start) = (Pace::default(), crate::clock::now());
        for _ in 0..40 {
            assert_eq!(pace.wait("/metrics", start), Some(Duration::ZERO));
        }
        for number in 1..=100u32 {
            assert_eq!(pace.wait("/metrics", start), Some(METRICS * number), "{number}");
        }
        assert_eq!(pace.wait("/metrics", start), None, "who would wait longer comes back");
        assert_eq!(pace.wait("/livez", start), Some(Duration::ZERO), "a probe is answered whoever else asks");
        // A second later there is room for as much as a second holds.
        let later = start + Duration::from_secs(1);
        assert_eq!((0..20).filter_map(|_| pace.wait("/metrics", later)).max(), Some(WAIT_MAX));
        assert_eq!(pace.wait("/metrics", later), None);
        let rested = start + Duration::from_secs(60);
        assert!((0..400).all(|_| pace.wait("/health", rested) == Some(Duration::ZERO)));
        assert_eq!(pace.wait("/health", rested), Some(EACH));
    }
}
