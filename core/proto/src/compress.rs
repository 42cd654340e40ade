//! permessage-deflate, server to client: one compression of a message that every client can read.
//!
//! Knows the payload format of RFC 7692 section 7.2.1 without context takeover, and libdeflate. What it writes is always
//! the sync-flush form: no block has BFINAL set, and the four bytes 00 00 FF FF of the empty stored block that ends it
//! are left out. The form with a final block (RFC 7692 section 7.2.3.4) is as legal, but a client that keeps one inflater for a
//! connection, such as Node's own WebSocket, hands out empty messages after it without an error. Never knows frames,
//! negotiation or who the message is for.

mod advisor;
mod blocks;

pub use advisor::{Advisor, THRESHOLD};
use blocks::{Blocks, Padding, SLACK};
use libdeflater::{CompressionLvl, Compressor};

/// How much work a compression may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effort {
    /// libdeflate's level 1: some 4 ns for each byte of JSON, 200 KiB of memory.
    Fast,
    /// libdeflate's level 6: about twice the time, 656 KiB of memory.
    Thorough,
}

impl Effort {
    const fn level(self) -> i32 {
        match self {
            Effort::Fast => 1,
            Effort::Thorough => 6,
        }
    }
}

/// What came of a compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Compressed {
    /// This many bytes were appended: a whole permessage-deflate payload, to be sent with RSV1 set.
    Deflated(usize),
    /// It would not be smaller: nothing was appended, send the message as it is.
    NotSmaller,
    /// The payload is longer than the client's window: nothing was appended, send the message as it is.
    BeyondWindow,
}

/// A shard's compressor: 5 KiB of its own, and what [`Effort`] says from an effort's first use on; allocates nothing later.
pub struct Deflater {
    fast: Option<Compressor>,
    thorough: Option<Compressor>,
    blocks: Blocks,
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Deflater {
    /// A compressor that has allocated nothing yet.
    pub fn new() -> Self {
        Self { fast: None, thorough: None, blocks: Blocks::default() }
    }

    /// Whether a message of this length can be compressed for a client whose window is `2^window_bits`: without context
    /// takeover no match reaches further back than the message's beginning, so what fits the window is valid in it.
    pub const fn fits_window(payload_len: usize, window_bits: u8) -> bool {
        window_bits >= 15 || payload_len <= 1 << window_bits
    }

    /// Compresses a message of which nothing was sent before, and appends it to `out`.
    ///
    /// The same payload and effort give the same bytes, whatever was compressed before. `window_bits` is the agreed
    /// `server_max_window_bits`, 9–15 (RFC 7692 section 7.1.2.1); 15 where none was agreed. `out` grows by less than the
    /// payload's length, and needs [`Deflater::spare`] bytes of spare capacity not to reallocate. An empty payload becomes
    /// one byte (RFC 7692 section 7.2.3.6).
    pub fn compress(&mut self, payload: &[u8], effort: Effort, window_bits: u8, out: &mut Vec<u8>) -> Compressed {
        if payload.is_empty() {
            out.push(0x00);
            return Compressed::Deflated(1);
        }
        if !Self::fits_window(payload.len(), window_bits) {
            return Compressed::BeyondWindow;
        }
        let start = out.len();
        match self.sync_flushed(payload, effort, payload.len() - 1, out) {
            Some(len) if len < payload.len() => Compressed::Deflated(len),
            _ => {
                out.truncate(start);
                Compressed::NotSmaller
            }
        }
    }

    /// The spare capacity that `out` needs for a payload of this length, in bytes.
    pub const fn spare(payload_len: usize) -> usize {
        payload_len + SLACK
    }

    /// Appends the sync-flush form of a payload, made in at most `room` bytes and a tail byte, and returns its length;
    /// `None`, with `out` in disorder, when it does not fit.
    fn sync_flushed(&mut self, payload: &[u8], effort: Effort, room: usize, out: &mut Vec<u8>) -> Option<usize> {
        let start = out.len();
        out.resize(start + room + SLACK, 0);
        let len = self.compressor(effort).deflate_compress(payload, &mut out[start..start + room]).ok()?;
        out.truncate(start + len + SLACK);
        let form = self.blocks.open_end(&mut out[start..]);
        debug_assert!(form.is_some(), "libdeflate wrote a stream that we cannot read");
        out.truncate(start + len);
        if form? == Padding::Short {
            out.push(0x00);
        }
        Some(out.len() - start)
    }

    fn compressor(&mut self, effort: Effort) -> &mut Compressor {
        let slot = match effort {
            Effort::Fast => &mut self.fast,
            Effort::Thorough => &mut self.thorough,
        };
        slot.get_or_insert_with(|| Compressor::new(CompressionLvl::new(effort.level()).unwrap_or_default()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
