use super::reader::{Fault, MsgpackError, Reader, Value as Packed};
use super::*;
use crate::json::{self, JsonCheck, reader::JsonString};
use crate::server_message::{GapReason, Limits, Message, Missing, ServerMessage};
use crate::subscribe::{
    ClientMessage, Content, ID_BYTES_MAX, KEY_BYTES_MAX, Publish, REQUEST_BYTES_MAX, TOPICS_MAX, code,
};
use crate::{Kind, Priority};
use proptest::prelude::*;
use serde_json::{Value, json};

fn rendered(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    out.strip_prefix(b"before").expect("what was there stays").to_vec()
}

/// An encoder of its own, so that requests can be written down as JSON.
fn pack(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(truth) => out.push(0xc2 + u8::from(*truth)),
        Value::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => unsigned(out, n),
            (_, Some(n)) => sized_head(out, 0xd3, &n.to_be_bytes()),
            _ => sized_head(out, 0xcb, &n.as_f64().expect("a number").to_be_bytes()),
        },
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            sized_head(out, 0xdd, &(items.len() as u32).to_be_bytes());
            items.iter().for_each(|item| pack(item, out));
        }
        Value::Object(pairs) => {
            sized_head(out, 0xde, &(pairs.len() as u16).to_be_bytes());
            for (key, value) in pairs {
                string(out, key);
                pack(value, out);
            }
        }
    }
}

fn packed(value: Value) -> Vec<u8> {
    rendered(|out| pack(&value, out))
}

/// The oracle: a recursive reader written from the specification's table, for what our encoder uses.
fn unpack(bytes: &mut &[u8]) -> Value {
    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(n);
        *bytes = rest;
        taken
    }
    fn number(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
    }
    fn text(bytes: &[u8]) -> Value {
        Value::String(std::str::from_utf8(bytes).expect("UTF-8").to_owned())
    }
    let first = take(bytes, 1)[0];
    match first {
        0..=0x7f => json!(first),
        0xc0 => Value::Null,
        0x80..=0x8f => Value::Object(
            (0..first & 15)
                .map(|_| {
                    let Value::String(key) = unpack(bytes) else { panic!("a key is a string") };
                    (key, unpack(bytes))
                })
                .collect(),
        ),
        0xa0..=0xbf => text(take(bytes, usize::from(first & 31))),
        0xcc..=0xcf => json!(number(take(bytes, 1 << (first - 0xcc)))),
        0xd9..=0xdb => {
            let length = number(take(bytes, 1 << (first - 0xd9)));
            text(take(bytes, length as usize))
        }
        0xc4..=0xc6 => {
            let length = number(take(bytes, 1 << (first - 0xc4)));
            json!({"bin": take(bytes, length as usize)})
        }
        0xd3 => json!(number(take(bytes, 8)) as i64),
        _ => panic!("{first:#x} is not used"),
    }
}

fn unpacked(mut bytes: &[u8]) -> Value {
    let value = unpack(&mut bytes);
    assert!(bytes.is_empty());
    value
}

fn body(kind: Kind, payload: &[u8]) -> Body<'_> {
    Body::of(kind, payload, &mut JsonCheck::new())
}

#[test]
fn messages_have_these_exact_bytes() {
    let mut topic = Vec::new();
    pack_topic("a", &mut topic);
    let head: &[u8] = b"\xa4type\xa7message\xa5topic\xa1a\xa8priority\xa3low\xa3seq\xcd\x01\x00\xa7time_us\xcf\x00\x00\x00\x01\x00\x00\x00\x00";
    for (kind, payload, pairs, tail) in [
        (Kind::Json, &b"{\"x\":1}"[..], 0x86, &b"\xa4data\xa7{\"x\":1}"[..]),
        (Kind::Text, b"{}", 0x87, b"\xa8encoding\xa4text\xa4data\xa2{}"),
        (Kind::Text, b"", 0x87, b"\xa8encoding\xa4text\xa4data\xa0"),
        (Kind::Binary, b"", 0x86, b"\xa4data\xc4\x00"),
        (Kind::Binary, b"\xff\x00", 0x86, b"\xa4data\xc4\x02\xff\x00"),
        // A publisher's mistakes.
        (Kind::Json, b"{", 0x87, b"\xa8encoding\xa4text\xa4data\xa1{"),
        (Kind::Json, b"\xff", 0x86, b"\xa4data\xc4\x01\xff"),
        (Kind::Text, b"\xff", 0x86, b"\xa4data\xc4\x01\xff"),
    ] {
        let body = body(kind, payload);
        let bytes = rendered(|out| message(out, &topic, Priority::Low, 256, 1 << 32, &body));
        assert_eq!(bytes, [&[pairs], head, tail].concat(), "{kind:?} {payload:?}");
        let prefix = rendered(|out| message_prefix(out, "a", Priority::Low, 256, 1 << 32, &body));
        assert_eq!([&prefix[..], payload].concat(), bytes, "the payload is the end, as it was published");
    }
}

#[test]
fn lengths_and_integers_take_their_shortest_form() {
    for (n, head) in [
        (0, &b"\x00"[..]),
        (127, b"\x7f"),
        (128, b"\xcc\x80"),
        (255, b"\xcc\xff"),
        (256, b"\xcd\x01\x00"),
        (65_535, b"\xcd\xff\xff"),
        (65_536, b"\xce\x00\x01\x00\x00"),
        (u64::from(u32::MAX), b"\xce\xff\xff\xff\xff"),
        (1 << 32, b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
        (u64::MAX, b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
    ] {
        assert_eq!(rendered(|out| unsigned(out, n)), head, "{n}");
    }
    for (n, text, bin) in [
        (0, &b"\xa0"[..], &b"\xc4\x00"[..]),
        (31, b"\xbf", b"\xc4\x1f"),
        (32, b"\xd9\x20", b"\xc4\x20"),
        (255, b"\xd9\xff", b"\xc4\xff"),
        (256, b"\xda\x01\x00", b"\xc5\x01\x00"),
        (65_535, b"\xda\xff\xff", b"\xc5\xff\xff"),
        (65_536, b"\xdb\x00\x01\x00\x00", b"\xc6\x00\x01\x00\x00"),
    ] {
        assert_eq!(rendered(|out| string_head(out, n)), text, "{n}");
        assert_eq!(rendered(|out| binary_head(out, n)), bin, "{n}");
        let (text, bytes) = ("x".repeat(n), vec![0xff; n]);
        assert_eq!(Reader::new(&rendered(|out| string(out, &text))).value(), Ok(Packed::Str(&text)));
        let bin = rendered(|out| {
            binary_head(out, n);
            out.extend_from_slice(&bytes);
        });
        assert_eq!(Reader::new(&bin).value(), Ok(Packed::Bin(&bytes)));
    }
}

/// Each object is the map with the keys and values of its JSON form, and a client reads it back.
#[test]
fn control_objects_are_those_of_json() {
    fn same(msgpack: impl FnOnce(&mut Vec<u8>), json: impl FnOnce(&mut Vec<u8>), object: ServerMessage<'_>) {
        let bytes = rendered(msgpack);
        assert_eq!(unpacked(&bytes), serde_json::from_slice::<Value>(&rendered(json)).expect("JSON"));
        assert_eq!(server::parse(&bytes), Ok(object));
    }
    let limits = Limits {
        message_bytes_max: 1 << 26,
        topics_max: 1024,
        subscriptions_max: u32::MAX,
        topics_per_connection_max: 7,
    };
    let hello = Welcome {
        session: "0.1".into(),
        server: "é\0\"".into(),
        protocol: PROTOCOL.into(),
        time_us: 1_732_000_000_000_000,
        limits,
    };
    same(|out| welcome(out, &hello), |out| json::welcome(out, &hello), ServerMessage::Welcome(hello.clone()));
    for seq in [[None; 4], [Some(0), None, Some(u64::MAX), None], [Some(1), Some(2), Some(3), Some(4)]] {
        let state = Subscribed { id: None, topic: "a/b".into(), topic_id: u32::MAX, epoch: (1 << 53) - 1, seq };
        same(
            |out| subscribed(out, &state),
            |out| json::subscribed(out, &state),
            ServerMessage::Subscribed(state.clone()),
        );
    }
    let ended = Unsubscribed { id: None, topic: "a/**".into() };
    same(
        |out| unsubscribed(out, &ended),
        |out| json::unsubscribed(out, &ended),
        ServerMessage::Unsubscribed(ended.clone()),
    );
    for reason in GapReason::ALL {
        for missing in [Missing::All, Missing::Some(0), Missing::Some(u64::MAX), Missing::Unknown] {
            let lost = Gap { topic: "t".into(), priority: Priority::High, from: 1, to: u64::MAX, missing, reason };
            same(|out| gap(out, &lost), |out| json::gap(out, &lost), ServerMessage::Gap(lost.clone()));
        }
    }
    let long = "x".repeat(300);
    let refused = ErrorMessage { code: "bad_topic".into(), message: long.as_str().into(), id: None };
    same(|out| error(out, &refused), |out| json::error(out, &refused), ServerMessage::Error(refused.clone()));
    same(
        |out| pong(out, &Pong { id: None }),
        |out| json::pong(out, &Pong { id: None }),
        ServerMessage::Pong(Pong { id: None }),
    );
    for url in [None, Some("wss://b".into())] {
        let away = Migrate { after_ms: 5000, url, reason: "drain".into() };
        same(|out| migrate(out, &away), |out| json::migrate(out, &away), ServerMessage::Migrate(away.clone()));
    }
    for expires_in_ms in [None, Some(0), Some(u64::MAX)] {
        let taken = Authorized { id: None, expires_in_ms };
        same(
            |out| authorized(out, &taken),
            |out| json::authorized(out, &taken),
            ServerMessage::Authorized(taken.clone()),
        );
    }
}

#[test]
fn ids_are_echoed_byte_for_byte() {
    for raw in [
        &b"\x07"[..],
        b"\xcc\x07",
        b"\xff",
        b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1x",
        b"\xd9\x01x",
        b"\xcb\x3f\xf8\0\0\0\0\0\0",
        b"\xa0",
    ] {
        let request = [&b"\x82\xa4type\xa4ping\xa2id"[..], raw].concat();
        let Ok(ClientMessage::Ping { id }) = request::parse(&request) else { panic!("{raw:?}") };
        assert_eq!(id.expect("an id").as_msgpack(), Some(raw));
        assert_eq!(id.expect("an id").as_json(), None);
        let answer = rendered(|out| pong(out, &Pong { id }));
        assert_eq!(answer, [&b"\x82\xa4type\xa4pong\xa2id"[..], raw].concat());
        assert_eq!(server::parse(&answer), Ok(ServerMessage::Pong(Pong { id })));
        for answer in [
            rendered(|out| {
                subscribed(out, &Subscribed { id, topic: "t".into(), topic_id: 1, epoch: 1, seq: [None; 4] })
            }),
            rendered(|out| unsubscribed(out, &Unsubscribed { id, topic: "t".into() })),
            rendered(|out| error(out, &ErrorMessage { code: "c".into(), message: "m".into(), id })),
        ] {
            let mut reader = Reader::new(&answer);
            reader.raw_value().expect("the count of pairs is right");
            assert!(reader.finish().is_ok());
            assert!(answer.windows(raw.len() + 3).any(|w| w == [b"\xa2id", raw].concat()));
        }
    }
    let json_id = Id::from_json("7");
    assert_eq!(rendered(|out| pong(out, &Pong { id: json_id })), b"\x81\xa4type\xa4pong");
    for raw in
        [&b""[..], b"\xc0", b"\xc3", b"\x90", b"\x80", b"\xc4\x00", b"\x01\x02", b"\xa2x", b"\xd4\x00\x00", b"\xa1\xff"]
    {
        assert_eq!(Id::from_msgpack(raw), None, "{raw:?}");
    }
    let longest = rendered(|out| string(out, &"x".repeat(ID_BYTES_MAX - 2)));
    assert!(Id::from_msgpack(&longest).is_some());
    assert_eq!(Id::from_msgpack(&rendered(|out| string(out, &"x".repeat(ID_BYTES_MAX - 1)))), None);
}

#[test]
fn requests_are_understood() {
    let bytes = packed(json!({
        "type": "subscribe", "id": 1, "topics": ["a/b", "c/*"], "max_hz": 2.5, "max_delay_ms": 20, "echo": false, "new": [{"x": [null]}],
        "since": {"x": {"epoch": 9_007_199_254_740_991u64, "seq": {"critical": 0, "low": u64::MAX, "urgent": "?"}, "new": 1}},
    }));
    let Ok(ClientMessage::Subscribe { id: Some(_), topics, since, max_hz, max_delay_ms, echo }) =
        request::parse(&bytes)
    else {
        panic!()
    };
    assert_eq!(topics, ["a/b", "c/*"]);
    assert_eq!((max_hz, max_delay_ms, echo), (Some(2.5), Some(20), Some(false)));
    let x = since.find("x").expect("x");
    assert_eq!((x.epoch, x.seq), ((1 << 53) - 1, [Some(0), None, None, Some(u64::MAX)]));

    let bytes = packed(json!({"type": "unsubscribe", "topics": ["**"], "id": null}));
    assert_eq!(request::parse(&bytes), Ok(ClientMessage::Unsubscribe { id: None, topics: vec!["**".into()] }));
    let bytes = packed(json!({"type": "dance", "topics": 5}));
    assert_eq!(request::parse(&bytes), Ok(ClientMessage::Unknown));
    let bytes = packed(
        json!({"type": "publish", "topic": "t", "data": "1", "ttl_ms": 5.0, "max_hz": [], "priority": "high", "key": "k"}),
    );
    let Ok(ClientMessage::Publish(Publish { priority, key, ttl_ms, .. })) = request::parse(&bytes) else { panic!() };
    assert_eq!((priority, key.as_deref(), ttl_ms), (Priority::High, Some("k"), Some(5)));
}

#[test]
fn payloads_are_taken_as_their_type_says() {
    let publish = |data: &[u8], encoding: Option<&str>| {
        rendered(|out| {
            map(out, 3 + u8::from(encoding.is_some()));
            pair(out, "type", "publish");
            pair(out, "topic", "t");
            if let Some(encoding) = encoding {
                pair(out, "encoding", encoding);
            }
            string(out, "data");
            out.extend_from_slice(data);
        })
    };
    let deepest = "[".repeat(126) + &"]".repeat(126);
    let too_deep = format!("[{deepest}]");
    let as_string = |text: &str| rendered(|out| string(out, text));
    for (data, encoding, expected) in [
        (b"\xc4\x02\xff\x00".to_vec(), None, Ok(Content::Binary(b"\xff\0"))),
        (b"\xc4\x00".to_vec(), None, Ok(Content::Binary(b""))),
        (as_string(" {\"a\": 1} "), None, Ok(Content::Json(" {\"a\": 1} "))),
        (as_string(&deepest), None, Ok(Content::Json(deepest.as_str()))),
        (as_string("\\n"), Some("text"), Ok(Content::Text(JsonString::plain("\\n")))),
        (as_string("YQ"), Some("base64"), Ok(Content::Base64(JsonString::plain("YQ")))),
        (as_string("hello"), None, Err(code::BAD_DATA)),
        (as_string(""), None, Err(code::BAD_DATA)),
        (as_string("1 2"), None, Err(code::BAD_DATA)),
        (as_string(&too_deep), None, Err(code::BAD_DATA)),
        (as_string("1"), Some("json"), Err(code::BAD_ENCODING)),
        (b"\xc4\x00".to_vec(), Some("text"), Err(code::BAD_MESSAGE)),
        (b"\x01".to_vec(), None, Err(code::BAD_MESSAGE)),
        (b"\x80".to_vec(), None, Err(code::BAD_MESSAGE)),
        (b"\xc0".to_vec(), None, Err(code::BAD_MESSAGE)),
        (b"\xd4\x01\x02".to_vec(), None, Err(code::BAD_MESSAGE)),
    ] {
        let bytes = publish(&data, encoding);
        match (request::parse(&bytes), expected) {
            (Ok(ClientMessage::Publish(publish)), Ok(content)) => assert_eq!(publish.content, content),
            (Err(error), Err(code)) => assert_eq!(error.code, code, "{data:?}"),
            other => panic!("{data:?} {encoding:?}: {other:?}"),
        }
    }
    let mut text = Vec::new();
    assert_eq!(Content::Text(JsonString::plain("\\n")).decode(&mut text), Ok(Kind::Text));
    assert_eq!(text, b"\\n", "a plain string has no escapes");
}

#[test]
fn malformed_bytes_follow_the_table() {
    let deep = |n: usize| [vec![0x91; n], vec![0xc0]].concat();
    assert!(Reader::new(&deep(127)).raw_value().is_ok());
    let rows: &[(&[u8], usize, Fault)] = &[
        (b"", 0, Fault::End),
        (b"\xc1", 0, Fault::Reserved),
        (b"\x91\xc1", 1, Fault::Reserved),
        (b"\x01\x02", 1, Fault::Trailing),
        (b"\xc0\xc0", 1, Fault::Trailing),
        (b"\x91", 0, Fault::End),
        (b"\x81", 0, Fault::End),
        (b"\x81\xc0", 0, Fault::End),
        (b"\x82\xa0\xc0\xa0", 0, Fault::End),
        (b"\x93\x01\x02", 0, Fault::End),
        (b"\x92\x01\x91", 2, Fault::End),
        (b"\xa1", 0, Fault::End),
        (b"\xbf01234567890123456789", 0, Fault::End),
        (b"\xd9", 0, Fault::End),
        (b"\xd9\x01", 0, Fault::End),
        (b"\xda\x00", 0, Fault::End),
        (b"\xda\xff\xffx", 0, Fault::End),
        (b"\xdb\xff\xff\xff\xffx", 0, Fault::End),
        (b"\xc4\x01", 0, Fault::End),
        (b"\xc5\x00\x02x", 0, Fault::End),
        (b"\xc6\xff\xff\xff\xff", 0, Fault::End),
        (b"\xc7\x01\x00", 0, Fault::End),
        (b"\xc8\x00\x01", 0, Fault::End),
        (b"\xc9\xff\xff\xff\xff\x00", 0, Fault::End),
        (b"\xd8\x00123456789012345", 0, Fault::End),
        (b"\xd4\x00", 0, Fault::End),
        (b"\xca\x00\x00\x00", 0, Fault::End),
        (b"\xcb\x00\x00\x00\x00\x00\x00\x00", 0, Fault::End),
        (b"\xcc", 0, Fault::End),
        (b"\xcd\x00", 0, Fault::End),
        (b"\xce\x00\x00\x00", 0, Fault::End),
        (b"\xcf\x00\x00\x00\x00\x00\x00\x00", 0, Fault::End),
        (b"\xd0", 0, Fault::End),
        (b"\xd3\x00\x00\x00", 0, Fault::End),
        (b"\xdc\xff\xff\xc0", 0, Fault::End),
        (b"\xdd\xff\xff\xff\xff\xc0", 0, Fault::End),
        (b"\xde\xff\xff\xa0\xc0", 0, Fault::End),
        (b"\xdf\xff\xff\xff\xff\xa0\xc0", 0, Fault::End),
        (b"\xa1\xff", 0, Fault::Utf8),
        (b"\xd9\x02\xc0\xaf", 0, Fault::Utf8),
        (b"\xa3\xed\xa0\x80", 0, Fault::Utf8),
        (b"\x81\xa1\xff\xc0", 1, Fault::Utf8),
        (b"\x91\xa2x\xe2", 1, Fault::Utf8),
    ];
    for (bytes, at, fault) in rows {
        let mut reader = Reader::new(bytes);
        let result = reader.raw_value().and_then(|_| reader.finish());
        assert_eq!(result, Err(MsgpackError { at: *at, fault: *fault }), "{bytes:x?}");
        assert_eq!(request::parse(bytes).expect_err("malformed").code, code::BAD_MSGPACK, "{bytes:x?}");
        assert!(matches!(server::parse(bytes), Err(server::ServerMessageError::Msgpack(_))), "{bytes:x?}");
    }
    for n in [128, 1000, 100_000] {
        assert_eq!(Reader::new(&deep(n)).raw_value(), Err(MsgpackError { at: 127, fault: Fault::Depth }), "{n} levels");
    }
}

#[test]
fn every_first_byte_is_decided() {
    let bytes = [&[0][..], &[1; 16], &[0; 300]].concat();
    for first in 0..=255 {
        let mut bytes = bytes.clone();
        bytes[0] = first;
        let mut reader = Reader::new(&bytes);
        assert_eq!(
            reader.value().is_err(),
            matches!(first, 0xc1 | 0xc5 | 0xc6 | 0xc8 | 0xc9 | 0xda | 0xdb | 0xdd | 0xdf | 0xde | 0xdc) && {
                // 0x0101 and 0x01010101 are more than what follows, but 0x0101 bytes are not.
                !matches!(first, 0xc5 | 0xc8 | 0xda | 0xdc)
            },
            "{first:#x}"
        );
    }
    for (bytes, value) in [
        (&b"\xd0\x80"[..], Packed::Negative(-128)),
        (b"\xd0\x7f", Packed::Unsigned(127)),
        (b"\xd1\x80\x00", Packed::Negative(-32768)),
        (b"\xd2\xff\xff\xff\xff", Packed::Negative(-1)),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", Packed::Negative(i64::MIN)),
        (b"\xe0", Packed::Negative(-32)),
        (b"\xff", Packed::Negative(-1)),
        (b"\xca\x3f\x80\x00\x00", Packed::Float(1.0)),
        (b"\xd4\xff\x07", Packed::Ext(-1, &[7])),
        (b"\xc7\x02\x05\x01\x02", Packed::Ext(5, &[1, 2])),
        (b"\xd5\x00\x01\x02", Packed::Ext(0, &[1, 2])),
    ] {
        assert_eq!(Reader::new(bytes).value(), Ok(value), "{bytes:x?}");
        assert_eq!(Reader::new(bytes).raw_value(), Ok(bytes));
    }
}

#[test]
fn refusals_are_those_of_json() {
    for (request, code) in [
        (json!([]), code::BAD_MESSAGE),
        (json!(null), code::BAD_MESSAGE),
        (json!("ping"), code::BAD_MESSAGE),
        (json!({}), code::BAD_MESSAGE),
        (json!({"type": 5}), code::BAD_MESSAGE),
        (json!({"type": null}), code::BAD_MESSAGE),
        (json!({"type": "ping", "id": true}), code::BAD_MESSAGE),
        (json!({"type": "ping", "id": [1]}), code::BAD_MESSAGE),
        (json!({"type": "subscribe"}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": []}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": "a"}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": {"a": 1}}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a", 1]}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a", ""]}), code::BAD_TOPIC),
        (json!({"type": "subscribe", "topics": ["**/a"]}), code::BAD_TOPIC),
        (json!({"type": "unsubscribe", "topics": ["/"]}), code::BAD_TOPIC),
        (json!({"type": "subscribe", "topics": ["a"], "max_hz": 0}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "max_hz": -1}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "max_hz": 1_000_001}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "max_hz": "5"}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "max_delay_ms": 1_001}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "echo": 0}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "since": []}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "since": {"a": 5}}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "since": {"a": {"seq": {}}}}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "since": {"a": {"epoch": -1}}}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "since": {"a": {"epoch": 1.5}}}), code::BAD_MESSAGE),
        (json!({"type": "subscribe", "topics": ["a"], "since": {"a": {"epoch": 1, "seq": []}}}), code::BAD_MESSAGE),
        (
            json!({"type": "subscribe", "topics": ["a"], "since": {"a": {"epoch": 1, "seq": {"low": "1"}}}}),
            code::BAD_MESSAGE,
        ),
        (json!({"type": "subscribe", "topics": ["a"], "since": {"a/*": {"epoch": 1, "seq": {}}}}), code::BAD_TOPIC),
        (json!({"type": "publish", "data": "1"}), code::BAD_MESSAGE),
        (json!({"type": "publish", "topic": "a"}), code::BAD_MESSAGE),
        (json!({"type": "publish", "topic": "a/*", "data": "1"}), code::BAD_TOPIC),
        (json!({"type": "publish", "topic": "$sys", "data": "1"}), code::NOT_ALLOWED),
        (json!({"type": "publish", "topic": "a", "data": "1", "priority": "urgent"}), code::BAD_PRIORITY),
        (json!({"type": "publish", "topic": "a", "data": "1", "priority": 1}), code::BAD_MESSAGE),
        (json!({"type": "publish", "topic": "a", "data": "1", "encoding": 5}), code::BAD_MESSAGE),
        (json!({"type": "publish", "topic": "a", "data": "1", "key": ""}), code::BAD_MESSAGE),
        (json!({"type": "publish", "topic": "a", "data": "1", "ttl_ms": -5}), code::BAD_MESSAGE),
        (json!({"type": "publish", "topic": "a", "data": "1", "ttl_ms": 1.5}), code::BAD_MESSAGE),
        (json!({"type": "publish", "topic": "a", "data": "1", "ttl_ms": 1e300}), code::BAD_MESSAGE),
    ] {
        let bytes = packed(request.clone());
        let text = request.to_string();
        let (packed, written) =
            (request::parse(&bytes).expect_err(&text), crate::subscribe::parse(&text).expect_err(&text));
        assert_eq!((packed.code, written.code), (code, code), "{text}");
        let answer = unpacked(&rendered(|out| control_error(out, &packed)));
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)));
    }
    // A key that is no string.
    assert_eq!(request::parse(b"\x81\x01\x02").expect_err("key").code, code::BAD_MESSAGE);
}

#[test]
fn limits_hold_at_and_one_past() {
    let mut names: Vec<_> = (0..TOPICS_MAX).map(|n| format!("t/{n}")).collect();
    let ask = |names: &[String]| packed(json!({"type": "subscribe", "topics": names}));
    let resume = |names: &[String]| {
        let since: serde_json::Map<_, _> = names.iter().map(|n| (n.clone(), json!({"epoch": 1}))).collect();
        packed(json!({"type": "subscribe", "topics": ["**"], "since": since}))
    };
    assert!(request::parse(&ask(&names)).is_ok());
    assert!(request::parse(&resume(&names)).is_ok());
    names.push("one-more".to_owned());
    assert_eq!(request::parse(&ask(&names)).expect_err("1025").code, code::TOO_MANY_TOPICS);
    assert!(request::parse(&resume(&names)).is_ok(), "bytes bound it, not topics");
    let of_bytes = |r#type: &str, bytes: usize| {
        let ask = |n: usize| packed(json!({"type": r#type, "topics": ["t"], "more": "x".repeat(n)}));
        // Long strings have heads of one length.
        ask(bytes + 100_000 - ask(100_000).len())
    };
    for r#type in ["subscribe", "unsubscribe"] {
        assert_eq!(of_bytes(r#type, REQUEST_BYTES_MAX).len(), REQUEST_BYTES_MAX);
        assert!(request::parse(&of_bytes(r#type, REQUEST_BYTES_MAX)).is_ok());
        let refused = request::parse(&of_bytes(r#type, REQUEST_BYTES_MAX + 1)).expect_err("a byte too long").code;
        assert_eq!(refused, code::TOO_MANY_TOPICS);
    }
    let with_key = |n: usize| packed(json!({"type": "publish", "topic": "t", "data": "1", "key": "x".repeat(n)}));
    assert!(request::parse(&with_key(KEY_BYTES_MAX)).is_ok());
    assert_eq!(request::parse(&with_key(KEY_BYTES_MAX + 1)).expect_err("long").code, code::BAD_MESSAGE);
    let with_topic = |n: usize| packed(json!({"type": "publish", "topic": "x".repeat(n), "data": "1"}));
    assert!(request::parse(&with_topic(255)).is_ok());
    assert_eq!(request::parse(&with_topic(256)).expect_err("long").code, code::BAD_TOPIC);
    let unknown = |n: usize| [&b"\x82\xa4type\xa4ping\xa1x"[..], &vec![0x91; n], b"\xc0"].concat();
    assert!(request::parse(&unknown(126)).is_ok());
    assert_eq!(request::parse(&unknown(127)).expect_err("deep").code, code::BAD_MSGPACK);
}

#[test]
fn a_client_refuses_what_it_cannot_understand() {
    use server::ServerMessageError::Field;
    for (object, field) in [
        (json!({}), "type"),
        (json!({"type": 1}), "type"),
        (json!({"type": "gap", "topic": "t", "priority": "best", "from": 1, "to": 1, "reason": "lag"}), "priority"),
        (json!({"type": "gap", "topic": "t", "priority": "low", "from": -1, "to": 1, "reason": "lag"}), "from"),
        (json!({"type": "gap", "topic": "t", "priority": "low", "from": 1, "to": 1, "reason": "whim"}), "reason"),
        (json!({"type": "subscribed", "topic": "t", "topic_id": 4_294_967_296u64, "epoch": 1, "seq": {}}), "topic_id"),
        (json!({"type": "subscribed", "topic": "t", "topic_id": 1, "epoch": 1, "seq": []}), "seq"),
        (json!({"type": "pong", "id": []}), "id"),
        (json!({"type": "message", "topic": "t", "priority": "low", "seq": 1, "time_us": 1, "data": 5}), "data"),
        (
            json!({"type": "message", "topic": "t", "priority": "low", "seq": 1, "time_us": 1, "data": "", "encoding": "x"}),
            "encoding",
        ),
    ] {
        assert_eq!(server::parse(&packed(object.clone())), Err(Field(field)), "{object}");
    }
    assert_eq!(server::parse(&packed(json!({"type": "later", "x": [{}]}))), Ok(ServerMessage::Unknown));
    assert!(server::parse(b"\x90").is_err());
}

proptest! {
    #[test]
    fn any_payload_of_any_kind_makes_a_message_that_gives_it_back(
        kind in prop::sample::select(vec![Kind::Text, Kind::Binary, Kind::Json]),
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            any::<String>().prop_map(String::into_bytes),
            Just(b" {\"a\":[1,{}]}\n".to_vec()),
        ],
        topic in any::<String>(),
        seq in any::<u64>(),
        time_us in any::<u64>(),
    ) {
        let mut packed = Vec::new();
        pack_topic(&topic, &mut packed);
        let body = body(kind, &payload);
        let bytes = rendered(|out| message(out, &packed, Priority::Critical, seq, time_us, &body));
        let Ok(ServerMessage::Message(Message { topic: t, priority: Priority::Critical, seq: s, time_us: u, content })) = server::parse(&bytes) else {
            return Err(TestCaseError::fail("not a message"));
        };
        prop_assert_eq!((&*t, s, u), (topic.as_str(), seq, time_us));
        prop_assert_eq!(content.kind(), body.kind());
        prop_assert_eq!(content.as_plain(), Some(&payload[..]));
        prop_assert_eq!(&unpacked(&bytes)["seq"], &json!(seq));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Reader::new(&bytes).raw_value();
        let _ = request::parse(&bytes);
        let _ = server::parse(&bytes);
    }

    #[test]
    fn damaged_requests_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = packed(json!({
            "type": "subscribe", "id": 1, "topics": ["a/b", "c/*"], "max_hz": 2.5, "since": {"x": {"epoch": 5, "seq": {"critical": 0}}},
        }));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() * 4).min(bytes.len()));
        if let Err(error) = request::parse(&bytes) {
            prop_assert!(error.message.len() <= 400);
        }
    }
}

#[test]
fn from_is_the_same_word_as_in_json() {
    let since = |from: serde_json::Value| {
        let bytes = packed(json!({"type": "subscribe", "topics": ["**"], "from": from}));
        match request::parse(&bytes) {
            Ok(ClientMessage::Subscribe { since, .. }) => Ok(since.place("a", 9)),
            other => Err(other.expect_err("a subscribe").code),
        }
    };
    assert_eq!(since(json!("oldest")), Ok(Some((9, [None; 4]))));
    assert_eq!(since(json!("newest")), Ok(None));
    assert_eq!(since(json!(null)), Ok(None));
    assert_eq!((since(json!("first")), since(json!(1))), (Err(code::BAD_MESSAGE), Err(code::BAD_MESSAGE)));
}
