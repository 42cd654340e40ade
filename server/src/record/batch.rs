//! Job: what has arrived and waits to be written.
//! Knows: topics by number, messages, gaps. Must never know: files, connections.

use fanwire::{Kind, Priority};

/// One thing that arrived. `bytes` of it lie in the batch, behind those of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The subscription is in force.
    InForce,
    /// From here on the topic with this number.
    Topic {
        /// The next number, counted from 0.
        id: u32,
        /// Its name.
        name: String,
        /// Its numbering.
        epoch: u64,
    },
    /// A message.
    Message(Stamp),
    /// A notice of what is missing, as JSON.
    Notice {
        /// When it came, in nanoseconds since 1970.
        log_ns: u64,
        /// Its length.
        bytes: usize,
    },
}

/// What is known of a message beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its topic's number.
    pub topic: u32,
    /// Its priority.
    pub priority: Priority,
    /// What the payload is.
    pub kind: Kind,
    /// Its number.
    pub seq: u64,
    /// When it came, in nanoseconds since 1970.
    pub log_ns: u64,
    /// When it was published, in nanoseconds since 1970.
    pub publish_ns: u64,
    /// Length of its payload.
    pub bytes: usize,
}

/// Things that arrived, in order.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Batch {
    /// Adds an entry with its bytes.
    pub fn push(&mut self, entry: Entry, bytes: &[u8]) {
        self.entries.push(entry);
        self.bytes.extend_from_slice(bytes);
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory that it takes, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// The entries with their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |entry| {
            let length = match entry {
                Entry::InForce | Entry::Topic { .. } => 0,
                Entry::Message(stamp) => stamp.bytes,
                Entry::Notice { bytes, .. } => *bytes,
            };
            let (bytes, behind) = rest.split_at(length);
            rest = behind;
            (entry, bytes)
        })
    }
}
