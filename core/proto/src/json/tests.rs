use super::*;
use crate::server_message::{GapReason, Limits, Message, Missing, ServerMessage};
use crate::subscribe::Content;
use proptest::prelude::*;
use serde_json::Value;

fn rendered(write: impl FnOnce(&mut Vec<u8>)) -> String {
    // Something in front shows that functions append and never look back.
    let mut out = b"before".to_vec();
    write(&mut out);
    let text = String::from_utf8(out).expect("JSON is UTF-8");
    text.strip_prefix("before").expect("what was there stays").to_owned()
}

fn whole_message(kind: Kind, payload: &[u8]) -> String {
    let mut topic = Vec::new();
    escape_topic("a/\"b\"", &mut topic);
    let body = Body::of(kind, payload, &mut JsonCheck::new());
    rendered(|out| message(out, &topic, Priority::High, 7, 1_700_000_000_000_001, &body))
}

const HEAD: &str =
    r#"{"type":"message","topic":"a/\"b\"","priority":"high","seq":7,"time_us":1700000000000001,"data":"#;

#[test]
fn messages_have_these_exact_forms() {
    for (kind, payload, tail) in [
        (Kind::Json, &b"{\"x\": 1.50}"[..], r#"{"x": 1.50}}"#),
        (Kind::Json, b" [1,\n2] ", " [1,\n2] }"),
        (Kind::Json, b"null", "null}"),
        (Kind::Json, b"\"s\"", r#""s"}"#),
        (Kind::Text, b"", r#""","encoding":"text"}"#),
        (
            Kind::Text,
            b"a \"q\" \\ / \x08\x0c\n\r\t\x01\x1f\x7f \xc3\xa9",
            "\"a \\\"q\\\" \\\\ / \\b\\f\\n\\r\\t\\u0001\\u001f\x7f é\",\"encoding\":\"text\"}",
        ),
        (Kind::Text, b"{}", r#""{}","encoding":"text"}"#),
        (Kind::Binary, b"", r#""","encoding":"base64"}"#),
        (Kind::Binary, b"a", r#""YQ==","encoding":"base64"}"#),
        (Kind::Binary, b"ab", r#""YWI=","encoding":"base64"}"#),
        (Kind::Binary, b"abc", r#""YWJj","encoding":"base64"}"#),
        (Kind::Binary, b"\xfb\xff\xfe", r#""+//+","encoding":"base64"}"#),
        // A publisher's mistakes.
        (Kind::Json, b"{\"x\": }", r#""{\"x\": }","encoding":"text"}"#),
        (Kind::Json, b"", r#""","encoding":"text"}"#),
        (Kind::Json, b"1}", r#""1}","encoding":"text"}"#),
        (Kind::Json, b"\"\xff\"", r#""Iv8i","encoding":"base64"}"#),
        (Kind::Text, b"\xff\xfe", r#""//4=","encoding":"base64"}"#),
    ] {
        let text = whole_message(kind, payload);
        assert_eq!(text, format!("{HEAD}{tail}"), "{kind:?} {payload:?}");
        serde_json::from_str::<Value>(&text).expect("the whole message is JSON");
    }
}

#[test]
fn a_json_message_is_prefix_payload_and_suffix() {
    let payload = br#"{"big":[1,2,3]}"#;
    let body = Body::of(Kind::Json, payload, &mut JsonCheck::new());
    let mut out = Vec::new();
    message_prefix(&mut out, b"t", Priority::Normal, 1, 2);
    out.extend_from_slice(payload);
    out.extend_from_slice(message_suffix(body.kind()));
    let mut whole = Vec::new();
    message(&mut whole, b"t", Priority::Normal, 1, 2, &body);
    assert_eq!(out, whole);
}

#[test]
fn control_objects_have_these_exact_forms() {
    let id = Id::from_json(r#""r-\u00e9 1""#);
    assert!(id.is_some());
    let number = Id::from_json("-1.50e3");
    let limits = Limits {
        message_bytes_max: 67_108_864,
        topics_max: 1024,
        subscriptions_max: 256,
        topics_per_connection_max: 7,
    };
    let hello = Welcome {
        session: "0.1.2".into(),
        server: "fan\"wire/0.1".into(),
        protocol: PROTOCOL.into(),
        time_us: 1_732_000_000_000_000,
        limits,
    };
    assert_eq!(
        rendered(|out| welcome(out, &hello)),
        r#"{"type":"welcome","session":"0.1.2","server":"fan\"wire/0.1","protocol":"fanwire.json.v1","time_us":1732000000000000,"limits":{"message_bytes_max":67108864,"topics_max":1024,"subscriptions_max":256,"topics_per_connection_max":7}}"#
    );
    let mut state = Subscribed {
        id,
        topic: "a/é".into(),
        topic_id: 3,
        epoch: (1 << 53) - 1,
        seq: [None, Some(0), None, Some(u64::MAX)],
    };
    assert_eq!(
        rendered(|out| subscribed(out, &state)),
        r#"{"type":"subscribed","id":"r-\u00e9 1","topic":"a/é","topic_id":3,"epoch":9007199254740991,"seq":{"high":0,"low":18446744073709551615}}"#
    );
    state.seq = LaneSeqs::default();
    state.id = None;
    assert_eq!(
        rendered(|out| subscribed(out, &state)),
        r#"{"type":"subscribed","topic":"a/é","topic_id":3,"epoch":9007199254740991,"seq":{}}"#
    );
    state.seq = [Some(1), Some(2), Some(3), Some(4)];
    assert!(rendered(|out| subscribed(out, &state)).ends_with(r#""seq":{"critical":1,"high":2,"normal":3,"low":4}}"#));
    assert_eq!(
        rendered(|out| unsubscribed(out, &Unsubscribed { id: number, topic: "a/*/**".into() })),
        r#"{"type":"unsubscribed","id":-1.50e3,"topic":"a/*/**"}"#
    );
    for reason in GapReason::ALL {
        for (missing, count) in
            [(Missing::All, ""), (Missing::Some(7), r#","count":7"#), (Missing::Unknown, r#","count":null"#)]
        {
            let lost = Gap { topic: "t".into(), priority: Priority::Low, from: 10, to: 99, missing, reason };
            assert_eq!(
                rendered(|out| gap(out, &lost)),
                format!(
                    r#"{{"type":"gap","topic":"t","priority":"low","from":10,"to":99,"reason":"{}"{count}}}"#,
                    reason.name()
                )
            );
        }
    }
    assert_eq!(
        rendered(|out| error(out, &ErrorMessage { code: "bad_topic".into(), message: "a \"b\"".into(), id: number })),
        r#"{"type":"error","code":"bad_topic","message":"a \"b\"","id":-1.50e3}"#
    );
    assert_eq!(rendered(|out| pong(out, &Pong { id: number })), r#"{"type":"pong","id":-1.50e3}"#);
    assert_eq!(rendered(|out| pong(out, &Pong { id: None })), r#"{"type":"pong"}"#);
    let mut away = Migrate { after_ms: 500, url: None, reason: "drain".into() };
    assert_eq!(rendered(|out| migrate(out, &away)), r#"{"type":"migrate","after_ms":500,"reason":"drain"}"#);
    away.url = Some("wss://b/".into());
    assert_eq!(
        rendered(|out| migrate(out, &away)),
        r#"{"type":"migrate","after_ms":500,"url":"wss://b/","reason":"drain"}"#
    );
}

#[test]
fn an_id_of_another_encoding_is_left_out() {
    let id = Some(Id::from_msgpack_checked(&[7]));
    assert_eq!(rendered(|out| pong(out, &Pong { id })), r#"{"type":"pong"}"#);
}

/// Whatever the objects hold, what is written can be read back and is the same.
#[test]
fn a_client_reads_back_every_object() {
    let nasty: String = (0..=0x2ff).filter_map(char::from_u32).chain(['"', '\\', '\u{10ffff}']).collect();
    let limits = Limits {
        message_bytes_max: u64::MAX,
        topics_max: u32::MAX,
        subscriptions_max: 0,
        topics_per_connection_max: u32::MAX,
    };
    let hello = Welcome {
        session: nasty.as_str().into(),
        server: nasty.as_str().into(),
        protocol: nasty.as_str().into(),
        time_us: u64::MAX,
        limits,
    };
    let text = rendered(|out| welcome(out, &hello));
    assert_eq!(server::parse(&text), Ok(ServerMessage::Welcome(hello)));

    let id = Id::from_json(r#""\"""#);
    let state = Subscribed {
        id,
        topic: nasty.as_str().into(),
        topic_id: u32::MAX,
        epoch: 1,
        seq: [Some(u64::MAX), None, Some(1), None],
    };
    let text = rendered(|out| subscribed(out, &state));
    assert_eq!(server::parse(&text), Ok(ServerMessage::Subscribed(state)));

    let ended = Unsubscribed { id, topic: nasty.as_str().into() };
    let text = rendered(|out| unsubscribed(out, &ended));
    assert_eq!(server::parse(&text), Ok(ServerMessage::Unsubscribed(ended)));

    let refused = ErrorMessage { code: "x".into(), message: nasty.as_str().into(), id: None };
    let text = rendered(|out| error(out, &refused));
    assert_eq!(server::parse(&text), Ok(ServerMessage::Error(refused)));

    for reason in GapReason::ALL {
        for missing in [Missing::All, Missing::Some(0), Missing::Some(u64::MAX), Missing::Unknown] {
            let lost = Gap { topic: "t".into(), priority: Priority::Critical, from: 1, to: u64::MAX, missing, reason };
            let text = rendered(|out| gap(out, &lost));
            assert_eq!(server::parse(&text), Ok(ServerMessage::Gap(lost)));
        }
    }
    for id in [None, id] {
        let text = rendered(|out| pong(out, &Pong { id }));
        assert_eq!(server::parse(&text), Ok(ServerMessage::Pong(Pong { id })));
    }
    for url in [None, Some("ws://x/".into())] {
        let away = Migrate { after_ms: 1, url, reason: nasty.as_str().into() };
        let text = rendered(|out| migrate(out, &away));
        assert_eq!(server::parse(&text), Ok(ServerMessage::Migrate(away)));
    }
    for (id, expires_in_ms) in [(None, None), (id, Some(u64::MAX)), (id, None)] {
        let taken = Authorized { id, expires_in_ms };
        let text = rendered(|out| authorized(out, &taken));
        assert_eq!(server::parse(&text), Ok(ServerMessage::Authorized(taken)));
    }
}

#[test]
fn a_client_refuses_what_it_cannot_understand_and_ignores_what_it_need_not() {
    use server::ServerMessageError::Field;
    for (text, field) in [
        ("{}", "type"),
        (r#"{"type":1}"#, "type"),
        (r#"{"type":null}"#, "type"),
        (r#"{"type":"message","priority":"low","seq":1,"time_us":1,"data":1}"#, "topic"),
        (r#"{"type":"message","topic":"t","priority":"best","seq":1,"time_us":1,"data":1}"#, "priority"),
        (r#"{"type":"message","topic":"t","priority":"low","seq":-1,"time_us":1,"data":1}"#, "seq"),
        (r#"{"type":"message","topic":"t","priority":"low","seq":1.0,"time_us":1,"data":1}"#, "seq"),
        (r#"{"type":"message","topic":"t","priority":"low","seq":1,"time_us":"1","data":1}"#, "time_us"),
        (r#"{"type":"message","topic":"t","priority":"low","seq":1,"time_us":1}"#, "data"),
        (r#"{"type":"message","topic":"t","priority":"low","seq":1,"time_us":1,"data":1,"encoding":"text"}"#, "data"),
        (
            r#"{"type":"message","topic":"t","priority":"low","seq":1,"time_us":1,"data":"","encoding":"rot13"}"#,
            "encoding",
        ),
        (r#"{"type":"gap","topic":"t","priority":"low","from":1,"to":1,"reason":"whim"}"#, "reason"),
        (r#"{"type":"subscribed","topic":"t","topic_id":4294967296,"epoch":1,"seq":{}}"#, "topic_id"),
        (r#"{"type":"subscribed","topic":"t","topic_id":1,"epoch":1,"seq":[]}"#, "seq"),
        (r#"{"type":"subscribed","topic":"t","topic_id":1,"epoch":1,"seq":{"low":"1"}}"#, "seq"),
        (r#"{"type":"pong","id":[]}"#, "id"),
    ] {
        assert_eq!(server::parse(text), Err(Field(field)), "{text}");
    }
    for text in ["", "[]", "1", "{", r#"{"type":"pong"} x"#, r#"{"type":"pong",}"#] {
        assert!(matches!(server::parse(text), Err(server::ServerMessageError::Json(_))), "{text:?}");
    }
    assert_eq!(server::parse(r#"{"type":"later","x":[{}]}"#), Ok(ServerMessage::Unknown));
    assert_eq!(
        server::parse(r#" {"x":{"type":"gap"}, "t\u0079pe" : "pong" , "id":null} "#),
        Ok(ServerMessage::Pong(Pong { id: None }))
    );
    let text =
        r#"{"type":"welcome","session":"","server":"","protocol":"","time_us":1,"limits":{"new":[],"topics_max":3}}"#;
    let Ok(ServerMessage::Welcome(hello)) = server::parse(text) else { panic!("{text}") };
    assert_eq!(hello.limits, Limits { topics_max: 3, ..Limits::default() });
    let text = r#"{"type":"subscribed","topic":"t","topic_id":1,"epoch":1,"seq":{"urgent":5,"low":1}}"#;
    let Ok(ServerMessage::Subscribed(state)) = server::parse(text) else { panic!("{text}") };
    assert_eq!(state.seq, [None, None, None, Some(1)]);
}

#[test]
fn integers_are_written_as_fmt_writes_them() {
    let mut cases: Vec<u64> = (0..2000).collect();
    for power in 0..20 {
        let ten = 10u64.pow(power);
        cases.extend([ten - 1, ten, ten + 1, ten.wrapping_mul(9), ten.wrapping_mul(5) + 7]);
    }
    cases.extend([u64::MAX, u64::MAX - 1, 1 << 53, (1 << 53) - 1]);
    for n in cases {
        assert_eq!(rendered(|out| decimal(out, n)), n.to_string());
    }
}

/// A special byte at every place of texts around the chunk length.
#[test]
fn escaping_finds_special_bytes_wherever_they_stand() {
    for length in 0..50 {
        for at in 0..length {
            for special in ['"', '\\', '\n', '\0', '\x1f'] {
                let text: String = (0..length).map(|i| if i == at { special } else { 'x' }).collect();
                let written = rendered(|out| string(out, &text));
                assert_eq!(serde_json::from_str::<String>(&written).expect(&written), text);
            }
        }
    }
}

#[test]
fn every_character_below_2048_survives_alone() {
    for c in (0..0x800).filter_map(char::from_u32) {
        let text = c.to_string();
        let written = rendered(|out| string(out, &text));
        assert_eq!(serde_json::from_str::<String>(&written).expect(&written), text);
    }
}

/// One character as serde escapes it, without the quotes.
fn escape_one(out: &mut String, c: char) {
    let quoted = Value::String(c.into()).to_string();
    out.push_str(&quoted[1..quoted.len() - 1]);
}

proptest! {
    #[test]
    fn strings_survive_serde(text in any::<String>()) {
        let written = rendered(|out| string(out, &text));
        prop_assert!(written.len() <= text.len() * 6 + 2);
        prop_assert_eq!(serde_json::from_str::<String>(&written).expect("a string"), text.clone());
        let mut reader = reader::Reader::new(&written);
        let read = reader.string().expect("a string");
        prop_assert!(reader.finish().is_ok());
        prop_assert!(read.is(&text));
        let mut longer = text.clone();
        longer.push('x');
        prop_assert!(!read.is(&longer));
        prop_assert_eq!(read.text(), text.as_str());
        let mut decoded = Vec::new();
        read.decode(&mut decoded);
        prop_assert!(decoded.len() <= read.bytes_max());
        prop_assert_eq!(decoded, text.as_bytes());
    }

    #[test]
    fn strings_in_any_spelling_decode_as_serde_decodes_them(text in any::<String>(), how in prop::collection::vec(0..3u8, 1..40)) {
        use std::fmt::Write as _;
        let mut spelled = "\"".to_owned();
        for (c, how) in text.chars().zip(how.iter().cycle()) {
            match how {
                0 => escape_one(&mut spelled, c),
                1 => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write!(spelled, "\\u{unit:04x}").expect("memory")),
                _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write!(spelled, "\\u{unit:04X}").expect("memory")),
            }
        }
        spelled.push('"');
        prop_assert_eq!(serde_json::from_str::<String>(&spelled).expect("a string"), text.as_str());
        let read = reader::Reader::new(&spelled).string().expect("serde takes it");
        prop_assert_eq!(read.text(), text.as_str());
        prop_assert!(read.is(&text));
    }

    #[test]
    fn any_payload_of_any_kind_makes_a_message_that_gives_it_back(
        kind in prop::sample::select(vec![Kind::Text, Kind::Binary, Kind::Json]),
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            any::<String>().prop_map(String::into_bytes),
            Just(b"{\"a\":[1,{}]}".to_vec()),
        ],
        topic in any::<String>(),
        seq in any::<u64>(),
        time_us in 0..1u64 << 53,
    ) {
        let mut escaped = Vec::new();
        escape_topic(&topic, &mut escaped);
        let body = Body::of(kind, &payload, &mut JsonCheck::new());
        let mut data = Vec::new();
        message_data(&mut data, &body);
        prop_assert!(data.len() <= body.rendered_bytes_max());
        let text = rendered(|out| message(out, &escaped, Priority::Low, seq, time_us, &body));
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        let Ok(ServerMessage::Message(Message { topic: t, priority: Priority::Low, seq: s, time_us: u, content })) = server::parse(&text) else {
            return Err(TestCaseError::fail(text));
        };
        prop_assert_eq!((&*t, s, u), (topic.as_str(), seq, time_us));
        prop_assert_eq!(content.kind(), body.kind());
        prop_assert_eq!(matches!(content, Content::Base64(_)), body.kind() == Kind::Binary);
        let mut back = Vec::new();
        prop_assert_eq!(content.decode(&mut back), Ok(body.kind()));
        prop_assert!(back.len() <= content.bytes_max());
        // White space around a JSON payload is not part of its value.
        prop_assert_eq!(back, if body.kind() == Kind::Json { payload.trim_ascii() } else { &payload });
    }

    #[test]
    fn no_text_makes_a_client_panic(text in "\\PC{0,60}|[{}\\[\\]\",:a0 ]{0,30}") {
        let _ = server::parse(&text);
    }
}

#[test]
fn in_pieces_a_text_and_bytes_are_written_as_at_once() {
    let text = "plain \" \\ \n\r\t\u{8}\u{c}\u{1}\u{1f} é😀 and more of it";
    let mut whole = Vec::new();
    escape(&mut whole, text);
    assert_eq!(escaped_len(text.as_bytes()), whole.len());
    for piece in 1..20 {
        let mut pieces = Vec::new();
        text.as_bytes().chunks(piece).for_each(|piece| escape_piece(&mut pieces, piece));
        assert_eq!(pieces, whole);
        let (mut at_once, mut in_pieces) = (Vec::new(), Vec::new());
        base64_string(&mut at_once, text.as_bytes());
        text.as_bytes().chunks(3 * piece).for_each(|piece| base64_piece(&mut in_pieces, piece));
        assert_eq!(in_pieces, at_once[1..at_once.len() - 1]);
    }
}
