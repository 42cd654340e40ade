//! Job: other people's text made harmless: what would move a cursor, colour a terminal or begin a new line is shown as an escape.
//! Knows: Unicode's control characters. Must never know: where the text comes from.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Control characters (C0, DEL, C1), ends of lines and of paragraphs, and those that turn the direction of writing.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line of text for people: every control character as `\x1b` or `\u{202e}`.
pub fn text(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push(&mut out, c, "");
    }
    Cow::Owned(out)
}

/// The same for text of several lines: line feeds stay.
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c, "\n"));
    out
}

/// A payload for a terminal: line feeds and tabs stay, what is not UTF-8 is shown byte by byte.
pub fn payload(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c, "\n\t"));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn push(out: &mut String, c: char, kept: &str) {
    // Writing to a string cannot fail.
    let _ = match c {
        c if !is_control(c) || kept.contains(c) => out.write_char(c),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// One JSON value in one line: line feeds and carriage returns can only be white space in it, and become blanks. For a
/// terminal what is left of control characters is written as JSON escapes: the value stays the same.
pub fn json(value: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    let is_whole = !value.iter().any(|b| matches!(b, b'\n' | b'\r'));
    let is_harmless = || std::str::from_utf8(value).is_ok_and(|text| !text.contains(is_control));
    if is_whole && (!is_terminal || is_harmless()) {
        return Cow::Borrowed(value);
    }
    if !is_terminal {
        let blank = |b: &u8| if matches!(b, b'\n' | b'\r') { b' ' } else { *b };
        return Cow::Owned(value.iter().map(blank).collect());
    }
    let mut out = String::with_capacity(value.len());
    for c in String::from_utf8_lossy(value).chars() {
        match c {
            // Raw, these stand between values alone.
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_control(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        assert!(matches!(text("plain ü 🚀"), Cow::Borrowed(_)));
        assert_eq!(text("a\x1b[2Jb\nc\r\td\x7f\u{9b}31m\u{202e}e"), "a\\x1b[2Jb\\nc\\r\\td\\x7f\\x9b31m\\u{202e}e");
        assert_eq!(lines("one\n\x07two"), "one\n\\x07two");
        assert_eq!(payload(b"a\tb\nc\r\x1b\xff\xc3\xa4"), "a\tb\nc\\r\\x1b\\xff\u{e4}");
        for n in 0..=0xff_u8 {
            let shown = payload(&[n]);
            assert!(!shown.contains(|c| is_control(c) && c != '\n' && c != '\t'), "{n}: {shown:?}");
        }
    }

    #[test]
    fn an_object_is_one_line_and_the_same_value() {
        let object = "{\"a\":\r\n [1,\n\t2],\"b\":\"\u{7f}\u{9b}\u{202e}ü\"}".as_bytes();
        let value: serde_json::Value = serde_json::from_slice(object).unwrap();
        for is_terminal in [false, true] {
            let line = json(object, is_terminal);
            assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "{line:?}");
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&line).unwrap(), value);
        }
        assert!(!std::str::from_utf8(&json(object, true)).unwrap().contains(is_control));
        assert!(matches!(json(b"{\"a\":1}", true), Cow::Borrowed(_)));
    }
}
