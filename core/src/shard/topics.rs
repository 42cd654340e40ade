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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{BlockPool, Frame, FramePayload, Referrer};
    use crate::types::{ConnectionId, Kind};

    /// A log from number 5 on of frames of so many bytes, each of so many messages.
    fn log(frames: &[(usize, u32)]) -> (Log, BlockPool) {
        let (mut log, mut pool) = (Log::new(5, 64 << 10, Referrer::Derived), BlockPool::new(64 << 10));
        for &(len, count) in frames {
            let frame = Frame {
                seq: log.next_seq(),
                count,
                time_ns: 0,
                expiry_ns: 0,
                key: 0,
                origin: ConnectionId::HOST,
                is_sender_excluded: false,
                kind: Kind::Binary,
                header: &[],
                payload: FramePayload::Copied(&vec![7; len]),
                tail: &[],
            };
            assert!(log.append(&frame, &mut pool));
        }
        (log, pool)
    }

    fn cursors(subs: &[Sub]) -> Cursors {
        Cursors { subs: subs.to_vec(), links: (0..).take(subs.len()).collect(), partials: 0 }
    }

    #[test]
    fn each_protocol_has_its_form_and_what_is_packed_is_packed_once() {
        for (protocol, plain, deflated, encoding) in [
            (Protocol::Raw, Form::Raw, Form::RawDeflate, Encoding::Raw),
            (Protocol::JsonV1, Form::Json, Form::JsonDeflate, Encoding::Json),
            (Protocol::MsgpackV1, Form::Msgpack, Form::MsgpackDeflate, Encoding::Msgpack),
            (Protocol::BatchV1, Form::Batch, Form::BatchDeflate, Encoding::Batch),
        ] {
            assert_eq!(
                (Form::of(protocol, false), plain.packing(), plain.encoding()),
                (plain, Packing::Plain, encoding)
            );
            let packed = (Form::of(protocol, true), deflated.packing(), deflated.encoding());
            assert_eq!(packed, (deflated, Packing::Deflate, encoding));
        }
        for deflate in [false, true] {
            assert_eq!(Form::of(Protocol::BatchV1Lz4, deflate), Form::BatchLz4);
        }
        assert_eq!((Form::BatchLz4.packing(), Form::BatchLz4.encoding()), (Packing::Lz4, Encoding::Batch));
    }

    #[test]
    fn a_cursor_is_plain_at_a_frame_s_beginning_unless_it_is_set_aside() {
        let mut sub = Sub::new(3, 9, false);
        assert!(sub.is_plain() && sub.partial() == 0);
        sub.set_partial(70_000);
        assert!(!sub.is_plain() && sub.partial() == 70_000);
        for aside in [true, true, false, true] {
            sub.set_aside(aside);
            assert!(!sub.is_plain() && sub.partial() == 70_000, "{sub:?}");
        }
        sub.set_partial(0);
        assert!(!sub.is_plain() && sub.partial() == 0, "it is still set aside");
        sub.set_partial(1);
        sub.set_aside(false);
        sub.set_partial(0);
        assert!(sub.is_plain());
        let aside = Sub::new(3, 9, true);
        assert!(!aside.is_plain() && aside.partial() == 0 && (aside.slot, aside.seq) == (3, 9));
    }

    #[test]
    fn cursors_inside_a_frame_are_counted() {
        let mut cursors = cursors(&[Sub::new(0, 5, false), Sub::new(1, 5, true), Sub::new(2, 5, false)]);
        for (index, seq, partial, partials) in [
            (0, 6, 10, 1),
            (1, 6, 1, 2),
            (1, 6, 2, 2),
            (2, 7, 0, 2),
            (0, 7, 0, 1),
            (2, 8, 3, 2),
            (2, 9, 0, 1),
            (1, 7, 0, 0),
        ] {
            cursors.place(index, seq, partial);
            let sub = cursors.subs[index];
            assert_eq!((sub.seq, sub.partial(), cursors.partials), (seq, partial, partials));
        }
        assert!(!cursors.subs[1].is_plain(), "set aside as before");
    }

    #[test]
    fn a_cursor_at_an_offset_is_in_the_frame_that_holds_it() {
        // Numbers 5, 6 to 8, 9.
        let (log, _pool) = log(&[(10, 1), (20, 3), (5, 1)]);
        for (offset, seq, partial) in
            [(0, 5, 0), (1, 5, 1), (9, 5, 9), (10, 6, 0), (29, 6, 19), (30, 9, 0), (34, 9, 4), (35, 10, 0)]
        {
            let mut cursors = cursors(&[Sub::new(0, 5, false)]);
            assert_eq!(cursors.place_at(&log, 0, offset), seq - 5, "messages that it is past, at {offset}");
            assert_eq!((cursors.subs[0].seq, cursors.subs[0].partial()), (seq, partial), "at {offset}");
        }
        let mut cursors = cursors(&[Sub::new(0, 7, false)]);
        assert_eq!(cursors.place_at(&log, 0, 12), 0, "it had messages 5 and 6 and gets them again");
        assert_eq!(cursors.place_at(&log, 0, 35), 4);
    }

    #[test]
    fn behind_what_a_cursor_is_in_the_middle_of_is_behind_the_whole_frame() {
        let (log, _pool) = log(&[(10, 1), (20, 3), (5, 1)]);
        let mut stream = Stream::new(log, 2, Form::Batch, 100);
        for (seq, partial, next) in [(5, 0, 5), (5, 3, 6), (6, 0, 6), (6, 7, 9), (7, 0, 7), (9, 1, 10), (10, 0, 10)] {
            let mut sub = Sub::new(0, seq, true);
            sub.set_partial(partial);
            assert_eq!(stream.next_boundary(&sub), next);
        }
        assert_eq!((stream.taken_seq(), stream.built_from, stream.is_in_use()), (10, 10, true));
        let mut bytes = Vec::new();
        let entry = stream.log.last().unwrap();
        let head = crate::proto::batch::BatchHead {
            topic_id: TopicId(1),
            priority: Priority::Normal,
            kind: Kind::Binary,
            first_seq: 10,
        };
        let mut encoder = BatchEncoder::begin(&mut bytes, head, Default::default());
        for seq in [10, 11] {
            encoder.push(&mut bytes, seq, Kind::Binary, 0, b"message").unwrap();
        }
        stream.open = Some(Box::new(OpenBatch { encoder, bytes, first_seq: 10, first: entry, due_ns: 0 }));
        assert_eq!(stream.taken_seq(), 12, "with those that are in the open batch");
        stream.is_active = true;
        stream.retire();
        assert!(!stream.is_in_use() && !stream.is_active && stream.open.is_none());
    }

    #[test]
    fn only_wishes_that_change_something_are_wishes() {
        for (max_hz, echo, is_any) in [
            (None, None, false),
            (None, Some(true), false),
            (None, Some(false), true),
            (Some(2.0), None, true),
            (Some(0.0), None, false),
        ] {
            assert_eq!(Wishes::new(max_hz, echo).is_any(), is_any, "{max_hz:?} {echo:?}");
        }
        let of = |hz| Wishes::new(Some(hz), None).interval_us;
        assert_eq!([of(2.0), of(1_000_000.0), of(f64::NAN), of(-1.0)], [500_000, 1, 0, 0]);
        assert_eq!(of(1e-12), 3_600_000_000, "an hour at most");
    }

    #[test]
    fn a_debt_alone_makes_no_cursor_look_at_each_frame() {
        let owing = Special {
            owed: Some((1, 2, GapReason::Retention)),
            interval_ns: 0,
            next_ns: 0,
            queued_ns: 0,
            skips_own: false,
        };
        assert!(!owing.is_picking());
        assert!(Special { interval_ns: 1, ..owing }.is_picking());
        assert!(Special { skips_own: true, ..owing }.is_picking());
    }
}
