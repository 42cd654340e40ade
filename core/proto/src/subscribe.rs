//! What a subscriber asks of the server, parsed without trust.
//!
//! Knows the client's half of the subscriber protocol: which fields a request has, what may stand in them and how a
//! refusal is worded. Never knows whether a topic exists, who the client is or what it may do beyond what the text says.
//!
//! A request is an object with a `type`. Unknown types and keys are ignored; of a key that is there twice the last counts;
//! an optional field that is `null` counts as absent. What is wrong is answered by an `error` object, never by a close.
//! A request is taken as a whole or not at all. Parsing a `publish` or a `ping` does not allocate unless the topic or
//! the key is written with escapes.

mod since;

pub use since::{Beginning, Since, SinceList};

use super::json::reader::{JsonError, JsonString, Reader, ValueType};
use super::topic::{NAME_BYTES_MAX, Pattern, TopicName};
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
    /// The server is shutting down.
    pub const STOPPED: &str = "stopped";

    /// All of them.
    pub const ALL: [&str; 12] = [
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
        since: SinceList<'a>,
        /// At most so many messages a second and lane.
        max_hz: Option<f64>,
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

const BASE64: GeneralPurpose = GeneralPurpose::new(
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
    pub(super) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        ControlError { code, message: message.into(), id: None }
    }

    pub(super) fn with_id(self, id: Option<Id<'a>>) -> Self {
        ControlError { id, ..self }
    }
}

impl From<JsonError> for ControlError<'_> {
    fn from(error: JsonError) -> Self {
        ControlError::new(code::BAD_JSON, error.to_string())
    }
}

type Parsed<'a, T> = Result<T, ControlError<'a>>;

/// Parses one text message of a client. O(length).
///
/// # Errors
/// What to answer the client.
pub fn parse<'a>(text: &'a str) -> Parsed<'a, ClientMessage<'a>> {
    let fields = Fields::read(text)?;
    let id = fields.id()?;
    fields.message(id, text.len()).map_err(|error| error.with_id(id))
}

/// The fields of a request as they are written; which of them count depends on `type`.
#[derive(Default)]
struct Fields<'a> {
    r#type: Option<&'a str>,
    id: Option<&'a str>,
    topics: Option<&'a str>,
    since: Option<&'a str>,
    from: Option<&'a str>,
    max_hz: Option<&'a str>,
    echo: Option<&'a str>,
    topic: Option<&'a str>,
    data: Option<&'a str>,
    priority: Option<&'a str>,
    key: Option<&'a str>,
    ttl_ms: Option<&'a str>,
    encoding: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Checks the whole text and notes where the known fields stand.
    fn read(text: &'a str) -> Parsed<'a, Self> {
        let mut fields = Fields::default();
        let mut reader = Reader::new(text);
        if let Some(ValueType::Array | ValueType::String | ValueType::Number | ValueType::Bool | ValueType::Null) =
            reader.peek()
        {
            reader.value()?;
            reader.finish()?;
            return Err(ControlError::new(code::BAD_MESSAGE, "a request is an object"));
        }
        reader.object(|name, reader| {
            let value = Some(reader.value()?);
            match &*name.text() {
                "type" => fields.r#type = value,
                "id" => fields.id = value,
                "topics" => fields.topics = value,
                "since" => fields.since = value,
                "from" => fields.from = value,
                "max_hz" => fields.max_hz = value,
                "echo" => fields.echo = value,
                "topic" => fields.topic = value,
                "data" => fields.data = value,
                "priority" => fields.priority = value,
                "key" => fields.key = value,
                "ttl_ms" => fields.ttl_ms = value,
                "encoding" => fields.encoding = value,
                _ => {}
            }
            Ok::<_, JsonError>(())
        })?;
        reader.finish()?;
        Ok(fields)
    }

    fn id(&self) -> Parsed<'a, Option<Id<'a>>> {
        present(self.id).map(|raw| Id::from_json(raw).ok_or_else(bad_id)).transpose()
    }

    fn message(&self, id: Option<Id<'a>>, bytes: usize) -> Parsed<'a, ClientMessage<'a>> {
        let r#type = string(present(self.r#type).ok_or_else(|| missing("type"))?, "type")?;
        if r#type.is("publish") {
            Ok(ClientMessage::Publish(self.publish(id)?))
        } else if r#type.is("ping") {
            Ok(ClientMessage::Ping { id })
        } else if r#type.is("subscribe") {
            check_request_bytes(bytes)?;
            Ok(ClientMessage::Subscribe {
                id,
                topics: self.topics()?,
                since: self.since()?,
                max_hz: present(self.max_hz).map(max_hz).transpose()?,
                echo: present(self.echo).map(|raw| boolean(raw, "echo")).transpose()?,
            })
        } else if r#type.is("unsubscribe") {
            check_request_bytes(bytes)?;
            Ok(ClientMessage::Unsubscribe { id, topics: self.topics()? })
        } else {
            Ok(ClientMessage::Unknown)
        }
    }

    fn publish(&self, id: Option<Id<'a>>) -> Parsed<'a, Publish<'a>> {
        let topic = string(present(self.topic).ok_or_else(|| missing("topic"))?, "topic")?.text();
        check_publish_topic(&topic)?;
        Ok(Publish {
            id,
            topic,
            content: self.content()?,
            priority: match present(self.priority) {
                Some(raw) => priority(&string(raw, "priority")?.text())?,
                None => Priority::default(),
            },
            key: match present(self.key) {
                Some(raw) => Some(check_key(string(raw, "key")?.text())?),
                None => None,
            },
            ttl_ms: present(self.ttl_ms).map(|raw| unsigned(raw, "ttl_ms")).transpose()?,
        })
    }

    /// `data`, which alone may be `null`, by its `encoding`.
    fn content(&self) -> Parsed<'a, Content<'a>> {
        let raw = self.data.ok_or_else(|| missing("data"))?;
        let Some(encoding) = present(self.encoding) else {
            return Ok(Content::Json(raw));
        };
        let encoding = string(encoding, "encoding")?;
        if encoding.is("text") {
            string(raw, "data").map(Content::Text)
        } else if encoding.is("base64") {
            string(raw, "data").map(Content::Base64)
        } else {
            Err(ControlError::new(code::BAD_ENCODING, "`encoding` is `text` or `base64`, or absent for JSON"))
        }
    }

    fn topics(&self) -> Parsed<'a, Vec<Cow<'a, str>>> {
        let raw = present(self.topics).ok_or_else(|| missing("topics"))?;
        let mut topics = Vec::new();
        let mut reader = Reader::new(raw);
        expect(&mut reader, ValueType::Array, "topics", "an array of strings")?;
        reader.array(|reader| {
            expect(reader, ValueType::String, "topics", "an array of strings")?;
            let topic = reader.string()?.text();
            check_subscribe_topic(&topic)?;
            check_topic_count(topics.len())?;
            topics.push(topic);
            Ok::<_, ControlError<'a>>(())
        })?;
        match topics.len() {
            0 => Err(ControlError::new(code::BAD_MESSAGE, "`topics` is empty")),
            _ => Ok(topics),
        }
    }

    fn since(&self) -> Parsed<'a, SinceList<'a>> {
        let unnamed = match present(self.from) {
            Some(raw) => beginning(&string(raw, "from")?.text())?,
            None => Beginning::default(),
        };
        let mut entries = Vec::new();
        let Some(raw) = present(self.since) else {
            return Ok(SinceList::new(entries, unnamed));
        };
        let mut reader = Reader::new(raw);
        expect(&mut reader, ValueType::Object, "since", "an object by topic")?;
        reader.object(|topic, reader| {
            let topic = topic.text();
            check_since_topic(&topic)?;
            entries.push(since_entry(topic, reader)?);
            Ok::<_, ControlError<'a>>(())
        })?;
        Ok(SinceList::new(entries, unnamed))
    }
}

/// `{epoch, seq: {PRIORITY: n}}`; lanes of unknown priorities are ignored like unknown keys.
fn since_entry<'a>(topic: Cow<'a, str>, reader: &mut Reader<'a>) -> Parsed<'a, Since<'a>> {
    let (mut epoch, mut seq) = (None, [None; Priority::ALL.len()]);
    expect(reader, ValueType::Object, "since", "an object with `epoch` and `seq` for each topic")?;
    reader.object(|name, reader| {
        if name.is("epoch") {
            epoch = Some(unsigned(reader.value()?, "epoch")?);
        } else if name.is("seq") {
            expect(reader, ValueType::Object, "seq", "an object by priority")?;
            reader.object(|lane, reader| {
                let value = reader.value()?;
                if let Some(priority) = Priority::from_name(&lane.text()) {
                    seq[priority as usize] = Some(unsigned(value, "seq")?);
                }
                Ok::<_, ControlError<'a>>(())
            })?;
        } else {
            reader.value()?;
        }
        Ok::<_, ControlError<'a>>(())
    })?;
    let epoch = epoch.ok_or_else(|| missing("epoch"))?;
    Ok(Since { topic, epoch, seq })
}

/// An optional field: absent if it is not there or `null`.
fn present(field: Option<&str>) -> Option<&str> {
    field.filter(|raw| *raw != "null")
}

fn expect<'a>(reader: &mut Reader<'a>, wanted: ValueType, field: &str, what: &str) -> Parsed<'a, ()> {
    if reader.peek() == Some(wanted) { Ok(()) } else { Err(wrong_type(field, what)) }
}

fn string<'a>(raw: &'a str, field: &str) -> Parsed<'a, JsonString<'a>> {
    Reader::new(raw).string().map_err(|_| wrong_type(field, "a string"))
}

fn boolean<'a>(raw: &'a str, field: &str) -> Parsed<'a, bool> {
    Reader::new(raw).boolean().map_err(|_| wrong_type(field, "true or false"))
}

/// A whole number from 0 to 2^64 - 1, written without fraction and exponent.
fn unsigned<'a>(raw: &'a str, field: &str) -> Parsed<'a, u64> {
    // `parse` alone would take a plus sign, but the reader has let none through.
    raw.parse().map_err(|_| wrong_type(field, "a whole number that is not negative"))
}

fn max_hz<'a>(raw: &'a str) -> Parsed<'a, f64> {
    let number = Reader::new(raw).number().ok().and_then(|digits| digits.parse().ok());
    check_rate(number)
}

pub(super) fn check_rate<'a>(rate: Option<f64>) -> Parsed<'a, f64> {
    match rate {
        Some(hz) if hz > 0.0 && hz <= RATE_HZ_MAX => Ok(hz),
        _ => Err(wrong_type("max_hz", "a number above 0, at most 1000000")),
    }
}

pub(super) fn check_publish_topic<'a>(topic: &str) -> Parsed<'a, ()> {
    let name = TopicName::new(topic).map_err(|error| bad_topic(topic, &error))?;
    if name.is_engine_owned() {
        return Err(ControlError::new(code::NOT_ALLOWED, "topics that begin with `$` are the engine's own"));
    }
    Ok(())
}

pub(super) fn check_subscribe_topic<'a>(topic: &str) -> Parsed<'a, ()> {
    Pattern::check(topic).map_err(|error| bad_topic(topic, &error))
}

pub(super) fn check_since_topic<'a>(topic: &str) -> Parsed<'a, ()> {
    TopicName::check(topic).map_err(|error| bad_topic(topic, &error))
}

/// Whether one more topic may join `count` others.
pub(super) fn check_topic_count<'a>(count: usize) -> Parsed<'a, ()> {
    if count < TOPICS_MAX {
        return Ok(());
    }
    Err(ControlError::new(code::TOO_MANY_TOPICS, "at most 1024 topics in one request"))
}

/// Whether a `subscribe` or `unsubscribe` of so many bytes is taken.
pub(super) fn check_request_bytes<'a>(bytes: usize) -> Parsed<'a, ()> {
    if bytes <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let message = "a subscribe or unsubscribe request has at most 524288 bytes";
    Err(ControlError::new(code::TOO_MANY_TOPICS, message))
}

pub(super) fn beginning<'a>(word: &str) -> Parsed<'a, Beginning> {
    match word {
        "newest" => Ok(Beginning::Newest),
        "oldest" => Ok(Beginning::Oldest),
        _ => Err(ControlError::new(code::BAD_MESSAGE, "`from` is `newest` or `oldest`")),
    }
}

pub(super) fn check_key<'a>(key: Cow<'a, str>) -> Parsed<'a, Cow<'a, str>> {
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(key),
        _ => Err(ControlError::new(code::BAD_MESSAGE, "`key` has 1 to 255 bytes")),
    }
}

pub(super) fn priority<'a>(name: &str) -> Parsed<'a, Priority> {
    Priority::from_name(name)
        .ok_or_else(|| ControlError::new(code::BAD_PRIORITY, "`priority` is critical, high, normal or low"))
}

pub(super) fn bad_id<'a>() -> ControlError<'a> {
    ControlError::new(code::BAD_MESSAGE, "`id` is a number or a string of at most 64 bytes")
}

pub(super) fn missing<'a>(field: &str) -> ControlError<'a> {
    ControlError::new(code::BAD_MESSAGE, format!("`{field}` is missing"))
}

pub(super) fn wrong_type<'a>(field: &str, what: &str) -> ControlError<'a> {
    ControlError::new(code::BAD_MESSAGE, format!("`{field}` must be {what}"))
}

/// Quotes the topic only if that keeps the message small and readable.
fn bad_topic<'a>(topic: &str, error: &dyn std::fmt::Display) -> ControlError<'a> {
    let short = (1..=NAME_BYTES_MAX).contains(&topic.len()) && !topic.contains(char::is_control);
    let message = if short { format!("{error}: `{topic}`") } else { error.to_string() };
    ControlError::new(code::BAD_TOPIC, message)
}

#[cfg(test)]
mod tests;
