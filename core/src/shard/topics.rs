//! Topics, lanes, streams and the cursors that stand in them: one shard's view.
//!
//! A *stream* is one log (the source, or one derived from it) with the dense array of its subscribers' cursors.
//! A *link* ties a cursor to its connection, a *membership* ties a connection to a topic.

use super::table::NONE;
use crate::config::{Retention, SlowPolicy};
use crate::event::Protocol;
use crate::log::{Entry, Log, Place};
use crate::proto::batch::BatchEncoder;
use crate::proto::compress::Advisor;
use crate::proto::server_message::GapReason;
use crate::types::{Priority, TopicId};
use std::collections::HashMap;

/// How messages are written for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The payload itself.
    Raw,
    /// The `message` object of `fanwire.json.v1`.
    Json,
    /// The same of `fanwire.msgpack.v1`.
    Msgpack,
    /// Frames of `fanwire.batch.v1`.
    Batch,
}

/// How frames are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// permessage-deflate.
    Deflate,
    /// LZ4 inside batch frames.
    Lz4,
}

/// What a lane can be sent as: an encoding and a packing. Each has its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// The message itself: the source log.
    Raw = 0,
    /// See [`Encoding`] and [`Packing`].
    Json,
    /// Likewise.
    Msgpack,
    /// Likewise.
    Batch,
    /// Likewise.
    RawDeflate,
    /// Likewise.
    JsonDeflate,
    /// Likewise.
    MsgpackDeflate,
    /// Likewise.
    BatchDeflate,
    /// Likewise.
    BatchLz4,
}

/// Number of [`Form`]s.
pub const FORMS: usize = 9;

impl Form {
    /// How messages are written.
    pub const fn encoding(self) -> Encoding {
        match self {
            Form::Raw | Form::RawDeflate => Encoding::Raw,
            Form::Json | Form::JsonDeflate => Encoding::Json,
            Form::Msgpack | Form::MsgpackDeflate => Encoding::Msgpack,
            Form::Batch | Form::BatchDeflate | Form::BatchLz4 => Encoding::Batch,
        }
    }

    /// How frames are packed.
    pub const fn packing(self) -> Packing {
        match self {
            Form::Raw | Form::Json | Form::Msgpack | Form::Batch => Packing::Plain,
            Form::RawDeflate | Form::JsonDeflate | Form::MsgpackDeflate | Form::BatchDeflate => Packing::Deflate,
            Form::BatchLz4 => Packing::Lz4,
        }
    }

    /// What a connection gets that speaks `protocol`. `deflate`: permessage-deflate with the full window was agreed.
    pub const fn of(protocol: Protocol, deflate: bool) -> Self {
        match (protocol, deflate) {
            (Protocol::Raw, false) => Form::Raw,
            (Protocol::Raw, true) => Form::RawDeflate,
            (Protocol::JsonV1, false) => Form::Json,
            (Protocol::JsonV1, true) => Form::JsonDeflate,
            (Protocol::MsgpackV1, false) => Form::Msgpack,
            (Protocol::MsgpackV1, true) => Form::MsgpackDeflate,
            (Protocol::BatchV1, false) => Form::Batch,
            (Protocol::BatchV1, true) => Form::BatchDeflate,
            // Packed once is enough.
            (Protocol::BatchV1Lz4, _) => Form::BatchLz4,
        }
    }
}

/// A cursor: where one connection stands in one stream.
#[derive(Clone, Copy, Debug)]
pub struct Sub {
    /// The next sequence number to be sent (or being sent).
    pub seq: u64,
    /// The connection.
    pub slot: u32,
    /// Bytes of frame `seq` already sent (28 bits), and [`Sub::ASIDE`]. Zero is the hot pass's only question.
    bits: u32,
}

impl Sub {
    /// Set where the hot pass must leave the cursor alone: its connection has several cursors, or something unusual pending.
    const ASIDE: u32 = 1 << 31;

    /// A cursor that stands before frame `seq`.
    pub fn new(slot: u32, seq: u64, aside: bool) -> Self {
        Self { seq, slot, bits: if aside { Self::ASIDE } else { 0 } }
    }

    /// True where the hot pass may send for this cursor without looking at its connection.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.bits == 0
    }

    /// Bytes of frame `seq` already sent.
    pub fn partial(&self) -> u32 {
        self.bits & !Self::ASIDE
    }

    /// Takes the cursor out of the hot pass, or gives it back.
    pub fn set_aside(&mut self, aside: bool) {
        self.bits = self.partial() | if aside { Self::ASIDE } else { 0 };
    }

    fn set_partial(&mut self, partial: u32) {
        self.bits = (self.bits & Self::ASIDE) | partial;
    }
}

/// The cursors of one stream, apart from its log so that the log can be borrowed while they move.
#[derive(Debug, Default)]
pub struct Cursors {
    /// Dense, unordered.
    pub subs: Vec<Sub>,
    /// The link of each cursor, index by index with `subs`, apart because the hot pass never needs it.
    pub links: Vec<u32>,
    /// Cursors in the middle of a frame.
    pub partials: u32,
}

impl Cursors {
    /// Moves the cursor at `index`, keeping count of those inside a frame.
    pub fn place(&mut self, index: usize, seq: u64, partial: u32) {
        let sub = &mut self.subs[index];
        match (sub.partial() != 0, partial != 0) {
            (false, true) => self.partials += 1,
            (true, false) => self.partials -= 1,
            _ => {}
        }
        sub.seq = seq;
        sub.set_partial(partial);
    }

    /// Moves the cursor at `index` to offset `offset` of `log`; returns the number of frames completed.
    pub fn place_at(&mut self, log: &Log, index: usize, offset: u64) -> u64 {
        let before = self.subs[index].seq;
        if offset == log.head() {
            self.place(index, log.next_seq(), 0);
        } else if let Some(entry) = log.entry_at_offset(offset) {
            self.place(index, entry.seq, (offset - entry.offset) as u32);
        }
        self.subs[index].seq.saturating_sub(before)
    }
}

/// One log and its subscribers.
#[derive(Debug)]
pub struct Stream {
    /// The frames.
    pub log: Log,
    /// Who gets them.
    pub cursors: Cursors,
    /// The lane it belongs to.
    pub lane: u32,
    /// Its encoding.
    pub form: Form,
    /// Already on the list of streams with news.
    pub is_active: bool,
    /// The sequence number from which a derived log was built: what lies before was never in it.
    pub built_from: u64,
    /// Whether compression pays, for a derived log that is packed.
    pub advisor: Advisor,
    /// The batch that is being filled, of a derived log of batches.
    pub open: Option<Box<OpenBatch>>,
}

/// A batch that is not closed yet. Its messages are not in the log.
#[derive(Debug)]
pub struct OpenBatch {
    /// Writes it.
    pub encoder: BatchEncoder,
    /// The frame's payload so far.
    pub bytes: Vec<u8>,
    /// The first message's number.
    pub first_seq: u64,
    /// What the source's index says of the first message.
    pub first: Entry,
    /// When it is to be closed, in the driver's time.
    pub due_ns: u64,
}

impl Stream {
    /// An empty stream.
    pub fn new(log: Log, lane: u32, form: Form, compression_threshold: usize) -> Self {
        Self {
            built_from: log.next_seq(),
            log,
            cursors: Cursors::default(),
            lane,
            form,
            is_active: false,
            advisor: Advisor::new(compression_threshold.try_into().unwrap_or(u32::MAX)),
            open: None,
        }
    }

    /// False once the stream's number is free.
    pub fn is_in_use(&self) -> bool {
        self.lane != NONE
    }

    /// One past the last message taken from the source: in the log, or in the open batch.
    pub fn taken_seq(&self) -> u64 {
        self.open.as_ref().map_or(self.log.next_seq(), |open| open.first_seq + u64::from(open.encoder.messages()))
    }

    /// The first message behind what a cursor is in the middle of.
    pub fn next_boundary(&self, sub: &Sub) -> u64 {
        match self.log.place(sub.seq) {
            Place::At(entry) if sub.partial() != 0 => entry.end_seq(),
            _ => sub.seq,
        }
    }

    /// Marks the stream as gone.
    pub fn retire(&mut self) {
        self.open = None;
        self.lane = NONE;
        self.is_active = false;
    }
}

/// A topic's messages of one priority.
#[derive(Debug)]
pub struct Lane {
    /// The topic's number.
    pub topic: u32,
    /// The priority.
    pub priority: Priority,
    /// Streams by [`Form`]; [`NONE`] where nobody wants that encoding.
    pub streams: [u32; FORMS],
    /// Its source has frames that its derived logs may not have yet.
    pub has_grown: bool,
    /// Some of its messages expire, or have keys: cursors that lag pick.
    pub is_picky: bool,
    /// The newest sequence number of each key, where the topic's policy is to keep only that.
    pub latest: HashMap<u64, u64>,
    /// The highest sequence number that was the newest of its key when it was dropped from `latest`; 0: none was.
    pub latest_forgotten: u64,
}

/// A topic as this shard sees it.
#[derive(Debug)]
pub struct TopicState {
    /// Its number, with the count of reuses.
    pub id: TopicId,
    /// Its name.
    pub name: Box<str>,
    /// The epoch of its numbering.
    pub epoch: u64,
    /// Its name as a JSON string, quotes included.
    pub escaped: Box<[u8]>,
    /// Its name as a MessagePack string.
    pub packed: Box<[u8]>,
    /// Lanes by priority; [`NONE`] until the first message.
    pub lanes: [u32; 4],
    /// Memberships of the connections that get it.
    pub members: Vec<u32>,
    /// What new subscribers get first.
    pub retention: Retention,
    /// What happens to a subscriber that is too slow.
    pub policy: SlowPolicy,
    /// How long a batch may stay open, in nanoseconds.
    pub batch_window_ns: u64,
    /// Budget of each of its logs.
    pub lane_bytes: usize,
    /// Messages lost by slow subscribers, by priority.
    pub dropped: [u64; 4],
}

/// A connection's subscription to one topic.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// The connection.
    pub slot: u32,
    /// The topic.
    pub topic: u32,
    /// Its place in [`TopicState::members`].
    pub index: u32,
    /// The connection's next membership.
    pub next: u32,
    /// Its first link: one for each of the topic's lanes, chained by [`Link::sibling`].
    pub links: u32,
    /// Number of the connection's interest that asked for it, for `subscribed {id}`; [`u16::MAX`] when not known any more.
    pub interest: u16,
    /// `subscribed` is still to be sent; no data before it.
    pub must_announce: bool,
    /// Asked for by its name, not only by a pattern.
    pub is_literal: bool,
}

/// What a subscription may ask for beyond the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// At least so many microseconds between two messages of a lane; 0: no limit.
    pub interval_us: u32,
    /// What the connection published itself is to be passed over.
    pub skips_own: bool,
}

impl Wishes {
    /// `max_hz` as an interval; nothing for what is no rate.
    pub fn new(max_hz: Option<f64>, echo: Option<bool>) -> Self {
        let interval_us = match max_hz {
            Some(hz) if hz > 0.0 => (1_000_000.0 / hz).min(3_600_000_000.0) as u32,
            _ => 0,
        };
        Self { interval_us, skips_own: echo == Some(false) }
    }

    /// True if there are any.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

/// Ties a cursor to its connection.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The stream.
    pub stream: u32,
    /// The cursor's place in [`Stream::subs`].
    pub index: u32,
    /// The membership.
    pub membership: u32,
    /// The next link of the same connection and priority, in a ring.
    pub next: u32,
    /// The next link of the same membership, or [`NONE`].
    pub sibling: u32,
    /// Number of its [`Special`], or [`NONE`].
    pub special: u32,
    /// The host was told that this cursor lags.
    pub was_warned: bool,
}

/// What only some cursors have: a debt of a gap notice, or wishes of their own.
#[derive(Clone, Copy, Debug)]
pub struct Special {
    /// A gap notice that is owed before anything is sent: first and last message lost, and why.
    pub owed: Option<(u64, u64, GapReason)>,
    /// At least so long between two messages, in nanoseconds; 0: no limit.
    pub interval_ns: u64,
    /// When the next message may be sent, in the driver's time.
    pub next_ns: u64,
    /// The moment for which it is queued among the paced, if it is.
    pub queued_ns: u64,
    /// What the connection published itself is passed over.
    pub skips_own: bool,
}

impl Special {
    /// True if the cursor looks at each frame before it is sent.
    pub fn is_picking(&self) -> bool {
        self.interval_ns > 0 || self.skips_own
    }
}

impl Membership {
    /// A membership with no lanes yet.
    pub fn new(slot: u32, topic: u32, index: u32) -> Self {
        Self {
            slot,
            topic,
            index,
            next: NONE,
            links: NONE,
            interest: u16::MAX,
            must_announce: false,
            is_literal: false,
        }
    }
}
