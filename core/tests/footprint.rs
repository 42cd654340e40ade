//! An idle subscribed connection costs a shard little memory: a counting allocator adds up what shard threads hold.

#[path = "footprint/busy.rs"]
mod busy;
#[path = "support/held.rs"]
mod held;
mod support;
#[path = "footprint/tls.rs"]
mod tls;

use fanwire::{Config, DriverChoice, Kind, Priority};
use support::{Bare, JSON, addr, config, masked, start, wait_until};

/// Connections: client and server together below the usual limit of 1,024 descriptors.
const N: u32 = 400;
/// Bytes on the heap for each. The tables take 188; lists that have grown by doubling, and what the last upgrades borrowed and the
/// shard keeps for the next, come to the rest.
const BYTES_MAX: i64 = 240;
/// How a client subscribes: what it asks for, and whether it says so in a request of its own.
#[derive(Clone, Copy, Debug)]
struct Manner {
    protocol: Option<&'static str>,
    deflate: bool,
}

/// One test, because the counter is the whole process's.
#[test]
fn an_idle_subscribed_connection_costs_a_shard_a_few_hundred_bytes() {
    for driver in [DriverChoice::Epoll, DriverChoice::Uring].into_iter().filter(|driver| support::has(*driver)) {
        for protocol in [None, Some(JSON)] {
            for deflate in [false, true] {
                let manner = Manner { protocol, deflate };
                let each = (shard_bytes(driver, manner, N, N) - shard_bytes(driver, manner, 16, 1)) / i64::from(N);
                println!("{driver:?}, {manner:?}: {each} bytes");
                assert!(each > 100, "{driver:?}, {manner:?}: {each} bytes: the counter is broken");
                assert!(each <= BYTES_MAX, "{driver:?}, {manner:?}: {each} bytes for each connection");
            }
        }
        busy::no_connection_costs_more_than_is_stated(driver);
        tls::an_idle_connection_costs_little(driver);
    }
}

/// Bytes that the shard of an engine sized for `size` connections holds with `holding` of them, each subscribed and with one message
/// delivered.
fn shard_bytes(driver: DriverChoice, manner: Manner, size: u32, holding: u32) -> i64 {
    let before = held::by_shards();
    let engine = start(Config { connections_max: size, cursors_max: size, ..config(driver) });
    let topic = engine.topic("idle").expect("a sound topic");
    let clients: Vec<_> = (0..holding).map(|_| subscribed(&engine, manner).stream).collect();
    topic.publish_timeout(Priority::Normal, Kind::Json, b"1", support::PATIENCE).expect("room in the ring");
    wait_until("everybody has the message", || engine.stats().total.deliveries >= u64::from(holding));
    let bytes = held::by_shards() - before;
    drop(clients);
    engine.shutdown_now();
    bytes
}

fn subscribed(engine: &fanwire::Engine, manner: Manner) -> Bare {
    let path = if manner.protocol.is_none() { "/t/idle" } else { "/" };
    let request = support::upgrade_request(path, manner.protocol);
    let offer = if manner.deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" } else { "\r\n" };
    let mut client = Bare::connect(addr(engine));
    client.send((request.trim_end().to_owned() + "\r\n" + offer).as_bytes());
    let head = client.response_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(head.contains("permessage-deflate"), manner.deflate, "{head}");
    if manner.protocol.is_some() {
        client.send(&masked(0x81, br#"{"type":"subscribe","id":1,"topics":["idle"]}"#));
        // `welcome`, then `subscribed`.
        client.frame().expect("the server is there");
        client.frame().expect("the server is there");
    }
    client
}
