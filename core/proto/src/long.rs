//! A long request, parsed in pieces: what stands for it, and what of it is read apart.
//!
//! A request's fields are short but for two: the payload of a `publish`, and the topics of a `since`. So a long one is read past
//! first, a piece at a time ([`LongRequest`]); then a [`Brief`] of it is parsed like any request, in which something short
//! stands for what is long; and what is long is read in pieces from where it lies ([`data`], [`since`]).
//!
//! Says of a request what `parse` of its encoding says of it at once. Never knows who sent it, or how long a piece should be.

pub mod data;
pub mod since;

use std::ops::Range;

use crate::json;
use crate::json::reader::Reader as JsonReader;
use crate::json::skip::Met;
use crate::msgpack;
use crate::msgpack::reader::{Reader as PackedReader, Value};
use crate::subscribe::{ClientMessage, ControlError, Parsed, REQUEST_BYTES_MAX, TOKEN_BYTES_MAX, code, fields};

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As one JSON object; the bytes are known to be UTF-8.
    Json,
    /// As one MessagePack map.
    Msgpack,
}

/// What a value may take that stands in a [`Brief`] as it was written.
const SHORT_BYTES_MAX: usize = 4 << 10;

/// The names of a request's fields.
const NAMES: [&str; 16] = [
    "type",
    "id",
    "topics",
    "since",
    "from",
    "max_hz",
    "echo",
    "topic",
    "data",
    "priority",
    "key",
    "ttl_ms",
    "encoding",
    "token",
    "traceparent",
    "max_delay_ms",
];
const _: () = assert!(NAMES.len() <= u8::MAX as usize, "how many they are is said in one byte");
const TOPICS: usize = 2;
const SINCE: usize = 3;
const DATA: usize = 8;
const TOKEN: usize = 13;
/// The longest token, each character an escape, with its quotes.
const TOKEN_WRITTEN_MAX: usize = 6 * TOKEN_BYTES_MAX + 2;

/// A request that is being read past.
#[derive(Debug)]
pub struct LongRequest {
    walk: Walk,
    /// Where the value of each of [`NAMES`] stands.
    values: [Option<Range<usize>>; NAMES.len()],
}

#[derive(Debug)]
enum Walk {
    Json(json::skip::Members),
    Msgpack(msgpack::skip::Members),
}

impl LongRequest {
    /// At the start of a request.
    pub fn new(encoding: Encoding) -> Self {
        let walk = match encoding {
            Encoding::Json => Walk::Json(json::skip::Members::new()),
            Encoding::Msgpack => Walk::Msgpack(msgpack::skip::Members::new()),
        };
        LongRequest { walk, values: Default::default() }
    }

    /// How far it has come, in bytes.
    pub fn at(&self) -> usize {
        match &self.walk {
            Walk::Json(members) => members.at(),
            Walk::Msgpack(members) => members.at(),
        }
    }

    /// Goes on for about so many bytes of `request`, which is the same each time. True: that was all.
    ///
    /// # Errors
    /// What to answer the client.
    pub fn advance(&mut self, request: &[u8], piece: usize) -> Result<bool, ControlError<'static>> {
        let until = self.at().saturating_add(piece);
        loop {
            let met = match &mut self.walk {
                Walk::Json(members) => members.advance(request, until)?,
                Walk::Msgpack(members) => members.advance(request, until)?,
            };
            match met {
                Met::Spent => return Ok(false),
                Met::End { is_object: true } => return Ok(true),
                Met::End { is_object: false } => return Err(self.no_object()),
                Met::Member { name, value } => {
                    if let Some(field) = self.field_named(request.get(name).unwrap_or_default()) {
                        self.values[field] = Some(value);
                    }
                }
            }
        }
    }

    fn no_object(&self) -> ControlError<'static> {
        match &self.walk {
            Walk::Json(_) => fields::no_object::<JsonReader<'_>>(),
            Walk::Msgpack(_) => fields::no_object::<PackedReader<'_>>(),
        }
    }

    /// Which of [`NAMES`] this is, as it is written.
    fn field_named(&self, raw: &[u8]) -> Option<usize> {
        // The longest name, each character an escape, with its quotes.
        const RAW_BYTES_MAX: usize = 11 * 6 + 2;
        if raw.len() > RAW_BYTES_MAX {
            return None;
        }
        match &self.walk {
            Walk::Json(_) => {
                let name = JsonReader::new(std::str::from_utf8(raw).ok()?).string().ok()?;
                NAMES.iter().position(|known| name.is(known))
            }
            Walk::Msgpack(_) => match PackedReader::new(raw).value() {
                Ok(Value::Str(name)) => NAMES.iter().position(|known| *known == name),
                _ => None,
            },
        }
    }

    /// What stands for the request, once it is read past.
    pub fn brief(&self, request: &[u8]) -> Brief {
        let mut brief =
            Brief { encoding: self.encoding(), text: Vec::new(), bytes: request.len(), data: None, since: None };
        let values = || {
            NAMES.iter().zip(&self.values).enumerate().filter_map(|(n, (name, value))| Some((n, *name, value.clone()?)))
        };
        match brief.encoding {
            Encoding::Json => brief.text.push(b'{'),
            // `map 16`.
            Encoding::Msgpack => brief.text.extend([0xde, 0, values().count() as u8]),
        }
        for (field, name, value) in values() {
            brief.name(name);
            let raw = request.get(value.clone()).unwrap_or_default();
            let is_taken_whole = match field {
                TOPICS => request.len() <= REQUEST_BYTES_MAX,
                TOKEN => raw.len() <= TOKEN_WRITTEN_MAX,
                _ => false,
            };
            if raw.len() <= SHORT_BYTES_MAX || is_taken_whole {
                brief.text.extend_from_slice(raw);
                continue;
            }
            match field {
                DATA => brief.data = Some(value),
                SINCE if brief.is_object(raw) => brief.since = Some(value),
                _ => {}
            }
            brief.stand_in(raw, field == DATA);
        }
        if brief.encoding == Encoding::Json {
            brief.text.push(b'}');
        }
        brief
    }

    fn encoding(&self) -> Encoding {
        match &self.walk {
            Walk::Json(_) => Encoding::Json,
            Walk::Msgpack(_) => Encoding::Msgpack,
        }
    }
}

/// What stands for a long request.
#[derive(Debug)]
pub struct Brief {
    encoding: Encoding,
    /// The request, with something short for what is long.
    text: Vec<u8>,
    /// How long the request is.
    bytes: usize,
    /// Where the value of `data` stands in the request, if it is long.
    pub data: Option<Range<usize>>,
    /// Where the object of `since` stands, if it is long.
    pub since: Option<Range<usize>>,
}

impl Brief {
    /// The request: its content is of the right sort, but not the content, where [`Brief::data`] says where that is; likewise its
    /// [`Brief::since`].
    ///
    /// # Errors
    /// What to answer the client.
    pub fn parse(&self) -> Result<ClientMessage<'_>, ControlError<'_>> {
        match self.encoding {
            Encoding::Json => json::request::parse_of(self.json()?, self.bytes),
            Encoding::Msgpack => msgpack::request::parse_of(&self.text, self.bytes),
        }
    }

    /// Bytes of what stands for the request.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// How the request is written.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn json(&self) -> Parsed<'_, &str> {
        std::str::from_utf8(&self.text).map_err(|_| ControlError::new(code::BAD_JSON, "not UTF-8"))
    }

    fn name(&mut self, name: &str) {
        match self.encoding {
            Encoding::Json => {
                if self.text.len() > 1 {
                    self.text.push(b',');
                }
                self.text.push(b'"');
                self.text.extend_from_slice(name.as_bytes());
                self.text.extend_from_slice(b"\":");
            }
            Encoding::Msgpack => {
                // All names are shorter than 32 bytes.
                self.text.push(0xa0 | name.len() as u8);
                self.text.extend_from_slice(name.as_bytes());
            }
        }
    }

    fn is_object(&self, raw: &[u8]) -> bool {
        match self.encoding {
            Encoding::Json => raw.first() == Some(&b'{'),
            Encoding::Msgpack => matches!(raw.first(), Some(0x80..=0x8f | 0xde | 0xdf)),
        }
    }

    /// Writes what stands for a long value: of its type, and, but for a payload, too long for any field.
    fn stand_in(&mut self, raw: &[u8], is_data: bool) {
        const TOO_LONG: usize = 300;
        let first = raw.first().copied().unwrap_or_default();
        let out = &mut self.text;
        match (self.encoding, first) {
            // For a payload of MessagePack this is JSON text, too.
            (Encoding::Json, b'"') if is_data => out.extend_from_slice(b"\"0\""),
            (Encoding::Json, b'"') => {
                out.push(b'"');
                out.resize(out.len() + TOO_LONG, b' ');
                out.push(b'"');
            }
            (Encoding::Json, b'{') => out.extend_from_slice(b"{}"),
            (Encoding::Json, b'[') => out.extend_from_slice(b"[]"),
            (Encoding::Json, _) if is_data => out.push(b'0'),
            (Encoding::Json, _) => out.resize(out.len() + TOO_LONG, b'1'),
            (Encoding::Msgpack, 0xc4..=0xc6) => out.extend_from_slice(&[0xc4, 0]),
            (Encoding::Msgpack, 0xd9..=0xdb) if is_data => out.extend_from_slice(b"\xa10"),
            (Encoding::Msgpack, 0xd9..=0xdb) => {
                out.extend_from_slice(&[0xda, (TOO_LONG >> 8) as u8, TOO_LONG as u8]);
                out.resize(out.len() + TOO_LONG, b' ');
            }
            (Encoding::Msgpack, 0xde | 0xdf | 0x80..=0x8f) => out.push(0x80),
            (Encoding::Msgpack, 0xdc | 0xdd | 0x90..=0x9f) => out.push(0x90),
            // What is as long as this and none of those is an extension: true is as wrong.
            (Encoding::Msgpack, _) => out.extend_from_slice(&[0xd4, 0, 0]),
        }
    }
}

#[cfg(test)]
mod tests;
