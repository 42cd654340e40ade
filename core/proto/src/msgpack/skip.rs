//! MessagePack read past in pieces: a value, or the members of a whole map, with a state that is kept between two of them.
//!
//! Says of all bytes what [`super::reader`] says of them, wherever it is interrupted. Never knows what the values mean.

use std::ops::Range;

use super::reader::{Fault, MsgpackError, Reader, Value, children};
use crate::json::reader::DEPTH_MAX;
use crate::json::skip::Met;
use crate::utf8::Utf8;

/// Reads past one value.
#[derive(Clone, Debug)]
pub(crate) struct Skip {
    at: usize,
    /// Levels that the value stands deep.
    outside: usize,
    /// How many values are still to come, by level; the first is the value itself.
    left: Vec<u64>,
    /// The string that it stands in.
    text: Option<Text>,
}

#[derive(Clone, Debug)]
struct Text {
    began: usize,
    end: usize,
    utf8: Utf8,
}

impl Skip {
    /// In front of a value that stands so many levels deep.
    pub fn new(at: usize, outside: usize) -> Self {
        Skip { at, outside, left: vec![1], text: None }
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes on to about `until`. True: the value has ended, right before [`Skip::at`].
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn advance(&mut self, bytes: &[u8], until: usize) -> Result<bool, MsgpackError> {
        loop {
            if !self.pass_text(bytes, until)? {
                return Ok(false);
            }
            while self.left.last() == Some(&0) {
                self.left.pop();
            }
            let Some(left) = self.left.last_mut() else { return Ok(true) };
            if self.at >= until && self.at < bytes.len() {
                return Ok(false);
            }
            *left -= 1;
            self.pass(bytes)?;
        }
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), MsgpackError> {
        let began = self.at;
        let mut reader = Reader::new_at(bytes, began);
        if let Some((inside, is_text)) = reader.long()? {
            self.at = if is_text { inside.start } else { inside.end };
            self.text = is_text.then_some(Text { began, end: inside.end, utf8: Utf8::new() });
            return Ok(());
        }
        let value = reader.value()?;
        self.at = reader.position();
        if let Value::Array(_) | Value::Map(_) = value {
            let is_outermost = self.outside == 0 && self.left.len() == 1;
            if self.outside + self.left.len() > DEPTH_MAX as usize && !(is_outermost && children(value) == 0) {
                return Err(MsgpackError { at: began, fault: Fault::Depth });
            }
            self.left.push(children(value));
        }
        Ok(())
    }

    /// Goes on inside a string, if it stands in one. True: it does so no longer.
    fn pass_text(&mut self, bytes: &[u8], until: usize) -> Result<bool, MsgpackError> {
        let Some(text) = &mut self.text else { return Ok(true) };
        let end = text.end.min(until).max(self.at);
        let checked = text.utf8.push(bytes.get(self.at..end).unwrap_or_default());
        self.at = end;
        let is_whole = end == text.end;
        if checked.is_err() || (is_whole && !text.utf8.is_complete()) {
            return Err(MsgpackError { at: text.began, fault: Fault::Utf8 });
        }
        if is_whole {
            self.text = None;
        }
        Ok(is_whole)
    }
}

/// Reads the members of what is one map.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    stage: Stage,
    at: usize,
    left: u32,
    name: Range<usize>,
    /// A key that is no string: what is malformed behind it comes first.
    odd_key: Option<usize>,
}

#[derive(Clone, Debug)]
enum Stage {
    Start,
    /// It is another value.
    Other(Skip),
    Between,
    Name(Skip),
    Value(Skip),
}

impl Members {
    /// At the start.
    pub fn new() -> Self {
        Members { stage: Stage::Start, at: 0, left: 0, name: 0..0, odd_key: None }
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        match &self.stage {
            Stage::Other(skip) | Stage::Name(skip) | Stage::Value(skip) => skip.at(),
            _ => self.at,
        }
    }

    /// Goes on to about `until`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn advance(&mut self, bytes: &[u8], until: usize) -> Result<Met, MsgpackError> {
        loop {
            match &mut self.stage {
                Stage::Start => {
                    let mut reader = Reader::new(bytes);
                    self.stage = match reader.long()? {
                        None => match reader.value()? {
                            Value::Map(pairs) => {
                                self.left = pairs;
                                self.at = reader.position();
                                Stage::Between
                            }
                            _ => Stage::Other(Skip::new(0, 0)),
                        },
                        Some(_) => Stage::Other(Skip::new(0, 0)),
                    };
                }
                Stage::Other(skip) => {
                    if !skip.advance(bytes, until)? {
                        return Ok(Met::Spent);
                    }
                    check_end(bytes, skip.at())?;
                    return Ok(Met::End { is_object: false });
                }
                Stage::Between if self.left == 0 => {
                    check_end(bytes, self.at)?;
                    return match self.odd_key {
                        Some(at) => Err(MsgpackError { at, fault: Fault::Type }),
                        None => Ok(Met::End { is_object: true }),
                    };
                }
                Stage::Between => {
                    if self.at >= until {
                        return Ok(Met::Spent);
                    }
                    self.stage = Stage::Name(Skip::new(self.at, 1));
                }
                Stage::Name(skip) => {
                    if !skip.advance(bytes, until)? {
                        return Ok(Met::Spent);
                    }
                    self.name = self.at..skip.at();
                    self.at = skip.at();
                    let is_text = matches!(Reader::new_at(bytes, self.name.start).long(), Ok(Some((_, true))));
                    if !is_text && self.odd_key.is_none() {
                        self.odd_key = Some(self.name.start);
                    }
                    self.stage = Stage::Value(Skip::new(self.at, 1));
                }
                Stage::Value(skip) => {
                    if !skip.advance(bytes, until)? {
                        return Ok(Met::Spent);
                    }
                    let value = self.at..skip.at();
                    self.at = skip.at();
                    self.left -= 1;
                    self.stage = Stage::Between;
                    if self.odd_key.is_none() {
                        return Ok(Met::Member { name: self.name.clone(), value });
                    }
                }
            }
        }
    }
}

fn check_end(bytes: &[u8], at: usize) -> Result<(), MsgpackError> {
    if at == bytes.len() { Ok(()) } else { Err(MsgpackError { at, fault: Fault::Trailing }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at_once(bytes: &[u8]) -> Result<(), MsgpackError> {
        let mut reader = Reader::new(bytes);
        reader.raw_value()?;
        reader.finish()
    }

    fn in_pieces(bytes: &[u8], piece: usize) -> Result<(), MsgpackError> {
        let mut skip = Skip::new(0, 0);
        for _ in 0..=2 * bytes.len() + 4 {
            if skip.advance(bytes, skip.at() + piece)? {
                return check_end(bytes, skip.at());
            }
        }
        panic!("no end: {bytes:x?}");
    }

    /// Names and values, as they are written.
    type Found<'a> = Vec<(&'a [u8], &'a [u8])>;

    fn members(bytes: &[u8], piece: usize) -> Result<Option<Found<'_>>, MsgpackError> {
        let (mut members, mut found) = (Members::new(), Vec::new());
        for _ in 0..=4 * bytes.len() + 4 {
            match members.advance(bytes, members.at() + piece)? {
                Met::Spent => {}
                Met::Member { name, value } => found.push((&bytes[name], &bytes[value])),
                Met::End { is_object } => return Ok(is_object.then_some(found)),
            }
        }
        panic!("no end: {bytes:x?}");
    }

    fn check(bytes: &[u8]) {
        for piece in [1, 2, 3, 7, 1_000] {
            assert_eq!(in_pieces(bytes, piece), at_once(bytes), "{bytes:x?} in pieces of {piece}");
            let ours = members(bytes, piece);
            match at_once(bytes) {
                Err(error) => assert_eq!(ours, Err(error), "{bytes:x?} in pieces of {piece}"),
                Ok(()) => {
                    let mut theirs = Vec::new();
                    let mut reader = Reader::new(bytes);
                    let is_map = matches!(reader.clone().value(), Ok(Value::Map(_)));
                    let read = reader.map(|name, reader| {
                        theirs.push((name.as_bytes(), reader.raw_value()?));
                        Ok::<_, MsgpackError>(())
                    });
                    let ours = ours.map(|found| {
                        let name = |raw| match Reader::new(raw).value() {
                            Ok(Value::Str(name)) => name.as_bytes(),
                            other => panic!("{other:?}"),
                        };
                        found.map(|found| found.into_iter().map(|(raw, v)| (name(raw), v)).collect::<Vec<_>>())
                    });
                    let theirs = if is_map { read.map(|()| Some(theirs)) } else { Ok(None) };
                    assert_eq!(ours, theirs, "{bytes:x?} in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn wherever_it_is_interrupted_it_says_what_the_reader_says() {
        for bytes in [
            &b""[..],
            b"\xc0",
            b"\xc0\xc0",
            b"\xc1",
            b"\x80",
            b"\x90",
            b"\x81\xa1a\x01",
            b"\x81\xa1a",
            b"\x82\xa1a\x01\xa1b\x92\x01\x80",
            b"\x81\x01\x02",
            b"\x82\x01\x02\xa1a\xc1",
            b"\xa3abc",
            b"\xa3ab",
            b"\xa2\xc3\xa9",
            b"\xa2\xc3\x28",
            b"\xa1\xc3",
            b"\xd9\x05hello",
            b"\xda\x00\x05hell",
            b"\xc4\x03\xff\xfe\xfd",
            b"\xdd\xff\xff\xff\xff\x01",
            b"\xdf\x00\x00\x00\x01\xa1a\xcb\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x81\xa1a\x81\xa1b\x81\xa1c\x93\x01\x02\x03",
            b"\xd6\x01\x02\x03\x04\x05",
        ] {
            check(bytes);
        }
        for levels in [126, 127, 128, 129] {
            check(&[&vec![0x91; levels][..], b"\x01"].concat());
            check(&[&vec![0x91; levels][..], b"\x90"].concat());
            check(&[&b"\x81\xa1a"[..], &vec![0x91; levels - 1], b"\x01"].concat());
            check(&[&b"\x81\xa1a"[..], &vec![0x91; levels - 1], b"\x90"].concat());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_alike(bytes in proptest::collection::vec(
            prop_oneof![Just(0x81u8), Just(0x92), Just(0xa1), Just(0xd9), Just(0xc4), Just(0x61), Just(2), any::<u8>()], 0..20)
        ) {
            check(&bytes);
        }
    }
}
