//! JSON: payloads judged as `serde_json` judges them, requests understood as it reads them, strings and a server's objects written and
//! read back.

use super::server_messages::{Encoding, assert_same, decoded, written};
use crate::json::{self, JsonCheck, server};
use crate::subscribe::{
    self, Beginning, ClientMessage, ControlError, Id, KEY_BYTES_MAX, Publish, SinceList, TOPICS_MAX, code,
};
use crate::topic::{Pattern, TopicName};
use crate::traceparent::{TRACEPARENT_BYTES, TraceParent};
use crate::{Kind, Priority};
use serde_json::Value;

/// A text: a payload, a client's request, a server's object, all three.
pub fn json(data: &[u8]) {
    check_payload(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_string(text);
    check_request(text);
    check_server_message(text);
}

fn check_payload(payload: &[u8]) {
    let mut check = JsonCheck::new();
    let alone = serde_json::from_slice::<Value>(payload).is_ok();
    // In a message it stands one level deeper.
    let inside = serde_json::from_slice::<[Value; 1]>(&[b"[", payload, b"]"].concat()).is_ok();
    assert_eq!(check.is_valid(payload), alone && inside, "left: ours, right: serde_json's verdict");
    assert_eq!(check.is_valid(payload), alone && inside, "the second time");
    let body = json::Body::of(Kind::Json, payload, &mut check);
    assert_eq!((body.payload(), body.kind() == Kind::Json), (payload, alone && inside));
}

fn check_string(text: &str) {
    let mut out = Vec::new();
    json::string(&mut out, text);
    let read: Result<String, _> = serde_json::from_slice(&out);
    assert_eq!(read.as_deref().ok(), Some(text));
}

fn check_server_message(text: &str) {
    let Ok(message) = server::parse(text) else { return };
    let Some(out) = written(&message, Encoding::Json) else { return };
    assert!(serde_json::from_slice::<Value>(&out).is_ok(), "not JSON: {:?}", String::from_utf8_lossy(&out));
    let again = std::str::from_utf8(&out).map(server::parse).expect("UTF-8").expect("our own words");
    assert_same(&message, &again);
    assert_eq!(written(&again, Encoding::Json), Some(out));
}

fn check_request(text: &str) {
    let value = serde_json::from_str::<Value>(text);
    match subscribe::parse(text) {
        Err(error) => {
            assert_eq!(error.code == code::BAD_JSON, value.is_err(), "{error:?}");
            check_error(&error);
        }
        Ok(message) => {
            let value = value.expect("understood, but not JSON");
            check_message(&message, &value);
        }
    }
}

/// A refusal that can be sent.
pub(super) fn check_error(error: &ControlError<'_>) {
    assert!(code::ALL.contains(&error.code), "{error:?}");
    assert!(error.message.len() <= 512, "{} bytes of message", error.message.len());
    let mut out = Vec::new();
    json::control_error(&mut out, error);
    let object: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!((object["type"].as_str(), object["code"].as_str()), (Some("error"), Some(error.code)));
    assert_eq!(object["message"].as_str(), Some(&*error.message));
}

/// The bounds that hold for a request in any encoding.
pub(super) fn check_bounds(message: &ClientMessage<'_>) {
    match message {
        ClientMessage::Subscribe { topics, since, max_hz, max_delay_ms, .. } => {
            assert!((1..=TOPICS_MAX).contains(&topics.len()));
            assert!(topics.iter().all(|topic| Pattern::check(topic).is_ok()));
            assert!(
                since.iter().all(|(topic, entry)| TopicName::check(topic).is_ok() && since.find(topic) == Some(entry))
            );
            assert!(max_delay_ms.is_none_or(|ms| ms <= subscribe::DELAY_MS_MAX));
            assert!(max_hz.is_none_or(|hz| hz > 0.0 && hz <= subscribe::RATE_HZ_MAX));
        }
        ClientMessage::Unsubscribe { topics, .. } => {
            assert!((1..=TOPICS_MAX).contains(&topics.len()));
            assert!(topics.iter().all(|topic| Pattern::check(topic).is_ok()));
        }
        ClientMessage::Publish(publish) => {
            assert!(TopicName::check(&publish.topic).is_ok() && !publish.topic.starts_with('$'));
            assert!(publish.key.as_ref().is_none_or(|key| (1..=KEY_BYTES_MAX).contains(&key.len())));
        }
        ClientMessage::Auth { token, .. } => {
            assert!((1..=subscribe::TOKEN_BYTES_MAX).contains(&token.len()));
            assert!(token.bytes().all(|byte| (b'!'..=b'~').contains(&byte)));
        }
        ClientMessage::Ping { .. } | ClientMessage::Unknown => {}
    }
}

/// The request against its fields as `serde_json` reads them.
fn check_message(message: &ClientMessage<'_>, value: &Value) {
    check_bounds(message);
    assert!(value.is_object());
    let r#type = value["type"].as_str().expect("a type");
    match message {
        ClientMessage::Subscribe { id, topics, since, max_hz, max_delay_ms, echo } => {
            assert_eq!(r#type, "subscribe");
            check_id(*id, &value["id"]);
            assert!(topics.iter().map(|topic| Some(&**topic)).eq(strings(&value["topics"])));
            check_since(since, &value["since"]);
            assert_eq!(since.unnamed() == Beginning::Oldest, value["from"].as_str() == Some("oldest"));
            // `serde_json` reads a number as the double next to it, give or take one.
            let hz = value["max_hz"].as_f64();
            assert!(
                *max_hz == hz || max_hz.zip(hz).is_some_and(|(a, b)| (a - b).abs() <= a * 1e-12),
                "{max_hz:?} {hz:?}"
            );
            assert_eq!(*max_delay_ms, value["max_delay_ms"].as_f64().map(|ms| ms as u16));
            assert_eq!(*echo, value["echo"].as_bool());
        }
        ClientMessage::Unsubscribe { id, topics } => {
            assert_eq!(r#type, "unsubscribe");
            check_id(*id, &value["id"]);
            assert!(topics.iter().map(|topic| Some(&**topic)).eq(strings(&value["topics"])));
        }
        ClientMessage::Publish(publish) => {
            assert_eq!(r#type, "publish");
            check_publish(publish, value);
        }
        ClientMessage::Ping { id } => {
            assert_eq!(r#type, "ping");
            check_id(*id, &value["id"]);
        }
        ClientMessage::Auth { id, token } => {
            assert_eq!(r#type, "auth");
            check_id(*id, &value["id"]);
            assert_eq!(Some(&**token), value["token"].as_str());
        }
        ClientMessage::Unknown => assert!(!["subscribe", "unsubscribe", "publish", "ping", "auth"].contains(&r#type)),
    }
}

fn check_publish(publish: &Publish<'_>, value: &Value) {
    check_id(publish.id, &value["id"]);
    assert_eq!(Some(&*publish.topic), value["topic"].as_str());
    assert_eq!(publish.key.as_deref(), value["key"].as_str());
    assert_eq!(publish.ttl_ms, value["ttl_ms"].as_u64());
    if let Some(parent) = publish.parent {
        let (said, again) = (value["traceparent"].as_str().unwrap_or_default(), parent.to_string());
        // Of a later version what is known of it counts.
        assert_eq!(said.get(2..TRACEPARENT_BYTES), again.get(2..));
        assert_eq!(TraceParent::of_attributes(&parent.line()), Some(parent));
    }
    assert_eq!(publish.priority.name(), value["priority"].as_str().unwrap_or("normal"));
    let data = &value["data"];
    match (value["encoding"].as_str(), decoded(&publish.content)) {
        (None, Some((Kind::Json, payload))) => {
            assert_eq!(serde_json::from_slice::<Value>(&payload).as_ref().ok(), Some(data));
            assert!(JsonCheck::new().is_valid(&payload), "cannot be embedded");
        }
        (Some("text"), Some((Kind::Text, payload))) => assert_eq!(Some(&payload[..]), data.as_str().map(str::as_bytes)),
        (Some("base64"), Some((Kind::Binary, payload))) => {
            let digits = data.as_str().expect("a string").trim_end_matches('=').len();
            assert_eq!(payload.len(), digits * 3 / 4);
        }
        (Some("base64"), None) => {}
        other => panic!("{other:?}"),
    }
}

fn check_id(id: Option<Id<'_>>, value: &Value) {
    match id {
        None => assert!(value.is_null()),
        Some(id) => {
            let raw = id.as_json().expect("it came in JSON");
            assert_eq!(serde_json::from_slice::<Value>(raw).as_ref().ok(), Some(value));
            assert!(value.is_number() || value.is_string());
            assert!(raw.len() <= subscribe::ID_BYTES_MAX);
        }
    }
}

fn check_since(since: &SinceList, value: &Value) {
    let Some(object) = value.as_object() else { return assert!(since.iter().next().is_none() && value.is_null()) };
    assert_eq!(object.values().filter(|entry| !entry.is_null()).count(), since.len());
    for (topic, entry) in object.iter().filter(|(_, entry)| !entry.is_null()) {
        let since = since.find(topic).unwrap_or_else(|| panic!("{topic} is missing"));
        assert_eq!(Some(since.epoch), entry["epoch"].as_u64());
        for priority in Priority::ALL {
            assert_eq!(since.seq[priority as usize], entry["seq"][priority.name()].as_u64(), "{topic} {priority}");
        }
    }
}

fn strings(value: &Value) -> impl Iterator<Item = Option<&str>> {
    value.as_array().into_iter().flatten().map(Value::as_str)
}
