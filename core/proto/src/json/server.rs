//! Reading, as a client, what a server sends in `fanwire.json.v1`.
//!
//! Knows the same objects as the writing half and checks what it reads. Unknown keys are ignored, unknown types give
//! [`ServerMessage::Unknown`]. Allocates only for text that is written with escapes.

use super::reader::{JsonError, JsonString, Reader, ValueType};
use crate::Priority;
use crate::server_message::{
    Authorized, ErrorMessage, Gap, GapReason, LaneSeqs, Limits, Message, Migrate, Missing, Pong, ServerMessage,
    Subscribed, Unsubscribed, Welcome,
};
use crate::subscribe::{Content, Id};
use std::borrow::Cow;
use thiserror::Error;

/// Why a server's message cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ServerMessageError {
    /// It is not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    Json(#[from] JsonError),
    /// A field is not there or not what it should be.
    #[error("`{0}` is missing or of the wrong type")]
    Field(&'static str),
}

type Parsed<T> = Result<T, ServerMessageError>;

/// Parses one text message of a server. O(length).
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Parsed<ServerMessage<'_>> {
    let fields = Fields::read(text)?;
    let r#type = fields.text("type")?;
    Ok(match &*r#type {
        "message" => ServerMessage::Message(Message {
            topic: fields.text("topic")?,
            priority: fields.priority()?,
            seq: fields.unsigned("seq")?,
            time_us: fields.unsigned("time_us")?,
            content: fields.content()?,
        }),
        "gap" => ServerMessage::Gap(Gap {
            topic: fields.text("topic")?,
            priority: fields.priority()?,
            from: fields.unsigned("from")?,
            to: fields.unsigned("to")?,
            missing: fields.missing()?,
            reason: GapReason::from_name(&fields.text("reason")?).ok_or(ServerMessageError::Field("reason"))?,
        }),
        "subscribed" => ServerMessage::Subscribed(Subscribed {
            id: fields.id()?,
            topic: fields.text("topic")?,
            topic_id: fields.unsigned("topic_id")?.try_into().map_err(|_| ServerMessageError::Field("topic_id"))?,
            epoch: fields.unsigned("epoch")?,
            seq: lane_seqs(fields.required("seq")?)?,
        }),
        "unsubscribed" => ServerMessage::Unsubscribed(Unsubscribed { id: fields.id()?, topic: fields.text("topic")? }),
        "welcome" => ServerMessage::Welcome(Welcome {
            session: fields.text("session")?,
            server: fields.text("server")?,
            protocol: fields.text("protocol")?,
            time_us: fields.unsigned("time_us")?,
            limits: limits(fields.required("limits")?)?,
        }),
        "error" => ServerMessage::Error(ErrorMessage {
            code: fields.text("code")?,
            message: fields.text("message")?,
            id: fields.id()?,
        }),
        "pong" => ServerMessage::Pong(Pong { id: fields.id()? }),
        "migrate" => ServerMessage::Migrate(Migrate {
            after_ms: fields.unsigned("after_ms")?,
            url: fields.find("url").map(|raw| string(raw, "url").map(|url| url.text())).transpose()?,
            reason: fields.text("reason")?,
        }),
        "authorized" => ServerMessage::Authorized(Authorized {
            id: fields.id()?,
            expires_in_ms: fields.find("expires_in_ms").map(|raw| unsigned(raw, "expires_in_ms")).transpose()?,
        }),
        _ => ServerMessage::Unknown,
    })
}

/// The names that any object of the protocol has; one place each in [`Fields`].
const NAMES: [&str; 23] = [
    "type",
    "topic",
    "priority",
    "seq",
    "time_us",
    "data",
    "encoding",
    "id",
    "topic_id",
    "epoch",
    "from",
    "to",
    "reason",
    "session",
    "server",
    "protocol",
    "limits",
    "code",
    "message",
    "after_ms",
    "url",
    "expires_in_ms",
    "count",
];

/// The known fields of one object, as they are written.
struct Fields<'a>([Option<&'a str>; NAMES.len()]);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Parsed<Self> {
        let mut fields = [None; NAMES.len()];
        let mut reader = Reader::new(text);
        reader.object(|name, reader| {
            let value = reader.value()?;
            if let Some(place) = NAMES.iter().position(|known| name.is(known)) {
                fields[place] = Some(value);
            }
            Ok::<_, JsonError>(())
        })?;
        reader.finish()?;
        Ok(Fields(fields))
    }

    /// The field if it is there and not `null`.
    fn find(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|raw| *raw != "null")
    }

    fn raw(&self, name: &str) -> Option<&'a str> {
        let place = NAMES.iter().position(|known| *known == name)?;
        self.0[place]
    }

    fn required(&self, name: &'static str) -> Parsed<&'a str> {
        self.find(name).ok_or(ServerMessageError::Field(name))
    }

    fn text(&self, name: &'static str) -> Parsed<Cow<'a, str>> {
        Ok(string(self.required(name)?, name)?.text())
    }

    fn unsigned(&self, name: &'static str) -> Parsed<u64> {
        unsigned(self.required(name)?, name)
    }

    fn priority(&self) -> Parsed<Priority> {
        Priority::from_name(&self.text("priority")?).ok_or(ServerMessageError::Field("priority"))
    }

    fn id(&self) -> Parsed<Option<Id<'a>>> {
        self.find("id").map(|raw| Id::from_json(raw).ok_or(ServerMessageError::Field("id"))).transpose()
    }

    /// Here `null` is a value.
    fn missing(&self) -> Parsed<Missing> {
        Ok(match self.raw("count") {
            None => Missing::All,
            Some("null") => Missing::Unknown,
            Some(raw) => Missing::Some(unsigned(raw, "count")?),
        })
    }

    fn content(&self) -> Parsed<Content<'a>> {
        let raw = self.raw("data").ok_or(ServerMessageError::Field("data"))?;
        let Some(encoding) = self.find("encoding") else {
            return Ok(Content::Json(raw));
        };
        let encoding = string(encoding, "encoding")?;
        if encoding.is("text") {
            string(raw, "data").map(Content::Text)
        } else if encoding.is("base64") {
            string(raw, "data").map(Content::Base64)
        } else {
            Err(ServerMessageError::Field("encoding"))
        }
    }
}

fn lane_seqs(raw: &str) -> Parsed<LaneSeqs> {
    let mut seqs = LaneSeqs::default();
    typed(raw, ValueType::Object, "seq")?.object(|lane, reader| {
        let value = reader.value()?;
        if let Some(priority) = Priority::from_name(&lane.text()) {
            seqs[priority as usize] = Some(unsigned(value, "seq")?);
        }
        Ok::<_, ServerMessageError>(())
    })?;
    Ok(seqs)
}

/// A limit that is not there is 0: unknown.
fn limits(raw: &str) -> Parsed<Limits> {
    let mut limits = Limits::default();
    typed(raw, ValueType::Object, "limits")?.object(|name, reader| {
        let value = reader.value()?;
        if name.is("message_bytes_max") {
            limits.message_bytes_max = unsigned(value, "limits")?;
        } else if name.is("topics_max") {
            limits.topics_max = small(value)?;
        } else if name.is("subscriptions_max") {
            limits.subscriptions_max = small(value)?;
        } else if name.is("topics_per_connection_max") {
            limits.topics_per_connection_max = small(value)?;
        }
        Ok::<_, ServerMessageError>(())
    })?;
    Ok(limits)
}

fn small(raw: &str) -> Parsed<u32> {
    unsigned(raw, "limits")?.try_into().map_err(|_| ServerMessageError::Field("limits"))
}

fn typed<'a>(raw: &'a str, wanted: ValueType, name: &'static str) -> Parsed<Reader<'a>> {
    let mut reader = Reader::new(raw);
    if reader.peek() == Some(wanted) { Ok(reader) } else { Err(ServerMessageError::Field(name)) }
}

fn string<'a>(raw: &'a str, name: &'static str) -> Parsed<JsonString<'a>> {
    Reader::new(raw).string().map_err(|_| ServerMessageError::Field(name))
}

fn unsigned(raw: &str, name: &'static str) -> Parsed<u64> {
    raw.parse().map_err(|_| ServerMessageError::Field(name))
}
