//! How many connections each address has, over all shards: no address has more than its share.
//!
//! The kernel spreads an address's connections over the shards as it likes, so they are counted once for the whole
//! engine. Under a lock: it is taken at an accept and at a close, for one look into a table that never grows meanwhile,
//! and not at all where there is no limit. Counts of each shard that add up exactly would need the same lock, or a
//! number that is wrong at times.
//!
//! Knows sites. Must never know sockets or slots.

use std::hash::{BuildHasher, RandomState};
#[allow(
    clippy::disallowed_types,
    reason = "at an accept and a close, never by message; held for one look into a table"
)]
use std::sync::{Mutex, MutexGuard};

use super::site::Site;
use crate::config::Config;
use crate::shard::REFUSAL_SLOTS;
use crate::shard::table::{NONE, Table};

/// Bytes that one connection takes here and in its shard's note, at most: each may be of an address of its own. Chains
/// are up to twice as many; lists of free places and the shard's notes grow by doubling.
pub const COUNTED_BYTES: usize = size_of::<Count>() + 6 * size_of::<u32>();

/// One address.
#[derive(Debug)]
struct Count {
    site: Site,
    connections: u32,
    /// The next of the same chain.
    next: u32,
}

#[derive(Debug)]
struct Counts {
    /// The first of each chain.
    chains: Vec<u32>,
    counts: Table<Count>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Addresses {
    each_max: u32,
    hasher: RandomState,
    #[allow(clippy::disallowed_types, reason = "see above")]
    counts: Mutex<Counts>,
}

/// Where the address of a connection is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// The connection is not counted: there is no limit, or its address is not known.
    pub const NOT_COUNTED: Place = Place(NONE);
}

/// The address has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Addresses {
    /// For so many shards of an engine with this configuration.
    pub fn of(config: &Config, shards: u32) -> Self {
        Self::new(config.limits.connections_per_address_max, config.connections_max + shards * REFUSAL_SLOTS)
    }

    /// No connections yet; there may be `slots` of them, and `each_max` (0: any number) of one address.
    pub fn new(each_max: u32, slots: u32) -> Self {
        let slots = if each_max > 0 { slots } else { 0 };
        let chains = vec![NONE; if slots > 0 { slots.next_power_of_two() as usize } else { 0 }];
        let counts = Counts { chains, counts: Table::reserved(slots) };
        #[allow(clippy::disallowed_types, reason = "see above")]
        Self { each_max, hasher: RandomState::new(), counts: Mutex::new(counts) }
    }

    /// Counts a connection. What comes back is for [`Addresses::leave`].
    ///
    /// # Errors
    /// It would be one more than its address may have.
    pub fn enter(&self, site: Site) -> Result<Place, Full> {
        if self.each_max == 0 || !site.is_known() {
            return Ok(Place::NOT_COUNTED);
        }
        let mut counts = self.lock();
        let chain = self.chain_of(site, &counts);
        let mut place = counts.chains[chain];
        while place != NONE && counts.counts[place].site != site {
            place = counts.counts[place].next;
        }
        if place == NONE {
            let next = counts.chains[chain];
            // There is a place for each connection that there may be: no room here is none for connections.
            let Some(place) = counts.counts.insert(Count { site, connections: 1, next }) else { return Err(Full) };
            counts.chains[chain] = place;
            return Ok(Place(place));
        }
        let count = &mut counts.counts[place];
        if count.connections >= self.each_max {
            return Err(Full);
        }
        count.connections += 1;
        Ok(Place(place))
    }

    /// A connection is gone.
    pub fn leave(&self, place: Place) {
        if place == Place::NOT_COUNTED {
            return;
        }
        let mut counts = self.lock();
        let Count { site, connections, next } = &mut counts.counts[place.0];
        *connections -= 1;
        if *connections > 0 {
            return;
        }
        let (site, next) = (*site, *next);
        let chain = self.chain_of(site, &counts);
        let mut before = counts.chains[chain];
        if before == place.0 {
            counts.chains[chain] = next;
        } else {
            while counts.counts[before].next != place.0 {
                before = counts.counts[before].next;
            }
            counts.counts[before].next = next;
        }
        counts.counts.remove(place.0);
    }

    /// Addresses that have connections.
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.lock().counts.len()
    }

    fn chain_of(&self, site: Site, counts: &Counts) -> usize {
        self.hasher.hash_one(site) as usize & (counts.chains.len() - 1)
    }

    #[allow(clippy::disallowed_types, reason = "see above")]
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> Site {
        Site::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn an_address_has_so_many_connections_and_not_one_more() {
        for each_max in [1, 2, 7] {
            let addresses = Addresses::new(each_max, 100);
            let places: Vec<_> = (0..each_max).map(|_| addresses.enter(site("192.0.2.1:1")).unwrap()).collect();
            assert_eq!(addresses.enter(site("192.0.2.1:2")), Err(Full));
            assert!(addresses.enter(site("192.0.2.2:1")).is_ok());
            addresses.leave(places[0]);
            assert!(addresses.enter(site("192.0.2.1:3")).is_ok());
            assert_eq!(addresses.enter(site("192.0.2.1:4")), Err(Full));
        }
    }

    #[test]
    fn the_same_site_is_the_same_address() {
        let addresses = Addresses::new(1, 100);
        for (first, same) in [
            ("[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:2"),
            ("192.0.2.1:1", "[::ffff:192.0.2.1]:2"),
            ("127.0.0.1:1", "127.0.0.1:2"),
        ] {
            assert!(addresses.enter(site(first)).is_ok());
            assert_eq!(addresses.enter(site(same)), Err(Full), "{same}");
        }
        for other in ["[2001:db8:0:2::1]:1", "[::ffff:192.0.2.2]:1", "127.0.0.2:1"] {
            assert!(addresses.enter(site(other)).is_ok(), "{other}");
        }
    }

    #[test]
    fn who_has_no_address_and_who_has_no_limit_is_not_counted() {
        let addresses = Addresses::new(1, 4);
        for _ in 0..10 {
            assert_eq!(addresses.enter(Site::of(None)), Ok(Place::NOT_COUNTED));
        }
        let unlimited = Addresses::new(0, 4);
        for _ in 0..10 {
            assert_eq!(unlimited.enter(site("192.0.2.1:1")), Ok(Place::NOT_COUNTED));
        }
        unlimited.leave(Place::NOT_COUNTED);
        assert_eq!((addresses.len(), unlimited.len()), (0, 0));
    }

    /// Against a plain list, with few chains for many addresses.
    #[test]
    fn a_plain_list_says_the_same() {
        let mut chance = 1u64;
        let mut draw = |below: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % below
        };
        for (each_max, sites) in [(1, 60), (3, 20), (50, 3)] {
            let addresses = Addresses::new(each_max, 64);
            let mut list: Vec<(u64, Place)> = Vec::new();
            for _ in 0..5_000 {
                if list.len() < 64 && draw(2) == 0 {
                    let from = draw(sites);
                    let has = list.iter().filter(|(other, _)| *other == from).count();
                    let entered = addresses.enter(site(&format!("192.0.2.{from}:1")));
                    assert_eq!(entered.is_ok(), has < each_max as usize, "{has} of {each_max}");
                    list.extend(entered.map(|place| (from, place)));
                } else if !list.is_empty() {
                    let (_, place) = list.swap_remove(draw(list.len() as u64) as usize);
                    addresses.leave(place);
                }
                let distinct: std::collections::BTreeSet<_> = list.iter().map(|(from, _)| from).collect();
                assert_eq!(addresses.len(), distinct.len());
            }
            list.drain(..).for_each(|(_, place)| addresses.leave(place));
            assert_eq!(addresses.len(), 0);
        }
    }
}
