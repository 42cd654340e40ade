//! What the engine counts is what its clients have seen: to the byte, the message and the connection.

#![allow(clippy::disallowed_methods, reason = "tests live in real time")]

use crate::support;

use std::time::Duration;

use fanwire::{DriverChoice, Engine, Event, Kind, Priority, ShardStats, Topic};
use serde_json::Value;
use support::{Bare, JSON, PATIENCE, addr, config, masked, start, upgrade_request, wait_until};

on_both_drivers![
    bytes_messages_and_connections,
    refusals_of_every_kind,
    closes_for_broken_rules,
    losses_and_gaps,
    critical_messages_and_evictions,
    pings_without_an_answer,
    who_is_cut_off,
];

/// Subscribes over JSON, and comes back when it is so.
fn subscribe(client: &mut Bare, topic: &str) {
    client.send(&masked(0x81, format!(r#"{{"type":"subscribe","topics":["{topic}"]}}"#).as_bytes()));
    client.send(&masked(0x81, br#"{"type":"ping","id":"in"}"#));
    while object(&client.frame().expect("an answer").payload)["type"] != "pong" {}
}

fn object(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).expect("the server sends JSON")
}

/// Reads to the server's close and answers it: data messages, and the code.
fn to_close(client: &mut Bare) -> (Vec<Vec<u8>>, u16) {
    let mut messages = Vec::new();
    while let Some(frame) = client.frame() {
        match frame.first & 15 {
            8 => {
                client.send(&masked(0x88, &frame.payload));
                client.read_to_end();
                return (messages, frame.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]])));
            }
            1 | 2 => messages.push(frame.payload),
            _ => {}
        }
    }
    (messages, 1006)
}

fn publish(topic: &Topic, priority: Priority, payload: &[u8]) {
    topic.publish_timeout(priority, Kind::Text, payload, PATIENCE).expect("room in the ring");
}

/// A client at its end: what came, and the close code.
struct Seen {
    client: Bare,
    messages: Vec<Vec<u8>>,
    code: u16,
}

/// Ends in good order, with every client reading: what each has seen, and the counters at the end.
fn end(mut engine: Engine, clients: Vec<Bare>) -> (Vec<Seen>, ShardStats) {
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                let (messages, code) = to_close(&mut client);
                Seen { client, messages, code }
            })
        })
        .collect();
    let report = engine.drain(PATIENCE);
    let seen = readers.into_iter().map(|reader| reader.join().expect("a client that reads")).collect();
    let total = engine.stats().total;
    assert!(report.is_clean && total.cut_off == 0 && total.connections == 0, "{report:?} {total:?}");
    (seen, total)
}

fn bytes_messages_and_connections(driver: DriverChoice) {
    let engine = start(config(driver));
    let topic = engine.topic("news").expect("a sound topic");
    let mut clients: Vec<_> = (0..3).map(|_| Bare::upgraded(addr(&engine), "/t/news", None)).collect();
    for _ in 0..3 {
        let mut client = Bare::upgraded(addr(&engine), "/", Some(JSON));
        subscribe(&mut client, "news");
        clients.push(client);
    }
    let mut bytes = 0;
    for i in 0..200usize {
        let payload = "x".repeat(i * i);
        bytes += payload.len() as u64;
        publish(&topic, Priority::ALL[i % 4], payload.as_bytes());
    }
    // Two of the raw ones publish too, and hear what they said.
    for client in &mut clients[..2] {
        for i in 0..20u64 {
            bytes += i;
            client.send(&masked(0x82, &vec![b'y'; i as usize]));
        }
    }
    wait_until("all is read", || engine.stats().total.messages == 240);
    wait_until("gauges are up to date", || {
        let now = engine.stats().total;
        (now.connections, now.accepted, now.upgraded, now.closed, now.cursors) == (6, 6, 6, 0, 6 * 4)
    });
    let (seen, total) = end(engine, clients);
    let (mut deliveries, mut sent_bytes) = (0, 0);
    for Seen { client, messages, code } in &seen {
        assert_eq!(*code, 1001);
        assert!(client.taken > 0);
        sent_bytes += client.taken;
        // JSON clients are told of other things as well.
        deliveries += messages.iter().filter(|m| !m.starts_with(b"{") || object(m)["type"] == "message").count() as u64;
    }
    assert_eq!((total.messages, total.message_bytes), (240, bytes));
    assert_eq!(total.received, 2 * 20 + 3 * 2, "two publish, three said subscribe and ping");
    assert_eq!((deliveries, total.deliveries), (6 * 240, 6 * 240));
    assert_eq!(total.sent_bytes, sent_bytes);
    assert_eq!((total.accepted, total.upgraded, total.closed), (6, 6, 6));
    let troubles = [total.refused, total.upgrades_refused, total.violations, total.evicted, total.pongs_missed];
    assert_eq!(troubles, [0; 5]);
    assert_eq!([total.gaps, total.passed_over, total.unlogged, total.dropped_critical, total.dropped_low], [0; 5]);
}

fn refusals_of_every_kind(driver: DriverChoice) {
    let mut config = config(driver);
    config.connections_max = 3;
    config.access.allowed_origins = vec!["https://example.com".into()];
    config.limits.handshake_timeout = Duration::from_millis(300);
    let engine = start(config);
    let right = upgrade_request("/t/a", None);
    let rows = [
        (400, right.replace("Host: localhost\r\n", "")),
        (403, right.replace("Upgrade: ", "Origin: https://evil.com\r\nUpgrade: ")),
        (404, right.replace("/t/a", "/nowhere")),
        (405, right.replace("GET ", "POST ")),
        (408, right.replace("\r\n\r\n", "\r\n")),
        (414, right.replace("/t/a", &"/t/a".repeat(10_000))),
        (426, right.replace("Version: 13", "Version: 12")),
        (431, right.replace("localhost", &"x".repeat(20_000))),
        (505, right.replace("HTTP/1.1", "HTTP/1.0")),
    ];
    let mut sent_bytes = 0;
    for (i, (status, request)) in rows.iter().enumerate() {
        let mut client = Bare::connect(addr(&engine));
        client.send(request.as_bytes());
        let head = client.response_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        client.read_to_end();
        sent_bytes += client.taken;
        drop(client);
        assert_eq!(engine.stats().total.upgraded, 0);
        wait_until("it is counted", || engine.stats().total.closed == i as u64 + 1);
        wait_until("as refused, too", || engine.stats().total.upgrades_refused == i as u64 + 1);
    }
    // One that says nothing is not refused, only closed.
    let mut silent = Bare::connect(addr(&engine));
    silent.read_to_end();
    assert_eq!(silent.taken, 0);
    drop(silent);
    wait_until("it is counted", || engine.stats().total.closed == rows.len() as u64 + 1);
    let clients: Vec<_> = (0..3).map(|_| Bare::upgraded(addr(&engine), "/t/a", None)).collect();
    for _ in 0..5 {
        let mut client = Bare::connect(addr(&engine));
        client.send(right.as_bytes());
        assert!(client.response_head().starts_with("HTTP/1.1 503 "));
        client.read_to_end();
        sent_bytes += client.taken;
    }
    let (seen, total) = end(engine, clients);
    let refused = rows.len() as u64;
    assert_eq!((total.upgrades_refused, total.refused, total.upgraded), (refused, 5, 3));
    assert_eq!((total.accepted, total.closed), (refused + 1 + 5 + 3, refused + 1 + 5 + 3));
    assert_eq!(total.sent_bytes, sent_bytes + seen.iter().map(|seen| seen.client.taken).sum::<u64>());
    assert_eq!((total.violations, total.evicted, total.received), (0, 0, 0));
}

fn closes_for_broken_rules(driver: DriverChoice) {
    let mut config = config(driver);
    config.limits.message_bytes_max = 1_000;
    config.events.capacity = 1_000;
    let mut engine = start(config);
    let mut events = engine.events().expect("asked for");
    let empties = fanwire::proto::decoder::EMPTY_FRAGMENTS_MAX as usize + 1;
    let broken: [(u16, Vec<u8>); 6] = [
        (1002, vec![0x81, 1, b'a']),
        (1002, masked(0x83, b"")),
        (1007, masked(0x81, b"\xff")),
        (1009, masked(0x82, &[0; 1_001])),
        (1009, [masked(0x02, &[0; 1_000]), masked(0x80, b"x")].concat()),
        (1008, [masked(0x02, b"x"), masked(0, b"").repeat(empties)].concat()),
    ];
    let mut codes = Vec::new();
    for (i, (code, bytes)) in broken.iter().enumerate() {
        let mut client = Bare::upgraded(addr(&engine), "/t/a", None);
        client.send(bytes);
        assert_eq!(to_close(&mut client).1, *code);
        codes.push(*code);
        wait_until("it is counted", || engine.stats().total.violations == i as u64 + 1);
    }
    // Ends that break no rule.
    for (said, code) in [(Some(1000u16), 1000), (Some(3000), 3000), (None, 1005)] {
        let mut client = Bare::upgraded(addr(&engine), "/t/a", None);
        client.send(&masked(0x88, &said.map(u16::to_be_bytes).map_or(Vec::new(), |code| code.to_vec())));
        client.read_to_end();
        codes.push(code);
    }
    drop(Bare::upgraded(addr(&engine), "/t/a", None));
    codes.push(1006);
    let (_, total) = end(engine, Vec::new());
    assert_eq!((total.violations, total.evicted), (broken.len() as u64, 0));
    assert_eq!((total.upgraded, total.closed), (codes.len() as u64, codes.len() as u64));
    let (mut opened, mut closed) = (0, Vec::new());
    while let Some(event) = events.next() {
        match event {
            Event::Opened { .. } => opened += 1,
            Event::Closed { code, .. } => closed.push(code),
            _ => {}
        }
    }
    codes.sort_unstable();
    closed.sort_unstable();
    assert_eq!((opened, closed), (codes.len(), codes), "the host heard the same");
}

fn losses_and_gaps(driver: DriverChoice) {
    const COUNT: u64 = 3_000;
    let mut config = config(driver);
    config.memory.lane_bytes = 256 << 10;
    let engine = start(config);
    let topics = ["a", "b"].map(|name| engine.topic(name).expect("a sound topic"));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Bare::connect_thin(addr(&engine)).upgrade("/", Some(JSON));
            subscribe(&mut client, "*");
            client
        })
        .collect();
    let priorities = [Priority::High, Priority::Normal, Priority::Low];
    for i in 0..COUNT {
        publish(&topics[i as usize % 2], priorities[i as usize % 3], "x".repeat(2_000).as_bytes());
    }
    let (seen, total) = end(engine, clients);
    let (mut deliveries, mut gaps, mut lost, mut sent_bytes) = (0, 0, [0u64; 4], 0);
    for Seen { client, messages, .. } in &seen {
        sent_bytes += client.taken;
        for object in messages.iter().map(|m| object(m)) {
            match object["type"].as_str() {
                Some("message") => deliveries += 1,
                Some("gap") => {
                    assert_eq!(object["reason"], "lag");
                    gaps += 1;
                    let place = Priority::ALL.iter().position(|p| object["priority"] == p.name()).expect("a priority");
                    lost[place] +=
                        object["to"].as_u64().expect("a number") + 1 - object["from"].as_u64().expect("a number");
                }
                _ => {}
            }
        }
    }
    let dropped = [total.dropped_critical, total.dropped_high, total.dropped_normal, total.dropped_low];
    assert_eq!(dropped, lost);
    assert!(lost[1..].iter().all(|lost| *lost > 0), "nothing was lost: {lost:?}");
    assert_eq!((total.gaps, total.deliveries, total.sent_bytes), (gaps, deliveries, sent_bytes));
    assert_eq!(deliveries + lost.iter().sum::<u64>(), 4 * COUNT, "each message came to each, or was announced");
    assert_eq!((total.evicted, total.violations), (0, 0));
}

fn critical_messages_and_evictions(driver: DriverChoice) {
    let mut config = config(driver);
    config.memory.lane_bytes = 256 << 10;
    config.events.capacity = 1_000;
    let mut engine = start(config);
    let mut events = engine.events().expect("asked for");
    let topic = engine.topic("alarm").expect("a sound topic");
    let mut deaf: Vec<_> = (0..3).map(|_| Bare::connect_thin(addr(&engine)).upgrade("/t/alarm", None)).collect();
    let mut published = 0;
    wait_until("they are too slow", || {
        for _ in 0..20 {
            publish(&topic, Priority::Critical, &[b'x'; 2_000]);
            published += 1;
        }
        engine.stats().total.evicted == 3
    });
    let mut deliveries = 0;
    for client in &mut deaf {
        let (messages, code) = to_close(client);
        assert!(code == 1013, "{code}");
        deliveries += messages.len() as u64;
    }
    let (_, total) = end(engine, Vec::new());
    assert_eq!((total.messages, total.deliveries), (published, deliveries));
    assert_eq!((total.evicted, total.dropped_critical, total.gaps, total.closed), (3, 0, 0, 3));
    assert_eq!(total.sent_bytes, deaf.iter().map(|client| client.taken).sum::<u64>());
    let (mut evicted, mut closed) = (0, 0);
    while let Some(event) = events.next() {
        match event {
            Event::Evicted { .. } => evicted += 1,
            Event::Closed { code, .. } => {
                assert_eq!(code, 1013);
                closed += 1;
            }
            _ => {}
        }
    }
    assert_eq!((evicted, closed), (3, 3));
}

fn pings_without_an_answer(driver: DriverChoice) {
    let mut config = config(driver);
    config.limits.ping_every = Duration::from_secs(1);
    let engine = start(config);
    let mut mute: Vec<_> = (0..3).map(|_| Bare::upgraded(addr(&engine), "/t/a", None)).collect();
    let polite = std::thread::spawn({
        let mut client = Bare::upgraded(addr(&engine), "/t/a", None);
        move || {
            while let Some(frame) = client.frame() {
                match frame.first {
                    0x89 => client.send(&masked(0x8a, &frame.payload)),
                    0x88 => {
                        client.send(&masked(0x88, &frame.payload));
                        return u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
                    }
                    _ => {}
                }
            }
            1006
        }
    });
    for client in &mut mute {
        assert_eq!(to_close(client).1, 1011);
    }
    let (_, total) = end(engine, Vec::new());
    assert_eq!(polite.join().expect("a client that reads"), 1001);
    assert_eq!((total.pongs_missed, total.violations, total.evicted, total.closed), (3, 0, 0, 4));
}

fn who_is_cut_off(driver: DriverChoice) {
    let mut config = config(driver);
    // Room for all at once, so that the one that reads loses nothing.
    config.memory.lane_bytes = 32 << 20;
    let mut engine = start(config);
    let topic = engine.topic("a").expect("a sound topic");
    let deaf: Vec<_> = (0..3).map(|_| Bare::connect_thin(addr(&engine)).upgrade("/t/a", None)).collect();
    let mut good = Bare::upgraded(addr(&engine), "/t/a", None);
    let reader = std::thread::spawn(move || to_close(&mut good));
    for _ in 0..100 {
        publish(&topic, Priority::Normal, &vec![b'x'; 50_000]);
    }
    // Long enough for the one that reads, even where the machine is slow.
    let report = engine.drain(Duration::from_secs(8));
    let (messages, code) = reader.join().expect("a client that reads");
    let total = engine.stats().total;
    assert!(!report.is_clean);
    assert_eq!((messages.len(), code), (100, 1001));
    assert_eq!((total.cut_off, total.closed, total.connections), (3, 4, 0));
    drop(deaf);
}
