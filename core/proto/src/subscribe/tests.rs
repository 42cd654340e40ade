use super::*;
use crate::json;
use proptest::prelude::*;
use serde_json::json;

fn id(raw: &str) -> Option<Id<'_>> {
    Some(Id::from_json(raw).expect(raw))
}

fn publish(text: &str) -> Publish<'_> {
    match parse(text) {
        Ok(ClientMessage::Publish(publish)) => publish,
        other => panic!("{text}: {other:?}"),
    }
}

fn payload(content: &Content<'_>) -> (Kind, Vec<u8>) {
    let mut out = b"kept".to_vec();
    let kind = content.decode(&mut out).expect("decodes");
    assert!(out.len() - 4 <= content.bytes_max());
    (kind, out.strip_prefix(b"kept").expect("appends").to_vec())
}

#[test]
fn a_typical_publish_and_ping_borrow_everything() {
    let text = r#"{"type":"publish","topic":"rover/1/imu","data":{"a":[1,2,{"b":null}]},"priority":"high","key":"k","ttl_ms":500,"id":7}"#;
    let publish = publish(text);
    assert!(matches!(publish.topic, Cow::Borrowed("rover/1/imu")));
    assert!(matches!(publish.key, Some(Cow::Borrowed("k"))));
    assert_eq!(publish.content, Content::Json(r#"{"a":[1,2,{"b":null}]}"#));
    assert_eq!((publish.priority, publish.ttl_ms, publish.id), (Priority::High, Some(500), id("7")));
    assert_eq!(parse(r#"{"type":"ping","id":"x"}"#), Ok(ClientMessage::Ping { id: id("\"x\"") }));
    assert_eq!(parse(r#"{"type":"ping"}"#), Ok(ClientMessage::Ping { id: None }));
}

#[test]
fn a_token_is_printable_and_no_longer_than_it_may_be() {
    let auth = |token: &str| parse(&format!(r#"{{"type":"auth","token":"{token}"}}"#)).is_ok();
    assert_eq!(
        parse(r#"{"type":"auth","id":7,"token":"a.b-c_d"}"#),
        Ok(ClientMessage::Auth { id: id("7"), token: "a.b-c_d".into() })
    );
    assert!(auth(&"x".repeat(TOKEN_BYTES_MAX)));
    for wrong in ["", "a b", "\\u0000", "a\\nb", "\u{e9}", "a\u{7f}", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        let text = format!(r#"{{"type":"auth","id":7,"token":"{wrong}"}}"#);
        let error = parse(&text).expect_err("no token");
        assert_eq!((error.code, error.id), (code::BAD_MESSAGE, id("7")), "{wrong:?}");
    }
    for wrong in [r#"{"type":"auth"}"#, r#"{"type":"auth","token":null}"#, r#"{"type":"auth","token":7}"#] {
        assert_eq!(parse(wrong).expect_err("no token").code, code::BAD_MESSAGE, "{wrong}");
    }
}

#[test]
fn published_json_is_kept_byte_for_byte() {
    for data in [
        "null",
        "0",
        "-0.0",
        "1e2",
        "1.50",
        "true",
        r#""a\u0041\/""#,
        "[ 1 ,\t2 ]",
        r#"{"a":1,"a":2}"#,
        "123456789012345678901234567890",
    ] {
        for text in [
            format!(r#"{{"type":"publish","topic":"t","data":{data}}}"#),
            format!("\n{{ \"data\" : \t{data} \r\n, \"topic\":\"t\",\"type\":\"publish\"}} "),
        ] {
            let publish = publish(&text);
            assert_eq!(payload(&publish.content), (Kind::Json, data.as_bytes().to_vec()));
            assert_eq!(publish.content.as_plain(), Some(data.as_bytes()));
        }
    }
}

#[test]
fn text_and_base64_are_decoded() {
    for (encoding, data, kind, bytes) in [
        ("text", r#""""#, Kind::Text, &b""[..]),
        ("text", r#""plain é""#, Kind::Text, "plain é".as_bytes()),
        ("text", r#""a\n\"\ud83d\ude00\u0000""#, Kind::Text, "a\n\"😀\0".as_bytes()),
        ("base64", r#""""#, Kind::Binary, b""),
        ("base64", r#""YQ==""#, Kind::Binary, b"a"),
        ("base64", r#""YQ""#, Kind::Binary, b"a"),
        ("base64", r#""YQ=""#, Kind::Binary, b"a"),
        ("base64", r#""+\/\/+""#, Kind::Binary, b"\xfb\xff\xfe"),
        ("te\\u0078t", r#""x""#, Kind::Text, b"x"),
    ] {
        let text = format!(r#"{{"type":"publish","topic":"t","encoding":"{encoding}","data":{data}}}"#);
        let publish = publish(&text);
        assert_eq!(publish.content.kind(), kind);
        assert_eq!(payload(&publish.content), (kind, bytes.to_vec()), "{text}");
    }
    for data in ["Y", "YQ===", "Y Q=", "YR==", "-_-_", "YQ==YQ==", "é"] {
        let text = format!(r#"{{"type":"publish","topic":"t","encoding":"base64","data":"{data}"}}"#);
        let mut out = b"kept".to_vec();
        assert_eq!(publish(&text).content.decode(&mut out), Err(NotBase64), "{data}");
        assert_eq!(out, b"kept");
    }
}

#[test]
fn subscribe_takes_all_its_fields() {
    let text = r#"{"type":"subscribe","id":1,"topics":["a/b","c/*","**"],"max_hz":2.5,"max_delay_ms":16.7,"echo":false,
        "since":{"x":{"epoch":9007199254740991,"seq":{"critical":0,"low":18446744073709551615,"urgent":"?"},"new":1},"a/b":{"seq":{},"epoch":0}}}"#;
    let Ok(ClientMessage::Subscribe { id: i, topics, since, max_hz, max_delay_ms, echo }) = parse(text) else {
        panic!()
    };
    assert_eq!(i, id("1"));
    assert_eq!(topics, ["a/b", "c/*", "**"]);
    assert!(topics.iter().all(|t| matches!(t, Cow::Borrowed(_))));
    assert_eq!((max_hz, max_delay_ms, echo), (Some(2.5), Some(16), Some(false)));
    assert_eq!(since.len(), 2);
    assert_eq!(since.find("a/b"), Some(Since { epoch: 0, seq: [None; 4] }));
    let x = since.find("x").expect("x");
    assert_eq!((x.epoch, x.seq), ((1 << 53) - 1, [Some(0), None, None, Some(u64::MAX)]));
    assert_eq!(since.find("y"), None);

    let Ok(ClientMessage::Subscribe { since, max_hz, echo, id: None, .. }) =
        parse(r#"{"type":"subscribe","topics":["a"],"since":null,"echo":null,"max_hz":null,"id":null}"#)
    else {
        panic!()
    };
    assert!(since.is_empty());
    assert_eq!((max_hz, echo), (None, None));
    assert_eq!(
        parse(r#"{"topics":["\u0061/*"],"type":"unsubscribe"}"#),
        Ok(ClientMessage::Unsubscribe { id: None, topics: vec!["a/*".into()] })
    );
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    assert_eq!(
        publish(r#"{"type":"ping","topic":"a","type":"publish","topic":"b","data":1,"data":2}"#).content,
        Content::Json("2")
    );
    let text = r#"{"type":"subscribe","topics":["a"],"since":{"t":{"epoch":1,"seq":{}},"s":{"epoch":5,"seq":{}},"t":{"epoch":2,"seq":{}}}}"#;
    let Ok(ClientMessage::Subscribe { since, .. }) = parse(text) else { panic!() };
    assert_eq!(since.find("t").expect("t").epoch, 2);
    assert_eq!(since.len(), 2);
}

#[test]
fn unknown_types_and_keys_are_ignored() {
    for text in
        [r#"{"type":"dance"}"#, r#"{"type":"","id":1}"#, r#"{"type":"message","topic":5}"#, r#"{"type":"Publish"}"#]
    {
        assert_eq!(parse(text), Ok(ClientMessage::Unknown), "{text}");
    }
    assert_eq!(
        parse(r#"{"x":[{"type":"y"}],"type":"ping","topics":5,"data":{}}"#),
        Ok(ClientMessage::Ping { id: None })
    );
}

/// One row: the request, the code, the id that is echoed.
const REFUSED: &[(&str, &str, Option<&str>)] = &[
    ("", code::BAD_JSON, None),
    (" ", code::BAD_JSON, None),
    ("{", code::BAD_JSON, None),
    ("{]", code::BAD_JSON, None),
    ("nope", code::BAD_JSON, None),
    (r#"{"type":"ping",}"#, code::BAD_JSON, None),
    (r#"{"type":"ping"}}"#, code::BAD_JSON, None),
    (r#"{"type":"ping"} {"type":"ping"}"#, code::BAD_JSON, None),
    (r#"{'type':'ping'}"#, code::BAD_JSON, None),
    (r#"{"type":"ping","id":01}"#, code::BAD_JSON, None),
    (r#"{"type":"ping","x":"\ud800"}"#, code::BAD_JSON, None),
    (r#"{"type":"ping","x":NaN}"#, code::BAD_JSON, None),
    ("\u{feff}{\"type\":\"ping\"}", code::BAD_JSON, None),
    ("[]", code::BAD_MESSAGE, None),
    ("null", code::BAD_MESSAGE, None),
    ("5", code::BAD_MESSAGE, None),
    (r#""ping""#, code::BAD_MESSAGE, None),
    (r#"[{"type":"ping"}]"#, code::BAD_MESSAGE, None),
    ("{}", code::BAD_MESSAGE, None),
    (r#"{"id":1}"#, code::BAD_MESSAGE, Some("1")),
    (r#"{"type":null,"id":1}"#, code::BAD_MESSAGE, Some("1")),
    (r#"{"type":5,"id":1}"#, code::BAD_MESSAGE, Some("1")),
    (r#"{"type":["ping"]}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"ping","id":true}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"ping","id":{}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"ping","id":[1]}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","id":2}"#, code::BAD_MESSAGE, Some("2")),
    (r#"{"type":"subscribe","topics":[],"id":2}"#, code::BAD_MESSAGE, Some("2")),
    (r#"{"type":"subscribe","topics":"a"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":{"a":1}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a",1]}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":[null]}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a",""],"id":"q"}"#, code::BAD_TOPIC, Some("\"q\"")),
    (r#"{"type":"subscribe","topics":["a//b"]}"#, code::BAD_TOPIC, None),
    (r#"{"type":"subscribe","topics":["**/a"]}"#, code::BAD_TOPIC, None),
    (r#"{"type":"subscribe","topics":["a*"]}"#, code::BAD_TOPIC, None),
    (r#"{"type":"subscribe","topics":["$sys/*"]}"#, code::BAD_TOPIC, None),
    (r#"{"type":"subscribe","topics":["a\u0000"]}"#, code::BAD_TOPIC, None),
    (r#"{"type":"unsubscribe","topics":["/"]}"#, code::BAD_TOPIC, None),
    (r#"{"type":"unsubscribe","id":3}"#, code::BAD_MESSAGE, Some("3")),
    (r#"{"type":"subscribe","topics":["a"],"max_hz":0}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"max_hz":-1}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"max_hz":1000001}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"max_hz":"5"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"max_delay_ms":-1}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"max_delay_ms":1001}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"max_delay_ms":"5"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"echo":0}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"echo":"no"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":[]}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":5}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":{}}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":{"seq":{}}}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":{"epoch":-1}}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":{"epoch":1.0}}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":{"epoch":18446744073709551616}}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":{"epoch":1,"seq":[]}}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a":{"epoch":1,"seq":{"low":"1"}}}}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"subscribe","topics":["a"],"since":{"a/*":{"epoch":1,"seq":{}}}}"#, code::BAD_TOPIC, None),
    (r#"{"type":"publish","data":1,"id":4}"#, code::BAD_MESSAGE, Some("4")),
    (r#"{"type":"publish","topic":null,"data":1}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":5,"data":1}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a/*","data":1}"#, code::BAD_TOPIC, None),
    (r#"{"type":"publish","topic":"","data":1}"#, code::BAD_TOPIC, None),
    (r#"{"type":"publish","topic":"$sys","data":1,"id":5}"#, code::NOT_ALLOWED, Some("5")),
    (r#"{"type":"publish","topic":"a","data":1,"priority":"urgent"}"#, code::BAD_PRIORITY, None),
    (r#"{"type":"publish","topic":"a","data":1,"priority":"High"}"#, code::BAD_PRIORITY, None),
    (r#"{"type":"publish","topic":"a","data":1,"priority":1}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"encoding":"json"}"#, code::BAD_ENCODING, None),
    (r#"{"type":"publish","topic":"a","data":1,"encoding":5}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"encoding":"text"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":null,"encoding":"text"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":{},"encoding":"base64"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"key":""}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"key":5}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"ttl_ms":-5}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"traceparent":1}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"traceparent":"00-1-2-3"}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"ttl_ms":1.5}"#, code::BAD_MESSAGE, None),
    (r#"{"type":"publish","topic":"a","data":1,"ttl_ms":"1"}"#, code::BAD_MESSAGE, None),
];

#[test]
fn refusals_follow_the_table_and_render_to_error_objects() {
    for (text, code, echoed) in REFUSED {
        let error = parse(text).expect_err(text);
        assert_eq!(error.code, *code, "{text}: {error:?}");
        assert_eq!(error.id, echoed.and_then(Id::from_json), "{text}");
        assert!(error.message.len() <= 400);
        let mut out = Vec::new();
        json::control_error(&mut out, &error);
        let object: serde_json::Value = serde_json::from_slice(&out).expect("an object");
        assert_eq!((&object["type"], &object["code"]), (&json!("error"), &json!(code)));
    }
}

#[test]
fn limits_hold_at_and_one_past() {
    let names: Vec<_> = (0..TOPICS_MAX).map(|n| format!("t/{n}")).collect();
    let ask = |r#type: &str, names: &[String]| json!({"type": r#type, "topics": names}).to_string();
    let mut past = names.clone();
    past.push("one-more".to_owned());
    for r#type in ["subscribe", "unsubscribe"] {
        assert!(parse(&ask(r#type, &names)).is_ok());
        assert_eq!(parse(&ask(r#type, &past)).expect_err("1025").code, code::TOO_MANY_TOPICS);
    }
    let resume = |names: &[String]| {
        let since: serde_json::Map<_, _> = names.iter().map(|n| (n.clone(), json!({"epoch": 1, "seq": {}}))).collect();
        json!({"type": "subscribe", "topics": ["**"], "since": since}).to_string()
    };
    let text = resume(&names);
    let Ok(ClientMessage::Subscribe { since, .. }) = parse(&text) else { panic!() };
    assert!(names.iter().all(|name| since.find(name).is_some()));
    let more = resume(&past);
    let Ok(ClientMessage::Subscribe { since, .. }) = parse(&more) else { panic!("bytes bound it, not topics") };
    assert_eq!(since.len(), TOPICS_MAX + 1);
    // White space makes a request as long as it has to be.
    let of_bytes = |text: &str, bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    let many: Vec<_> = (0..12_000).map(|n| format!("t/{n}")).collect();
    for text in [resume(&many), ask("unsubscribe", &names)] {
        assert!(parse(&of_bytes(&text, REQUEST_BYTES_MAX)).is_ok());
        let refused = parse(&of_bytes(&text, REQUEST_BYTES_MAX + 1)).expect_err("a byte too long").code;
        assert_eq!(refused, code::TOO_MANY_TOPICS);
    }
    let published = json!({"type": "publish", "topic": "t", "data": 1}).to_string();
    assert!(parse(&of_bytes(&published, REQUEST_BYTES_MAX + 1)).is_ok());

    let with_id = |bytes: usize| json!({"type": "ping", "id": "x".repeat(bytes - 2)}).to_string();
    assert!(parse(&with_id(ID_BYTES_MAX)).is_ok());
    assert_eq!(parse(&with_id(ID_BYTES_MAX + 1)).expect_err("long id").code, code::BAD_MESSAGE);
    let with_key =
        |bytes: usize| json!({"type": "publish", "topic": "t", "data": 1, "key": "x".repeat(bytes)}).to_string();
    assert!(parse(&with_key(KEY_BYTES_MAX)).is_ok());
    assert_eq!(parse(&with_key(KEY_BYTES_MAX + 1)).expect_err("long key").code, code::BAD_MESSAGE);
    let with_topic = |bytes: usize| json!({"type": "publish", "topic": "x".repeat(bytes), "data": 1}).to_string();
    assert!(parse(&with_topic(255)).is_ok());
    assert_eq!(parse(&with_topic(256)).expect_err("long topic").code, code::BAD_TOPIC);
    assert!(parse(r#"{"type":"subscribe","topics":["a"],"max_hz":1000000}"#).is_ok());
    assert!(parse(r#"{"type":"subscribe","topics":["a"],"max_delay_ms":1000}"#).is_ok());
    assert!(parse(r#"{"type":"publish","topic":"a","data":1,"ttl_ms":18446744073709551615}"#).is_ok());
    let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let text = format!(r#"{{"type":"publish","topic":"a","data":1,"traceparent":"{value}"}}"#);
    let Ok(ClientMessage::Publish(publish)) = parse(&text) else { panic!() };
    assert_eq!(publish.parent.map(|parent| parent.to_string()).as_deref(), Some(value));
    let Ok(ClientMessage::Publish(publish)) = parse(r#"{"type":"publish","topic":"a","data":1,"traceparent":null}"#)
    else {
        panic!()
    };
    assert_eq!(publish.parent, None);
}

#[test]
fn depth_is_bounded_inside_data_and_inside_unknown_keys() {
    for key in ["data", "unknown"] {
        let nested = |n: usize| {
            format!(r#"{{"type":"publish","topic":"t","data":1,"{key}":{}{}}}"#, "[".repeat(n), "]".repeat(n))
        };
        assert!(parse(&nested(126)).is_ok());
        assert_eq!(parse(&nested(127)).expect_err("deep").code, code::BAD_JSON);
        assert_eq!(parse(&nested(100_000)).expect_err("deep").code, code::BAD_JSON);
    }
    // What may be published may be embedded.
    let data = "[".repeat(126) + &"]".repeat(126);
    assert!(json::JsonCheck::new().is_valid(data.as_bytes()));
}

#[test]
fn an_error_message_stays_small_whatever_the_topic() {
    for topic in ["\u{1}".repeat(255), "\u{1}".repeat(16_000), "\"*".repeat(127), "*é".repeat(85), "*".repeat(16_000)]
    {
        let text = json!({"type": "subscribe", "topics": [topic]}).to_string();
        let error = parse(&text).expect_err("not a topic");
        assert_eq!(error.code, code::BAD_TOPIC);
        assert!(error.message.len() <= 400, "{}", error.message.len());
        let mut out = Vec::new();
        json::control_error(&mut out, &error);
        assert!(out.len() <= 800, "{}", out.len());
    }
}

#[test]
fn ids_are_numbers_or_strings_and_nothing_around_them() {
    for raw in ["0", "-1", "1.50", "1e5", r#""""#, r#""a\u0041""#] {
        let id = Id::from_json(raw).expect(raw);
        assert_eq!(id.as_json(), Some(raw.as_bytes()));
        assert_eq!(id.as_msgpack(), None);
    }
    for raw in ["", " 1", "1 ", "null", "true", "[]", "{}", "1,2", r#""a"b"#, r#"1,"x":2"#, "01", "\"\n\""] {
        assert_eq!(Id::from_json(raw), None, "{raw:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in "\\PC{0,80}|[{}\\[\\]\",:a0 ]{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_damaged_request_is_parsed_or_refused(row in 0..REFUSED.len() + 2, at in any::<prop::sample::Index>(), with in any::<char>()) {
        let text = match REFUSED.get(row) {
            Some((text, ..)) => text,
            None => r#"{"type":"subscribe","id":1,"topics":["a/b"],"since":{"x":{"epoch":9,"seq":{"low":1}}},"max_hz":1e2}"#,
        };
        let mut text: Vec<char> = text.chars().collect();
        if !text.is_empty() {
            let at = at.index(text.len());
            text[at] = with;
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(&text) {
            prop_assert!(error.message.len() <= 400);
            let mut out = Vec::new();
            json::control_error(&mut out, &error);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        }
    }

    #[test]
    fn what_serde_writes_is_understood(
        topic in "[^*/$\\pC]{1,60}", text in any::<String>(), key in prop::option::of("[^\\pC]{1,60}"), ttl in prop::option::of(any::<u64>()),
    ) {
        let request = json!({"type": "publish", "topic": topic, "data": text, "encoding": "text", "key": key, "ttl_ms": ttl}).to_string();
        let publish = publish(&request);
        prop_assert_eq!(&*publish.topic, topic.as_str());
        prop_assert_eq!(publish.key.as_deref(), key.as_deref());
        prop_assert_eq!(publish.ttl_ms, ttl);
        prop_assert_eq!(payload(&publish.content), (Kind::Text, text.into_bytes()));
    }
}

#[test]
fn from_says_where_topics_begin_that_since_does_not_name() {
    let since = |more: serde_json::Value| {
        let mut request =
            json!({"type": "subscribe", "topics": ["**"], "since": {"a": {"epoch": 7, "seq": {"low": 3}}}});
        request["from"] = more;
        let text = request.to_string();
        let Ok(ClientMessage::Subscribe { since, .. }) = parse(&text) else { panic!("{text}") };
        (since.place("a", 9), since.place("b", 9))
    };
    let named = Some((7, [None, None, None, Some(3)]));
    assert_eq!(since(json!("oldest")), (named, Some((9, [None; 4]))));
    for newest in [json!("newest"), json!(null)] {
        assert_eq!(since(newest), (named, None));
    }
    for wrong in [json!("first"), json!(1), json!(["oldest"])] {
        let text = json!({"type": "subscribe", "topics": ["a"], "from": wrong, "id": 4}).to_string();
        let error = parse(&text).expect_err("no such word");
        assert!(error.code == code::BAD_MESSAGE && error.message.contains("from"), "{error:?}");
    }
}
