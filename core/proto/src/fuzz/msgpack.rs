//! MessagePack: read as a plain second reader reads it, requests with the same verdicts as their JSON twins, a server's objects
//! written and read back.

use super::input::Input;
use super::json::{check_bounds, check_error};
use super::msgpack_plain::{pack, pack_str, value_len};
use super::server_messages::{Encoding, assert_same, decoded, written};
use crate::msgpack::reader::Reader;
use crate::msgpack::{request, server};
use crate::subscribe::{self, ClientMessage, code};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// One byte: 1 for a request in JSON that is to be packed; else MessagePack follows.
pub fn msgpack(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte() & 1 == 1 {
        return check_twins(input.rest());
    }
    let bytes = input.rest();
    let mut reader = Reader::new(bytes);
    let raw = reader.raw_value();
    assert_eq!(raw.as_ref().ok().map(|raw| raw.len()), value_len(bytes), "left: ours, right: the plain reader's");
    let is_whole = raw.is_ok() && reader.finish().is_ok();
    match request::parse(bytes) {
        Ok(message) => {
            assert!(is_whole);
            check_bounds(&message);
            if let ClientMessage::Publish(publish) = &message {
                decoded(&publish.content);
            }
        }
        Err(error) => {
            assert!(is_whole || error.code == code::BAD_MSGPACK, "{error:?}");
            check_error(&error);
        }
    }
    check_server_message(bytes);
}

fn check_server_message(bytes: &[u8]) {
    let Ok(message) = server::parse(bytes) else { return };
    let Some(out) = written(&message, Encoding::Msgpack) else { return };
    assert_eq!(value_len(&out), Some(out.len()));
    let again = server::parse(&out).expect("our own words");
    assert_same(&message, &again);
    assert_eq!(written(&again, Encoding::Msgpack), Some(out));
}

/// A request in both encodings gets the same verdict.
fn check_twins(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(Value::Object(members)) = serde_json::from_str(text) else { return };
    // The length of an id is that of its writing.
    let id = members.get("id").map_or(0, |id| id.to_string().len());
    if id > 40 || text.contains('\\') && id > 0 {
        return;
    }
    // Of keys that come twice or in another order, another one may be the first that is refused.
    let Ok(raws) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text) else { return };
    if members.get("since").map(Value::to_string).is_some_and(|written| written != raws["since"].get()) {
        return;
    }
    let has_encoding = members.get("encoding").is_some_and(|encoding| !encoding.is_null());
    let mut packed = vec![0xde];
    packed.extend_from_slice(&(members.len() as u16).to_be_bytes());
    for (name, value) in &members {
        pack_str(name, &mut packed);
        let is_packed = match name == "data" && !has_encoding {
            // JSON text in a string.
            true => {
                pack_str(raws[name].get(), &mut packed);
                true
            }
            // What is not there in MessagePack is `null` in JSON, which is no string either.
            false if name == "data" && value.is_null() => pack(&Value::Bool(true), &mut packed),
            false => pack(value, &mut packed),
        };
        if !is_packed {
            return;
        }
    }
    let (json, packed) = (subscribe::parse(text), request::parse(&packed));
    match (json, packed) {
        (Err(json), Err(packed)) => assert_eq!(json.code, packed.code, "{json:?} {packed:?}"),
        (Ok(json), Ok(packed)) => assert_twins(&json, &packed),
        (json, packed) => panic!("in JSON {json:?}, in MessagePack {packed:?}"),
    }
}

fn assert_twins(json: &ClientMessage<'_>, packed: &ClientMessage<'_>) {
    match (json, packed) {
        (
            ClientMessage::Subscribe {
                id: j_id,
                topics: j_topics,
                since: j_since,
                max_hz: j_hz,
                max_delay_ms: j_delay,
                echo: j_echo,
            },
            ClientMessage::Subscribe { id, topics, since, max_hz, max_delay_ms, echo },
        ) => {
            assert_eq!((j_id.is_some(), j_topics, j_hz, j_echo), (id.is_some(), topics, max_hz, echo));
            assert_eq!(j_delay, max_delay_ms);
            assert_eq!((j_since.len(), j_since.unnamed()), (since.len(), since.unnamed()));
            for (topic, j) in j_since.iter() {
                assert_eq!(since.find(topic).map(|m| m.epoch), Some(j.epoch), "{topic}");
            }
        }
        (ClientMessage::Unsubscribe { id: j_id, topics: j_topics }, ClientMessage::Unsubscribe { id, topics }) => {
            assert_eq!((j_id.is_some(), j_topics), (id.is_some(), topics))
        }
        (ClientMessage::Publish(j), ClientMessage::Publish(m)) => {
            assert_eq!((j.id.is_some(), &j.topic, j.priority), (m.id.is_some(), &m.topic, m.priority));
            assert_eq!((&j.key, j.ttl_ms, j.parent), (&m.key, m.ttl_ms, m.parent));
            assert_eq!(decoded(&j.content), decoded(&m.content));
        }
        (ClientMessage::Ping { id: j_id }, ClientMessage::Ping { id }) => assert_eq!(j_id.is_some(), id.is_some()),
        (ClientMessage::Auth { id: j_id, token: j_token }, ClientMessage::Auth { id, token }) => {
            assert_eq!((j_id.is_some(), j_token), (id.is_some(), token));
        }
        (ClientMessage::Unknown, ClientMessage::Unknown) => {}
        other => panic!("{other:?}"),
    }
}
