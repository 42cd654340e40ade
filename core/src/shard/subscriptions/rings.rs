//! The lists that memberships and links stand in, all doubly linked: whatever leaves, leaves at once.

use super::Subscriptions;
use crate::shard::table::NONE;
use crate::types::Priority;

impl Subscriptions {
    /// Puts a membership at the end of its connection's.
    pub(super) fn push_back(&mut self, membership: u32) {
        let slot = self.memberships[membership].slot as usize;
        let first = self.subscribers[slot].first;
        if first == NONE {
            self.subscribers[slot].first = membership;
            self.memberships[membership].prev = membership;
        } else {
            let last = std::mem::replace(&mut self.memberships[first].prev, membership);
            self.memberships[last].next = membership;
            self.memberships[membership].prev = last;
        }
        self.memberships[membership].next = NONE;
        self.places.on_added_behind(slot as u32, membership);
        if self.memberships[membership].must_announce && self.subscribers[slot].announce_from == NONE {
            self.subscribers[slot].announce_from = membership;
        }
    }

    /// Takes a membership out of its connection's.
    pub(super) fn unchain(&mut self, membership: u32) {
        let (slot, next, prev) = {
            let m = &self.memberships[membership];
            (m.slot as usize, m.next, m.prev)
        };
        if self.subscribers[slot].announce_from == membership {
            self.subscribers[slot].announce_from = next;
        }
        self.places.on_removed(slot as u32, membership, next);
        let first = self.subscribers[slot].first;
        if first == membership {
            self.subscribers[slot].first = next;
            if next != NONE {
                self.memberships[next].prev = prev;
            }
        } else {
            self.memberships[prev].next = next;
            let after = if next == NONE { first } else { next };
            self.memberships[after].prev = prev;
        }
    }

    /// Puts a link at the end of its connection's ring of a priority.
    pub(super) fn join_ring(&mut self, slot: u32, priority: Priority, link: u32) {
        let last = std::mem::replace(&mut self.subscribers[slot as usize].rings[priority as usize], link);
        if last == NONE {
            (self.links[link].next, self.links[link].prev) = (link, link);
            return;
        }
        let first = self.links[last].next;
        (self.links[link].prev, self.links[link].next) = (last, first);
        self.links[last].next = link;
        self.links[first].prev = link;
    }

    /// Takes a link out of its ring.
    pub(super) fn leave_ring(&mut self, slot: u32, priority: Priority, link: u32) {
        let (next, prev) = (self.links[link].next, self.links[link].prev);
        let last = &mut self.subscribers[slot as usize].rings[priority as usize];
        if next == link {
            *last = NONE;
            return;
        }
        if *last == link {
            *last = prev;
        }
        self.links[prev].next = next;
        self.links[next].prev = prev;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::lanes::Form;
    use crate::shard::options::Options;
    use proptest::prelude::*;

    fn topics(subscriptions: &Subscriptions, slot: u32) -> Vec<u32> {
        subscriptions.memberships_of(slot).map(|m| subscriptions.membership(m).topic).collect()
    }

    proptest! {
        /// Beside a plain list: joining, leaving, announcing.
        #[test]
        fn memberships_keep_their_order_whatever_leaves(acts in proptest::collection::vec((0u32..30, 0u8..4), 0..200)) {
            let mut subscriptions = Subscriptions::new(1_000);
            let mut lanes = crate::shard::lanes::Lanes::new(
                &crate::config::Config::default(),
                std::sync::Arc::new(crate::ingest::PayloadPool::new(1 << 20)),
                1,
            );
            subscriptions.open(0, Form::Json);
            let mut told: Vec<u32> = Vec::new();
            let mut untold: Vec<u32> = Vec::new();
            for (topic, act) in acts {
                let found = subscriptions.find(0, topic);
                prop_assert_eq!(found.is_some(), told.contains(&topic) || untold.contains(&topic));
                match (act, found) {
                    (0, None) => {
                        subscriptions.add(0, topic, true, Options::default()).expect("room");
                        untold.push(topic);
                    }
                    (1, Some(membership)) => {
                        subscriptions.remove(membership, &mut lanes, true);
                        told.retain(|&t| t != topic);
                        untold.retain(|&t| t != topic);
                    }
                    (2, Some(membership)) => {
                        subscriptions.announce(membership);
                        if told.contains(&topic) {
                            told.retain(|&t| t != topic);
                            untold.push(topic);
                        }
                    }
                    (3, _) => {
                        let next = subscriptions.next_announced(0).map(|m| subscriptions.membership(m).topic);
                        prop_assert_eq!(next, untold.first().copied());
                        if !untold.is_empty() {
                            told.push(untold.remove(0));
                        }
                    }
                    _ => {}
                }
                let all: Vec<u32> = told.iter().chain(&untold).copied().collect();
                prop_assert_eq!(topics(&subscriptions, 0), all);
            }
        }
    }
}
