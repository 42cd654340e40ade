//! Where a subscriber goes on: the `since` and the `from` of a subscribe request.
//!
//! Knows topics, epochs and sequence numbers as the client gives them, and which of them counts. Never knows whether a
//! topic exists or what of it is kept.

use crate::Priority;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// By priority, the last sequence number that a client has; `None`: it says nothing about that lane.
pub type LaneSince = [Option<u64>; Priority::ALL.len()];

/// Where a client wants to go on in one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The epoch that the numbers belong to.
    pub epoch: u64,
    /// The numbers.
    pub seq: LaneSince,
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
///
/// Tens of thousands of topics may be named: adding one costs the same however many there are, and giving all of them back
/// is three deallocations.
#[derive(Clone, Debug, Default)]
pub struct SinceList {
    /// All names, one behind the other.
    names: String,
    entries: Vec<Entry>,
    /// The newest entry of each hash of a name.
    index: HashMap<u64, u32>,
    unnamed: Beginning,
    /// Entries that were not taken back.
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
    /// The next entry with the same hash, or [`NONE`].
    next: u32,
    /// `None`: it was taken back.
    since: Option<Since>,
}

const NONE: u32 = u32::MAX;

impl SinceList {
    /// One that names no topic yet.
    pub(crate) fn new(unnamed: Beginning) -> Self {
        SinceList { unnamed, ..SinceList::default() }
    }

    /// Room for as many topics as can stand in so many bytes of a request.
    pub(crate) fn reserve_for(&mut self, bytes: usize) {
        /// `"a":{"epoch":1},` takes 16 bytes. (In MessagePack it may take 10: then the tables grow once.)
        const ENTRY_BYTES_MIN: usize = 16;
        let entries = bytes / ENTRY_BYTES_MIN;
        self.entries.reserve(entries);
        self.index.reserve(entries);
    }

    /// What the client says of one topic, or that it says nothing. Of one that is there twice, the last counts.
    pub(crate) fn set(&mut self, topic: &str, since: Option<Since>) {
        let hash = self.index.hasher().hash_one(topic);
        let first = self.index.get(&hash).copied().unwrap_or(NONE);
        if let Some(known) = self.position(first, topic) {
            let before = std::mem::replace(&mut self.entries[known].since, since);
            self.len = self.len + usize::from(since.is_some()) - usize::from(before.is_some());
            return;
        }
        self.len += usize::from(since.is_some());
        // A request is far shorter than 2^32 bytes.
        let (start, at) = (self.names.len() as u32, self.entries.len() as u32);
        self.names.push_str(topic);
        self.entries.push(Entry { start, len: topic.len() as u32, next: first, since });
        self.index.insert(hash, at);
    }

    fn position(&self, mut at: u32, topic: &str) -> Option<usize> {
        while let Some(entry) = self.entries.get(at as usize) {
            if self.name(entry) == topic {
                return Some(at as usize);
            }
            at = entry.next;
        }
        None
    }

    fn name(&self, entry: &Entry) -> &str {
        self.names.get(entry.start as usize..(entry.start + entry.len) as usize).unwrap_or_default()
    }

    /// What the client says about `topic`.
    pub fn find(&self, topic: &str) -> Option<Since> {
        if self.len == 0 {
            return None;
        }
        let first = *self.index.get(&self.index.hasher().hash_one(topic))?;
        self.position(first, topic).and_then(|at| self.entries[at].since)
    }

    /// The epoch and, by priority, the numbers after which `topic`, which has `epoch` now, goes on; `None`: it begins
    /// with its last message.
    pub fn place(&self, topic: &str, epoch: u64) -> Option<(u64, LaneSince)> {
        match self.find(topic) {
            Some(since) => Some((since.epoch, since.seq)),
            // As if the client knew the topic and had nothing of it yet.
            None => (self.unnamed == Beginning::Oldest).then_some((epoch, [None; Priority::ALL.len()])),
        }
    }

    /// Where topics begin that are not named.
    pub fn unnamed(&self) -> Beginning {
        self.unnamed
    }

    /// All topics that are named, in the order in which they first were.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Since)> {
        self.entries.iter().filter_map(|entry| Some((self.name(entry), entry.since?)))
    }

    /// How many topics are named.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether every topic begins with its last message.
    pub fn is_empty(&self) -> bool {
        self.len == 0 && self.unnamed == Beginning::Newest
    }

    /// Memory that it holds.
    pub fn held_bytes(&self) -> usize {
        /// A key, a number and a control byte, at the load that a table of the standard library has at most.
        const INDEX_BYTES: usize = (size_of::<(u64, u32)>() + 1) * 8 / 7 + 1;
        self.names.capacity() + self.entries.capacity() * size_of::<Entry>() + self.index.capacity() * INDEX_BYTES
    }
}

impl PartialEq for SinceList {
    fn eq(&self, other: &Self) -> bool {
        self.unnamed == other.unnamed
            && self.len() == other.len()
            && self.iter().all(|(topic, since)| other.find(topic) == Some(since))
    }
}
