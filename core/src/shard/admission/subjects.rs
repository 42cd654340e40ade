//! What each subject has, over all shards: connections, subscriptions, patterns, topics that came to be by it.
//!
//! Under a lock: it is taken when a connection comes and goes, and when one subscribes, unsubscribes or makes a topic,
//! for one look into a table; never for a message, and not at all where there is no limit. There is a place for each
//! connection, so nobody is turned away for want of one.
//!
//! Knows names and numbers. Must never know tokens, sockets or slots.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
#[allow(
    clippy::disallowed_types,
    reason = "when a connection comes, goes, subscribes or makes a topic, never by message; held for one look"
)]
use std::sync::{Mutex, MutexGuard};

use crate::access::SUBJECT_BYTES_MAX;
use crate::config::{Config, LimitsConfig};
use crate::shard::REFUSAL_SLOTS;
use crate::shard::table::Table;

/// Bytes that a subject takes here at most, its name twice; the map grows by doubling.
pub const SUBJECT_BYTES: usize =
    size_of::<Subject>() + 2 * SUBJECT_BYTES_MAX + 2 * (size_of::<(Box<str>, u32)>() + 1) + size_of::<u32>();

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Connections.
    Connections,
    /// Topics and patterns that it subscribes to.
    Subscriptions,
    /// Patterns among them.
    Patterns,
    /// Topics that came to be by it.
    Topics,
}

const KINDS: usize = 4;

/// One subject.
#[derive(Debug)]
struct Subject {
    name: Box<str>,
    has: [u32; KINDS],
}

#[derive(Debug)]
struct Counts {
    by_name: HashMap<Box<str>, u32>,
    subjects: Table<Subject>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Subjects {
    /// There is any limit.
    is_any: bool,
    /// 0: no limit.
    most: [AtomicU32; KINDS],
    #[allow(clippy::disallowed_types, reason = "see above")]
    counts: Mutex<Counts>,
}

/// Where a subject is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(u32);

impl Subjects {
    /// For so many shards of an engine with this configuration.
    pub fn of(config: &Config, shards: u32) -> Self {
        Self::new(&config.limits, config.connections_max + shards * REFUSAL_SLOTS)
    }

    /// Nobody yet; there may be `slots` connections.
    pub fn new(limits: &LimitsConfig, slots: u32) -> Self {
        let is_any = limits.counts_subjects().is_some();
        let slots = if is_any { slots } else { 0 };
        let counts = Counts { by_name: HashMap::new(), subjects: Table::new(slots) };
        #[allow(clippy::disallowed_types, reason = "see above")]
        Self { is_any, most: most_of(limits).map(AtomicU32::new), counts: Mutex::new(counts) }
    }

    /// Other limits hold from now on, each of them where there was one.
    pub fn take_rules(&self, limits: &LimitsConfig) {
        for (most, now) in self.most.iter().zip(most_of(limits)) {
            most.store(now, Relaxed);
        }
    }

    fn most(&self, what: What) -> u32 {
        self.most[what as usize].load(Relaxed)
    }

    /// True if there is any limit.
    pub fn is_any(&self) -> bool {
        self.is_any
    }

    /// True if there is a limit to this.
    pub fn limits(&self, what: What) -> bool {
        self.most(what) > 0
    }

    /// A connection of a subject comes. `None`: it would be one more than it may have.
    pub fn enter(&self, name: &str) -> Option<Seat> {
        let mut counts = self.lock();
        let most = self.most(What::Connections);
        if let Some(&seat) = counts.by_name.get(name) {
            let connections = &mut counts.subjects[seat].has[What::Connections as usize];
            if most > 0 && *connections >= most {
                return None;
            }
            *connections += 1;
            return Some(Seat(seat));
        }
        let seat = counts.subjects.insert(Subject { name: name.into(), has: [1, 0, 0, 0] })?;
        counts.by_name.insert(name.into(), seat);
        Some(Seat(seat))
    }

    /// A connection of a subject is gone. With the last one the subject is forgotten, and what it had made.
    pub fn leave(&self, seat: Seat) {
        let mut counts = self.lock();
        let Subject { name, has } = &mut counts.subjects[seat.0];
        let connections = &mut has[What::Connections as usize];
        *connections -= 1;
        if *connections == 0 {
            let name = std::mem::take(name);
            counts.by_name.remove(&name);
            counts.subjects.remove(seat.0);
        }
    }

    /// One more of something. False: it would be more than the subject may have.
    pub fn take(&self, seat: Seat, what: What) -> bool {
        let mut counts = self.lock();
        let has = &mut counts.subjects[seat.0].has[what as usize];
        let most = self.most(what);
        let may = most == 0 || *has < most;
        *has += u32::from(may);
        may
    }

    /// So many less of something.
    pub fn give_back(&self, seat: Seat, what: What, count: u32) {
        let mut counts = self.lock();
        let has = &mut counts.subjects[seat.0].has[what as usize];
        debug_assert!(*has >= count, "{what:?}: {has} are fewer than {count}");
        *has = has.saturating_sub(count);
    }

    /// What a subject has.
    #[cfg(any(test, fuzzing))]
    pub fn has(&self, name: &str, what: What) -> u32 {
        let counts = self.lock();
        counts.by_name.get(name).map_or(0, |&seat| counts.subjects[seat].has[what as usize])
    }

    /// Subjects that have connections.
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.lock().subjects.len()
    }

    #[allow(clippy::disallowed_types, reason = "see above")]
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// In the order of [`What`].
fn most_of(limits: &LimitsConfig) -> [u32; KINDS] {
    [
        limits.connections_per_subject_max,
        limits.subscriptions_per_subject_max,
        limits.patterns_per_subject_max,
        limits.topics_per_subject_max,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(connections: u32, topics: u32) -> Subjects {
        let limits = LimitsConfig {
            connections_per_subject_max: connections,
            topics_per_subject_max: topics,
            ..LimitsConfig::default()
        };
        Subjects::new(&limits, 8)
    }

    #[test]
    fn a_subject_has_so_many_connections_and_not_one_more() {
        for most in [1, 2, 7] {
            let subjects = subjects(most, 0);
            let seats: Vec<_> = (0..most).map(|_| subjects.enter("u1").unwrap()).collect();
            assert_eq!(subjects.enter("u1"), None);
            assert!(subjects.enter("u2").is_some() && subjects.enter("").is_some());
            subjects.leave(seats[0]);
            assert!(subjects.enter("u1").is_some() && subjects.enter("u1").is_none());
        }
    }

    #[test]
    fn a_subject_takes_so_many_of_each_kind_and_what_is_not_limited_without_end() {
        let subjects = subjects(0, 3);
        let (seat, other) = (subjects.enter("u1").unwrap(), subjects.enter("u2").unwrap());
        assert_eq!(subjects.enter("u1"), Some(seat), "another connection has the same");
        assert!((0..3).all(|_| subjects.take(seat, What::Topics)) && !subjects.take(seat, What::Topics));
        assert!(subjects.take(other, What::Topics));
        subjects.give_back(seat, What::Topics, 2);
        assert!((0..2).all(|_| subjects.take(seat, What::Topics)) && !subjects.take(seat, What::Topics));
        assert!((0..1_000).all(|_| subjects.take(seat, What::Patterns)));
        assert!(subjects.limits(What::Topics) && !subjects.limits(What::Patterns));
    }

    #[test]
    fn with_its_last_connection_a_subject_is_forgotten() {
        let subjects = subjects(0, 1);
        let seats = [subjects.enter("u1").unwrap(), subjects.enter("u1").unwrap()];
        assert!(subjects.take(seats[0], What::Topics));
        subjects.leave(seats[0]);
        assert_eq!((subjects.len(), subjects.has("u1", What::Topics)), (1, 1));
        subjects.leave(seats[1]);
        assert_eq!(subjects.len(), 0);
        let seat = subjects.enter("u1").unwrap();
        assert!(subjects.take(seat, What::Topics) && !subjects.take(seat, What::Topics));
        assert!(!self::subjects(0, 0).is_any());
    }
}
