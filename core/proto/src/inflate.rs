//! permessage-deflate, client to server: a compressed message, inflated within bounds.
//!
//! Knows the payload format of RFC 7692 section 7.2.2 without context takeover, and zlib-rs. Output grows with what the
//! client really sends, never with what it declares, and stops one byte past the maximum. Never knows frames or
//! negotiation; whether the output is UTF-8 is its caller's question.

use super::close::{CloseCode, Violation};
use flate2::{Decompress, FlushDecompress, Status};

/// The octets that the sender left out (RFC 7692 section 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// An empty final block. Read after the tail, it ends the stream if and only if the message ended with a block.
const END: [u8; 5] = [0x01, 0x00, 0x00, 0xFF, 0xFF];
/// Output is made in pieces of at most this many bytes.
const CHUNK: usize = 16 << 10;
/// What a match may reach back.
const WINDOW: usize = 32 << 10;
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
    /// Compressed bytes that were read so far.
    bytes_in: usize,
    /// Blocks with BFINAL set so far.
    final_blocks: usize,
    /// Such a block ended with the last byte read: the stream goes on in a new one, if there is more.
    has_ended: bool,
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
        self.finish(out)
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
        let compressed_max = self.message.max_out.saturating_mul(2).saturating_add(COMPRESSED_EXTRA);
        let allowed = &piece[..piece.len().min(compressed_max.saturating_sub(self.message.bytes_in))];
        self.advance(allowed, out)?;
        if allowed.len() < piece.len() { Err(InflateError::TooBig) } else { Ok(()) }
    }

    /// Ends the message and returns its length.
    ///
    /// # Errors
    /// When the message lacks its end, and as [`Inflater::feed`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<usize, InflateError> {
        let len = out.len() - self.message.start;
        // No data at all is what some senders make of an empty message that follows an empty message.
        if self.message.bytes_in == 0 {
            return Ok(0);
        }
        self.advance(&TAIL, out)?;
        self.advance(&END, out)?;
        // What came out of these was not theirs to give: they fell into a block that is not whole.
        let is_whole = self.message.has_ended && out.len() - self.message.start == len;
        if is_whole { Ok(len) } else { Err(InflateError::Invalid) }
    }

    fn advance(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), InflateError> {
        loop {
            if self.message.has_ended {
                if input.is_empty() {
                    return Ok(());
                }
                self.continue_after_final_block(out)?;
            }
            let before = out.len();
            // One byte more than allowed, so that too much can be told from just enough.
            let left = self.message.max_out.saturating_add(1) - (before - self.message.start);
            let room = left.min(CHUNK).min(input.len().saturating_mul(4).max(512));
            grow(out, room, left);
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, &mut out[before..], FlushDecompress::None);
            let read = (self.stream.total_in() - read) as usize;
            let written = (self.stream.total_out() - written) as usize;
            out.truncate(before + written);
            if written == left {
                return Err(InflateError::TooBig);
            }
            let status = status.map_err(|_| InflateError::Invalid)?;
            self.message.bytes_in += read;
            input = input.get(read..).unwrap_or_default();
            match status {
                Status::StreamEnd => self.message.has_ended = true,
                // A full buffer: there may be more to come out though nothing is left to go in.
                _ if written == room => {}
                _ if input.is_empty() => return Ok(()),
                _ if read == 0 && written == 0 => return Err(InflateError::Invalid),
                _ => {}
            }
        }
    }

    /// A block with BFINAL set is padded to a byte, and more blocks may follow (RFC 7692 section 7.2.1), in the same window.
    #[cold]
    fn continue_after_final_block(&mut self, out: &[u8]) -> Result<(), InflateError> {
        let message = &mut self.message;
        message.has_ended = false;
        message.final_blocks += 1;
        if message.final_blocks > FINAL_BLOCKS_FREE + message.bytes_in / FINAL_BLOCK_BYTES {
            return Err(InflateError::Invalid);
        }
        self.stream.reset(false);
        let sent = &out[message.start..];
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
