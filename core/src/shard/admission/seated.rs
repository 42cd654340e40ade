//! The connections of a shard that have a subject, and what each has of what its subject may have.
//!
//! Knows slots. What all shards count together is in [`super::subjects`].

use std::collections::HashMap;

use super::subjects::{Seat, Subjects, What};

/// Bytes that one connection takes here at most: the map grows by doubling.
pub const SEATED_BYTES: usize = 2 * (size_of::<(u32, Seated)>() + 1);

/// One connection.
#[derive(Clone, Copy, Debug)]
struct Seated {
    seat: Seat,
    subscriptions: u32,
    patterns: u32,
    topics: u32,
}

impl Seated {
    fn has(&mut self, what: What) -> Option<&mut u32> {
        match what {
            What::Connections => None,
            What::Subscriptions => Some(&mut self.subscriptions),
            What::Patterns => Some(&mut self.patterns),
            What::Topics => Some(&mut self.topics),
        }
    }
}

/// See the module's head. Empty where no limit counts by subject.
#[derive(Debug, Default)]
pub struct SeatedBySlot {
    by_slot: HashMap<u32, Seated>,
}

impl SeatedBySlot {
    /// A connection of a subject comes; one that is there already is not counted again. False: its subject has as many
    /// as it may have.
    pub fn enter(&mut self, slot: u32, subject: &str, subjects: &Subjects) -> bool {
        if !subjects.is_any() || self.by_slot.contains_key(&slot) {
            return true;
        }
        let Some(seat) = subjects.enter(subject) else { return false };
        self.by_slot.insert(slot, Seated { seat, subscriptions: 0, patterns: 0, topics: 0 });
        true
    }

    /// A connection is gone, and what it had with it.
    pub fn leave(&mut self, slot: u32, subjects: &Subjects) {
        let Some(mut seated) = self.by_slot.remove(&slot) else { return };
        for what in [What::Subscriptions, What::Patterns, What::Topics] {
            let count = seated.has(what).map_or(0, |has| *has);
            if count > 0 {
                subjects.give_back(seated.seat, what, count);
            }
        }
        subjects.leave(seated.seat);
    }

    /// One more of something for a connection. False: it would be more than its subject may have.
    pub fn take(&mut self, slot: u32, what: What, subjects: &Subjects) -> bool {
        if !subjects.limits(what) {
            return true;
        }
        let Some(seated) = self.by_slot.get_mut(&slot) else { return true };
        let may = subjects.take(seated.seat, what);
        if let Some(has) = seated.has(what) {
            *has += u32::from(may);
        }
        may
    }

    /// One less.
    pub fn give_back(&mut self, slot: u32, what: What, subjects: &Subjects) {
        self.keep(slot, what, subjects, |has| has.saturating_sub(1));
    }

    /// What a connection has taken and not got, or has no more, goes back: it has so many.
    pub fn settle(&mut self, slot: u32, what: What, count: u32, subjects: &Subjects) {
        self.keep(slot, what, subjects, |has| has.min(count));
    }

    /// What a connection has stays counted for its subject when the connection is gone.
    pub fn leave_behind(&mut self, slot: u32, what: What) {
        let Some(seated) = self.by_slot.get_mut(&slot) else { return };
        if let Some(has) = seated.has(what) {
            *has = has.saturating_sub(1);
        }
    }

    fn keep(&mut self, slot: u32, what: What, subjects: &Subjects, kept: impl FnOnce(u32) -> u32) {
        if !subjects.limits(what) {
            return;
        }
        let Some(seated) = self.by_slot.get_mut(&slot) else { return };
        let seat = seated.seat;
        let Some(has) = seated.has(what) else { return };
        let now = kept(*has);
        let less = *has - now;
        *has = now;
        if less > 0 {
            subjects.give_back(seat, what, less);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitsConfig;

    #[test]
    fn what_a_connection_has_goes_with_it_but_for_what_it_leaves_behind() {
        let limits =
            LimitsConfig { topics_per_subject_max: 4, subscriptions_per_subject_max: 9, ..LimitsConfig::default() };
        let subjects = Subjects::new(&limits, 4);
        let mut seated = SeatedBySlot::default();
        assert!(seated.enter(1, "u", &subjects) && seated.enter(1, "u", &subjects) && seated.enter(2, "u", &subjects));
        assert_eq!(subjects.has("u", What::Connections), 2);
        assert!((0..3).all(|_| seated.take(1, What::Topics, &subjects)) && seated.take(2, What::Topics, &subjects));
        assert!(!seated.take(2, What::Topics, &subjects) && !seated.take(1, What::Topics, &subjects));
        assert!((0..5).all(|_| seated.take(1, What::Subscriptions, &subjects)));
        seated.settle(1, What::Subscriptions, 2, &subjects);
        seated.settle(1, What::Subscriptions, 7, &subjects);
        assert_eq!(subjects.has("u", What::Subscriptions), 2);
        seated.leave_behind(1, What::Topics);
        seated.give_back(1, What::Topics, &subjects);
        assert_eq!(subjects.has("u", What::Topics), 3);
        seated.leave(1, &subjects);
        assert_eq!(subjects.has("u", What::Topics), 2, "the other's, and what was left behind");
        assert_eq!((subjects.has("u", What::Subscriptions), subjects.has("u", What::Connections)), (0, 1));
        seated.leave(2, &subjects);
        assert_eq!(subjects.len(), 0);
        assert!(seated.take(3, What::Topics, &subjects), "who has no subject is not counted");
    }
}
