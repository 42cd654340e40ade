//! Incremental UTF-8 validation: text that arrives in pieces, cut anywhere.
//!
//! Knows Unicode table 3-7 (well-formed byte sequences) and nothing of frames. Fails as soon as a byte has arrived that
//! no continuation can mend, which is earlier than the end of the character.

/// The text was not UTF-8: a byte stands where no valid text can have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

/// How far a text has been checked. Four bytes; `Copy`; starts at the start of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Utf8 {
    /// Continuation bytes still owed by the character that was cut; 0 between characters.
    owed: u8,
    /// The range that the next continuation byte must be in, while one is owed.
    low: u8,
    high: u8,
}

impl Utf8 {
    /// At the start of a text.
    pub const fn new() -> Self {
        Self { owed: 0, low: 0, high: 0 }
    }

    /// Checks the next piece of the text. Vectorised; no allocation.
    ///
    /// # Errors
    /// When the text so far cannot be the beginning of any valid text. The state is then of no further use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let mut rest = bytes;
        while self.owed > 0 {
            let Some((&byte, after)) = rest.split_first() else {
                return Ok(());
            };
            self.step(byte)?;
            rest = after;
        }
        let (whole, cut) = rest.split_at(rest.len() - cut_character_len(rest));
        if simdutf8::basic::from_utf8(whole).is_err() {
            return Err(InvalidUtf8);
        }
        cut.iter().try_for_each(|&byte| self.step(byte))
    }

    /// Whether the text may end here: no character is cut.
    pub const fn is_complete(self) -> bool {
        self.owed == 0
    }

    /// One byte of the automaton: Unicode table 3-7, row by row.
    fn step(&mut self, byte: u8) -> Result<(), InvalidUtf8> {
        if self.owed > 0 {
            if byte < self.low || byte > self.high {
                return Err(InvalidUtf8);
            }
            *self = Self { owed: self.owed - 1, low: 0x80, high: 0xBF };
            return Ok(());
        }
        let (owed, low, high) = match byte {
            0x00..=0x7F => (0, 0, 0),
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xE1..=0xEC | 0xEE..=0xEF => (2, 0x80, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(InvalidUtf8),
        };
        *self = Self { owed, low, high };
        Ok(())
    }
}

/// Length of the character that `bytes` cuts at its end, 0 if none: decided from its lead byte, at most 3 from the end.
fn cut_character_len(bytes: &[u8]) -> usize {
    for (there, &byte) in (1..).zip(bytes.iter().rev().take(3)) {
        let len = match byte {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            _ => 1,
        };
        return if len > there { there } else { 0 };
    }
    0
}

#[cfg(test)]
#[path = "utf8_tests.rs"]
mod tests;
