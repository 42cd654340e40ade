//! A strict, allocation-free pull reader of JSON text.
//!
//! Knows the grammar of RFC 8259 and nothing of what the values mean. Never trusts its text, never recurses and never
//! allocates: what is skipped is remembered as one bit a level.
//!
//! Three things the grammar leaves open are decided strictly, because a value that this reader takes may be embedded in a
//! message which other parsers must be able to read as a whole: nesting is at most [`DEPTH_MAX`] levels, a surrogate
//! escape (`\ud83d`) needs its other half, and a number must not overflow a double (`1e999`). `serde_json` decides
//! all three the same way, other parsers turn them into errors, infinities or replacement characters. Names in an object may repeat.
//! A number has at most [`NUMBER_BYTES_MAX`] characters.

use std::borrow::Cow;
use thiserror::Error;

/// Deepest nesting of arrays and objects in one text, what most parsers stand by default.
pub const DEPTH_MAX: u32 = 127;
/// Longest number, in characters: a number is looked at as a whole.
pub const NUMBER_BYTES_MAX: usize = 64 << 10;

/// Why a text is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} at byte {at}")]
pub struct JsonError {
    /// Byte offset of the first byte that cannot be.
    pub at: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The text ends inside a value.
    #[error("unexpected end")]
    End,
    /// A byte that cannot stand here.
    #[error("unexpected character")]
    Unexpected,
    /// Something after the value.
    #[error("trailing characters")]
    Trailing,
    /// A value of another type than the reader asked for.
    #[error("another type of value was expected")]
    Type,
    /// A control character inside a string.
    #[error("unescaped control character in a string")]
    Control,
    /// An escape that does not exist.
    #[error("invalid escape")]
    Escape,
    /// A surrogate escape without its other half.
    #[error("lone surrogate escape")]
    Surrogate,
    /// A number that is larger than any double.
    #[error("number out of range")]
    Range,
    /// More than [`DEPTH_MAX`] levels.
    #[error("nested too deeply")]
    Depth,
}

/// The type of a JSON value, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A JSON string as it stands in its text, checked but not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonString<'a> {
    /// What stands between the quotes.
    raw: &'a str,
    escaped: bool,
}

impl<'a> JsonString<'a> {
    /// A text that holds no escapes and is to be taken as it is.
    pub fn plain(text: &'a str) -> Self {
        JsonString { raw: text, escaped: false }
    }

    /// The text if it is free of escapes, hence needs no decoding.
    pub fn as_plain(&self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// The decoded text: borrowed if it is free of escapes, else allocated.
    pub fn text(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut decoded = Vec::with_capacity(self.raw.len());
        self.decode(&mut decoded);
        Cow::Owned(String::from_utf8(decoded).unwrap_or_default())
    }

    /// Appends the decoded text to `out`: never more than [`JsonString::bytes_max`].
    pub fn decode(&self, out: &mut Vec<u8>) {
        out.reserve(self.raw.len());
        self.each_part(|part| out.extend_from_slice(part));
    }

    /// Upper bound of the decoded length, in bytes: decoding never makes a text longer.
    pub fn bytes_max(&self) -> usize {
        self.raw.len()
    }

    /// Whether the decoded text is `other`. No allocation.
    pub fn is(&self, other: &str) -> bool {
        if !self.escaped {
            return self.raw == other;
        }
        let mut rest = Some(other.as_bytes());
        self.each_part(|part| rest = rest.and_then(|r| r.strip_prefix(part)));
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// Hands out the decoded text in pieces. The escapes were checked when the string was read.
    #[inline]
    fn each_part(&self, mut part: impl FnMut(&[u8])) {
        let mut rest = self.raw.as_bytes();
        if !self.escaped {
            return part(rest);
        }
        while !rest.is_empty() {
            // What follows each other is not looked for.
            while let Some(c) = short_escape(rest, 0) {
                part(&[c]);
                rest = &rest[2..];
            }
            if rest.first() == Some(&b'\\') {
                let (c, bytes) = decode_escape(rest).unwrap_or((char::REPLACEMENT_CHARACTER, 2));
                part(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(bytes..).unwrap_or_default();
                continue;
            }
            let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
            part(&rest[..plain]);
            rest = &rest[plain..];
        }
    }
}

/// Reads one JSON text from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`, which may nest [`DEPTH_MAX`] levels.
    pub fn new(text: &'a str) -> Self {
        Reader { text, at: 0, depth: 0 }
    }

    /// A reader of a text that is to stand `levels` deep inside another one, and so may nest that much less.
    pub fn new_inside(text: &'a str, levels: u32) -> Self {
        Reader { text, at: 0, depth: levels }
    }

    /// A reader inside a text that was checked, so many levels deep in it.
    pub(crate) fn new_at(text: &'a str, at: usize, depth: u32) -> Self {
        Reader { text, at, depth }
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Enters the object ahead. False: there is none.
    pub(crate) fn enter_object(&mut self) -> bool {
        self.peek() == Some(ValueType::Object) && self.enter(ValueType::Object).is_ok()
    }

    /// The name of the next member of an object that was checked, whose value is ahead then. `None`: there is no other.
    pub(crate) fn next_name(&mut self) -> Result<Option<JsonString<'a>>, JsonError> {
        match self.next_byte() {
            Some(b'}') => {
                self.leave();
                return Ok(None);
            }
            Some(b',') => self.at += 1,
            _ => {}
        }
        self.name().map(Some)
    }

    /// The type of the value ahead, if a value can start here.
    pub fn peek(&mut self) -> Option<ValueType> {
        Some(match self.next_byte()? {
            b'n' => ValueType::Null,
            b't' | b'f' => ValueType::Bool,
            b'-' | b'0'..=b'9' => ValueType::Number,
            b'"' => ValueType::String,
            b'[' => ValueType::Array,
            b'{' => ValueType::Object,
            _ => return None,
        })
    }

    /// Reads an object, calling `member` with each name; `member` must read exactly one value.
    ///
    /// # Errors
    /// Those of `member`; [`Fault::Type`] if the value ahead is no object.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(JsonString<'a>, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(ValueType::Object)?;
        if self.next_byte() == Some(b'}') {
            self.leave();
            return Ok(());
        }
        loop {
            let name = self.name()?;
            member(name, self)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(self.unexpected().into()),
            }
        }
    }

    /// Reads an array, calling `item` in front of each value; `item` must read exactly one value.
    ///
    /// # Errors
    /// Those of `item`; [`Fault::Type`] if the value ahead is no array.
    pub fn array<E: From<JsonError>>(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.enter(ValueType::Array)?;
        if self.next_byte() == Some(b']') {
            self.leave();
            return Ok(());
        }
        loop {
            item(self)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(self.unexpected().into()),
            }
        }
    }

    /// Reads a string without decoding it.
    ///
    /// # Errors
    /// [`Fault::Type`] if the value ahead is none; what is wrong with it.
    pub fn string(&mut self) -> Result<JsonString<'a>, JsonError> {
        self.expect_type(ValueType::String)?;
        let quoted = skip_string(self.text.as_bytes(), self.at)?;
        self.at = quoted.end + 1;
        Ok(self.json_string(quoted))
    }

    /// Reads a number and returns it as it is written.
    ///
    /// # Errors
    /// [`Fault::Type`] if the value ahead is none; what is wrong with it.
    pub fn number(&mut self) -> Result<&'a str, JsonError> {
        self.expect_type(ValueType::Number)?;
        let start = self.at;
        self.at = skip_number(self.text.as_bytes(), start)?;
        Ok(&self.text[start..self.at])
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// [`Fault::Type`] if the value ahead is neither.
    pub fn boolean(&mut self) -> Result<bool, JsonError> {
        self.expect_type(ValueType::Bool)?;
        let truth = self.next_byte() == Some(b't');
        self.at = skip_word(self.text.as_bytes(), self.at, if truth { b"true" } else { b"false" })?;
        Ok(truth)
    }

    /// Reads past one value of any type and returns it verbatim, without the white space around it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn value(&mut self) -> Result<&'a str, JsonError> {
        self.next_byte();
        let start = self.at;
        self.at = skip_value(self.text.as_bytes(), start, self.depth)?;
        Ok(&self.text[start..self.at])
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// [`Fault::Trailing`]
    pub fn finish(mut self) -> Result<(), JsonError> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.error(Fault::Trailing)),
        }
    }

    /// The error `fault` at the present place.
    pub fn error(&self, fault: Fault) -> JsonError {
        JsonError { at: self.at, fault }
    }

    fn expect_type(&mut self, wanted: ValueType) -> Result<(), JsonError> {
        match self.peek() {
            Some(found) if found == wanted => Ok(()),
            Some(_) => Err(self.error(Fault::Type)),
            None => Err(self.unexpected()),
        }
    }

    fn enter(&mut self, wanted: ValueType) -> Result<(), JsonError> {
        self.expect_type(wanted)?;
        if self.depth >= DEPTH_MAX {
            return Err(self.error(Fault::Depth));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// A member's name and the colon after it.
    fn name(&mut self) -> Result<JsonString<'a>, JsonError> {
        let (name, after) = name_at(self.text.as_bytes(), self.at)?;
        self.at = after;
        Ok(self.json_string(name))
    }

    fn json_string(&self, quoted: Quoted) -> JsonString<'a> {
        JsonString { raw: &self.text[quoted.start..quoted.end], escaped: quoted.escaped }
    }

    /// The next byte that is not white space, not taken.
    fn next_byte(&mut self) -> Option<u8> {
        let (byte, at) = next_at(self.text.as_bytes(), self.at);
        self.at = at;
        byte
    }

    fn unexpected(&self) -> JsonError {
        unexpected_at(self.text.as_bytes(), self.at)
    }
}

// Below, a cursor is passed and returned by value: it stays in a register, which makes skipping half as dear.

/// The first byte from `at` on that is not white space, and where it is.
pub(super) fn next_at(bytes: &[u8], mut at: usize) -> (Option<u8>, usize) {
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\n' | b'\r') => at += 1,
            other => return (other.copied(), at),
        }
    }
}

pub(super) fn unexpected_at(bytes: &[u8], at: usize) -> JsonError {
    JsonError { at, fault: if at >= bytes.len() { Fault::End } else { Fault::Unexpected } }
}

/// Skips one value that may nest down to [`DEPTH_MAX`] and itself stands `outside` levels deep; where it ends.
///
/// What is open around the present place is kept as bits, the innermost lowest, a one for an object.
fn skip_value(bytes: &[u8], mut at: usize, outside: u32) -> Result<usize, JsonError> {
    let mut depth = outside;
    let mut objects: u128 = 0;
    loop {
        let (byte, start) = next_at(bytes, at);
        match byte {
            Some(b'"') => at = skip_string(bytes, start)?.end + 1,
            Some(b'-' | b'0'..=b'9') => at = skip_number(bytes, start)?,
            Some(open @ (b'{' | b'[')) => {
                if depth >= DEPTH_MAX {
                    return Err(JsonError { at: start, fault: Fault::Depth });
                }
                depth += 1;
                objects = objects << 1 | u128::from(open == b'{');
                let (first, first_at) = next_at(bytes, start + 1);
                at = first_at;
                // `}` is `{` + 2, and `]` is `[` + 2. A close at once ends the value, below.
                if first != Some(open + 2) {
                    if open == b'{' {
                        (_, at) = name_at(bytes, at)?;
                    }
                    continue;
                }
            }
            Some(b't') => at = skip_word(bytes, start, b"true")?,
            Some(b'f') => at = skip_word(bytes, start, b"false")?,
            Some(b'n') => at = skip_word(bytes, start, b"null")?,
            _ => return Err(unexpected_at(bytes, start)),
        }
        // A value has ended, or an empty one is about to.
        while depth > outside {
            let in_object = objects & 1 == 1;
            let (byte, next) = next_at(bytes, at);
            at = next + 1;
            match byte {
                Some(b',') => {
                    if in_object {
                        (_, at) = name_at(bytes, at)?;
                    }
                    break;
                }
                Some(b'}') if in_object => {}
                Some(b']') if !in_object => {}
                _ => return Err(unexpected_at(bytes, next)),
            }
            depth -= 1;
            objects >>= 1;
        }
        if depth == outside {
            return Ok(at);
        }
    }
}

/// Where the text of a string stands.
#[derive(Clone, Copy)]
struct Quoted {
    start: usize,
    /// Where the closing quote is.
    end: usize,
    escaped: bool,
}

/// A member's name, and where its value begins, after the colon.
fn name_at(bytes: &[u8], at: usize) -> Result<(Quoted, usize), JsonError> {
    let (byte, at) = next_at(bytes, at);
    if byte != Some(b'"') {
        return Err(unexpected_at(bytes, at));
    }
    let name = skip_string(bytes, at)?;
    let (byte, at) = next_at(bytes, name.end + 1);
    if byte != Some(b':') {
        return Err(unexpected_at(bytes, at));
    }
    Ok((name, at + 1))
}

/// A string, from its opening quote.
fn skip_string(bytes: &[u8], at: usize) -> Result<Quoted, JsonError> {
    let start = at + 1;
    let mut at = start;
    let mut escaped = false;
    loop {
        at += super::plain_bytes(bytes.get(at..).unwrap_or_default());
        match bytes.get(at) {
            Some(b'"') => return Ok(Quoted { start, end: at, escaped }),
            Some(b'\\') => {
                escaped = true;
                while short_escape(bytes, at).is_some() {
                    at += 2;
                }
                if bytes.get(at) == Some(&b'\\') {
                    match decode_escape(&bytes[at..]) {
                        Ok((_, length)) => at += length,
                        Err(fault) => return Err(JsonError { at, fault }),
                    }
                }
            }
            Some(_) => return Err(JsonError { at, fault: Fault::Control }),
            None => return Err(JsonError { at, fault: Fault::End }),
        }
    }
}

/// What the byte behind a backslash stands for; 0: it is no escape of two bytes.
const SHORT_ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let pairs = [
        (b'"', b'"'),
        (b'\\', b'\\'),
        (b'/', b'/'),
        (b'b', 8),
        (b'f', 12),
        (b'n', b'\n'),
        (b'r', b'\r'),
        (b't', b'\t'),
    ];
    let mut at = 0;
    while at < pairs.len() {
        escapes[pairs[at].0 as usize] = pairs[at].1;
        at += 1;
    }
    escapes
};

/// The character of the escape of two bytes at `at`, if there is one.
#[inline]
pub(super) fn short_escape(bytes: &[u8], at: usize) -> Option<u8> {
    match bytes.get(at..at + 2) {
        Some(&[b'\\', byte]) => Some(SHORT_ESCAPES[usize::from(byte)]).filter(|&c| c != 0),
        _ => None,
    }
}

/// A number, from its first byte (RFC 8259 section 6); where it ends.
pub(super) fn skip_number(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    // One character more, so that too long can be told from just long enough.
    let bytes = bytes.get(..start + NUMBER_BYTES_MAX + 1).unwrap_or(bytes);
    let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut long = false;
    match bytes.get(at) {
        Some(b'0') => at += 1,
        _ => {
            let end = skip_digits(bytes, at)?;
            long = end - at > 308;
            at = end;
        }
    }
    if bytes.get(at) == Some(&b'.') {
        at = skip_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = skip_digits(bytes, at)?;
        long = true;
    }
    if at - start > NUMBER_BYTES_MAX || (long && is_infinite(&bytes[start..at])) {
        return Err(JsonError { at: start, fault: Fault::Range });
    }
    Ok(at)
}

/// Whether a number rounds to infinity. Only one with an exponent, or with more than 308 digits, can.
#[cold]
fn is_infinite(number: &[u8]) -> bool {
    std::str::from_utf8(number).ok().and_then(|digits| digits.parse::<f64>().ok()).is_some_and(f64::is_infinite)
}

/// One or more digits; where they end.
fn skip_digits(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut at = start;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    if at == start { Err(unexpected_at(bytes, at)) } else { Ok(at) }
}

pub(super) fn skip_word(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, JsonError> {
    match bytes.get(at..at + word.len()) {
        Some(found) if found == word => Ok(at + word.len()),
        _ => Err(JsonError { at, fault: Fault::Unexpected }),
    }
}

/// Decodes the escape at the start of `bytes`: the character, and how many bytes the escape takes.
pub(super) fn decode_escape(bytes: &[u8]) -> Result<(char, usize), Fault> {
    if let Some(c) = short_escape(bytes, 0) {
        return Ok((char::from(c), 2));
    }
    match bytes.get(1) {
        Some(b'u') => decode_unicode(bytes),
        _ => Err(Fault::Escape),
    }
}

/// `\uXXXX`, or a pair of them for a character beyond U+FFFF (RFC 8259 section 7).
fn decode_unicode(bytes: &[u8]) -> Result<(char, usize), Fault> {
    let first = hex4(bytes.get(2..6))?;
    if let Some(c) = char::from_u32(first) {
        return Ok((c, 6));
    }
    if first >= 0xdc00 || bytes.get(6..8) != Some(b"\\u") {
        return Err(Fault::Surrogate);
    }
    let second = hex4(bytes.get(8..12))?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(Fault::Surrogate);
    }
    let code = 0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00));
    char::from_u32(code).map(|c| (c, 12)).ok_or(Fault::Surrogate)
}

fn hex4(digits: Option<&[u8]>) -> Result<u32, Fault> {
    digits
        .ok_or(Fault::Escape)?
        .iter()
        .try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
        .ok_or(Fault::Escape)
}
