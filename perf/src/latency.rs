//! Latency histograms that travel between processes.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Nanoseconds from 1 µs to 100 s at three digits; what is beyond counts as the end.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

/// The same as pairs of value and count.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recorded(Vec<(u64, u64)>);

impl Default for Latency {
    fn default() -> Self {
        Latency(Histogram::new_with_bounds(1_000, 100_000_000_000, 3).expect("sound bounds"))
    }
}

impl Latency {
    /// Counts one delivery. Allocates nothing.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value in milliseconds that this share (0 to 1) of the deliveries did not exceed.
    pub fn ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e6
    }

    /// The longest, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1e6
    }

    /// Points for a plot: percent of deliveries, milliseconds, dense towards the end.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        if self.count() == 0 {
            return Vec::new();
        }
        let shares = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999];
        // A share that less than one delivery exceeds says nothing.
        let last = 100.0 - 100.0 / self.count() as f64;
        shares.iter().filter(|share| **share <= last).map(|&share| (share, self.ms(share / 100.0))).collect()
    }

    /// Adds all counts of another.
    pub fn merge(&mut self, other: &Latency) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// Adds another process's counts.
    pub fn add(&mut self, other: &Recorded) {
        for &(value, count) in &other.0 {
            self.0.saturating_record_n(value, count);
        }
    }

    /// Takes what was counted and begins anew.
    pub fn take(&mut self) -> Recorded {
        let pairs = self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        self.0.reset();
        Recorded(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_its_journey() {
        let mut here = Latency::default();
        for ns in 1..=1000u64 {
            here.record(ns * 10_000);
        }
        let p99 = here.ms(0.99);
        let text = serde_json::to_string(&here.take()).unwrap();
        assert_eq!(here.count(), 0);
        let mut there = Latency::default();
        there.add(&serde_json::from_str(&text).unwrap());
        assert_eq!(there.count(), 1000);
        assert!((there.ms(0.99) - p99).abs() < 0.02, "{} {p99}", there.ms(0.99));
    }
}
