//! Derived logs: the same messages in another form, built from the source log once, shared by all who want that form.
//!
//! They follow their source turn by turn. When somebody needs older messages than a derived log was built from, it is built
//! again from the source's floor, a bounded piece each turn; after that it covers whatever the source covers.

use super::encoder::Scratch;
use super::form::{Encoding, FORMS, Form, Packing};
use super::rendering::LARGE_BYTES;
use super::stream::{Cursor, OpenBatch, Stream};
use super::{Effect, Lanes, NONE};
use crate::ingest::Payload;
use crate::log::{Edge, Entry, Frame, FramePayload, Log, Place, Position, Referrer, Seq};
use crate::proto::batch::{BatchEncoder, BatchHead, BatchLimits};
use crate::proto::compress::Compressed;
use crate::proto::encoder;
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::proto::{json, msgpack};
use crate::shard::budget::Budget;
use crate::shard::topics::{Topic, Topics};
use crate::types::{Kind, Priority};

/// A rendered frame above this size is kept by reference in the payload pool instead of filling the log's blocks.
const RENDERED_BLOCK_MAX: usize = 64 << 10;
/// A larger message is sent as it is: compressing that much takes above 1 ms, in which the shard does nothing else.
const DEFLATE_BYTES_MAX: usize = LARGE_BYTES;
/// A derived log that was asleep waits so often for room before it takes what others need.
pub(super) const TRIES_MAX: u8 = 16;
/// The full window of permessage-deflate: narrower clients are served uncompressed.
const WINDOW_BITS: u8 = 15;

/// Cursors looked at for a step, where a log is given up.
pub(super) const CURSORS_A_STEP: u32 = 8;

/// What time it is for the logs.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The driver's time.
    pub now_ns: u64,
    /// The engine is ending: nothing waits for its time any more.
    pub is_ending: bool,
}

impl Lanes {
    /// Brings the derived logs of lanes that grew nearer to their sources, as far as the budget goes.
    pub fn derive_grown(&mut self, topics: &Topics, clock: Clock, budget: &mut Budget) {
        self.now_ns = clock.now_ns;
        // What sources have had added stops no derived log: else those would fall behind while it goes on.
        self.end_haste();
        for _ in 0..self.grown.len() {
            if budget.is_spent() {
                return;
            }
            let Some(lane) = self.grown.pop_front() else { return };
            if !std::mem::take(&mut self.lanes[lane].has_grown) {
                // Its topic has ended, or it stands here twice, for another topic.
                budget.spend(1);
                continue;
            }
            let mut is_done = true;
            for form in 1..FORMS {
                let id = self.lanes[lane].streams[form];
                if id == NONE {
                    continue;
                }
                if self.streams[id].cursors.all.is_empty() {
                    // Nobody listens any more, and it can be built again.
                    budget.spend(2);
                    self.lanes[lane].streams[form] = NONE;
                    self.free_stream(id);
                    continue;
                }
                is_done &= self.derive(id, topics, clock, budget);
                self.activate(id);
                if self.rank.haste {
                    // Nothing is added before that is sent, nor given up.
                    is_done = false;
                    break;
                }
            }
            if !is_done {
                self.note_grown(lane);
            }
            if self.rank.haste {
                return;
            }
        }
    }

    /// The stream of `lane` in `form`; a derived one is begun at its source's newest frame if it is not there yet.
    pub fn want(&mut self, lane: u32, form: Form) -> Option<u32> {
        let known = self.lanes[lane].streams[form as usize];
        if known != NONE {
            let stream = &self.streams[known];
            if form != Form::Raw && (stream.is_asleep || stream.cursors.all.is_empty()) {
                self.note_grown(lane);
            }
            return Some(known);
        }
        let source = self.source(lane);
        let first = source.log.last().map_or(source.log.next(), |e| e.position);
        let log = Log::new(source.log.edge_before(first), source.log.budget_bytes(), Referrer::Derived);
        let id = self.streams.insert(Stream::new(log, lane, form, self.compression_threshold))?;
        self.lanes[lane].streams[form as usize] = id;
        #[cfg(any(test, fuzzing))]
        self.trace.on_begun(id);
        self.note_grown(lane);
        Some(id)
    }

    /// Puts a cursor into a stream, before the message at `position`, where the hot pass leaves it alone. Returns its place.
    pub fn add_cursor(&mut self, id: u32, link: u32, slot: u32, position: Position, budget_ms: u16) -> u32 {
        let cursor = Cursor::new(slot, position, true);
        if budget_ms > 0 {
            let lane = self.streams[id].lane;
            self.streams[id].walk.is_delaying = true;
            self.lanes[lane].budget_ms_max = self.lanes[lane].budget_ms_max.max(budget_ms);
        }
        let cursors = &mut self.streams[id].cursors;
        cursors.all.push(if budget_ms > 0 { cursor.delayed() } else { cursor });
        cursors.links.push(link);
        cursors.all.len() as u32 - 1
    }

    /// Sees to it that a derived log covers the messages from `position` on, as far as its source does: by building it again, if it
    /// was begun later. What it had and has forgotten for its budget's sake is not brought back.
    pub fn cover(&mut self, id: u32, position: Position) {
        if self.streams[id].form == Form::Raw || position >= self.streams[id].built_from {
            return;
        }
        let lane = self.streams[id].lane;
        let floor = self.source(lane).log.floor();
        if floor < self.streams[id].built_from {
            self.rebuild(id);
        }
    }

    /// Begins a derived log anew at its source's floor.
    pub fn rebuild(&mut self, id: u32) {
        let lane = self.streams[id].lane;
        let floor = self.source(lane).log.floor();
        self.begin_anew(id, floor);
        self.note_grown(lane);
    }

    /// Gives up what a derived log holds, for want of room. Nobody loses anything by it: it is built again from the first message that
    /// one of its cursors has not had, or the newest.
    pub fn put_to_sleep(&mut self, id: u32) {
        self.note_asleep(id);
        self.rank.steps += 4 + self.streams[id].cursors.all.len() as u32 / CURSORS_A_STEP;
        let stream = &self.streams[id];
        let source = &self.source(stream.lane).log;
        let (floor, end) = (source.floor(), source.next());
        // Who comes wants the newest message; but what is in a batch comes to all once more.
        let is_batch = stream.form.encoding() == Encoding::Batch;
        let newest = source.last().filter(|_| !is_batch).map_or(end, |entry| entry.position);
        let first = stream.cursors.all.iter().fold(newest, |first, cursor| first.min(stream.next_boundary(cursor)));
        self.begin_anew(id, first.max(floor).min(stream.log.next()));
        self.rank.derived.remove(id);
    }

    /// Nobody works on a derived log until its source grows or a cursor wants more than there is: those that do are told to look.
    fn note_asleep(&mut self, id: u32) {
        let stream = &self.streams[id];
        let end = self.source(stream.lane).log.next();
        let behind = stream.cursors.all.iter().filter(|cursor| stream.next_boundary(cursor) < end);
        self.effects.extend(behind.map(|cursor| Effect::Asleep { slot: cursor.slot }));
        self.streams[id].is_asleep = true;
    }

    /// Finds no room for more of a derived log that was asleep: it waits. False: there is nothing to wait for.
    pub(super) fn wait_for_room(&mut self, id: u32) -> bool {
        let stream = &mut self.streams[id];
        match &mut stream.woken {
            Some(tries) if *tries < TRIES_MAX => *tries += 1,
            _ => return false,
        }
        if stream.log.segments() > 0 && !stream.is_read() {
            // What there is goes out first.
            self.note_asleep(id);
            #[cfg(any(test, fuzzing))]
            self.trace.on_paused(id, self.streams[id].log.next());
            return true;
        }
        let is_alone = self.rank.first_derived().is_none_or(|other| other == id);
        if stream.log.segments() == 0 && is_alone {
            return false;
        }
        self.put_to_sleep(id);
        true
    }

    fn begin_anew(&mut self, id: u32, first: Position) {
        self.move_rests_out(id, Position::END);
        self.remember_numbers(id, Position::END);
        let edge = Edge { next: first, last: self.seq_before(id, first) };
        let stream = &mut self.streams[id];
        stream.open = None;
        stream.rendering = None;
        stream.log.restart(edge, &mut self.pool);
        stream.built_from = first;
        self.rank(id);
        self.counts.rebuilt += 1;
        #[cfg(any(test, fuzzing))]
        self.trace.on_begun(id);
    }

    /// A cursor looks at its log: one that was given up is built again if there is something in it for the cursor.
    #[inline]
    pub fn wake(&mut self, id: u32, index: usize) {
        if self.streams[id].is_asleep {
            self.wake_for(id, index);
        }
    }

    #[cold]
    fn wake_for(&mut self, id: u32, index: usize) {
        let stream = &self.streams[id];
        if stream.cursors.all[index].position < self.source(stream.lane).log.next() {
            self.note_grown(stream.lane);
        }
    }

    /// Takes from the source what a derived log does not have yet; a bounded piece. True: it has everything.
    fn derive(&mut self, id: u32, topics: &Topics, clock: Clock, budget: &mut Budget) -> bool {
        let lane = self.streams[id].lane;
        let source = self.lanes[lane].streams[Form::Raw as usize];
        let target = self.streams[source].log.next();
        let Some(topic) = topics.get(self.lanes[lane].topic) else { return true };
        let stream = &mut self.streams[id];
        if std::mem::take(&mut stream.is_asleep) {
            stream.woken.get_or_insert(0);
        }
        let is_empty = stream.woken.is_some() && stream.log.segments() == 0;
        if is_empty && self.pool.is_dry() && !self.make_room_for(id) && self.wait_for_room(id) {
            return true;
        }
        self.streams[id].filled_ns = clock.now_ns;
        let mut scratch = std::mem::take(&mut self.encoder.scratch);
        while self.streams[id].taken() < target && !self.streams[id].is_asleep && !self.rank.haste && !budget.is_spent()
        {
            let next = self.streams[id].taken();
            let Some(entry) = self.streams[source].log.entries_from(next).next().copied() else {
                // The source has lost the rest; so has this log.
                self.close_batch(id, &mut scratch);
                self.lose_until(id, self.streams[source].log.end());
                break;
            };
            if entry.len as usize > LARGE_BYTES
                && let Some(is_there) = self.derive_large(id, topic, &entry, &mut scratch, budget)
            {
                if !is_there {
                    break;
                }
                continue;
            }
            budget.spend(2 + entry.len / self.streams[id].form.bytes_a_step());
            self.counts.encoded += 1;
            #[cfg(any(test, fuzzing))]
            self.trace.on_rendered(id, entry.position);
            match self.streams[id].form.encoding() {
                Encoding::Batch => self.add_to_batch(id, topic, &entry, clock, &mut scratch),
                _ => self.derive_one(id, topic, &entry, &mut scratch),
            }
            budget.spend(self.take_room_steps());
        }
        let is_done = self.streams[id].taken() >= target;
        if is_done && self.streams[id].open.is_some() {
            let window = topic.keeps.batch_window_ns;
            let is_urgent = self.lanes[lane].priority == Priority::Critical || window == 0 || clock.is_ending;
            if is_urgent {
                self.close_batch(id, &mut scratch);
            }
        }
        // Not before the first message: the room that was made for it would be another's in the next turn.
        budget.spend(self.take_room_steps());
        scratch.shrink();
        self.encoder.scratch = scratch;
        self.note_caught_up(id);
        is_done || self.streams[id].is_asleep
    }

    /// A derived log that was asleep is like any other once it has caught up.
    fn note_caught_up(&mut self, id: u32) {
        let stream = &self.streams[id];
        if stream.woken.is_some() && !stream.is_asleep && stream.log.next() >= self.source(stream.lane).log.next() {
            self.streams[id].woken = None;
        }
    }

    /// Renders one message and appends it.
    fn derive_one(&mut self, id: u32, topic: &Topic, entry: &Entry, scratch: &mut Scratch) {
        let Scratch { rendered, packed, payload: pieces } = scratch;
        let lane = &self.lanes[self.streams[id].lane];
        let (priority, source) = (lane.priority, lane.streams[Form::Raw as usize]);
        let form = self.streams[id].form;
        let log = &self.streams[source].log;
        let seq = log.seq_of(entry.position).unwrap_or_default();
        let (bytes, shared) = log.payload(entry, pieces);
        // Room for the frame's header, which depends on what is rendered behind it.
        rendered.clear();
        rendered.resize(HEADER_BYTES_MAX, 0);
        let mut tail: &[u8] = b"";
        let mut by_reference: Option<Payload> = None;
        let keeps_reference = form.packing() == Packing::Plain;
        let opcode = match form.encoding() {
            Encoding::Raw => {
                rendered.extend_from_slice(bytes);
                if entry.kind == Kind::Binary { Opcode::Binary } else { Opcode::Text }
            }
            Encoding::Json => {
                let body = json::Body::of(entry.kind, bytes, &mut self.encoder.json);
                let named = (&*topic.name, topic.is_plain);
                json::message_prefix_of(rendered, named, priority, seq.0, entry.time_ns / 1_000);
                match (&body, shared) {
                    // A large JSON payload stands in the envelope as it is: keep it by reference.
                    (json::Body::Json(_), Some(payload)) if keeps_reference => {
                        by_reference = Some(payload.clone());
                        tail = json::message_suffix(body.kind());
                    }
                    _ => {
                        json::message_data(rendered, &body);
                        rendered.extend_from_slice(json::message_suffix(body.kind()));
                    }
                }
                Opcode::Text
            }
            Encoding::Msgpack | Encoding::Batch => {
                let body = json::Body::of(entry.kind, bytes, &mut self.encoder.json);
                msgpack::message_prefix(rendered, &topic.name, priority, seq.0, entry.time_ns / 1_000, &body);
                match shared {
                    Some(payload) if keeps_reference => by_reference = Some(payload.clone()),
                    _ => rendered.extend_from_slice(bytes),
                }
                Opcode::Binary
            }
        };
        let meta = Meta { seq, count: 1, entry: *entry };
        match by_reference {
            Some(payload) => {
                let len = rendered.len() - HEADER_BYTES_MAX + payload.len() + tail.len();
                let start = write_header(rendered, opcode, len, false);
                let frame = meta.frame(&rendered[start..], FramePayload::Shared(&payload), tail);
                self.append(id, &frame);
            }
            None => self.pack_and_append(id, opcode, &meta, rendered, packed),
        }
    }

    /// Appends what is rendered behind the room for the header, compressed where that pays.
    fn pack_and_append(&mut self, id: u32, opcode: Opcode, meta: &Meta, rendered: &mut [u8], packed: &mut Vec<u8>) {
        let body = &rendered[HEADER_BYTES_MAX..];
        if self.streams[id].form.packing() == Packing::Deflate
            && body.len() <= DEFLATE_BYTES_MAX
            && let Some(effort) = self.streams[id].advisor.advise(body)
        {
            packed.clear();
            packed.resize(HEADER_BYTES_MAX, 0);
            let result = self.encoder.deflater.compress(body, effort, WINDOW_BITS, packed);
            self.counts.compressed += 1;
            #[cfg(any(test, fuzzing))]
            self.trace.on_compressed(id, meta.entry.position);
            self.streams[id].advisor.record(body.len(), result);
            if let Compressed::Deflated(_) = result {
                let len = packed.len() - HEADER_BYTES_MAX;
                self.note_compressed(id, body.len(), len);
                let start = write_header(packed, opcode, len, true);
                return self.append_rendered(id, meta, packed, start);
            }
        }
        let len = rendered.len() - HEADER_BYTES_MAX;
        let start = write_header(rendered, opcode, len, false);
        self.append_rendered(id, meta, rendered, start);
    }

    fn note_compressed(&mut self, id: u32, from: usize, to: usize) {
        self.counts.compressed_from += from as u64;
        self.counts.compressed_to += to as u64;
        self.counts.compression_saved += (from.saturating_sub(to) * self.streams[id].cursors.all.len()) as u64;
    }

    fn append_rendered(&mut self, id: u32, meta: &Meta, rendered: &[u8], start: usize) {
        let kept = match rendered.len() > RENDERED_BLOCK_MAX {
            true => self.payloads.copy_from(&rendered[HEADER_BYTES_MAX..]),
            false => None,
        };
        let frame = match &kept {
            Some(payload) => meta.frame(&rendered[start..HEADER_BYTES_MAX], FramePayload::Shared(payload), b""),
            None => meta.frame(&rendered[start..], FramePayload::Copied(b""), b""),
        };
        self.append(id, &frame);
    }

    /// Adds a message to the open batch; closes it first if the message cannot join, and after it if it travels alone or the
    /// batch is full.
    fn add_to_batch(&mut self, id: u32, topic: &Topic, entry: &Entry, clock: Clock, scratch: &mut Scratch) {
        let travels_alone = entry.key != 0 || entry.expiry_ns != 0 || entry.is_sender_excluded;
        if travels_alone {
            self.close_batch(id, scratch);
        }
        let lane = &self.lanes[self.streams[id].lane];
        let source = lane.streams[Form::Raw as usize];
        let seq = self.streams[source].log.seq_of(entry.position).unwrap_or_default();
        let head = BatchHead { topic_id: topic.id, priority: lane.priority, kind: entry.kind, first_seq: seq.0 };
        let due_ns = clock.now_ns + topic.keeps.batch_window_ns;
        let mut pieces = std::mem::take(&mut scratch.payload);
        for _ in 0..2 {
            if self.streams[id].is_asleep {
                // There was no room for the batch that was just closed: this message waits with it.
                break;
            }
            if !matches!(self.streams[source].log.place(entry.position), Place::At(now) if now == *entry) {
                // The room for the batch that was just closed was taken from the source: this message is lost.
                break;
            }
            if self.streams[id].open.is_none() {
                let mut bytes = self.batches.open(id, due_ns);
                let encoder = BatchEncoder::begin(&mut bytes, head, BatchLimits::default());
                self.streams[id].open =
                    Some(Box::new(OpenBatch { encoder, bytes, first_seq: seq, first: *entry, due_ns }));
            }
            let mut open = self.streams[id].open.take();
            let (payload, _) = self.streams[source].log.payload(entry, &mut pieces);
            let joined = open.as_mut().map(|open| {
                let OpenBatch { encoder, bytes, .. } = &mut **open;
                encoder.push(bytes, seq.0, entry.kind, entry.time_ns, payload).map(|()| encoder.is_full(bytes))
            });
            self.streams[id].open = open;
            match joined {
                Some(Ok(is_full)) => {
                    if is_full || travels_alone {
                        self.close_batch(id, scratch);
                    }
                    break;
                }
                _ => self.close_batch(id, scratch),
            }
        }
        scratch.payload = pieces;
    }

    /// Closes the open batch of a stream, if there is one: it becomes a frame of the log.
    pub(super) fn close_batch(&mut self, id: u32, scratch: &mut Scratch) {
        let Some(open) = self.streams[id].open.take() else { return };
        let OpenBatch { encoder, mut bytes, first_seq, first, .. } = *open;
        let count = encoder.messages();
        if count > 0 {
            if self.streams[id].form.packing() == Packing::Lz4 {
                let (lz4, plain) = (&mut self.encoder.lz4, bytes.len());
                encoder.finish_lz4(&mut bytes, &mut scratch.packed, |block, out| lz4.compress(block, out));
                self.note_compressed(id, plain, bytes.len());
            } else {
                encoder.finish(&mut bytes);
            }
            let meta = Meta { seq: first_seq, count, entry: first };
            let mut rendered = std::mem::take(&mut scratch.rendered);
            rendered.clear();
            rendered.resize(HEADER_BYTES_MAX, 0);
            rendered.extend_from_slice(&bytes);
            self.pack_and_append(id, Opcode::Binary, &meta, &mut rendered, &mut scratch.packed);
            scratch.rendered = rendered;
            self.note_caught_up(id);
        }
        self.batches.close(bytes);
    }

    /// Closes the batches whose time has come, as far as the budget goes.
    pub fn close_due_batches(&mut self, clock: Clock, budget: &mut Budget) {
        let until = if clock.is_ending { u64::MAX } else { clock.now_ns };
        while !budget.is_spent()
            && let Some((due, id)) = self.batches.pop_due(until)
        {
            // Entries of batches that were closed otherwise are dropped as they are met.
            let stream = &self.streams[id];
            let open = stream.is_in_use().then_some(stream.open.as_ref()).flatten();
            let Some(open) = open.filter(|open| open.due_ns == due) else {
                budget.spend(1);
                continue;
            };
            budget.spend(2 + open.bytes.len() as u32 / stream.form.bytes_a_step());
            let mut scratch = std::mem::take(&mut self.encoder.scratch);
            self.close_batch(id, &mut scratch);
            self.encoder.scratch = scratch;
            self.activate(id);
        }
    }

    /// When the next open batch is to be closed.
    pub fn next_batch_due_ns(&self) -> Option<u64> {
        self.batches.next_due_ns()
    }
}

/// What a derived frame's index entry takes over.
pub(super) struct Meta {
    pub seq: Seq,
    pub count: u32,
    pub entry: Entry,
}

impl Meta {
    pub fn frame<'a>(&self, header: &'a [u8], payload: FramePayload<'a>, tail: &'a [u8]) -> Frame<'a> {
        let Entry { position, time_ns, expiry_ns, key, origin, kind, is_sender_excluded, .. } = self.entry;
        Frame {
            position,
            seq: self.seq,
            count: self.count,
            time_ns,
            expiry_ns,
            key,
            origin,
            is_sender_excluded,
            kind,
            header,
            payload,
            tail,
            attributes: &[],
        }
    }
}

/// Writes the frame's header right before what is rendered; returns where it begins.
pub(super) fn write_header(rendered: &mut [u8], opcode: Opcode, payload_len: usize, is_compressed: bool) -> usize {
    let mut header = [0; HEADER_BYTES_MAX];
    let len = encoder::header(&mut header, opcode, payload_len as u64, is_compressed);
    let start = HEADER_BYTES_MAX - len;
    rendered[start..HEADER_BYTES_MAX].copy_from_slice(&header[..len]);
    start
}
