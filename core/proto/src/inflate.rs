//! permessage-deflate, client to server: a compressed message, inflated within bounds.
//!
//! Knows the payload format of RFC 7692 section 7.2.2 without context takeover, and zlib-rs. Output grows with what the
//! client really sends, never with what it declares, and stops one byte past the maximum. Never knows frames or
//! negotiation; whether the output is UTF-8 is its caller's question.

use std::borrow::Cow;

use super::close::{CloseCode, Violation};
use flate2::{Decompress, FlushDecompress, Status};

/// The octets that the sender left out (RFC 7692 section 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// An empty final block. Read after the tail, it ends the stream if and only if the message ended with a block.
const END: [u8; 5] = [0x01, 0x00, 0x00, 0xFF, 0xFF];
/// Output is made in pieces of at most this many bytes.
const CHUNK: usize = 16 << 10;
/// What a match may reach back.
pub const WINDOW: usize = 32 << 10;
/// Final blocks in a message that cost nothing but themselves; beyond, one in [`FINAL_BLOCK_BYTES`].
const FINAL_BLOCKS_FREE: usize = 64;
/// Each final block costs a copy of the window. This many bytes of input have to come for each.
const FINAL_BLOCK_BYTES: usize = 512;
/// A compressed message may be twice as long as the longest message (blocks have headers, some are empty) and this much.
const COMPRESSED_EXTRA: usize = 1024;

/// Why a message could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// More than the maximum would come out (or as much went in).
    #[error("the message is too big when inflated")]
    TooBig,
    /// The data is not what RFC 7692 section 7.2.1 lets a sender make.
    #[error("the message is not valid compressed data")]
    Invalid,
}

impl InflateError {
    /// What to close the connection with: 1009 or 1007.
    pub const fn violation(self) -> Violation {
        match self {
            InflateError::TooBig => Violation { code: CloseCode::TOO_BIG, reason: "message too big when inflated" },
            InflateError::Invalid => Violation::payload("invalid compressed data"),
        }
    }
}

/// A shard's inflater: about 48 KiB, allocated once. Every message starts with an empty window
/// (`client_no_context_takeover`), so one inflater serves all connections, a message at a time.
///
/// A message is [`Inflater::inflate`]d whole, or in pieces: [`Inflater::begin`], [`Inflater::feed`] for each piece,
/// [`Inflater::finish`]. Pieces cut anywhere give the same output.
pub struct Inflater {
    stream: Decompress,
    message: Message,
}

/// The message that is being inflated.
#[derive(Clone, Copy, Default)]
struct Message {
    /// Where it begins in the output.
    start: usize,
    /// Its maximum length.
    max_out: usize,
    /// Bytes that have come out so far.
    bytes_out: usize,
    /// Compressed bytes that were read so far.
    bytes_in: usize,
    /// Blocks with BFINAL set so far.
    final_blocks: usize,
    /// Such a block ended with the last byte read: the stream goes on in a new one, if there is more.
    has_ended: bool,
}

impl Message {
    /// Bytes that may come out, and one more, so that too much can be told from just enough.
    fn left(&self) -> usize {
        self.max_out.saturating_add(1) - self.bytes_out
    }

    /// Compressed bytes that may go in.
    fn left_in(&self) -> usize {
        self.max_out.saturating_mul(2).saturating_add(COMPRESSED_EXTRA).saturating_sub(self.bytes_in)
    }
}

/// What one [`Inflater::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that were read.
    pub read: usize,
    /// Bytes that came out.
    pub written: usize,
    /// Nothing more comes out before more is put in.
    pub is_hungry: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater that is ready for a message.
    pub fn new() -> Self {
        Self { stream: Decompress::new(false), message: Message::default() }
    }

    /// Appends the message to `out` and returns its length, at most `max_out`. A message in progress is forgotten.
    ///
    /// # Errors
    /// What was inflated before the fault is left in `out`, at most one byte more than `max_out`.
    pub fn inflate(&mut self, compressed: &[u8], max_out: usize, out: &mut Vec<u8>) -> Result<usize, InflateError> {
        self.begin(max_out, out);
        self.feed(compressed, out)?;
        self.finish()
    }

    /// Starts a message of at most `max_out` bytes, to be appended to `out`. A message in progress is forgotten.
    pub fn begin(&mut self, max_out: usize, out: &[u8]) {
        self.stream.reset(false);
        self.message = Message { start: out.len(), max_out, ..Message::default() };
    }

    /// Inflates the next piece of the message. Until it is finished, only the inflater may change `out`.
    ///
    /// Costs O(piece and its output), at worst some 100 ns for each byte of the piece: feed what was received, as it is received.
    ///
    /// # Errors
    /// As soon as the maximum is passed or the data cannot be continued to a valid message. Nothing but
    /// [`Inflater::begin`] makes sense then. What was inflated before the fault is left in `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), InflateError> {
        let allowed = &piece[..piece.len().min(self.message.left_in())];
        let mut input = allowed;
        loop {
            let before = out.len();
            let left = self.message.left();
            let room = left.min(CHUNK).min(input.len().saturating_mul(4).max(512));
            grow(out, room, left);
            let (done, fresh) = out.split_at_mut(before);
            let window = done.get(self.message.start..).unwrap_or_default();
            let bytes_out = self.message.bytes_out;
            let stepped = self.advance(input, fresh, || window.into());
            out.truncate(before + self.message.bytes_out - bytes_out);
            let step = stepped?;
            input = input.get(step.read..).unwrap_or_default();
            if input.is_empty() && step.is_hungry {
                break;
            }
        }
        if allowed.len() < piece.len() { Err(InflateError::TooBig) } else { Ok(()) }
    }

    /// Inflates as much of `input` as fits in `out`, where its output stands in several places: the bounded form of
    /// [`Inflater::feed`]. `window` gives the last 32 KiB that have come out of this message, or all, if that is less.
    ///
    /// # Errors
    /// As [`Inflater::feed`].
    pub fn step<'w>(
        &mut self,
        input: &[u8],
        out: &mut [u8],
        window: impl FnOnce() -> Cow<'w, [u8]>,
    ) -> Result<Step, InflateError> {
        let allowed = &input[..input.len().min(self.message.left_in())];
        if allowed.is_empty() && !input.is_empty() {
            return Err(InflateError::TooBig);
        }
        let room = out.len().min(self.message.left());
        self.advance(allowed, &mut out[..room], window)
    }

    /// Ends the message, whose last piece was put in to the end, and returns its length.
    ///
    /// # Errors
    /// When the message lacks its end.
    pub fn finish(&mut self) -> Result<usize, InflateError> {
        let len = self.message.bytes_out;
        // No data at all is what some senders make of an empty message that follows an empty message.
        if self.message.bytes_in == 0 {
            return Ok(0);
        }
        // What comes out of these was not theirs to give: they fell into a block that is not whole.
        let mut spill = [0; 512];
        let mut is_spilt = false;
        for mut input in [&TAIL[..], &END[..]] {
            loop {
                let room = spill.len().min(self.message.left());
                let step = self.advance(input, &mut spill[..room], || Cow::Borrowed(&[]))?;
                is_spilt |= step.written > 0;
                input = input.get(step.read..).unwrap_or_default();
                if input.is_empty() && step.is_hungry {
                    break;
                }
            }
        }
        if self.message.has_ended && !is_spilt { Ok(len) } else { Err(InflateError::Invalid) }
    }

    fn advance<'w>(
        &mut self,
        input: &[u8],
        out: &mut [u8],
        window: impl FnOnce() -> Cow<'w, [u8]>,
    ) -> Result<Step, InflateError> {
        if self.message.has_ended {
            if input.is_empty() {
                return Ok(Step { read: 0, written: 0, is_hungry: true });
            }
            self.continue_after_final_block(&window())?;
        }
        let left = self.message.left();
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, out, FlushDecompress::None);
        let read = (self.stream.total_in() - read) as usize;
        let written = (self.stream.total_out() - written) as usize;
        self.message.bytes_out += written;
        if written == left {
            return Err(InflateError::TooBig);
        }
        let status = status.map_err(|_| InflateError::Invalid)?;
        self.message.bytes_in += read;
        let is_all_read = read == input.len();
        // A full buffer: there may be more to come out though nothing is left to go in.
        let is_full = written == out.len();
        match status {
            Status::StreamEnd => self.message.has_ended = true,
            _ if is_full || is_all_read => {}
            _ if read == 0 && written == 0 => return Err(InflateError::Invalid),
            _ => {}
        }
        Ok(Step { read, written, is_hungry: is_all_read && (!is_full || self.message.has_ended) })
    }

    /// A block with BFINAL set is padded to a byte, and more blocks may follow (RFC 7692 section 7.2.1), in the same window.
    #[cold]
    fn continue_after_final_block(&mut self, sent: &[u8]) -> Result<(), InflateError> {
        let message = &mut self.message;
        message.has_ended = false;
        message.final_blocks += 1;
        if message.final_blocks > FINAL_BLOCKS_FREE + message.bytes_in / FINAL_BLOCK_BYTES {
            return Err(InflateError::Invalid);
        }
        self.stream.reset(false);
        self.stream
            .set_dictionary(&sent[sent.len().saturating_sub(WINDOW)..])
            .map(|_| ())
            .map_err(|_| InflateError::Invalid)
    }
}

/// Makes `out` longer by `room` zeros. Capacity grows by doubling, but not beyond what `left` more bytes need.
fn grow(out: &mut Vec<u8>, room: usize, left: usize) {
    let len = out.len();
    if out.capacity() - len < room {
        out.reserve_exact(room.max(out.capacity().min(left)));
    }
    out.resize(len + room, 0);
}

#[cfg(test)]
#[path = "inflate_tests.rs"]
mod tests;
