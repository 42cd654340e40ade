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

#[cfg(test)]
mod tests {
    use super::super::compress::tests::samples;
    use super::*;

    #[test]
    fn blocks_come_back() {
        let mut lz4 = Lz4::new();
        for len in (512..2000).step_by(31).chain([9000, 65_534, 65_535, 65_536, 65_537, 300_000, 1 << 20, 600]) {
            for (name, block) in samples::made(len) {
                let (mut out, mut back) = (b"before".to_vec(), b"before".to_vec());
                if !lz4.compress(&block, &mut out) {
                    assert!(out == b"before" && name != "json" && name != "zeros", "{name} {len}");
                    continue;
                }
                assert!(out.len() - 6 < len && out.starts_with(b"before"));
                assert_eq!(decompress(&out[6..], len, len, &mut back), Ok(()), "{name} {len}");
                assert!(back[6..] == block, "{name} {len}");
            }
        }
    }

    #[test]
    fn short_and_incompressible_blocks_are_left_alone() {
        let mut lz4 = Lz4::new();
        let mut out = vec![7];
        assert!(!lz4.compress(&[0; THRESHOLD - 1], &mut out));
        assert!(!lz4.compress(&samples::Random::new(1).bytes(5000), &mut out));
        assert_eq!(out, [7]);
        assert!(lz4.compress(&[0; THRESHOLD], &mut out));
    }

    #[test]
    fn the_stated_capacity_is_enough() {
        let mut lz4 = Lz4::new();
        for len in [512, 10_000, 100_000] {
            let mut out = Vec::with_capacity(Lz4::spare(len));
            let start = out.as_ptr();
            assert!(lz4.compress(&samples::json(len, 3), &mut out));
            assert!(!lz4.compress(&samples::Random::new(2).bytes(5), &mut out));
            assert_eq!(out.as_ptr(), start);
        }
    }

    /// LZ4's own description of the format: token, literals, offset, match length.
    #[test]
    fn hand_made_blocks_get_the_right_verdict() {
        let invalid = Err(Lz4Error::Invalid);
        let hello = |last: &[u8]| [b"\x50Hello", last].concat();
        /// Name, block, raw size, maximum, verdict.
        type Row = (&'static str, Vec<u8>, usize, usize, Result<(), Lz4Error>);
        let rows: &[Row] = &[
            ("literals", hello(b""), 5, 5, Ok(())),
            ("match of 10 and an end", [b"\x16a\x01\x00\x50".to_vec(), b"bcdef".to_vec()].concat(), 16, 16, Ok(())),
            ("empty", vec![0], 0, 0, Ok(())),
            ("no data for nothing", vec![], 0, 10, invalid),
            ("no data for something", vec![], 5, 10, invalid),
            ("raw size too small", hello(b""), 4, 10, invalid),
            ("raw size too large", hello(b""), 6, 10, invalid),
            ("raw size above the maximum", hello(b""), 5, 4, Err(Lz4Error::TooBig)),
            ("raw size that no block of this length can have", hello(b""), usize::MAX, usize::MAX, invalid),
            ("literals that are cut", b"\x50Hel".to_vec(), 5, 10, invalid),
            ("length that is cut", b"\xf0".to_vec(), 15, 20, invalid),
            ("match before the beginning", b"\x16a\x02\x00\x50bcdef".to_vec(), 16, 16, invalid),
            ("offset of zero", b"\x16a\x00\x00\x50bcdef".to_vec(), 16, 16, invalid),
            ("offset that is cut", b"\x16a\x01".to_vec(), 11, 16, invalid),
        ];
        for (name, block, raw_size, max, expected) in rows {
            let mut out = b"before".to_vec();
            let verdict = decompress(block, *raw_size, *max, &mut out);
            assert_eq!(verdict, *expected, "{name}");
            assert_eq!(out.len(), 6 + if verdict.is_ok() { *raw_size } else { 0 }, "{name}");
        }
    }

    #[test]
    fn noise_gives_a_verdict_and_never_a_panic() {
        let mut random = samples::Random::new(5);
        let mut whole = Vec::new();
        assert!(Lz4::new().compress(&samples::json(2000, 6), &mut whole));
        for round in 0..20_000 {
            let mut block = if round % 2 == 0 { whole.clone() } else { random.bytes(round % 200) };
            for _ in 0..random.next() % 4 {
                if let Some(at) = (random.next() as usize).checked_rem(block.len()) {
                    block[at] ^= 1 << (random.next() % 8);
                }
            }
            let mut out = Vec::new();
            let _ = decompress(&block, 2000, 4000, &mut out);
            assert!(out.is_empty() || out.len() == 2000);
        }
    }
}
