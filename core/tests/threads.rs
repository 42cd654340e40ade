//! One engine, many threads: every call from several of them at once, and an end that comes under them. What this proves is
//! mostly for ThreadSanitizer, the guard pages and AddressSanitizer to see (`./test tsan guard-pages asan`).

use crate::support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fanwire::{ConnectionId, DriverChoice, Engine, Event, Kind, Priority, PublishError, Topic};
use support::{PATIENCE, addr, config, start, try_connect, wait_until};

on_both_drivers![an_engine_ends_in_every_way_under_threads_that_use_it];

/// Rounds, each of which starts an engine and ends it in one of three ways.
const ROUNDS: usize = 6;
const PUBLISHERS: u64 = 3;

/// Publishes in every way there is until the engine has stopped. Gives how many messages were taken.
fn publish_to_the_end(topic: &Topic, number: u64) -> u64 {
    let mut taken = 0;
    let large = vec![b'x'; 40_000];
    for turn in number.. {
        let text = format!("{number} {turn}");
        let result = match turn % 5 {
            0 => topic.publish(Priority::Normal, Kind::Text, text.as_bytes()).map(|_| 1),
            1 => topic.publish_many(Priority::High, Kind::Text, &[text.as_bytes(); 3]),
            2 => topic.publish_bytes(Priority::Low, Kind::Binary, Bytes::from(large.clone())).map(|_| 1),
            3 => topic.claim(3_000).and_then(|mut claim| {
                claim.fill(b'c');
                claim.commit(Priority::Critical, Kind::Binary).map(|_| 1).map_err(|refused| refused.error)
            }),
            _ => topic
                .publish_timeout(Priority::Normal, Kind::Text, text.as_bytes(), Duration::from_millis(5))
                .map(|_| 1),
        };
        match result {
            Ok(more) => taken += more as u64,
            Err(PublishError::WouldBlock) => thread::yield_now(),
            Err(PublishError::Stopped) => return taken,
            Err(other) => panic!("{other}"),
        }
        if turn % 8 == 0 {
            support::pause(1);
        }
    }
    taken
}

/// Reads until its connection ends, in whatever way.
fn read_to_the_end(addr: SocketAddr, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut client) = try_connect(addr, "/t/all", None) else { return };
        let mut left = 200;
        while left > 0 && client.read().is_ok() {
            left -= 1;
        }
    }
}

/// What only a host may do, with connections that may be gone.
fn host_calls(engine: &Engine, number: usize, last: &AtomicU64) {
    for turn in 0..60 {
        let name = format!("short/{number}/{turn}");
        // A full ring is no failure: all is tried again.
        wait_until("there is room for a topic", || engine.topic(&name).is_ok());
        let topic = engine.topic(&name).expect("it is there");
        topic.publish_timeout(Priority::Normal, Kind::Text, b"short", PATIENCE).expect("it is there");
        wait_until("there is room for its end", || engine.remove_topic(&name).is_ok_and(|was_there| was_there));
        let connection = ConnectionId::from_u64(last.load(Ordering::Relaxed));
        let _ = engine.send_copy_to(connection, Kind::Text, b"to you alone");
        if turn % 20 == 7 {
            let _ = engine.close(connection, 1000, "enough");
        }
        assert!(engine.is_running() && engine.stats().shards.len() == 2);
        engine.reclaim();
        support::pause(1);
    }
}

fn an_engine_ends_in_every_way_under_threads_that_use_it(driver: DriverChoice) {
    for round in 0..ROUNDS {
        let mut two = config(driver);
        two.shards = Some(2);
        two.events.capacity = 64;
        two.memory.ring_bytes = 256 << 10;
        let mut engine = start(two);
        let mut events = engine.events().expect("they were asked for");
        let (address, topic) = (addr(&engine), engine.topic("all").expect("a sound topic"));
        let (is_over, last) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
        thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|number| {
                    let topic = topic.clone();
                    scope.spawn(move || publish_to_the_end(&topic, number))
                })
                .collect();
            for _ in 0..3 {
                scope.spawn(|| read_to_the_end(address, &is_over));
            }
            let subscriber = scope.spawn(move || {
                // A machine that is busy may get here after the end.
                let Ok(mut client) = try_connect(address, "/", Some(support::JSON)) else { return };
                let request = r#"{"type":"subscribe","id":1,"topics":["all","short/**"]}"#;
                let _ = client.send(tungstenite::Message::text(request));
                while client.read().is_ok() {}
            });
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    if let Some(Event::Opened { connection, .. }) = events.wait(Duration::from_millis(20)) {
                        last.store(connection.to_u64(), Ordering::Relaxed);
                    }
                }
            });
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) && topic.pressure().is_ok() {
                    thread::yield_now();
                }
            });
            thread::scope(|calls| {
                for number in 0..2 {
                    let (engine, last) = (&engine, &last);
                    calls.spawn(move || host_calls(engine, number, last));
                }
            });
            wait_until("messages are delivered", || engine.stats().total.deliveries > 100);
            match round % 3 {
                0 => drop(engine.shutdown(PATIENCE)),
                1 => engine.shutdown_now(),
                _ => drop(engine),
            }
            is_over.store(true, Ordering::Relaxed);
            let taken: u64 = publishers.into_iter().map(|publisher| publisher.join().expect("a publisher")).sum();
            assert!(taken > 0, "nothing was published");
            subscriber.join().expect("the subscriber's connection ends with the engine");
        });
    }
}
