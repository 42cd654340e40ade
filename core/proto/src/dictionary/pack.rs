//! Blocks compressed with a dictionary: LZ4 and raw deflate.
//!
//! Knows both formats by their libraries. Output of a decompression is bounded whatever comes in.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use lz4_flex::block::{compress_into_with_dict, decompress_into_with_dict, get_maximum_output_size};

/// Blocks from here on are not compressed: it would take above 1 ms.
const BLOCK_BYTES_MAX: usize = 256 << 10;
/// Neither LZ4 nor deflate grows by more than this factor; deflate's is 1,032.
const EXPANSION_MAX: usize = 1_100;
/// Output is made in pieces of this many bytes.
const CHUNK: usize = 4 << 10;

/// How blocks are compressed: the client chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// The LZ4 block format.
    Lz4,
    /// A raw deflate stream, RFC 1951.
    Deflate,
}

/// Compresses, for all lanes of a thread. Deflate takes some 270 KiB, LZ4 16 KiB for the time of a call.
pub struct Packer {
    codec: Codec,
    deflate: Option<Compress>,
}

impl Packer {
    /// Compresses with this codec.
    pub fn new(codec: Codec) -> Self {
        let deflate = (codec == Codec::Deflate).then(|| Compress::new(Compression::new(6), false));
        Packer { codec, deflate }
    }

    /// Appends the compressed block to `out`; false, with `out` unchanged, if that is not smaller or the block is larger than
    /// 256 KiB. `dictionary` may be empty. O(dictionary and block).
    #[must_use]
    pub fn compress(&mut self, dictionary: &[u8], block: &[u8], out: &mut Vec<u8>) -> bool {
        if block.is_empty() || block.len() > BLOCK_BYTES_MAX {
            return false;
        }
        let start = out.len();
        let written = match self.codec {
            Codec::Lz4 => {
                out.resize(start + get_maximum_output_size(block.len()), 0);
                compress_into_with_dict(block, &mut out[start..], dictionary).ok()
            }
            Codec::Deflate => {
                out.resize(start + block.len(), 0);
                self.deflate.as_mut().and_then(|deflate| deflated(deflate, dictionary, block, &mut out[start..]))
            }
        };
        let written = written.filter(|&written| written < block.len());
        out.truncate(start + written.unwrap_or(0));
        written.is_some()
    }
}

/// Writes one stream; `None` if it does not fit.
fn deflated(deflate: &mut Compress, dictionary: &[u8], block: &[u8], out: &mut [u8]) -> Option<usize> {
    deflate.reset();
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).ok()?;
    }
    let status = deflate.compress(block, out, FlushCompress::Finish).ok()?;
    (status == Status::StreamEnd).then(|| deflate.total_out() as usize)
}

/// Decompresses, for all lanes of a connection. Deflate takes some 48 KiB.
pub struct Unpacker {
    codec: Codec,
    inflate: Option<Decompress>,
}

impl Unpacker {
    /// Decompresses with this codec.
    pub fn new(codec: Codec) -> Self {
        Unpacker { codec, inflate: (codec == Codec::Deflate).then(|| Decompress::new(false)) }
    }

    /// Puts the decompressed block into `out`, which is cleared first; false if it is not one, or has more than `max` bytes.
    /// Allocates no more than a block of this length can hold.
    #[must_use]
    pub fn decompress(&mut self, dictionary: &[u8], block: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
        out.clear();
        let max = max.min(block.len().saturating_mul(EXPANSION_MAX));
        match self.codec {
            Codec::Lz4 => {
                out.resize(max, 0);
                let written = decompress_into_with_dict(block, out, dictionary).ok();
                out.truncate(written.unwrap_or(0));
                written.is_some()
            }
            Codec::Deflate => {
                self.inflate.as_mut().is_some_and(|inflate| inflated(inflate, dictionary, block, max, out))
            }
        }
    }
}

/// Reads one stream, which ends with the block's last byte.
fn inflated(inflate: &mut Decompress, dictionary: &[u8], block: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    inflate.reset(false);
    if !dictionary.is_empty() && inflate.set_dictionary(dictionary).is_err() {
        return false;
    }
    loop {
        let (read, written) = (inflate.total_in() as usize, out.len());
        // One byte more than may come, so that too much can be told from just enough.
        let room = (max + 1 - written).min(CHUNK);
        out.resize(written + room, 0);
        let status = inflate.decompress(&block[read..], &mut out[written..], FlushDecompress::Finish);
        out.truncate(inflate.total_out() as usize);
        let has_moved = inflate.total_in() as usize > read || out.len() > written;
        match status {
            Ok(Status::StreamEnd) => return inflate.total_in() as usize == block.len() && out.len() <= max,
            Ok(_) if has_moved && out.len() <= max => {}
            _ => return false,
        }
    }
}
