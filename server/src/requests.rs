//! Job: what a client sends: subscribe, ping, publish.
//! Knows: the objects and their keys, in JSON and MessagePack. Must never know: sockets, where a payload comes from.

use fanwire::proto::json::{self, Body};
use fanwire::{Kind, Priority};
use serde_json::Value;

/// What a `subscribe` asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscription<'a> {
    /// Names and patterns.
    pub topics: &'a [String],
    /// At most so many messages a second and lane.
    pub max_hz: Option<f64>,
    /// Where to go on: the JSON text of a `since` object.
    pub since: Option<&'a str>,
}

/// Writes `subscribe`.
pub fn write_subscribe(out: &mut Vec<u8>, id: u64, subscription: &Subscription<'_>) {
    out.clear();
    out.extend_from_slice(br#"{"type":"subscribe","id":"#);
    json::decimal(out, id);
    out.extend_from_slice(br#","topics":["#);
    for (n, topic) in subscription.topics.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::string(out, topic);
    }
    out.push(b']');
    if let Some(since) = subscription.since {
        out.extend_from_slice(br#","since":"#);
        out.extend_from_slice(since.as_bytes());
    }
    if let Some(hz) = subscription.max_hz {
        out.extend_from_slice(format!(r#","max_hz":{hz}"#).as_bytes());
    }
    out.push(b'}');
}

/// Writes `ping`.
pub fn write_ping(out: &mut Vec<u8>, id: u64) {
    out.clear();
    out.extend_from_slice(br#"{"type":"ping","id":"#);
    json::decimal(out, id);
    out.push(b'}');
}

/// A message to be published.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its priority.
    pub priority: Priority,
    /// What the payload is. [`Kind::Json`]: one JSON value. [`Kind::Text`] that is not UTF-8 travels as binary.
    pub kind: Kind,
    /// The payload.
    pub payload: &'a [u8],
    /// What it replaces.
    pub key: Option<&'a str>,
    /// Milliseconds for which it is worth something.
    pub ttl_ms: Option<u64>,
}

/// Writes `publish`.
pub fn write_publish(out: &mut Vec<u8>, message: &Outgoing<'_>) {
    out.clear();
    out.extend_from_slice(br#"{"type":"publish","topic":"#);
    json::string(out, message.topic);
    if message.priority != Priority::Normal {
        out.extend_from_slice(br#","priority":""#);
        out.extend_from_slice(message.priority.name().as_bytes());
        out.push(b'"');
    }
    if let Some(key) = message.key {
        out.extend_from_slice(br#","key":"#);
        json::string(out, key);
    }
    if let Some(ttl_ms) = message.ttl_ms {
        out.extend_from_slice(br#","ttl_ms":"#);
        json::decimal(out, ttl_ms);
    }
    out.extend_from_slice(br#","data":"#);
    if message.kind == Kind::Json {
        out.extend_from_slice(message.payload);
        out.push(b'}');
        return;
    }
    let body = match std::str::from_utf8(message.payload) {
        Ok(text) if message.kind == Kind::Text => Body::Text(text),
        _ => Body::Binary(message.payload),
    };
    json::message_data(out, &body);
    // A published payload ends as one that is delivered: with its encoding.
    out.extend_from_slice(json::message_suffix(body.kind()));
}

/// The MessagePack of a request in JSON.
///
/// # Errors
/// Where it is not JSON.
pub fn to_msgpack(json: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    pack(&mut out, &serde_json::from_slice(json)?);
    Ok(out)
}

/// Always the longest form of lengths and numbers, which every reader takes.
fn pack(out: &mut Vec<u8>, value: &Value) {
    let head = |out: &mut Vec<u8>, first: u8, length: usize| {
        out.push(first);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    };
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(truth) => out.push(if *truth { 0xc3 } else { 0xc2 }),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => {
                out.push(0xcf);
                out.extend_from_slice(&whole.to_be_bytes());
            }
            None => {
                out.push(0xcb);
                out.extend_from_slice(&number.as_f64().unwrap_or_default().to_be_bytes());
            }
        },
        Value::String(text) => {
            head(out, 0xdb, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(items) => {
            head(out, 0xdd, items.len());
            items.iter().for_each(|item| pack(out, item));
        }
        Value::Object(fields) => {
            head(out, 0xdf, fields.len());
            for (name, value) in fields {
                head(out, 0xdb, name.len());
                out.extend_from_slice(name.as_bytes());
                pack(out, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fanwire::proto::msgpack;
    use fanwire::proto::subscribe::{self, ClientMessage};

    use super::*;

    /// What a server reads of it.
    fn published(kind: Kind, payload: &[u8]) -> (String, Priority, Kind, Vec<u8>) {
        let mut out = Vec::new();
        let (priority, key, ttl_ms) = (Priority::High, Some("k\""), Some(250));
        write_publish(&mut out, &Outgoing { topic: "a/\"b", priority, kind, payload, key, ttl_ms });
        let text = String::from_utf8(out).unwrap();
        let Ok(ClientMessage::Publish(publish)) = subscribe::parse(&text) else { panic!("{text}") };
        assert_eq!((publish.key.as_deref(), publish.ttl_ms), (key, ttl_ms));
        let mut decoded = Vec::new();
        let kind = publish.content.decode(&mut decoded).unwrap();
        (publish.topic.into_owned(), publish.priority, kind, decoded)
    }

    #[test]
    fn a_server_reads_what_was_published_byte_for_byte() {
        for (kind, payload, arrives_as) in [
            (Kind::Json, &br#"{"x": 1.50, "y":"\u00e4"}"#[..], Kind::Json),
            (Kind::Json, b"null", Kind::Json),
            (Kind::Text, b"a\tb\r \"quoted\" \\", Kind::Text),
            (Kind::Text, b"", Kind::Text),
            (Kind::Text, b"\xff\xfe not UTF-8", Kind::Binary),
            (Kind::Binary, b"\x00\x01", Kind::Binary),
        ] {
            let expected = ("a/\"b".to_owned(), Priority::High, arrives_as, payload.to_vec());
            assert_eq!(published(kind, payload), expected);
        }
    }

    #[test]
    fn a_server_reads_subscriptions_and_pings() {
        let mut out = Vec::new();
        let topics = ["a/*".to_owned(), "b\"c/**".to_owned()];
        let since = Some(r#"{"a/b":{"epoch":1767225600000000,"seq":{"low":3}}}"#);
        write_subscribe(&mut out, 7, &Subscription { topics: &topics, max_hz: Some(2.5), since });
        let text = String::from_utf8(out.clone()).unwrap();
        let taken = subscribe::parse(&text).unwrap();
        let ClientMessage::Subscribe { topics: asked, id, since, max_hz, .. } = &taken else { panic!("{text}") };
        assert_eq!(asked[..], topics);
        assert_eq!(id.unwrap().as_bytes(), b"7");
        assert_eq!(*max_hz, Some(2.5));
        let from = since.find("a/b").unwrap();
        assert_eq!((from.epoch, from.seq), (1_767_225_600_000_000, [None, None, None, Some(3)]));
        let packed = to_msgpack(&out).unwrap();
        let ClientMessage::Subscribe { topics: packed_topics, since: packed_since, max_hz: packed_hz, .. } =
            msgpack::request::parse(&packed).unwrap()
        else {
            panic!("{packed:?}")
        };
        assert_eq!((&packed_topics, &packed_since, &packed_hz), (asked, since, max_hz));
        write_ping(&mut out, 8);
        let text = String::from_utf8(out).unwrap();
        assert!(matches!(subscribe::parse(&text), Ok(ClientMessage::Ping { id: Some(_) })), "{text}");
    }
}
