//! How an engine ends that nobody told to end: which shard failed first, why, and who wants to know.
//!
//! Knows shards by number. Must never know what they do.

use std::fmt;
use std::sync::OnceLock;

/// A shard that has ended without being told to, and the whole engine with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {shard} has ended: {reason}")]
#[non_exhaustive]
pub struct ShardFailure {
    /// The shard's number, from 0.
    pub shard: usize,
    /// Why, for a log: what its driver said, or the message of its panic.
    pub reason: String,
}

/// The first failure of an engine. Later ones mostly follow from it: they go to the log alone.
#[derive(Default)]
pub struct FailureRecord {
    first: OnceLock<ShardFailure>,
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for FailureRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureRecord").field("first", &self.first).finish_non_exhaustive()
    }
}

impl FailureRecord {
    /// The first failure, if there was one.
    pub fn first(&self) -> Option<&ShardFailure> {
        self.first.get()
    }

    /// Notes that a shard has failed, and rings.
    pub fn note(&self, shard: usize, reason: String) {
        if self.first.set(ShardFailure { shard, reason }).is_ok()
            && let Some(bell) = self.bell.get()
        {
            bell();
        }
    }

    /// Calls `bell` at the first failure: on the thread that failed, or here if that was before. The first bell set stays.
    pub fn set_bell(&self, bell: Box<dyn Fn() + Send + Sync>) {
        // Whoever comes second of the two sees the other: it may ring twice, but never not at all.
        if self.bell.set(bell).is_ok()
            && self.first.get().is_some()
            && let Some(bell) = self.bell.get()
        {
            bell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    fn counting() -> (Arc<AtomicU32>, Box<dyn Fn() + Send + Sync>) {
        let rung = Arc::new(AtomicU32::new(0));
        let count = rung.clone();
        (rung, Box::new(move || _ = count.fetch_add(1, Relaxed)))
    }

    #[test]
    fn the_first_failure_stays_and_rings_once() {
        let record = FailureRecord::default();
        let (rung, bell) = counting();
        record.set_bell(bell);
        assert_eq!((record.first(), rung.load(Relaxed)), (None, 0));
        record.note(1, "its driver failed".into());
        record.note(0, "later".into());
        assert_eq!(record.first().unwrap().to_string(), "shard 1 has ended: its driver failed");
        assert_eq!(rung.load(Relaxed), 1);
    }

    #[test]
    fn a_bell_that_comes_after_the_failure_rings_too() {
        let record = FailureRecord::default();
        record.note(0, "early".into());
        let (rung, bell) = counting();
        record.set_bell(bell);
        assert_eq!(rung.load(Relaxed), 1);
        let (other, bell) = counting();
        record.set_bell(bell);
        assert_eq!((rung.load(Relaxed), other.load(Relaxed)), (1, 0), "the first bell stays");
    }
}
