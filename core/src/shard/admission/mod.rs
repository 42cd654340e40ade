//! Who comes in: connections before their upgrade, those that the host is asked about, and what those may do that are in.
//!
//! Knows slots, addresses, decisions and time. Must never know sockets, frames or subscriptions.

mod addresses;
mod asked;
mod breaker;
mod gcra;
mod granted;
mod left;
mod lifetimes;
mod pending;
mod seated;
mod senders;
mod site;
mod subjects;

pub use addresses::{Addresses, By, COUNTED_BYTES, Place, REMEMBERED_MAX, TurnedAway};
use asked::Asked;
pub use asked::{Answer, Answered, QUESTION_BYTES};
pub use granted::Granted;
pub use lifetimes::{LIFETIME_BYTES, Lifetimes};
pub use pending::{PENDING_BYTES, PendingUpgrades};
pub use senders::{SENDER_BYTES, Senders};
pub use site::Site;
pub use subjects::{Subjects, What};

/// Bytes that one connection of a subject takes at most, on its shard and in what all shards count together.
pub const SUBJECT_BYTES: usize = seated::SEATED_BYTES + subjects::SUBJECT_BYTES;

use self::seated::SeatedBySlot;
use crate::config::{Config, LimitsConfig};

/// What all shards count together.
pub struct Counted {
    /// Connections of each address.
    pub addresses: Addresses,
    /// What each subject has.
    pub subjects: Subjects,
}

impl Counted {
    /// Nobody is there.
    pub fn of(config: &Config, shards: u32) -> Self {
        Self { addresses: Addresses::of(config, shards), subjects: Subjects::of(config, shards) }
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Admission {
    /// Connections before their upgrade.
    pub pending: PendingUpgrades,
    /// Those that the host is asked about.
    pub asked: Asked,
    /// What those may do that may not do everything.
    pub granted: Granted,
    /// When each has been open for as long as it may be.
    pub lifetimes: Lifetimes,
    /// Those that have a subject.
    pub seated: SeatedBySlot,
    /// How fast each may send.
    pub senders: Senders,
    /// Where the address of each connection is counted, by slot; nothing where there is no limit.
    places: Vec<Place>,
}

impl Admission {
    /// Nobody is there; there may be `slots` connections, and never more than `pending_max` are before their upgrade.
    pub fn new(limits: &LimitsConfig, slots: u32, pending_max: usize) -> Self {
        Self {
            pending: PendingUpgrades::new(pending_max),
            senders: Senders::new(limits, slots),
            lifetimes: Lifetimes::default(),
            seated: SeatedBySlot::default(),
            asked: Asked::default(),
            granted: Granted::default(),
            places: Vec::new(),
        }
    }

    /// The connection in `slot` is counted there.
    pub fn keep_place(&mut self, slot: u32, place: Place) {
        if place == Place::NOT_COUNTED {
            return;
        }
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, Place::NOT_COUNTED);
        }
        self.places[slot as usize] = place;
    }

    /// Where the connection in `slot` is counted.
    pub fn place(&self, slot: u32) -> Place {
        self.places.get(slot as usize).copied().unwrap_or(Place::NOT_COUNTED)
    }

    /// Where the connection in `slot` was counted; it is not any more.
    pub fn take_place(&mut self, slot: u32) -> Place {
        let place = self.places.get_mut(slot as usize);
        place.map_or(Place::NOT_COUNTED, |place| std::mem::replace(place, Place::NOT_COUNTED))
    }

    /// The connection in `slot` is gone.
    pub fn leave(&mut self, slot: u32) {
        self.pending.leave(slot);
        self.asked.forget(slot);
        self.granted.forget(slot);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::{Allowed, Decision, Grants};

    #[test]
    fn who_is_gone_leaves_nothing() {
        let mut admission = Admission::new(&LimitsConfig::default(), 4, 4);
        let lifetime = Some(Duration::from_secs(1));
        let grants = Grants { subscribe: Allowed::Nothing, publish: Allowed::Nothing, lifetime, subject: None };
        admission.pending.admit(1, None, 0);
        admission.asked.ask(1, None);
        admission.granted.give(1, grants, 0);
        admission.leave(1);
        assert!(!admission.asked.answer(1, Decision::Forbidden, 1) && admission.granted.of(1).is_none());
        assert_eq!(admission.pending.len(), 0);
        assert_eq!(admission.granted.pop_expired(u64::MAX), None);
    }
}
