//! Job: tokens whose signature is still to be looked at: those who bring them take turns, and who brings most goes without first.
//! Knows: from whom each is. Must never know: what a token says, how it is verified.
//!
//! A signature takes the one thread that decides 70 µs (ES256): so a flood of tokens that only the signature refuses, from one
//! address, holds others up by one signature, and what it has too many itself goes.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use fanwire_token::Fingerprint;

/// Tokens that may wait. All at once that is a fifteenth of a second's work.
pub const WAITING_MAX: usize = 1_024;

/// Who brings a token, as far as turns go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address: of IPv6 the first 64 bits, which one customer has.
    Address(u128),
    /// The subject of the token that an open connection came in by.
    Subject(Fingerprint),
    /// All the others together.
    Unknown,
}

impl Source {
    /// That of a client's address.
    pub fn of(peer: Option<SocketAddr>) -> Self {
        match peer.map(|peer| peer.ip().to_canonical()) {
            None => Source::Unknown,
            Some(IpAddr::V4(ip)) => Source::Address(ip.to_ipv6_mapped().to_bits()),
            Some(IpAddr::V6(ip)) => Source::Address(ip.to_bits() >> 64 << 64),
        }
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Waiting<T> {
    by_source: HashMap<Source, VecDeque<T>>,
    /// Each source that has something here, once.
    turns: VecDeque<Source>,
    len: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { by_source: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<T> Waiting<T> {
    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more waits. Where there are too many, the last one of who brings most comes back: it goes without.
    pub fn push(&mut self, source: Source, one: T) -> Option<T> {
        let queue = self.by_source.entry(source).or_default();
        if queue.is_empty() {
            self.turns.push_back(source);
        }
        queue.push_back(one);
        self.len += 1;
        if self.len <= WAITING_MAX {
            return None;
        }
        let most = self.by_source.iter().max_by_key(|(_, queue)| queue.len()).map(|(source, _)| *source)?;
        let goes = self.by_source.get_mut(&most)?.pop_back();
        self.len -= 1;
        if self.by_source.get(&most).is_some_and(VecDeque::is_empty) {
            self.by_source.remove(&most);
            self.turns.retain(|source| *source != most);
        }
        goes
    }

    /// The next one, of the one whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let source = self.turns.pop_front()?;
        let queue = self.by_source.get_mut(&source)?;
        let one = queue.pop_front();
        if queue.is_empty() {
            self.by_source.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        self.len -= 1;
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        Source::of(Some(SocketAddr::new(address.parse().unwrap(), 1)))
    }

    #[test]
    fn an_address_is_one_source_and_so_is_a_net_of_ipv6() {
        assert_eq!(source("10.0.0.1"), source("::ffff:10.0.0.1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(Source::of(None), Source::Unknown);
    }

    #[test]
    fn sources_take_turns_and_each_keeps_its_order() {
        let mut waiting = Waiting::default();
        for n in 0..4 {
            assert_eq!(waiting.push(source("10.0.0.1"), ("a", n)), None);
        }
        waiting.push(source("10.0.0.2"), ("b", 0));
        waiting.push(Source::Unknown, ("c", 0));
        waiting.push(source("10.0.0.2"), ("b", 1));
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(order, [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("a", 2), ("a", 3)]);
        assert!(waiting.is_empty() && waiting.by_source.is_empty() && waiting.turns.is_empty());
    }

    #[test]
    fn where_too_many_wait_who_brings_most_goes_without() {
        let mut waiting = Waiting::default();
        for n in 0..WAITING_MAX {
            assert_eq!(waiting.push(source("10.0.0.1"), n), None);
        }
        assert_eq!(waiting.push(source("10.0.0.1"), WAITING_MAX), Some(WAITING_MAX), "its own last");
        assert_eq!(waiting.push(source("10.0.0.2"), 7), Some(WAITING_MAX - 1), "the other's last");
        assert_eq!((waiting.pop(), waiting.pop(), waiting.pop()), (Some(0), Some(7), Some(1)));
        // Many that bring one each: the bound holds all the same.
        let mut waiting = Waiting::default();
        let gone = (0..2 * WAITING_MAX as u128).filter_map(|n| waiting.push(Source::Address(n), n)).count();
        assert_eq!((gone, waiting.len), (WAITING_MAX, WAITING_MAX));
        assert_eq!(std::iter::from_fn(|| waiting.pop()).count(), WAITING_MAX);
    }
}
