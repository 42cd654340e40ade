//! A client whose link carries less than it has subscribed to: what it gets is shared out as promised.

use crate::support;

use std::collections::BTreeMap;

use fanwire::{DriverChoice, Kind, Priority};
use support::{Bare, JSON, PATIENCE, addr, config, masked, pause, start};

on_both_drivers![topics_of_one_priority_take_turns, low_starves_before_normal_and_critical_always_arrives];

/// Publishes rounds of one message to each lane, while a client reads in small bites. What it got of each lane: how many messages.
fn read_through_a_thin_link(driver: DriverChoice, lanes: &[(&str, Priority)]) -> BTreeMap<String, usize> {
    let mut config = config(driver);
    // All that waits in all lanes goes into one send: nobody takes turns because a send is full.
    config.memory.lane_bytes = 16 << 10;
    let engine = start(config);
    let topics: Vec<_> = lanes.iter().map(|(name, _)| engine.topic(name).expect("a sound name")).collect();
    let mut client = Bare::connect_thin(addr(&engine)).upgrade("/", Some(JSON));
    client.send(&masked(0x81, br#"{"type":"subscribe","topics":["**"]}"#));
    client.send(&masked(0x81, br#"{"type":"ping"}"#));
    let object = |payload: &[u8]| serde_json::from_slice::<serde_json::Value>(payload).expect("JSON");
    while object(&client.frame().expect("the server is there").payload)["type"] != "pong" {}
    let payload = [b'x'; 400];
    for round in 0..1_500 {
        for (topic, (_, priority)) in topics.iter().zip(lanes) {
            // Of the critical ones there are few, as there should be.
            if *priority != Priority::Critical || round % 50 == 0 {
                topic.publish_timeout(*priority, Kind::Text, &payload, PATIENCE).expect("room");
            }
        }
        if round % 5 == 0 {
            client.bite(1_000);
            pause(1);
        }
    }
    // What is read from here on was on its way or waits for a client that is fast again: enough is known.
    let mut got: BTreeMap<String, usize> = lanes.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect();
    while let Some(frame) = client.bitten_frame() {
        let object = object(&frame.payload);
        if object["type"] == "message" {
            *got.entry(object["topic"].as_str().expect("a name").to_owned()).or_default() += 1;
        }
    }
    got
}

fn topics_of_one_priority_take_turns(driver: DriverChoice) {
    let names = ["a", "b", "c", "d"].map(|name| (name, Priority::Low));
    let got = read_through_a_thin_link(driver, &names);
    let (least, most) = (got.values().min().expect("four"), got.values().max().expect("four"));
    assert!(*least > 0 && most / least < 8, "{got:?}");
}

fn low_starves_before_normal_and_critical_always_arrives(driver: DriverChoice) {
    let lanes = [("low", Priority::Low), ("normal", Priority::Normal), ("critical", Priority::Critical)];
    let got = read_through_a_thin_link(driver, &lanes);
    assert!(got["normal"] > 2 * got["low"], "{got:?}");
    assert!(got["critical"] >= 25, "{got:?}");
}
