//! What a connection costs that is in the middle of something: no more than the memory sum has for it.

use fanwire::{Config, DriverChoice, Engine};

use super::{Manner, held, subscribed};
use crate::support::{config, masked, start};

/// Connections.
const N: u32 = 300;
/// What clients have sent and is not looked at yet is in another line of the sum.
const INBOX_BYTES: i64 = 64;

/// A cursor, with its link and its membership.
const CURSOR_BYTES: i64 = 88;

/// Each of them has sent a part of a frame's header.
pub fn no_connection_costs_more_than_is_stated(driver: DriverChoice) {
    let before = held::by_shards();
    let engine = start(Config { connections_max: N, cursors_max: N, ..config(driver) });
    let manner = Manner { protocol: None, deflate: false };
    let empty = held::by_shards();
    let mut clients: Vec<_> = (0..N).map(|_| subscribed(&engine, manner)).collect();
    // Who has its pong has been looked at, with what came behind the ping.
    let part = [masked(0x89, b"ping"), masked(0x81, &[b'x'; 1_000])[..3].to_vec()].concat();
    for client in &mut clients {
        client.send(&part);
        client.frame().expect("the server is there");
    }
    let each = (held::by_shards() - empty) / i64::from(N);
    // Tables are there from the start.
    let tables = (empty - before) / i64::from(N);
    let stated = stated(&engine);
    println!("{driver:?}, busy: {each} bytes beside {tables}, of {stated} stated");
    assert!(each > 200, "{driver:?}: {each} bytes: the counter is broken");
    assert!(each <= stated + INBOX_BYTES, "{driver:?}: {each} bytes for each connection, {stated} stated");
    engine.shutdown_now();
}

/// Bytes that the sum has for one connection, and what its cursor costs.
fn stated(engine: &Engine) -> i64 {
    let lines = &engine.plan().lines;
    let bytes = |what: &str| lines.iter().find(|line| line.what == what).map_or(0, |line| line.bytes as i64);
    let slots = i64::from(N) + 64;
    (bytes("connections") + bytes("connections that are not idle")) / slots + CURSOR_BYTES
}
