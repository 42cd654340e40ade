//! Numbers of varying length, LEB128, up to what a JavaScript number holds.

use super::DictionaryError;

/// Largest number in a frame: 2^53 − 1.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Most bytes of a number.
const BYTES_MAX: usize = 8;

/// Appends `number`, which is at most [`NUMBER_MAX`].
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    debug_assert!(number <= NUMBER_MAX, "{number}");
    while number > 0x7F {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A difference as a number; `None` if it is too large.
pub(super) fn zigzag(from: u64, to: u64) -> Option<u64> {
    let folded = match to.checked_sub(from) {
        Some(more) => more.checked_mul(2)?,
        None => (from - to).checked_mul(2)? - 1,
    };
    (folded <= NUMBER_MAX).then_some(folded)
}

/// `from` and the difference; `None` below 0 or above [`NUMBER_MAX`].
pub(super) fn unzigzag(from: u64, folded: u64) -> Option<u64> {
    let to = match folded & 1 {
        0 => from.checked_add(folded / 2)?,
        _ => from.checked_sub(folded / 2 + 1)?,
    };
    (to <= NUMBER_MAX).then_some(to)
}

/// What is left of a frame.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, DictionaryError> {
        let (&first, rest) = self.0.split_first().ok_or(DictionaryError::Short)?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn number(&mut self) -> Result<u64, DictionaryError> {
        let mut number = 0;
        for n in 0..BYTES_MAX {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << (7 * n);
            if byte & 0x80 == 0 {
                return if number <= NUMBER_MAX { Ok(number) } else { Err(DictionaryError::Short) };
            }
        }
        Err(DictionaryError::Short)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DictionaryError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(DictionaryError::Short)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// A number and so many bytes.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], DictionaryError> {
        let size = usize::try_from(self.number()?).map_err(|_| DictionaryError::Short)?;
        let (bytes, rest) = self.0.split_at_checked(size).ok_or(DictionaryError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_up_to_the_largest_and_not_beyond() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1_700_000_000_000_000, NUMBER_MAX - 1, NUMBER_MAX] {
            let mut out = Vec::new();
            put(&mut out, number);
            assert!(out.len() <= BYTES_MAX);
            let mut reader = Reader(&out);
            assert_eq!((reader.number(), reader.0.len()), (Ok(number), 0));
            assert_eq!(Reader(&out[..out.len() - 1]).number(), Err(DictionaryError::Short));
        }
        let past = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
        assert_eq!(Reader(&past).number(), Err(DictionaryError::Short), "2^53");
        assert_eq!(Reader(&[0x80; 9]).number(), Err(DictionaryError::Short), "nine bytes");
    }

    #[test]
    fn differences_come_back_in_both_directions() {
        for (from, to) in [(0, 0), (5, 4), (4, 5), (0, 1 << 51), (1 << 51, 0), (NUMBER_MAX, NUMBER_MAX - 1)] {
            assert_eq!(unzigzag(from, zigzag(from, to).unwrap()), Some(to), "{from} {to}");
        }
        assert_eq!(zigzag(0, NUMBER_MAX), None);
        assert_eq!((unzigzag(0, 1), unzigzag(NUMBER_MAX, 2)), (None, None));
    }
}
