//! What connections may do that may not do everything, and until when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::access::Grants;
use crate::config::nanoseconds;

#[derive(Debug)]
struct Given {
    grants: Grants,
    /// In the driver's time.
    expires_ns: Option<u64>,
    /// When the connection last brought another token.
    renewed_ns: Option<u64>,
}

/// See the module's head. A connection without limits is not here, and costs nothing.
#[derive(Debug, Default)]
pub struct Granted {
    by_slot: HashMap<u32, Given>,
    /// When grants end: the moment, the slot. Those of connections that are gone are dropped as they are met.
    expiries: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Granted {
    /// A connection may do this from now on.
    pub fn give(&mut self, slot: u32, grants: Grants, now_ns: u64) {
        let expires_ns = grants.lifetime.map(|lifetime| now_ns.saturating_add(nanoseconds(lifetime)));
        if let Some(at) = expires_ns {
            self.expiries.push(Reverse((at, slot)));
        }
        let renewed_ns = self.by_slot.get(&slot).and_then(|given| given.renewed_ns);
        self.by_slot.insert(slot, Given { grants, expires_ns, renewed_ns });
        if self.expiries.len() > 2 * self.by_slot.len() + 64 {
            let by_slot = &self.by_slot;
            self.expiries.retain(|Reverse((at, slot))| by_slot.get(slot).is_some_and(|g| g.expires_ns == Some(*at)));
        }
    }

    /// What a connection may do; `None`: everything.
    #[inline]
    pub fn of(&self, slot: u32) -> Option<&Grants> {
        if self.by_slot.is_empty() {
            // Nobody is asked about: no request pays for it.
            return None;
        }
        self.by_slot.get(&slot).map(|given| &given.grants)
    }

    /// Notes that a connection brings another token. False: it did so less than `every_ns` ago, or may do everything.
    pub fn may_renew(&mut self, slot: u32, now_ns: u64, every_ns: u64) -> bool {
        let Some(given) = self.by_slot.get_mut(&slot) else { return false };
        if given.renewed_ns.is_some_and(|last| now_ns < last.saturating_add(every_ns)) {
            return false;
        }
        given.renewed_ns = Some(now_ns);
        true
    }

    /// How long a connection may still do what it may; `None`: without an end.
    pub fn left_ns(&self, slot: u32, now_ns: u64) -> Option<u64> {
        self.by_slot.get(&slot)?.expires_ns.map(|at| at.saturating_sub(now_ns))
    }

    /// The connection is gone.
    pub fn forget(&mut self, slot: u32) {
        self.by_slot.remove(&slot);
    }

    /// A connection whose grants have ended by `now_ns`.
    pub fn pop_expired(&mut self, now_ns: u64) -> Option<u32> {
        while let Some(&Reverse((at, slot))) = self.expiries.peek() {
            if at > now_ns {
                return None;
            }
            self.expiries.pop();
            if self.by_slot.get(&slot).is_some_and(|given| given.expires_ns == Some(at)) {
                return Some(slot);
            }
        }
        None
    }

    /// When the next grants end.
    pub fn due_ns(&self) -> Option<u64> {
        self.expiries.peek().map(|Reverse((at, ..))| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Allowed;

    fn grants(lifetime_ns: Option<u64>) -> Grants {
        let lifetime = lifetime_ns.map(Duration::from_nanos);
        Grants { subscribe: Allowed::Everything, publish: Allowed::Nothing, lifetime, subject: None }
    }

    #[test]
    fn grants_end_in_their_order_and_those_of_who_is_gone_not_at_all() {
        let mut granted = Granted::default();
        for (slot, lifetime) in [(1, Some(30)), (2, Some(10)), (3, None), (4, Some(20))] {
            granted.give(slot, grants(lifetime), 5);
        }
        assert_eq!((granted.due_ns(), granted.pop_expired(14)), (Some(15), None));
        granted.forget(4);
        assert_eq!(granted.pop_expired(15), Some(2));
        assert_eq!(granted.pop_expired(34), None, "slot 4 is free");
        assert_eq!((granted.pop_expired(35), granted.due_ns()), (Some(1), None));
    }

    #[test]
    fn what_replaces_grants_has_its_own_end() {
        let mut granted = Granted::default();
        granted.give(1, grants(Some(10)), 0);
        granted.give(1, grants(Some(50)), 0);
        assert_eq!((granted.pop_expired(10), granted.pop_expired(50)), (None, Some(1)));
        for life in 0..1_000u64 {
            granted.give(1, grants(Some(life)), 1_000);
        }
        assert!(granted.expiries.len() <= 66, "{}", granted.expiries.len());
    }

    #[test]
    fn tokens_are_brought_one_in_so_long_also_where_one_was_taken() {
        let mut granted = Granted::default();
        assert!(!granted.may_renew(1, 0, 10), "who may do everything needs none");
        granted.give(1, grants(Some(10)), 0);
        assert!(granted.may_renew(1, 0, 10) && !granted.may_renew(1, 9, 10));
        granted.give(1, grants(Some(20)), 9);
        assert!(!granted.may_renew(1, 9, 10) && granted.may_renew(1, 10, 10));
        assert_eq!((granted.left_ns(1, 10), granted.left_ns(1, 30), granted.left_ns(2, 0)), (Some(19), Some(0), None));
        granted.forget(1);
        granted.give(1, grants(None), 11);
        assert!(granted.may_renew(1, 11, 10), "another connection");
        assert_eq!(granted.left_ns(1, 11), None);
    }
}
