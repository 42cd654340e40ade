//! A running engine is given another configuration: what can be changed holds from then on, and what cannot keeps its value.

use crate::support;

use std::time::Duration;

use fanwire::{Config, DriverChoice, Engine, Kind, Priority, Retention, TopicConfig, settings};
use support::{Bare, JSON, addr, config, connect, settle, start, subscribe, upgrade_request};

on_both_drivers![
    origins_hold_for_who_connects_from_then_on,
    silence_is_judged_anew_for_who_is_there,
    topics_made_later_are_kept_as_it_says_now,
    what_is_wrong_changes_nothing,
];

fn status(engine: &Engine, origin: &str) -> u16 {
    let mut client = Bare::connect(addr(engine));
    client
        .send(upgrade_request("/t/a", None).replace("Upgrade: ", &format!("Origin: {origin}\r\nUpgrade: ")).as_bytes());
    client.response_head().split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn with_origin(config: &Config, origin: &str) -> Config {
    let mut config = config.clone();
    config.access.allowed_origins = vec![origin.to_owned()];
    config
}

fn origins_hold_for_who_connects_from_then_on(driver: DriverChoice) {
    let mut config = with_origin(&config(driver), "https://a.example");
    config.shards = Some(2);
    let engine = start(config.clone());
    let mut client = connect(addr(&engine), "/", Some(JSON));
    settle(&mut client);
    // Two shards, and the kernel takes either: each of these is told the same.
    for (given, refused) in [("https://A.example:443", "https://b.example"), ("https://b.example", "https://a.example")]
    {
        let told = engine.reconfigure(&with_origin(&config, given)).expect("a legal configuration");
        assert!(told.needs_restart.is_empty(), "{told:?}");
        for _ in 0..16 {
            assert_eq!((status(&engine, given), status(&engine, refused)), (101, 403));
        }
    }
    assert_eq!(engine.current_config().access.allowed_origins, ["https://b.example"]);
    settle(&mut client);
    engine.shutdown_now();
}

fn silence_is_judged_anew_for_who_is_there(driver: DriverChoice) {
    let mut config = config(driver);
    config.limits.ping_every = Duration::ZERO;
    let engine = start(config.clone());
    let mut client = Bare::upgraded(addr(&engine), "/t/a", None);
    config.limits.ping_every = Duration::from_millis(50);
    let told = engine.reconfigure(&config).expect("a legal configuration");
    assert_eq!(told.changed, ["limits.ping_every"]);
    assert_eq!(client.frame().expect("a ping").first, 0x89);
    engine.shutdown_now();
}

fn topics_made_later_are_kept_as_it_says_now(driver: DriverChoice) {
    let mut config = config(driver);
    let engine = start(config.clone());
    engine.topic("early").expect("a topic").publish(Priority::Normal, Kind::Json, b"1").expect("room");
    support::wait_until("the shard has made it", || engine.stats().total.topics == 1);
    config.topics = vec![TopicConfig { retention: Retention::None, ..TopicConfig::default() }];
    assert_eq!(engine.reconfigure(&config).expect("a legal configuration").changed, ["topics"]);
    engine.topic("late").expect("a topic").publish(Priority::Normal, Kind::Json, b"2").expect("room");
    let mut client = connect(addr(&engine), "/", Some(JSON));
    support::send(&mut client, r#"{"type":"subscribe","id":1,"topics":["early","late"]}"#);
    let mut heard = Vec::new();
    let mut hear_until = |kind: &str, count: usize| {
        while heard.iter().filter(|object: &&serde_json::Value| object["type"] == kind).count() < count {
            heard.push(support::next_object(&mut client));
        }
    };
    hear_until("subscribed", 2);
    engine.topic("late").expect("a topic").publish(Priority::Normal, Kind::Json, b"3").expect("room");
    hear_until("message", 2);
    let mut data: Vec<_> = heard.iter().filter_map(|object| object["data"].as_u64()).collect();
    data.sort();
    assert_eq!(data, [1, 3], "the last value of the early one, none of the late one");
    engine.shutdown_now();
}

fn what_is_wrong_changes_nothing(driver: DriverChoice) {
    let config = config(driver);
    let engine = start(config.clone());
    let mut wrong = with_origin(&config, "https://*.example");
    wrong.limits.ping_every = Duration::from_secs(3);
    let errors = engine.reconfigure(&wrong).expect_err("no origin of a page");
    assert_eq!(errors.iter().map(|error| error.field).collect::<Vec<_>>(), ["access.allowed_origins"]);
    assert_eq!(engine.current_config().limits.ping_every, config.limits.ping_every);
    assert_eq!(status(&engine, "https://other.example"), 101);
    // What needs a new engine keeps its value, and stands in the way of nothing.
    let mut fixed = with_origin(&config, "https://a.example");
    fixed.memory.lane_bytes /= 2;
    let told = engine.reconfigure(&fixed).expect("a legal configuration");
    assert_eq!(
        (&told.changed[..], &told.needs_restart[..]),
        (&["access.allowed_origins"][..], &["memory.lane_bytes"][..])
    );
    assert_eq!(engine.config().memory.lane_bytes, engine.current_config().memory.lane_bytes);
    assert_eq!(status(&engine, "https://other.example"), 403);
    drop(subscribe(addr(&engine), &["a"]));
    engine.shutdown_now();
}

#[test]
fn limits_of_requests_hold_for_who_asks_from_then_on() {
    let mut config = config(DriverChoice::Epoll);
    let engine = start(config.clone());
    let mut client = connect(addr(&engine), "/", Some(JSON));
    config.limits.subscriptions_per_connection_max = 1;
    engine.reconfigure(&config).expect("a legal configuration");
    settle(&mut client);
    support::send(&mut client, r#"{"type":"subscribe","id":1,"topics":["a"]}"#);
    support::send(&mut client, r#"{"type":"subscribe","id":2,"topics":["b"]}"#);
    let heard = settle(&mut client);
    let codes: Vec<_> = heard.iter().filter(|object| object["type"] == "error").map(|object| &object["code"]).collect();
    assert_eq!(codes, ["too_many_subscriptions"], "{heard:?}");
    engine.shutdown_now();
}

/// A shard that looked at the settings of the start would go on as before, whatever the host gives it.
#[test]
fn shards_look_at_the_settings_that_hold_now() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/shard");
    let mut faults = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the sources are here") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text: String = std::fs::read_to_string(&path).expect("a source file").split_whitespace().collect();
            let names = settings().filter(|setting| setting.is_reloadable).map(|setting| setting.name);
            let looks = names.map(|name| format!("shared.config.{name}")).filter(|look| names_it(&text, look));
            faults.extend(looks.map(|look| format!("{}: {look}: `self.rules` has what holds now", path.display())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether a text has it as a whole: `topics` is no part of `topics_max`.
fn names_it(text: &str, look: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(look).any(|(at, _)| !text[at + look.len()..].starts_with(is_word))
}
