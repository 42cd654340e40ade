//! One log: a byte stream of finished frames over segments, and an index with one entry a frame.
//!
//! A segment is a pool block or, for a large payload, that payload by reference. Frames may cross segments, so blocks are
//! filled to the last byte. Offsets in the stream are `u64` bytes that never repeat; frames are found by the positions of their
//! messages. Everything before [`Log::floor`] is forgotten.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::attributes::{self, Attributes};
use super::labels::{LABEL_BYTES, Labels};
use super::pool::{BLOCK_BYTES, Block, BlockPool, Referrer};
use super::position::{Edge, Position, Seq};
use crate::ingest::Payload;
use crate::types::{ConnectionId, Kind};

/// What the index knows of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the lane (of the first message, if the frame holds several).
    pub position: Position,
    /// Where the frame begins in the byte stream.
    pub offset: u64,
    /// When it was published: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// When it is worth nothing any more, likewise; 0: never.
    pub expiry_ns: u64,
    /// Conflation key; 0: none.
    pub key: u64,
    /// Who published it.
    pub origin: ConnectionId,
    /// Messages in the frame, whose numbers follow each other.
    pub count: u32,
    /// Length of the whole frame, header included.
    pub len: u32,
    /// Length of the frame's header: the payload is the rest.
    pub header_len: u16,
    /// What the payload is.
    pub kind: Kind,
    /// Its publisher does not want it back: it is passed over for `origin`.
    pub is_sender_excluded: bool,
}

impl Entry {
    /// One past the last message in the frame.
    #[inline]
    pub fn end(&self) -> Position {
        self.position + u64::from(self.count)
    }
}

/// What an index entry costs: charged to the log's budget and to the pool's index allowance.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

/// A frame to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Position (of the first message): above every earlier one.
    pub position: Position,
    /// Its sequence number: above every earlier one, too.
    pub seq: Seq,
    /// Messages in the frame.
    pub count: u32,
    /// Publication time in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// When it is worth nothing any more; 0: never.
    pub expiry_ns: u64,
    /// Conflation key; 0: none.
    pub key: u64,
    /// Who published it.
    pub origin: ConnectionId,
    /// Its publisher does not want it back.
    pub is_sender_excluded: bool,
    /// What the payload is.
    pub kind: Kind,
    /// Bytes before the payload, header included.
    pub header: &'a [u8],
    /// The payload.
    pub payload: FramePayload<'a>,
    /// Bytes after the payload (a JSON envelope's end).
    pub tail: &'a [u8],
    /// What was said of it beyond the payload: kept beside the frame, and no part of it.
    pub attributes: &'a [u8],
}

/// A frame's payload: to be copied, or to be kept by reference.
#[derive(Clone, Copy, Debug)]
pub enum FramePayload<'a> {
    /// Copied into blocks.
    Copied(&'a [u8]),
    /// Kept by reference: becomes a segment of its own.
    Shared(&'a Payload),
}

impl FramePayload<'_> {
    fn len(&self) -> usize {
        match self {
            FramePayload::Copied(bytes) => bytes.len(),
            FramePayload::Shared(payload) => payload.len(),
        }
    }
}

/// Where a message stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The log holds this frame, and the message is in it.
    At(Entry),
    /// The frame is gone (or never was); the next one the log holds is this.
    Before(Entry),
    /// Nothing at or after this position is in the log.
    End,
}

#[derive(Debug)]
enum Memory {
    Block(Block),
    Shared(Payload),
}

#[derive(Debug)]
struct Segment {
    /// Stream offset of the first byte.
    start: u64,
    /// Bytes written.
    len: usize,
    memory: Memory,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Block(block) => &block.bytes()[..self.len],
            Memory::Shared(payload) => payload,
        }
    }

    fn room(&self) -> usize {
        match &self.memory {
            Memory::Block(block) => block.capacity() - self.len,
            Memory::Shared(_) => 0,
        }
    }

    /// Bytes of the payload pool that it keeps from being used again.
    fn referred_bytes(&self) -> usize {
        match &self.memory {
            Memory::Block(_) => 0,
            Memory::Shared(payload) => payload.held_bytes(),
        }
    }

    fn charge(&self) -> usize {
        match &self.memory {
            Memory::Block(block) => block.capacity(),
            Memory::Shared(payload) => payload.len(),
        }
    }
}

/// What a log that holds nothing knows of numbers.
fn labels_at(edge: Edge) -> Option<Box<Labels>> {
    (!edge.is_counted()).then(|| Box::new(Labels::at(edge)))
}

/// See the module's head.
#[derive(Debug)]
pub struct Log {
    segments: VecDeque<Segment>,
    pub(super) index: VecDeque<Entry>,
    head: u64,
    pub(super) next: Position,
    /// Where numbers are not positions.
    pub(super) labels: Option<Box<Labels>>,
    /// Where anything was said of messages.
    attributes: Option<Box<Attributes>>,
    charged: usize,
    budget: usize,
    referrer: Referrer,
    referred: usize,
}

impl Log {
    /// An empty log that goes on at `edge`, of at most `budget` bytes (a single frame above the budget is kept alone).
    pub fn new(edge: Edge, budget: usize, referrer: Referrer) -> Self {
        Self {
            segments: VecDeque::new(),
            index: VecDeque::new(),
            head: 0,
            next: edge.next,
            labels: labels_at(edge),
            attributes: None,
            charged: 0,
            budget,
            referrer,
            referred: 0,
        }
    }

    /// One past the last message appended or skipped.
    #[inline]
    pub fn next(&self) -> Position {
        self.next
    }

    /// The oldest message still held; [`Log::next`] if none is.
    pub fn floor(&self) -> Position {
        self.index.front().map_or(self.next, |e| e.position)
    }

    /// Stream offset one past the last byte.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Memory charged: capacity of all blocks, length of all payloads by reference, and the index.
    pub fn charged_bytes(&self) -> usize {
        self.charged
    }

    /// What its payloads by reference are counted as.
    pub fn referrer(&self) -> Referrer {
        self.referrer
    }

    /// Bytes of the payload pool that it keeps from being used again.
    pub fn referred_bytes(&self) -> usize {
        self.referred
    }

    /// The budget.
    pub fn budget_bytes(&self) -> usize {
        self.budget
    }

    /// Number of frames held.
    #[cfg(test)]
    pub fn frames(&self) -> usize {
        self.index.len()
    }

    /// Number of segments held.
    #[inline]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The newest frame.
    pub fn last(&self) -> Option<Entry> {
        self.index.back().copied()
    }

    /// Bytes between the frame at `position` (or the next one held) and the head.
    pub fn lag_bytes(&self, position: Position) -> u64 {
        match self.place(position) {
            Place::At(entry) | Place::Before(entry) => self.head - entry.offset,
            Place::End => 0,
        }
    }

    /// Bytes of the frames that it holds.
    pub fn held_bytes(&self) -> u64 {
        self.index.front().map_or(0, |first| self.head - first.offset)
    }

    /// The oldest frame at most `lag` bytes behind the head. Never past the newest frame.
    pub fn at_lag(&self, lag: u64) -> Position {
        let from = self.head.saturating_sub(lag);
        let i = self.index.partition_point(|e| e.offset < from).min(self.index.len().saturating_sub(1));
        self.index.get(i).map_or(self.next, |e| e.position)
    }

    /// Bytes of the rest of the frame at `position`, from `partial` on, that lie in blocks: what moving it out would copy.
    pub fn copied_bytes(&self, position: Position, partial: u32) -> usize {
        let Place::At(entry) = self.place(position) else { return 0 };
        let mut copied = 0;
        self.for_each_piece(
            entry.offset + u64::from(partial),
            entry.offset + u64::from(entry.len),
            |bytes, shared, _| {
                copied += if shared.is_none() { bytes.len() } else { 0 };
            },
        );
        copied
    }

    /// What a block of this class is charged when it is full of frames like those that are held, with their entries in the index.
    fn full_bytes(&self, class: usize) -> usize {
        let entries = (self.index.len() * self.entry_bytes()) as u64;
        let block = BLOCK_BYTES[class];
        block + (block as u64 * entries).checked_div(self.held_bytes()).unwrap_or(0) as usize
    }

    fn block_class(&self) -> usize {
        // Small first; never a block above a quarter of the budget, nor one that is charged more than three of them with the entries of its
        // frames, so that forgetting stays fine-grained.
        let by_use = if self.charged < BLOCK_BYTES[1] {
            0
        } else if self.charged < BLOCK_BYTES[2] {
            1
        } else {
            2
        };
        let mut class = by_use;
        while class > 0 && (BLOCK_BYTES[class] > self.budget / 4 || self.full_bytes(class) > self.budget / 4 * 3) {
            class -= 1;
        }
        class
    }

    /// Bytes of frames in a segment of this log, if that is more than an eighth of its budget and it will forget one before it has two more.
    pub fn forgets_soon(&self) -> Option<u64> {
        let class = self.block_class();
        let segment = self.full_bytes(class);
        (segment > self.budget / 8 && self.charged + 2 * segment > self.budget).then_some(BLOCK_BYTES[class] as u64)
    }

    /// True if the next append of `frame` would exceed the budget, so that [`Log::forget_oldest`] should go first.
    pub fn is_over_budget_with(&self, frame: &Frame<'_>) -> bool {
        let said = if frame.attributes.is_empty() { 0 } else { attributes::charge(frame.attributes.len()) };
        self.charged + self.need(frame) + self.entry_bytes() + said > self.budget
    }

    /// True if more is charged than the budget allows: a single frame above it was followed by another.
    pub fn is_over_budget(&self) -> bool {
        self.charged > self.budget
    }

    /// Memory that appending `frame` would newly charge, in blocks of the size that is due now.
    fn need(&self, frame: &Frame<'_>) -> usize {
        let room = self.segments.back().map_or(0, Segment::room);
        if let FramePayload::Copied(bytes) = frame.payload
            && frame.header.len() + bytes.len() + frame.tail.len() <= room
        {
            return 0;
        }
        let unit = BLOCK_BYTES[self.block_class()];
        match frame.payload {
            FramePayload::Copied(bytes) => {
                let len = frame.header.len() + bytes.len() + frame.tail.len();
                len.saturating_sub(room).div_ceil(unit) * unit
            }
            FramePayload::Shared(payload) => {
                let head = frame.header.len().saturating_sub(room).div_ceil(unit) * unit;
                let tail = frame.tail.len().div_ceil(unit) * unit;
                head + payload.len() + tail
            }
        }
    }

    /// Appends a frame as most are, in one look: it is copied, follows the last one, fits into what is left of the last block and
    /// of the budget, and has no more than its entry. False: it is another one, and nothing is changed.
    #[must_use]
    #[inline(always)]
    pub fn append_plain(&mut self, frame: &Frame<'_>, pool: &mut BlockPool) -> bool {
        let offset = self.head;
        let is_within = self.charged + ENTRY_BYTES <= self.budget;
        if !is_within || frame.position != self.next || !self.is_plain(frame) || !pool.charge_index(ENTRY_BYTES) {
            return false;
        }
        if !self.write_within_block(frame) {
            pool.release_index(ENTRY_BYTES);
            return false;
        }
        self.note(frame, offset);
        true
    }

    /// Whether a frame takes no more of the index than its entry.
    #[inline]
    fn is_plain(&self, frame: &Frame<'_>) -> bool {
        self.is_counted() && frame.seq.0 == frame.position.0 && frame.attributes.is_empty()
    }

    /// Appends a frame. On a dry pool, or when too much is referred to, nothing is changed and `false` is returned: free something,
    /// or [`Log::skip_to`] behind it.
    ///
    /// # Panics
    /// If `frame.position` is below [`Log::next`] (positions only grow), or its number not above those before it.
    #[must_use]
    pub fn append(&mut self, frame: &Frame<'_>, pool: &mut BlockPool) -> bool {
        assert!(frame.position >= self.next, "positions only grow");
        let offset = self.head;
        let segments_before = self.segments.len();
        let len_before = self.segments.back().map_or(0, |s| s.len);
        let written = self.write_within_block(frame) || self.write_frame(frame, pool);
        if !written
            || !(if self.is_plain(frame) { pool.charge_index(ENTRY_BYTES) } else { self.charge_more(frame, pool) })
        {
            self.roll_back(offset, segments_before, len_before, pool);
            return false;
        }
        self.note(frame, offset);
        true
    }

    /// Writes the index entry of a frame that begins at `offset`, and has been written.
    #[inline(always)]
    fn note(&mut self, frame: &Frame<'_>, offset: u64) {
        let len = frame.header.len() + frame.payload.len() + frame.tail.len();
        self.index.push_back(Entry {
            position: frame.position,
            offset,
            time_ns: frame.time_ns,
            expiry_ns: frame.expiry_ns,
            key: frame.key,
            origin: frame.origin,
            count: frame.count,
            len: len as u32,
            header_len: frame.header.len() as u16,
            kind: frame.kind,
            is_sender_excluded: frame.is_sender_excluded,
        });
        self.charged += ENTRY_BYTES;
        self.next = frame.position + u64::from(frame.count);
    }

    /// Leaves out what lies before `edge`: whoever has not had it will be told that it is lost. Where numbers are not positions,
    /// the log must be empty.
    pub fn skip_to(&mut self, edge: Edge) {
        assert!(edge.next > self.next, "positions only grow");
        if self.labels.is_some() || !edge.is_counted() {
            assert!(self.index.is_empty() && edge.last >= self.last_seq(), "numbers only grow");
            let counted = Edge::counted(self.next);
            self.labels.get_or_insert_with(|| Box::new(Labels::at(counted))).skip(edge.last);
        }
        self.next = edge.next;
    }

    /// Memory of the index for one frame.
    #[inline]
    fn entry_bytes(&self) -> usize {
        ENTRY_BYTES + if self.labels.is_some() { LABEL_BYTES } else { 0 }
    }

    /// Charges the index for a frame that has more than its entry: a number that is not its position, attributes; and notes them.
    #[cold]
    fn charge_more(&mut self, frame: &Frame<'_>, pool: &mut BlockPool) -> bool {
        let bytes = attributes::charge(frame.attributes.len());
        if !pool.charge_index(bytes) {
            return false;
        }
        let is_counted = self.is_counted() && frame.seq.0 == frame.position.0;
        if !(if is_counted { pool.charge_index(ENTRY_BYTES) } else { self.charge_label(frame, pool) }) {
            pool.release_index(bytes);
            return false;
        }
        self.charged += bytes;
        if bytes > 0 {
            self.attributes.get_or_insert_default().push(frame.position, frame.attributes);
        }
        true
    }

    /// The same of its entry and its number.
    fn charge_label(&mut self, frame: &Frame<'_>, pool: &mut BlockPool) -> bool {
        assert!(frame.seq > self.last_seq(), "numbers only grow");
        if self.labels.is_none() {
            // Those that were positions so far.
            let bytes = self.index.len() * LABEL_BYTES;
            if !pool.charge_index(bytes) {
                return false;
            }
            self.charged += bytes;
            let firsts = self.index.iter().map(|e| e.position);
            self.labels = Some(Box::new(Labels::after_counting(self.floor(), self.next, firsts)));
        }
        if !pool.charge_index(ENTRY_BYTES + LABEL_BYTES) {
            return false;
        }
        self.charged += LABEL_BYTES;
        if let Some(labels) = &mut self.labels {
            labels.push(frame.seq, frame.count);
        }
        true
    }

    /// Writes a frame that is copied and fits into what is left of the last block, as most do. False: it is not, or does not.
    #[inline(always)]
    fn write_within_block(&mut self, frame: &Frame<'_>) -> bool {
        let FramePayload::Copied(payload) = frame.payload else { return false };
        let Some(Segment { len, memory: Memory::Block(block), .. }) = self.segments.back_mut() else { return false };
        let size = frame.header.len() + payload.len() + frame.tail.len();
        let Some(room) = block.bytes_mut().get_mut(*len..).and_then(|room| room.get_mut(..size)) else { return false };
        let (header, room) = room.split_at_mut(frame.header.len());
        match *frame.header {
            // A message's of 126 bytes and more: four bytes are moved, not copied by a call.
            [a, b, c, d] => header.copy_from_slice(&[a, b, c, d]),
            _ => header.copy_from_slice(frame.header),
        }
        let (body, tail) = room.split_at_mut(payload.len());
        // Most frames lack one of the two, and a call that copies nothing is one.
        if !payload.is_empty() {
            body.copy_from_slice(payload);
        }
        if !frame.tail.is_empty() {
            tail.copy_from_slice(frame.tail);
        }
        *len += size;
        self.head += size as u64;
        true
    }

    #[cold]
    fn write_frame(&mut self, frame: &Frame<'_>, pool: &mut BlockPool) -> bool {
        self.write(frame.header, pool)
            && match frame.payload {
                FramePayload::Copied(bytes) => self.write(bytes, pool),
                FramePayload::Shared(payload) => self.refer(payload, pool),
            }
            && self.write(frame.tail, pool)
    }

    fn write(&mut self, mut bytes: &[u8], pool: &mut BlockPool) -> bool {
        while !bytes.is_empty() {
            if self.segments.back().is_none_or(|s| s.room() == 0) {
                let mut class = self.block_class();
                let block = loop {
                    if let Some(block) = pool.take(class, self.referrer) {
                        break block;
                    }
                    if class == 0 {
                        return false;
                    }
                    class -= 1;
                };
                self.charged += block.capacity();
                self.segments.push_back(Segment { start: self.head, len: 0, memory: Memory::Block(block) });
            }
            let Some(segment) = self.segments.back_mut() else { return false };
            let Memory::Block(block) = &mut segment.memory else { return false };
            let n = bytes.len().min(block.capacity() - segment.len);
            block.bytes_mut()[segment.len..segment.len + n].copy_from_slice(&bytes[..n]);
            segment.len += n;
            self.head += n as u64;
            bytes = &bytes[n..];
        }
        true
    }

    fn refer(&mut self, payload: &Payload, pool: &mut BlockPool) -> bool {
        if payload.is_empty() {
            return true;
        }
        if !pool.charge_reference(self.referrer, payload.held_bytes()) {
            return false;
        }
        self.referred += payload.held_bytes();
        self.charged += payload.len();
        self.segments.push_back(Segment {
            start: self.head,
            len: payload.len(),
            memory: Memory::Shared(payload.clone()),
        });
        self.head += payload.len() as u64;
        true
    }

    fn roll_back(&mut self, head: u64, segments: usize, last_len: usize, pool: &mut BlockPool) {
        while self.segments.len() > segments {
            self.release_back(pool);
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.len = last_len;
        }
        self.head = head;
    }

    fn release_back(&mut self, pool: &mut BlockPool) {
        if let Some(segment) = self.segments.pop_back() {
            self.release(segment, pool);
        }
    }

    fn release(&mut self, segment: Segment, pool: &mut BlockPool) {
        self.charged -= segment.charge();
        let referred = segment.referred_bytes();
        self.referred -= referred;
        pool.release_reference(self.referrer, referred);
        if let Memory::Block(block) = segment.memory {
            pool.give_back(block, self.referrer);
        }
    }

    /// The first message that would survive [`Log::forget_oldest`], or `None` if that would touch the newest frame, which is never
    /// forgotten for its budget's sake.
    ///
    /// Cursors inside a frame below it must be served from elsewhere first.
    pub fn survivor_of_forgetting(&self) -> Option<Position> {
        let end = self.segments.front()?.end();
        let i = self.index.partition_point(|e| e.offset < end);
        self.index.get(i).map(|e| e.position)
    }

    /// Forgets the oldest segment with every frame that begins in it.
    pub fn forget_oldest(&mut self, pool: &mut BlockPool) {
        if self.survivor_of_forgetting().is_none() {
            return;
        }
        let Some(segment) = self.segments.pop_front() else { return };
        let end = segment.end();
        self.release(segment, pool);
        let entry_bytes = self.entry_bytes();
        while let Some(entry) = self.index.pop_front_if(|e| e.offset < end) {
            self.charged -= entry_bytes;
            pool.release_index(entry_bytes);
            if let Some(labels) = &mut self.labels {
                labels.pop(entry.count);
            }
        }
        self.forget_attributes(self.floor(), pool);
        // What follows may be only the rest of a frame that is now forgotten.
        if let Some(first) = self.index.front() {
            let keep_from = first.offset;
            while let Some(segment) = self.segments.pop_front_if(|s| s.end() <= keep_from) {
                self.release(segment, pool);
            }
        }
    }

    /// Begins anew at `edge`, which may be before what it had: for a derived log that is built again.
    pub fn restart(&mut self, edge: Edge, pool: &mut BlockPool) {
        self.clear(pool);
        self.next = edge.next;
        self.labels = labels_at(edge);
    }

    fn forget_attributes(&mut self, floor: Position, pool: &mut BlockPool) {
        if let Some(attributes) = &mut self.attributes {
            let bytes = attributes.forget_before(floor);
            self.charged -= bytes;
            pool.release_index(bytes);
        }
    }

    /// What was said of the message at `position`; nothing, if it is not held. Copied to `scratch` where it does not lie in one piece.
    #[cfg(any(test, fuzzing))]
    pub fn attributes<'a>(&'a self, position: Position, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        self.attributes.as_ref().map_or(&[], |attributes| attributes.of(position, scratch))
    }

    /// The first frame published at `time_ns` or later.
    pub fn at_time(&self, time_ns: u64) -> Position {
        let i = self.index.partition_point(|e| e.time_ns < time_ns);
        self.index.get(i).map_or(self.next, |e| e.position)
    }

    /// Forgets everything; positions and numbers go on.
    pub fn clear(&mut self, pool: &mut BlockPool) {
        while !self.segments.is_empty() {
            self.release_back(pool);
        }
        let index_bytes = self.index.len() * self.entry_bytes();
        pool.release_index(index_bytes);
        self.charged -= index_bytes;
        self.index.clear();
        self.forget_attributes(Position::END, pool);
        if let Some(labels) = &mut self.labels {
            labels.clear();
        }
        debug_assert_eq!(self.charged, 0);
    }

    /// Where the message at `position` stands.
    #[inline]
    pub fn place(&self, position: Position) -> Place {
        let Some(first) = self.index.front() else { return Place::End };
        if position >= self.next {
            return Place::End;
        }
        // Single messages without a hole, the usual case, are found without a search.
        let guess = position.0.saturating_sub(first.position.0);
        if let Some(entry) = self.index.get(guess as usize)
            && entry.position == position
        {
            return Place::At(*entry);
        }
        let i = self.index.partition_point(|e| e.end() <= position);
        match self.index.get(i) {
            Some(entry) if entry.position <= position => Place::At(*entry),
            Some(entry) => Place::Before(*entry),
            None => Place::End,
        }
    }

    /// The frame that holds stream offset `offset` (which must be at or above the floor and below the head).
    pub fn entry_at_offset(&self, offset: u64) -> Option<Entry> {
        let i = self.index.partition_point(|e| e.offset <= offset);
        i.checked_sub(1).and_then(|i| self.index.get(i)).copied()
    }

    /// Frames from `position` on, oldest first.
    pub fn entries_from(&self, position: Position) -> impl DoubleEndedIterator<Item = &Entry> {
        let i = self.index.partition_point(|e| e.end() <= position);
        self.index.range(i..)
    }

    #[inline(always)]
    fn segment_at(&self, offset: u64) -> usize {
        // Most cursors stand in the last segment.
        match self.segments.back() {
            Some(last) if offset >= last.start => self.segments.len() - 1,
            _ => self.segments.partition_point(|s| s.end() <= offset),
        }
    }

    /// Appends the memory of `[from, to)` to `parts`, at most `parts_max` parts in all and `bytes_max` bytes; returns the
    /// number of bytes added.
    pub fn gather<'a, const N: usize>(
        &'a self,
        from: u64,
        to: u64,
        bytes_max: usize,
        parts: &mut arrayvec::ArrayVec<IoSlice<'a>, N>,
    ) -> usize {
        let mut offset = from;
        let end = to.min(from + bytes_max as u64);
        let mut i = self.segment_at(from);
        while offset < end && !parts.is_full() {
            let Some(segment) = self.segments.get(i) else { break };
            let begin = (offset - segment.start) as usize;
            let stop = ((end - segment.start) as usize).min(segment.len);
            if begin < stop {
                parts.push(IoSlice::new(&segment.bytes()[begin..stop]));
                offset = segment.start + stop as u64;
            }
            i += 1;
        }
        (offset - from) as usize
    }

    /// The contiguous memory at `from`, up to `to`: the hot path's single part.
    #[inline(always)]
    pub fn run(&self, from: u64, to: u64, bytes_max: usize) -> &[u8] {
        let Some(segment) = self.segments.get(self.segment_at(from)) else { return &[] };
        let begin = (from - segment.start) as usize;
        let stop = ((to - segment.start) as usize).min(segment.len).min(begin + bytes_max);
        &segment.bytes()[begin..stop]
    }

    /// Calls `piece` with the memory of `[from, to)` in order; payloads by reference come with the payload itself.
    pub fn for_each_piece<'a>(
        &'a self,
        from: u64,
        to: u64,
        mut piece: impl FnMut(&'a [u8], Option<&'a Payload>, usize),
    ) {
        let mut offset = from;
        let mut i = self.segment_at(from);
        while offset < to {
            let Some(segment) = self.segments.get(i) else { return };
            let begin = (offset - segment.start) as usize;
            let stop = ((to - segment.start) as usize).min(segment.len);
            if begin < stop {
                let shared = match &segment.memory {
                    Memory::Shared(payload) => Some(payload),
                    Memory::Block(_) => None,
                };
                piece(&segment.bytes()[begin..stop], shared, begin);
                offset = segment.start + stop as u64;
            }
            i += 1;
        }
    }

    /// What is behind a frame's header, and the payload itself if that is all and kept by reference. Where it does not lie in one
    /// piece, `scratch` is filled with it.
    pub fn payload<'a>(&'a self, entry: &Entry, scratch: &'a mut Vec<u8>) -> (&'a [u8], Option<&'a Payload>) {
        let from = entry.offset + entry.header_len as u64;
        let to = entry.offset + entry.len as u64;
        if from == to {
            return (&[], None);
        }
        if let Some(segment) = self.segments.get(self.segment_at(from))
            && segment.end() >= to
        {
            let begin = (from - segment.start) as usize;
            let bytes = &segment.bytes()[begin..begin + (to - from) as usize];
            let shared = match &segment.memory {
                // It is a segment of its own: this is all of it.
                Memory::Shared(payload) => Some(payload),
                Memory::Block(_) => None,
            };
            return (bytes, shared);
        }
        scratch.clear();
        self.for_each_piece(from, to, |bytes, _, _| scratch.extend_from_slice(bytes));
        (scratch, None)
    }
}
