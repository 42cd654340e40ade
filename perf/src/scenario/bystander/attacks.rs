//! The table of attacks: what each sends, and how much of it at the most.

use std::sync::Arc;

use anyhow::Result;

use super::client::Field;
use super::{floods, held, requests};

/// An attack made ready: runs until the time is up or its bound is reached, and says how much it has sent.
pub type Assault = Box<dyn FnOnce() -> Result<u64> + Send>;

/// One attack.
pub struct Attack {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it sends.
    pub about: &'static str,
    /// What its bound counts.
    pub unit: &'static str,
    /// Settings that the server needs for it.
    pub server: &'static [(&'static str, &'static str)],
    /// Bytes of the quiet publishers' payloads.
    pub bytes: usize,
    /// Their priority.
    pub priority: &'static str,
    /// Makes it ready, before the quiet time.
    pub prepare: fn(&Arc<Field>) -> Result<Assault>,
}

/// The settings that most have.
const USUAL: Attack = Attack {
    name: "",
    about: "",
    unit: "requests",
    server: &[],
    bytes: 200,
    priority: "normal",
    prepare: |_| Ok(Box::new(|| Ok(0))),
};

/// All of them.
pub const ALL: &[Attack] = &[
    Attack {
        name: "unsubscribe",
        about: "a client with 300 patterns ends 1,024 subscriptions that it does not have, beside 1,000 topics",
        prepare: requests::unsubscribe,
        ..USUAL
    },
    Attack {
        name: "wildcard",
        about: "`**` over 20,000 topics, joined and left",
        unit: "joins",
        server: &[("max-topics", "70000")],
        prepare: requests::wildcard,
        ..USUAL
    },
    Attack {
        name: "since",
        about: "`since` over 200 topics that keep 1 MiB each, compressed",
        unit: "joins",
        prepare: requests::since,
        ..USUAL
    },
    Attack {
        name: "topic-names",
        about: "1,024 new topic names in each request, for ever",
        prepare: requests::topic_names,
        ..USUAL
    },
    Attack {
        name: "inflate",
        about: "65 kB of permessage-deflate that become 64 MiB, from one that may not publish",
        unit: "messages",
        prepare: floods::inflate,
        ..USUAL
    },
    Attack {
        name: "floods",
        about: "eight publishers as fast as they can",
        unit: "messages",
        prepare: floods::floods,
        ..USUAL
    },
    Attack {
        name: "bulk",
        about: "eight publishers of low priority as fast as they can; the quiet messages are critical",
        unit: "messages",
        priority: "critical",
        prepare: floods::bulk,
        ..USUAL
    },
    Attack {
        name: "non-readers",
        about: "two clients that never read, with more requests behind their answers",
        prepare: held::non_readers,
        ..USUAL
    },
    Attack {
        name: "unread",
        about: "100 clients that ask for half a MiB of answers each, and read none",
        prepare: held::unread,
        ..USUAL
    },
    Attack {
        name: "half-messages",
        about: "messages of up to 15 MiB that are begun and never ended; the quiet messages have 30 kB",
        unit: "bytes",
        server: &[("payload-bytes", "64MiB"), ("max-message-bytes", "16MiB")],
        bytes: 30_000,
        prepare: held::half_messages,
        ..USUAL
    },
    Attack {
        name: "silent",
        about: "more sockets than the server takes, from one address, that never ask for the upgrade and come again when ended",
        unit: "sockets",
        server: &[("max-connections", "300")],
        prepare: held::silent,
        ..USUAL
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_every_attack_says_what_it_sends() {
        for (at, attack) in ALL.iter().enumerate() {
            assert!(!attack.name.is_empty() && !attack.about.is_empty() && attack.bytes >= 100, "{at}");
            assert!(ALL[..at].iter().all(|other| other.name != attack.name), "{}", attack.name);
        }
    }
}
