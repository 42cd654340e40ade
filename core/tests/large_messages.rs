//! Large messages are kept by reference, in memory that publishers need too: what topics keep must leave them room.

use crate::support;

use fanwire::{Config, DriverChoice, Kind, Priority};
use support::{Bare, PATIENCE, addr, config, connect, next_object, next_payload, start, subscribe};

on_both_drivers![
    topics_that_keep_large_messages_leave_room_to_publish,
    clients_that_stall_in_large_messages_leave_room_to_publish,
];

const MIB: usize = 1 << 20;
const TOPICS: usize = 40;
const MESSAGES: usize = 3;

fn message(topic: usize, number: usize) -> Vec<u8> {
    let mut bytes = vec![b'.'; MIB];
    let stamp = format!("{topic} {number} ");
    bytes[..stamp.len()].copy_from_slice(stamp.as_bytes());
    bytes
}

fn topics_that_keep_large_messages_leave_room_to_publish(driver: DriverChoice) {
    let mut config = Config { shards: Some(2), ..config(driver) };
    // All topics together keep ten times as much as the pool of payloads has, and less than the logs have.
    config.memory.payload_bytes = 12 * MIB;
    config.memory.pool_bytes = 320 * MIB;
    config.limits.message_bytes_max = 2 * MIB;
    let engine = start(config);
    for number in 0..TOPICS {
        let name = format!("camera/{number}");
        let topic = engine.topic(&name).expect("a sound topic");
        let mut raw = connect(addr(&engine), &format!("/t/{name}"), None);
        let mut json = subscribe(addr(&engine), &[&name]);
        for i in 0..MESSAGES {
            let bytes = message(number, i);
            topic
                .publish_timeout(Priority::Normal, Kind::Text, &bytes, PATIENCE)
                .unwrap_or_else(|error| panic!("message {i} of topic {number}: {error}"));
            assert!(next_payload(&mut raw) == bytes, "message {i} of topic {number}");
            let object =
                std::iter::repeat_with(|| next_object(&mut json)).find(|object| object["type"] != "subscribed");
            let object = object.expect("there is always another");
            assert_eq!(object["seq"], i + 1, "topic {number}: {}", object["type"]);
            assert!(object["data"].as_str().map(str::as_bytes) == Some(&bytes[..]), "message {i} of topic {number}");
        }
    }
    // The last value of every topic is still there.
    for number in 0..TOPICS {
        let mut late = connect(addr(&engine), &format!("/t/camera/{number}"), None);
        assert!(next_payload(&mut late) == message(number, MESSAGES - 1), "last value of topic {number}");
    }
    engine.shutdown_now();
}

fn clients_that_stall_in_large_messages_leave_room_to_publish(driver: DriverChoice) {
    const STALLED: usize = 40;
    let mut config = config(driver);
    config.memory.payload_bytes = 24 * MIB;
    config.limits.message_bytes_max = 2 * MIB;
    let engine = start(config);
    let topic = engine.topic("camera").expect("a sound topic");
    let publish = |number: usize| {
        let bytes = message(0, number);
        topic
            .publish_timeout(Priority::Normal, Kind::Text, &bytes, PATIENCE)
            .unwrap_or_else(|error| panic!("message {number}: {error}"));
        bytes
    };
    publish(0);
    let mut healthy = connect(addr(&engine), "/t/camera", None);
    assert!(next_payload(&mut healthy) == message(0, 0), "the last value");
    let mut stalled = Vec::new();
    for number in 1..=STALLED {
        // It is sent the last value, more than a socket takes that nobody reads, and so stands in a message of its own.
        stalled.push(Bare::upgraded(addr(&engine), "/t/camera", None));
        let bytes = publish(number);
        assert!(next_payload(&mut healthy) == bytes, "message {number}");
    }
    // Nine more, so that the log has forgotten what they stand in.
    for number in STALLED + 1..STALLED + 10 {
        let bytes = publish(number);
        assert!(next_payload(&mut healthy) == bytes, "message {number}");
    }
    engine.shutdown_now();
}
