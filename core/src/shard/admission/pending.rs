//! Connections before their upgrade: how many there may be, and who goes when there is one more.
//!
//! Knows slots, peers' addresses and when they came. Must never know sockets or requests. Where the quota is full, a newcomer is let in,
//! and the oldest connection of the address that holds most goes. So whoever opens many and says nothing pushes out its own, and a
//! newcomer from elsewhere has as long as the quota lasts among its like. Where the table of connections is full the same holds, but for
//! one thing: of one address, a newcomer pushes out only who has had [`REQUEST_NS`] to say something. Many clients that come
//! together from one address, as through a terminator of TLS, are not each other's silent flood.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use super::site::Site;

/// A connection that has not sent its request after so long makes room for newer ones of its own address.
pub const REQUEST_NS: u64 = 1_000_000_000;

/// Bytes that one connection before its upgrade takes here at most, three maps' share.
pub const PENDING_BYTES: usize = 512;

/// How a site stands: more connections are greater, and of as many the older oldest one.
type Rank = (usize, Reverse<u64>, Site);

#[derive(Clone, Copy, Debug)]
struct Arrival {
    number: u64,
    site: Site,
    at_ns: u64,
}

/// See the module's head.
#[derive(Debug)]
pub struct PendingUpgrades {
    limit: usize,
    arrivals: u64,
    by_slot: HashMap<u32, Arrival>,
    by_site: HashMap<Site, BTreeMap<u64, u32>>,
    ranks: BTreeSet<Rank>,
}

impl PendingUpgrades {
    /// None yet, and never more than `limit` (at least one).
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            arrivals: 0,
            by_slot: HashMap::new(),
            by_site: HashMap::new(),
            ranks: BTreeSet::new(),
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// Notes a connection that was accepted in `slot`. Returns the slot of the one that must go for it; that one is noted no more.
    pub fn admit(&mut self, slot: u32, peer: Option<SocketAddr>, now_ns: u64) -> Option<u32> {
        self.leave(slot);
        let site = Site::of(peer);
        let number = self.arrivals;
        self.arrivals += 1;
        self.by_slot.insert(slot, Arrival { number, site, at_ns: now_ns });
        self.change(site, |slots| _ = slots.insert(number, slot));
        if self.by_slot.len() <= self.limit {
            return None;
        }
        let (goes, _) = self.oldest_of_most()?;
        self.leave(goes);
        Some(goes)
    }

    /// No connection is free for `peer`: returns the slot of one that must go for it, which is noted no more, if there is one.
    pub fn make_room(&mut self, peer: Option<SocketAddr>, now_ns: u64) -> Option<u32> {
        let (goes, arrival) = self.oldest_of_most()?;
        if arrival.site == Site::of(peer) && now_ns.saturating_sub(arrival.at_ns) < REQUEST_NS {
            return None;
        }
        self.leave(goes);
        Some(goes)
    }

    fn oldest_of_most(&self) -> Option<(u32, Arrival)> {
        let &(_, Reverse(oldest), site) = self.ranks.last()?;
        let slot = *self.by_site.get(&site)?.get(&oldest)?;
        Some((slot, *self.by_slot.get(&slot)?))
    }

    /// The connection in `slot` is upgraded, or gone. Nothing happens if it is not noted.
    pub fn leave(&mut self, slot: u32) {
        if let Some(Arrival { number, site, .. }) = self.by_slot.remove(&slot) {
            self.change(site, |slots| _ = slots.remove(&number));
        }
    }

    /// Changes a site's connections, and its rank with them.
    fn change(&mut self, site: Site, change: impl FnOnce(&mut BTreeMap<u64, u32>)) {
        let slots = self.by_site.entry(site).or_default();
        let rank = |slots: &BTreeMap<u64, u32>| Some((slots.len(), Reverse(*slots.first_key_value()?.0), site));
        let before = rank(slots);
        change(slots);
        let after = rank(slots);
        if after.is_none() {
            self.by_site.remove(&site);
        }
        if let Some(before) = before {
            self.ranks.remove(&before);
        }
        self.ranks.extend(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    const FLOOD: &str = "192.0.2.1:1";
    const OTHER: &str = "192.0.2.2:1";
    const THIRD: &str = "192.0.2.3:1";

    #[test]
    fn up_to_the_limit_nobody_goes_and_one_past_it_the_oldest_of_the_address_that_holds_most() {
        let mut pending = PendingUpgrades::new(4);
        assert_eq!(pending.admit(10, peer(OTHER), 0), None);
        for slot in [0, 1, 2] {
            assert_eq!(pending.admit(slot, peer(FLOOD), 0), None);
        }
        assert_eq!(pending.admit(11, peer(THIRD), 0), Some(0));
        assert_eq!(pending.admit(3, peer(FLOOD), 0), Some(1));
        assert_eq!(pending.admit(4, peer(FLOOD), 0), Some(2));
        assert_eq!(pending.len(), 4);
    }

    #[test]
    fn of_addresses_with_as_many_the_oldest_connection_goes() {
        let mut pending = PendingUpgrades::new(3);
        for (slot, from) in [(7, OTHER), (8, FLOOD), (9, THIRD)] {
            assert_eq!(pending.admit(slot, peer(from), 0), None);
        }
        assert_eq!(pending.admit(1, peer("198.51.100.1:1"), 0), Some(7));
        assert_eq!(pending.admit(2, peer("198.51.100.2:1"), 0), Some(8));
        // Its own second one is what makes it the one that holds most.
        assert_eq!(pending.admit(3, peer("198.51.100.2:2"), 0), Some(2));
    }

    #[test]
    fn who_is_upgraded_or_gone_counts_no_more() {
        let mut pending = PendingUpgrades::new(2);
        assert_eq!(pending.admit(0, peer(FLOOD), 0), None);
        assert_eq!(pending.admit(1, peer(FLOOD), 0), None);
        pending.leave(0);
        pending.leave(0);
        pending.leave(99);
        assert_eq!(pending.admit(2, peer(FLOOD), 0), None);
        // The slot's next life.
        assert_eq!(pending.admit(1, peer(OTHER), 0), None);
        assert_eq!(pending.admit(3, peer(OTHER), 0), Some(1));
        for slot in [2, 3] {
            pending.leave(slot);
        }
        assert_eq!((pending.len(), pending.by_site.len(), pending.ranks.len()), (0, 0, 0));
    }

    #[test]
    fn one_site_is_one_address_however_many_it_uses() {
        let mut pending = PendingUpgrades::new(3);
        assert_eq!(pending.admit(0, peer("[2001:db8:0:1::1]:1"), 0), None);
        assert_eq!(pending.admit(1, peer("[2001:db8:0:2::1]:1"), 0), None);
        assert_eq!(pending.admit(2, peer("[2001:db8:0:2:ffff::2]:1"), 0), None);
        assert_eq!(pending.admit(3, peer("[2001:db8:0:3::1]:1"), 0), Some(1));
        // IPv4 through a socket for both kinds is IPv4.
        let mut pending = PendingUpgrades::new(2);
        assert_eq!(pending.admit(0, peer("[::ffff:192.0.2.1]:5"), 0), None);
        assert_eq!(pending.admit(1, peer("[::ffff:192.0.2.2]:5"), 0), None);
        assert_eq!(pending.admit(2, peer("192.0.2.2:6"), 0), Some(1));
        // Whose address is not known share one.
        let mut pending = PendingUpgrades::new(2);
        assert_eq!(pending.admit(0, peer(OTHER), 0), None);
        assert_eq!(pending.admit(1, None, 0), None);
        assert_eq!(pending.admit(2, None, 0), Some(1));
    }

    #[test]
    fn a_full_table_has_room_for_who_comes_from_elsewhere_and_for_its_own_only_after_a_while() {
        let mut pending = PendingUpgrades::new(9);
        assert_eq!(pending.make_room(peer(OTHER), REQUEST_NS), None, "all are upgraded");
        for slot in 0..3 {
            assert_eq!(pending.admit(slot, peer(FLOOD), slot.into()), None);
        }
        assert_eq!(pending.make_room(peer(FLOOD), REQUEST_NS - 1), None);
        assert_eq!(pending.make_room(peer(FLOOD), REQUEST_NS), Some(0));
        assert_eq!(pending.make_room(peer(FLOOD), REQUEST_NS), None);
        assert_eq!(pending.make_room(peer(OTHER), 0), Some(1));
        assert_eq!(pending.make_room(None, 0), Some(2));
        assert_eq!((pending.make_room(peer(OTHER), u64::MAX), pending.len()), (None, 0));
    }

    #[test]
    fn no_flood_pushes_out_a_newcomer_from_elsewhere() {
        const LIMIT: usize = 64;
        let mut pending = PendingUpgrades::new(LIMIT);
        assert_eq!(pending.admit(100_000, peer(OTHER), 0), None);
        for slot in 0..10_000 {
            let goes = pending.admit(slot, peer(FLOOD), 0);
            assert_ne!(goes, Some(100_000));
            assert!(pending.len() <= LIMIT);
        }
        // So do many addresses with one connection each, as long as there are fewer of them than the limit.
        let mut pending = PendingUpgrades::new(LIMIT);
        for slot in 0..LIMIT as u32 {
            assert_eq!(pending.admit(slot, peer(&format!("203.0.113.{slot}:1")), 0), None);
        }
        assert_eq!(pending.admit(100_000, peer(OTHER), 0), Some(0));
    }

    /// The same by looking at every connection each time.
    #[test]
    fn a_plain_list_says_the_same() {
        let mut chance = 1u64;
        let mut draw = |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % below
        };
        for limit in [1, 2, 5, 20] {
            let mut pending = PendingUpgrades::new(limit);
            let mut list: Vec<(u32, u64)> = Vec::new();
            for slot in 0..3_000u32 {
                let from = draw(4);
                let count = |list: &[(u32, u64)], from: u64| list.iter().filter(|(_, f)| *f == from).count();
                list.push((slot, from));
                let most = list.iter().map(|(_, f)| count(&list, *f)).max().unwrap_or(0);
                let goes = (list.len() > limit)
                    .then(|| list.iter().position(|(_, f)| count(&list, *f) == most).map(|at| list.remove(at).0));
                assert_eq!(
                    pending.admit(slot, peer(&format!("192.0.2.{from}:1")), 0),
                    goes.flatten(),
                    "{limit} {slot}"
                );
                if draw(3) == 0 && !list.is_empty() {
                    let at = draw(list.len() as u64) as usize;
                    pending.leave(list.remove(at).0);
                }
                assert_eq!(pending.len(), list.len());
            }
        }
    }
}
