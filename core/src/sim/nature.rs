//! What simulated clients are like: the topics there are, how a client reads, what it does.

use super::checks::DIRECT;
use crate::driver::sim::Rng;

/// Topics that the host publishes on; clients publish only on the last two.
pub const TOPICS: [&str; 8] = ["a", "a/b", "a/c", "deep/x/y", "ü/ß q", "late", "c/0", "c/1"];
/// Topics that clients publish on.
pub const CLIENT_TOPICS: [&str; 2] = ["c/0", "c/1"];
const PATTERNS: [&str; 7] = ["**", "a/*", "*", "*/*", "deep/**", "a/**", "c/*"];

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All there is.
    Eager,
    /// At most so many bytes each time.
    Slow(usize),
    /// Eagerly, but for pauses of up to this many nanoseconds.
    Stalling(u64),
}

/// What a client is like.
#[derive(Clone, Debug)]
pub struct Nature {
    /// `fanwire.json.v1`, or raw on `topics`.
    pub json: bool,
    /// Raw: the topics of its target (none: it talks to the host). JSON: what it subscribes to at first.
    pub topics: Vec<String>,
    /// How it reads.
    pub pace: Pace,
    /// Publishes on these topics (raw: on its first topic).
    pub publishes: Vec<String>,
    /// Breaks the protocol sooner or later.
    pub hostile: bool,
    /// Subscribes and unsubscribes all the time, in per mille of its acts.
    pub churns: u32,
    /// Leaves by itself, in per mille of its acts.
    pub leaves: u32,
    /// Never leaves, never reset by the network.
    pub witness: bool,
}

/// A client like any other.
pub fn random_nature(rng: &mut Rng, host_listens: bool) -> Nature {
    let json = rng.chance(600);
    let for_host = !json && host_listens && rng.chance(300);
    let count = rng.between(1, 3);
    let mut topics: Vec<String> = Vec::new();
    for _ in 0..count {
        let topic = if json && rng.chance(500) { *rng.pick(&PATTERNS) } else { *rng.pick(&TOPICS) };
        if !topics.iter().any(|t| t == topic) {
            topics.push(topic.to_owned());
        }
    }
    let pace = match rng.below(6) {
        0 => Pace::Slow(rng.skewed(2000) as usize),
        1 | 2 => Pace::Stalling(*rng.pick(&[10_000_000, 1_000_000_000, 60_000_000_000])),
        _ => Pace::Eager,
    };
    let hostile = rng.chance(150);
    let mut publishes = Vec::new();
    if for_host && !hostile {
        topics.clear();
        publishes.push(DIRECT.to_owned());
    } else if !hostile && rng.chance(250) {
        publishes = CLIENT_TOPICS.map(String::from).to_vec();
        if !json {
            topics.insert(0, rng.pick(&CLIENT_TOPICS).to_string());
            topics.dedup();
        }
    }
    Nature {
        json,
        topics,
        pace,
        publishes,
        hostile,
        churns: if rng.chance(300) { 300 } else { 0 },
        leaves: if rng.chance(300) { 20 } else { 0 },
        witness: false,
    }
}
