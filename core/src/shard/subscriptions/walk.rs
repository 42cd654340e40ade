//! A walk over all that a connection has asked for, in pieces: nothing that comes or goes meanwhile stops it or is passed over.
//!
//! The walk has a place in each of the connection's two lists, memberships and what they cannot tell. Where the record at a place
//! goes, the place is the next one's; what is added behind the end is looked at, and after what is added in front all is looked at
//! again.

use std::collections::HashMap;

use super::Subscriptions;
use crate::shard::table::NONE;

/// Where walks stand in lists of one kind, by slot; [`NONE`]: at the end.
#[derive(Debug, Default)]
pub struct Places {
    by_slot: HashMap<u32, u32>,
}

impl Places {
    fn begin(&mut self, slot: u32, first: u32) {
        self.by_slot.insert(slot, first);
    }

    fn end(&mut self, slot: u32) {
        self.by_slot.remove(&slot);
    }

    fn of(&self, slot: u32) -> Option<u32> {
        self.by_slot.get(&slot).copied().filter(|&place| place != NONE)
    }

    fn change(&mut self, slot: u32, place: impl FnOnce(u32) -> u32) {
        // Nobody walks, as a rule.
        if !self.by_slot.is_empty()
            && let Some(at) = self.by_slot.get_mut(&slot)
        {
            *at = place(*at);
        }
    }

    /// A record leaves the list; `next` stood behind it.
    pub fn on_removed(&mut self, slot: u32, record: u32, next: u32) {
        self.change(slot, |place| if place == record { next } else { place });
    }

    /// A record is the last now.
    pub fn on_added_behind(&mut self, slot: u32, record: u32) {
        self.change(slot, |place| if place == NONE { record } else { place });
    }

    /// A record is the first now.
    pub fn on_added_in_front(&mut self, slot: u32, record: u32) {
        self.change(slot, |_| record);
    }
}

/// What a connection has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFor {
    /// A topic by its name.
    Topic(u32),
    /// Something in words: a record of [`super::Asked`].
    Words(u32),
    /// Nothing: a topic that a pattern brought.
    Nothing,
}

impl Subscriptions {
    /// Begins a walk over all that a connection has asked for.
    pub fn begin_walk(&mut self, slot: u32) {
        self.places.begin(slot, self.of(slot).first);
        let first = self.of(slot).asked.first().unwrap_or(NONE);
        self.asked.places.begin(slot, first);
    }

    /// The next of them. `None`: the walk is at its end, and over.
    pub fn next_in_walk(&mut self, slot: u32) -> Option<AskedFor> {
        if let Some(membership) = self.places.of(slot) {
            let m = self.memberships[membership];
            self.places.begin(slot, m.next);
            return Some(if m.is_literal { AskedFor::Topic(m.topic) } else { AskedFor::Nothing });
        }
        if let Some(record) = self.asked.places.of(slot) {
            let next = self.asked.next_of_list(record);
            self.asked.places.begin(slot, next);
            return Some(AskedFor::Words(record));
        }
        self.end_walk(slot);
        None
    }

    /// Nobody goes on with the walk.
    pub fn end_walk(&mut self, slot: u32) {
        self.places.end(slot);
        self.asked.places.end(slot);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::shard::lanes::{Form, Lanes};
    use crate::shard::options::Options;
    use proptest::prelude::*;

    /// What is left of a connection's walk.
    fn rest(subscriptions: &mut Subscriptions, slot: u32) -> BTreeSet<(bool, u32)> {
        std::iter::from_fn(|| subscriptions.next_in_walk(slot)).filter_map(key).collect()
    }

    fn everybody(subscriptions: &mut Subscriptions, slot: u32) -> BTreeSet<(bool, u32)> {
        subscriptions.begin_walk(slot);
        rest(subscriptions, slot)
    }

    fn key(asked_for: AskedFor) -> Option<(bool, u32)> {
        match asked_for {
            AskedFor::Topic(topic) => Some((true, topic)),
            AskedFor::Words(record) => Some((false, record)),
            AskedFor::Nothing => None,
        }
    }

    proptest! {
        /// Whatever comes and goes: who is there at the end has been looked at, or has gone and come again.
        #[test]
        fn a_walk_passes_nobody_over(acts in proptest::collection::vec((0u32..40, 0u8..7), 0..200), begin in 0usize..60) {
            let config = crate::config::Config::default();
            let mut lanes = Lanes::new(&config, Arc::new(crate::ingest::PayloadPool::new(1 << 20)), 1);
            let mut subscriptions = Subscriptions::new(1_000);
            subscriptions.open(0, Form::Json);
            let mut seen = BTreeSet::new();
            for (n, (which, act)) in acts.iter().enumerate() {
                if n == begin {
                    subscriptions.begin_walk(0);
                }
                let (found, name) = (subscriptions.find(0, *which), format!("name/{which}"));
                let mut list = subscriptions.of(0).asked;
                let record = subscriptions.asked.find(&list, 0, &name);
                match (act, found, record) {
                    (0, None, _) => {
                        let membership = subscriptions.add(0, *which, true, Options::default()).expect("room");
                        subscriptions.set_literal(membership, true);
                        subscriptions.of_mut(0).asked.counted += 1;
                    }
                    (1, Some(membership), _) => {
                        subscriptions.remove(membership, &mut lanes, true);
                        seen.remove(&(true, *which));
                    }
                    (2, Some(membership), _) => subscriptions.announce(membership),
                    (3, _, None) => {
                        subscriptions.asked.insert(&mut list, 0, &name, 0, None, Options::default());
                        subscriptions.of_mut(0).asked = list;
                    }
                    (4, _, Some(record)) => {
                        subscriptions.asked.remove(&mut list, record);
                        subscriptions.of_mut(0).asked = list;
                        seen.remove(&(false, record));
                    }
                    _ if n > begin => match subscriptions.next_in_walk(0) {
                        Some(asked_for) => seen.extend(key(asked_for)),
                        None => {
                            prop_assert!(everybody(&mut subscriptions, 0).is_subset(&seen));
                            seen.clear();
                            subscriptions.begin_walk(0);
                        }
                    },
                    _ => {}
                }
            }
            if acts.len() > begin {
                seen.append(&mut rest(&mut subscriptions, 0));
                let all = everybody(&mut subscriptions, 0);
                prop_assert!(all.is_subset(&seen), "{:?} were passed over", all.difference(&seen));
            }
            prop_assert!(subscriptions.places.by_slot.is_empty() && subscriptions.asked.places.by_slot.is_empty());
        }
    }
}
