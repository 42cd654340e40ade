//! One request may ask for much: it is done in pieces, and no turn is longer than any other.

use serde_json::json;

use super::served::{Client, NAMES, Served, Wish, frame, kind, topics};

/// Publishes `each` messages of `payload` to `t/0` and so on.
fn fill(server: &Served, count: usize, each: usize, payload: &str) {
    let mut publisher = server.client();
    for topic in 0..count {
        let message = frame(&format!(r#"{{"type":"publish","topic":"t/{topic}","data":{payload}}}"#));
        publisher.raw(&message.repeat(each));
    }
    assert_eq!(publisher.settle(), [] as [serde_json::Value; 0], "the publisher is not answered with errors");
}

#[test]
fn names_that_nobody_has_are_looked_for_once_each_whatever_the_patterns() {
    let server = Served::start("--topics-per-connection-max 1000");
    let mut other = server.stranger();
    other.subscribe((0..1_000).map(|i| format!("a/x{i}")));
    let mut stranger = server.stranger();
    // Only the last of the patterns matches any topic.
    stranger.ask(topics("subscribe", (0..299).map(|i| format!("*/y{i}")).chain(["a/*".into()])));
    stranger.settle();
    stranger.ask(topics("unsubscribe", (0..NAMES).map(|i| format!("n{i}"))));
    let answers = stranger.settle();
    assert_eq!(answers.iter().filter(|answer| kind(answer) == "error").count(), NAMES);
    server.end_with_short_turns();
}

#[test]
fn everything_at_once_is_joined_and_left_in_pieces() {
    const TOPICS: usize = 5_000;
    let server = Served::start("--max-topics 20000");
    fill(&server, TOPICS, 1, "1");
    for _ in 0..2 {
        let mut stranger = server.stranger();
        stranger.ask(json!({"type": "subscribe", "topics": ["**"]}));
        let mut messages = 0;
        while messages < TOPICS {
            let object = stranger.next().expect("it stays connected");
            messages += usize::from(object["type"] == "message");
        }
        stranger.ask(json!({"type": "unsubscribe", "topics": ["**"]}));
        stranger.settle();
        stranger.ask(json!({"type": "subscribe", "topics": ["**"]}));
        stranger.settle();
        // It is gone with all that it has.
    }
    assert!(server.client().settle().is_empty());
    server.end_with_short_turns();
}

#[test]
fn who_comes_back_to_many_topics_gets_all_that_is_kept_in_pieces() {
    const TOPICS: usize = 100;
    const EACH: usize = 64;
    let server = Served::start("");
    fill(&server, TOPICS, EACH, &format!("\"{}\"", "x".repeat(2_000)));
    let names: Vec<String> = (0..TOPICS).map(|i| format!("t/{i}")).collect();
    let since: serde_json::Map<_, _> =
        names.iter().map(|name| (name.clone(), json!({"epoch": 1, "seq": {}}))).collect();
    let mut stranger = server.stranger();
    stranger.ask(json!({"type": "subscribe", "topics": names, "since": since}));
    let mut accounted = 0;
    while accounted < (TOPICS * EACH) as u64 {
        let object = stranger.next().expect("it stays connected");
        match object["type"].as_str() {
            Some("message") => accounted += 1,
            Some("gap") => {
                let number = |field: &str| object[field].as_u64().expect("a number");
                accounted += number("to") - number("from") + 1;
            }
            _ => {}
        }
    }
    assert_eq!(accounted, (TOPICS * EACH) as u64);
    server.end_with_short_turns();
}

#[test]
fn a_dry_pool_is_no_work_for_each_message() {
    const TOPICS: usize = 4_000;
    let server = Served::start("--pool-bytes 16MiB --lane-bytes 1MiB --max-topics 20000");
    // Twice what the pool holds.
    fill(&server, TOPICS, 8, &format!("\"{}\"", "x".repeat(1_000)));
    server.end_with_short_turns();
}

#[test]
fn a_message_that_becomes_a_thousand_times_as_long_is_not_read_to_its_end() {
    let server = Served::start("");
    let deflated = zeros(63 << 20);
    assert!(deflated.len() < 70_000, "{}", deflated.len());
    let mut stranger = Client::connect(server.address, &Wish { is_stranger: true, deflate: true, ..Wish::default() })
        .expect("a stranger is let in");
    stranger.raw(&super::served::frame_of(0xc1, &deflated));
    let code = stranger.close_code_instead_of_an_answer();
    assert!([1008, 1009].contains(&code), "closed with {code}");
    // What a whole subscribe needs is read.
    let mut stranger = Client::connect(server.address, &Wish { is_stranger: true, deflate: true, ..Wish::default() })
        .expect("a stranger is let in");
    stranger.raw(&super::served::frame_of(0xc1, &zeros(300 << 10)));
    let answers = stranger.settle();
    assert!(answers.is_empty(), "a request of an unknown type is passed over: {answers:?}");
    server.end_with_short_turns();
}

/// A request of an unknown type of so many bytes, deflated as RFC 7692 has it.
fn zeros(length: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflated.write_all(br#"{"type":"x","a":["#).expect("memory");
    deflated.write_all(&b"0,".repeat(length / 2)).expect("memory");
    deflated.write_all(b"0]}").expect("memory");
    deflated.flush().expect("memory");
    let mut deflated = deflated.get_ref().clone();
    deflated.truncate(deflated.len() - 4);
    deflated
}

#[test]
fn topic_names_made_up_for_ever_are_no_more_work_than_any_others() {
    let server = Served::start("");
    let mut stranger = server.stranger();
    for round in 0..20 {
        for kind in ["subscribe", "unsubscribe"] {
            stranger.ask(topics(kind, (0..NAMES).map(|i| format!("made-up/{round}/{i}"))));
        }
        stranger.settle();
    }
    server.end_with_short_turns();
}
