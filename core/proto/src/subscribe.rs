//! What a subscriber asks of the server, parsed without trust.
//!
//! Knows the client's half of the subscriber protocol: what the requests are, and their limits. `fields` has the rules by
//! which they are read. Never knows whether a topic exists, who the client is or what it may do beyond what the text says.
//!
//! A request is an object with a `type`. Unknown types and keys are ignored; of a key that is there twice the last
//! counts; an optional field that is `null` counts as absent. What is wrong is answered by an `error` object, never by a
//! close. A request is taken as a whole or not at all.

pub(crate) mod fields;
mod since;

pub use super::json::request::parse;
pub use since::{Beginning, LaneSince, Since, SinceList};

use super::json::reader::{JsonString, Reader, ValueType};
use crate::traceparent::TraceParent;
use crate::{Kind, Priority};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// Most topics in one request. Its `since` may name as many as fit in [`REQUEST_BYTES_MAX`].
pub const TOPICS_MAX: usize = 1024;
/// Longest `subscribe` or `unsubscribe`, in bytes as it is parsed: what bounds the topics of a `since`.
pub const REQUEST_BYTES_MAX: usize = 512 << 10;
/// Longest `id`, as it is written, in bytes: it is echoed, so it must fit a bounded control queue.
pub const ID_BYTES_MAX: usize = 64;
/// Longest `key`, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest `token`, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Largest `max_delay_ms`.
pub const DELAY_MS_MAX: u16 = 1_000;
/// Largest `max_hz`.
pub const RATE_HZ_MAX: f64 = 1e6;

/// Codes of `error` objects. PROTOCOL.md lists the same ones.
pub mod code {
    /// Not JSON, or nested too deeply.
    pub const BAD_JSON: &str = "bad_json";
    /// Not MessagePack, or nested too deeply.
    pub const BAD_MSGPACK: &str = "bad_msgpack";
    /// A field is missing or of the wrong type.
    pub const BAD_MESSAGE: &str = "bad_message";
    /// Not a topic name or pattern.
    pub const BAD_TOPIC: &str = "bad_topic";
    /// No such priority.
    pub const BAD_PRIORITY: &str = "bad_priority";
    /// No such encoding.
    pub const BAD_ENCODING: &str = "bad_encoding";
    /// `data` is not what its encoding says.
    pub const BAD_DATA: &str = "bad_data";
    /// More than [`TOPICS_MAX`](super::TOPICS_MAX) topics, more than [`REQUEST_BYTES_MAX`](super::REQUEST_BYTES_MAX) bytes
    /// of request, or no more topics can be made.
    pub const TOO_MANY_TOPICS: &str = "too_many_topics";
    /// A maximum of subscriptions, topics or cursors is reached.
    pub const TOO_MANY_SUBSCRIPTIONS: &str = "too_many_subscriptions";
    /// There is no such subscription to end.
    pub const NOT_SUBSCRIBED: &str = "not_subscribed";
    /// Well-formed, but not for this client.
    pub const NOT_ALLOWED: &str = "not_allowed";
    /// The token is not good, whatever is wrong with it, or none is taken here.
    pub const NOT_AUTHORIZED: &str = "not_authorized";
    /// That cannot be told now.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The same again too soon.
    pub const TOO_OFTEN: &str = "too_often";
    /// The server is shutting down.
    pub const STOPPED: &str = "stopped";

    /// All of them.
    pub const ALL: [&str; 15] = [
        BAD_JSON,
        BAD_MSGPACK,
        BAD_MESSAGE,
        BAD_TOPIC,
        BAD_PRIORITY,
        BAD_ENCODING,
        BAD_DATA,
        TOO_MANY_TOPICS,
        TOO_MANY_SUBSCRIPTIONS,
        NOT_SUBSCRIBED,
        NOT_ALLOWED,
        NOT_AUTHORIZED,
        UNAVAILABLE,
        TOO_OFTEN,
        STOPPED,
    ];
}

/// What a client uses to tell its requests apart: a number or a string, echoed as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id<'a> {
    raw: &'a [u8],
    encoding: IdEncoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum IdEncoding {
    Json,
    MessagePack,
}

impl<'a> Id<'a> {
    /// An id from its JSON text, as [`Id::as_json`] gives it: a number or a string of at most [`ID_BYTES_MAX`] bytes.
    pub fn from_json(raw: &'a str) -> Option<Self> {
        let mut reader = Reader::new(raw);
        let (ValueType::Number | ValueType::String) = reader.peek()? else { return None };
        let value = reader.value().ok()?;
        (value.len() == raw.len() && raw.len() <= ID_BYTES_MAX)
            .then_some(Id { raw: raw.as_bytes(), encoding: IdEncoding::Json })
    }

    /// The JSON text; `None` for an id that came in MessagePack.
    pub fn as_json(&self) -> Option<&'a [u8]> {
        (self.encoding == IdEncoding::Json).then_some(self.raw)
    }

    /// An id from its MessagePack bytes, which the caller has checked.
    pub(super) fn from_msgpack_checked(raw: &'a [u8]) -> Self {
        Id { raw, encoding: IdEncoding::MessagePack }
    }

    /// The MessagePack bytes; `None` for an id that came in JSON.
    pub fn as_msgpack(&self) -> Option<&'a [u8]> {
        (self.encoding == IdEncoding::MessagePack).then_some(self.raw)
    }

    /// The bytes to keep if the id is to outlive its message; read them again with the `from_` of the same encoding.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }
}

/// A `max_delay_ms` in whole milliseconds; a part of one is left out, for nothing may wait longer than is said. `None`: out of range.
pub(crate) fn delay_ms(ms: f64) -> Option<u16> {
    (0.0..=f64::from(DELAY_MS_MAX)).contains(&ms).then_some(ms as u16)
}

/// A client's request.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage<'a> {
    /// Send me what is published on these topics.
    Subscribe {
        /// To be echoed.
        id: Option<Id<'a>>,
        /// Names and patterns, each checked; at least one, at most [`TOPICS_MAX`], repeats included.
        topics: Vec<Cow<'a, str>>,
        /// Where to go on, and where topics begin of which it says nothing.
        since: SinceList,
        /// At most so many messages a second and lane.
        max_hz: Option<f64>,
        /// Messages may wait so many milliseconds, at most [`DELAY_MS_MAX`], to be sent together.
        max_delay_ms: Option<u16>,
        /// Whether the client's own messages come back to it.
        echo: Option<bool>,
    },
    /// No longer send me what these subscriptions brought.
    Unsubscribe {
        /// To be echoed.
        id: Option<Id<'a>>,
        /// Names and patterns as they were subscribed; at least one, at most [`TOPICS_MAX`].
        topics: Vec<Cow<'a, str>>,
    },
    /// Give this to the topic's subscribers.
    Publish(Publish<'a>),
    /// Answer with a pong.
    Ping {
        /// To be echoed.
        id: Option<Id<'a>>,
    },
    /// From now on I may do what this token says.
    Auth {
        /// To be echoed.
        id: Option<Id<'a>>,
        /// 1 to [`TOKEN_BYTES_MAX`] bytes of printable ASCII without blanks (RFC 6750 section 2.1).
        token: Cow<'a, str>,
    },
    /// A type that this version does not know: to be ignored.
    Unknown,
}

/// A `publish` request.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// For the `error` that may come of it.
    pub id: Option<Id<'a>>,
    /// A checked name, not one of the engine's own.
    pub topic: Cow<'a, str>,
    /// The payload.
    pub content: Content<'a>,
    /// Normal if the client does not say.
    pub priority: Priority,
    /// What the message replaces where only the latest counts: 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Option<Cow<'a, str>>,
    /// How long the message is of use, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The trace that it belongs to.
    pub parent: Option<TraceParent>,
}

/// A payload as a message carries it: checked, but not yet decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content<'a> {
    /// One JSON value, verbatim.
    Json(&'a str),
    /// Text in a string.
    Text(JsonString<'a>),
    /// Bytes in a base64 string (standard alphabet, padding optional), not checked yet.
    Base64(JsonString<'a>),
    /// Bytes as they are (MessagePack).
    Binary(&'a [u8]),
}

/// A `data` string that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`data` is not base64")]
pub struct NotBase64;

pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl<'a> Content<'a> {
    /// What the payload will be published as.
    pub fn kind(&self) -> Kind {
        match self {
            Content::Json(_) => Kind::Json,
            Content::Text(_) => Kind::Text,
            Content::Base64(_) | Content::Binary(_) => Kind::Binary,
        }
    }

    /// The payload where it stands, if it needs no decoding.
    pub fn as_plain(&self) -> Option<&'a [u8]> {
        match self {
            Content::Json(text) => Some(text.as_bytes()),
            Content::Text(string) => string.as_plain().map(str::as_bytes),
            Content::Base64(_) => None,
            Content::Binary(bytes) => Some(bytes),
        }
    }

    /// Upper bound of the payload's length, in bytes.
    pub fn bytes_max(&self) -> usize {
        match self {
            Content::Json(text) => text.len(),
            Content::Text(string) => string.bytes_max(),
            Content::Base64(string) => string.bytes_max().div_ceil(4) * 3,
            Content::Binary(bytes) => bytes.len(),
        }
    }

    /// Appends the payload to `out`. Allocates only if `out` is too small, or for base64 that is written with escapes.
    ///
    /// # Errors
    /// [`NotBase64`]; `out` is then as it was.
    pub fn decode(&self, out: &mut Vec<u8>) -> Result<Kind, NotBase64> {
        match self {
            Content::Json(text) => out.extend_from_slice(text.as_bytes()),
            Content::Text(string) => string.decode(out),
            Content::Base64(string) => {
                let length = out.len();
                BASE64.decode_vec(string.text().as_bytes(), out).map_err(|_| {
                    out.truncate(length);
                    NotBase64
                })?;
            }
            Content::Binary(bytes) => out.extend_from_slice(bytes),
        }
        Ok(self.kind())
    }
}

/// Why a request was refused: what becomes an `error` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlError<'a> {
    /// One of [`code`].
    pub code: &'static str,
    /// For people; at most about 400 bytes.
    pub message: Cow<'static, str>,
    /// The request's `id`, as far as it was understood.
    pub id: Option<Id<'a>>,
}

impl<'a> ControlError<'a> {
    pub(crate) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        ControlError { code, message: message.into(), id: None }
    }

    pub(super) fn with_id(self, id: Option<Id<'a>>) -> Self {
        ControlError { id, ..self }
    }
}

/// A request, or why it is refused.
pub(crate) type Parsed<'a, T> = Result<T, ControlError<'a>>;

#[cfg(test)]
mod tests;
