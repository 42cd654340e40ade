//! A client's requests in `fanwire.json.v1`, parsed without trust.
//!
//! Knows how the values of a request stand in JSON. Which of them there are, and what may stand in them, is said in
//! `crate::subscribe::fields`. Parsing a `publish` or a `ping` does not allocate unless the topic or the key is
//! written with escapes.

use super::reader::{JsonError, JsonString, Reader, ValueType};
use crate::subscribe::fields::{Fields, RawValue, ValueReader, no_object};
use crate::subscribe::{ClientMessage, Content, ControlError, Id, Parsed, code};

impl From<JsonError> for ControlError<'_> {
    fn from(error: JsonError) -> Self {
        ControlError::new(code::BAD_JSON, error.to_string())
    }
}

/// Parses one text message of a client. O(length).
///
/// # Errors
/// What to answer the client.
pub fn parse(text: &str) -> Result<ClientMessage<'_>, ControlError<'_>> {
    parse_of(text, text.len())
}

/// The same of what stands for a request of so many bytes.
pub(crate) fn parse_of(text: &str, bytes: usize) -> Result<ClientMessage<'_>, ControlError<'_>> {
    let mut fields = Fields::default();
    let mut reader = Reader::new(text);
    if reader.peek().is_some_and(|found| found != ValueType::Object) {
        reader.value()?;
        reader.finish()?;
        return Err(no_object::<Reader<'_>>());
    }
    reader.object(|name, reader| {
        let value = reader.value()?;
        fields.note(&name.text(), value);
        Ok::<_, JsonError>(())
    })?;
    reader.finish()?;
    fields.message(bytes)
}

impl<'a> RawValue<'a> for &'a str {
    type Reader = Reader<'a>;
    const NULL: Self = "null";
    const NULL_IS_PAYLOAD: bool = true;
    const PLAIN_PAYLOAD: &'static str = "JSON";

    fn reader(self) -> Reader<'a> {
        Reader::new(self)
    }

    fn id(self) -> Option<Id<'a>> {
        Id::from_json(self)
    }

    fn boolean(self) -> Option<bool> {
        Reader::new(self).boolean().ok()
    }

    /// Written without fraction and exponent.
    fn unsigned(self) -> Option<u64> {
        // `parse` alone would take a plus sign, but the reader has let none through.
        self.parse().ok()
    }

    fn number(self) -> Option<f64> {
        Reader::new(self).number().ok()?.parse().ok()
    }

    fn payload(self) -> Parsed<'a, Content<'a>> {
        Ok(Content::Json(self))
    }
}

impl<'a> ValueReader<'a> for Reader<'a> {
    type Raw = &'a str;
    const OBJECT: &'static str = "an object";

    fn raw(&mut self) -> Parsed<'a, &'a str> {
        Ok(self.value()?)
    }

    fn text(&mut self) -> Option<JsonString<'a>> {
        self.string().ok()
    }

    fn each_item(&mut self, item: impl FnMut(&mut Self) -> Parsed<'a, ()>) -> Parsed<'a, bool> {
        let is_array = self.peek() == Some(ValueType::Array);
        if is_array {
            self.array(item)?;
        }
        Ok(is_array)
    }

    fn each_member(&mut self, member: impl FnMut(JsonString<'a>, &mut Self) -> Parsed<'a, ()>) -> Parsed<'a, bool> {
        let is_object = self.peek() == Some(ValueType::Object);
        if is_object {
            self.object(member)?;
        }
        Ok(is_object)
    }

    fn resume(raw: &'a str, at: usize) -> Self {
        Reader::new_at(raw, at, 1)
    }

    fn at(&self) -> usize {
        self.position()
    }

    fn enter(&mut self) -> Option<u32> {
        self.enter_object().then_some(u32::MAX)
    }

    fn next_member(&mut self, _left: &mut u32) -> Parsed<'a, Option<JsonString<'a>>> {
        Ok(self.next_name()?)
    }
}
