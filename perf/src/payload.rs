//! Payloads that prove themselves: number, intended send time and checksum in front of deterministic text.
//!
//! Knows the layout `FW1 SEQ STAMP SUM FILL…` (three 16-digit hexadecimal numbers) and how to check it fast: the first copy of a
//! message is summed, every further copy is compared with the first. All of it is printable ASCII without
//! quotes, so the same bytes travel raw and inside JSON. Never knows a socket.

/// Shortest payload: the head without any filling.
pub const PAYLOAD_BYTES_MIN: usize = HEAD;
const HEAD: usize = 4 + 17 + 17 + 17;
const REMEMBERED: usize = 1024;

/// What a checked payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the message, counted by its publisher from 1.
    pub seq: u64,
    /// When it should have been sent: nanoseconds of CLOCK_MONOTONIC.
    pub intended_ns: u64,
}

/// Fills `out` with exactly `len` bytes (at least [`PAYLOAD_BYTES_MIN`]).
pub fn write(out: &mut Vec<u8>, stamp: Stamp, len: usize) {
    out.clear();
    out.extend_from_slice(b"FW1 ");
    push_hex(out, stamp.seq);
    push_hex(out, stamp.intended_ns);
    push_hex(out, 0);
    // Text that differs from message to message and from place to place, so that mixed-up parts do not pass.
    let mut state = stamp.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < len.max(HEAD) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for byte in state.to_le_bytes() {
            if out.len() < len {
                out.push(b'A' + (byte & 15));
            }
        }
    }
    let sum = checksum(stamp, &out[HEAD..]);
    let mut digits = Vec::with_capacity(17);
    push_hex(&mut digits, sum);
    out[HEAD - 17..HEAD].copy_from_slice(&digits);
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
        if payload.len() < HEAD || !payload.starts_with(b"FW1 ") {
            return None;
        }
        let stamp = Stamp { seq: hex(&payload[4..20])?, intended_ns: hex(&payload[21..37])? };
        let (seq, copy) = &mut self.seen[stamp.seq as usize % REMEMBERED];
        // Equal to a copy that was summed: sound. Another topic or publisher may use the same number: sum it.
        if *seq == stamp.seq && copy == payload {
            return Some(stamp);
        }
        if hex(&payload[38..54])? != checksum(stamp, &payload[HEAD..]) {
            return None;
        }
        *seq = stamp.seq;
        copy.clear();
        copy.extend_from_slice(payload);
        Some(stamp)
    }
}

/// A 64-bit sum over all that matters; any changed, missing, added or moved byte changes it (but for chance, 2^-64).
fn checksum(stamp: Stamp, fill: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
    let mut state = mix(mix(fill.len() as u64 ^ 0x5851_f42d_4c95_7f2d, stamp.seq), stamp.intended_ns);
    let mut words = fill.chunks_exact(8);
    for word in &mut words {
        state = mix(state, u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    for &byte in words.remainder() {
        state = mix(state, byte as u64);
    }
    mix(state, state >> 32)
}

fn push_hex(out: &mut Vec<u8>, number: u64) {
    out.extend((0..16).rev().map(|digit| b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15]));
    out.push(b' ');
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | value as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_length_and_passes_its_own_check() {
        for len in [HEAD, HEAD + 1, 100, 512, 4096] {
            let mut bytes = Vec::new();
            let stamp = Stamp { seq: 7, intended_ns: u64::MAX - 3 };
            write(&mut bytes, stamp, len);
            assert_eq!(bytes.len(), len);
            assert_eq!(Checker::default().check(&bytes), Some(stamp));
            assert!(bytes.iter().all(|b| (b' '..=b'~').contains(b) && !b"\"\\".contains(b)));
        }
    }

    #[test]
    fn no_changed_byte_passes_whether_or_not_the_sound_copy_was_seen() {
        let mut bytes = Vec::new();
        write(&mut bytes, Stamp { seq: 1, intended_ns: 2 }, 200);
        let mut warm = Checker::default();
        assert!(warm.check(&bytes).is_some());
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            // The blanks between the numbers carry nothing.
            if [20, 37, 54].contains(&at) {
                continue;
            }
            assert_eq!(Checker::default().check(&wrong), None, "byte {at}");
            assert_eq!(warm.check(&wrong), None, "byte {at}");
        }
        assert_eq!(warm.check(&bytes[..199]), None);
        assert!(warm.check(&bytes).is_some());
    }
}
