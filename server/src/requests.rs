//! Job: what a client of `fanwire.json.v1` sends: subscribe, ping, publish.
//! Knows: the objects and their keys. Must never know: sockets, where a payload comes from.

use fanwire::proto::json::{self, Body};
use fanwire::{Kind, Priority};

/// Writes `subscribe` for names and patterns.
pub fn write_subscribe(out: &mut Vec<u8>, id: u64, topics: &[String]) {
    out.clear();
    out.extend_from_slice(br#"{"type":"subscribe","id":"#);
    json::decimal(out, id);
    out.extend_from_slice(br#","topics":["#);
    for (n, topic) in topics.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::string(out, topic);
    }
    out.extend_from_slice(b"]}");
}

/// Writes `ping`.
pub fn write_ping(out: &mut Vec<u8>, id: u64) {
    out.clear();
    out.extend_from_slice(br#"{"type":"ping","id":"#);
    json::decimal(out, id);
    out.push(b'}');
}

/// Writes `publish`. A [`Kind::Json`] payload has to be one JSON value; a [`Kind::Text`] one that is not UTF-8
/// travels as binary.
pub fn write_publish(out: &mut Vec<u8>, topic: &str, priority: Priority, kind: Kind, payload: &[u8]) {
    out.clear();
    out.extend_from_slice(br#"{"type":"publish","topic":"#);
    json::string(out, topic);
    if priority != Priority::Normal {
        out.extend_from_slice(br#","priority":""#);
        out.extend_from_slice(priority.name().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(br#","data":"#);
    if kind == Kind::Json {
        out.extend_from_slice(payload);
        out.push(b'}');
        return;
    }
    let body = match std::str::from_utf8(payload) {
        Ok(text) if kind == Kind::Text => Body::Text(text),
        _ => Body::Binary(payload),
    };
    json::message_data(out, &body);
    // A published payload ends as one that is delivered: with its encoding.
    out.extend_from_slice(json::message_suffix(body.kind()));
}

#[cfg(test)]
mod tests {
    use fanwire::proto::subscribe::{self, ClientMessage};

    use super::*;

    /// What a server reads of it.
    fn published(kind: Kind, payload: &[u8]) -> (String, Priority, Kind, Vec<u8>) {
        let mut out = Vec::new();
        write_publish(&mut out, "a/\"b", Priority::High, kind, payload);
        let text = String::from_utf8(out).unwrap();
        let Ok(ClientMessage::Publish(publish)) = subscribe::parse(&text) else { panic!("{text}") };
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
        write_subscribe(&mut out, 7, &["a/*".to_owned(), "b\"c/**".to_owned()]);
        let text = String::from_utf8(out.clone()).unwrap();
        let Ok(ClientMessage::Subscribe { topics, id, .. }) = subscribe::parse(&text) else { panic!("{text}") };
        assert_eq!(topics, ["a/*", "b\"c/**"]);
        assert_eq!(id.unwrap().as_bytes(), b"7");
        write_ping(&mut out, 8);
        let text = String::from_utf8(out).unwrap();
        assert!(matches!(subscribe::parse(&text), Ok(ClientMessage::Ping { id: Some(_) })), "{text}");
    }
}
