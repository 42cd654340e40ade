//! `fanwire.batch.v1`: many messages of one lane in one binary frame.
//!
//! Knows the byte layout, when a batch must be closed, and how to read one back without trust. Never knows WebSocket
//! frames, time or how blocks are compressed: LZ4 comes in as a function.
//!
//! All integers are little-endian. The head, 24 bytes:
//!
//! | at | field | |
//! | --- | --- | --- |
//! | 0 | `version u8` | 1 |
//! | 1 | `kind u8` | 1 data, 2 control; a client ignores other kinds |
//! | 2 | `flags u8` | bit 0: the block is LZ4; bits 1–2: payload kind 0 text, 1 binary, 2 JSON; others 0 |
//! | 3 | `priority u8` | 0 critical, 1 high, 2 normal, 3 low |
//! | 4 | `topic_id u32` | as in `subscribed` |
//! | 8 | `first_seq u64` | of the first message; the others follow without a hole |
//! | 16 | `raw_size u32` | bytes of the block before LZ4 |
//! | 20 | `reserved u32` | 0, ignored by the reader |
//!
//! The block of a data frame is `message_count u32`, `total_size u32` (bytes of all that follows it, so `raw_size` − 8), then
//! for each message `timestamp u64` (nanoseconds since 1970), `priority u8` (that of the head), `data_size u32` and the payload.
//! The block of a control frame is one JSON object of `fanwire.json.v1`, never LZ4; its head has payload kind JSON and zeros in `priority`,
//! `topic_id` and `first_seq`.

use crate::{Kind, Priority, TopicId};
use thiserror::Error;

/// The subprotocol's name.
pub const PROTOCOL: &str = "fanwire.batch.v1";
/// The subprotocol's name when the client wants LZ4 blocks.
pub const PROTOCOL_LZ4: &str = "fanwire.batch.v1+lz4";
/// Bytes in front of the block.
pub const HEAD_BYTES: usize = 24;
/// Bytes of a data block in front of its messages.
pub const BLOCK_HEAD_BYTES: usize = 8;
/// Bytes in front of each payload.
pub const RECORD_HEAD_BYTES: usize = 13;
/// Largest payload that fits a batch, alone in it: the sizes are 32 bits.
pub const PAYLOAD_BYTES_MAX: usize = u32::MAX as usize - BLOCK_HEAD_BYTES - RECORD_HEAD_BYTES;

const VERSION: u8 = 1;
const KIND_DATA: u8 = 1;
const KIND_CONTROL: u8 = 2;
const FLAG_LZ4: u8 = 1;
const KIND_SHIFT: u8 = 1;
const FLAGS_KNOWN: u8 = 0b111;

/// Appends the frame of a message that is alone in its batch, up to its payload, which must follow as it is and has at most
/// [`PAYLOAD_BYTES_MAX`] bytes.
pub fn alone(out: &mut Vec<u8>, head: BatchHead, timestamp_ns: u64, payload_bytes: usize) {
    let start = out.len();
    let priority = head.priority as u8;
    let encoder = BatchEncoder::begin(out, head, BatchLimits::default());
    out.extend_from_slice(&timestamp_ns.to_le_bytes());
    out.push(priority);
    out.extend_from_slice(&(payload_bytes as u32).to_le_bytes());
    let block = (BLOCK_HEAD_BYTES + RECORD_HEAD_BYTES + payload_bytes) as u32;
    BatchEncoder { messages: 1, ..encoder }.write_sizes(&mut out[start..], block);
}

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most messages in a batch.
    pub messages_max: u32,
    /// Most bytes of a batch's block, before LZ4. A single message may exceed it, alone in its batch.
    pub block_bytes_max: u32,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { messages_max: 50, block_bytes_max: 64 * 1024 }
    }
}

/// What all messages of a batch have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// The topic.
    pub topic_id: TopicId,
    /// The lane.
    pub priority: Priority,
    /// What the payloads are.
    pub kind: Kind,
    /// The first message's number.
    pub first_seq: u64,
}

/// Why a message cannot join an open batch: close it and begin another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MustClose {
    /// The batch has all the messages it may have.
    Messages,
    /// The block would be too large.
    Bytes,
    /// The sequence number does not follow the last one.
    Jump,
    /// The payload is of another kind.
    Kind,
}

/// A batch being written at the end of a buffer. The buffer may be moved and grow, but what is in it must stay.
#[derive(Debug)]
pub struct BatchEncoder {
    head: BatchHead,
    limits: BatchLimits,
    /// Where the frame begins in the buffer.
    start: usize,
    messages: u32,
}

impl BatchEncoder {
    /// Opens a batch at the end of `out`.
    pub fn begin(out: &mut Vec<u8>, head: BatchHead, limits: BatchLimits) -> Self {
        let start = out.len();
        let flags = (head.kind as u8) << KIND_SHIFT;
        out.extend_from_slice(&[VERSION, KIND_DATA, flags, head.priority as u8]);
        out.extend_from_slice(&head.topic_id.0.to_le_bytes());
        out.extend_from_slice(&head.first_seq.to_le_bytes());
        // `raw_size`, `reserved`, `message_count`, `total_size`: known when the batch is closed.
        out.extend_from_slice(&[0; 8 + BLOCK_HEAD_BYTES]);
        BatchEncoder { head, limits, start, messages: 0 }
    }

    /// Whether a message may join. The first one always may, whatever its size.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, out: &[u8], seq: u64, kind: Kind, payload_bytes: usize) -> Result<(), MustClose> {
        if kind != self.head.kind {
            return Err(MustClose::Kind);
        }
        if self.head.first_seq.checked_add(self.messages.into()) != Some(seq) {
            return Err(MustClose::Jump);
        }
        if self.messages == 0 {
            return if payload_bytes <= PAYLOAD_BYTES_MAX { Ok(()) } else { Err(MustClose::Bytes) };
        }
        if self.messages >= self.limits.messages_max {
            return Err(MustClose::Messages);
        }
        let block = self.block_bytes(out).saturating_add(RECORD_HEAD_BYTES).saturating_add(payload_bytes);
        if block > self.limits.block_bytes_max as usize {
            return Err(MustClose::Bytes);
        }
        Ok(())
    }

    /// Adds a message to the batch at the end of `out`, the buffer that it was begun in.
    ///
    /// # Errors
    /// Why it cannot join; nothing is then written.
    pub fn push(
        &mut self,
        out: &mut Vec<u8>,
        seq: u64,
        kind: Kind,
        timestamp_ns: u64,
        payload: &[u8],
    ) -> Result<(), MustClose> {
        self.admits(out, seq, kind, payload.len())?;
        out.reserve(RECORD_HEAD_BYTES + payload.len());
        out.extend_from_slice(&timestamp_ns.to_le_bytes());
        out.push(self.head.priority as u8);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(payload);
        self.messages += 1;
        Ok(())
    }

    /// How many messages the batch has.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// Whether no further message can join, so that waiting for one is of no use.
    pub fn is_full(&self, out: &[u8]) -> bool {
        self.messages >= self.limits.messages_max
            || self.block_bytes(out) + RECORD_HEAD_BYTES > self.limits.block_bytes_max as usize
    }

    /// Bytes of the block so far.
    fn block_bytes(&self, out: &[u8]) -> usize {
        out.len().saturating_sub(self.start + HEAD_BYTES)
    }

    /// Closes the batch: the frame is what stands in `out` from where it was begun. An empty batch leaves nothing.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.messages == 0 {
            out.truncate(self.start);
            return;
        }
        // The first message's size was checked and all others fit `block_bytes_max`, so this is below 2^32.
        let block = self.block_bytes(out) as u32;
        self.write_sizes(&mut out[self.start..], block);
    }

    fn write_sizes(&self, frame: &mut [u8], block: u32) {
        let sizes = &mut frame[16..HEAD_BYTES + BLOCK_HEAD_BYTES];
        sizes[..4].copy_from_slice(&block.to_le_bytes());
        sizes[8..12].copy_from_slice(&self.messages.to_le_bytes());
        sizes[12..].copy_from_slice(&(block - BLOCK_HEAD_BYTES as u32).to_le_bytes());
    }

    /// Closes the batch as [`BatchEncoder::finish`] does, and compresses its block if that makes it smaller.
    ///
    /// `compress` appends the LZ4 form of its first argument to its second, or returns `false` if it cannot or need not (the
    /// block is below a threshold). `scratch` is cleared and reused. Returns whether the block is compressed.
    pub fn finish_lz4(
        self,
        out: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
        compress: impl FnOnce(&[u8], &mut Vec<u8>) -> bool,
    ) -> bool {
        let start = self.start;
        self.finish(out);
        let Some(block) = out.get(start + HEAD_BYTES..) else { return false };
        scratch.clear();
        if !compress(block, scratch) || scratch.len() >= block.len() {
            return false;
        }
        out.truncate(start + HEAD_BYTES);
        out.extend_from_slice(scratch);
        out[start + 2] |= FLAG_LZ4;
        true
    }
}

/// Appends a control frame around `object`, one JSON object of at most 4 GiB (they have some hundred bytes).
pub fn control(out: &mut Vec<u8>, object: &[u8]) {
    let start = control_begin(out);
    out.extend_from_slice(object);
    control_finish(out, start);
}

/// Appends the head of a control frame, whose object is to be appended next; for [`control_finish`].
pub fn control_begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut head = [0; HEAD_BYTES];
    head[..3].copy_from_slice(&[VERSION, KIND_CONTROL, (Kind::Json as u8) << KIND_SHIFT]);
    out.extend_from_slice(&head);
    start
}

/// Completes the control frame that was begun at `start`.
pub fn control_finish(out: &mut [u8], start: usize) {
    let block = out.len().saturating_sub(start + HEAD_BYTES) as u32;
    if let Some(size) = out.get_mut(start + 16..start + 20) {
        size.copy_from_slice(&block.to_le_bytes());
    }
}

/// The JSON object of a client's control frame; `None` for a kind that this version does not know.
///
/// # Errors
/// What is wrong with the frame.
pub fn control_of(frame: &[u8]) -> Result<Option<&str>, BatchError> {
    match control_bytes_of(frame)? {
        Some(object) => std::str::from_utf8(object).map(Some).map_err(|_| BatchError::Control),
        None => Ok(None),
    }
}

/// The same, but the object is not known to be UTF-8.
///
/// # Errors
/// As [`control_of`].
pub fn control_bytes_of(frame: &[u8]) -> Result<Option<&[u8]>, BatchError> {
    if frame.len() >= HEAD_BYTES && frame[0] == VERSION && frame[1] == KIND_CONTROL && frame[2] & FLAG_LZ4 == 0 {
        let object = &frame[HEAD_BYTES..];
        let declared = Cursor(&frame[16..]).u32();
        if declared.is_none_or(|size| size as usize != object.len()) {
            return Err(BatchError::Sizes);
        }
        return Ok(Some(object));
    }
    match frame {
        [VERSION, KIND_DATA | KIND_CONTROL, ..] => Err(BatchError::Control),
        [VERSION, _, ..] if frame.len() >= HEAD_BYTES => Ok(None),
        [VERSION, ..] | [] => Err(BatchError::Short { bytes: frame.len() }),
        [version, ..] => Err(BatchError::Version(*version)),
    }
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Messages.
    Data(Batch<'a>),
    /// One JSON object, for [`super::json::server::parse`].
    Control(&'a str),
    /// Of a kind that this version does not know: to be ignored.
    Unknown,
}

/// A batch that was checked from end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// What the messages have in common.
    pub head: BatchHead,
    messages: u32,
    records: &'a [u8],
}

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    /// Its number in the lane.
    pub seq: u64,
    /// When it was published, nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// The payload, as it was published.
    pub payload: &'a [u8],
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Shorter than a head.
    #[error("the frame has {bytes} bytes, a head alone has {HEAD_BYTES}")]
    Short {
        /// The frame's length.
        bytes: usize,
    },
    /// Another version.
    #[error("version {0} is not known")]
    Version(u8),
    /// Flags that this version does not know, or payload kind 3.
    #[error("flags {0:#04x} are not known")]
    Flags(u8),
    /// No such priority.
    #[error("priority {0} does not exist")]
    Priority(u8),
    /// The block is or would become larger than the reader permits.
    #[error("a block of {bytes} bytes is more than the {max} permitted")]
    TooLarge {
        /// Bytes of the block.
        bytes: usize,
        /// Bytes permitted.
        max: usize,
    },
    /// The block is not LZ4, or of another size than the head says.
    #[error("the block cannot be decompressed to the size in the head")]
    Lz4,
    /// The sizes in the frame do not agree.
    #[error("the sizes in the frame do not agree")]
    Sizes,
    /// A batch without messages.
    #[error("the batch has no messages")]
    Empty,
    /// The sequence numbers pass 2^64.
    #[error("the sequence numbers overflow")]
    Sequence,
    /// A control frame that is not text, or is compressed.
    #[error("the control frame is not plain JSON text")]
    Control,
}

impl<'a> Batch<'a> {
    /// The messages, in order. They were checked, so none is missing.
    pub fn messages(&self) -> impl Iterator<Item = BatchMessage<'a>> + use<'a> {
        let mut records = Cursor(self.records);
        let first_seq = self.head.first_seq;
        (0..u64::from(self.messages)).map_while(move |n| {
            let timestamp_ns = records.u64()?;
            records.u8()?;
            let size = records.u32()?;
            Some(BatchMessage { seq: first_seq + n, timestamp_ns, payload: records.take(size as usize)? })
        })
    }

    /// How many messages there are, at least 1.
    pub fn message_count(&self) -> u32 {
        self.messages
    }
}

/// Reads a frame. Nothing in it is trusted; of its block at most `block_bytes_max` bytes are taken or produced.
///
/// For a compressed block, `decompress` is given the block, the exact size to produce and a cleared `scratch` to append to; it
/// returns whether it could, and must append no more than that size.
///
/// # Errors
/// What is wrong with the frame.
pub fn decode<'a>(
    frame: &'a [u8],
    block_bytes_max: usize,
    scratch: &'a mut Vec<u8>,
    decompress: impl FnOnce(&[u8], usize, &mut Vec<u8>) -> bool,
) -> Result<Frame<'a>, BatchError> {
    let Some((head, block)) = frame.split_at_checked(HEAD_BYTES) else {
        return Err(BatchError::Short { bytes: frame.len() });
    };
    if head[0] != VERSION {
        return Err(BatchError::Version(head[0]));
    }
    let (frame_kind, flags) = (head[1], head[2]);
    if frame_kind != KIND_DATA && frame_kind != KIND_CONTROL {
        return Ok(Frame::Unknown);
    }
    let kind = Kind::from_u8((flags & FLAGS_KNOWN) >> KIND_SHIFT).filter(|_| flags & !FLAGS_KNOWN == 0);
    let kind = kind.ok_or(BatchError::Flags(flags))?;
    let priority = Priority::from_u8(head[3]).ok_or(BatchError::Priority(head[3]))?;
    let mut fields = Cursor(&head[4..]);
    let (Some(topic_id), Some(first_seq), Some(raw_size)) = (fields.u32(), fields.u64(), fields.u32()) else {
        return Err(BatchError::Short { bytes: frame.len() });
    };
    let raw_size = raw_size as usize;
    let bytes = raw_size.max(block.len());
    if bytes > block_bytes_max {
        return Err(BatchError::TooLarge { bytes, max: block_bytes_max });
    }
    let block = if flags & FLAG_LZ4 == 0 {
        block
    } else if frame_kind == KIND_CONTROL {
        return Err(BatchError::Control);
    } else {
        scratch.clear();
        if !decompress(block, raw_size, scratch) || scratch.len() != raw_size {
            return Err(BatchError::Lz4);
        }
        scratch
    };
    if block.len() != raw_size {
        return Err(BatchError::Sizes);
    }
    if frame_kind == KIND_CONTROL {
        return simdutf8::basic::from_utf8(block).map(Frame::Control).map_err(|_| BatchError::Control);
    }
    let head = BatchHead { topic_id: TopicId(topic_id), priority, kind, first_seq };
    check_block(head, block).map(Frame::Data)
}

/// Walks a data block once, so that reading its messages cannot fail.
fn check_block(head: BatchHead, block: &[u8]) -> Result<Batch<'_>, BatchError> {
    let mut cursor = Cursor(block);
    let messages = cursor.u32().ok_or(BatchError::Sizes)?;
    let total_size = cursor.u32().ok_or(BatchError::Sizes)?;
    let records = cursor.0;
    if total_size as usize != records.len() {
        return Err(BatchError::Sizes);
    }
    let last = messages.checked_sub(1).ok_or(BatchError::Empty)?;
    head.first_seq.checked_add(last.into()).ok_or(BatchError::Sequence)?;
    for _ in 0..messages {
        cursor.u64().ok_or(BatchError::Sizes)?;
        let priority = cursor.u8().ok_or(BatchError::Sizes)?;
        if priority != head.priority as u8 {
            return Err(BatchError::Priority(priority));
        }
        let size = cursor.u32().ok_or(BatchError::Sizes)?;
        cursor.take(size as usize).ok_or(BatchError::Sizes)?;
    }
    if !cursor.0.is_empty() {
        return Err(BatchError::Sizes);
    }
    Ok(Batch { head, messages, records })
}

/// What is left of some bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
