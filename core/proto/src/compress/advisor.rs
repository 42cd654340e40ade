//! Whether a lane's next message is worth compressing, and with how much effort.
//!
//! Knows a message's length, a sample of its bytes and how the lane's last messages came out. Never compresses, and knows
//! no clock: its memory is counted in messages.
//!
//! The rules come from this table, made by `cargo run --release --example deflate_levels -- 100` on one CPU of a shared
//! 2-core VM (PX4: a recorded flight as JSON lines; OpenSSH, Zookeeper: real logs). Compressed size in per cent, µs a message:
//!
//! | message | `Fast` (level 1) | `Thorough` (6) | level 9 | zlib-rs 3, `Z_SYNC_FLUSH` | LZ4 |
//! | --- | --- | --- | --- | --- | --- |
//! | JSON, numbers vary, 1,200 B | 34.4 %, 10 | 32.9 %, 16 | 32.9 %, 16 | 34.1 %, 18 | 54 %, 2 |
//! | 4 KiB | 29.9 %, 23 | 27.1 %, 40 | 26.7 %, 65 | 29.5 %, 39 | 50 %, 8 |
//! | 64 KiB | 28.0 %, 274 | 23.9 %, 717 | 23.1 %, 3,440 | 27.3 %, 462 | 41 %, 136 |
//! | 1 MiB | 27.7 %, 4,830 | 23.3 %, 12,300 | 22.3 %, 62,700 | 26.9 %, 6,550 | 40 %, 2,240 |
//! | PX4, one line, 1,700 B | 28.6 %, 9 | 26.9 %, 14 | 26.8 %, 22 | 28.6 %, 17 | 43 %, 2 |
//! | PX4, 16 KiB of lines | 3.3 %, 21 | 2.2 %, 32 | 2.2 %, 38 | 3.4 %, 29 | 3.3 %, 3 |
//! | PX4, 300 KB of lines | 7.5 %, 620 | 6.9 %, 867 | 6.6 %, 4,000 | 7.5 %, 761 | 12 %, 230 |
//! | OpenSSH, 1,200 B | 29.2 %, 10 | 28.9 %, 13 | 28.8 %, 12 | 29.2 %, 18 | 39 %, 2 |
//! | OpenSSH, 16 KiB | 11.1 %, 37 | 10.0 %, 74 | 9.8 %, 145 | 11.1 %, 61 | 17 %, 15 |
//! | Zookeeper, 16 KiB | 8.4 %, 32 | 7.2 %, 49 | 6.6 %, 89 | 8.2 %, 48 | 12 %, 11 |
//! | base64 of noise, 4 KiB | 75.7 %, 16 | 75.7 %, 26 | 75.7 %, 26 | 75.7 %, 39 | 100 %, 1 |
//! | `f32` points, 12 KiB | 91.6 %, 57 | 92.0 %, 102 | 91.9 %, 90 | 91.6 %, 133 | 100 %, 2 |
//! | noise, 4 KiB | 100 %, 15 | 100 %, 25 | 100 %, 26 | 100 %, 44 | 100 %, 1 |
//!
//! More effort saves a tenth and more where level 1 leaves less than 30 %, and next to nothing elsewhere; level 9 costs too
//! much for what it adds, and 12 (not shown) costs a hundred times as much. Levels 2–5 lie between 1 and 6 in both. The sample
//! costs 0.2 µs. Of the `Fast` times, opening the end of the stream is about 1 µs for messages of one block (decompressing and
//! comparing instead: 3 to 4 µs at 1,200 B) and a quarter to a third for those of several.

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
/// A sample with fewer than this many times the equal pairs of noise is taken for noise: see [`looks_like_noise`].
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

    /// From now on messages below `threshold` bytes are never compressed. What was learnt of the lane still counts.
    pub const fn compress_from(&mut self, threshold: u32) {
        self.threshold = threshold;
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

#[cfg(test)]
#[path = "advisor_tests.rs"]
mod tests;
