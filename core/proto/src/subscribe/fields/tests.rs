use crate::fuzz::msgpack_plain::pack;
use crate::msgpack::request;
use crate::subscribe::{self, ClientMessage, Content};
use serde_json::{Value, json};

fn packed(request: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(pack(request, &mut out), "{request}");
    out
}

#[test]
fn both_encodings_refuse_in_the_same_words() {
    for (request, words) in [
        (json!([]), "a request is an object"),
        (json!({"type": null}), "`type` is missing"),
        (json!({"type": "ping", "id": []}), "`id` is a number or a string of at most 64 bytes"),
        (json!({"type": "subscribe"}), "`topics` is missing"),
        (json!({"type": "unsubscribe", "topics": []}), "`topics` is empty"),
        (json!({"type": "unsubscribe", "topics": {}}), "`topics` must be an array of strings"),
        (json!({"type": "unsubscribe", "topics": ["a", null]}), "`topics` must be an array of strings"),
        (json!({"type": "subscribe", "topics": ["a"], "since": 1}), "`since` must be an object by topic"),
        (
            json!({"type": "subscribe", "topics": ["a"], "since": {"a": 1}}),
            "`since` must be an object with `epoch` and `seq` for each topic",
        ),
        (json!({"type": "subscribe", "topics": ["a"], "since": {"a": {}}}), "`epoch` is missing"),
        (
            json!({"type": "subscribe", "topics": ["a"], "since": {"a": {"epoch": 1, "seq": 1}}}),
            "`seq` must be an object by priority",
        ),
        (json!({"type": "subscribe", "topics": ["a"], "from": "x"}), "`from` is `newest` or `oldest`"),
        (
            json!({"type": "subscribe", "topics": ["a"], "max_hz": 0}),
            "`max_hz` must be a number above 0, at most 1000000",
        ),
        (json!({"type": "subscribe", "topics": ["a"], "echo": 0}), "`echo` must be true or false"),
        (json!({"type": "publish", "topic": "a"}), "`data` is missing"),
        (json!({"type": "publish", "topic": "a", "data": 1, "encoding": "text"}), "`data` must be a string"),
        (json!({"type": "publish", "topic": "a", "data": "1", "encoding": 1}), "`encoding` must be a string"),
        (json!({"type": "publish", "topic": "a", "data": "1", "key": ""}), "`key` has 1 to 255 bytes"),
        (
            json!({"type": "publish", "topic": "a", "data": "1", "ttl_ms": -1}),
            "`ttl_ms` must be a whole number that is not negative",
        ),
    ] {
        let text = request.to_string();
        let bytes = packed(&request);
        let (written, packed) = (subscribe::parse(&text), request::parse(&bytes));
        assert_eq!(written.expect_err(&text).message, words);
        assert_eq!(packed.expect_err(&text).message.replace("a map", "an object"), words);
    }
}

#[test]
fn null_is_a_payload_in_json_alone() {
    let request = json!({"type": "publish", "topic": "a", "data": null});
    let (text, bytes) = (request.to_string(), packed(&request));
    let Ok(ClientMessage::Publish(publish)) = subscribe::parse(&text) else { panic!() };
    assert_eq!(publish.content, Content::Json("null"));
    assert_eq!(request::parse(&bytes).expect_err("nil").message, "`data` is missing");
}

#[test]
fn a_key_that_is_no_string_is_placed_in_its_own_map() {
    let since = |entry: &[u8]| {
        [b"\x83\xa4type\xa9subscribe\xa6topics\x91\xa1a\xa5since\x82\xa1a\x81\xa5epoch\x01\xa1b", entry].concat()
    };
    let message = |bytes: &[u8]| request::parse(bytes).expect_err("a key of another type").message.into_owned();
    assert_eq!(message(&since(b"\x82\xa5epoch\x01\x07\x01")), "another type of value was expected at byte 8");
    assert!(request::parse(&since(b"\x82\xa5epoch\x01\xa3new\x81\x07\x01")).is_ok(), "of what is ignored any key is");
}
