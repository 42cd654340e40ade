//! A *stream*: one log (the source, or one derived from it) with the dense array of the cursors that stand in it.

use super::form::Form;
use super::lane::Lane;
use super::rendering::Rendering;
use crate::log::{Entry, Log, Place, Position, Seq};
use crate::proto::batch::BatchEncoder;
use crate::proto::compress::Advisor;
use crate::shard::table::NONE;

/// A cursor: where one connection stands in one stream.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// The next message to be sent (or being sent).
    pub position: Position,
    /// The connection.
    pub slot: u32,
    /// Bytes of its frame already sent (28 bits), and the bits below. Zero is the hot pass's only question.
    bits: u32,
}

impl Cursor {
    /// Set where the hot pass must leave the cursor alone: its connection has several cursors, or something unusual pending.
    const GATHERED: u32 = 1 << 31;
    /// Set where a latency budget is to be used: the cursor is visited when its moment has come.
    const DELAYED: u32 = 1 << 30;
    /// Set while it waits for that.
    const WAITING: u32 = 1 << 29;
    const SENT: u32 = (1 << 28) - 1;

    /// A cursor that stands before the frame at `position`.
    pub fn new(slot: u32, position: Position, gathered: bool) -> Self {
        Self { position, slot, bits: if gathered { Self::GATHERED } else { 0 } }
    }

    /// The same with a latency budget.
    pub fn delayed(mut self) -> Self {
        self.bits |= Self::DELAYED;
        self
    }

    /// True where the hot pass may send for this cursor without looking at its connection.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.bits == 0
    }

    /// True where the cursor has a latency budget.
    #[inline]
    pub fn is_delayed(&self) -> bool {
        self.bits & Self::DELAYED != 0
    }

    /// True while it waits for its moment.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.bits & Self::WAITING != 0
    }

    /// True where nothing but its moment keeps it out of the hot pass.
    #[inline]
    pub fn is_plain_but_delayed(&self) -> bool {
        self.bits & !(Self::DELAYED | Self::WAITING) == 0
    }

    /// It waits for its moment, or that has come.
    pub fn set_waiting(&mut self, waiting: bool) {
        self.bits = self.bits & !Self::WAITING | if waiting { Self::WAITING } else { 0 };
    }

    /// Bytes of its frame already sent.
    pub fn sent_bytes(&self) -> u32 {
        self.bits & Self::SENT
    }

    /// Takes the cursor out of the hot pass, or gives it back.
    pub fn set_gathered(&mut self, gathered: bool) {
        self.bits = self.bits & !Self::GATHERED | if gathered { Self::GATHERED } else { 0 };
    }

    fn set_sent(&mut self, sent: u32) {
        self.bits = self.bits & !Self::SENT | sent;
    }
}

/// The cursors of one stream, apart from its log so that the log can be borrowed while they move.
#[derive(Debug, Default)]
pub struct Cursors {
    /// Dense, unordered.
    pub all: Vec<Cursor>,
    /// The link of each cursor, index by index with `all`, apart because the hot pass never needs it.
    pub links: Vec<u32>,
    /// Cursors in the middle of a frame.
    pub half_sent: u32,
}

impl Cursors {
    /// Moves the cursor at `index`, keeping count of those inside a frame.
    pub fn place(&mut self, index: usize, position: Position, sent: u32) {
        let cursor = &mut self.all[index];
        match (cursor.sent_bytes() != 0, sent != 0) {
            (false, true) => self.half_sent += 1,
            (true, false) => self.half_sent -= 1,
            _ => {}
        }
        cursor.position = position;
        cursor.set_sent(sent);
    }

    /// Moves the cursor at `index` to offset `offset` of `log`; returns the number of messages that it is past by that.
    pub fn place_at(&mut self, log: &Log, index: usize, offset: u64) -> u64 {
        let before = self.all[index].position;
        if offset == log.head() {
            self.place(index, log.next(), 0);
        } else if let Some(entry) = log.entry_at_offset(offset) {
            self.place(index, entry.position, (offset - entry.offset) as u32);
        }
        self.all[index].position.0.saturating_sub(before.0)
    }
}

/// Cursors asked whether they have all that is in a log, at most.
const ASKED_MAX: usize = 256;

/// One log and its cursors.
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
    /// The message from which a derived log was built: what lies before was never in it.
    pub built_from: Position,
    /// A derived log that nobody works on, for want of room or because it is new: it is built from where it stands when its source
    /// grows, or a cursor wants something of it.
    pub is_asleep: bool,
    /// It was asleep, and has not caught up since: it takes little from others. How often it found no room since then.
    pub woken: Option<u8>,
    /// When something was added to a derived log, in the driver's time.
    pub filled_ns: u64,
    /// Whether compression pays, for a derived log that is packed.
    pub advisor: Advisor,
    /// The large message that is being rendered for a derived log.
    pub rendering: Option<Box<Rendering>>,
    /// The batch that is being filled, of a derived log of batches.
    pub open: Option<Box<OpenBatch>>,
    /// The hot pass over its cursors.
    pub walk: Walk,
    /// Segments of the log when its place among those that hold most was last looked at.
    pub ranked_segments: u32,
    /// How far its slowest cursor was behind when somebody wanted to know, in parts of a whole budget (`census::FULL`).
    pub behind: u32,
}

/// How far the hot pass over a stream's cursors has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    /// Where it goes on, if a turn's budget did not reach round.
    pub from: usize,
    /// The log's head when it last began.
    pub head: u64,
    /// It has come upon cursors with a latency budget, or may.
    pub is_delaying: bool,
}

/// A batch that is not closed yet. Its messages are not in the log.
#[derive(Debug)]
pub struct OpenBatch {
    /// Writes it.
    pub encoder: BatchEncoder,
    /// The frame's payload so far.
    pub bytes: Vec<u8>,
    /// The first message's number.
    pub first_seq: Seq,
    /// What the source's index says of the first message.
    pub first: Entry,
    /// When it is to be closed, in the driver's time.
    pub due_ns: u64,
}

/// As an advisor takes it.
fn threshold(bytes: usize) -> u32 {
    bytes.try_into().unwrap_or(u32::MAX)
}

impl Stream {
    /// An empty stream.
    pub fn new(log: Log, lane: u32, form: Form, compression_threshold: usize) -> Self {
        Self {
            built_from: log.next(),
            log,
            cursors: Cursors::default(),
            lane,
            form,
            is_active: false,
            is_asleep: form != Form::Raw,
            woken: None,
            filled_ns: 0,
            advisor: Advisor::new(threshold(compression_threshold)),
            rendering: None,
            open: None,
            walk: Walk::default(),
            ranked_segments: 0,
            behind: 0,
        }
    }

    /// Messages from this size on are compressed.
    pub fn compress_from(&mut self, threshold_bytes: usize) {
        self.advisor.compress_from(threshold(threshold_bytes));
    }

    /// False once the stream's number is free.
    pub fn is_in_use(&self) -> bool {
        self.lane != NONE
    }

    /// One past the last message taken from the source: in the log, or in the open batch.
    pub fn taken(&self) -> Position {
        self.open.as_ref().map_or(self.log.next(), |open| open.first.position + u64::from(open.encoder.messages()))
    }

    /// Whether all cursors have all that is in the log; too many to be asked are taken to have not.
    pub fn is_read(&self) -> bool {
        let all = &self.cursors.all;
        all.len() <= ASKED_MAX && all.iter().all(|cursor| cursor.position >= self.log.next())
    }

    /// The first message behind what a cursor is in the middle of.
    pub fn next_boundary(&self, cursor: &Cursor) -> Position {
        match self.log.place(cursor.position) {
            Place::At(entry) if cursor.sent_bytes() != 0 => entry.end(),
            _ => cursor.position,
        }
    }

    /// Cursors before this message are visited whatever their latency budgets are: else they might lose something for that. They are a
    /// third of the log behind (a segment may be forgotten at once, and one turn adds to it: [`Stream::has_grown_much`]), or of what the
    /// log holds where others may take that from it; or the message will have expired.
    pub fn visit_before(&self, lane: &Lane, is_short_of_room: bool) -> Position {
        let bytes = if is_short_of_room { self.log.held_bytes() } else { self.capacity() };
        self.log.at_lag(bytes / 3).max(lane.visit_before)
    }

    /// True if an eighth of the log's budget was added since its cursors were walked.
    pub fn has_grown_much(&self) -> bool {
        self.log.head() - self.walk.head > self.capacity() / 8
    }

    /// Bytes of such frames as it holds for which its log has room: the index and the ends of blocks count as well.
    fn capacity(&self) -> u64 {
        let (held, budget) = (self.log.held_bytes(), self.log.budget_bytes() as u64);
        (held * budget).checked_div(self.log.charged_bytes() as u64).unwrap_or(budget)
    }

    /// Marks the stream as gone.
    pub fn retire(&mut self) {
        self.open = None;
        self.rendering = None;
        self.lane = NONE;
        self.is_active = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{BlockPool, Edge, Frame, FramePayload, Referrer};
    use crate::types::{ConnectionId, Kind, Priority, TopicId};

    /// A log from message 5 on of frames of so many bytes, each of so many messages.
    fn log(frames: &[(usize, u32)]) -> (Log, BlockPool) {
        let (mut log, mut pool) =
            (Log::new(Edge::counted(Position(5)), 64 << 10, Referrer::Derived), BlockPool::new(64 << 10));
        for &(len, count) in frames {
            let frame = Frame {
                position: log.next(),
                seq: log.last_seq().next(),
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
                attributes: &[],
            };
            assert!(log.append(&frame, &mut pool));
        }
        (log, pool)
    }

    fn cursors(all: &[Cursor]) -> Cursors {
        Cursors { all: all.to_vec(), links: (0..).take(all.len()).collect(), half_sent: 0 }
    }

    #[test]
    fn a_cursor_is_plain_at_a_frame_s_beginning_unless_it_is_set_gathered() {
        let mut sub = Cursor::new(3, Position(9), false);
        assert!(sub.is_plain() && sub.sent_bytes() == 0);
        sub.set_sent(70_000);
        assert!(!sub.is_plain() && sub.sent_bytes() == 70_000);
        for gathered in [true, true, false, true] {
            sub.set_gathered(gathered);
            assert!(!sub.is_plain() && sub.sent_bytes() == 70_000, "{sub:?}");
        }
        sub.set_sent(0);
        assert!(!sub.is_plain() && sub.sent_bytes() == 0, "it is still gathered");
        sub.set_sent(1);
        sub.set_gathered(false);
        sub.set_sent(0);
        assert!(sub.is_plain());
        let gathered = Cursor::new(3, Position(9), true);
        assert!(!gathered.is_plain() && gathered.sent_bytes() == 0);
        assert_eq!((gathered.slot, gathered.position), (3, Position(9)));
    }

    #[test]
    fn cursors_inside_a_frame_are_counted() {
        let mut cursors = cursors(
            &[(0, false), (1, true), (2, false)].map(|(slot, gathered)| Cursor::new(slot, Position(5), gathered)),
        );
        for (index, position, sent, half_sent) in [
            (0, 6, 10, 1),
            (1, 6, 1, 2),
            (1, 6, 2, 2),
            (2, 7, 0, 2),
            (0, 7, 0, 1),
            (2, 8, 3, 2),
            (2, 9, 0, 1),
            (1, 7, 0, 0),
        ] {
            cursors.place(index, Position(position), sent);
            let sub = cursors.all[index];
            assert_eq!((sub.position.0, sub.sent_bytes(), cursors.half_sent), (position, sent, half_sent));
        }
        assert!(!cursors.all[1].is_plain(), "gathered as before");
    }

    #[test]
    fn a_cursor_at_an_offset_is_in_the_frame_that_holds_it() {
        // Messages 5, 6 to 8, 9.
        let (log, _pool) = log(&[(10, 1), (20, 3), (5, 1)]);
        for (offset, position, sent) in
            [(0, 5, 0), (1, 5, 1), (9, 5, 9), (10, 6, 0), (29, 6, 19), (30, 9, 0), (34, 9, 4), (35, 10, 0)]
        {
            let mut cursors = cursors(&[Cursor::new(0, Position(5), false)]);
            assert_eq!(cursors.place_at(&log, 0, offset), position - 5, "messages that it is past, at {offset}");
            assert_eq!((cursors.all[0].position.0, cursors.all[0].sent_bytes()), (position, sent), "at {offset}");
        }
        let mut cursors = cursors(&[Cursor::new(0, Position(7), false)]);
        assert_eq!(cursors.place_at(&log, 0, 12), 0, "it had messages 5 and 6 and gets them again");
        assert_eq!(cursors.place_at(&log, 0, 35), 4);
    }

    #[test]
    fn behind_what_a_cursor_is_in_the_middle_of_is_behind_the_whole_frame() {
        let (log, _pool) = log(&[(10, 1), (20, 3), (5, 1)]);
        let mut stream = Stream::new(log, 2, Form::Batch, 100);
        for (position, sent, next) in [(5, 0, 5), (5, 3, 6), (6, 0, 6), (6, 7, 9), (7, 0, 7), (9, 1, 10), (10, 0, 10)] {
            let mut sub = Cursor::new(0, Position(position), true);
            sub.set_sent(sent);
            assert_eq!(stream.next_boundary(&sub), Position(next));
        }
        assert_eq!((stream.taken(), stream.built_from, stream.is_in_use()), (Position(10), Position(10), true));
        let mut bytes = Vec::new();
        let first = Entry { position: Position(10), ..stream.log.last().unwrap() };
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
        stream.open = Some(Box::new(OpenBatch { encoder, bytes, first_seq: Seq(10), first, due_ns: 0 }));
        assert_eq!(stream.taken(), Position(12), "with those that are in the open batch");
        stream.is_active = true;
        stream.retire();
        assert!(!stream.is_in_use() && !stream.is_active && stream.open.is_none());
    }
}
