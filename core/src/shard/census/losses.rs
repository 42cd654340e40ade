//! Messages that clients have lost: the latest of all, how many each has lost since it came, and those that are still to be told.
//!
//! A loss is rare and costs a place in a ring. Knows connections and names; must never know a log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::types::{ConnectionId, Priority};

/// Losses that are remembered.
const RECENT_MAX: usize = 1_024;
/// Losses that one message tells of.
pub const TOLD_MAX: usize = 32;
/// Bytes that one client with losses takes at most: the map grows by doubling.
pub const LOSER_BYTES: usize = 2 * (size_of::<(u32, u64)>() + 1);

/// Messages that one client has lost in one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When, by the wall clock: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who.
    pub client: ConnectionId,
    /// The topic.
    pub topic: Arc<str>,
    /// The priority.
    pub priority: Priority,
    /// The first sequence number.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// How many messages these are, at most.
    pub count: u64,
    /// Why, in one word.
    pub reason: &'static str,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Losses {
    recent: VecDeque<Loss>,
    /// Messages that each client has lost, by slot.
    totals: HashMap<u32, u64>,
    untold: Vec<Loss>,
    left_out: u64,
}

impl Losses {
    /// A client has lost something. `is_told`: somebody wants to hear of it.
    pub fn note(&mut self, loss: Loss, is_told: bool) {
        *self.totals.entry(loss.client.slot()).or_default() += loss.count;
        if is_told && self.untold.len() < TOLD_MAX {
            self.untold.push(loss.clone());
        } else if is_told {
            self.left_out += 1;
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(loss);
    }

    /// Messages that the client in a slot has lost.
    pub fn total(&self, slot: u32) -> u64 {
        self.totals.get(&slot).copied().unwrap_or(0)
    }

    /// The latest losses of a client, the newest first.
    pub fn of(&self, client: ConnectionId, most: usize) -> impl Iterator<Item = &Loss> {
        self.recent.iter().rev().filter(move |loss| loss.client == client).take(most)
    }

    /// A client is gone.
    pub fn forget(&mut self, slot: u32) {
        if !self.totals.is_empty() {
            self.totals.remove(&slot);
        }
    }

    /// Whether there is something to tell.
    pub fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Nobody wants to hear of it any more.
    pub fn forget_untold(&mut self) {
        self.untold.clear();
        self.left_out = 0;
    }

    /// What is to be told, and how many losses there was no room for.
    pub fn take_untold(&mut self) -> (Vec<Loss>, u64) {
        (std::mem::take(&mut self.untold), std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(slot: u32, from: u64, to: u64) -> Loss {
        let client = ConnectionId::new(0, 1, slot);
        let (topic, count) = ("t".into(), to - from + 1);
        Loss { at_ms: 0, client, topic, priority: Priority::Low, from, to, count, reason: "lag" }
    }

    #[test]
    fn losses_are_summed_for_each_client_and_the_newest_come_first() {
        let mut losses = Losses::default();
        losses.note(loss(1, 1, 10), false);
        losses.note(loss(2, 3, 3), false);
        losses.note(loss(1, 20, 20), false);
        assert_eq!((losses.total(1), losses.total(2), losses.total(3)), (11, 1, 0));
        let from: Vec<u64> = losses.of(ConnectionId::new(0, 1, 1), 4).map(|loss| loss.from).collect();
        assert_eq!(from, [20, 1]);
        assert_eq!(losses.of(ConnectionId::new(0, 2, 1), 4).count(), 0, "the slot's next life");
        losses.forget(1);
        assert_eq!(losses.total(1), 0);
        assert!(!losses.has_untold());
    }

    #[test]
    fn memory_is_bounded_and_what_is_left_out_is_counted() {
        let mut losses = Losses::default();
        for n in 0..3_000 {
            losses.note(loss(7, n, n), n % 2 == 0);
        }
        assert_eq!(losses.recent.len(), RECENT_MAX);
        let (told, left_out) = losses.take_untold();
        assert_eq!((told.len(), left_out), (TOLD_MAX, 1_500 - TOLD_MAX as u64));
        assert_eq!(losses.take_untold().1, 0);
        losses.note(loss(7, 1, 1), true);
        losses.forget_untold();
        assert!(!losses.has_untold() && losses.total(7) == 3_001);
    }
}
