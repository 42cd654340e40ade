//! A client's requests in `fanwire.msgpack.v1`, parsed without trust.
//!
//! Knows how the values of a request stand in MessagePack. Which of them there are, and what may stand in them, is said
//! in `crate::subscribe::fields`. `data` is `bin` for bytes, or `str`: JSON text, or text if `encoding` is `"text"`, or
//! bytes if it is `"base64"`. Parsing a `publish` or a `ping` does not allocate.

use super::reader::{Fault, MsgpackError, Reader, Value};
use crate::json::check::PAYLOAD_DEPTH_MAX;
use crate::json::reader::{DEPTH_MAX, JsonError, JsonString, Reader as JsonReader};
use crate::subscribe::fields::{Fields, RawValue, ValueReader, no_object, wrong_type};
use crate::subscribe::{ClientMessage, Content, ControlError, ID_BYTES_MAX, Id, Parsed, code};

impl From<MsgpackError> for ControlError<'_> {
    fn from(error: MsgpackError) -> Self {
        let code = if error.fault == Fault::Type { code::BAD_MESSAGE } else { code::BAD_MSGPACK };
        ControlError::new(code, error.to_string())
    }
}

/// Parses one binary message of a client. O(length).
///
/// # Errors
/// What to answer the client.
pub fn parse(bytes: &[u8]) -> Result<ClientMessage<'_>, ControlError<'_>> {
    parse_of(bytes, bytes.len())
}

/// The same of what stands for a request of so many bytes.
pub(crate) fn parse_of(bytes: &[u8], sent_bytes: usize) -> Result<ClientMessage<'_>, ControlError<'_>> {
    let mut whole = Reader::new(bytes);
    whole.raw_value()?;
    whole.finish()?;
    let Some(Value::Map(_)) = value(bytes) else {
        return Err(no_object::<Reader<'_>>());
    };
    let mut fields = Fields::default();
    Reader::new(bytes).map(|name, reader| {
        fields.note(name, reader.raw_value()?);
        Ok::<_, MsgpackError>(())
    })?;
    fields.message(sent_bytes)
}

impl<'a> RawValue<'a> for &'a [u8] {
    type Reader = Reader<'a>;
    const NULL: Self = &[0xc0];
    const NULL_IS_PAYLOAD: bool = false;
    const PLAIN_PAYLOAD: &'static str = "binary and for JSON text";

    fn reader(self) -> Reader<'a> {
        Reader::new(self)
    }

    fn id(self) -> Option<Id<'a>> {
        Id::from_msgpack(self)
    }

    fn boolean(self) -> Option<bool> {
        match value(self)? {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// Some encoders write whole numbers as floats: up to 2^53 that is the same number.
    fn unsigned(self) -> Option<u64> {
        match value(self)? {
            Value::Unsigned(number) => Some(number),
            Value::Float(number) if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number) => {
                Some(number as u64)
            }
            _ => None,
        }
    }

    fn number(self) -> Option<f64> {
        match value(self)? {
            Value::Unsigned(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    fn payload(self) -> Parsed<'a, Content<'a>> {
        match value(self) {
            Some(Value::Bin(bytes)) => Ok(Content::Binary(bytes)),
            Some(Value::Str(json)) => {
                let mut reader = JsonReader::new_inside(json, DEPTH_MAX - PAYLOAD_DEPTH_MAX);
                reader.value().and_then(|_| reader.finish()).map_err(not_json)?;
                Ok(Content::Json(json))
            }
            _ => Err(wrong_type("data", "a string or binary")),
        }
    }
}

impl<'a> ValueReader<'a> for Reader<'a> {
    type Raw = &'a [u8];
    const OBJECT: &'static str = "a map";

    fn raw(&mut self) -> Parsed<'a, &'a [u8]> {
        Ok(self.raw_value()?)
    }

    fn text(&mut self) -> Option<JsonString<'a>> {
        match self.value().ok()? {
            Value::Str(text) => Some(JsonString::plain(text)),
            _ => None,
        }
    }

    fn each_item(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<'a, ()>) -> Parsed<'a, bool> {
        let Value::Array(count) = self.value()? else { return Ok(false) };
        for _ in 0..count {
            item(self)?;
        }
        Ok(true)
    }

    fn each_member(&mut self, mut member: impl FnMut(JsonString<'a>, &mut Self) -> Parsed<'a, ()>) -> Parsed<'a, bool> {
        self.apart(|reader| {
            let Ok(Value::Map(_)) = reader.clone().value() else { return Ok(false) };
            reader.map(|name, reader| member(JsonString::plain(name), reader))?;
            Ok(true)
        })
    }

    fn resume(raw: &'a [u8], at: usize) -> Self {
        Reader::new_at(raw, at)
    }

    fn at(&self) -> usize {
        self.position()
    }

    fn enter(&mut self) -> Option<u32> {
        match self.value().ok()? {
            Value::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    fn next_member(&mut self, left: &mut u32) -> Parsed<'a, Option<JsonString<'a>>> {
        let Some(others) = left.checked_sub(1) else { return Ok(None) };
        *left = others;
        Ok(Some(JsonString::plain(self.key()?)))
    }
}

impl<'a> Id<'a> {
    /// An id from its MessagePack bytes, as [`Id::as_msgpack`] gives them: a number or a string of at most
    /// [`ID_BYTES_MAX`] bytes.
    pub fn from_msgpack(raw: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(raw);
        let kind = reader.value().ok()?;
        let fits = matches!(kind, Value::Unsigned(_) | Value::Negative(_) | Value::Float(_) | Value::Str(_));
        (fits && reader.finish().is_ok() && raw.len() <= ID_BYTES_MAX).then(|| Id::from_msgpack_checked(raw))
    }
}

pub(crate) fn not_json<'a>(error: JsonError) -> ControlError<'a> {
    ControlError::new(code::BAD_DATA, format!("a `data` string without `encoding` must be JSON: {error}"))
}

fn value(raw: &[u8]) -> Option<Value<'_>> {
    Reader::new(raw).value().ok()
}
