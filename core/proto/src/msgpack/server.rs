//! Reading, as a client, what a server sends in `fanwire.msgpack.v1`.
//!
//! Knows the same objects as the writing half and checks what it reads. Unknown keys are ignored, unknown types give
//! [`ServerMessage::Unknown`]. Allocates nothing.

use super::NIL;
use super::reader::{MsgpackError, Reader, Value};
use crate::Priority;
use crate::json::reader::JsonString;
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
    /// It is not MessagePack, or not a map.
    #[error("not a MessagePack map: {0}")]
    Msgpack(#[from] MsgpackError),
    /// A field is not there or not what it should be.
    #[error("`{0}` is missing or of the wrong type")]
    Field(&'static str),
}

type Parsed<T> = Result<T, ServerMessageError>;

/// Parses one binary message of a server. O(length).
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Parsed<ServerMessage<'_>> {
    let mut whole = Reader::new(bytes);
    whole.raw_value()?;
    whole.finish()?;
    let map = Map(bytes);
    Ok(match map.text("type")? {
        "message" => ServerMessage::Message(Message {
            topic: map.cow("topic")?,
            priority: map.priority()?,
            seq: map.unsigned("seq")?,
            time_us: map.unsigned("time_us")?,
            content: map.content()?,
        }),
        "gap" => ServerMessage::Gap(Gap {
            topic: map.cow("topic")?,
            priority: map.priority()?,
            from: map.unsigned("from")?,
            to: map.unsigned("to")?,
            missing: map.missing()?,
            reason: GapReason::from_name(map.text("reason")?).ok_or(ServerMessageError::Field("reason"))?,
        }),
        "subscribed" => ServerMessage::Subscribed(Subscribed {
            id: map.id()?,
            topic: map.cow("topic")?,
            topic_id: map.small("topic_id")?,
            epoch: map.unsigned("epoch")?,
            seq: map.lane_seqs()?,
        }),
        "unsubscribed" => ServerMessage::Unsubscribed(Unsubscribed { id: map.id()?, topic: map.cow("topic")? }),
        "welcome" => ServerMessage::Welcome(Welcome {
            session: map.cow("session")?,
            server: map.cow("server")?,
            protocol: map.cow("protocol")?,
            time_us: map.unsigned("time_us")?,
            limits: map.limits()?,
        }),
        "error" => {
            ServerMessage::Error(ErrorMessage { code: map.cow("code")?, message: map.cow("message")?, id: map.id()? })
        }
        "pong" => ServerMessage::Pong(Pong { id: map.id()? }),
        "migrate" => ServerMessage::Migrate(Migrate {
            after_ms: map.unsigned("after_ms")?,
            url: match map.find("url")? {
                Some(_) => Some(map.cow("url")?),
                None => None,
            },
            reason: map.cow("reason")?,
        }),
        "authorized" => ServerMessage::Authorized(Authorized {
            id: map.id()?,
            expires_in_ms: match map.find("expires_in_ms")? {
                Some(_) => Some(map.unsigned("expires_in_ms")?),
                None => None,
            },
        }),
        _ => ServerMessage::Unknown,
    })
}

/// The bytes of a checked map. Looking a key up walks it: our maps have a handful of keys.
#[derive(Clone, Copy)]
struct Map<'a>(&'a [u8]);

impl<'a> Map<'a> {
    /// The bytes of the last value with this key, if there is one and it is not nil.
    fn find(self, wanted: &str) -> Parsed<Option<&'a [u8]>> {
        Ok(self.raw(wanted)?.filter(|raw| *raw != [NIL]))
    }

    /// The same, where nil is a value.
    fn raw(self, wanted: &str) -> Parsed<Option<&'a [u8]>> {
        let mut found = None;
        Reader::new(self.0).map(|key, reader| {
            let raw = reader.raw_value()?;
            if key == wanted {
                found = Some(raw);
            }
            Ok::<_, MsgpackError>(())
        })?;
        Ok(found)
    }

    fn required(self, key: &'static str) -> Parsed<&'a [u8]> {
        self.find(key)?.ok_or(ServerMessageError::Field(key))
    }

    fn value(self, key: &'static str) -> Parsed<Value<'a>> {
        Ok(Reader::new(self.required(key)?).value()?)
    }

    fn text(self, key: &'static str) -> Parsed<&'a str> {
        match self.value(key)? {
            Value::Str(text) => Ok(text),
            _ => Err(ServerMessageError::Field(key)),
        }
    }

    fn cow(self, key: &'static str) -> Parsed<Cow<'a, str>> {
        self.text(key).map(Cow::Borrowed)
    }

    fn unsigned(self, key: &'static str) -> Parsed<u64> {
        match self.value(key)? {
            Value::Unsigned(number) => Ok(number),
            _ => Err(ServerMessageError::Field(key)),
        }
    }

    fn small(self, key: &'static str) -> Parsed<u32> {
        self.unsigned(key)?.try_into().map_err(|_| ServerMessageError::Field(key))
    }

    fn priority(self) -> Parsed<Priority> {
        Priority::from_name(self.text("priority")?).ok_or(ServerMessageError::Field("priority"))
    }

    fn id(self) -> Parsed<Option<Id<'a>>> {
        self.find("id")?.map(|raw| Id::from_msgpack(raw).ok_or(ServerMessageError::Field("id"))).transpose()
    }

    fn map(self, key: &'static str) -> Parsed<Self> {
        match self.value(key)? {
            Value::Map(_) => self.required(key).map(Map),
            _ => Err(ServerMessageError::Field(key)),
        }
    }

    fn lane_seqs(self) -> Parsed<LaneSeqs> {
        let map = self.map("seq")?;
        let mut seqs = LaneSeqs::default();
        for (priority, seq) in Priority::ALL.into_iter().zip(&mut seqs) {
            if map.find(priority.name())?.is_some() {
                *seq = Some(map.unsigned(priority.name())?);
            }
        }
        Ok(seqs)
    }

    /// A limit that is not there is 0: unknown.
    fn limits(self) -> Parsed<Limits> {
        let map = self.map("limits")?;
        let mut limits = Limits::default();
        if map.find("message_bytes_max")?.is_some() {
            limits.message_bytes_max = map.unsigned("message_bytes_max")?;
        }
        if map.find("topics_max")?.is_some() {
            limits.topics_max = map.small("topics_max")?;
        }
        if map.find("subscriptions_max")?.is_some() {
            limits.subscriptions_max = map.small("subscriptions_max")?;
        }
        if map.find("topics_per_connection_max")?.is_some() {
            limits.topics_per_connection_max = map.small("topics_per_connection_max")?;
        }
        Ok(limits)
    }

    fn missing(self) -> Parsed<Missing> {
        Ok(match self.raw("count")? {
            None => Missing::All,
            Some([NIL]) => Missing::Unknown,
            Some(_) => Missing::Some(self.unsigned("count")?),
        })
    }

    fn content(self) -> Parsed<Content<'a>> {
        let encoding = match self.find("encoding")? {
            Some(_) => Some(self.text("encoding")?),
            None => None,
        };
        match (self.value("data")?, encoding) {
            (Value::Bin(bytes), None) => Ok(Content::Binary(bytes)),
            (Value::Str(json), None) => Ok(Content::Json(json)),
            (Value::Str(text), Some("text")) => Ok(Content::Text(JsonString::plain(text))),
            (_, Some("text") | None) => Err(ServerMessageError::Field("data")),
            (_, Some(_)) => Err(ServerMessageError::Field("encoding")),
        }
    }
}
