//! Messages that arrive in parts: how much memory they take together, and which of them began first.
//!
//! Who sends all of a message but its end would keep that memory for as long as it likes, and a few such clients all that there is
//! for publishing. So unfinished messages have a share, beyond which the oldest goes.

use std::collections::VecDeque;

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
    /// How many there may be before those that are over are forgotten.
    order_max: usize,
    bytes: usize,
}

impl Arriving {
    /// Memory of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A message has begun. Of those before it, only those that are unfinished still matter.
    pub fn begin(&mut self, arrival: Arrival, is_unfinished: impl Fn(&Arrival) -> bool) {
        if self.order.len() >= self.order_max {
            self.order.retain(|arrival| is_unfinished(arrival));
            self.order_max = (2 * self.order.len()).max(64);
        }
        self.order.push_back(arrival);
    }

    /// A message's memory was `before` and is `now`; 0: there is none.
    pub fn note(&mut self, before: usize, now: usize) {
        self.bytes = self.bytes + now - before;
    }

    /// The oldest of those that `is_unfinished` still, but for one connection.
    pub fn oldest_but(&mut self, slot: u32, is_unfinished: impl Fn(&Arrival) -> bool) -> Option<Arrival> {
        self.order.retain(|arrival| is_unfinished(arrival));
        self.order.iter().find(|arrival| arrival.slot != slot).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unfinished_message_is_found_past_those_that_are_whole() {
        let mut arriving = Arriving::default();
        for slot in 0..4 {
            arriving.begin(Arrival { slot, began_ns: slot.into() }, |_| true);
        }
        assert_eq!(arriving.oldest_but(9, |a| a.slot > 1).map(|a| a.slot), Some(2));
        assert_eq!(arriving.oldest_but(2, |a| a.slot > 1).map(|a| a.slot), Some(3));
        assert_eq!(arriving.oldest_but(3, |a| a.slot > 2), None);
        arriving.note(0, 100);
        arriving.note(100, 300);
        arriving.note(300, 0);
        assert_eq!(arriving.bytes(), 0);
    }

    #[test]
    fn messages_that_are_whole_are_forgotten_however_many_there_were() {
        let mut arriving = Arriving::default();
        for began_ns in 0..100_000 {
            arriving.begin(Arrival { slot: 0, began_ns }, |a| a.began_ns % 1_000 == 0 && a.began_ns < 50_000);
            assert!(arriving.order.len() <= 101, "{} at {began_ns}", arriving.order.len());
        }
    }
}
