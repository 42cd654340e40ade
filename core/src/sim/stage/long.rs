//! Long messages: inflated, put together, read past and decoded in pieces, and others are served between them.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::*;

/// No turn here is longer: input and requests, with a piece of each that goes over.
const TURN_STEPS: u64 = 16_000;
/// Turns that another client's ping takes, at most.
const TURNS: u64 = 3;

/// Who is on the same machine may publish here.
fn stage() -> Stage {
    Stage::new(Config { shards: Some(1), topics_max: 8_000, connections_max: 64, ..Config::default() }, 64 << 20)
}

/// A message as a client compresses it.
fn deflated(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("memory");
    encoder.flush().expect("memory");
    let mut out = encoder.get_ref().clone();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// A client that may send what is compressed, and publish or not.
fn deflating(stage: &mut Stage, target: &str, protocol: Protocol, may_publish: bool) -> Player {
    let headers = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    let peer = SocketAddr::from((if may_publish { [127, 0, 0, 1] } else { [192, 0, 2, 1] }, 1_024));
    let mut player = stage.knocks_with(peer, target, protocol, &headers);
    player.wire.agree_to_deflate();
    player.reads();
    player
}

/// Turns until `is_done`, in each of which another client pings and is answered within so many: how many, and what was heard.
fn passes_by(
    stage: &mut Stage,
    others: &mut Player,
    who: &mut Player,
    within: u64,
    mut is_done: impl FnMut(&Stage, &[String]) -> bool,
) -> (u64, Vec<String>) {
    let (mut turns, mut asked_at, mut heard) = (0, 0, Vec::new());
    others.asks(&json!({"type": "ping", "id": 1}));
    while !is_done(stage, &heard) {
        stage.hands_over(who);
        stage.turn_of(std::slice::from_mut(others));
        let work = stage.shard.last_work();
        let steps = u64::from(work.input.spent() + work.requests.spent());
        assert!(steps <= TURN_STEPS, "a turn of {steps} steps: {work:?}");
        turns += 1;
        if others.reads().iter().any(|said| said.contains("Pong")) {
            others.asks(&json!({"type": "ping", "id": turns}));
            asked_at = turns;
        }
        assert!(turns - asked_at <= within, "not answered for {} turns", turns - asked_at);
        heard.append(&mut who.reads());
        assert!(turns < 20_000, "it does not end: {heard:?}");
    }
    (turns, heard)
}

fn messages(count: u64) -> impl FnMut(&Stage, &[String]) -> bool {
    move |stage, _| stage.stats().messages >= count
}

#[test]
fn what_inflates_to_megabytes_is_inflated_in_pieces() {
    let mut stage = stage();
    let mut other = stage.player(Protocol::JsonV1, &topics(&["other"]));
    let mut reader = stage.raw("/t/x");
    let mut who = deflating(&mut stage, "/t/x?echo=0", Protocol::Raw, true);
    let long = text("long", 24 << 20);
    who.wire.send_compressed(Opcode::Text, &deflated(long.as_bytes()), &mut who.rng);
    let (turns, _) = passes_by(&mut stage, &mut other, &mut who, TURNS, messages(1));
    assert!(turns > 150, "done within {turns} turns");
    let heard = stage.plays(600, &mut reader);
    assert_eq!(heard, ["long"], "as it was sent");
}

#[test]
fn a_bomb_is_found_in_pieces_and_its_memory_given_back() {
    let mut stage = stage();
    let used = stage.shared.payloads.used_bytes();
    let mut other = stage.player(Protocol::JsonV1, &topics(&["other"]));
    let mut crowd: Vec<Player> = (0..40).map(|_| deflating(&mut stage, "/", Protocol::JsonV1, false)).collect();
    let bomb = deflated(&vec![b' '; 64 << 20]);
    for who in &mut crowd {
        who.wire.send_compressed(Opcode::Text, &bomb, &mut who.rng);
    }
    let mut last = crowd.pop().expect("many");
    for who in &mut crowd {
        (0..8).for_each(|_| stage.hands_over(who));
    }
    let is_closed = |_: &Stage, heard: &[String]| heard.iter().any(|said| said == "Close(Some(1009))");
    // Forty send at once: their bytes are read in the order in which they come.
    passes_by(&mut stage, &mut other, &mut last, 60, is_closed);
    for _ in 0..400 {
        crowd.iter_mut().for_each(|who| stage.hands_over(who));
        assert!(stage.turn_of(&mut crowd) <= TURN_STEPS);
    }
    assert!(crowd.iter_mut().all(|who| who.reads().iter().any(|said| said == "Close(Some(1009))")));
    assert_eq!(stage.shared.payloads.used_bytes(), used);
}

#[test]
fn a_long_publish_is_read_and_decoded_in_pieces() {
    let mut stage = stage();
    let mut other = stage.player(Protocol::JsonV1, &topics(&["other"]));
    let mut reader = stage.raw("/t/x");
    let long = text("long", 4 << 20);
    let mut count = 0;
    for protocol in [Protocol::JsonV1, Protocol::MsgpackV1, Protocol::BatchV1, Protocol::BatchV1Lz4] {
        let mut who = stage.player(protocol, &topics(&["mine"]));
        // In both ways that a client of the batch protocol has.
        for _ in 0..3 {
            who.asks(&json!({"type": "publish", "topic": "x", "data": long, "encoding": "text"}));
            who.asks(&json!({"type": "ping", "id": 5}));
            count += 1;
            let (turns, mut heard) = passes_by(&mut stage, &mut other, &mut who, TURNS, messages(count));
            assert!(turns > 30, "{protocol:?}: done within {turns} turns");
            heard.append(&mut stage.plays(4, &mut who));
            assert!(heard.iter().any(|said| said.contains("Pong")), "what stands behind it comes after it: {heard:?}");
        }
        assert_eq!(stage.plays(600, &mut reader), ["long"; 3], "{protocol:?}");
    }
}

#[test]
fn a_long_message_in_many_parts_is_put_together_in_pieces() {
    let mut stage = stage();
    let mut other = stage.player(Protocol::JsonV1, &topics(&["other"]));
    let mut reader = stage.raw("/t/x");
    let mut who = stage.raw("/t/x?echo=0");
    who.wire.send_message(Opcode::Text, text("long", 9 << 20).as_bytes(), 30, &mut who.rng);
    passes_by(&mut stage, &mut other, &mut who, TURNS, messages(1));
    assert_eq!(stage.plays(600, &mut reader), ["long"]);
}

#[test]
fn a_since_of_tens_of_thousands_of_topics_is_read_in_pieces() {
    let mut stage = stage();
    stage.topics((0..50).map(|n| format!("d/{n}")));
    (0..50).for_each(|n| (0..3).for_each(|_| stage.says(&format!("d/{n}"), "1", |_| {})));
    (0..10).for_each(|_| _ = stage.turn_of(&mut []));
    let mut other = stage.player(Protocol::JsonV1, &topics(&["other"]));
    for protocol in [Protocol::JsonV1, Protocol::MsgpackV1] {
        let mut who = stage.player(protocol, &topics(&["mine"]));
        let entries = (0..15_000).map(|n| (format!("d/{n}"), json!({"epoch": 1})));
        let mut since: serde_json::Map<String, Value> = entries.collect();
        since.insert("d/7".into(), json!({"epoch": 1, "seq": {"normal": 1}}));
        who.asks(&json!({"type": "subscribe", "id": 9, "topics": ["d/*"], "since": since}));
        let is_told =
            |_: &Stage, heard: &[String]| heard.iter().filter(|said| said.starts_with("subscribed")).count() == 51;
        let (turns, _) = passes_by(&mut stage, &mut other, &mut who, TURNS, is_told);
        assert!(turns > 20, "{protocol:?}: done within {turns} turns");
        who.asks(
            &json!({"type": "subscribe", "id": 9, "topics": ["e/*"], "since": {"a".repeat(40_000): {"epoch": 1}}}),
        );
        let is_refused = |_: &Stage, heard: &[String]| heard.iter().any(|said| said.contains("bad_topic"));
        passes_by(&mut stage, &mut other, &mut who, TURNS, is_refused);
    }
}

#[test]
fn what_is_wrong_at_the_end_of_a_long_request_is_told_and_the_connection_goes_on() {
    let mut stage = stage();
    let mut other = stage.player(Protocol::JsonV1, &topics(&["other"]));
    let mut who = stage.player(Protocol::JsonV1, &topics(&["mine"]));
    let long = "x".repeat(300_000);
    for (text, code) in [
        (format!(r#"{{"type":"publish","id":3,"topic":"x","data":"{long}""#), "bad_json"),
        (format!(r#"{{"type":"publish","id":3,"topic":"x","data":"{long}*","encoding":"base64"}}"#), "bad_data"),
        (format!(r#"{{"type":"publish","id":3,"topic":"{long}","data":1}}"#), "bad_topic"),
        (format!(r#"{{"type":"subscribe","id":3,"topics":["{long}"]}}"#), "bad_topic"),
        (format!(r#"["{long}"]"#), "bad_message"),
    ] {
        who.says(&text);
        let is_told = |_: &Stage, heard: &[String]| heard.iter().any(|said| said.contains(code));
        passes_by(&mut stage, &mut other, &mut who, TURNS, is_told);
    }
    who.asks(&json!({"type": "ping", "id": 5}));
    assert!(stage.plays(3, &mut who).iter().any(|said| said.contains("Pong")));
    assert_eq!(stage.stats().messages, 0);
}

#[test]
fn at_the_limit_of_what_is_parsed_at_once_and_one_past_it_a_request_is_the_same() {
    let mut stage = stage();
    let mut reader = stage.raw("/t/x");
    let mut who = stage.player(Protocol::JsonV1, &topics(&["mine"]));
    for bytes in [32 << 10, (32 << 10) + 1] {
        let head = r#"{"type":"publish","topic":"x","encoding":"text","data":"#;
        let data = text("long", bytes - head.len() - 3);
        who.says(&format!("{head}\"{data}\"}}"));
        stage.turns(6, &mut who);
        assert_eq!(stage.plays(4, &mut reader), ["long"], "{bytes}");
    }
}

#[test]
fn who_leaves_in_the_middle_of_a_long_message_leaves_nothing() {
    let mut stage = stage();
    let used = stage.shared.payloads.used_bytes();
    stage.net.with_options(|options| options.ends_while_paused = 1_000);
    let packed = deflated(text("long", 8 << 20).as_bytes());
    for turns in [1, 2, 5, 20, 40, 80] {
        let mut who = deflating(&mut stage, "/", Protocol::JsonV1, true);
        who.wire.send_compressed(Opcode::Text, &packed, &mut who.rng);
        (0..turns).for_each(|_| _ = stage.turn_of(std::slice::from_mut(&mut who)));
        who.wire.reset();
        (0..6).for_each(|_| _ = stage.turn_of(&mut []));
        assert_eq!(stage.shared.payloads.used_bytes(), used, "after {turns} turns");
    }
    assert_eq!((stage.stats().client_bytes, stage.stats().connections), (0, 0));
}
