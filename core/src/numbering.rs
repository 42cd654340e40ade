//! Numbers that the host gives its messages, instead of having them counted: a broker's. They only grow, lane by lane.
//!
//! Knows the last number given in each lane, through whatever handle. What enters the ring in another order than it was given here
//! (two threads at once), or behind what was counted since, each shard refuses at the same place (`lanes`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::types::Priority;

/// The highest number that a message may be given: JSON, as JavaScript reads it, is exact up to here.
pub const SEQ_MAX: u64 = (1 << 53) - 1;

/// See the module's head. By priority; 0: none was given.
#[derive(Debug, Default)]
pub struct Given([AtomicU64; Priority::ALL.len()]);

impl Given {
    /// Takes a number; gives the last one before it.
    ///
    /// # Errors
    /// That last one, if it is not below.
    pub fn take(&self, priority: Priority, seq: u64) -> Result<u64, u64> {
        self.0[priority as usize].fetch_update(Relaxed, Relaxed, |last| (seq > last).then_some(seq))
    }

    /// A number that was taken after `last` was not used.
    pub fn give_back(&self, priority: Priority, seq: u64, last: u64) {
        // If a higher one was taken since, it is just left out.
        let _ = self.0[priority as usize].compare_exchange(seq, last, Relaxed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_lane_only_grow_and_unused_ones_may_come_again() {
        let given = Given::default();
        assert_eq!(given.take(Priority::High, 7), Ok(0));
        assert_eq!([7, 6].map(|seq| given.take(Priority::High, seq)), [Err(7), Err(7)]);
        assert_eq!(given.take(Priority::Low, 7), Ok(0), "another lane");
        assert_eq!(given.take(Priority::High, 9), Ok(7));
        given.give_back(Priority::High, 9, 7);
        assert_eq!(given.take(Priority::High, 8), Ok(7));
        given.take(Priority::High, 10).unwrap();
        given.give_back(Priority::High, 8, 7);
        assert_eq!(given.take(Priority::High, 10), Err(10), "what came after it holds");
    }
}
