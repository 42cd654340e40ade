//! From start to stop: ports, limits, the flush at the end, evictions, what the host hears.

use crate::support;

use std::io::Read as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanwire::{DriverChoice, Engine, Event, Kind, Priority, PublishError};
use support::{
    Bare, PATIENCE, addr, config, connect, next_object, next_payload, read_to_close, send, settle, start, subscribe,
    try_connect, upgrade_request, wait_until,
};

on_both_drivers![
    the_port_is_free_at_once_after_every_kind_of_stop,
    one_connection_too_many_is_answered_with_503_and_a_later_one_is_taken,
    a_shutdown_sends_everything_published_and_then_closes_with_1001,
    a_shutdown_under_load_delivers_every_accepted_message,
    a_shutdown_ends_although_a_client_does_not_read,
    a_client_that_cannot_take_critical_messages_is_evicted_and_the_others_get_them,
    a_client_that_reads_too_late_is_told_its_exact_gap,
    the_host_hears_of_a_connection_from_beginning_to_end,
    publishing_after_the_end_says_so,
    a_new_subscriber_gets_the_last_message_of_each_lane_first,
    an_abandoned_claim_stalls_nobody,
    clients_publish_to_each_other,
    large_messages_arrive_whole,
    raw_clients_that_come_together_for_new_topics_are_all_served,
];

/// Publishes, waiting where the ring is full.
fn publish(topic: &fanwire::Topic, priority: Priority, payload: &[u8]) {
    topic.publish_timeout(priority, Kind::Text, payload, PATIENCE).expect("the engine takes it");
}

fn the_port_is_free_at_once_after_every_kind_of_stop(driver: DriverChoice) {
    let mut fixed = config(driver);
    fixed.shards = Some(2);
    let engine = start(fixed.clone());
    fixed.listen = engine.listeners().to_vec();
    let mut clients = vec![connect(addr(&engine), "/t/x", None)];
    engine.shutdown_now();
    for round in 0..6 {
        let engine = Engine::start(fixed.clone()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(engine.listeners(), &fixed.listen[..]);
        clients.push(connect(addr(&engine), "/t/x", None));
        match round % 3 {
            0 => drop(engine.shutdown(Duration::from_secs(1))),
            1 => engine.shutdown_now(),
            _ => drop(engine),
        }
    }
}

fn one_connection_too_many_is_answered_with_503_and_a_later_one_is_taken(driver: DriverChoice) {
    let mut small = config(driver);
    small.connections_max = 4;
    let engine = start(small);
    let mut clients: Vec<_> = (0..4).map(|_| connect(addr(&engine), "/t/x", None)).collect();
    for _ in 0..20 {
        let mut refused = Bare::connect(addr(&engine));
        refused.send(upgrade_request("/t/x", None).as_bytes());
        let head = refused.response_head();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head:?}");
        assert!(head.to_lowercase().contains("\r\nretry-after: "), "{head}");
        refused.read_to_end();
    }
    // The four have noticed nothing.
    publish(&engine.topic("x").expect("a sound topic"), Priority::Normal, b"still here");
    for client in &mut clients {
        assert_eq!(next_payload(client), b"still here");
    }
    clients.pop();
    wait_until("a place became free", || match try_connect(addr(&engine), "/t/x", None) {
        Ok(client) => {
            clients.push(client);
            true
        }
        Err(_) => false,
    });
    engine.shutdown_now();
}

fn a_shutdown_sends_everything_published_and_then_closes_with_1001(driver: DriverChoice) {
    let mut two = config(driver);
    two.shards = Some(2);
    let engine = start(two);
    let topic = engine.topic("flush").expect("a sound topic");
    let mut raw: Vec<_> = (0..10).map(|_| connect(addr(&engine), "/t/flush", None)).collect();
    let mut json: Vec<_> = (0..10).map(|_| subscribe(addr(&engine), &["flush"])).collect();
    // More than the sockets take, less than the lane's budget: it waits in the log.
    let payloads: Vec<Vec<u8>> = (0..1500u32).map(|i| format!("{i:05} {}", "x".repeat(2000)).into_bytes()).collect();
    for payload in &payloads {
        publish(&topic, Priority::Normal, payload);
    }
    let stopping = std::thread::spawn(move || engine.shutdown(PATIENCE));
    for (i, client) in raw.iter_mut().enumerate() {
        let (got, code) = read_to_close(client);
        assert_eq!(got.len(), payloads.len(), "raw client {i}, closed with {code}");
        assert!(got == payloads, "raw client {i} got other bytes");
        assert_eq!(code, 1001, "raw client {i}");
    }
    for (i, client) in json.iter_mut().enumerate() {
        let (got, code) = read_to_close(client);
        let data: Vec<Vec<u8>> = got
            .iter()
            .map(|text| serde_json::from_slice::<serde_json::Value>(text).expect("JSON"))
            .filter(|object| object["type"] == "message")
            .map(|object| object["data"].as_str().expect("text").as_bytes().to_vec())
            .collect();
        assert!(data == payloads, "JSON client {i} got {} messages", data.len());
        assert_eq!(code, 1001, "JSON client {i}");
    }
    let report = stopping.join().expect("a shutdown returns");
    assert!(report.is_clean, "{report:?}");
}

fn a_shutdown_under_load_delivers_every_accepted_message(driver: DriverChoice) {
    let mut two = config(driver);
    two.shards = Some(2);
    let engine = start(two);
    let topic = engine.topic("load").expect("a sound topic");
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let mut client = connect(addr(&engine), "/t/load", None);
            std::thread::spawn(move || read_to_close(&mut client))
        })
        .collect();
    let enough = AtomicBool::new(false);
    let accepted = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..3)
            .map(|publisher| {
                let (topic, enough) = (topic.clone(), &enough);
                scope.spawn(move || {
                    let mut accepted = 0u64;
                    loop {
                        let text = format!("{publisher} {accepted}");
                        match topic.publish(Priority::Normal, Kind::Text, text.as_bytes()) {
                            Ok(_) => accepted += 1,
                            Err(PublishError::WouldBlock) => std::thread::yield_now(),
                            Err(_) => return accepted,
                        }
                        if accepted == 2_000 {
                            enough.store(true, Ordering::Relaxed);
                        }
                        // Slow enough for the readers to keep up: what is tested is the end, not the gap.
                        if accepted.is_multiple_of(16) {
                            support::pause(1);
                        }
                    }
                })
            })
            .collect();
        wait_until("there is load", || enough.load(Ordering::Relaxed));
        let report = engine.shutdown(PATIENCE);
        assert!(report.is_clean, "{report:?}");
        publishers.into_iter().map(|publisher| publisher.join().expect("a publisher")).collect::<Vec<u64>>()
    });
    for reader in readers {
        let (got, code) = reader.join().expect("a reader");
        assert_eq!(code, 1001);
        let mut next = vec![0u64; accepted.len()];
        for text in &got {
            let text = String::from_utf8_lossy(text);
            let (publisher, number) = text.split_once(' ').expect("two numbers");
            let (publisher, number): (usize, u64) =
                (publisher.parse().expect("a number"), number.parse().expect("a number"));
            assert_eq!(number, next[publisher], "of publisher {publisher}");
            next[publisher] += 1;
        }
        assert_eq!(next, accepted, "accepted by the ring, and not delivered");
    }
}

fn a_shutdown_ends_although_a_client_does_not_read(driver: DriverChoice) {
    let engine = start(config(driver));
    let topic = engine.topic("deaf").expect("a sound topic");
    let deaf = connect(addr(&engine), "/t/deaf", None);
    for _ in 0..2_000 {
        publish(&topic, Priority::Normal, &[b'x'; 8_000]);
    }
    let report = engine.shutdown(Duration::from_millis(300));
    assert!(!report.is_clean, "{report:?}");
    drop(deaf);
}

fn a_client_that_cannot_take_critical_messages_is_evicted_and_the_others_get_them(driver: DriverChoice) {
    let mut config = config(driver);
    config.memory.lane_bytes = 1 << 20;
    config.events.capacity = 10_000;
    let mut engine = start(config);
    let mut events = engine.events().expect("events were asked for");
    let topic = engine.topic("alarm").expect("a sound topic");
    let mut deaf = connect(addr(&engine), "/t/alarm", None);
    let mut healthy = connect(addr(&engine), "/t/alarm", None);
    const COUNT: usize = 4_000;
    let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let reads = read.clone();
    let reader = std::thread::spawn(move || {
        for i in 0..COUNT {
            assert_eq!(next_payload(&mut healthy)[..8], *format!("{i:08}").as_bytes());
            reads.store(i + 1, Ordering::SeqCst);
        }
    });
    for i in 0..COUNT {
        // The healthy one must keep up, or it would be evicted by right: at most a part of the budget in one go.
        if i % 50 == 0 {
            wait_until("the healthy client has read", || read.load(Ordering::SeqCst) + 50 >= i || reader.is_finished());
        }
        publish(&topic, Priority::Critical, format!("{i:08}{}", "x".repeat(4_000)).as_bytes());
    }
    reader.join().expect("the healthy client gets every critical message");
    let (_, code) = read_to_close(&mut deaf);
    assert!(code == 1013 || code == 1006, "closed with {code}");
    let mut evicted = false;
    while let Some(event) = events.next() {
        evicted |= matches!(event, Event::Evicted { .. });
    }
    assert!(evicted, "the host was not told");
    engine.shutdown_now();
}

fn a_client_that_reads_too_late_is_told_its_exact_gap(driver: DriverChoice) {
    let mut config = config(driver);
    config.memory.lane_bytes = 1 << 20;
    let engine = start(config);
    let topic = engine.topic("late").expect("a sound topic");
    let mut late = subscribe(addr(&engine), &["late"]);
    const COUNT: u64 = 5_000;
    for i in 1..=COUNT {
        publish(&topic, Priority::Normal, format!("{i} {}", "x".repeat(4_000)).as_bytes());
    }
    let (mut next, mut lost) = (1, 0);
    while next <= COUNT {
        let object = next_object(&mut late);
        match object["type"].as_str() {
            Some("message") => {
                assert_eq!(object["seq"], next);
                assert!(object["data"].as_str().is_some_and(|data| data.starts_with(&format!("{next} "))), "{object}");
                next += 1;
            }
            Some("gap") => {
                assert_eq!(object["from"], next);
                assert_eq!(
                    (&object["topic"], &object["priority"], &object["reason"]),
                    (&"late".into(), &"normal".into(), &"lag".into())
                );
                let to = object["to"].as_u64().expect("a number");
                lost += to + 1 - next;
                next = to + 1;
            }
            Some("subscribed") => {}
            _ => panic!("{object}"),
        }
    }
    assert!(lost > 0, "20 MB fit into 1 MiB and two sockets?");
    engine.shutdown_now();
}

fn the_host_hears_of_a_connection_from_beginning_to_end(driver: DriverChoice) {
    let mut config = config(driver);
    config.events = fanwire::EventsConfig { capacity: 100, messages: true };
    let mut engine = start(config);
    let mut events = engine.events().expect("events were asked for");
    let mut next = || {
        let mut found = None;
        wait_until("an event came", || {
            found = events.next();
            found.is_some()
        });
        found.expect("just seen")
    };
    let mut client = connect(addr(&engine), "/", None);
    let Event::Opened { connection, peer, path, .. } = next() else { panic!("not opened") };
    assert_eq!(peer, Some(client.get_ref().local_addr().expect("a live socket")));
    assert_eq!(path, "/");
    send(&mut client, "to the host");
    let Event::Message { connection: from, kind, payload } = next() else { panic!("no message") };
    assert_eq!((from, kind, &payload[..]), (connection, Kind::Text, &b"to the host"[..]));
    engine.send_to(connection, Kind::Text, "to the client".into()).expect("it is there");
    assert_eq!(next_payload(&mut client), b"to the client");
    engine.close(connection, 4000, "enough").expect("it is there");
    let (_, code) = read_to_close(&mut client);
    assert_eq!(code, 4000);
    let Event::Closed { connection: gone, code } = next() else { panic!("not closed") };
    assert_eq!((gone, code), (connection, 4000));

    let _second = subscribe(addr(&engine), &["a/b"]);
    let Event::Opened { connection: second, .. } = next() else { panic!("not opened") };
    assert_ne!(second, connection);
    let Event::Subscribed { connection: who, topic } = next() else { panic!("not subscribed") };
    assert_eq!((who, &topic[..]), (second, "a/b"));
    engine.shutdown_now();
}

fn publishing_after_the_end_says_so(driver: DriverChoice) {
    let engine = start(config(driver));
    let topic = engine.topic("over").expect("a sound topic");
    engine.shutdown(PATIENCE);
    assert!(matches!(topic.publish(Priority::Normal, Kind::Text, b"x"), Err(PublishError::Stopped)));
    assert!(matches!(topic.publish_timeout(Priority::Normal, Kind::Text, b"x", PATIENCE), Err(PublishError::Stopped)));
}

fn a_new_subscriber_gets_the_last_message_of_each_lane_first(driver: DriverChoice) {
    let mut two = config(driver);
    two.shards = Some(2);
    let engine = start(two);
    let topic = engine.topic("last").expect("a sound topic");
    for i in 1..=3 {
        publish(&topic, Priority::Normal, format!("normal {i}").as_bytes());
        publish(&topic, Priority::Critical, format!("critical {i}").as_bytes());
    }
    // Several, so that both shards are asked.
    for _ in 0..8 {
        let mut client = connect(addr(&engine), "/t/last", None);
        let mut got = [next_payload(&mut client), next_payload(&mut client)];
        got.sort();
        assert_eq!(got, [b"critical 3".to_vec(), b"normal 3".to_vec()]);
        let mut client = connect(addr(&engine), "/", Some(support::JSON));
        send(&mut client, r#"{"type":"subscribe","id":1,"topics":["*"]}"#);
        publish(&topic, Priority::Low, b"new");
        let mut seqs = Vec::new();
        while seqs.len() < 3 {
            let object = next_object(&mut client);
            if object["type"] == "message" {
                seqs.push((
                    object["priority"].as_str().expect("a name").to_string(),
                    object["seq"].as_u64().expect("a number"),
                ));
            }
        }
        assert!(seqs.contains(&("critical".into(), 3)) && seqs.contains(&("normal".into(), 3)), "{seqs:?}");
    }
    engine.shutdown_now();
}

fn an_abandoned_claim_stalls_nobody(driver: DriverChoice) {
    let engine = start(config(driver));
    let topic = engine.topic("claims").expect("a sound topic");
    let mut client = connect(addr(&engine), "/t/claims", None);
    for i in 0..100u8 {
        let abandoned = topic.claim(1000).expect("room");
        let mut kept = topic.claim(3).expect("room");
        kept.copy_from_slice(&[i; 3]);
        drop(abandoned);
        kept.commit(Priority::Normal, Kind::Binary).expect("room");
    }
    for i in 0..100u8 {
        assert_eq!(next_payload(&mut client), [i; 3]);
    }
    engine.shutdown_now();
}

fn clients_publish_to_each_other(driver: DriverChoice) {
    let mut two = config(driver);
    two.shards = Some(2);
    let engine = start(two);
    let mut listeners: Vec<_> = (0..6).map(|_| subscribe(addr(&engine), &["chat/**"])).collect();
    let mut raw = connect(addr(&engine), "/t/chat/raw", None);
    send(&mut raw, "from raw");
    assert_eq!(next_payload(&mut raw), b"from raw", "a raw publisher hears itself");
    let mut json = connect(addr(&engine), "/", Some(support::JSON));
    send(&mut json, r#"{"type":"publish","topic":"chat/json","priority":"high","data":{"a": [1, "é"]}}"#);
    assert!(settle(&mut json).iter().all(|object| object["type"] != "error"));
    for listener in &mut listeners {
        let mut messages = Vec::new();
        while messages.len() < 2 {
            let object = next_object(listener);
            if object["type"] == "message" {
                messages.push(object);
            }
        }
        messages.sort_by_key(|object| object["topic"].as_str().expect("a topic").to_string());
        assert_eq!((&messages[0]["topic"], &messages[0]["priority"]), (&"chat/json".into(), &"high".into()));
        assert_eq!(messages[0]["data"], serde_json::json!({"a": [1, "é"]}));
        assert_eq!((&messages[1]["data"], &messages[1]["seq"]), (&"from raw".into(), &1.into()));
    }
    engine.shutdown_now();
}

fn large_messages_arrive_whole(driver: DriverChoice) {
    let mut config = config(driver);
    config.memory.lane_bytes = 80 << 20;
    config.memory.pool_bytes = 256 << 20;
    config.memory.payload_bytes = 256 << 20;
    let engine = start(config);
    let topic = engine.topic("large").expect("a sound topic");
    let mut client = Bare::upgraded(addr(&engine), "/t/large", None);
    for bytes in [16 << 10, (16 << 10) + 1, 65_535, 65_536, 1 << 20, 64 << 20] {
        let payload: Vec<u8> = (0..bytes).map(|i: usize| ((i * 31) >> 3) as u8).collect();
        topic.publish_timeout(Priority::Normal, Kind::Binary, &payload, PATIENCE).expect("the engine takes it");
        // Read apart from frames: 64 MiB through the test's little buffer would take its time.
        let mut head = [0; 10];
        client.stream.read_exact(&mut head[..2]).expect("a frame");
        let length = match head[1] {
            126 => {
                client.stream.read_exact(&mut head[2..4]).expect("a frame");
                u16::from_be_bytes([head[2], head[3]]) as usize
            }
            127 => {
                client.stream.read_exact(&mut head[2..10]).expect("a frame");
                u64::from_be_bytes(head[2..10].try_into().expect("eight bytes")) as usize
            }
            short => short as usize,
        };
        assert_eq!((head[0], length), (0x82, bytes));
        let mut got = vec![0; bytes];
        client.stream.read_exact(&mut got).expect("the payload");
        assert!(got == payload, "{bytes} bytes arrived changed");
    }
    let beyond = vec![0; (64 << 20) + 1];
    assert!(matches!(topic.publish(Priority::Normal, Kind::Binary, &beyond), Err(PublishError::TooLarge { .. })));
    engine.shutdown_now();
}

fn raw_clients_that_come_together_for_new_topics_are_all_served(driver: DriverChoice) {
    let mut two = config(driver);
    two.shards = Some(2);
    let engine = start(two);
    let addr = addr(&engine);
    let is_over = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        // The host keeps the registry busy meanwhile, with a topic that stays.
        scope.spawn(|| {
            let _stays = engine.topic("busy");
            while !is_over.load(Ordering::Relaxed) {
                let _ = engine.topic("busy");
            }
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| fresh_topics(&engine, addr)));
        is_over.store(true, Ordering::Relaxed);
        outcome
    });
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    engine.shutdown_now();
}

/// Each topic is asked for by several at once, on both shards, before any shard knows it.
fn fresh_topics(engine: &Engine, addr: SocketAddr) {
    for round in 0..300 {
        let path = format!("/t/fresh/{round}");
        let requests = upgrade_request(&path, None);
        let mut clients: Vec<Bare> = (0..24).map(|_| Bare::connect(addr)).collect();
        clients.iter_mut().for_each(|client| client.send(requests.as_bytes()));
        for client in &mut clients {
            let head = client.response_head();
            assert!(head.starts_with("HTTP/1.1 101 "), "{head:?}");
        }
        publish(&engine.topic(&format!("fresh/{round}")).expect("a sound topic"), Priority::Normal, b"hello");
        for client in &mut clients {
            let frame = client.frame().expect("a frame");
            assert_eq!(
                (frame.first, &frame.payload[..]),
                (0x81, &b"hello"[..]),
                "in round {round}: {}",
                frame.payload.escape_ascii()
            );
        }
    }
}
