//! Subprotocols: how each parses a request and renders an answer. A new one is a line in each of these two functions, and a form.

use crate::event::Protocol;
use crate::proto::header::Opcode;
use crate::proto::long::Encoding;
use crate::proto::server_message::ServerMessage;
use crate::proto::subscribe::{self, ClientMessage, ControlError, Id};
use crate::proto::{batch, json, msgpack};
use crate::types::Kind;

/// Writes a control object as `protocol` has it; returns the opcode of its frame.
pub fn render(out: &mut Vec<u8>, protocol: Protocol, object: &ServerMessage<'_>) -> Opcode {
    match protocol {
        Protocol::MsgpackV1 => {
            match object {
                ServerMessage::Welcome(o) => msgpack::welcome(out, o),
                ServerMessage::Subscribed(o) => msgpack::subscribed(out, o),
                ServerMessage::Unsubscribed(o) => msgpack::unsubscribed(out, o),
                ServerMessage::Gap(o) => msgpack::gap(out, o),
                ServerMessage::Error(o) => msgpack::error(out, o),
                ServerMessage::Pong(o) => msgpack::pong(out, o),
                ServerMessage::Migrate(o) => msgpack::migrate(out, o),
                ServerMessage::Authorized(o) => msgpack::authorized(out, o),
                // Messages come from logs.
                ServerMessage::Message(_) | ServerMessage::Unknown => {}
            }
            Opcode::Binary
        }
        Protocol::Raw | Protocol::JsonV1 | Protocol::BatchV1 | Protocol::BatchV1Lz4 => {
            let is_batch = matches!(protocol, Protocol::BatchV1 | Protocol::BatchV1Lz4);
            let start = if is_batch { batch::control_begin(out) } else { 0 };
            match object {
                ServerMessage::Welcome(o) => json::welcome(out, o),
                ServerMessage::Subscribed(o) => json::subscribed(out, o),
                ServerMessage::Unsubscribed(o) => json::unsubscribed(out, o),
                ServerMessage::Gap(o) => json::gap(out, o),
                ServerMessage::Error(o) => json::error(out, o),
                ServerMessage::Pong(o) => json::pong(out, o),
                ServerMessage::Migrate(o) => json::migrate(out, o),
                ServerMessage::Authorized(o) => json::authorized(out, o),
                ServerMessage::Message(_) | ServerMessage::Unknown => {}
            }
            if is_batch {
                batch::control_finish(out, start);
                return Opcode::Binary;
            }
            Opcode::Text
        }
    }
}

/// Reads a request as `protocol` has it.
pub fn parse(protocol: Protocol, kind: Kind, bytes: &[u8]) -> Result<ClientMessage<'_>, ControlError<'_>> {
    match (protocol, kind) {
        (Protocol::MsgpackV1, Kind::Binary) => msgpack::request::parse(bytes),
        (Protocol::MsgpackV1, _) => Err(wrong("fanwire.msgpack.v1 speaks binary messages")),
        // A client of the batch protocol may write its requests as plain text, too: the same objects.
        (_, Kind::Text | Kind::Json) => match std::str::from_utf8(bytes) {
            Ok(text) => subscribe::parse(text),
            Err(_) => Err(wrong("not UTF-8")),
        },
        (Protocol::BatchV1 | Protocol::BatchV1Lz4, Kind::Binary) => match batch::control_of(bytes) {
            Ok(Some(text)) => subscribe::parse(text),
            Ok(None) => Ok(ClientMessage::Unknown),
            Err(_) => Err(wrong("not a control frame of fanwire.batch.v1")),
        },
        (_, Kind::Binary) => Err(wrong("fanwire.json.v1 speaks text messages")),
    }
}

/// How a long request of `protocol` is written, where it begins in its message, and whether that is known to be UTF-8. `None`: it is
/// to be ignored.
///
/// # Errors
/// What to answer the client.
pub fn long(
    protocol: Protocol,
    kind: Kind,
    bytes: &[u8],
) -> Result<Option<(Encoding, usize, bool)>, ControlError<'static>> {
    match (protocol, kind) {
        (Protocol::MsgpackV1, Kind::Binary) => Ok(Some((Encoding::Msgpack, 0, false))),
        (Protocol::MsgpackV1, _) => Err(wrong("fanwire.msgpack.v1 speaks binary messages")),
        (_, Kind::Text | Kind::Json) => Ok(Some((Encoding::Json, 0, true))),
        (Protocol::BatchV1 | Protocol::BatchV1Lz4, Kind::Binary) => match batch::control_bytes_of(bytes) {
            Ok(Some(text)) => Ok(Some((Encoding::Json, bytes.len() - text.len(), false))),
            Ok(None) => Ok(None),
            Err(_) => Err(wrong("not a control frame of fanwire.batch.v1")),
        },
        (_, Kind::Binary) => Err(wrong("fanwire.json.v1 speaks text messages")),
    }
}

fn wrong(message: &'static str) -> ControlError<'static> {
    ControlError { code: subscribe::code::BAD_MESSAGE, message: message.into(), id: None }
}

/// An id as it was written, for an answer of `protocol`.
pub fn id_of(protocol: Protocol, raw: &[u8]) -> Option<Id<'_>> {
    match protocol {
        Protocol::MsgpackV1 => Id::from_msgpack(raw),
        _ => std::str::from_utf8(raw).ok().and_then(Id::from_json),
    }
}
