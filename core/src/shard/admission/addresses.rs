//! What each address has done, over all shards: how many connections it has, how often it comes, how often it fails.
//!
//! The kernel spreads an address's connections over the shards as it likes, so they are counted once for the whole
//! engine. Under a lock: it is taken at an accept, at a failed upgrade and at a close, for one look into a table that
//! never grows meanwhile, and not at all where there is no limit. Counts of each shard that add up exactly would need
//! the same lock, or a number that is wrong at times.
//!
//! There is a place for each connection. An address without connections that has a rate to be remembered has one of
//! [`REMEMBERED_MAX`] more; where they are used up, one goes that is over, or else the one that was left first.
//!
//! Knows sites and time that it is told. Must never know sockets or slots.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
#[allow(
    clippy::disallowed_types,
    reason = "at an accept and a close, never by message; held for one look into a table"
)]
use std::sync::{Mutex, MutexGuard};

use super::breaker::Breaker;
use super::gcra::Rate;
use super::left::{LEFT_BYTES, Left};
use super::site::Site;
use crate::config::{Config, LimitsConfig};
use crate::shard::REFUSAL_SLOTS;
use crate::shard::table::{NONE, Table};

/// Bytes that one address takes here and in its connection's shard's note, at most: each connection may be of an address
/// of its own. Chains are up to twice as many; lists of free places and the shard's notes grow by doubling.
pub const COUNTED_BYTES: usize = size_of::<Count>() + LEFT_BYTES + 6 * size_of::<u32>();
/// Addresses without connections that are remembered.
pub const REMEMBERED_MAX: u32 = 16_384;

const MINUTE_NS: u64 = 60_000_000_000;
/// Of the addresses that were left first, so many are looked at for one that is over.
const LOOKED_AT: usize = 8;

/// One address.
#[derive(Debug)]
struct Count {
    site: Site,
    connections: u32,
    /// The next of the same chain.
    next: u32,
    upgrades_due_ns: u64,
    breaker: Breaker,
    /// The same for what a page of another site may have had its reader's browser ask for.
    pages: Breaker,
}

impl Count {
    /// True if there is nothing to be remembered of an address that has no connections.
    fn is_over(&self, now_ns: u64) -> bool {
        self.upgrades_due_ns <= now_ns && self.breaker.is_quiet(now_ns) && self.pages.is_quiet(now_ns)
    }
}

impl Count {
    fn breaker_of(&mut self, by: By) -> &mut Breaker {
        match by {
            By::Client => &mut self.breaker,
            By::Page => &mut self.pages,
        }
    }
}

#[derive(Debug)]
struct Counts {
    /// The first of each chain.
    chains: Vec<u32>,
    counts: Table<Count>,
    /// Those without connections.
    left: Left,
}

/// What one address may do; 0: anything.
#[derive(Debug)]
struct Limits {
    connections_max: AtomicU32,
    upgrades_max: AtomicU32,
    failures_max: AtomicU32,
}

impl Limits {
    fn new(limits: &LimitsConfig) -> Self {
        Self {
            connections_max: limits.connections_per_address_max.into(),
            upgrades_max: limits.upgrades_per_address_per_minute_max.into(),
            failures_max: limits.failures_per_address_per_minute_max.into(),
        }
    }

    fn upgrades(&self) -> Rate {
        Rate::new(self.upgrades_max.load(Relaxed).into(), MINUTE_NS)
    }

    fn failures(&self) -> Rate {
        Rate::new(self.failures_max.load(Relaxed).into(), MINUTE_NS)
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Addresses {
    /// There is any limit.
    is_any: bool,
    limits: Limits,
    hasher: RandomState,
    #[allow(clippy::disallowed_types, reason = "see above")]
    counts: Mutex<Counts>,
}

/// Whose doing an upgrade is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The client's own.
    Client,
    /// Perhaps that of a page of another site, which its reader's browser runs.
    Page,
}

/// Where the address of a connection is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// The connection is not counted: there is no limit, or its address is not known.
    pub const NOT_COUNTED: Place = Place(NONE);
}

/// Why a connection is turned away for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// The address has as many connections as it may have.
    Full,
    /// It has come too often.
    TooOften {
        /// After so long it may come again.
        wait_ns: u64,
    },
    /// Too many of its upgrades have failed.
    Failing {
        /// After so long it may try again.
        wait_ns: u64,
    },
}

impl Addresses {
    /// For so many shards of an engine with this configuration.
    pub fn of(config: &Config, shards: u32) -> Self {
        Self::new(&config.limits, config.connections_max + shards * REFUSAL_SLOTS)
    }

    /// No connections yet; there may be `slots` of them.
    pub fn new(limits: &LimitsConfig, slots: u32) -> Self {
        let is_any = limits.counts_addresses().is_some();
        let places = if is_any { slots } else { 0 };
        let places = places + if limits.remembers_addresses() { REMEMBERED_MAX } else { 0 };
        let chains = vec![NONE; if places > 0 { places.next_power_of_two() as usize } else { 0 }];
        let counts = Counts { chains, counts: Table::reserved(places), left: Left::reserved(places) };
        #[allow(clippy::disallowed_types, reason = "see above")]
        Self { is_any, limits: Limits::new(limits), hasher: RandomState::new(), counts: Mutex::new(counts) }
    }

    /// Other limits hold from now on, each of them where there was one.
    pub fn take_rules(&self, limits: &LimitsConfig) {
        let Limits { connections_max, upgrades_max, failures_max } = Limits::new(limits);
        self.limits.connections_max.store(connections_max.into_inner(), Relaxed);
        self.limits.upgrades_max.store(upgrades_max.into_inner(), Relaxed);
        self.limits.failures_max.store(failures_max.into_inner(), Relaxed);
    }

    /// Counts a connection. What comes back is for the other functions.
    ///
    /// # Errors
    /// It is turned away.
    pub fn enter(&self, site: Site, now_ns: u64) -> Result<Place, TurnedAway> {
        if !self.is_any || !site.is_known() {
            return Ok(Place::NOT_COUNTED);
        }
        let mut counts = self.lock();
        let chain = self.chain_of(site, &counts);
        let place = match counts.find(chain, site) {
            Some(place) => place,
            // There is a place for each connection that there may be: no room here is none for connections.
            None => self.insert(&mut counts, site, now_ns).ok_or(TurnedAway::Full)?,
        };
        let (connections_max, upgrades) = (self.limits.connections_max.load(Relaxed), self.limits.upgrades());
        let Count { connections, upgrades_due_ns, breaker, .. } = &mut counts.counts[place];
        let wait_ns = breaker.refuses_for_ns(now_ns);
        if wait_ns > 0 {
            return Err(TurnedAway::Failing { wait_ns });
        }
        if connections_max > 0 && *connections >= connections_max {
            return Err(TurnedAway::Full);
        }
        if upgrades.is_limited() {
            upgrades.take(upgrades_due_ns, now_ns).map_err(|wait_ns| TurnedAway::TooOften { wait_ns })?;
        }
        breaker.on_entry(now_ns);
        *connections += 1;
        if *connections == 1 {
            counts.left.remove(place);
        }
        Ok(Place(place))
    }

    /// A connection is gone.
    pub fn leave(&self, place: Place, now_ns: u64) {
        if place == Place::NOT_COUNTED {
            return;
        }
        let mut counts = self.lock();
        let count = &mut counts.counts[place.0];
        count.connections -= 1;
        if count.connections > 0 {
            return;
        }
        counts.left.push(place.0);
        if counts.counts[place.0].is_over(now_ns) {
            self.forget(&mut counts, place.0);
        }
    }

    /// A page of another site asks for an upgrade, by a connection that was let in.
    ///
    /// # Errors
    /// Too many such upgrades of this address have failed: after so long one may try again.
    pub fn enter_page(&self, place: Place, now_ns: u64) -> Result<(), u64> {
        if place == Place::NOT_COUNTED || !self.limits.failures().is_limited() {
            return Ok(());
        }
        let pages = &mut self.lock().counts[place.0].pages;
        match pages.refuses_for_ns(now_ns) {
            0 => {
                pages.on_entry(now_ns);
                Ok(())
            }
            wait_ns => Err(wait_ns),
        }
    }

    /// The upgrade of a connection has failed. True if its address is refused from now on, or what pages ask for there.
    pub fn on_failure(&self, place: Place, by: By, now_ns: u64) -> bool {
        let failures = self.limits.failures();
        if place == Place::NOT_COUNTED || !failures.is_limited() {
            return false;
        }
        self.lock().counts[place.0].breaker_of(by).on_failure(&failures, now_ns)
    }

    /// The upgrade of a connection is done.
    pub fn on_success(&self, place: Place, by: By) {
        if place != Place::NOT_COUNTED && self.limits.failures().is_limited() {
            self.lock().counts[place.0].breaker_of(by).on_success();
        }
    }

    /// Whether failures are counted just now.
    pub fn counts_failures(&self) -> bool {
        self.limits.failures().is_limited()
    }

    /// Addresses that are known.
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.lock().counts.len()
    }

    /// Addresses that have connections.
    #[cfg(any(test, fuzzing))]
    pub fn connected(&self) -> usize {
        let counts = self.lock();
        counts.counts.len() - counts.left.len()
    }

    /// A place for an address that has no connections yet.
    fn insert(&self, counts: &mut Counts, site: Site, now_ns: u64) -> Option<u32> {
        if counts.counts.room() == 0 {
            let is_over = |place: &u32| counts.counts[*place].is_over(now_ns);
            let goes = counts.left.iter().take(LOOKED_AT).find(is_over).or_else(|| counts.left.iter().next())?;
            self.forget(counts, goes);
        }
        let chain = self.chain_of(site, counts);
        let next = counts.chains[chain];
        let count = Count {
            site,
            connections: 0,
            next,
            upgrades_due_ns: 0,
            breaker: Breaker::default(),
            pages: Breaker::default(),
        };
        let place = counts.counts.insert(count)?;
        counts.chains[chain] = place;
        counts.left.push(place);
        Some(place)
    }

    /// Nothing is remembered of an address that has no connections.
    fn forget(&self, counts: &mut Counts, place: u32) {
        let Count { site, next, .. } = counts.counts[place];
        let chain = self.chain_of(site, counts);
        let mut before = counts.chains[chain];
        if before == place {
            counts.chains[chain] = next;
        } else {
            while counts.counts[before].next != place {
                before = counts.counts[before].next;
            }
            counts.counts[before].next = next;
        }
        counts.left.remove(place);
        counts.counts.remove(place);
    }

    fn chain_of(&self, site: Site, counts: &Counts) -> usize {
        self.hasher.hash_one(site) as usize & (counts.chains.len() - 1)
    }

    #[allow(clippy::disallowed_types, reason = "see above")]
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Counts {
    fn find(&self, chain: usize, site: Site) -> Option<u32> {
        let mut place = self.chains[chain];
        while place != NONE && self.counts[place].site != site {
            place = self.counts[place].next;
        }
        (place != NONE).then_some(place)
    }
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
