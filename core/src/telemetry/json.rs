//! JSON, as far as what the engine says of itself needs it: written piece by piece into a text.

use std::fmt;

/// A text as a JSON string.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut plain = 0;
        for (at, c) in self.0.char_indices().filter(|(_, c)| matches!(c, '"' | '\\' | '\0'..='\x1f')) {
            f.write_str(&self.0[plain..at])?;
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                _ => write!(f, "\\u{:04x}", u32::from(c))?,
            }
            plain = at + c.len_utf8();
        }
        f.write_str(&self.0[plain..])?;
        f.write_str("\"")
    }
}

/// A value, or `null`.
pub struct OrNull<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// A rate or a time: with one digit behind the point, finite whatever it is made of.
pub struct Tenths(pub f64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", if self.0.is_finite() { self.0 } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_as_they_were() {
        for text in ["", "rover/1/imu", "a\"b\\c", "\u{0}\u{1f}\u{7f}é\u{1f600}", "\"\"", "end\\"] {
            let read: String = serde_json::from_str(&Quoted(text).to_string()).expect("JSON");
            assert_eq!(read, text);
        }
    }

    #[test]
    fn numbers_are_always_legal() {
        assert_eq!(Tenths(f64::NAN).to_string() + &Tenths(f64::INFINITY).to_string(), "0.00.0");
        assert_eq!(Tenths(12.345).to_string(), "12.3");
        assert_eq!(OrNull(Some(Quoted("a"))).to_string() + &OrNull::<u8>(None).to_string(), "\"a\"null");
    }
}
