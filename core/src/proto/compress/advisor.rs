//! Whether a lane's next message is worth compressing, and with how much effort.
//!
//! Knows a message's length, a sample of its bytes and how the lane's last messages came out. Never compresses, and knows
//! no clock: its memory is counted in messages.

use super::{Compressed, Effort};

/// Messages below this many bytes are sent as they are, unless configured otherwise.
pub const THRESHOLD: u32 = 1024;

/// Above this average ratio compression does not pay: the saving is below a tenth, and every client has to inflate for it.
const PAYS_BELOW: u16 = share(90);
/// Below this average ratio there is much repetition, and more effort finds more of it.
const REPETITIVE_BELOW: u16 = share(30);
/// Longer messages get no more than [`Effort::Fast`]: a shard does nothing else meanwhile.
const THOROUGH_BYTES_MAX: usize = 64 << 10;
/// While compression does not pay, one message in this many is tried all the same.
const PROBE_EVERY: u16 = 64;
/// An average begins here, as if half had been saved.
const AT_FIRST: u16 = share(50);
/// The newest message counts for one in 2^this.
const WEIGHT_BITS: u32 = 2;

/// A message's bytes that are looked at: every third of the first KiB, so that no width of number is in step with it.
const SAMPLE_STEP: usize = 3;
const SAMPLE_BYTES: usize = 1024;
/// A sample with more distinct bytes than this is taken for noise: see [`looks_like_noise`].
const COLLISIONS_IN_NOISE: u32 = 2;

/// Per cent of the whole, in 1/65,536.
const fn share(percent: u32) -> u16 {
    (percent * 65_535 / 100) as u16
}

/// A lane's memory of what compression was worth: eight bytes.
#[derive(Clone, Copy, Debug)]
pub struct Advisor {
    threshold: u32,
    /// Moving average of compressed to raw length, 65,535 being all of it.
    ratio: u16,
    /// Messages to pass over before the next try, while compression does not pay.
    passes_left: u16,
}

impl Default for Advisor {
    /// For a new lane with the usual [`THRESHOLD`].
    fn default() -> Self {
        Self::new(THRESHOLD)
    }
}

impl Advisor {
    /// For a new lane. Messages below `threshold` bytes are never compressed.
    pub const fn new(threshold: u32) -> Self {
        Self { threshold, ratio: AT_FIRST, passes_left: 0 }
    }

    /// The effort that this message is worth; `None` to send it as it is. Looks at 342 bytes at most.
    ///
    /// What comes of the effort is to be [`Advisor::record`]ed.
    pub fn advise(&mut self, payload: &[u8]) -> Option<Effort> {
        if payload.is_empty() || payload.len() < self.threshold as usize {
            return None;
        }
        if self.ratio > PAYS_BELOW {
            // The try that comes after the passes is made whatever the sample looks like: repetition may be further apart.
            let passes = self.passes_left.checked_sub(1);
            self.passes_left = passes.unwrap_or(PROBE_EVERY - 1);
            return if passes.is_some() { None } else { Some(Effort::Fast) };
        }
        if looks_like_noise(payload) {
            self.average(u16::MAX);
            return None;
        }
        let is_repetitive = self.ratio < REPETITIVE_BELOW && payload.len() <= THOROUGH_BYTES_MAX;
        Some(if is_repetitive { Effort::Thorough } else { Effort::Fast })
    }

    /// Learns what came of a message that [`Advisor::advise`] gave an effort for.
    pub fn record(&mut self, payload_len: usize, outcome: Compressed) {
        match outcome {
            Compressed::Deflated(len) => {
                let ratio = (len as u64 * 65_535).checked_div(payload_len as u64).unwrap_or(65_535);
                self.average(ratio.min(65_535) as u16);
            }
            Compressed::NotSmaller => self.average(u16::MAX),
            Compressed::BeyondWindow => {}
        }
    }

    /// What the lane's last messages came to on average: compressed to raw length, 0 to 1.
    pub fn ratio(&self) -> f32 {
        f32::from(self.ratio) / 65_535.0
    }

    fn average(&mut self, ratio: u16) {
        let difference = i32::from(ratio) - i32::from(self.ratio);
        // Rounded away from the old average, so that it can be reached.
        let step = (difference + difference.signum() * ((1 << WEIGHT_BITS) - 1)) / (1 << WEIGHT_BITS);
        self.ratio = (i32::from(self.ratio) + step) as u16;
        if self.ratio > PAYS_BELOW && self.passes_left == 0 {
            self.passes_left = PROBE_EVERY - 1;
        }
    }
}

/// Whether the message begins like something that was compressed or encrypted.
///
/// Counts how often two bytes of the sample are equal. Among n bytes drawn evenly from all 256 that is n(n−1)/512 pairs; text,
/// numbers and base64 have four times as many at least. Measured with `cargo run --release --example deflate_levels`.
fn looks_like_noise(payload: &[u8]) -> bool {
    let mut counts = [0u16; 256];
    let mut sampled = 0u32;
    let mut pairs = 0u32;
    for &byte in payload[..payload.len().min(SAMPLE_BYTES)].iter().step_by(SAMPLE_STEP) {
        let count = &mut counts[usize::from(byte)];
        pairs += u32::from(*count);
        *count += 1;
        sampled += 1;
    }
    pairs * 512 < COLLISIONS_IN_NOISE * sampled * sampled.saturating_sub(1)
}
