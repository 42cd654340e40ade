//! Job: `fanwire.json.v1` as a client speaks it: what it sends, what it gets.
//! Knows: the objects and their keys. Must never know: sockets, what is done with a payload.

use std::borrow::Cow;

use fanwire::{Kind, Priority};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::base64;

/// The subprotocol's name.
pub const PROTOCOL: &str = "fanwire.json.v1";

/// Any object from the server; which keys it has depends on its type. Unknown ones are ignored.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    /// `welcome`, `subscribed`, `message`, `gap`, `error`, `pong`, or one that a later version knows.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// Topic of a message, gap or subscription.
    #[serde(borrow, default)]
    pub topic: Cow<'a, str>,
    /// Priority of a message or gap.
    #[serde(borrow, default)]
    pub priority: Cow<'a, str>,
    /// When the message was published, microseconds since 1970.
    pub time_us: Option<u64>,
    /// The payload; `null` is one too.
    #[serde(borrow, default, deserialize_with = "even_null")]
    pub data: Option<&'a RawValue>,
    /// How the payload stands in `data`: `None` verbatim, `text`, `base64`.
    #[serde(borrow, default)]
    pub encoding: Option<Cow<'a, str>>,
    /// First sequence number lost.
    pub from: Option<u64>,
    /// Last sequence number lost.
    pub to: Option<u64>,
    /// Why it was lost.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
    /// An error's code.
    #[serde(borrow)]
    pub code: Option<&'a RawValue>,
    /// An error's text.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
    /// What it answers.
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
}

impl Envelope<'_> {
    /// Reads an object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Envelope<'_>, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The payload as it was published; `None` where there is none or it is not as its encoding says.
    pub fn payload(&self) -> Option<Cow<'_, [u8]>> {
        let data = self.data?.get();
        match self.encoding.as_deref() {
            None => Some(Cow::Borrowed(data.as_bytes())),
            Some("text") => match serde_json::from_str::<Text<'_>>(data).ok()?.0 {
                Cow::Borrowed(text) => Some(Cow::Borrowed(text.as_bytes())),
                Cow::Owned(text) => Some(Cow::Owned(text.into_bytes())),
            },
            Some("base64") => base64::decode(serde_json::from_str::<Text<'_>>(data).ok()?.0.as_bytes()).map(Cow::Owned),
            Some(_) => None,
        }
    }

    /// An error for people: `code: message`.
    pub fn error_text(&self) -> String {
        let code = self.code.map_or("", RawValue::get).trim_matches('"');
        match (code.is_empty(), self.message.is_empty()) {
            (true, _) => self.message.to_string(),
            (false, true) => code.to_owned(),
            (false, false) => format!("{code}: {}", self.message),
        }
    }
}

fn even_null<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes `subscribe`.
pub fn write_subscribe(out: &mut Vec<u8>, id: u64, topics: &[String]) {
    out.clear();
    write(out, &serde_json::json!({ "type": "subscribe", "id": id, "topics": topics }));
}

/// Writes `ping`.
pub fn write_ping(out: &mut Vec<u8>, id: u64) {
    out.clear();
    write(out, &serde_json::json!({ "type": "ping", "id": id }));
}

/// Writes `publish`. A [`Kind::Json`] payload has to be one JSON value; a [`Kind::Text`] one that is not UTF-8 travels as binary.
pub fn write_publish(out: &mut Vec<u8>, topic: &str, priority: Priority, kind: Kind, payload: &[u8]) {
    out.clear();
    out.extend_from_slice(br#"{"type":"publish","topic":"#);
    write(out, topic);
    if priority != Priority::Normal {
        out.extend_from_slice(br#","priority":""#);
        out.extend_from_slice(priority.name().as_bytes());
        out.push(b'"');
    }
    let text = if kind == Kind::Text { std::str::from_utf8(payload).ok() } else { None };
    match (kind, text) {
        (Kind::Json, _) => {
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(payload);
        }
        (Kind::Text, Some(text)) => {
            out.extend_from_slice(br#","encoding":"text","data":"#);
            write(out, text);
        }
        _ => {
            out.extend_from_slice(br#","encoding":"base64","data":""#);
            base64::encode(payload, out);
            out.push(b'"');
        }
    }
    out.push(b'}');
}

fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(out, value);
    // Strings and the objects above always serialise, and a Vec takes every byte.
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(kind: Kind, payload: &[u8]) -> String {
        let mut out = Vec::new();
        write_publish(&mut out, "a/\"b", Priority::Normal, kind, payload);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn publishes_are_written_by_kind() {
        assert_eq!(published(Kind::Json, br#"{"x": 1.50}"#), r#"{"type":"publish","topic":"a/\"b","data":{"x": 1.50}}"#);
        assert_eq!(published(Kind::Text, b"a\tb\r"), r#"{"type":"publish","topic":"a/\"b","encoding":"text","data":"a\tb\r"}"#);
        assert_eq!(published(Kind::Text, b"\xff"), r#"{"type":"publish","topic":"a/\"b","encoding":"base64","data":"/w=="}"#);
        let mut out = Vec::new();
        write_publish(&mut out, "t", Priority::Critical, Kind::Json, b"1");
        assert_eq!(out, br#"{"type":"publish","topic":"t","priority":"critical","data":1}"#);
    }

    #[test]
    fn payloads_come_out_as_they_were_published() {
        for (envelope, payload) in [
            (r#"{"type":"message","topic":"a","data":{"x": 1.50}}"#, &br#"{"x": 1.50}"#[..]),
            (r#"{"type":"message","data":"a\tb\r\u00e4","encoding":"text","later":1}"#, "a\tb\rä".as_bytes()),
            (r#"{"type":"message","data":"plain","encoding":"text"}"#, b"plain"),
            (r#"{"type":"message","data":"/w==","encoding":"base64"}"#, b"\xff"),
            (r#"{"type":"message","data":"still JSON"}"#, b"\"still JSON\""),
            (r#"{"type":"message","data":null}"#, b"null"),
        ] {
            assert_eq!(Envelope::parse(envelope.as_bytes()).unwrap().payload().as_deref(), Some(payload), "{envelope}");
        }
        for wrong in [r#"{"type":"m"}"#, r#"{"type":"m","data":1,"encoding":"text"}"#, r#"{"type":"m","data":"","encoding":"rot13"}"#] {
            assert_eq!(Envelope::parse(wrong.as_bytes()).unwrap().payload(), None, "{wrong}");
        }
    }

    #[test]
    fn other_objects_are_read_whatever_keys_they_have() {
        let subscribed = br#"{"type":"subscribed","id":1,"topic":"a","topic_id":4,"epoch":"17","seq":{"normal":12}}"#;
        assert_eq!(Envelope::parse(subscribed).unwrap().topic, "a");
        let gap = Envelope::parse(br#"{"type":"gap","topic":"a","priority":"normal","from":3,"to":9,"reason":"lag"}"#).unwrap();
        assert_eq!((gap.from, gap.to, &*gap.reason), (Some(3), Some(9), "lag"));
        let error = Envelope::parse(br#"{"type":"error","code":"forbidden","message":"may not publish","id":7}"#).unwrap();
        assert_eq!(error.error_text(), "forbidden: may not publish");
        assert!(Envelope::parse(b"[]").is_err());
        assert!(Envelope::parse(b"{}").is_err());
    }
}
