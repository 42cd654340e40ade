//! A shutdown before a restart: the port is closed first, then each client is closed with 1012 at a moment of its own.

use crate::support;

use std::net::TcpStream;
use std::time::Duration;

use fanwire::{Config, DriverChoice, Kind, Priority};
use support::{Bare, JSON, PATIENCE, addr, config, start, wait_until};

on_both_drivers![
    clients_get_everything_then_1012_with_a_hint_while_nobody_else_gets_in,
    a_client_that_reads_nothing_does_not_hold_the_others_up,
];

const CLIENTS: usize = 40;

fn clients_get_everything_then_1012_with_a_hint_while_nobody_else_gets_in(driver: DriverChoice) {
    let mut config = Config { shards: Some(2), ..config(driver) };
    config.limits.close_window = Duration::from_secs(2);
    let engine = start(config);
    let at = addr(&engine);
    let topic = engine.topic("last").expect("a sound name");
    let mut clients: Vec<Bare> =
        (0..CLIENTS).map(|n| Bare::upgraded(at, "/t/last", (n % 2 == 0).then_some(JSON))).collect();
    wait_until("all are there", || engine.stats().total.connections == CLIENTS as u64);
    topic.publish_timeout(Priority::Normal, Kind::Json, br#"{"last":1}"#, PATIENCE).expect("room");
    let ending = std::thread::spawn(move || engine.shutdown(Duration::from_secs(60)));
    let mut let_in = 0;
    for client in &mut clients {
        let mut got_it = false;
        let frame = loop {
            let frame = client.frame().expect("a close frame comes first");
            if frame.first & 15 == 8 {
                break frame;
            }
            got_it |= frame.payload.windows(10).any(|w| w == br#"{"last":1}"#);
        };
        assert!(got_it, "closed without the last message");
        assert_eq!(u16::from_be_bytes([frame.payload[0], frame.payload[1]]), 1012);
        assert!(frame.payload[2..].ends_with(b"connect again in a second"));
        // The first close is said after the port was closed.
        let_in += u32::from(TcpStream::connect(at).is_ok_and(|stream| {
            let mut bare = Bare::over(stream);
            bare.send(support::upgrade_request("/t/last", None).as_bytes());
            bare.response_head().starts_with("HTTP/1.1 101")
        }));
        client.send(&support::masked(0x88, &frame.payload));
        client.read_to_end();
    }
    assert_eq!(let_in, 0, "somebody was let in");
    assert!(ending.join().expect("no panic").is_clean);
}

fn a_client_that_reads_nothing_does_not_hold_the_others_up(driver: DriverChoice) {
    let mut config = config(driver);
    config.limits.close_window = Duration::from_secs(3_600);
    let engine = start(config);
    let topic = engine.topic("much").expect("a sound name");
    let deaf = Bare::connect_thin(addr(&engine)).upgrade("/t/much", None);
    let mut good = Bare::upgraded(addr(&engine), "/t/good", None);
    for _ in 0..50 {
        topic.publish_timeout(Priority::Normal, Kind::Binary, &[7; 60_000], PATIENCE).expect("room");
    }
    let report = {
        let ending = std::thread::spawn(move || engine.shutdown(Duration::from_secs(2)));
        // Half of the two seconds is the window, whatever the configuration says.
        assert_eq!(good.close_code(), 1012);
        ending.join().expect("no panic")
    };
    assert!(!report.is_clean, "the deaf one was cut off");
    drop(deaf);
}
