//! Whether a payload published as JSON may be embedded verbatim.
//!
//! Knows one question and two judges: simd-json, on a scratch copy because it destroys its input, and [`Reader`], in
//! place. Never changes a payload.
//!
//! The verdict is always that of [`Reader`]. simd-json takes nothing that the reader refuses, so its yes is final; but it
//! refuses integers beyond 64 bits, so its no is not.

use super::reader::{DEPTH_MAX, Reader};
use super::skip::Whole;
use simd_json::{Buffers, Tape};

/// Payloads up to this size go to simd-json. Its tables take up to 31 bytes per byte of payload, so this bounds a
/// checker to about 2 MiB; larger payloads are read in place, with no memory at all.
pub const SIMD_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of a payload: one level less than a whole text, for the message around it.
pub const PAYLOAD_DEPTH_MAX: u32 = DEPTH_MAX - 1;

/// A text known to be one JSON value, white space around it allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonText<'a>(&'a str);

impl<'a> JsonText<'a> {
    /// The text, byte for byte as it was published.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Decides whether payloads are JSON, with buffers that are reused: one per shard.
pub struct JsonCheck {
    scratch: Vec<u8>,
    buffers: Buffers,
    /// Empty between two calls: only its allocation is kept.
    tape: Tape<'static>,
}

impl JsonCheck {
    /// A checker without memory yet: it grows to what the largest payload up to [`SIMD_BYTES_MAX`] needs.
    pub fn new() -> Self {
        JsonCheck {
            scratch: Vec::new(),
            buffers: Buffers::with_max_depth(0, PAYLOAD_DEPTH_MAX as usize),
            tape: Tape(Vec::new()),
        }
    }

    /// Whether `payload` is exactly one JSON value in valid UTF-8. O(length); allocates only while its buffers grow.
    pub fn is_valid(&mut self, payload: &[u8]) -> bool {
        self.text(payload).is_some()
    }

    /// The payload as JSON text, if it is that.
    pub fn text<'a>(&mut self, payload: &'a [u8]) -> Option<JsonText<'a>> {
        let text = simdutf8::basic::from_utf8(payload).ok()?;
        self.check_text(text)
    }

    /// As [`JsonCheck::text`], for what is known to be UTF-8.
    pub fn check_text<'a>(&mut self, text: &'a str) -> Option<JsonText<'a>> {
        let small = text.len() <= SIMD_BYTES_MAX;
        ((small && self.simd_takes(text.as_bytes())) || reader_takes(text)).then_some(JsonText(text))
    }

    fn simd_takes(&mut self, payload: &[u8]) -> bool {
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let taken = simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape).is_ok();
        self.tape = tape.reset();
        taken
    }
}

/// The same for a text that is too long to be judged at once, and known to be UTF-8: in pieces, without memory.
#[derive(Clone, Debug)]
pub struct JsonPieces(Whole);

impl JsonPieces {
    /// At the start of a payload.
    pub fn new() -> Self {
        JsonPieces(Whole::new(DEPTH_MAX - PAYLOAD_DEPTH_MAX))
    }

    /// How far it has come, in bytes.
    pub fn at(&self) -> usize {
        self.0.at()
    }

    /// Goes on for about so many bytes of `payload`, which is the same each time; `None`: it is not decided yet.
    pub fn advance(&mut self, payload: &[u8], piece: usize) -> Option<bool> {
        match self.0.advance(payload, self.0.at().saturating_add(piece)) {
            Ok(false) => None,
            Ok(true) => Some(true),
            Err(_) => Some(false),
        }
    }
}

impl Default for JsonPieces {
    fn default() -> Self {
        JsonPieces::new()
    }
}

impl Default for JsonCheck {
    fn default() -> Self {
        JsonCheck::new()
    }
}

/// The verdict that counts, without memory.
fn reader_takes(text: &str) -> bool {
    let mut reader = Reader::new_inside(text, DEPTH_MAX - PAYLOAD_DEPTH_MAX);
    reader.value().is_ok() && reader.finish().is_ok()
}

#[cfg(test)]
mod tests;
