//! The small vocabulary every part of the engine shares: priorities, payload kinds, identifiers.
#![forbid(unsafe_code)]

use std::fmt;

/// Importance of a message. A lane each; more important lanes are always sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Priority {
    /// Never dropped: a subscriber that cannot take it is closed with 1013.
    Critical = 0,
    /// Dropped after normal and low.
    High = 1,
    /// The default.
    #[default]
    Normal = 2,
    /// Dropped first.
    Low = 3,
}

impl Priority {
    /// All priorities, most important first.
    pub const ALL: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];

    /// The name on the wire: `critical`, `high`, `normal`, `low`.
    pub const fn name(self) -> &'static str {
        match self {
            Priority::Critical => "critical",
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }

    /// The priority with this number (0 is critical), if there is one.
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Priority::Critical),
            1 => Some(Priority::High),
            2 => Some(Priority::Normal),
            3 => Some(Priority::Low),
            _ => None,
        }
    }

    /// The priority with this wire name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a payload is, as its publisher states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Kind {
    /// UTF-8 text: a text message to raw subscribers.
    Text = 0,
    /// Any bytes: a binary message to raw subscribers.
    #[default]
    Binary = 1,
    /// One JSON value: a text message to raw subscribers, embedded verbatim in JSON envelopes.
    Json = 2,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Kind::Text),
            1 => Some(Kind::Binary),
            2 => Some(Kind::Json),
            _ => None,
        }
    }
}

/// A topic's number, the same on all shards, reused only after the topic was removed everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u32);

/// Bits of a topic number that index tables; the others count reuses of the index.
pub const TOPIC_INDEX_BITS: u32 = 20;

/// The part of a topic number that indexes tables.
pub const fn topic_index(id: TopicId) -> u32 {
    id.0 & ((1 << TOPIC_INDEX_BITS) - 1)
}

/// One connection for its whole life: shard (8 bits), generation (24 bits), slot (32 bits).
///
/// A closed connection's id is never valid again while the engine runs (within 2^24 reuses of a slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// No connection: the host itself, as the origin of a message.
    pub const HOST: ConnectionId = ConnectionId(u64::MAX);

    /// Packs the parts. `generation` is taken modulo 2^24.
    pub const fn new(shard: u8, generation: u32, slot: u32) -> Self {
        ConnectionId((shard as u64) << 56 | ((generation & 0xff_ffff) as u64) << 32 | slot as u64)
    }

    /// The shard that owns the connection.
    pub const fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The slot's generation.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    /// The slot in its shard's table.
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// As one number, for logs and the C interface.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// From [`ConnectionId::to_u64`].
    pub const fn from_u64(n: u64) -> Self {
        ConnectionId(n)
    }
}

/// A text that names no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAConnectionId;

impl fmt::Display for NotAConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a connection is named by its shard, slot and generation: 0.17.1")
    }
}

impl std::error::Error for NotAConnectionId {}

/// From what `Display` writes.
impl std::str::FromStr for ConnectionId {
    type Err = NotAConnectionId;

    fn from_str(text: &str) -> Result<Self, NotAConnectionId> {
        let mut parts = text.split('.').map(|part| {
            let is_plain = part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            if is_plain { part.parse::<u32>().ok() } else { None }
        });
        let mut next = || parts.next().flatten().ok_or(NotAConnectionId);
        let (shard, slot, generation) = (next()?, next()?, next()?);
        let shard = u8::try_from(shard).map_err(|_| NotAConnectionId)?;
        let id = ConnectionId::new(shard, generation, slot);
        if parts.next().is_some() || id.generation() != generation { Err(NotAConnectionId) } else { Ok(id) }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.shard(), self.slot(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_s_text_names_it_and_no_other_text_does() {
        for id in [ConnectionId::new(0, 1, 17), ConnectionId::new(63, 0xff_ffff, u32::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in
            ["", "0", "0.1", "0.1.2.3", "256.0.1", "0.0.16777216", "0.+1.1", "0.01.1", "a.b.c", "0. 1.1", "1.1."]
        {
            assert_eq!(text.parse::<ConnectionId>(), Err(NotAConnectionId), "{text}");
        }
    }
}
