//! Where a subscriber goes on: the `since` and the `from` of a subscribe request.
//!
//! Knows topics, epochs and sequence numbers as the client gives them, and which of them counts. Never knows whether a
//! topic exists or what of it is kept.

use crate::Priority;
use std::borrow::Cow;

/// Where a client wants to go on in one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since<'a> {
    /// A checked name.
    pub topic: Cow<'a, str>,
    /// The epoch that the numbers belong to.
    pub epoch: u64,
    /// By priority, the last sequence number that the client has; `None`: it says nothing about that lane.
    pub seq: [Option<u64>; Priority::ALL.len()],
}

/// Where a topic begins that a request's `since` does not name: its `from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beginning {
    /// With the last message.
    #[default]
    Newest,
    /// With the oldest message that is kept; what is not kept any more is a gap.
    Oldest,
}

/// The `since` and the `from` of a subscribe request: each topic once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SinceList<'a> {
    /// Sorted by topic.
    entries: Vec<Since<'a>>,
    unnamed: Beginning,
}

impl<'a> SinceList<'a> {
    /// From entries in the order of the request: of a topic that is there twice, the last counts. O(n log n), once a
    /// request.
    pub(crate) fn new(mut entries: Vec<Since<'a>>, unnamed: Beginning) -> Self {
        entries.reverse();
        entries.sort_by(|a, b| a.topic.cmp(&b.topic));
        entries.dedup_by(|later, kept| later.topic == kept.topic);
        SinceList { entries, unnamed }
    }

    /// What the client says about `topic`. O(log topics).
    pub fn find(&self, topic: &str) -> Option<&Since<'a>> {
        let at = self.entries.binary_search_by(|since| (*since.topic).cmp(topic)).ok()?;
        self.entries.get(at)
    }

    /// The epoch and, by priority, the numbers after which `topic`, which has `epoch` now, goes on; `None`: it begins
    /// with its last message. O(log topics).
    pub fn place(&self, topic: &str, epoch: u64) -> Option<(u64, [Option<u64>; Priority::ALL.len()])> {
        match self.find(topic) {
            Some(since) => Some((since.epoch, since.seq)),
            // As if the client knew the topic and had nothing of it yet.
            None => (self.unnamed == Beginning::Oldest).then_some((epoch, [None; Priority::ALL.len()])),
        }
    }

    /// The same, with nothing borrowed from the request.
    pub fn into_owned(self) -> SinceList<'static> {
        let entries = self.entries.into_iter();
        let entries = entries.map(|s| Since { topic: Cow::Owned(s.topic.into_owned()), epoch: s.epoch, seq: s.seq });
        SinceList { entries: entries.collect(), unnamed: self.unnamed }
    }

    /// Where topics begin that are not named.
    pub fn unnamed(&self) -> Beginning {
        self.unnamed
    }

    /// All entries, sorted by topic.
    pub fn as_slice(&self) -> &[Since<'a>] {
        &self.entries
    }

    /// Whether every topic begins with its last message.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unnamed == Beginning::Newest
    }
}
