//! Messages that arrive in parts: how much memory they take together, and which of them has taken longest.
//!
//! Who sends all of a message but its end would keep that memory for as long as it likes, and a few such clients all that there is
//! for publishing. So unfinished messages have a share, beyond which the oldest goes, and a pace.

use std::collections::VecDeque;

/// A message may take so long…
const GRACE_NS: u64 = 10_000_000_000;
/// …and a second more for each so many bytes that have come.
const BYTES_A_SECOND: u64 = 64 << 10;

/// One unfinished message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The connection.
    pub slot: u32,
    /// When its first part came.
    pub began_ns: u64,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Arriving {
    /// Oldest first. May name messages that are whole or given up by now.
    order: VecDeque<Arrival>,
    bytes: usize,
}

impl Arriving {
    /// Memory of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A message has begun.
    pub fn begin(&mut self, arrival: Arrival) {
        self.order.push_back(arrival);
    }

    /// A message's memory was `before` and is `now`; 0: there is none.
    pub fn note(&mut self, before: usize, now: usize) {
        self.bytes = self.bytes + now - before;
    }

    /// The oldest of those that `is_unfinished` still.
    pub fn oldest(&mut self, is_unfinished: impl Fn(&Arrival) -> bool) -> Option<Arrival> {
        while let Some(first) = self.order.front() {
            if is_unfinished(first) {
                return Some(*first);
            }
            self.order.pop_front();
        }
        None
    }

    /// The second oldest of them, of a list whose first was found by [`Arriving::oldest`].
    pub fn oldest_but(&mut self, slot: u32, is_unfinished: impl Fn(&Arrival) -> bool) -> Option<Arrival> {
        self.order.retain(|arrival| is_unfinished(arrival));
        self.order.iter().find(|arrival| arrival.slot != slot).copied()
    }
}

impl Arrival {
    /// True if a message of which so many bytes are here has taken too long.
    pub fn is_late(&self, now_ns: u64, bytes: usize) -> bool {
        let allowed = GRACE_NS + bytes as u64 / BYTES_A_SECOND * 1_000_000_000;
        now_ns.saturating_sub(self.began_ns) > allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unfinished_message_is_found_past_those_that_are_whole() {
        let mut arriving = Arriving::default();
        for slot in 0..4 {
            arriving.begin(Arrival { slot, began_ns: slot.into() });
        }
        assert_eq!(arriving.oldest(|a| a.slot > 1).map(|a| a.slot), Some(2));
        assert_eq!(arriving.oldest_but(2, |a| a.slot > 1).map(|a| a.slot), Some(3));
        assert_eq!(arriving.oldest_but(3, |a| a.slot > 2), None);
        arriving.note(0, 100);
        arriving.note(100, 300);
        arriving.note(300, 0);
        assert_eq!(arriving.bytes(), 0);
    }

    #[test]
    fn a_message_has_ten_seconds_and_one_for_each_64_kib() {
        let arrival = Arrival { slot: 0, began_ns: 5_000_000_000 };
        for (bytes, allowed_s) in [(0, 10), (65_535, 10), (65_536, 11), (64 << 20, 1_034)] {
            assert!(!arrival.is_late((5 + allowed_s) * 1_000_000_000, bytes), "{bytes}");
            assert!(arrival.is_late((5 + allowed_s) * 1_000_000_000 + 1, bytes), "{bytes}");
        }
    }
}
