//! Derived logs: the same messages in another form, built from the source log once, shared by all who want that form.
//!
//! They follow their source turn by turn. When somebody needs older messages than a derived log was built from, it is built
//! again from the source's floor, a bounded piece each turn; after that it covers whatever the source covers.

use super::Shard;
use super::table::NONE;
use super::topics::{Encoding, Form, OpenBatch, Packing, Stream};
use crate::driver::Driver;
use crate::ingest::Payload;
use crate::log::{Entry, Frame, FramePayload, Log, Place, Referrer};
use crate::proto::batch::{BatchEncoder, BatchHead, BatchLimits};
use crate::proto::compress::Compressed;
use crate::proto::encoder;
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::proto::{json, msgpack};
use crate::types::{Kind, Priority};

/// A rendered frame above this size is kept by reference in the payload pool instead of filling the log's blocks.
const RENDERED_BLOCK_MAX: usize = 64 << 10;
/// Scratch memory kept from turn to turn.
const SCRATCH_KEPT: usize = 256 << 10;
/// Payload bytes rendered for one stream in one turn at most (and one message more).
const DERIVE_BYTES_PER_TURN: usize = 512 << 10;
/// A larger message is sent as it is: compressing a MiB takes about 5 ms, in which the shard does nothing else.
const DEFLATE_BYTES_MAX: usize = 1 << 20;
/// The full window of permessage-deflate: narrower clients are served uncompressed.
const WINDOW_BITS: u8 = 15;

/// Memory that rendering uses, kept from turn to turn.
#[derive(Default)]
pub struct Scratch {
    /// The frame: room for its header, then what is rendered.
    rendered: Vec<u8>,
    /// The same, compressed.
    packed: Vec<u8>,
    /// A payload that does not lie in one piece.
    payload: Vec<u8>,
}

impl Scratch {
    fn shrink(&mut self) {
        for buffer in [&mut self.rendered, &mut self.packed, &mut self.payload] {
            if buffer.capacity() > SCRATCH_KEPT {
                *buffer = Vec::new();
            }
        }
    }
}

impl<D: Driver> Shard<D> {
    /// Brings the derived logs of all lanes that grew nearer to their sources.
    pub(super) fn derive_grown(&mut self) {
        let mut grown = std::mem::take(&mut self.grown);
        let mut behind = std::mem::take(&mut self.still_growing);
        for &lane in &grown {
            self.lanes[lane].has_grown = false;
            for form in 1..self.lanes[lane].streams.len() {
                let id = self.lanes[lane].streams[form];
                if id == NONE {
                    continue;
                }
                if self.streams[id].cursors.subs.is_empty() {
                    // Nobody listens any more, and it can be built again.
                    self.lanes[lane].streams[form] = NONE;
                    self.free_stream(id);
                    continue;
                }
                let is_done = self.derive(id);
                self.activate(id);
                if !is_done && !std::mem::replace(&mut self.lanes[lane].has_grown, true) {
                    behind.push(lane);
                }
            }
        }
        grown.clear();
        self.still_growing = grown;
        self.grown = behind;
        self.close_due_batches();
    }

    /// The stream of `lane` in `form`; a derived one is begun at its source's newest frame if it is not there yet.
    pub(super) fn stream(&mut self, lane: u32, form: Form) -> Option<u32> {
        let known = self.lanes[lane].streams[form as usize];
        if known != NONE {
            if form != Form::Raw && self.streams[known].cursors.subs.is_empty() {
                self.derive(known);
            }
            return Some(known);
        }
        let source = &self.streams[self.lanes[lane].streams[Form::Raw as usize]];
        let first = source.log.last().map_or(source.log.next_seq(), |e| e.seq);
        let budget = source.log.budget_bytes();
        let threshold = self.shared.config.compression.threshold_bytes;
        let id = self.streams.insert(Stream::new(Log::new(first, budget, Referrer::Derived), lane, form, threshold))?;
        self.lanes[lane].streams[form as usize] = id;
        #[cfg(any(test, fuzzing))]
        self.trace.on_begun(id);
        self.derive(id);
        Some(id)
    }

    /// Sees to it that a derived log covers the messages from `seq` on, as far as its source does: by building it again, if it
    /// was begun later. What it had and has forgotten for its budget's sake is not brought back.
    pub(super) fn cover(&mut self, id: u32, seq: u64) {
        if self.streams[id].form == Form::Raw || seq >= self.streams[id].built_from {
            return;
        }
        let lane = self.streams[id].lane;
        let floor = self.streams[self.lanes[lane].streams[Form::Raw as usize]].log.floor_seq();
        if floor < self.streams[id].built_from {
            self.rebuild(id);
        }
    }

    /// Begins a derived log anew at its source's floor.
    pub(super) fn rebuild(&mut self, id: u32) {
        let lane = self.streams[id].lane;
        let floor = self.streams[self.lanes[lane].streams[Form::Raw as usize]].log.floor_seq();
        for index in 0..self.streams[id].cursors.subs.len() {
            if self.streams[id].cursors.subs[index].partial() != 0 {
                self.move_rest_out(id, index);
            }
        }
        let Self { streams, pool, .. } = self;
        let stream = &mut streams[id];
        stream.open = None;
        stream.log.restart(floor, pool);
        stream.built_from = floor;
        self.stats.rebuilt += 1;
        #[cfg(any(test, fuzzing))]
        self.trace.on_begun(id);
        if !std::mem::replace(&mut self.lanes[lane].has_grown, true) {
            self.grown.push(lane);
        }
    }

    /// Takes from the source what a derived log does not have yet; a bounded piece. True: it has everything.
    fn derive(&mut self, id: u32) -> bool {
        let lane = self.streams[id].lane;
        let source = self.lanes[lane].streams[Form::Raw as usize];
        let target = self.streams[source].log.next_seq();
        let mut scratch = std::mem::take(&mut self.derive_scratch);
        let mut bytes = 0;
        while self.streams[id].taken_seq() < target && bytes < DERIVE_BYTES_PER_TURN {
            let next = self.streams[id].taken_seq();
            let Some(entry) = self.streams[source].log.entries_from(next).next().copied() else {
                // The source has lost the rest; so has this log.
                self.close_batch(id, &mut scratch);
                self.lose_until(id, target);
                break;
            };
            bytes += entry.len as usize;
            self.stats.encoded += 1;
            #[cfg(any(test, fuzzing))]
            self.trace.on_rendered(id, entry.seq);
            match self.streams[id].form.encoding() {
                Encoding::Batch => self.add_to_batch(id, source, &entry, &mut scratch),
                _ => self.derive_one(id, source, &entry, &mut scratch),
            }
        }
        let is_done = self.streams[id].taken_seq() >= target;
        if is_done && self.streams[id].open.is_some() {
            let topic = self.lanes[lane].topic;
            let window = self.topics[topic as usize].as_ref().map_or(0, |t| t.batch_window_ns);
            let is_urgent = self.lanes[lane].priority == Priority::Critical || window == 0 || self.is_ending();
            if is_urgent {
                self.close_batch(id, &mut scratch);
            }
        }
        scratch.shrink();
        self.derive_scratch = scratch;
        is_done
    }

    /// Renders one message and appends it.
    fn derive_one(&mut self, id: u32, source: u32, entry: &Entry, scratch: &mut Scratch) {
        let Scratch { rendered, packed, payload: pieces } = scratch;
        let lane = &self.lanes[self.streams[id].lane];
        let priority = lane.priority;
        let form = self.streams[id].form;
        let Some(state) = &self.topics[lane.topic as usize] else { return };
        let (bytes, shared) = self.streams[source].log.payload(entry, pieces);
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
                let body = json::Body::of(entry.kind, bytes, &mut self.json);
                json::message_prefix(rendered, &state.escaped, priority, entry.seq, entry.time_ns / 1_000);
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
                let body = json::Body::of(entry.kind, bytes, &mut self.json);
                msgpack::message_prefix(rendered, &state.packed, priority, entry.seq, entry.time_ns / 1_000, &body);
                match shared {
                    Some(payload) if keeps_reference => by_reference = Some(payload.clone()),
                    _ => rendered.extend_from_slice(bytes),
                }
                Opcode::Binary
            }
        };
        let meta = Meta { seq: entry.seq, count: 1, entry: *entry };
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
            let result = self.deflater.compress(body, effort, WINDOW_BITS, packed);
            self.stats.compressed += 1;
            #[cfg(any(test, fuzzing))]
            self.trace.on_compressed(id, meta.seq);
            self.streams[id].advisor.record(body.len(), result);
            if let Compressed::Deflated(_) = result {
                let len = packed.len() - HEADER_BYTES_MAX;
                let start = write_header(packed, opcode, len, true);
                return self.append_rendered(id, meta, packed, start);
            }
        }
        let len = rendered.len() - HEADER_BYTES_MAX;
        let start = write_header(rendered, opcode, len, false);
        self.append_rendered(id, meta, rendered, start);
    }

    fn append_rendered(&mut self, id: u32, meta: &Meta, rendered: &[u8], start: usize) {
        let kept = match rendered.len() > RENDERED_BLOCK_MAX {
            true => self.shared.payloads.copy_from(&rendered[HEADER_BYTES_MAX..]),
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
    fn add_to_batch(&mut self, id: u32, source: u32, entry: &Entry, scratch: &mut Scratch) {
        let travels_alone = entry.key != 0 || entry.expiry_ns != 0 || entry.is_sender_excluded;
        if travels_alone {
            self.close_batch(id, scratch);
        }
        let lane = &self.lanes[self.streams[id].lane];
        let Some(state) = &self.topics[lane.topic as usize] else { return };
        let head = BatchHead { topic_id: state.id, priority: lane.priority, kind: entry.kind, first_seq: entry.seq };
        let due_ns = self.now_ns + state.batch_window_ns;
        let mut pieces = std::mem::take(&mut scratch.payload);
        for _ in 0..2 {
            if !matches!(self.streams[source].log.place(entry.seq), Place::At(now) if now == *entry) {
                // The room for the batch that was just closed was taken from the source: this message is lost.
                break;
            }
            if self.streams[id].open.is_none() {
                let mut bytes = self.batch_buffers.pop().unwrap_or_default();
                let encoder = BatchEncoder::begin(&mut bytes, head, BatchLimits::default());
                self.streams[id].open =
                    Some(Box::new(OpenBatch { encoder, bytes, first_seq: entry.seq, first: *entry, due_ns }));
                self.open_batches.push((due_ns, id));
            }
            let mut open = self.streams[id].open.take();
            let (payload, _) = self.streams[source].log.payload(entry, &mut pieces);
            let joined = open.as_mut().map(|open| {
                let OpenBatch { encoder, bytes, .. } = &mut **open;
                encoder.push(bytes, entry.seq, entry.kind, entry.time_ns, payload).map(|()| encoder.is_full(bytes))
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
    fn close_batch(&mut self, id: u32, scratch: &mut Scratch) {
        let Some(open) = self.streams[id].open.take() else { return };
        let OpenBatch { encoder, mut bytes, first_seq, first, .. } = *open;
        let count = encoder.messages();
        if count > 0 {
            if self.streams[id].form.packing() == Packing::Lz4 {
                let lz4 = &mut self.lz4;
                encoder.finish_lz4(&mut bytes, &mut scratch.packed, |block, out| lz4.compress(block, out));
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
        }
        bytes.clear();
        if bytes.capacity() <= SCRATCH_KEPT && self.batch_buffers.len() < 1_024 {
            self.batch_buffers.push(bytes);
        }
    }

    /// Closes the batches whose time has come.
    fn close_due_batches(&mut self) {
        if self.open_batches.is_empty() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.derive_scratch);
        let now = self.now_ns;
        let is_ending = self.is_ending();
        let mut i = 0;
        while let Some(&(due, id)) = self.open_batches.get(i) {
            // Entries of batches that were closed otherwise are dropped as they are met.
            let open = self.streams[id].is_in_use().then_some(self.streams[id].open.as_ref()).flatten();
            let is_stale = open.is_none_or(|open| open.due_ns != due);
            if !is_stale && due > now && !is_ending {
                i += 1;
                continue;
            }
            self.open_batches.swap_remove(i);
            if !is_stale {
                self.close_batch(id, &mut scratch);
                self.activate(id);
            }
        }
        self.derive_scratch = scratch;
    }

    /// When the next open batch is to be closed.
    pub(super) fn next_batch_due_ns(&self) -> Option<u64> {
        self.open_batches.iter().map(|&(due, _)| due).min()
    }
}

/// What a derived frame's index entry takes over.
struct Meta {
    seq: u64,
    count: u32,
    entry: Entry,
}

impl Meta {
    fn frame<'a>(&self, header: &'a [u8], payload: FramePayload<'a>, tail: &'a [u8]) -> Frame<'a> {
        let Entry { time_ns, expiry_ns, key, origin, kind, is_sender_excluded, .. } = self.entry;
        Frame {
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
        }
    }
}

/// Writes the frame's header right before what is rendered; returns where it begins.
fn write_header(rendered: &mut [u8], opcode: Opcode, payload_len: usize, is_compressed: bool) -> usize {
    let mut header = [0; HEADER_BYTES_MAX];
    let len = encoder::header(&mut header, opcode, payload_len as u64, is_compressed);
    let start = HEADER_BYTES_MAX - len;
    rendered[start..HEADER_BYTES_MAX].copy_from_slice(&header[..len]);
    start
}
