//! What the engine says of itself, over sockets and to its host: the slow client is found, and closed.

#![allow(clippy::disallowed_methods, reason = "tests live in real time")]

use crate::support;

use std::time::Duration;

use fanwire::{ConnectionId, DriverChoice, Engine, Kind, Priority, SnapshotError, SysTopic, TopicError};
use serde_json::Value;
use support::{Bare, JSON, PATIENCE, addr, config, masked, start, wait_until};

on_both_drivers![
    the_slow_client_is_found_with_its_cause_and_can_be_closed,
    the_host_asks_without_a_connection,
    two_shards_tell_together,
];

fn subscribe(client: &mut Bare, topic: &str) {
    client.send(&masked(0x81, format!(r#"{{"type":"subscribe","topics":["{topic}"]}}"#).as_bytes()));
    client.send(&masked(0x81, br#"{"type":"ping","id":"in"}"#));
    while !String::from_utf8_lossy(&client.frame().expect("an answer").payload).contains("pong") {}
}

/// The next message of a topic that a JSON client has subscribed to.
fn next(client: &mut Bare, topic: &str) -> Value {
    loop {
        let frame = client.frame().expect("a message");
        let Ok(object) = serde_json::from_slice::<Value>(&frame.payload) else { continue };
        if object["type"] == "message" && object["topic"] == topic {
            return object["data"].clone();
        }
    }
}

fn the_slow_client_is_found_with_its_cause_and_can_be_closed(driver: DriverChoice) {
    let mut config = config(driver);
    config.memory.lane_bytes = 4 << 20;
    config.sys.public = true;
    let engine = start(config);
    let topic = engine.topic("news").expect("a sound topic");
    let mut watcher = Bare::upgraded(addr(&engine), "/", Some(JSON));
    subscribe(&mut watcher, "$sys/clients");
    let deaf = Bare::connect_thin(addr(&engine)).upgrade("/t/news", None);
    let large = vec![b'x'; 20_000];
    let client = loop {
        for _ in 0..200 {
            topic.publish_timeout(Priority::Normal, Kind::Binary, &large, PATIENCE).expect("room");
        }
        let told = next(&mut watcher, "$sys/clients");
        if let Some(client) = told["by_lag"].as_array().and_then(|list| list.first())
            && client["lost_total"].as_u64() > Some(0)
        {
            assert_eq!((&told["total"], &told["behind"]), (&Value::from(2), &Value::from(1)));
            break client.clone();
        }
    };
    assert_eq!((&client["form"], &client["cause"]), (&Value::from("raw"), &Value::from("reader")), "{client}");
    assert_eq!(client["peer"], deaf.stream.local_addr().expect("it is connected").to_string());
    assert_eq!(client["lanes"][0]["topic"], "news");
    let lost = &client["lost"][0];
    assert!(lost["to"].as_u64() >= lost["from"].as_u64() && lost["topic"] == "news", "{client}");
    let id: ConnectionId = client["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    assert_eq!(client["connection"], id.to_u64().to_string());
    engine.close(id, 4000, "by the operator").expect("it is there");
    wait_until("it is closed", || {
        let told: Value = serde_json::from_str(&snapshot(&engine, SysTopic::Clients)).expect("JSON");
        told["total"] == 1
    });
    engine.shutdown_now();
}

fn snapshot(engine: &Engine, topic: SysTopic) -> String {
    engine.snapshot(topic, PATIENCE).expect("it answers").to_string()
}

fn the_host_asks_without_a_connection(driver: DriverChoice) {
    let engine = start(config(driver));
    let topic = engine.topic("news").expect("a sound topic");
    let mut client = Bare::upgraded(addr(&engine), "/", Some(JSON));
    subscribe(&mut client, "news");
    topic.publish(Priority::High, Kind::Text, b"hello").expect("room");
    next(&mut client, "news");
    let of = |topic| serde_json::from_str::<Value>(&snapshot(&engine, topic)).expect("JSON");
    let clients = of(SysTopic::Clients);
    assert_eq!((&clients["total"], &clients["behind"]), (&Value::from(1), &Value::from(0)));
    wait_until("the topic is told with its message", || {
        let topics = of(SysTopic::Topics);
        let row = &topics["topics"][0];
        (row["topic"] == "news" && row["subscribers"] == 1 && row["published"] == 1)
            && row["lanes"][0]["priority"] == "high"
    });
    let shards = of(SysTopic::Shards);
    assert_eq!(shards["driver"], engine.driver());
    assert_eq!(shards["total"]["upgraded"], 1);
    let names: Vec<&str> = fanwire::counters().filter(|c| !c.is_of_engine).map(|c| c.name).collect();
    assert!(names.iter().all(|name| shards["shards"][0][name].is_u64() && shards["total"][name].is_u64()));
    assert!(shards["latency"]["turn_us"]["count"].as_u64() > Some(0));
    // No topic has come of it, so no message was published.
    assert_eq!((engine.stats().total.messages, engine.stats().total.topics), (1, 1));
    assert_eq!(engine.snapshot(SysTopic::Gaps, PATIENCE), Err(SnapshotError::NotGathered));
    for name in ["$sys", "$sys/clients", "$sys/mine"] {
        assert_eq!(engine.topic(name).err(), Some(TopicError::Reserved), "{name}");
        assert_eq!(engine.remove_topic(name), Err(TopicError::Reserved), "{name}");
    }
    assert!(engine.topic("$other").is_ok());
    let mut engine = engine;
    engine.stop();
    assert_eq!(engine.snapshot(SysTopic::Shards, Duration::ZERO), Err(SnapshotError::Stopped));
    let mut off = config(driver);
    off.sys.top = 0;
    assert_eq!(start(off).snapshot(SysTopic::Shards, PATIENCE), Err(SnapshotError::NotGathered));
}

fn two_shards_tell_together(driver: DriverChoice) {
    let mut config = config(driver);
    config.shards = Some(2);
    config.sys.public = true;
    let engine = start(config);
    let topic = engine.topic("news").expect("a sound topic");
    let _clients: Vec<_> = (0..20).map(|_| Bare::upgraded(addr(&engine), "/t/news", None)).collect();
    topic.publish(Priority::Normal, Kind::Text, b"hello").expect("room");
    let mut watcher = Bare::upgraded(addr(&engine), "/", Some(JSON));
    subscribe(&mut watcher, "$sys/topics");
    while next(&mut watcher, "$sys/topics")["topics"][0]["subscribers"] != 20 {}
    subscribe(&mut watcher, "$sys/clients");
    while next(&mut watcher, "$sys/clients")["total"] != 21 {}
    subscribe(&mut watcher, "$sys/shards");
    let told = next(&mut watcher, "$sys/shards");
    assert_eq!(told["shards"].as_array().map(Vec::len), Some(2));
    assert!(told["shards"][1]["utilisation"].as_f64() <= Some(1.0));
    engine.shutdown_now();
}
