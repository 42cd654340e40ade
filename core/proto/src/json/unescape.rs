//! The text of a long JSON string, decoded in pieces.

use std::ops::Range;

use super::reader::decode_escape;

/// What stands between the quotes of a string that was checked, and how much of it was decoded.
#[derive(Clone, Debug)]
pub(crate) struct Unescape {
    left: Range<usize>,
    /// A backslash is one.
    is_plain: bool,
}

impl Unescape {
    /// What needs no decoding.
    pub fn plain(inside: Range<usize>) -> Self {
        Unescape { left: inside, is_plain: true }
    }

    /// At the start of what stands between the quotes.
    pub fn new(inside: Range<usize>) -> Self {
        Unescape { left: inside, is_plain: false }
    }

    /// Appends the next piece, of about so many bytes as they are written, to `out`. True: that was the last.
    pub fn advance(&mut self, bytes: &[u8], piece: usize, out: &mut Vec<u8>) -> bool {
        let end = self.left.end.min(self.left.start.saturating_add(piece));
        while self.left.start < end {
            let rest = bytes.get(self.left.start..end).unwrap_or_default();
            let escape_at = if self.is_plain { None } else { memchr::memchr(b'\\', rest) };
            let plain = escape_at.unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            self.left.start += plain;
            if plain < rest.len() {
                // It was checked, and may end behind the piece.
                let escape = bytes.get(self.left.start..self.left.end).unwrap_or_default();
                let (c, length) = decode_escape(escape).unwrap_or((char::REPLACEMENT_CHARACTER, 2));
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                self.left.start += length;
            }
        }
        self.left.start >= self.left.end
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::*;

    #[test]
    fn cut_anywhere_a_string_is_the_same_text() {
        for text in [r#""""#, r#""plain é""#, r#""a\n\"\ud83d\ude00\u0000b\\""#, r#""\\\\\\""#] {
            let expected = Reader::new(text).string().expect("a string").text().into_owned();
            for piece in 1..12 {
                let (mut unescape, mut out) = (Unescape::new(1..text.len() - 1), Vec::new());
                while !unescape.advance(text.as_bytes(), piece, &mut out) {}
                assert_eq!(String::from_utf8(out).expect("UTF-8"), expected, "{piece}");
            }
        }
    }
}
