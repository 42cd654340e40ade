use super::data::LongData;
use super::since::LongSince;
use super::*;
use crate::subscribe::{self, Content, Publish};
use crate::{Kind, Priority};
use proptest::prelude::*;
use serde_json::json;

/// What comes of a request: its code if it is refused, else its fields, and the payload.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused(&'static str, Option<Vec<u8>>),
    Taken(String),
}

fn refused(error: &ControlError<'_>) -> Outcome {
    Outcome::Refused(error.code, error.id.map(|id| id.as_bytes().to_vec()))
}

fn outcome(
    parsed: Result<ClientMessage<'_>, ControlError<'_>>,
    payload: impl FnOnce(&Publish<'_>) -> Outcome,
) -> Outcome {
    match parsed {
        Err(error) => refused(&error),
        Ok(ClientMessage::Publish(publish)) => payload(&publish),
        Ok(ClientMessage::Subscribe { id, topics, since, max_hz, max_delay_ms, echo }) => {
            let mut since: Vec<_> = since.iter().map(|(topic, since)| (topic.to_owned(), since)).collect();
            since.sort_by(|a, b| a.0.cmp(&b.0));
            Outcome::Taken(format!("{id:?} {topics:?} {since:?} {max_hz:?} {max_delay_ms:?} {echo:?}"))
        }
        Ok(other) => Outcome::Taken(format!("{other:?}")),
    }
}

fn published(publish: &Publish<'_>, kind: Kind, payload: &[u8]) -> Outcome {
    let Publish { id, topic, priority, key, ttl_ms, parent, .. } = publish;
    Outcome::Taken(format!("{id:?} {topic} {priority:?} {key:?} {ttl_ms:?} {parent:?} {kind:?} {payload:?}"))
}

fn parse(encoding: Encoding, request: &[u8]) -> Result<ClientMessage<'_>, ControlError<'_>> {
    match encoding {
        Encoding::Json => subscribe::parse(std::str::from_utf8(request).expect("UTF-8")),
        Encoding::Msgpack => msgpack::request::parse(request),
    }
}

fn at_once(encoding: Encoding, request: &[u8]) -> Outcome {
    outcome(parse(encoding, request), |publish| {
        let mut out = Vec::new();
        match publish.content.decode(&mut out) {
            Ok(kind) => published(publish, kind, &out),
            Err(_) => Outcome::Refused(code::BAD_DATA, publish.id.map(|id| id.as_bytes().to_vec())),
        }
    })
}

fn in_pieces(encoding: Encoding, request: &[u8], piece: usize) -> Outcome {
    let mut long = LongRequest::new(encoding);
    loop {
        let before = long.at();
        match long.advance(request, piece) {
            Ok(true) => break,
            Ok(false) => assert!(long.at() > before || before == request.len(), "no way forward at {before}"),
            Err(error) => return refused(&error),
        }
    }
    let brief = long.brief(request);
    let parsed = match (brief.parse(), brief.since.clone()) {
        (Ok(ClientMessage::Subscribe { id, topics, since, max_hz, max_delay_ms, echo }), Some(raw)) => {
            let mut pieces = LongSince::new(encoding, &request[raw], since.unnamed());
            let done = loop {
                match pieces.advance(3) {
                    Ok(true) => {
                        break Ok(ClientMessage::Subscribe {
                            id,
                            topics,
                            since: pieces.into_list(),
                            max_hz,
                            max_delay_ms,
                            echo,
                        });
                    }
                    Ok(false) => {}
                    Err(error) => break Err(error.with_id(id)),
                }
            };
            return outcome(done, |_| unreachable!("a subscribe"));
        }
        (parsed, _) => parsed,
    };
    outcome(parsed, |publish| {
        let mut out = Vec::new();
        let kind = match &brief.data {
            None => publish.content.decode(&mut out).ok(),
            Some(raw) => {
                let mut data = LongData::new(request, encoding, raw.clone(), &publish.content);
                loop {
                    match data.advance(request, piece, &mut out) {
                        Ok(true) => break Some(publish.content.kind()),
                        Ok(false) => {}
                        Err(error) => return refused(&error.with_id(publish.id)),
                    }
                    assert!(out.len() <= data.bytes_max());
                }
            }
        };
        match kind {
            Some(kind) => published(publish, kind, &out),
            None => Outcome::Refused(code::BAD_DATA, publish.id.map(|id| id.as_bytes().to_vec())),
        }
    })
}

fn check(encoding: Encoding, request: &[u8]) {
    let whole = at_once(encoding, request);
    for piece in [7, 1_000, 65_536] {
        let pieces = in_pieces(encoding, request, piece);
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]);
        assert!(pieces == whole, "{shown} in pieces of {piece}:\n{pieces:.200?}\nat once:\n{whole:.200?}");
    }
}

fn long(text: &str) -> String {
    text.repeat(SHORT_BYTES_MAX / text.len() + 10)
}

#[test]
fn a_long_json_request_is_what_it_is_at_once() {
    let publish = |data: &str, more: &str| format!(r#"{{"type":"publish","id":7,"topic":"a/b"{more},"data":{data}}}"#);
    let string = |text: &str| format!("\"{}\"", long(text));
    for text in [
        publish(&string("x"), ""),
        publish(&string("é\\n\\u00e9\\ud83d\\ude00"), ""),
        publish(
            &string("é\\n\\u00e9\\ud83d\\ude00"),
            r#","encoding":"text","priority":"critical","key":"k","ttl_ms":5"#,
        ),
        publish(&string("x"), r#","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01""#),
        publish(&string("x"), r#","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7""#),
        publish(&string("x"), &format!(r#","traceparent":{}"#, string("0"))),
        publish(&string("AAEC"), r#","encoding":"base64""#),
        publish(&string("AA\\/+"), r#","encoding":"base64""#),
        publish(&format!("\"{}A===\"", long("AAEC")), r#","encoding":"base64""#),
        publish(&format!("\"{}AA==\"", long("AAEC")), r#","encoding":"base64""#),
        publish(&format!("\"{}AA\"", long("AAEC")), r#","encoding":"base64""#),
        publish(&format!("\"AA=={}\"", long("AAEC")), r#","encoding":"base64""#),
        publish(&format!("\"{}AB==\"", long("AAEC")), r#","encoding":"base64""#),
        publish(&format!("[{}1]", long("1, {\"a\":[]},")), ""),
        publish(&format!("[{}1]", long("1,")), r#","encoding":"text""#),
        publish(&format!("{{\"a\":{}}}", string("y")), ""),
        publish(&long("1"), ""),
        publish(&format!("0.{}", long("1")), ""),
        publish(&string("x"), r#","encoding":"none""#),
        publish(&string("x"), &format!(r#","topic":{}"#, string("t"))),
        publish(&string("x"), &format!(r#","topic":{}"#, string("\\u0041"))),
        publish(&string("x"), &format!(r#","id":{}"#, string("t"))),
        publish(&string("x"), &format!(r#","id":{}"#, long("1"))),
        publish(&string("x"), &format!(r#","key":{}"#, string("t"))),
        publish(&string("x"), &format!(r#","priority":{}"#, string("t"))),
        publish(&string("x"), &format!(r#","encoding":{}"#, string("t"))),
        publish(&string("x"), &format!(r#","ttl_ms":{}"#, long("1"))),
        publish(&string("x"), &format!(r#","type":{}"#, string("t"))),
        publish(&string("x"), &format!(r#","type":{{"a":{}}}"#, string("t"))),
        publish(&string("x"), &format!(r#","unknown":{}"#, string("t"))),
        publish(&string("x"), &format!(r#","{}":1"#, long("t"))),
        publish(&string("x"), r#","data":1,"d\u0061ta":2"#),
        format!("{} x", publish(&string("x"), "")),
        format!("{}{}", publish("1", ""), " ".repeat(9_000)),
        format!("[{}]", string("x")),
        string("x"),
        string("x").replace("xx\"", "x\\q\""),
        publish(&string("x"), "").replace("xx\"", "x\u{1}\""),
        format!(r#"{{"type":"auth","token":"{}"}}"#, "t".repeat(8 << 10)),
        format!(r#"{{"type":"auth","token":"{}"}}"#, "t".repeat((8 << 10) + 1)),
        format!(r#"{{"type":"auth","token":"{}"}}"#, r"\u0074".repeat(8 << 10)),
        format!(r#"{{"type":"auth","token":"{}"}}"#, "t".repeat(80 << 10)),
        r#"{"type":"ping","id":"x"}"#.into(),
        r#"{"type":"subscribe","topics":["a"],"from":"oldest"}"#.into(),
        r#"{"type":"publish","topic":"a","data":null}"#.into(),
        "null".into(),
        "{}".into(),
        String::new(),
    ] {
        check(Encoding::Json, text.as_bytes());
    }
}

fn subscribe(since: &str, more: &str) -> String {
    format!(r#"{{"type":"subscribe","id":"x","topics":["a","**"]{more},"since":{since}}}"#)
}

#[test]
fn a_long_since_is_what_it_is_at_once() {
    let entries = |count: usize| -> String {
        (0..count).map(|n| format!(r#""t/{n}":{{"epoch":{n},"seq":{{"low":3}}}},"#)).collect()
    };
    let many = entries(400);
    for (since, more) in [
        (format!("{{{many}\"z\":{{\"epoch\":1}}}}"), ""),
        (format!("{{ {many} \"z\" : {{\"epoch\":1}} }}"), r#","from":"oldest""#),
        (format!("{{{many}\"t/3\":{{\"epoch\":1}}}}"), ""),
        (format!("{{{many}\"t/3\":null}}"), ""),
        (format!("{{{many}\"t/3\":{{}}}}"), ""),
        (format!("{{{many}\"t/*\":{{\"epoch\":1}}}}"), ""),
        (format!("{{{many}\"z\":5}}"), ""),
        (format!("[{}1]", long("1,")), ""),
        (format!("\"{}\"", long("1,")), ""),
        (format!("{{{many}\"z\":{{\"epoch\":1}}}}"), r#","topics":[]"#),
        (format!("{{{many}\"z\":{{\"epoch\":1}}}}"), r#","max_hz":"fast""#),
        (format!("{{{many}\"z\":{{\"epoch\":1}}}}"), r#","from":"first""#),
    ] {
        let text = subscribe(&since, more);
        check(Encoding::Json, text.as_bytes());
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        check(Encoding::Msgpack, &packed(&value));
    }
    for bytes in [subscribe::REQUEST_BYTES_MAX, subscribe::REQUEST_BYTES_MAX + 1] {
        let text = subscribe(&format!("{{{many}\"z\":{{\"epoch\":1}}}}"), "");
        check(Encoding::Json, format!("{text}{}", " ".repeat(bytes - text.len())).as_bytes());
    }
}

fn packed(value: &serde_json::Value) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(crate::fuzz::msgpack_plain::pack(value, &mut out));
    out
}

#[test]
fn a_long_msgpack_request_is_what_it_is_at_once() {
    for value in [
        json!({"type": "publish", "topic": "t", "id": 5, "data": long("x"), "encoding": "text"}),
        json!({"type": "publish", "topic": "t", "id": 5, "data": long("AAEC"), "encoding": "base64"}),
        json!({"type": "publish", "topic": "t", "id": 5, "data": format!("{}\\n", long("AAEC")), "encoding": "base64"}),
        json!({"type": "publish", "topic": "t", "id": 5, "data": format!("[{}1] ", long("1,"))}),
        json!({"type": "publish", "topic": "t", "id": 5, "data": format!("[{}1", long("1,"))}),
        json!({"type": "publish", "topic": "t", "id": 5, "data": long("x")}),
        json!({"type": "publish", "topic": "t", "id": 5, "data": [long("x")]}),
        json!({"type": "publish", "topic": "t", "id": 5, "data": {"a": long("x")}}),
        json!({"type": "publish", "topic": long("t"), "data": "1"}),
        json!({"type": "publish", "topic": "t", "data": "1", "id": long("t")}),
        json!({"type": "publish", "topic": "t", "data": "1", "key": [long("t")]}),
        json!({"type": "publish", "topic": "t", "data": "1", "more": [long("t"), {"a": long("t")}]}),
        json!({"type": "ping", "id": 1}),
        json!([long("x")]),
        json!(long("x")),
    ] {
        check(Encoding::Msgpack, &packed(&value));
    }
    let head = b"\x83\xa4type\xa7publish\xa5topic\xa1t\xa4data";
    let binary = [&head[..], b"\xc5\x40\x00", &[0xff; 0x4000]].concat();
    check(Encoding::Msgpack, &binary);
    check(Encoding::Msgpack, &[&binary[..], b"\x01"].concat());
    check(Encoding::Msgpack, &[&head[..], b"\xda\x40\x00", &[0xff; 0x4000]].concat());
    check(Encoding::Msgpack, &[&head[..], b"\xc8\x40\x00\x05", &[0xff; 0x4000]].concat());
    let odd = [&b"\x82\x01"[..], b"\xc5\x40\x00", &[0xff; 0x4000], b"\xa4type\xa4ping"].concat();
    check(Encoding::Msgpack, &odd);
}

#[test]
fn what_stands_for_a_payload_is_as_short_as_the_request_is_long() {
    let text = format!(r#"{{"type":"publish","topic":"t","data":[{}1]}}"#, "1,".repeat(1 << 20));
    let mut request = LongRequest::new(Encoding::Json);
    while !request.advance(text.as_bytes(), 65_536).expect("JSON") {}
    let brief = request.brief(text.as_bytes());
    assert!(brief.text.len() < 100, "{}", brief.text.len());
    assert!(matches!(
        brief.parse(),
        Ok(ClientMessage::Publish(Publish { content: Content::Json(_), priority: Priority::Normal, .. }))
    ));
}

proptest! {
    #[test]
    fn any_short_request_is_what_it_is_at_once(
        parts in proptest::collection::vec(prop_oneof![
            Just("\"type\":\"publish\""), Just("\"type\":\"subscribe\""), Just("\"topic\":\"t\""), Just("\"topics\":[\"a\"]"),
            Just("\"data\":{\"a\":1}"), Just("\"since\":{\"a\":{\"epoch\":1}}"), Just("\"since\":{\"a\":null}"), Just("\"id\":1"), Just("\"id\":[]"),
            Just("\"encoding\":\"text\""), Just("\"data\":\"x\""), Just(","), Just("\"x\":tru"), Just("\"echo\":false")], 0..8)
    ) {
        check(Encoding::Json, format!("{{{}}}", parts.join(",")).as_bytes());
    }
}
