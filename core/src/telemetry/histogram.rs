//! Histograms that one thread writes and any reads: four buckets to each doubling, so that a quantile is at most 25 % too high.
//!
//! Knows numbers. Must never know what is measured, or a clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Doublings that are told apart: values up to 2^24 (in microseconds: 16.8 s) have a bucket, the others share the last one.
pub const DOUBLINGS: usize = 24;
const BUCKETS: usize = 4 * (DOUBLINGS - 1) + 1;

/// What one thread has noted.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

/// The bucket of a value: bucket `b` ends with [`end_of`] `b`, which is still in it. 0 is taken for 1.
#[inline]
fn bucket_of(value: u64) -> usize {
    let below = value.saturating_sub(1);
    if below < 4 {
        return below as usize;
    }
    let doubling = (u64::BITS - 1 - below.leading_zeros()) as usize;
    (4 * (doubling - 1) + ((below >> (doubling - 2)) & 3) as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket; the last bucket has none.
fn end_of(bucket: usize) -> u64 {
    if bucket < 4 { bucket as u64 + 1 } else { (4 + bucket as u64 % 4 + 1) << (bucket / 4 - 1) }
}

impl Histogram {
    /// Notes a value. By one thread alone.
    #[inline]
    pub fn note(&self, value: u64) {
        let bucket = &self.buckets[bucket_of(value)];
        bucket.store(bucket.load(Relaxed) + 1, Relaxed);
        self.sum.store(self.sum.load(Relaxed).wrapping_add(value), Relaxed);
        if value > self.max.load(Relaxed) {
            self.max.store(value, Relaxed);
        }
    }

    /// Notes a time, in microseconds that have begun.
    #[inline]
    pub fn note_ns(&self, ns: u64) {
        self.note(ns.div_ceil(1_000));
    }

    /// Adds what was noted so far to `reading`.
    pub fn read_into(&self, reading: &mut Reading) {
        for (sum, bucket) in reading.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Relaxed);
        }
        reading.sum = reading.sum.wrapping_add(self.sum.load(Relaxed));
        reading.max = reading.max.max(self.max.load(Relaxed));
    }
}

/// What several threads have noted up to one moment, or between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    buckets: [u64; BUCKETS],
    /// Sum of the values.
    pub sum: u64,
    /// The highest value so far.
    pub max: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0, max: 0 }
    }
}

impl Reading {
    /// Values noted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Values of at most 2^`doubling`, up to 2^[`DOUBLINGS`].
    pub fn up_to(&self, doubling: usize) -> u64 {
        let end = match doubling {
            0 => 1,
            1 => 2,
            more => 4 * (more - 1),
        };
        self.buckets[..end.min(BUCKETS - 1)].iter().sum()
    }

    /// What was noted since `before`. Its highest value is the end of the highest bucket, or the highest so far if that is lower.
    pub fn since(&self, before: &Reading) -> Reading {
        let mut between = self.clone();
        between.buckets.iter_mut().zip(before.buckets).for_each(|(now, then)| *now = now.saturating_sub(then));
        between.sum = self.sum.wrapping_sub(before.sum);
        let highest = between.buckets.iter().rposition(|&count| count > 0);
        between.max = highest.map_or(0, |bucket| self.end_within_max(bucket));
        between
    }

    /// The value that a share `q` of all is at most: the end of its bucket. 0 where there is none.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = (self.count() as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return self.end_within_max(bucket);
            }
        }
        0
    }

    fn end_within_max(&self, bucket: usize) -> u64 {
        if bucket == BUCKETS - 1 { self.max } else { end_of(bucket).min(self.max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_holds_its_end_and_not_the_value_behind_it() {
        for bucket in 0..BUCKETS - 1 {
            let end = end_of(bucket);
            assert_eq!((bucket_of(end), bucket_of(end + 1)), (bucket, bucket + 1), "{end}");
            let begin = if bucket == 0 { 1 } else { end_of(bucket - 1) + 1 };
            assert!((end - begin) * 4 <= end, "{begin} to {end}");
        }
        assert_eq!((bucket_of(0), bucket_of(1 << DOUBLINGS), end_of(BUCKETS - 2)), (0, BUCKETS - 2, 1 << DOUBLINGS));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn counts_up_to_a_power_of_two_are_exact() {
        let (histogram, mut reading) = (Histogram::default(), Reading::default());
        (1..=100_000u64).for_each(|value| histogram.note(value));
        histogram.read_into(&mut reading);
        for doubling in 0..=DOUBLINGS {
            assert_eq!(reading.up_to(doubling), (1u64 << doubling).min(100_000), "{doubling}");
        }
        assert_eq!((reading.count(), reading.sum, reading.max), (100_000, 100_000 * 100_001 / 2, 100_000));
        for (q, exact) in [(0.5, 50_000), (0.95, 95_000), (0.99, 99_000), (1.0, 100_000)] {
            let told = reading.quantile(q);
            assert!(told >= exact && (told - exact) * 4 <= exact, "{q}: {told}");
        }
    }

    #[test]
    fn between_two_readings_is_what_came_between() {
        let histogram = Histogram::default();
        let read = || {
            let mut reading = Reading::default();
            histogram.read_into(&mut reading);
            reading
        };
        histogram.note_ns(5_000_000_000);
        let before = read();
        assert_eq!(read().since(&before), Reading::default());
        [1_000, 2_001, 2_500, 7_000].into_iter().for_each(|ns| histogram.note_ns(ns));
        let between = read().since(&before);
        assert_eq!((between.count(), between.sum, between.max), (4, 1 + 3 + 3 + 7, 7));
        assert_eq!((between.quantile(0.5), between.quantile(0.99)), (3, 7));
        histogram.note(u64::MAX);
        let last = read().since(&before);
        assert_eq!((last.up_to(DOUBLINGS), last.count(), last.quantile(1.0)), (4, 5, u64::MAX));
    }
}
