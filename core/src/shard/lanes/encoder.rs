//! What renders and compresses, with the memory that this takes, kept from turn to turn.

use crate::proto::compress::Deflater;
use crate::proto::json::JsonCheck;
use crate::proto::lz4::Lz4;

/// Scratch memory kept from turn to turn.
pub(super) const SCRATCH_KEPT: usize = 256 << 10;

/// See the module's head.
#[derive(Default)]
pub struct Encoder {
    pub json: JsonCheck,
    pub deflater: Deflater,
    pub lz4: Lz4,
    pub scratch: Scratch,
}

/// Memory that rendering uses.
#[derive(Default)]
pub struct Scratch {
    /// The frame: room for its header, then what is rendered.
    pub rendered: Vec<u8>,
    /// The same, compressed.
    pub packed: Vec<u8>,
    /// A payload that does not lie in one piece.
    pub payload: Vec<u8>,
}

impl Scratch {
    /// Gives back what a large message took.
    pub fn shrink(&mut self) {
        for buffer in [&mut self.rendered, &mut self.packed, &mut self.payload] {
            if buffer.capacity() > SCRATCH_KEPT {
                *buffer = Vec::new();
            }
        }
    }
}
