//! What simulated clients are like: what they speak and ask for, how they read, what they do.

use super::payload::TINY;
use super::truth::DIRECT;
use crate::driver::sim::Rng;
use crate::event::Protocol;

/// Topics that the host publishes on; clients publish only on the last two.
pub const TOPICS: [&str; 9] = ["a", "a/b", "a/c", "deep/x/y", "ü/ß q", "late", TINY, "c/0", "c/1"];
/// Where crowds of laggards are.
pub const CROWDED: &str = "a";
/// Topics whose messages bring a broker's numbers, in some runs; on the last one clients publish, too.
pub const BROKERED: [&str; 4] = ["a", "a/b", "late", "c/0"];
/// Topics that clients publish on.
pub const CLIENT_TOPICS: [&str; 2] = ["c/0", "c/1"];
/// Keys of one lane's messages, in most runs.
pub const KEYS_FEW: u16 = 5;
/// Where the names of the hundreds of topics begin that the host makes in some runs.
pub const WIDE: &str = "d/";
const PATTERNS: [&str; 7] = ["**", "a/*", "*", "*/*", "deep/**", "a/**", "c/*"];

/// An offer of permessage-deflate, and the window that is agreed to.
pub type Offer = (&'static str, Option<u8>);

/// Offers of permessage-deflate: all parameters, alone and together, and lists.
pub const OFFERS: [Offer; 12] = [
    ("permessage-deflate", Some(15)),
    ("permessage-deflate; client_max_window_bits", Some(15)),
    ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", Some(15)),
    ("permessage-deflate; server_max_window_bits=15; client_max_window_bits=9", Some(15)),
    ("permessage-deflate; server_max_window_bits=\"14\"", Some(14)),
    ("permessage-deflate; server_max_window_bits=9; client_max_window_bits=8", Some(9)),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=12", Some(12)),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Some(15)),
    ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits=11", Some(15)),
    ("permessage-deflate; server_max_window_bits=8", None),
    ("permessage-deflate; unknown", None),
    ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
];

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

/// What the host decides of a client, where it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes in.
    Allowed,
    /// It gets 403.
    Denied,
    /// The host never answers.
    Forgotten,
}

impl Fate {
    /// The header by which a client tells the host.
    pub const HEADER: &str = "X-Fate";

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Allowed => "allowed",
            Fate::Denied => "denied",
            Fate::Forgotten => "forgotten",
        }
    }
}

/// What a client is like.
#[derive(Clone, Debug)]
pub struct Nature {
    /// What it speaks.
    pub protocol: Protocol,
    /// What it offers to compress with.
    pub offer: Option<Offer>,
    /// Raw: the topics of its target (none: it talks to the host). Else: what it subscribes to at first.
    pub topics: Vec<String>,
    /// Names of topics in the target of one that speaks a subprotocol.
    pub target: Vec<String>,
    /// Wants its own messages back.
    pub echo: bool,
    /// At most so many messages a second and lane.
    pub max_hz: Option<f64>,
    /// `max_delay_ms`.
    pub max_delay_ms: Option<u16>,
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
    /// Asks for what costs most, by the rules, in per mille of its acts.
    pub costs: u32,
    /// What the host decides of it, where it is asked.
    pub fate: Fate,
    /// Never leaves, never reset by the network.
    pub witness: bool,
}

impl Nature {
    /// True without a subprotocol.
    pub fn is_raw(&self) -> bool {
        self.protocol == Protocol::Raw
    }

    /// One that gets everything, and that nothing happens to.
    pub fn witness(rng: &mut Rng) -> Self {
        let protocol = *rng.pick(&Protocol::NAMED);
        let offer = if rng.chance(500) { Some(*rng.pick(&OFFERS)) } else { None };
        Nature {
            protocol,
            offer,
            topics: vec!["**".into()],
            target: Vec::new(),
            echo: true,
            max_hz: None,
            max_delay_ms: if rng.chance(300) { Some(50) } else { None },
            pace: Pace::Eager,
            publishes: Vec::new(),
            hostile: false,
            churns: 0,
            leaves: 0,
            costs: 0,
            fate: Fate::Allowed,
            witness: true,
        }
    }
}

/// One of a crowd that lags in the same lanes of one topic.
pub fn laggard(rng: &mut Rng) -> Nature {
    let mut nature = random_nature(rng, false);
    nature.topics = vec![CROWDED.to_owned()];
    nature.target.clear();
    nature.publishes.clear();
    (nature.hostile, nature.max_hz, nature.costs, nature.churns) = (false, None, 0, 0);
    nature.pace = if rng.chance(500) { Pace::Slow(rng.skewed(3_000) as usize) } else { Pace::Stalling(5_000_000_000) };
    nature
}

/// A client like any other.
pub fn random_nature(rng: &mut Rng, host_listens: bool) -> Nature {
    let is_raw = rng.chance(300);
    let protocol = if is_raw { Protocol::Raw } else { *rng.pick(&Protocol::NAMED) };
    let offer = if rng.chance(500) { Some(*rng.pick(&OFFERS)) } else { None };
    let for_host = is_raw && host_listens && rng.chance(300);
    let count = rng.between(1, 3);
    let mut topics: Vec<String> = Vec::new();
    for _ in 0..count {
        let topic = if !is_raw && rng.chance(500) { *rng.pick(&PATTERNS) } else { *rng.pick(&TOPICS) };
        if !topics.iter().any(|t| t == topic) {
            topics.push(topic.to_owned());
        }
    }
    let mut target = Vec::new();
    if !is_raw && rng.chance(150) {
        target.push(rng.pick(&TOPICS).to_string());
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
        if is_raw {
            topics.insert(0, rng.pick(&CLIENT_TOPICS).to_string());
            topics.dedup();
        }
    }
    let echo = !rng.chance(if publishes.is_empty() { 100 } else { 500 });
    let max_hz = if !is_raw && rng.chance(150) { Some(*rng.pick(&[0.5, 3.0, 40.0, 1_000.0, 1e6])) } else { None };
    let max_delay_ms = if rng.chance(200) { Some(*rng.pick(&[0, 1, 16, 100, 1_000])) } else { None };
    if max_hz.is_some() || !echo {
        // What is subscribed in the target knows no `max_hz`, and one account has one set of wishes.
        target.clear();
    }
    Nature {
        protocol,
        offer,
        topics,
        target,
        echo,
        max_hz,
        max_delay_ms,
        pace,
        publishes,
        hostile,
        churns: if rng.chance(300) { 300 } else { 0 },
        leaves: if rng.chance(300) { 20 } else { 0 },
        costs: if !is_raw && rng.chance(120) { 400 } else { 0 },
        fate: *rng.pick(&[
            Fate::Allowed,
            Fate::Allowed,
            Fate::Allowed,
            Fate::Allowed,
            Fate::Allowed,
            Fate::Denied,
            Fate::Forgotten,
        ]),
        witness: false,
    }
}
