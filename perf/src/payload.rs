//! Payloads that prove themselves: number, intended send time and CRC-32 in front of deterministic contents.
//!
//! Knows the layout `FW1 SEQ STAMP CRC FILL…` (hexadecimal numbers of 16, 16 and 8 digits) and the same as the first member of
//! a JSON object, `{"fw":"SEQ STAMP CRC ",…`; and how to check them fast: the first copy of a message is summed, every further
//! copy is compared with the first. All of the first form is printable ASCII without quotes, so the same bytes travel raw and inside JSON. Never
//! knows a socket.

use serde::{Deserialize, Serialize};

use crate::telemetry::Telemetry;

/// Shortest payload: the head without any filling.
pub const PAYLOAD_BYTES_MIN: usize = TEXT_HEAD.len() + NUMBERS;
const TEXT_HEAD: &[u8] = b"FW1 ";
const JSON_HEAD: &[u8] = br#"{"fw":""#;
const NUMBERS: usize = 17 + 17 + 9;
const REMEMBERED: usize = 1024;

/// What payloads look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Random letters: text that compresses to half.
    #[default]
    Text,
    /// A rover's telemetry as JSON.
    Telemetry,
}

/// What a checked payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the message, counted by its publisher from 1.
    pub seq: u64,
    /// When it should have been sent: nanoseconds of CLOCK_MONOTONIC.
    pub intended_ns: u64,
}

/// Writes payloads.
pub struct Writer {
    look: Look,
    telemetry: Telemetry,
}

impl Writer {
    /// A writer; what it writes depends on nothing but these arguments and the stamps.
    pub fn new(look: Look, seed: u64) -> Self {
        Writer { look, telemetry: Telemetry::new(seed) }
    }

    /// From now on payloads look like this.
    pub fn set_look(&mut self, look: Look) {
        self.look = look;
    }

    /// Fills `out` with exactly `len` bytes (at least [`PAYLOAD_BYTES_MIN`], for telemetry some 100 more).
    pub fn write(&mut self, out: &mut Vec<u8>, stamp: Stamp, len: usize) {
        out.clear();
        let head = match self.look {
            Look::Text => TEXT_HEAD,
            Look::Telemetry => JSON_HEAD,
        };
        out.extend_from_slice(head);
        push_hex(out, stamp.seq, 16);
        push_hex(out, stamp.intended_ns, 16);
        push_hex(out, 0, 8);
        match self.look {
            Look::Text => fill(out, stamp.seq, len),
            Look::Telemetry => self.telemetry.fill(out, len),
        }
        seal(out, head.len());
    }
}

/// Writes the sum of all that is not the sum into its place.
fn seal(payload: &mut [u8], head: usize) {
    let at = head + 34;
    let mut sum = Vec::with_capacity(9);
    push_hex(&mut sum, crc(payload, at).into(), 8);
    payload[at..at + 9].copy_from_slice(&sum);
}

/// Text that differs from message to message and from place to place, so that mixed-up parts do not pass.
fn fill(out: &mut Vec<u8>, seq: u64, len: usize) {
    let mut state = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for byte in state.to_le_bytes() {
            if out.len() < len {
                out.push(b'A' + (byte & 15));
            }
        }
    }
}

/// Checks payloads; remembers the newest ones so that the many copies of a message cost one comparison each.
pub struct Checker {
    seen: Vec<(u64, Vec<u8>)>,
}

impl Default for Checker {
    fn default() -> Self {
        Checker { seen: vec![(0, Vec::new()); REMEMBERED] }
    }
}

impl Checker {
    /// The stamp of a sound payload, `None` for any other bytes. Allocates only while it meets longer messages than before.
    pub fn check(&mut self, payload: &[u8]) -> Option<Stamp> {
        let head = match payload.first()? {
            b'F' if payload.starts_with(TEXT_HEAD) => TEXT_HEAD.len(),
            b'{' if payload.starts_with(JSON_HEAD) => JSON_HEAD.len(),
            _ => return None,
        };
        let numbers = payload.get(head..head + NUMBERS)?;
        let stamp = Stamp { seq: hex(&numbers[..16])?, intended_ns: hex(&numbers[17..33])? };
        let (seq, copy) = &mut self.seen[stamp.seq as usize % REMEMBERED];
        // Equal to a copy that was summed: sound. Another topic or publisher may use the same number: sum it.
        if *seq == stamp.seq && copy == payload {
            return Some(stamp);
        }
        if hex(&numbers[34..42])? != u64::from(crc(payload, head + 34)) {
            return None;
        }
        *seq = stamp.seq;
        copy.clear();
        copy.extend_from_slice(payload);
        Some(stamp)
    }
}

/// CRC-32 of all but the eight digits at `at` and the blank behind them.
fn crc(payload: &[u8], at: usize) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&payload[..at]);
    crc.update(&payload[at + 9..]);
    crc.sum()
}

fn push_hex(out: &mut Vec<u8>, number: u64, digits: u32) {
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15]));
    out.push(b' ');
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_length_and_passes_its_own_check() {
        for (look, lens) in
            [(Look::Text, [PAYLOAD_BYTES_MIN, 100, 512, 4096]), (Look::Telemetry, [200, 1_199, 1_200, 4_096])]
        {
            let mut writer = Writer::new(look, 1);
            for len in lens {
                let mut bytes = Vec::new();
                let stamp = Stamp { seq: 7, intended_ns: u64::MAX - 3 };
                writer.write(&mut bytes, stamp, len);
                assert_eq!(bytes.len(), len);
                assert_eq!(Checker::default().check(&bytes), Some(stamp));
                match look {
                    Look::Text => assert!(bytes.iter().all(|b| (b' '..=b'~').contains(b) && !b"\"\\".contains(b))),
                    Look::Telemetry => assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()),
                }
            }
        }
    }

    #[test]
    fn no_changed_byte_passes_whether_or_not_the_sound_copy_was_seen() {
        for look in [Look::Text, Look::Telemetry] {
            let mut bytes = Vec::new();
            Writer::new(look, 1).write(&mut bytes, Stamp { seq: 1, intended_ns: 2 }, 300);
            let mut warm = Checker::default();
            assert!(warm.check(&bytes).is_some());
            let blank = bytes.iter().position(|b| *b == b'"' || *b == b' ').unwrap();
            let sum_ends = [4 + 42, 7 + 42];
            for at in 0..bytes.len() {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1;
                // The blank behind the sum carries nothing.
                if sum_ends.contains(&at) && at != blank {
                    continue;
                }
                assert_eq!(Checker::default().check(&wrong), None, "byte {at}");
                assert_eq!(warm.check(&wrong), None, "byte {at}");
            }
            assert_eq!(warm.check(&bytes[..299]), None);
            assert!(warm.check(&bytes).is_some());
        }
    }
}
