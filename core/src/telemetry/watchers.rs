//! Who wants to know: subscribers of `$sys` topics on every shard, and a host that asks. While nobody does, a look costs one load.
//!
//! Knows topics by their names, and times that it is told. Must never know what is said there.

use std::sync::Arc;
#[allow(
    clippy::disallowed_types,
    reason = "held to copy a pointer: by the host, and once a second by one shard, which only tries"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How long a host that asks keeps the engine gathering.
pub const ASKED_FOR_NS: u64 = 5_000_000_000;

/// What the engine says of itself: one topic each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SysTopic {
    /// `$sys/shards`: each shard's counters, how busy it is, latencies.
    Shards,
    /// `$sys/topics`: the topics with the most messages a second.
    Topics,
    /// `$sys/clients`: the clients that are furthest behind, and those that cost most.
    Clients,
    /// `$sys/gaps`: messages that clients have lost, as it happens. Not to be had by [`crate::Engine::snapshot`].
    Gaps,
}

impl SysTopic {
    /// All of them.
    pub const ALL: [SysTopic; 4] = [SysTopic::Shards, SysTopic::Topics, SysTopic::Clients, SysTopic::Gaps];

    /// The topic's name.
    pub const fn name(self) -> &'static str {
        match self {
            SysTopic::Shards => "$sys/shards",
            SysTopic::Topics => "$sys/topics",
            SysTopic::Clients => "$sys/clients",
            SysTopic::Gaps => "$sys/gaps",
        }
    }

    /// The topic of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        SysTopic::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

/// Whether a topic is the engine's to publish on, and to be subscribed to only by who was granted it by name.
pub fn is_sys(name: &str) -> bool {
    name.strip_prefix("$sys").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Some of [`SysTopic::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted(u8);

impl Wanted {
    /// These.
    pub fn of(topics: impl IntoIterator<Item = SysTopic>) -> Self {
        Self(topics.into_iter().fold(0, |bits, topic| bits | 1 << topic as u8))
    }

    /// Whether this one is among them.
    pub fn has(self, topic: SysTopic) -> bool {
        self.0 & 1 << topic as u8 != 0
    }

    /// True where none is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What one topic said last, and when that was begun.
type Said = Option<(u64, Arc<str>)>;

/// See the module's head. Times are the shards' monotonic clock's, in nanoseconds.
#[derive(Debug, Default)]
pub struct Watchers {
    /// Somebody has ever wanted something.
    is_known: AtomicBool,
    /// Shards with subscribers, a bit each, by topic.
    subscribed: [AtomicU64; SysTopic::ALL.len()],
    /// Until when the host wants to know.
    asked_until_ns: [AtomicU64; SysTopic::ALL.len()],
    #[allow(clippy::disallowed_types, reason = "see above")]
    said: [Mutex<Said>; SysTopic::ALL.len()],
}

impl Watchers {
    /// Whether there is anything to look at.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.is_known.load(Relaxed)
    }

    /// A shard has subscribers to these topics, and to no others. True if that is new.
    pub fn set_subscribed(&self, shard: u8, to: Wanted) -> bool {
        let mut is_new = false;
        for (topic, shards) in SysTopic::ALL.into_iter().zip(&self.subscribed) {
            let bit = 1 << shard;
            let before = if to.has(topic) { shards.fetch_or(bit, Relaxed) } else { shards.fetch_and(!bit, Relaxed) };
            is_new |= to.has(topic) && before & bit == 0;
        }
        if !to.is_empty() {
            self.is_known.store(true, Relaxed);
        }
        is_new
    }

    /// The host wants to know this for a while.
    pub fn ask(&self, topic: SysTopic, now_ns: u64) {
        self.asked_until_ns[topic as usize].store(now_ns + ASKED_FOR_NS, Relaxed);
        self.is_known.store(true, Relaxed);
    }

    /// What anybody wants to know.
    pub fn wanted(&self, now_ns: u64) -> Wanted {
        Wanted::of(
            SysTopic::ALL
                .into_iter()
                .filter(|&topic| self.subscribed[topic as usize].load(Relaxed) != 0 || self.is_asked(topic, now_ns)),
        )
    }

    fn is_asked(&self, topic: SysTopic, now_ns: u64) -> bool {
        self.asked_until_ns[topic as usize].load(Relaxed) > now_ns
    }

    /// Keeps what a topic says, where the host wants to know.
    pub fn say(&self, topic: SysTopic, begun_ns: u64, now_ns: u64, text: &str) {
        if self.is_asked(topic, now_ns)
            && let Ok(mut said) = self.said[topic as usize].try_lock()
        {
            *said = Some((begun_ns, text.into()));
        }
    }

    /// What a topic said last, if that was begun at `since_ns` or later.
    pub fn said(&self, topic: SysTopic, since_ns: u64) -> Option<Arc<str>> {
        let said = self.said[topic as usize].lock().unwrap_or_else(|poison| poison.into_inner());
        said.as_ref().filter(|(begun_ns, _)| *begun_ns >= since_ns).map(|(_, text)| text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sys_and_what_is_below_it_is_the_engine_s() {
        for (name, is) in [("$sys", true), ("$sys/x", true), ("$system", false), ("$other/sys", false), ("sys", false)]
        {
            assert_eq!(is_sys(name), is, "{name}");
        }
        assert!(SysTopic::ALL.iter().all(|topic| is_sys(topic.name()) && SysTopic::from_name(topic.name()).is_some()));
    }

    #[test]
    fn a_topic_is_wanted_while_a_shard_has_subscribers_or_the_host_asks() {
        let watchers = Watchers::default();
        assert!(!watchers.is_any() && watchers.wanted(0).is_empty());
        let clients = Wanted::of([SysTopic::Clients]);
        assert!(watchers.set_subscribed(3, clients) && !watchers.set_subscribed(3, clients));
        assert!(watchers.set_subscribed(0, clients) && watchers.is_any());
        watchers.set_subscribed(3, Wanted::default());
        assert_eq!(watchers.wanted(0), clients);
        watchers.set_subscribed(0, Wanted::default());
        assert!(watchers.wanted(0).is_empty());
        watchers.ask(SysTopic::Shards, 10);
        assert!(
            watchers.wanted(9 + ASKED_FOR_NS).has(SysTopic::Shards) && watchers.wanted(10 + ASKED_FOR_NS).is_empty()
        );
    }

    #[test]
    fn the_host_gets_what_was_begun_after_it_asked_and_nothing_is_kept_for_nobody() {
        let watchers = Watchers::default();
        watchers.say(SysTopic::Topics, 5, 5, "{}");
        assert_eq!(watchers.said(SysTopic::Topics, 0), None);
        watchers.ask(SysTopic::Topics, 6);
        watchers.say(SysTopic::Topics, 7, 8, "{\"a\":1}");
        assert_eq!(watchers.said(SysTopic::Topics, 8), None);
        assert_eq!(watchers.said(SysTopic::Topics, 7).as_deref(), Some("{\"a\":1}"));
    }
}
