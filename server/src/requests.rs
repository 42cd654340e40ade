//! Job: what a client sends: subscribe, ping, publish.
//! Knows: the objects and their keys, in JSON and MessagePack. Must never know: sockets, where a payload comes from.

use fanwire::proto::json;
use std::time::Duration;

use fanwire::{Kind, Priority};
use serde_json::Value;

/// What a `subscribe` asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscription<'a> {
    /// Names and patterns.
    pub topics: &'a [String],
    /// At most so many messages a second and lane.
    pub max_hz: Option<f64>,
    /// Messages may wait so long to be sent together.
    pub max_delay: Option<Duration>,
    /// Where to go on: the JSON text of a `since` object.
    pub since: Option<&'a str>,
    /// Topics that `since` does not name begin with the oldest message that is kept.
    pub is_from_oldest: bool,
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
    if subscription.is_from_oldest {
        out.extend_from_slice(br#","from":"oldest""#);
    }
    if let Some(hz) = subscription.max_hz {
        out.extend_from_slice(format!(r#","max_hz":{hz}"#).as_bytes());
    }
    if let Some(delay) = subscription.max_delay {
        out.extend_from_slice(format!(r#","max_delay_ms":{}"#, delay.as_millis()).as_bytes());
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

/// Writes `publish` in MessagePack: the payload as it is, so that it may be as large as the server takes.
pub fn write_publish(out: &mut Vec<u8>, id: u64, message: &Outgoing<'_>) {
    out.clear();
    let text = match std::str::from_utf8(message.payload) {
        Ok(text) if message.kind != Kind::Binary => Some(text),
        _ => None,
    };
    let is_text = message.kind == Kind::Text && text.is_some();
    let optional = [message.key.is_some(), message.ttl_ms.is_some(), is_text];
    let fields = 5 + optional.into_iter().filter(|is_there| *is_there).count();
    pack_count(out, fields, 0x80, [0xde, 0xdf]);
    for (name, value) in [("type", "publish"), ("topic", message.topic), ("priority", message.priority.name())] {
        pack_text(out, name);
        pack_text(out, value);
    }
    pack_text(out, "id");
    pack_unsigned(out, id);
    if let Some(key) = message.key {
        pack_text(out, "key");
        pack_text(out, key);
    }
    if let Some(ttl_ms) = message.ttl_ms {
        pack_text(out, "ttl_ms");
        pack_unsigned(out, ttl_ms);
    }
    if is_text {
        pack_text(out, "encoding");
        pack_text(out, "text");
    }
    pack_text(out, "data");
    match text {
        Some(text) => pack_text(out, text),
        None => pack_bytes(out, message.payload),
    }
}

/// Writes `ping` in MessagePack.
pub fn write_packed_ping(out: &mut Vec<u8>, id: u64) {
    out.clear();
    pack_count(out, 2, 0x80, [0xde, 0xdf]);
    for text in ["type", "ping", "id"] {
        pack_text(out, text);
    }
    pack_unsigned(out, id);
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

/// Lengths and numbers in their shortest form: a `since` of thousands of topics is to fit in a request.
fn pack(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(truth) => out.push(if *truth { 0xc3 } else { 0xc2 }),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => pack_unsigned(out, whole),
            None => {
                out.push(0xcb);
                out.extend_from_slice(&number.as_f64().unwrap_or_default().to_be_bytes());
            }
        },
        Value::String(text) => pack_text(out, text),
        Value::Array(items) => {
            pack_count(out, items.len(), 0x90, [0xdc, 0xdd]);
            items.iter().for_each(|item| pack(out, item));
        }
        Value::Object(fields) => {
            pack_count(out, fields.len(), 0x80, [0xde, 0xdf]);
            for (name, value) in fields {
                pack_text(out, name);
                pack(out, value);
            }
        }
    }
}

fn pack_unsigned(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let (first, length) = match number {
        0..=0x7f => return out.push(number as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        _ => (0xcf, 8),
    };
    out.push(first);
    out.extend_from_slice(&bytes[8 - length..]);
}

fn pack_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length => pack_length(out, length, [0xda, 0xdb]),
    }
    out.extend_from_slice(text.as_bytes());
}

fn pack_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.extend_from_slice(&[0xc4, length]),
        Err(_) => pack_length(out, bytes.len(), [0xc5, 0xc6]),
    }
    out.extend_from_slice(bytes);
}

/// The head of an array or a map.
fn pack_count(out: &mut Vec<u8>, count: usize, small: u8, large: [u8; 2]) {
    match count {
        0..=15 => out.push(small | count as u8),
        _ => pack_length(out, count, large),
    }
}

fn pack_length(out: &mut Vec<u8>, length: usize, [short, long]: [u8; 2]) {
    match u16::try_from(length) {
        Ok(length) => {
            out.push(short);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(long);
            // Nothing that is sent comes near 4 GiB.
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
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
        write_publish(&mut out, 300, &Outgoing { topic: "a/\"b", priority, kind, payload, key, ttl_ms });
        let Ok(ClientMessage::Publish(publish)) = msgpack::request::parse(&out) else { panic!("{out:?}") };
        assert_eq!(publish.id.unwrap().as_bytes(), [0xcd, 1, 44]);
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
            (Kind::Binary, &[7; 256], Kind::Binary),
            (Kind::Text, &[b'x'; 70_000], Kind::Text),
            (Kind::Binary, &[0xff; 70_000], Kind::Binary),
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
        let max_delay = Some(Duration::from_millis(20));
        let asks = Subscription { topics: &topics, max_hz: Some(2.5), max_delay, since, is_from_oldest: true };
        write_subscribe(&mut out, 7, &asks);
        let text = String::from_utf8(out.clone()).unwrap();
        let taken = subscribe::parse(&text).unwrap();
        let ClientMessage::Subscribe { topics: asked, id, since, max_hz, max_delay_ms, .. } = &taken else {
            panic!("{text}")
        };
        assert_eq!(asked[..], topics);
        assert_eq!(id.unwrap().as_bytes(), b"7");
        assert_eq!((*max_hz, *max_delay_ms), (Some(2.5), Some(20)));
        let from = since.find("a/b").unwrap();
        assert_eq!((from.epoch, from.seq), (1_767_225_600_000_000, [None, None, None, Some(3)]));
        assert_eq!(since.unnamed(), subscribe::Beginning::Oldest);
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
