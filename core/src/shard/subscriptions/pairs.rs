//! What a connection has of something, by hash: the membership of a topic, the subscription to a pattern.
//!
//! Most connections have a few: those are found by walking the connection's own list. Only a connection with more than
//! [`LISTED_MAX`] has its pairs here, so an idle connection costs nothing.

use crate::shard::pieces::Pieces;

/// What one pair takes at most: its entry and a byte of the table, of which an eighth is empty, and which grows by doubling.
pub const PAIR_BYTES: usize = 2 * (size_of::<((u32, u32), u32)>() + 1) * 8 / 7;
/// A list of so many is walked.
pub const LISTED_MAX: u32 = 16;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Pairs {
    of: Pieces<(u32, u32), u32>,
}

impl Pairs {
    /// What connection `slot` has of `what`.
    pub fn find(&self, slot: u32, what: u32) -> Option<u32> {
        self.of.get(&(slot, what)).copied()
    }

    /// It has `record` of it from now on.
    pub fn insert(&mut self, slot: u32, what: u32, record: u32) {
        self.of.insert((slot, what), record);
    }

    /// It has nothing of it any more.
    pub fn remove(&mut self, slot: u32, what: u32) {
        self.of.remove(&(slot, what));
    }
}
