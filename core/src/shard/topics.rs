//! Topics, lanes, streams and the cursors that stand in them: one shard's view.
//!
//! A *stream* is one log (the source, or one derived from it) with the dense array of its subscribers' cursors.
//! A *link* ties a cursor to its connection, a *membership* ties a connection to a topic.

use super::table::NONE;
use crate::config::Retention;
use crate::log::Log;
use crate::types::{Priority, TopicId};

/// The encodings a lane can be sent in. Each has its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// The message itself: the source log.
    Raw = 0,
    /// The `message` object of `fanwire.json.v1`.
    Json = 1,
}

/// Number of [`Form`]s.
pub const FORMS: usize = 2;

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
        self.subs[index].seq - before
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
}

impl Stream {
    /// An empty stream.
    pub fn new(log: Log, lane: u32, form: Form) -> Self {
        Self { log, cursors: Cursors::default(), lane, form, is_active: false }
    }

    /// False once the stream's number is free.
    pub fn is_in_use(&self) -> bool {
        self.lane != NONE
    }

    /// Marks the stream as gone.
    pub fn retire(&mut self) {
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
}

/// A topic as this shard sees it.
#[derive(Debug)]
pub struct TopicState {
    /// Its number, with the count of reuses.
    pub id: TopicId,
    /// Its name.
    pub name: Box<str>,
    /// Its name as a JSON string, quotes included.
    pub escaped: Box<[u8]>,
    /// Lanes by priority; [`NONE`] until the first message.
    pub lanes: [u32; 4],
    /// Memberships of the connections that get it.
    pub members: Vec<u32>,
    /// What new subscribers get first.
    pub retention: Retention,
    /// Budget of each of its logs.
    pub lane_bytes: usize,
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
    /// Links by priority.
    pub links: [u32; 4],
    /// Number of the connection's interest that asked for it, for `subscribed {id}`; [`u16::MAX`] when not known any more.
    pub interest: u16,
    /// `subscribed` is still to be sent; no data before it.
    pub must_announce: bool,
    /// Asked for by its name, not only by a pattern.
    pub is_literal: bool,
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
}

impl Membership {
    /// A membership with no lanes yet.
    pub fn new(slot: u32, topic: u32, index: u32) -> Self {
        Self {
            slot,
            topic,
            index,
            next: NONE,
            links: [NONE; 4],
            interest: u16::MAX,
            must_announce: false,
            is_literal: false,
        }
    }
}
