//! LZ4 blocks for `fanwire.batch.v1+lz4`.
//!
//! Knows the LZ4 block format, without a frame and without a size in front: the batch's header carries the raw size. Never
//! knows what a block holds.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// Blocks below this many bytes are not worth compressing.
pub const THRESHOLD: usize = 512;

/// From this length on a block needs the table with wide entries.
const LARGE: usize = u16::MAX as usize;
/// No LZ4 block grows by more than this factor when it is decompressed.
const EXPANSION_MAX: usize = 255;

/// A shard's compressor: a table of 8 KiB, and one of 16 KiB from the first block of 64 KiB on. Allocates nothing else.
#[derive(Default)]
pub struct Lz4 {
    small: CompressTable,
    large: Option<CompressTable>,
}

impl Lz4 {
    /// A compressor.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the compressed block to `out`; false, with `out` unchanged, if it is shorter than [`THRESHOLD`] or would not
    /// become smaller. Needs [`Lz4::spare`] bytes of spare capacity in `out` not to reallocate. O(length).
    #[must_use]
    pub fn compress(&mut self, block: &[u8], out: &mut Vec<u8>) -> bool {
        if block.len() < THRESHOLD {
            return false;
        }
        let table =
            if block.len() < LARGE { &mut self.small } else { self.large.get_or_insert_with(CompressTable::large) };
        let start = out.len();
        out.resize(start + Self::spare(block.len()), 0);
        match compress_into_with_table(block, &mut out[start..], table) {
            Ok(len) if len < block.len() => {
                out.truncate(start + len);
                true
            }
            _ => {
                out.truncate(start);
                false
            }
        }
    }

    /// The spare capacity that `out` needs for a block of this length, in bytes.
    pub const fn spare(block_len: usize) -> usize {
        get_maximum_output_size(block_len)
    }
}

/// Why a block could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lz4Error {
    /// The raw size is beyond the maximum.
    #[error("the block is too big when decompressed")]
    TooBig,
    /// The data is no LZ4 block of that raw size.
    #[error("the block is not valid LZ4 data of its size")]
    Invalid,
}

/// Appends a decompressed block of exactly `raw_size` bytes to `out`. O(`raw_size`).
///
/// Nothing is allocated for a `raw_size` above `max`, or above what a block of this length can hold.
///
/// # Errors
/// `out` is then as it was.
pub fn decompress(block: &[u8], raw_size: usize, max: usize, out: &mut Vec<u8>) -> Result<(), Lz4Error> {
    if raw_size > max {
        return Err(Lz4Error::TooBig);
    }
    if raw_size > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(Lz4Error::Invalid);
    }
    let start = out.len();
    out.resize(start + raw_size, 0);
    match decompress_into(block, &mut out[start..]) {
        Ok(len) if len == raw_size => Ok(()),
        _ => {
            out.truncate(start);
            Err(Lz4Error::Invalid)
        }
    }
}
