//! A client's requests in `fanwire.msgpack.v1`, parsed without trust.
//!
//! Knows the same requests as [`crate::subscribe`], with the same rules and the same refusals; only the encoding is
//! another. `data` is `bin` for bytes, or `str`: JSON text, or text if `encoding` is `"text"`, or bytes if it is `"base64"`. Parsing a
//! `publish` or a `ping` does not allocate.

use super::reader::{Fault, MsgpackError, Reader, Value};
use crate::Priority;
use crate::json::check::PAYLOAD_DEPTH_MAX;
use crate::json::reader::{DEPTH_MAX, JsonString, Reader as JsonReader};
use crate::subscribe::{
    self, Beginning, ClientMessage, Content, ControlError, ID_BYTES_MAX, Id, Publish, Since, SinceList, check_key,
    check_publish_topic, check_rate, check_request_bytes, check_since_topic, check_subscribe_topic, check_topic_count,
    code, missing, wrong_type,
};
use std::borrow::Cow;

type Parsed<'a, T> = Result<T, ControlError<'a>>;

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
pub fn parse(bytes: &[u8]) -> Parsed<'_, ClientMessage<'_>> {
    let fields = Fields::read(bytes)?;
    let id = fields.id()?;
    fields.message(id, bytes.len()).map_err(|error| error.with_id(id))
}

/// The bytes of one whole value that was checked.
type Raw<'a> = &'a [u8];

/// The fields of a request as they are written; which of them count depends on `type`.
#[derive(Default)]
struct Fields<'a> {
    r#type: Option<Raw<'a>>,
    id: Option<Raw<'a>>,
    topics: Option<Raw<'a>>,
    since: Option<Raw<'a>>,
    from: Option<Raw<'a>>,
    max_hz: Option<Raw<'a>>,
    echo: Option<Raw<'a>>,
    topic: Option<Raw<'a>>,
    data: Option<Raw<'a>>,
    priority: Option<Raw<'a>>,
    key: Option<Raw<'a>>,
    ttl_ms: Option<Raw<'a>>,
    encoding: Option<Raw<'a>>,
}

impl<'a> Fields<'a> {
    /// Checks all bytes, then notes where the known fields stand.
    fn read(bytes: &'a [u8]) -> Parsed<'a, Self> {
        let mut whole = Reader::new(bytes);
        let raw = whole.raw_value()?;
        whole.finish()?;
        let Value::Map(_) = value(raw)? else {
            return Err(ControlError::new(code::BAD_MESSAGE, "a request is a map"));
        };
        let mut fields = Fields::default();
        Reader::new(bytes).map(|name, reader| {
            // An optional field that is nil counts as absent.
            let value = Some(reader.raw_value()?).filter(|raw| *raw != [0xc0]);
            match name {
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
            Ok::<_, MsgpackError>(())
        })?;
        Ok(fields)
    }

    fn id(&self) -> Parsed<'a, Option<Id<'a>>> {
        let Some(raw) = self.id else { return Ok(None) };
        Id::from_msgpack(raw).map(Some).ok_or_else(subscribe::bad_id)
    }

    fn message(&self, id: Option<Id<'a>>, bytes: usize) -> Parsed<'a, ClientMessage<'a>> {
        let r#type = text(self.r#type.ok_or_else(|| missing("type"))?, "type")?;
        if matches!(r#type, "subscribe" | "unsubscribe") {
            check_request_bytes(bytes)?;
        }
        match r#type {
            "publish" => Ok(ClientMessage::Publish(self.publish(id)?)),
            "ping" => Ok(ClientMessage::Ping { id }),
            "subscribe" => Ok(ClientMessage::Subscribe {
                id,
                topics: self.topics()?,
                since: self.since()?,
                max_hz: self.max_hz.map(|raw| check_rate(number(raw))).transpose()?,
                echo: self.echo.map(boolean).transpose()?,
            }),
            "unsubscribe" => Ok(ClientMessage::Unsubscribe { id, topics: self.topics()? }),
            _ => Ok(ClientMessage::Unknown),
        }
    }

    fn publish(&self, id: Option<Id<'a>>) -> Parsed<'a, Publish<'a>> {
        let topic = text(self.topic.ok_or_else(|| missing("topic"))?, "topic")?;
        check_publish_topic(topic)?;
        Ok(Publish {
            id,
            topic: Cow::Borrowed(topic),
            content: self.content()?,
            priority: match self.priority {
                Some(raw) => subscribe::priority(text(raw, "priority")?)?,
                None => Priority::default(),
            },
            key: match self.key {
                Some(raw) => Some(check_key(Cow::Borrowed(text(raw, "key")?))?),
                None => None,
            },
            ttl_ms: self.ttl_ms.map(|raw| unsigned(raw, "ttl_ms")).transpose()?,
        })
    }

    fn content(&self) -> Parsed<'a, Content<'a>> {
        let data = value(self.data.ok_or_else(|| missing("data"))?)?;
        let encoding = self.encoding.map(|raw| text(raw, "encoding")).transpose()?;
        match (data, encoding) {
            (Value::Bin(bytes), None) => Ok(Content::Binary(bytes)),
            (Value::Str(json), None) => {
                let mut reader = JsonReader::new_inside(json, DEPTH_MAX - PAYLOAD_DEPTH_MAX);
                reader.value().and_then(|_| reader.finish()).map_err(not_json)?;
                Ok(Content::Json(json))
            }
            (Value::Str(text), Some("text")) => Ok(Content::Text(JsonString::plain(text))),
            (Value::Str(text), Some("base64")) => Ok(Content::Base64(JsonString::plain(text))),
            (_, None) => Err(wrong_type("data", "a string or binary")),
            (_, Some("text" | "base64")) => Err(wrong_type("data", "a string")),
            (_, Some(_)) => Err(ControlError::new(
                code::BAD_ENCODING,
                "`encoding` is `text` or `base64`, or absent for binary and for JSON text",
            )),
        }
    }

    fn topics(&self) -> Parsed<'a, Vec<Cow<'a, str>>> {
        let mut reader = Reader::new(self.topics.ok_or_else(|| missing("topics"))?);
        let Value::Array(count) = reader.value()? else {
            return Err(wrong_type("topics", "an array of strings"));
        };
        let mut topics = Vec::new();
        for _ in 0..count {
            let Value::Str(topic) = reader.value()? else {
                return Err(wrong_type("topics", "an array of strings"));
            };
            check_subscribe_topic(topic)?;
            check_topic_count(topics.len())?;
            topics.push(Cow::Borrowed(topic));
        }
        match topics.len() {
            0 => Err(ControlError::new(code::BAD_MESSAGE, "`topics` is empty")),
            _ => Ok(topics),
        }
    }

    fn since(&self) -> Parsed<'a, SinceList<'a>> {
        let unnamed = match self.from {
            Some(raw) => subscribe::beginning(text(raw, "from")?)?,
            None => Beginning::default(),
        };
        let mut entries = Vec::new();
        let Some(raw) = self.since else {
            return Ok(SinceList::new(entries, unnamed));
        };
        map(raw, "since", "a map by topic")?.map(|topic, reader| {
            check_since_topic(topic)?;
            entries.push(since_entry(topic, reader.raw_value()?)?);
            Ok::<_, ControlError<'a>>(())
        })?;
        Ok(SinceList::new(entries, unnamed))
    }
}

/// `{epoch, seq: {PRIORITY: n}}`; lanes of unknown priorities are ignored like unknown keys.
fn since_entry<'a>(topic: &'a str, raw: Raw<'a>) -> Parsed<'a, Since<'a>> {
    let (mut epoch, mut seq) = (None, [None; Priority::ALL.len()]);
    map(raw, "since", "a map with `epoch` and `seq` for each topic")?.map(|name, reader| {
        let raw = reader.raw_value()?;
        match name {
            "epoch" => epoch = Some(unsigned(raw, "epoch")?),
            "seq" => map(raw, "seq", "a map by priority")?.map(|lane, reader| {
                let raw = reader.raw_value()?;
                if let Some(priority) = Priority::from_name(lane) {
                    seq[priority as usize] = Some(unsigned(raw, "seq")?);
                }
                Ok::<_, ControlError<'a>>(())
            })?,
            _ => {}
        }
        Ok::<_, ControlError<'a>>(())
    })?;
    let epoch = epoch.ok_or_else(|| missing("epoch"))?;
    Ok(Since { topic: Cow::Borrowed(topic), epoch, seq })
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

fn not_json<'a>(error: crate::json::reader::JsonError) -> ControlError<'a> {
    ControlError::new(code::BAD_DATA, format!("a `data` string without `encoding` must be JSON: {error}"))
}

fn value<'a>(raw: Raw<'a>) -> Parsed<'a, Value<'a>> {
    Ok(Reader::new(raw).value()?)
}

/// A reader in front of the map that the value must be.
fn map<'a>(raw: Raw<'a>, field: &str, what: &str) -> Parsed<'a, Reader<'a>> {
    match value(raw)? {
        Value::Map(_) => Ok(Reader::new(raw)),
        _ => Err(wrong_type(field, what)),
    }
}

fn text<'a>(raw: Raw<'a>, field: &str) -> Parsed<'a, &'a str> {
    match value(raw)? {
        Value::Str(text) => Ok(text),
        _ => Err(wrong_type(field, "a string")),
    }
}

fn boolean<'a>(raw: Raw<'a>) -> Parsed<'a, bool> {
    match value(raw)? {
        Value::Bool(truth) => Ok(truth),
        _ => Err(wrong_type("echo", "true or false")),
    }
}

fn number(raw: Raw<'_>) -> Option<f64> {
    match Reader::new(raw).value().ok()? {
        Value::Unsigned(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}

/// A whole number from 0 to 2^64 - 1. Some encoders write whole numbers as floats: up to 2^53 that is the same number.
fn unsigned<'a>(raw: Raw<'a>, field: &str) -> Parsed<'a, u64> {
    match value(raw)? {
        Value::Unsigned(number) => Ok(number),
        Value::Float(number) if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number) => {
            Ok(number as u64)
        }
        _ => Err(wrong_type(field, "a whole number that is not negative")),
    }
}
