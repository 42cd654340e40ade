//! When connections have been open for as long as they may be.
//!
//! Knows slots, generations and time. Must never know what ends a connection. Without a limit there is nothing here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// When a connection's time is over; its slot and generation.
type End = (u64, u32, u32);

/// Bytes that one connection takes here at most: ends of connections that are gone are as many again, and the list grows
/// by doubling.
pub const LIFETIME_BYTES: usize = 4 * size_of::<End>();
/// Ends that may be there of connections that are gone.
const SPARE: usize = 64;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Lifetimes {
    ends: BinaryHeap<Reverse<End>>,
}

impl Lifetimes {
    /// A connection's time is over then. `is_there`: whether a slot is in this generation; `open`: so many are.
    pub fn begin(&mut self, end: End, open: usize, is_there: impl Fn(u32, u32) -> bool) {
        self.ends.push(Reverse(end));
        if self.ends.len() > 2 * open + SPARE {
            self.ends.retain(|&Reverse((_, slot, generation))| is_there(slot, generation));
        }
    }

    /// A slot whose time, in this generation, is over by `now_ns`.
    pub fn pop(&mut self, now_ns: u64) -> Option<(u32, u32)> {
        let &Reverse((at, slot, generation)) = self.ends.peek()?;
        if at > now_ns {
            return None;
        }
        self.ends.pop();
        Some((slot, generation))
    }

    /// When the next one's time is over.
    pub fn due_ns(&self) -> Option<u64> {
        self.ends.peek().map(|&Reverse((at, ..))| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_end_in_their_order() {
        let mut lifetimes = Lifetimes::default();
        for (at, slot) in [(30, 1), (10, 2), (20, 3)] {
            lifetimes.begin((at, slot, 7), 3, |_, _| true);
        }
        assert_eq!((lifetimes.due_ns(), lifetimes.pop(9)), (Some(10), None));
        assert_eq!([lifetimes.pop(20), lifetimes.pop(20), lifetimes.pop(20)], [Some((2, 7)), Some((3, 7)), None]);
        assert_eq!(lifetimes.due_ns(), Some(30));
    }

    #[test]
    fn those_that_are_gone_do_not_pile_up() {
        let mut lifetimes = Lifetimes::default();
        for generation in 0..10_000 {
            lifetimes.begin((1_000, 0, generation), 1, |_, there| there == generation);
            assert!(lifetimes.ends.len() <= 2 + SPARE);
        }
    }
}
