//! JSON text read past in pieces: a value, or the members of a whole object, with a state that is kept between two of them.
//!
//! Says of every text what [`super::reader`] says of it, wherever it is interrupted. Takes bytes that are known to be UTF-8, so
//! that a long text need not be looked at only to be taken for a `str`. Never knows what the values mean.

use std::ops::Range;

use super::reader::{DEPTH_MAX, Fault, JsonError};
use super::reader::{decode_escape, next_at, short_escape, skip_number, skip_word, unexpected_at};

/// Reads past one value.
#[derive(Clone, Debug)]
pub(crate) struct Skip {
    at: usize,
    /// Levels that the value stands deep.
    outside: u32,
    depth: u32,
    /// What is open, the innermost lowest: a one for an object.
    objects: u128,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value comes next.
    Value,
    /// Behind `[` or `{`.
    Opened,
    /// A member's name comes next.
    Name,
    /// Behind a name.
    Colon,
    /// Inside a string.
    Inside { is_name: bool },
    /// Behind a value.
    Behind,
}

impl Skip {
    /// In front of a value, white space allowed, that stands so many levels deep.
    pub fn new(at: usize, outside: u32) -> Self {
        Skip { at, outside, depth: outside, objects: 0, state: State::Value }
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes on to about `until`. True: the value has ended, right before [`Skip::at`].
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn advance(&mut self, bytes: &[u8], until: usize) -> Result<bool, JsonError> {
        let end = until.min(bytes.len());
        loop {
            if let State::Inside { is_name } = self.state {
                if !self.pass_string(bytes, end)? {
                    return Ok(false);
                }
                self.state = if is_name { State::Colon } else { State::Behind };
            }
            if self.state == State::Behind && self.depth == self.outside {
                return Ok(true);
            }
            let (byte, at) = next_at(&bytes[..end], self.at);
            self.at = at;
            if byte.is_none() && end < bytes.len() {
                return Ok(false);
            }
            self.pass(bytes, byte)?;
        }
    }

    /// Takes the token that begins with `byte`, of a string only its beginning.
    fn pass(&mut self, bytes: &[u8], byte: Option<u8>) -> Result<(), JsonError> {
        let at = self.at;
        let in_object = self.objects & 1 == 1;
        self.state = match (self.state, byte) {
            (State::Opened, Some(b'}')) if in_object => self.close(),
            (State::Opened, Some(b']')) if !in_object => self.close(),
            (State::Opened, _) => return self.pass_item(bytes, byte, in_object),
            (State::Name, _) => return self.pass_item(bytes, byte, true),
            (State::Value, _) => return self.pass_item(bytes, byte, false),
            (State::Colon, Some(b':')) => self.behind(State::Value),
            (State::Behind, Some(b',')) => self.behind(if in_object { State::Name } else { State::Value }),
            (State::Behind, Some(b'}')) if in_object => self.close(),
            (State::Behind, Some(b']')) if !in_object => self.close(),
            _ => return Err(unexpected_at(bytes, at)),
        };
        Ok(())
    }

    fn pass_item(&mut self, bytes: &[u8], byte: Option<u8>, is_name: bool) -> Result<(), JsonError> {
        let at = self.at;
        let word: &[u8] = match byte {
            Some(b'"') => {
                self.state = self.behind(State::Inside { is_name });
                return Ok(());
            }
            _ if is_name => return Err(unexpected_at(bytes, at)),
            Some(open @ (b'{' | b'[')) => {
                if self.depth >= DEPTH_MAX {
                    return Err(JsonError { at, fault: Fault::Depth });
                }
                self.depth += 1;
                self.objects = self.objects << 1 | u128::from(open == b'{');
                self.state = self.behind(State::Opened);
                return Ok(());
            }
            Some(b'-' | b'0'..=b'9') => {
                self.at = skip_number(bytes, at)?;
                self.state = State::Behind;
                return Ok(());
            }
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => b"null",
            _ => return Err(unexpected_at(bytes, at)),
        };
        self.at = skip_word(bytes, at, word)?;
        self.state = State::Behind;
        Ok(())
    }

    /// The state behind the byte in hand.
    fn behind(&mut self, state: State) -> State {
        self.at += 1;
        state
    }

    fn close(&mut self) -> State {
        self.depth -= 1;
        self.objects >>= 1;
        self.behind(State::Behind)
    }

    /// Goes on inside a string. True: it has ended.
    fn pass_string(&mut self, bytes: &[u8], end: usize) -> Result<bool, JsonError> {
        loop {
            self.at += super::plain_bytes(bytes.get(self.at..end).unwrap_or_default());
            while self.at < end && short_escape(bytes, self.at).is_some() {
                self.at += 2;
            }
            if self.at >= end && end < bytes.len() {
                return Ok(false);
            }
            let at = self.at;
            match bytes.get(at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(true);
                }
                Some(b'\\') => match decode_escape(&bytes[at..]) {
                    Ok((_, length)) => self.at += length,
                    Err(fault) => return Err(JsonError { at, fault }),
                },
                Some(byte) if *byte < 0x20 => return Err(JsonError { at, fault: Fault::Control }),
                Some(_) => {}
                None => return Err(JsonError { at, fault: Fault::End }),
            }
        }
    }
}

/// Reads past a text that is one value, with white space around it.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    value: Skip,
    has_value: bool,
}

impl Whole {
    /// At the start of a text that is to stand so many levels deep inside another one.
    pub fn new(outside: u32) -> Self {
        Whole { value: Skip::new(0, outside), has_value: false }
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        self.value.at
    }

    /// Goes on to about `until`. True: the text is JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn advance(&mut self, bytes: &[u8], until: usize) -> Result<bool, JsonError> {
        self.has_value = self.has_value || self.value.advance(bytes, until)?;
        Ok(self.has_value && pass_end(bytes, until, &mut self.value.at)?)
    }
}

/// Goes on behind a text's only value. True: nothing but white space was there.
fn pass_end(bytes: &[u8], until: usize, at: &mut usize) -> Result<bool, JsonError> {
    let end = until.min(bytes.len());
    let (byte, next) = next_at(&bytes[..end], *at);
    *at = next.max(*at);
    match byte {
        Some(_) => Err(JsonError { at: *at, fault: Fault::Trailing }),
        None => Ok(*at >= bytes.len()),
    }
}

/// What [`Members::advance`] has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// As far as it was to go.
    Spent,
    /// The end of a member.
    Member { name: Range<usize>, value: Range<usize> },
    /// The text's end. `is_object`: it had members.
    End { is_object: bool },
}

/// Reads the members of a text that is one object.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    stage: Stage,
    at: usize,
    name: Range<usize>,
}

#[derive(Clone, Debug)]
enum Stage {
    Start,
    /// The text is another value.
    Other(Whole),
    /// Behind `{`.
    Opened,
    BeforeName,
    Name(Skip),
    Colon,
    BeforeValue,
    Value(Skip),
    Behind,
    End,
}

impl Members {
    /// At the start of a text.
    pub fn new() -> Self {
        Members { stage: Stage::Start, at: 0, name: 0..0 }
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        match &self.stage {
            Stage::Other(whole) => whole.at(),
            Stage::Name(skip) | Stage::Value(skip) => skip.at(),
            _ => self.at,
        }
    }

    /// Goes on to about `until`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn advance(&mut self, bytes: &[u8], until: usize) -> Result<Met, JsonError> {
        let end = until.min(bytes.len());
        loop {
            match &mut self.stage {
                Stage::Other(whole) => {
                    let is_whole = whole.advance(bytes, until)?;
                    return Ok(if is_whole { Met::End { is_object: false } } else { Met::Spent });
                }
                Stage::Name(skip) => {
                    if !skip.advance(bytes, until)? {
                        return Ok(Met::Spent);
                    }
                    self.name = self.at..skip.at();
                    self.at = skip.at();
                    self.stage = Stage::Colon;
                }
                Stage::Value(skip) => {
                    if !skip.advance(bytes, until)? {
                        return Ok(Met::Spent);
                    }
                    let value = self.at..skip.at();
                    self.at = skip.at();
                    self.stage = Stage::Behind;
                    return Ok(Met::Member { name: self.name.clone(), value });
                }
                Stage::End => {
                    let is_end = pass_end(bytes, until, &mut self.at)?;
                    return Ok(if is_end { Met::End { is_object: true } } else { Met::Spent });
                }
                _ => {}
            }
            let (byte, at) = next_at(&bytes[..end], self.at);
            self.at = at.max(self.at);
            if byte.is_none() && end < bytes.len() {
                return Ok(Met::Spent);
            }
            self.pass(bytes, byte)?;
        }
    }

    fn pass(&mut self, bytes: &[u8], byte: Option<u8>) -> Result<(), JsonError> {
        let stage = match (&self.stage, byte) {
            (Stage::Start, Some(b'{')) => Stage::Opened,
            (Stage::Start, _) => {
                self.stage = Stage::Other(Whole::new(0));
                return Ok(());
            }
            (Stage::Opened, Some(b'}')) | (Stage::Behind, Some(b'}')) => Stage::End,
            (Stage::Opened | Stage::BeforeName, Some(b'"')) => {
                self.stage = Stage::Name(Skip::new(self.at, 1));
                return Ok(());
            }
            (Stage::Colon, Some(b':')) => Stage::BeforeValue,
            (Stage::BeforeValue, _) => {
                self.stage = Stage::Value(Skip::new(self.at, 1));
                return Ok(());
            }
            (Stage::Behind, Some(b',')) => Stage::BeforeName,
            _ => return Err(unexpected_at(bytes, self.at)),
        };
        self.at += 1;
        self.stage = stage;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::*;
    use proptest::prelude::*;

    /// The whole text in pieces of so many bytes.
    fn in_pieces(text: &str, piece: usize) -> Result<(), JsonError> {
        let mut whole = Whole::new(1);
        for _ in 0..=2 * text.len() + 4 {
            if whole.advance(text.as_bytes(), whole.at() + piece)? {
                return Ok(());
            }
        }
        panic!("no end: {text}");
    }

    /// Names and values.
    type Found<'a> = Vec<(&'a str, &'a str)>;

    fn members(text: &str, piece: usize) -> Result<Option<Found<'_>>, JsonError> {
        let (mut members, mut found) = (Members::new(), Vec::new());
        for _ in 0..=4 * text.len() + 4 {
            match members.advance(text.as_bytes(), members.at() + piece)? {
                Met::Spent => {}
                Met::Member { name, value } => found.push((&text[name], &text[value])),
                Met::End { is_object } => return Ok(is_object.then_some(found)),
            }
        }
        panic!("no end: {text}");
    }

    /// What the reader says.
    fn at_once(text: &str) -> Result<(), JsonError> {
        let mut reader = Reader::new_inside(text, 1);
        reader.value().and_then(|_| reader.finish())
    }

    /// Names as they are meant, and values as they are written.
    fn members_at_once(text: &str) -> Result<Option<Vec<(String, String)>>, JsonError> {
        let (mut reader, mut found) = (Reader::new(text), Vec::new());
        if reader.peek().is_some_and(|kind| kind != super::super::reader::ValueType::Object) {
            return reader.value().and_then(|_| reader.finish()).map(|()| None);
        }
        reader.object(|name, reader| {
            let value = reader.value()?;
            found.push((name.text().into_owned(), value.to_owned()));
            Ok::<_, JsonError>(())
        })?;
        reader.finish()?;
        Ok(Some(found))
    }

    fn check(text: &str) {
        for piece in [1, 2, 3, 5, 17, 1_000] {
            assert_eq!(in_pieces(text, piece), at_once(text), "{text} in pieces of {piece}");
            let ours = members(text, piece).map(|found| {
                found.map(|found| {
                    let name = |raw: &str| Reader::new(raw).string().expect("a name").text().into_owned();
                    found.into_iter().map(|(raw, value)| (name(raw), value.to_owned())).collect::<Vec<_>>()
                })
            });
            let theirs = members_at_once(text);
            assert_eq!(ours, theirs, "{text} in pieces of {piece}");
        }
    }

    #[test]
    fn wherever_it_is_interrupted_it_says_what_the_reader_says() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            "",
            " ",
            "1",
            " 1 ",
            "1 2",
            "-0.5e+3",
            "1e400",
            "01",
            "tru",
            "true",
            "nullx",
            "\"",
            "\"a",
            "\"a\\",
            "\"\\n\\u00e9\\ud83d\\ude00é\"",
            "\"\\ud83d\"",
            "\"\\x\"",
            "\"\u{1}\"",
            "[",
            "[]",
            "[1,]",
            "[1 2]",
            "[1,2 , [ ] , {}]",
            "{",
            "{}",
            "{ \"a\" : 1 , \"b\":[{}] }",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":1]",
            "[1}",
            "{} x",
            "{\"\\u0061\":\"b\\\\\"}",
            "]",
            "}",
            "{\"a\":{\"b\":{\"c\":[1,2,{\"d\":null}]}},\"a\":2}",
        ] {
            check(text);
        }
        for levels in [125, 126, 127, 128] {
            check(&deep(levels));
        }
        let digits = |n: usize| "1".repeat(n);
        check(&format!("0.{}", digits(super::super::reader::NUMBER_BYTES_MAX - 2)));
        assert!(at_once(&format!("0.{}", digits(super::super::reader::NUMBER_BYTES_MAX - 2))).is_ok(), "at the limit");
        assert!(at_once(&format!("0.{}", digits(super::super::reader::NUMBER_BYTES_MAX - 1))).is_err(), "one past it");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_alike(text in "[\\[\\]{}:,\"\\\\ a0-9etrufalsn.é-]{0,24}") {
            check(&text);
        }
    }
}
