//! Unpacks what a server packs: permessage-deflate messages and LZ4 blocks, each only once.
//!
//! The copies of a message that a crowd gets are the same bytes: the first is unpacked and both forms are kept, every further
//! copy is compared with the packed form that is remembered. So checking costs a client next to nothing, and nothing goes unchecked. Written
//! apart from the engine on purpose; inflating is zlib-rs where the engine uses libdeflate. Never knows frames.

use flate2::{Decompress, FlushDecompress, Status};

/// Packed messages that are remembered.
const REMEMBERED: usize = 512;
/// No message unpacks to more.
const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// Remembers what the newest packed bytes came to.
pub struct Unpacked {
    seen: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Default for Unpacked {
    fn default() -> Self {
        Unpacked { seen: vec![(Vec::new(), Vec::new()); REMEMBERED] }
    }
}

impl Unpacked {
    /// What `packed` came to, by memory or by `unpack`, which appends to an empty buffer and may refuse.
    /// Allocates only while it meets longer messages than before.
    pub fn of(&mut self, packed: &[u8], unpack: impl FnOnce(&[u8], &mut Vec<u8>) -> bool) -> Option<&[u8]> {
        let (key, plain) = &mut self.seen[place(packed)];
        if key != packed || packed.is_empty() {
            key.clear();
            plain.clear();
            if !unpack(packed, plain) {
                return None;
            }
            key.extend_from_slice(packed);
        }
        Some(plain)
    }
}

/// A few words from all over the bytes, mixed.
fn place(bytes: &[u8]) -> usize {
    let mut state = bytes.len() as u64;
    let step = (bytes.len() / 16).max(1);
    for at in (0..bytes.len()).step_by(step) {
        state = (state ^ u64::from(bytes[at])).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(23);
    }
    for &byte in bytes.iter().rev().take(8) {
        state = (state ^ u64::from(byte)).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(23);
    }
    (state >> 20) as usize % REMEMBERED
}

/// Inflates the messages of permessage-deflate without context takeover (RFC 7692 section 7.2.2).
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Inflater(Decompress::new(false))
    }
}

impl Inflater {
    /// Appends the inflated message; false if it is none.
    pub fn inflate(&mut self, packed: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.reset(false);
        for part in [packed, &[0, 0, 0xff, 0xff][..]] {
            let mut taken = 0;
            loop {
                if out.len() == out.capacity() {
                    out.reserve(out.len().max(4096));
                }
                let (read, wrote) = (self.0.total_in(), out.len());
                let status = self.0.decompress_vec(&part[taken..], out, FlushDecompress::Sync);
                taken += (self.0.total_in() - read) as usize;
                let is_stuck = self.0.total_in() == read && out.len() == wrote && out.len() < out.capacity();
                match status {
                    // A final block would end the stream: legal, but then nothing may follow, and the engine never sends one.
                    Ok(Status::Ok | Status::BufError) if out.len() < UNPACKED_BYTES_MAX => {}
                    _ => return false,
                }
                if taken == part.len() && out.len() < out.capacity() {
                    break;
                }
                if is_stuck {
                    return false;
                }
            }
        }
        true
    }
}

/// Unpacks an LZ4 block, which must come to exactly `size` bytes; false if it does not.
pub fn unpack_lz4(block: &[u8], size: usize, out: &mut Vec<u8>) -> bool {
    if size > UNPACKED_BYTES_MAX {
        return false;
    }
    out.reserve(size);
    lz4_sequences(block, size, out).is_some() && out.len() == size
}

/// The sequences of the LZ4 block format: literals, then a match, until the literals that end the block.
fn lz4_sequences(block: &[u8], size: usize, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let mut at = 0;
    let long = |at: &mut usize, nibble: u8| -> Option<usize> {
        let mut length = usize::from(nibble);
        if nibble == 15 {
            loop {
                let more = *block.get(*at)?;
                *at += 1;
                length += usize::from(more);
                if more != 255 {
                    break;
                }
            }
        }
        Some(length)
    };
    loop {
        let token = *block.get(at)?;
        at += 1;
        let literals = long(&mut at, token >> 4)?;
        out.extend_from_slice(block.get(at..at.checked_add(literals)?)?);
        at += literals;
        if at == block.len() {
            return Some(());
        }
        let distance = usize::from(u16::from_le_bytes([*block.get(at)?, *block.get(at + 1)?]));
        at += 2;
        let length = long(&mut at, token & 15)? + 4;
        let written = out.len() - start;
        if distance == 0 || distance > written || written + length > size {
            return None;
        }
        for from in out.len() - distance..out.len() - distance + length {
            out.push(out[from]);
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    fn deflated(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + 100);
        let mut compress = Compress::new(Compression::fast(), false);
        compress.compress_vec(plain, &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        out
    }

    #[test]
    fn a_deflated_message_comes_back_and_is_unpacked_once() {
        let mut inflater = Inflater::default();
        let mut unpacked = Unpacked::default();
        for size in [0usize, 1, 100, 5_000, 200_000] {
            let plain: Vec<u8> = (0..size).map(|i| (i * i / 7) as u8).collect();
            let packed = deflated(&plain);
            let mut calls = 0;
            for _ in 0..3 {
                let found = unpacked.of(&packed, |packed, out| {
                    calls += 1;
                    inflater.inflate(packed, out)
                });
                assert_eq!(found, Some(&plain[..]), "{size}");
            }
            assert_eq!(calls, 1);
        }
    }

    #[test]
    fn broken_streams_are_refused() {
        let mut inflater = Inflater::default();
        let plain = b"the same words, the same words, the same words".repeat(20);
        let packed = deflated(&plain);
        // The last bytes may hold nothing but the end of the last block, which the four bytes that are added make good.
        for cut in 1..packed.len() - 2 {
            let mut out = Vec::new();
            assert!(!inflater.inflate(&packed[..cut], &mut out) || out != plain, "cut at {cut}");
        }
        assert!(!inflater.inflate(&[0x07, 0xff, 0xff], &mut Vec::new()));
    }

    #[test]
    fn lz4_blocks_come_back_and_broken_ones_do_not() {
        for size in [1usize, 12, 13, 600, 70_000] {
            let plain: Vec<u8> = (0..size).map(|i| b"telemetry of a rover "[i * i % 21]).collect();
            let block = lz4_flex::block::compress(&plain);
            let mut out = Vec::new();
            assert!(unpack_lz4(&block, size, &mut out));
            assert_eq!(out, plain);
            assert!(!unpack_lz4(&block, size + 1, &mut Vec::new()));
            assert!(!unpack_lz4(&block, size - 1, &mut Vec::new()));
            for cut in 0..block.len().min(200) {
                assert!(!unpack_lz4(&block[..cut], size, &mut Vec::new()), "{size} cut at {cut}");
            }
        }
        assert!(!unpack_lz4(&[0x00, 0x00, 0x00], 4, &mut Vec::new()));
    }
}
