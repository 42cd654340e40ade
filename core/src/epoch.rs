//! Epochs: which life of which topic, in which run of the engine, a sequence number belongs to.
//!
//! Knows numbers. An epoch is not a time, and epochs have no order: machines without a clock battery start again and again at
//! the same reading, so a run's epochs come from random bits alone. A topic's follows from its place among all topics ever
//! made, unless the host gives it one; it stands in the record that makes the topic.

/// One more than the highest epoch: below it every integer is exact in JSON, as JavaScript reads it.
const END: u64 = 1 << 53;
/// From one topic's epoch to the next one's, in a circle of `END - 1`: far, so that nobody takes epochs for a count. It has no
/// divisor in common with the circle's length (6361 × 69431 × 20394401), so no epoch comes twice before all have come.
const STEP: u64 = 5_566_755_282_872_655;

/// The epochs of one run of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    first: u64,
}

impl Epochs {
    /// The epochs that these random bits stand for: 53 of them count.
    pub const fn from_random(bits: u64) -> Self {
        Self { first: bits % (END - 1) }
    }

    /// Whether a number is an epoch.
    pub const fn has(epoch: u64) -> bool {
        0 < epoch && epoch < END
    }

    /// The epoch of the topic before which `number` others were made: from 1 to 2^53 - 1, another one for each number.
    pub const fn of(self, number: u64) -> u64 {
        let circle = (END - 1) as u128;
        let walked = number as u128 % circle * STEP as u128;
        1 + ((self.first as u128 + walked) % circle) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const fn common_divisor(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { common_divisor(b, a % b) }
    }

    #[test]
    fn no_epoch_comes_twice_in_one_run() {
        assert_eq!(common_divisor(END - 1, STEP), 1, "the step goes through the whole circle");
        let epochs = Epochs::from_random(0x0123_4567_89ab_cdef);
        let seen: HashSet<u64> = (0..100_000).map(|number| epochs.of(number)).collect();
        assert_eq!(seen.len(), 100_000);
    }

    #[test]
    fn every_epoch_is_an_integer_above_zero_that_json_holds() {
        for bits in [0, 1, END - 2, END - 1, END, u64::MAX - 1, u64::MAX] {
            for number in [0, 1, 2, 65_535, END - 2, END - 1, u64::MAX] {
                let epoch = Epochs::from_random(bits).of(number);
                assert!((1..END).contains(&epoch), "{bits} {number}: {epoch}");
            }
        }
    }

    #[test]
    fn epochs_are_no_count_and_no_time() {
        let epochs = Epochs::from_random(7);
        let steps: Vec<u64> = (0..100).map(|number| epochs.of(number + 1).abs_diff(epochs.of(number))).collect();
        assert!(steps.iter().all(|step| *step > 1 << 40), "{steps:?}");
        assert_ne!(epochs.of(0), Epochs::from_random(8).of(0));
    }
}
