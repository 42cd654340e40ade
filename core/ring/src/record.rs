//! What a record says: its head, and how the head is written to the ring as little-endian words.
//!
//! Knows the vocabulary of `types`; must never know where a record lies in memory or who reads it.

use crate::payload::Payload;
use crate::types::{ConnectionId, Kind, Priority, TopicId};

/// Where a record begins: critical messages in one stream, all other records in another, in bytes since the ring was made. No two
/// records have the same. Within its stream it strictly increases, in the order in which every reader sees the records; never reused
/// (2^64 bytes are 58 years at 10 GB/s).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

impl Position {
    /// A critical message's. Records begin at multiples of 64, so that it is no other record's.
    pub(crate) const fn critical(start: u64) -> Self {
        Self(start | 1)
    }
}

/// Where a reader stands: the next record of the main area and the next critical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The next record that is no critical message.
    pub main: Position,
    /// The next critical message, as a position of that area alone.
    pub critical: Position,
}

impl Standing {
    /// Whether all that is before `other` is before this, too.
    pub fn has_reached(self, other: Standing) -> bool {
        self.main >= other.main && self.critical >= other.critical
    }
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RecordKind {
    /// A message for the subscribers of a topic.
    #[default]
    Message = 0,
    /// A topic came to be; the payload is its name and what else the publisher of the record puts there.
    TopicCreated = 1,
    /// A topic is gone.
    TopicRemoved = 2,
    /// A topic's policy changed; the payload says how.
    TopicPolicy = 3,
    /// Numbering begins anew.
    Epoch = 4,
}

impl RecordKind {
    const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(RecordKind::Message),
            1 => Some(RecordKind::TopicCreated),
            2 => Some(RecordKind::TopicRemoved),
            3 => Some(RecordKind::TopicPolicy),
            4 => Some(RecordKind::Epoch),
            _ => None,
        }
    }
}

/// The fixed part of a record: plain data, copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the record is about.
    pub kind: RecordKind,
    /// The lane.
    pub priority: Priority,
    /// What the payload is.
    pub payload_kind: Kind,
    /// For the shards' own use; the ring carries them as they are.
    pub flags: u8,
    /// The topic.
    pub topic: TopicId,
    /// Milliseconds after `time_ns` from which the message is worth nothing; 0: always worth something.
    pub ttl_ms: u32,
    /// Wall clock, nanoseconds since 1970, as the publisher took it.
    pub time_ns: u64,
    /// Who published: [`ConnectionId::HOST`] or a connection.
    pub origin: ConnectionId,
    /// Conflation key; 0: none.
    pub key: u64,
    /// The sequence number that the message brings with it (a durable broker's); 0: none, the shards count it. In a record that makes
    /// a topic: the epoch in which its numbers count.
    pub seq: u64,
}

impl Head {
    /// Whether it takes the room that critical messages have for themselves.
    #[inline]
    pub(crate) const fn is_critical(&self) -> bool {
        matches!((self.kind, self.priority), (RecordKind::Message, Priority::Critical))
    }

    /// A message of the host's, without time, key, expiry or number of its own.
    pub const fn message(topic: TopicId, priority: Priority, payload_kind: Kind) -> Self {
        Self {
            kind: RecordKind::Message,
            priority,
            payload_kind,
            flags: 0,
            topic,
            ttl_ms: 0,
            time_ns: 0,
            origin: ConnectionId::HOST,
            key: 0,
            seq: 0,
        }
    }
}

/// A record's payload as its reader sees it.
#[derive(Debug)]
pub enum Body<'a> {
    /// The bytes lie in the ring: valid until the reader goes on.
    Inline(&'a [u8]),
    /// The bytes lie in a counted buffer: clone it to keep it.
    Shared(&'a Payload),
}

impl Body<'_> {
    /// The bytes, wherever they lie.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::Inline(bytes) => bytes,
            Body::Shared(payload) => payload,
        }
    }
}

/// One record on loan from the ring, until its reader's next call.
#[derive(Debug)]
pub struct Record<'a> {
    /// Where it begins.
    pub position: Position,
    /// Its head.
    pub head: Head,
    /// Its payload.
    pub body: Body<'a>,
    /// What its publisher said of it beyond the payload: at most [`ATTRIBUTES_MAX`] bytes, whatever they mean.
    pub attributes: &'a [u8],
}

/// Most bytes of attributes that a message may have.
pub const ATTRIBUTES_MAX: usize = 1 << 10;

/// Bytes of an encoded head.
pub(crate) const WORDS_BYTES: usize = 8 * WORDS;
const WORDS: usize = 7;
const ATTRIBUTES_WORD: usize = 5;

/// How the payload of a record is stored, or that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// So many bytes follow the head: attributes, then the payload.
    Inline(u32),
    /// The payload is in this slot of the table of shared payloads; attributes follow the head.
    Shared(u32),
    /// No record: readers go on so many units further.
    Padding(u32),
}

const FORM_INLINE: u64 = 0;
const FORM_SHARED: u64 = 1 << 24;
const FORM_PADDING: u64 = 2 << 24;
const FORM_MASK: u64 = 3 << 24;
const HAS_ATTRIBUTES: u64 = 1 << 26;
const FLAGS_SHIFT: u32 = 16;
const PAYLOAD_KIND_SHIFT: u32 = 27;
const OPERAND_SHIFT: u32 = 32;

/// A head as it lies in the ring: seven little-endian words.
///
/// Word 0, from the lowest bit: kind 8, priority 8, flags 8, form 2, has attributes 1, payload kind 4, unused 1, operand 32
/// (length or slot). Word 1: topic 32, ttl 32. Then time, origin, key, length of the attributes, sequence number. What the probe
/// [`publish`](crate::usdt::publish) shows (kind, priority, topic, origin) is whole bytes, and it knows where.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Words(pub(crate) [u64; WORDS]);

impl Words {
    /// Padding of so many units, itself included.
    pub(crate) const fn padding(units: u32) -> Words {
        Words([(FORM_PADDING | (units as u64) << OPERAND_SHIFT).to_le(), 0, 0, 0, 0, 0, 0])
    }

    /// Encodes `head` for a payload that [`Words::with_form`] states afterwards.
    #[inline]
    pub(crate) fn new(head: &Head) -> Self {
        let first = head.kind as u64
            | (head.priority as u64) << 8
            | (head.payload_kind as u64) << PAYLOAD_KIND_SHIFT
            | u64::from(head.flags) << FLAGS_SHIFT;
        Self([
            first.to_le(),
            (u64::from(head.topic.0) | u64::from(head.ttl_ms) << 32).to_le(),
            head.time_ns.to_le(),
            head.origin.to_u64().to_le(),
            head.key.to_le(),
            0,
            head.seq.to_le(),
        ])
    }

    /// The same head of a message with so many bytes of attributes.
    pub(crate) fn with_attributes(mut self, len: usize) -> Self {
        debug_assert!(len <= ATTRIBUTES_MAX);
        if len > 0 {
            self.0[0] |= HAS_ATTRIBUTES.to_le();
            self.0[ATTRIBUTES_WORD] = (len as u64).to_le();
        }
        self
    }

    /// Whether there are attributes: asked first, for most messages have none.
    #[inline]
    pub(crate) fn has_attributes(&self) -> bool {
        u64::from_le(self.0[0]) & HAS_ATTRIBUTES != 0
    }

    /// Bytes of attributes.
    pub(crate) fn attributes_len(&self) -> usize {
        u64::from_le(self.0[ATTRIBUTES_WORD]) as usize
    }

    /// The same head with another payload.
    #[inline]
    pub(crate) fn with_form(mut self, form: Form) -> Self {
        let (form, operand) = match form {
            Form::Inline(len) => (FORM_INLINE, len),
            Form::Shared(slot) => (FORM_SHARED, slot),
            Form::Padding(units) => (FORM_PADDING, units),
        };
        let kept = u64::from_le(self.0[0]) & !(FORM_MASK | u64::from(u32::MAX) << OPERAND_SHIFT);
        self.0[0] = (kept | form | u64::from(operand) << OPERAND_SHIFT).to_le();
        self
    }

    /// Whether it is about a topic's life rather than a message.
    #[inline]
    pub(crate) fn is_about_topic(&self) -> bool {
        u64::from_le(self.0[0]) as u8 != RecordKind::Message as u8
    }

    /// How the payload is stored.
    #[inline]
    pub(crate) fn form(&self) -> Form {
        let first = u64::from_le(self.0[0]);
        let operand = (first >> OPERAND_SHIFT) as u32;
        match first & FORM_MASK {
            FORM_INLINE => Form::Inline(operand),
            FORM_SHARED => Form::Shared(operand),
            _ => Form::Padding(operand),
        }
    }

    /// The head again. `None` if the words were never made by [`Words::new`].
    #[inline]
    pub(crate) fn head(&self) -> Option<Head> {
        let [first, second, time_ns, origin, key, _, seq] = self.0.map(u64::from_le);
        Some(Head {
            kind: RecordKind::from_u8(first as u8)?,
            priority: Priority::from_u8((first >> 8) as u8)?,
            payload_kind: Kind::from_u8((first >> PAYLOAD_KIND_SHIFT) as u8 & 0xf)?,
            flags: (first >> FLAGS_SHIFT) as u8,
            topic: TopicId(second as u32),
            ttl_ms: (second >> 32) as u32,
            time_ns,
            origin: ConnectionId::from_u64(origin),
            key,
            seq,
        })
    }
}
