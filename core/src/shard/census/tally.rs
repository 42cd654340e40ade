//! What each client costs and lacks, by slot: written only while somebody wants to know.

use crate::shard::table::NONE;

/// A lag of a lane's whole budget, in the unit of [`Tally::used`].
pub const FULL: u64 = 1 << 20;

/// What is known of one client since it was looked at last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tally {
    /// Steps that it has cost.
    pub steps: u32,
    /// Bytes that it was sent.
    pub sent: u32,
    /// Bytes that it is behind, over all lanes.
    pub behind_bytes: u32,
    /// Messages likewise.
    pub behind_messages: u32,
    /// Its lag in the lane where that is worst, as a share of the lane's budget, in parts of [`FULL`].
    pub used: u32,
}

/// Memory for one client.
pub const TALLY_BYTES: usize = size_of::<Tally>();

/// See the module's head.
#[derive(Debug, Default)]
pub struct Tallies {
    all: Vec<Tally>,
    is_on: bool,
}

impl Tallies {
    /// Whether anybody counts.
    #[inline]
    pub fn are_on(&self) -> bool {
        self.is_on
    }

    /// Counting begins, for so many slots at most.
    pub fn begin(&mut self, slots: u32) {
        if !self.is_on {
            self.is_on = true;
            self.all.reserve_exact(slots as usize);
        }
    }

    /// Nobody wants to know any more: nothing is kept.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    fn of(&mut self, slot: u32) -> Option<&mut Tally> {
        if !self.is_on || slot == NONE {
            return None;
        }
        if self.all.len() <= slot as usize {
            self.all.resize(slot as usize + 1, Tally::default());
        }
        self.all.get_mut(slot as usize)
    }

    /// A client has cost so many steps, and was sent so many bytes.
    pub fn note(&mut self, slot: u32, steps: u32, sent: usize) {
        if let Some(tally) = self.of(slot) {
            tally.steps = tally.steps.saturating_add(steps);
            tally.sent = tally.sent.saturating_add(sent.try_into().unwrap_or(u32::MAX));
        }
    }

    /// A client is behind in one more lane.
    pub fn note_lag(&mut self, slot: u32, messages: u64, bytes: u64, used: u32) {
        if let Some(tally) = self.of(slot) {
            tally.behind_messages = tally.behind_messages.saturating_add(messages.try_into().unwrap_or(u32::MAX));
            tally.behind_bytes = tally.behind_bytes.saturating_add(bytes.try_into().unwrap_or(u32::MAX));
            tally.used = tally.used.max(used);
        }
    }

    /// Takes what is known of a client: counting begins anew.
    pub fn take(&mut self, slot: u32) -> Tally {
        self.of(slot).map_or_else(Tally::default, std::mem::take)
    }

    /// A slot's next client begins with nothing.
    pub fn forget(&mut self, slot: u32) {
        if let Some(tally) = self.all.get_mut(slot as usize) {
            *tally = Tally::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_before_somebody_wants_to_know_nor_kept_after() {
        let mut tallies = Tallies::default();
        tallies.note(3, 7, 100);
        tallies.note_lag(3, 1, 1, 1);
        assert_eq!((tallies.all.capacity(), tallies.are_on()), (0, false));
        tallies.begin(8);
        tallies.note(3, 7, 100);
        tallies.note(3, 1, 1 << 40);
        tallies.note_lag(3, 2, 200, 5);
        tallies.note_lag(3, 1, 1 << 40, 3);
        let expected = Tally { steps: 8, sent: u32::MAX, behind_bytes: u32::MAX, behind_messages: 3, used: 5 };
        assert_eq!((tallies.take(3), tallies.take(3)), (expected, Tally::default()));
        assert!(tallies.all.capacity() >= 8);
        tallies.note(2, 1, 1);
        tallies.forget(2);
        assert_eq!(tallies.take(2), Tally::default());
        tallies.end();
        assert_eq!(tallies.all.capacity(), 0);
    }
}
