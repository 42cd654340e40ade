//! Lanes and their logs: the source, the forms derived from it, the cursors that stand in them, and the pool they share.
//!
//! A *lane* is a topic's messages of one priority. Its *source* stream holds raw frames; each *derived* stream holds the same messages
//! in another form. Knows bytes and places. Never knows a connection beyond its slot number in a cursor, nor why somebody listens:
//! what befalls a cursor comes out as an [`Effect`], which the turn hands on.

mod batches;
mod derive;
mod encoder;
mod form;
mod lane;
mod numbers;
mod ranking;
mod rendering;
mod room;
mod stream;

use std::collections::VecDeque;
use std::sync::Arc;

pub use derive::Clock;
pub use form::Form;
pub use lane::Lane;
pub use stream::{Cursor, Cursors, Stream};

use self::batches::Batches;
use self::encoder::Encoder;
use self::ranking::Ranking;
use super::rest::{Rest, RestBudget};
use super::table::{Boxes, NONE};
use super::topics::Keeps;
use crate::config::{Config, SlowPolicy};
use crate::ingest::{Body, PayloadPool, Record};
use crate::log::{BlockPool, Edge, Frame, FramePayload, Log, Position, Referrer, Seq};
use crate::proto::encoder::header;
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::types::{Kind, Priority};

/// In a record's flags: its publisher does not want it back.
pub const FLAG_SENDER_EXCLUDED: u8 = 1;

/// What befell a cursor, or a message, while logs changed.
#[derive(Debug)]
pub enum Effect {
    /// The rest of a half-sent frame is its connection's own from now on.
    Rest {
        /// The connection.
        slot: u32,
        /// The rest.
        rest: Rest,
    },
    /// There was no room for the rest of a half-sent frame: the connection can never be brought back to a frame boundary.
    Cut {
        /// The connection.
        slot: u32,
    },
    /// A cursor has lost messages of a lane whose subscribers lose nothing: [`Lane::is_lossless`].
    Lost {
        /// The connection.
        slot: u32,
        /// The link of the cursor.
        link: u32,
    },
    /// A derived log is not built further before a cursor has all of it: its connection has to look.
    Asleep {
        /// The connection.
        slot: u32,
    },
    /// There was no memory at all for messages.
    Unlogged {
        /// The stream that lacks them.
        stream: u32,
        /// How many.
        messages: u32,
    },
}

/// What a message became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its position.
    pub position: Position,
    /// Its number.
    pub seq: Seq,
}

/// What is counted here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages rendered into derived logs.
    pub encoded: u64,
    /// Compressions done.
    pub compressed: u64,
    /// Bytes that were compressed, before…
    pub compressed_from: u64,
    /// …and after.
    pub compressed_to: u64,
    /// What that has saved, for each cursor that there was.
    pub compression_saved: u64,
    /// Derived logs built again.
    pub rebuilt: u64,
    /// Frames that found no log memory at all.
    pub unlogged: u64,
}

/// See the module's head.
pub struct Lanes {
    lanes: Boxes<Lane>,
    streams: Boxes<Stream>,
    pool: BlockPool,
    /// When derived logs were last seen to, in the driver's time.
    now_ns: u64,
    /// Half-sent frames whose log memory was needed.
    pub rests: RestBudget,
    rank: Rank,
    /// Lanes whose derived logs may be behind, each once.
    grown: VecDeque<u32>,
    /// Streams with news, by priority; also such as had some and are gone: see [`Lanes::has_news`].
    pub active: [Vec<u32>; 4],
    encoder: Encoder,
    batches: Batches,
    effects: Vec<Effect>,
    /// What is counted.
    pub counts: Counts,
    payloads: Arc<PayloadPool>,
    compression_threshold: usize,
    #[cfg(any(test, fuzzing))]
    pub(super) trace: super::trace::Rendered,
}

/// Which logs hold most: of blocks, and of payloads that they refer to, sources and derived logs apart.
#[derive(Debug, Default)]
struct Rank {
    blocks: Ranking,
    /// Derived logs that hold something, as they came to do so.
    derived: Ranking,
    referred: [Ranking; 2],
    /// Steps of making room since they were asked for.
    steps: u32,
    /// See [`Lanes::is_in_haste`].
    haste: bool,
}

impl Lanes {
    /// One shard's part of the engine's memory.
    pub fn new(config: &Config, payloads: Arc<PayloadPool>, shards: usize) -> Self {
        // What logs may refer to of the payload pool. The rest is for what is being received, published and rendered.
        let payload_bytes = config.memory.payload_bytes;
        Self {
            lanes: Boxes::new(),
            streams: Boxes::new(),
            now_ns: 0,
            pool: BlockPool::new(config.memory.pool_bytes / shards)
                .with_referred_limits(payload_bytes / 2, payload_bytes / 8 / shards),
            rests: RestBudget::new(&config.memory, shards),
            rank: Rank::default(),
            grown: VecDeque::new(),
            active: Default::default(),
            encoder: Encoder::default(),
            batches: Batches::default(),
            effects: Vec::new(),
            counts: Counts::default(),
            payloads,
            compression_threshold: config.compression.threshold_bytes,
            #[cfg(any(test, fuzzing))]
            trace: Default::default(),
        }
    }

    /// Messages from this size on are compressed where that was agreed to, in all streams.
    pub fn compress_from(&mut self, threshold_bytes: usize) {
        self.compression_threshold = threshold_bytes;
        self.streams.each_mut(|stream| stream.compress_from(threshold_bytes));
    }

    /// A lane.
    #[inline]
    pub fn lane(&self, lane: u32) -> &Lane {
        &self.lanes[lane]
    }

    /// A stream.
    #[inline]
    pub fn stream(&self, id: u32) -> &Stream {
        &self.streams[id]
    }

    /// A stream whose cursors are to move.
    #[inline]
    pub fn stream_mut(&mut self, id: u32) -> &mut Stream {
        &mut self.streams[id]
    }

    /// The lane that a stream belongs to.
    #[inline]
    pub fn lane_of(&self, stream: u32) -> &Lane {
        &self.lanes[self.streams[stream].lane]
    }

    /// The source of a lane.
    pub fn source(&self, lane: u32) -> &Stream {
        &self.streams[self.lanes[lane].streams[Form::Raw as usize]]
    }

    /// Cursors in all streams of a lane.
    pub fn cursors_in(&self, lane: u32) -> u32 {
        let streams = self.lanes[lane].streams.iter().filter(|stream| **stream != NONE);
        streams.map(|stream| self.streams[*stream].cursors.all.len() as u32).sum()
    }

    /// Places that streams may be in.
    pub fn stream_places(&self) -> u32 {
        self.streams.end()
    }

    /// All streams in use.
    #[cfg(any(test, fuzzing))]
    pub fn streams(&self) -> impl Iterator<Item = (u32, &Stream)> {
        (0..self.streams.end()).map(|id| (id, &self.streams[id])).filter(|(_, s)| s.is_in_use())
    }

    /// Log memory in use.
    pub fn pool_bytes(&self) -> usize {
        self.pool.lent_bytes()
    }

    /// What has befallen cursors and messages since this was asked last, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// True if [`Lanes::take_effects`] has something.
    #[inline]
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Makes a lane with its source. `None`: there is no number left for it.
    pub fn create(&mut self, topic: u32, priority: Priority, keeps: Keeps) -> Option<u32> {
        let mut lane = Lane::new(topic, priority, keeps.policy);
        lane.deliver_within_ms = keeps.deliver_within_ms;
        let lane = self.lanes.insert(lane)?;
        let log = Log::new(Edge::START, keeps.lane_bytes, Referrer::Source);
        let source = self.streams.insert(Stream::new(log, lane, Form::Raw, self.compression_threshold))?;
        self.lanes[lane].streams[Form::Raw as usize] = source;
        Some(lane)
    }

    /// A topic has ended: nothing of its lane is there for anybody any more, though cursors still stand in it. Returns how many cursors
    /// were looked at.
    pub fn silence(&mut self, lane: u32) -> usize {
        let mut looked_at = 0;
        for id in self.lanes[lane].streams.into_iter().filter(|&id| id != NONE) {
            if self.streams[id].cursors.half_sent > 0 {
                looked_at += self.streams[id].cursors.all.len();
                self.move_rests_out(id, Position::END);
            }
            let stream = &mut self.streams[id];
            stream.open = None;
            stream.rendering = None;
            // All cursors are past that.
            stream.log.restart(Edge::START, &mut self.pool);
            stream.built_from = Position::FIRST;
            self.rank(id);
        }
        looked_at
    }

    /// A topic's lane goes, with all its logs. No cursor may stand in them.
    pub fn remove(&mut self, lane: u32) {
        for stream in self.lanes[lane].streams.into_iter().filter(|&s| s != NONE) {
            self.free_stream(stream);
        }
        self.lanes[lane] = Lane::new(NONE, Priority::Low, SlowPolicy::DropOldest);
        self.lanes.remove(lane);
    }

    /// Gives a stream's memory back.
    fn free_stream(&mut self, id: u32) {
        let stream = &mut self.streams[id];
        debug_assert!(stream.cursors.all.is_empty());
        // It may stand among those with news: whoever comes to it there finds that it is not.
        stream.log.clear(&mut self.pool);
        stream.retire();
        self.rank.remove(id);
        self.streams.remove(id);
    }

    /// Appends a message of the ring to its lane's source. `None`: it brings a number that is not above those before it.
    #[inline(always)]
    pub fn append_message(&mut self, lane: u32, policy: SlowPolicy, record: &Record<'_>) -> Option<Appended> {
        let Record { head, body, attributes, .. } = record;
        let opcode = if head.payload_kind == Kind::Binary { Opcode::Binary } else { Opcode::Text };
        let mut bytes = [0; HEADER_BYTES_MAX];
        let header_len = header(&mut bytes, opcode, body.bytes().len() as u64, false);
        let record = &mut self.lanes[lane];
        let source = record.streams[Form::Raw as usize];
        let log = &self.streams[source].log;
        let (position, last) = (log.next(), log.last_seq());
        let seq = if head.seq == 0 { last.next() } else { Seq(head.seq) };
        if seq <= last {
            return None;
        }
        let is_latest = policy == SlowPolicy::Latest;
        record.is_picky |= head.ttl_ms != 0 || is_latest;
        if head.ttl_ms != 0 {
            record.note_ttl(head.ttl_ms, position);
        }
        if is_latest {
            record.keys.note(head.key, position);
        }
        let frame = Frame {
            position,
            seq,
            count: 1,
            time_ns: head.time_ns,
            expiry_ns: if head.ttl_ms == 0 {
                0
            } else {
                head.time_ns.saturating_add(u64::from(head.ttl_ms) * 1_000_000)
            },
            key: head.key,
            origin: head.origin,
            is_sender_excluded: head.flags & FLAG_SENDER_EXCLUDED != 0,
            kind: head.payload_kind,
            header: &bytes[..header_len],
            payload: match body {
                Body::Inline(bytes) => FramePayload::Copied(bytes),
                Body::Shared(payload) => FramePayload::Shared(payload),
            },
            tail: &[],
            attributes,
        };
        if !self.append_at_once(source, &frame) {
            self.append_with_room(source, &frame);
        }
        self.note_grown(lane);
        self.activate(source);
        Some(Appended { position, seq })
    }

    /// See [`Stream::visit_before`].
    pub fn visit_before(&self, id: u32) -> Position {
        let stream = &self.streams[id];
        stream.visit_before(&self.lanes[stream.lane], self.pool.is_dry())
    }

    /// Whoever waits in a lane for the moment of a latency budget is visited next. True: somebody may wait.
    pub fn visit_all(&mut self, lane: u32) -> bool {
        let next = self.source(lane).log.next();
        self.lanes[lane].visit_before = next;
        let mut waits = false;
        for id in self.lanes[lane].streams.into_iter().filter(|&id| id != NONE) {
            if self.streams[id].walk.is_delaying && !self.streams[id].cursors.all.is_empty() {
                waits = true;
                self.activate(id);
            }
        }
        waits
    }

    /// A lane's derived logs may be behind from now on.
    fn note_grown(&mut self, lane: u32) {
        if !std::mem::replace(&mut self.lanes[lane].has_grown, true) {
            self.grown.push_back(lane);
        }
    }

    /// Puts a stream on the list of those with news, if anyone listens.
    fn activate(&mut self, id: u32) {
        let stream = &mut self.streams[id];
        if !stream.is_active && !stream.cursors.all.is_empty() {
            stream.is_active = true;
            let priority = self.lanes[stream.lane].priority;
            self.active[priority as usize].push(id);
        }
    }

    /// True if a stream that stands among those with news of this priority has some, and not another of its number, or none.
    pub fn has_news(&self, id: u32, priority: Priority) -> bool {
        let stream = &self.streams[id];
        stream.is_active && stream.is_in_use() && self.lanes[stream.lane].priority == priority
    }

    /// True if a log whose cursors have latency budgets has grown by much since they were walked: nothing is added before they are.
    #[inline]
    pub fn is_in_haste(&self) -> bool {
        self.rank.haste
    }

    /// Nothing more is to be added before cursors are walked.
    pub fn make_haste(&mut self) {
        self.rank.haste = true;
    }

    /// They are walked now.
    pub fn end_haste(&mut self) {
        self.rank.haste = false;
    }

    /// Whether room was made since [`Lanes::take_room_steps`].
    #[inline]
    pub fn has_room_steps(&self) -> bool {
        self.rank.steps != 0
    }

    /// Steps of making room since this was asked last.
    #[inline]
    pub fn take_room_steps(&mut self) -> u32 {
        std::mem::take(&mut self.rank.steps)
    }

    /// True while derived logs have to catch up.
    pub fn is_behind(&self) -> bool {
        !self.grown.is_empty()
    }

    /// Takes a cursor out of a stream. `keeps_rest`: a frame that it is in the middle of goes to its connection. Returns the link of
    /// the cursor that stands in its place now.
    pub fn remove_cursor(&mut self, id: u32, index: usize, keeps_rest: bool) -> Option<u32> {
        if keeps_rest && self.streams[id].cursors.all[index].sent_bytes() != 0 {
            self.move_rest_out(id, index);
        }
        let cursors = &mut self.streams[id].cursors;
        // Keeps the count of half-sent frames where nothing was moved out.
        let position = cursors.all[index].position;
        cursors.place(index, position, 0);
        cursors.all.swap_remove(index);
        cursors.links.swap_remove(index);
        let moved = cursors.links.get(index).copied();
        let stream = &self.streams[id];
        if stream.cursors.all.is_empty() && stream.form != Form::Raw {
            // It goes, unless somebody comes meanwhile.
            self.note_grown(stream.lane);
        }
        moved
    }

    /// Moves the unsent rests of half-sent frames before message `end` to their connections.
    fn move_rests_out(&mut self, id: u32, end: Position) {
        if self.streams[id].cursors.half_sent == 0 {
            return;
        }
        for index in 0..self.streams[id].cursors.all.len() {
            let cursor = self.streams[id].cursors.all[index];
            if cursor.position < end && cursor.sent_bytes() != 0 {
                self.move_rest_out(id, index);
            }
        }
    }

    /// Moves the unsent rest of the frame under a cursor to its connection, and the cursor behind it. Where there is no room for the
    /// rest, the connection has to go.
    fn move_rest_out(&mut self, id: u32, index: usize) {
        let Stream { log, cursors, .. } = &mut self.streams[id];
        let Cursor { position, slot, .. } = cursors.all[index];
        let sent = cursors.all[index].sent_bytes();
        let effect = match self.rests.take(log, position, sent) {
            Some(rest) => {
                cursors.place(index, rest.behind, 0);
                Effect::Rest { slot, rest }
            }
            None => {
                cursors.place(index, position + 1, 0);
                Effect::Cut { slot }
            }
        };
        self.effects.push(effect);
    }
}
