//! PROTOCOL.md is true: its examples are taken from its text and held against the engine.
//!
//! Examples stand in fenced blocks whose first line says what they are: `json server` (what the encoder writes, byte for
//! byte), `json client` (what the parser takes, every key understood), `text session` (run against an engine), `text http` (the
//! same), `hex …` (bytes with a comment a line). Tables that list codes and limits are held against the code's own lists.

use crate::support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fanwire::proto::batch::{self, BatchEncoder, BatchHead, BatchLimits};
use fanwire::proto::dictionary::{self, Codec, Decoder, Lane, LaneEncoder, Limits, Message, Packer};
use fanwire::proto::json::{self, Body, JsonCheck};
use fanwire::proto::server_message::{GapReason, ServerMessage};
use fanwire::proto::subscribe::{self, ClientMessage, Content};
use fanwire::proto::{lz4, msgpack, target, topic};
use fanwire::{Config, DriverChoice, Engine, Kind, Priority, Retention, TopicConfig, TopicId};
use serde_json::Value;
use support::{Bare, Client, addr, config, connect, next_payload, send, start, wait_until};

on_both_drivers![
    sessions_go_as_written,
    the_handshake_goes_as_written,
    what_is_said_of_subscribing_is_so,
    one_request_may_name_as_many_topics_as_are_allowed
];

/// The document's text.
fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../PROTOCOL.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bodies of the fenced blocks whose first line begins with `kind`, each with the rest of that line. There is at least one.
/// A line of a body that begins with a blank continues the one before it: on the wire an object is one line.
fn blocks(kind: &str) -> Vec<(String, String)> {
    let document = document();
    let mut found = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(opening) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if let Some(rest) = opening.strip_prefix(kind) {
            found.push((rest.trim().to_owned(), unfolded(&body)));
        }
    }
    assert!(!found.is_empty(), "there are no `{kind}` blocks");
    found
}

/// Lines as they were before they were folded to fit the page.
fn unfolded(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix(' ') {
            text += rest.trim_start();
        } else {
            text += if text.is_empty() { "" } else { "\n" };
            text += line;
        }
    }
    text
}

/// The one block of this kind.
fn block(kind: &str) -> String {
    let mut found = blocks(kind);
    assert_eq!(found.len(), 1, "`{kind}`");
    found.remove(0).1
}

/// First cells of the table whose heading row begins with `heading`, without markup.
fn first_cells(heading: &str) -> Vec<String> {
    rows(heading).into_iter().map(|row| row[0].clone()).collect()
}

fn rows(heading: &str) -> Vec<Vec<String>> {
    let document = document();
    let mut lines = document.lines().skip_while(|line| !line.starts_with(heading));
    assert!(lines.next().is_some(), "there is no table {heading}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn what_a_server_sends_is_what_the_encoder_writes() {
    let mut types = BTreeSet::new();
    for line in blocks("json server").iter().flat_map(|(_, body)| body.lines()) {
        let object = json::server::parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut out = Vec::new();
        types.insert(match &object {
            ServerMessage::Welcome(o) => {
                json::welcome(&mut out, o);
                "welcome"
            }
            ServerMessage::Subscribed(o) => {
                json::subscribed(&mut out, o);
                "subscribed"
            }
            ServerMessage::Unsubscribed(o) => {
                json::unsubscribed(&mut out, o);
                "unsubscribed"
            }
            ServerMessage::Message(o) => {
                let (kind, payload) = decoded(&o.content);
                let mut name = Vec::new();
                json::escape_topic(&o.topic, &mut name);
                let mut check = JsonCheck::new();
                json::message(&mut out, &name, o.priority, o.seq, o.time_us, &Body::of(kind, &payload, &mut check));
                "message"
            }
            ServerMessage::Gap(o) => {
                json::gap(&mut out, o);
                "gap"
            }
            ServerMessage::Error(o) => {
                assert!(subscribe::code::ALL.contains(&&*o.code), "{line}");
                json::error(&mut out, o);
                "error"
            }
            ServerMessage::Pong(o) => {
                json::pong(&mut out, o);
                "pong"
            }
            ServerMessage::Migrate(o) => {
                json::migrate(&mut out, o);
                "migrate"
            }
            ServerMessage::Authorized(o) => {
                json::authorized(&mut out, o);
                "authorized"
            }
            ServerMessage::Unknown => panic!("of a type that is not known: {line}"),
        });
        assert_eq!(String::from_utf8(out).as_deref(), Ok(line));
    }
    assert_eq!(types.len(), 9, "an example of every type: {types:?}");
}

fn decoded(content: &Content<'_>) -> (Kind, Vec<u8>) {
    let mut payload = Vec::new();
    let kind = content.decode(&mut payload).expect("sound base64");
    (kind, payload)
}

#[test]
fn what_a_client_sends_is_taken_and_every_key_of_it_understood() {
    let mut types = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for line in blocks("json client").iter().flat_map(|(_, body)| body.lines()) {
        let taken = subscribe::parse(line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert!(taken != ClientMessage::Unknown, "{line}");
        let object: Value = serde_json::from_str(line).expect("JSON");
        let fields = object.as_object().expect("an object");
        types.insert(object["type"].as_str().expect("text").to_owned());
        for key in fields.keys() {
            keys.insert(key.clone());
            let mut fewer = fields.clone();
            fewer.remove(key);
            let fewer = Value::Object(fewer).to_string();
            assert!(subscribe::parse(&fewer) != Ok(taken.clone()), "{key} changes nothing in {line}");
        }
    }
    let known = ["subscribe", "unsubscribe", "publish", "ping", "auth"].map(str::to_owned).into();
    assert_eq!(types, known, "an example of every type");
    for heading in ["| field | type | |\n"] {
        for key in document().split(heading).nth(1).expect("the table of subscribe").lines().skip(1) {
            if let Some(key) = key.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
                assert!(keys.contains(key), "no example has {key}");
            } else {
                break;
            }
        }
    }
}

/// The bytes of a `hex` block: what stands before the comments.
fn bytes_of(text: &str) -> Vec<u8> {
    text.lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
        .map(|digits| u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("no hexadecimal byte: {digits}")))
        .collect()
}

/// Fields that the comments of a `hex` block state as `name type = value`, each checked to be what the line's bytes say.
fn fields_of(text: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for line in text.lines() {
        let Some((bytes, comment)) = line.split_once('#') else { continue };
        let Some((name, value)) = comment.split_once(" = ") else { continue };
        let bytes = bytes_of(bytes);
        let (name, value) = (name.trim(), value.trim());
        match name.split_once(" u") {
            Some((name, bits)) => {
                let bits: usize = bits.parse().expect("a width");
                assert_eq!(bytes.len() * 8, bits, "{line}");
                let number = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                assert_eq!(number.to_string(), value, "{line}");
                fields.push((name.to_owned(), value.to_owned()));
            }
            None => {
                assert_eq!(std::str::from_utf8(&bytes), Ok(value), "{line}");
                fields.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    fields
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_batch_frame_holds_what_its_comments_say() {
    let text = block("hex batch data");
    let (frame, fields) = (bytes_of(&text), fields_of(&text));
    let mut scratch = Vec::new();
    let decoded = batch::decode(&frame, 1 << 20, &mut scratch, |_, _, _| false);
    let Ok(batch::Frame::Data(batch)) = decoded else { panic!("{decoded:?}") };
    assert_eq!(
        batch.head,
        BatchHead { topic_id: TopicId(3), priority: Priority::Normal, kind: Kind::Json, first_seq: 41 }
    );
    let head =
        ["version", "kind", "flags", "topic_id", "first_seq", "raw_size", "reserved", "message_count", "total_size"];
    for name in head {
        assert_eq!(field(&fields, name).count(), 1, "{name}");
    }
    let mut encoded = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut encoded, batch.head, BatchLimits::default());
    let mut payloads = field(&fields, "data");
    let mut timestamps = field(&fields, "timestamp");
    for message in batch.messages() {
        assert_eq!(Some(String::from_utf8_lossy(message.payload).as_ref()), payloads.next());
        assert_eq!(Some(message.timestamp_ns.to_string().as_str()), timestamps.next());
        encoder.push(&mut encoded, message.seq, Kind::Json, message.timestamp_ns, message.payload).expect("it joins");
    }
    assert_eq!((payloads.next(), batch.message_count()), (None, 2));
    encoder.finish(&mut encoded);
    assert_eq!(encoded, frame, "the encoder writes the same");
}

#[test]
fn the_control_frame_holds_what_its_comments_say() {
    let text = block("hex batch control");
    let (frame, fields) = (bytes_of(&text), fields_of(&text));
    let object = field(&fields, "data").next().expect("the object");
    assert_eq!(batch::decode(&frame, 1 << 20, &mut Vec::new(), |_, _, _| false), Ok(batch::Frame::Control(object)));
    let mut encoded = Vec::new();
    batch::control(&mut encoded, object.as_bytes());
    assert_eq!(encoded, frame);
    assert!(json::server::parse(object).is_ok());
    // And from a client, where a ping would stand in it.
    assert_eq!(batch::control_of(&frame), Ok(Some(object)));
}

#[test]
fn the_lz4_frame_is_what_the_encoder_makes_of_its_message() {
    let text = block("hex batch lz4");
    let (frame, fields) = (bytes_of(&text), fields_of(&text));
    assert_eq!(field(&fields, "first_seq").next(), Some("43"));
    let said =
        "number 43 of the critical lane of topic 3, published at 1700000000010000000 ns: the letter `a` 600 times";
    assert!(document().contains(said), "the sentence about it");
    let mut encoded = Vec::new();
    let head = BatchHead { topic_id: TopicId(3), priority: Priority::Critical, kind: Kind::Text, first_seq: 43 };
    let mut encoder = BatchEncoder::begin(&mut encoded, head, BatchLimits::default());
    encoder.push(&mut encoded, 43, Kind::Text, 1_700_000_000_010_000_000, &[b'a'; 600]).expect("the first message");
    let mut compressor = lz4::Lz4::new();
    assert!(encoder.finish_lz4(&mut encoded, &mut Vec::new(), |block, out| compressor.compress(block, out)));
    assert_eq!(hex(&encoded), hex(&frame));
    let mut scratch = Vec::new();
    let decoded = batch::decode(&frame, 1 << 20, &mut scratch, |block, size, out| {
        lz4::decompress(block, size, 1 << 20, out).is_ok()
    });
    assert!(matches!(decoded, Ok(batch::Frame::Data(batch)) if batch.message_count() == 1));
}

#[test]
fn the_frames_with_dictionaries_hold_what_is_said_of_them() {
    let text = block("hex dictionary plain");
    let halves: Vec<String> = field(&fields_of(&text), "data").map(str::to_owned).collect();
    let lane = Lane { topic_id: TopicId(3), priority: Priority::Normal };
    let message = |seq, payload: &'static str| Message {
        seq,
        time_us: 1_700_000_000_000_000 + (seq - 41) * 5_000,
        payload: payload.as_bytes(),
    };
    let first = [message(41, r#"{"volts":11.91,"mode":"AUTO"}"#), message(42, r#"{"volts":11.92,"mode":"AUTO"}"#)];
    let third = message(43, r#"{"volts":11.87,"mode":"AUTO"}"#);
    let payloads: Vec<String> = halves.chunks(2).map(|halves| halves.concat()).collect();
    assert_eq!(payloads.iter().map(String::as_bytes).collect::<Vec<_>>(), first.map(|message| message.payload));
    assert!(document().contains("Message 43, `{\"volts\":11.87,\"mode\":\"AUTO\"}`"), "the sentence about it");
    let mut written = Vec::new();
    LaneEncoder::new(lane).data(&mut Packer::new(Codec::Lz4), Kind::Json, &first, &mut written).expect("numbers grow");
    assert_eq!(hex(&written), hex(&bytes_of(&text)), "the encoder writes the same");
    for (codec, name) in [(Codec::Lz4, "hex dictionary lz4"), (Codec::Deflate, "hex dictionary deflate")] {
        let mut decoder = Decoder::new(codec, Limits { block_bytes_max: 100, lanes_max: 1 });
        let frame = bytes_of(&block(name));
        if codec == Codec::Lz4 {
            assert!(decoder.frame(&bytes_of(&text)).is_ok_and(|read| read == data(lane, &first)));
        } else {
            // What the example before it would have made: the two messages, told to be dictionary 1.
            let plain = bytes_of(&text);
            let earlier = [&[plain[0] & 0x4C | 0x82, plain[1], 1], &plain[2..]].concat();
            assert_eq!(decoder.frame(&earlier), Ok(dictionary::Frame::Nothing));
        }
        assert_eq!(decoder.frame(&frame), Ok(data(lane, &[third])), "{name}");
        let mut packed = Vec::new();
        let dictionary = first.map(|message| message.payload).concat();
        assert!(Packer::new(codec).compress(&dictionary, third.payload, &mut packed));
        assert!(hex(&frame).ends_with(&hex(&packed)), "the encoder writes the same block");
    }
}

fn data<'a>(lane: Lane, messages: &[Message<'a>]) -> dictionary::Frame<'a> {
    dictionary::Frame::Data { lane, kind: Kind::Json, messages: messages.to_vec() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[test]
fn messagepack_examples_are_what_the_code_writes_and_takes() {
    let mut name = Vec::new();
    msgpack::pack_topic("a/b", &mut name);
    let mut out = Vec::new();
    msgpack::message(&mut out, &name, Priority::Low, 7, 1_767_225_600_123_456, &Body::Binary(&[0, 1, 2, 3]));
    assert_eq!(hex(&bytes_of(&block("hex msgpack message"))), hex(&out));
    let ping = bytes_of(&block("hex msgpack client"));
    let taken = msgpack::request::parse(&ping);
    assert!(matches!(taken, Ok(ClientMessage::Ping { id: Some(_) })), "{taken:?}");
    let subscribe = bytes_of(&block("hex msgpack subscribe"));
    let taken = msgpack::request::parse(&subscribe);
    let Ok(ClientMessage::Subscribe { topics, since, .. }) = &taken else { panic!("{taken:?}") };
    assert_eq!((&*topics[0], since.unnamed()), ("logs/*", subscribe::Beginning::Oldest));
}

#[test]
fn codes_and_reasons_are_listed_completely() {
    assert_eq!(first_cells("| `code` | the request |"), subscribe::code::ALL);
    assert_eq!(first_cells("| `reason` | the messages"), GapReason::ALL.map(GapReason::name));
}

/// The sources of the engine in a folder or file below `core`, without their tests.
fn sources(below: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    if path.is_dir() {
        let entries = fs::read_dir(&path).expect("the sources").map(|entry| entry.expect("an entry").path());
        return entries.map(|path| sources(path.to_str().expect("a plain name"))).collect();
    }
    let text = fs::read_to_string(path).expect("a source file");
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

#[test]
fn every_close_code_and_every_status_that_the_engine_uses_is_listed() {
    let text = ["src/shard", "proto/src/decoder.rs", "proto/src/header.rs", "proto/src/inflate.rs"].map(sources);
    let names = [
        ("GOING_AWAY", 1001),
        ("PROTOCOL_ERROR", 1002),
        ("UNSUPPORTED", 1003),
        ("INVALID_PAYLOAD", 1007),
        ("POLICY", 1008),
        ("TOO_BIG", 1009),
        ("INTERNAL_ERROR", 1011),
        ("SERVICE_RESTART", 1012),
        ("TRY_AGAIN_LATER", 1013),
        ("EXPIRED", 4401),
    ];
    let is_used = |name: &str| {
        let helper = match name {
            "PROTOCOL_ERROR" => "Violation::protocol(",
            "INVALID_PAYLOAD" => "Violation::payload(",
            _ => "CloseCode::NONE",
        };
        text.iter().any(|text| text.contains(&format!("CloseCode::{name}")) || text.contains(helper))
    };
    let used: BTreeSet<String> = names.iter().filter(|(name, _)| is_used(name)).map(|(_, n)| n.to_string()).collect();
    let listed = first_cells("| code | the server closes");
    assert_eq!(listed[0], "the client's");
    assert_eq!(listed[1..].iter().cloned().collect::<BTreeSet<_>>(), used);

    let refusals = [
        ("bad_request", 400),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("timeout", 408),
        ("upgrade_required", 426),
        ("too_many", 429),
        ("unavailable", 503),
    ];
    let text = sources("src/shard") + &sources("proto/src/handshake.rs");
    let mut used: BTreeSet<String> = ["101", "414", "431", "505"].map(str::to_owned).into();
    used.extend(
        refusals.iter().filter(|(name, _)| text.contains(&format!("Refusal::{name}("))).map(|(_, n)| n.to_string()),
    );
    let listed = first_cells("| status | when |");
    let listed: BTreeSet<String> = listed.iter().flat_map(|cell| cell.split(", ")).map(str::to_owned).collect();
    assert_eq!(listed, used);
}

#[test]
fn limits_are_the_engine_s_own() {
    let config = Config::default();
    let batch = BatchLimits::default();
    let request = fanwire::proto::request::RequestLimits::default();
    let expected = [
        ("message to the server, bytes", config.limits.message_bytes_max),
        ("topics in one request", subscribe::TOPICS_MAX),
        ("subscribe or unsubscribe, bytes (what bounds the topics in since)", subscribe::REQUEST_BYTES_MAX),
        ("subscriptions of one connection", config.limits.subscriptions_per_connection_max as usize),
        ("topics that are there for one connection alone", config.limits.topics_per_connection_max as usize),
        ("topic name or pattern, bytes", topic::NAME_BYTES_MAX),
        ("topics in the request target", target::TOPICS_MAX),
        ("id, bytes as written", subscribe::ID_BYTES_MAX),
        ("key, bytes", subscribe::KEY_BYTES_MAX),
        ("from a message's first byte to its last, seconds", config.limits.message_timeout.as_secs() as usize),
        ("nesting of a JSON payload", json::check::PAYLOAD_DEPTH_MAX as usize),
        ("a number in JSON, characters", json::reader::NUMBER_BYTES_MAX),
        ("upgrade request, bytes", config.limits.request_bytes_max),
        ("upgrade request, headers", request.headers_max),
        ("messages in a batch", batch.messages_max as usize),
        ("bytes of a batch's block (one message may exceed it alone)", batch.block_bytes_max as usize),
        ("LZ4 from, bytes of the block", lz4::THRESHOLD),
        ("permessage-deflate from, bytes", config.compression.threshold_bytes),
    ];
    let listed: Vec<(String, usize)> = rows("| what | default |")
        .iter()
        .map(|row| (row[0].clone(), row[1].replace(',', "").parse().expect("a number")))
        .collect();
    assert_eq!(listed, expected.map(|(what, limit)| (what.to_owned(), limit)));
    // Said in sentences.
    assert_eq!(config.limits.ping_every.as_secs(), 30);
    assert_eq!(config.limits.handshake_timeout.as_secs(), 10);
    assert_eq!(config.limits.close_timeout.as_secs(), 5);
    assert!(config.limits.idle_timeout.is_zero());
    assert_eq!(config.memory.lane_bytes, 8 << 20);
}

/// An object with what is another in each run made equal.
fn without_chance(text: &str) -> Value {
    let mut object: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    for key in ["session", "time_us", "epoch", "topic_id"] {
        if let Some(value) = object.get_mut(key) {
            *value = if value.is_string() { "any".into() } else { 0.into() };
        }
    }
    // A lane that has just come to be may be named already, with nothing behind it.
    if let Some(Value::Object(lanes)) = object.get_mut("seq") {
        lanes.retain(|_, seq| *seq != 0);
    }
    object
}

fn sessions_go_as_written(driver: DriverChoice) {
    for (settings, body) in blocks("text session") {
        let (protocol, retention) = settings.split_once(' ').unwrap_or((&settings, ""));
        assert_eq!(protocol, support::JSON);
        play(driver, retention.strip_prefix("retention=").and_then(|messages| messages.parse().ok()), &body);
    }
}

/// Runs a session against an engine that keeps so many messages.
fn play(driver: DriverChoice, kept: Option<u64>, body: &str) {
    let mut config = config(driver);
    // Small, so that it can be reached.
    config.limits.subscriptions_per_connection_max = if body.contains("too_many") { 2 } else { 1_024 };
    if kept.is_some() {
        let retention = Retention::Last { messages: kept, bytes: None, age: None };
        config.topics = vec![TopicConfig { retention, ..TopicConfig::default() }];
    }
    let engine = start(config);
    let mut client = connect(addr(&engine), "/", Some(support::JSON));
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
        step(&engine, &mut client, line);
    }
    // Nothing more comes than is written.
    assert_eq!(support::settle(&mut client), Vec::<Value>::new());
}

/// Sentences of section 3.1 and 7 that no example shows.
fn what_is_said_of_subscribing_is_so(driver: DriverChoice) {
    let welcome =
        format!("< {}", blocks("text session")[0].1.lines().next().expect("welcome").trim_start_matches("< "));
    let sessions: [(Option<u64>, &str); 9] = [
        // A pattern that matches nothing brings nothing; what was refused is said before the pong.
        (
            None,
            r#"> {"type":"subscribe","id":1,"topics":["nothing/*"]}
               > {"type":"unsubscribe","id":2,"topics":["x"]}
               > {"type":"ping","id":3}
               < {"type":"error","code":"not_subscribed","message":"there is no subscription to \"x\"","id":2}
               < {"type":"pong","id":3}
               * nothing/new normal text first
               < {"type":"subscribed","id":1,"topic":"nothing/new","topic_id":0,"epoch":0,"seq":{}}
               < {"type":"message","topic":"nothing/new","priority":"normal","seq":1,"time_us":0,"data":"first","encoding":"text"}"#,
        ),
        // Again is announced again, and changes nothing else; two subscriptions bring a message once.
        (
            None,
            r#"> {"type":"subscribe","id":1,"topics":["a"]}
               < {"type":"subscribed","id":1,"topic":"a","topic_id":0,"epoch":0,"seq":{}}
               * a low text one
               < {"type":"message","topic":"a","priority":"low","seq":1,"time_us":0,"data":"one","encoding":"text"}
               > {"type":"subscribe","id":2,"topics":["*"]}
               < {"type":"subscribed","id":2,"topic":"a","topic_id":0,"epoch":0,"seq":{"low":1}}
               * a low text two
               < {"type":"message","topic":"a","priority":"low","seq":2,"time_us":0,"data":"two","encoding":"text"}
               > {"type":"unsubscribe","id":3,"topics":["a"]}
               < {"type":"unsubscribed","id":3,"topic":"a"}
               * a low text three
               < {"type":"message","topic":"a","priority":"low","seq":3,"time_us":0,"data":"three","encoding":"text"}
               > {"type":"unsubscribe","id":4,"topics":["*"]}
               < {"type":"unsubscribed","id":4,"topic":"*"}
               * a low text four"#,
        ),
        // A maximum in the middle of a request: those before stand.
        (
            None,
            r#"* a high text one
               * b low text one
               > {"type":"subscribe","id":1,"topics":["a","b","too_many"]}
               < {"type":"error","code":"too_many_subscriptions","message":"a maximum of topics, subscriptions or cursors is reached","id":1}
               < {"type":"subscribed","id":1,"topic":"a","topic_id":0,"epoch":0,"seq":{}}
               < {"type":"subscribed","id":1,"topic":"b","topic_id":1,"epoch":0,"seq":{}}
               < {"type":"message","topic":"a","priority":"high","seq":1,"time_us":0,"data":"one","encoding":"text"}
               < {"type":"message","topic":"b","priority":"low","seq":1,"time_us":0,"data":"one","encoding":"text"}"#,
        ),
        // Another epoch: everything that is kept, and a gap for what is not.
        (
            Some(1),
            r#"* log/a normal text one
               * log/a normal text two
               > {"type":"subscribe","topics":["log/*"],"since":{"log/a":{"epoch":1,"seq":{"normal":77}}}}
               < {"type":"subscribed","topic":"log/a","topic_id":0,"epoch":0,"seq":{"normal":1}}
               < {"type":"gap","topic":"log/a","priority":"normal","from":1,"to":1,"reason":"epoch"}
               < {"type":"message","topic":"log/a","priority":"normal","seq":2,"time_us":0,"data":"two","encoding":"text"}"#,
        ),
        // A lane that `seq` does not name is as number 0; a number higher than any brings nothing.
        (
            None,
            r#"* log/a normal text one
               * log/a low text two
               * log/a low text three
               > {"type":"subscribe","topics":["log/a"],"since":{"log/a":{"epoch":EPOCH,"seq":{"normal":9}}}}
               < {"type":"subscribed","topic":"log/a","topic_id":0,"epoch":0,"seq":{"normal":1,"low":0}}
               < {"type":"message","topic":"log/a","priority":"low","seq":1,"time_us":0,"data":"two","encoding":"text"}
               < {"type":"message","topic":"log/a","priority":"low","seq":2,"time_us":0,"data":"three","encoding":"text"}
               * log/a normal text four
               < {"type":"message","topic":"log/a","priority":"normal","seq":2,"time_us":0,"data":"four","encoding":"text"}"#,
        ),
        // From the oldest: topics that `since` does not name begin with all that is kept, and are told what is not.
        (
            Some(2),
            r#"* log/a normal text one
               * log/a normal text two
               * log/b normal text one
               * log/b normal text two
               * log/b normal text three
               * log/b critical text help
               > {"type":"subscribe","topics":["log/*"],"since":{"log/a":{"epoch":EPOCH,"seq":{"normal":2}}},"from":"oldest"}
               < {"type":"subscribed","topic":"log/a","topic_id":0,"epoch":0,"seq":{"normal":2}}
               < {"type":"subscribed","topic":"log/b","topic_id":1,"epoch":0,"seq":{"critical":0,"normal":1}}
               < {"type":"gap","topic":"log/b","priority":"normal","from":1,"to":1,"reason":"retention"}
               < {"type":"message","topic":"log/b","priority":"critical","seq":1,"time_us":0,"data":"help","encoding":"text"}
               < {"type":"message","topic":"log/b","priority":"normal","seq":2,"time_us":0,"data":"two","encoding":"text"}
               < {"type":"message","topic":"log/b","priority":"normal","seq":3,"time_us":0,"data":"three","encoding":"text"}"#,
        ),
        // What this connection publishes does not come back where that was asked for; unknown types are passed over.
        (
            None,
            r#"> {"type":"subscribe","id":1,"topics":["chat"],"echo":false}
               < {"type":"subscribed","id":1,"topic":"chat","topic_id":0,"epoch":0,"seq":{}}
               > {"type":"publish","topic":"chat","data":"mine","encoding":"text"}
               > {"type":"hello","id":9}
               > {"type":"ping","id":2}
               < {"type":"pong","id":2}
               * chat normal text theirs
               < {"type":"message","topic":"chat","priority":"normal","seq":2,"time_us":0,"data":"theirs","encoding":"text"}"#,
        ),
        // JSON that is none comes as text; JSON stays as it was written.
        (
            None,
            r#"> {"type":"subscribe","topics":["j"]}
               < {"type":"subscribed","topic":"j","topic_id":0,"epoch":0,"seq":{}}
               * j critical json {"x": }
               < {"type":"message","topic":"j","priority":"critical","seq":1,"time_us":0,"data":"{\"x\": }","encoding":"text"}
               * j critical json null
               < {"type":"message","topic":"j","priority":"critical","seq":2,"time_us":0,"data":null}"#,
        ),
        // Priorities of a new subscription come in their order.
        (
            None,
            r#"* p low text d
               * p critical text a
               * p normal text c
               * p high text b
               > {"type":"subscribe","topics":["p"]}
               < {"type":"subscribed","topic":"p","topic_id":0,"epoch":0,"seq":{"critical":0,"high":0,"normal":0,"low":0}}
               < {"type":"message","topic":"p","priority":"critical","seq":1,"time_us":0,"data":"a","encoding":"text"}
               < {"type":"message","topic":"p","priority":"high","seq":1,"time_us":0,"data":"b","encoding":"text"}
               < {"type":"message","topic":"p","priority":"normal","seq":1,"time_us":0,"data":"c","encoding":"text"}
               < {"type":"message","topic":"p","priority":"low","seq":1,"time_us":0,"data":"d","encoding":"text"}"#,
        ),
    ];
    for (kept, session) in sessions {
        play(driver, kept, &format!("{welcome}\n{session}"));
    }
}

fn one_request_may_name_as_many_topics_as_are_allowed(driver: DriverChoice) {
    let mut config = config(driver);
    config.limits.topics_per_connection_max = subscribe::TOPICS_MAX as u32 / 2;
    let engine = start(config);
    let names: Vec<String> = (0..subscribe::TOPICS_MAX).map(|n| format!("t/{n}")).collect();
    // Half of them exist already, and go on existing.
    let _handles: Vec<_> = names.iter().step_by(2).map(|name| engine.topic(name).expect("a sound name")).collect();
    let mut client = connect(addr(&engine), "/", Some(support::JSON));
    let request = |topics: &[String]| serde_json::json!({"type": "subscribe", "id": 1, "topics": topics}).to_string();
    send(&mut client, &request(&names));
    let mut subscribed = BTreeSet::new();
    while subscribed.len() < names.len() {
        let object = support::next_object(&mut client);
        match object["type"].as_str() {
            Some("subscribed") => assert!(subscribed.insert(object["topic"].to_string()), "{object} twice"),
            Some("welcome") => {}
            _ => panic!("{object}"),
        }
    }
    for one_more in ["t/one more", "t/*"] {
        send(&mut client, &request(&[one_more.to_owned()]));
        assert_eq!(support::next_object(&mut client)["code"], subscribe::code::TOO_MANY_SUBSCRIPTIONS);
    }
}

fn step(engine: &Engine, client: &mut Client, line: &str) {
    let (who, what) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    match who {
        ">" => {
            let epoch = || engine.topic("log/a").expect("a sound name").epoch().to_string();
            send(client, &what.replace("EPOCH", &if what.contains("EPOCH") { epoch() } else { String::new() }));
        }
        "<" => {
            let came = String::from_utf8(next_payload(client)).expect("text");
            let mut expected = without_chance(what);
            let came = without_chance(&came);
            if expected["type"] == "welcome" {
                for limit in ["subscriptions_max", "topics_per_connection_max"] {
                    expected["limits"][limit] = came["limits"][limit].clone();
                }
            }
            assert_eq!(came, expected);
        }
        "*" => {
            let words: Vec<&str> = what.splitn(4, ' ').collect();
            let [topic, priority, kind, payload] = words[..] else { panic!("{line}") };
            let priority = Priority::from_name(priority).expect("a priority");
            let kind = if kind == "json" { Kind::Json } else { Kind::Text };
            let before = engine.stats().total.messages;
            engine.topic(topic).expect("a sound name").publish(priority, kind, payload.as_bytes()).expect("room");
            wait_until("the shard has it", || engine.stats().total.messages > before);
        }
        _ => panic!("{line}"),
    }
}

fn the_handshake_goes_as_written(driver: DriverChoice) {
    let engine = start(config(driver));
    let side = |mark: &str| -> String {
        let text = block("text http");
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark)).map(|line| line.trim_start().to_owned());
        lines.map(|line| line + "\r\n").collect()
    };
    let mut bare = Bare::connect(addr(&engine));
    bare.send(side(">").as_bytes());
    assert_eq!(bare.response_head() + "\r\n\r\n", side("<"));
    // The topic of the target is subscribed from the start.
    let welcome = bare.frame().expect("welcome").payload;
    assert_eq!(serde_json::from_slice::<Value>(&welcome).expect("JSON")["type"], "welcome");
    let subscribed: Value = serde_json::from_slice(&bare.frame().expect("subscribed").payload).expect("JSON");
    assert_eq!((&subscribed["type"], &subscribed["topic"]), (&"subscribed".into(), &"rover/1/imu".into()));
    assert_eq!(subscribed.get("id"), None);
}
