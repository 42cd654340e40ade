//! What a publisher learns of a topic's subscribers.

#![allow(clippy::disallowed_methods, reason = "tests live in real time")]

use crate::support;

use std::time::{Duration, Instant};

use fanwire::{Config, DriverChoice, Engine, Kind, MemoryConfig, Pressure, Priority, PublishError, Topic};

use support::{JSON, PATIENCE, addr, config, connect, next_object, send};

fn engine(driver: DriverChoice, shards: usize) -> Engine {
    let memory = MemoryConfig { lane_bytes: 256 << 10, ..MemoryConfig::default() };
    Engine::start(Config { shards: Some(shards), memory, ..config(driver) }).expect("an engine")
}

/// Asks until the answer is as it must become.
fn until(topic: &Topic, what: &str, is_so: impl Fn(&Pressure) -> bool) -> Pressure {
    let end = Instant::now() + PATIENCE;
    loop {
        let pressure = topic.pressure().expect("the engine runs");
        if is_so(&pressure) {
            return pressure;
        }
        assert!(Instant::now() < end, "it never becomes {what}: {pressure:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_stalled_subscriber_shows_and_what_it_lost_is_counted(driver: DriverChoice) {
    let engine = engine(driver, 2);
    let topic = engine.topic("a").expect("a topic");
    assert_eq!(topic.pressure().expect("the engine runs"), Pressure::default());

    let mut stalled = connect(addr(&engine), "/", Some(JSON));
    send(&mut stalled, r#"{"type":"subscribe","id":1,"topics":["a"]}"#);
    let mut asks_for_less = connect(addr(&engine), "/", Some(JSON));
    send(&mut asks_for_less, r#"{"type":"subscribe","id":1,"topics":["a"],"max_hz":0.001}"#);
    until(&topic, "two subscribers", |p| p.subscribers == 2);

    // More than its socket and the lane hold: the last that it can get is there by then.
    let payload = vec![b'x'; 8 << 10];
    let mut published = 0;
    let behind = loop {
        for _ in 0..32 {
            topic.publish_timeout(Priority::Low, Kind::Text, &payload, PATIENCE).expect("room");
            published += 1;
        }
        let pressure = topic.pressure().expect("the engine runs");
        if pressure.fullest > 0.5 && published > 4_000 {
            break pressure;
        }
        assert!(published < 100_000, "it never lags: {pressure:?}");
    };
    assert!(behind.oldest > Duration::ZERO, "{behind:?}");
    assert_eq!(behind.subscribers, 2);

    let mut lost = 0;
    let mut seen = 0;
    while seen < published {
        let object = next_object(&mut stalled);
        match object["type"].as_str() {
            Some("gap") => {
                assert_eq!((object["reason"].as_str(), object["priority"].as_str()), (Some("lag"), Some("low")));
                lost += object["to"].as_u64().unwrap() - object["from"].as_u64().unwrap() + 1;
            }
            Some("message") => seen = object["seq"].as_u64().unwrap(),
            _ => {}
        }
    }
    assert!(lost > 0);
    let after = until(&topic, "caught up", |p| p.fullest == 0.0 && p.dropped[3] == lost);
    assert_eq!(after.oldest, Duration::ZERO);
    assert_eq!(after.dropped, [0, 0, 0, lost]);
    drop(stalled);
    until(&topic, "left by one", |p| p.subscribers == 1);
}

fn a_removed_topic_and_a_stopped_engine_have_none(driver: DriverChoice) {
    let mut engine = engine(driver, 1);
    let (one, two, never_asked) =
        (engine.topic("1").expect("a topic"), engine.topic("2").expect("a topic"), engine.topic("3").expect("a topic"));
    one.pressure().expect("the engine runs");
    two.pressure().expect("the engine runs");
    engine.remove_topic("1").expect("removed");
    assert_eq!(one.pressure(), Err(PublishError::Removed));
    let again = engine.topic("1").expect("a topic");
    assert_eq!(again.pressure(), Ok(Pressure::default()));
    assert_eq!(one.pressure(), Err(PublishError::Removed));
    engine.stop();
    assert_eq!(two.pressure(), Err(PublishError::Stopped));
    assert_eq!(never_asked.pressure(), Err(PublishError::Stopped));
}

on_both_drivers!(
    a_stalled_subscriber_shows_and_what_it_lost_is_counted,
    a_removed_topic_and_a_stopped_engine_have_none,
);
