//! A server's objects, in either encoding: what is read, written and read again is the same.

use crate::Kind;
use crate::json::{self, Body, JsonCheck};
use crate::msgpack;
use crate::server_message::{Message, ServerMessage};
use crate::subscribe::Content;

/// One of the two encodings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Msgpack,
}

/// Writes what was read; `None` for what we never write (an unknown type, a payload that is not what its encoding says).
pub(super) fn written(message: &ServerMessage<'_>, encoding: Encoding) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let to = &mut out;
    match (message, encoding) {
        (ServerMessage::Welcome(m), Encoding::Json) => json::welcome(to, m),
        (ServerMessage::Welcome(m), Encoding::Msgpack) => msgpack::welcome(to, m),
        (ServerMessage::Subscribed(m), Encoding::Json) => json::subscribed(to, m),
        (ServerMessage::Subscribed(m), Encoding::Msgpack) => msgpack::subscribed(to, m),
        (ServerMessage::Unsubscribed(m), Encoding::Json) => json::unsubscribed(to, m),
        (ServerMessage::Unsubscribed(m), Encoding::Msgpack) => msgpack::unsubscribed(to, m),
        (ServerMessage::Gap(m), Encoding::Json) => json::gap(to, m),
        (ServerMessage::Gap(m), Encoding::Msgpack) => msgpack::gap(to, m),
        (ServerMessage::Error(m), Encoding::Json) => json::error(to, m),
        (ServerMessage::Error(m), Encoding::Msgpack) => msgpack::error(to, m),
        (ServerMessage::Pong(m), Encoding::Json) => json::pong(to, m),
        (ServerMessage::Pong(m), Encoding::Msgpack) => msgpack::pong(to, m),
        (ServerMessage::Migrate(m), Encoding::Json) => json::migrate(to, m),
        (ServerMessage::Migrate(m), Encoding::Msgpack) => msgpack::migrate(to, m),
        (ServerMessage::Authorized(m), Encoding::Json) => json::authorized(to, m),
        (ServerMessage::Authorized(m), Encoding::Msgpack) => msgpack::authorized(to, m),
        (ServerMessage::Message(m), encoding) => {
            let (kind, payload) = decoded(&m.content)?;
            write_message(to, m, kind, &payload, encoding)?;
        }
        (ServerMessage::Unknown, _) => return None,
    }
    Some(out)
}

fn write_message(out: &mut Vec<u8>, m: &Message<'_>, kind: Kind, payload: &[u8], encoding: Encoding) -> Option<()> {
    let body = Body::of(kind, payload, &mut JsonCheck::new());
    if body.kind() != kind {
        // Only MessagePack carries JSON unread.
        assert!(encoding == Encoding::Msgpack && kind == Kind::Json, "{kind:?} became {:?}", body.kind());
        return None;
    }
    let mut topic = Vec::new();
    match encoding {
        Encoding::Json => {
            json::escape_topic(&m.topic, &mut topic);
            let start = out.len();
            json::message(out, &topic, m.priority, m.seq, m.time_us, &body);
            let mut data = Vec::new();
            json::message_data(&mut data, &body);
            assert!(data.len() <= body.rendered_bytes_max() && data.len() < out.len() - start);
        }
        Encoding::Msgpack => {
            msgpack::pack_topic(&m.topic, &mut topic);
            msgpack::message(out, &topic, m.priority, m.seq, m.time_us, &body);
        }
    }
    Some(())
}

/// A payload as it was published.
pub(super) fn decoded(content: &Content<'_>) -> Option<(Kind, Vec<u8>)> {
    let mut payload = b"before".to_vec();
    match content.decode(&mut payload) {
        Ok(kind) => {
            assert_eq!(kind, content.kind());
            assert!(payload.starts_with(b"before") && payload.len() - 6 <= content.bytes_max());
            let payload = payload.split_off(6);
            assert!(content.as_plain().is_none_or(|plain| plain == payload));
            Some((kind, payload))
        }
        Err(_) => {
            assert_eq!(payload, b"before", "something was left behind");
            None
        }
    }
}

/// The same, whatever way the payload is written.
pub(super) fn assert_same(left: &ServerMessage<'_>, right: &ServerMessage<'_>) {
    match (left, right) {
        (ServerMessage::Message(l), ServerMessage::Message(r)) => {
            assert_eq!((&l.topic, l.priority, l.seq, l.time_us), (&r.topic, r.priority, r.seq, r.time_us));
            assert_eq!(decoded(&l.content), decoded(&r.content));
        }
        _ => assert_eq!(left, right),
    }
}
