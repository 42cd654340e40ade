//! A host that talks to single connections: what it sends goes out before the close that it, or the client's fault, brings.

use crate::support;

use std::time::Duration;

use fanwire::{DriverChoice, Engine, Event, Events, Kind};
use support::{Bare, Frame, PATIENCE, addr, config, connect, masked, read_to_close, send, start, wait_until};

on_both_drivers![
    every_ping_is_answered_in_order,
    a_message_right_before_a_broken_frame_is_answered_before_the_close,
    a_client_that_has_said_nothing_right_is_closed_for_its_broken_frame,
    messages_sent_before_a_close_arrive_before_it,
    a_client_that_reads_nothing_is_closed_in_spite_of_messages_that_wait,
];

fn hosting(driver: DriverChoice, close_timeout: Duration) -> (Engine, Events) {
    let mut config = config(driver);
    config.events.capacity = 64;
    config.events.messages = true;
    config.limits.close_timeout = close_timeout;
    let mut engine = start(config);
    let events = engine.events().expect("the events were asked for");
    (engine, events)
}

/// The next event of this kind.
fn wait_for<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let mut found = None;
    wait_until("the event comes", || {
        found = events.wait(Duration::from_millis(100)).and_then(&mut wanted);
        found.is_some()
    });
    found.expect("it came")
}

fn every_ping_is_answered_in_order(driver: DriverChoice) {
    let (engine, _events) = hosting(driver, PATIENCE);
    let mut client = Bare::upgraded(addr(&engine), "/", None);
    let pings: Vec<u8> = (0..12).flat_map(|i| masked(0x89, format!("ping {i}").as_bytes())).collect();
    client.send(&pings);
    for i in 0..12 {
        let pong = Frame { first: 0x8a, payload: format!("ping {i}").into_bytes() };
        assert_eq!(client.frame(), Some(pong));
    }
    engine.shutdown_now();
}

fn a_message_right_before_a_broken_frame_is_answered_before_the_close(driver: DriverChoice) {
    let (engine, mut events) = hosting(driver, PATIENCE);
    // The engine does not wait for ever for an answer, and a host on a busy machine may be late: once must do.
    let was_answered = (0..20).any(|_| {
        let mut client = Bare::upgraded(addr(&engine), "/", None);
        let mut bytes = masked(0x81, b"a question");
        // A reserved bit that nobody has negotiated.
        bytes.extend(masked(0xb1, b"broken"));
        bytes.extend(masked(0x81, b"too late"));
        client.send(&bytes);
        let (connection, payload) = wait_for(&mut events, |event| match event {
            Event::Message { connection, payload, .. } => Some((connection, payload)),
            _ => None,
        });
        assert_eq!(&payload[..], b"a question");
        engine.send_to(connection, Kind::Text, b"an answer"[..].into()).expect("the connection is there");
        let first = client.frame().expect("a frame");
        let was_answered = first == Frame { first: 0x81, payload: b"an answer".to_vec() };
        let code = match was_answered {
            true => client.close_code(),
            false => u16::from_be_bytes([first.payload[0], first.payload[1]]),
        };
        assert_eq!(code, 1002);
        drop(client);
        let code = wait_for(&mut events, |event| match event {
            Event::Closed { code, .. } => Some(code),
            Event::Message { payload, .. } => panic!("a message after the broken frame: {payload:?}"),
            _ => None,
        });
        assert_eq!(code, 1002);
        was_answered
    });
    assert!(was_answered, "the close was always before the answer");
    engine.shutdown_now();
}

fn a_client_that_has_said_nothing_right_is_closed_for_its_broken_frame(driver: DriverChoice) {
    let (engine, _events) = hosting(driver, PATIENCE);
    let mut client = Bare::upgraded(addr(&engine), "/", None);
    client.send(&masked(0xb1, b"broken"));
    assert_eq!(client.close_code(), 1002);
    engine.shutdown_now();
}

fn messages_sent_before_a_close_arrive_before_it(driver: DriverChoice) {
    let (engine, mut events) = hosting(driver, PATIENCE);
    let mut client = connect(addr(&engine), "/", None);
    send(&mut client, "how many?");
    let connection = wait_for(&mut events, |event| match event {
        Event::Message { connection, .. } => Some(connection),
        _ => None,
    });
    let large = vec![b'x'; 3 << 20];
    for _ in 0..3 {
        engine.send_to(connection, Kind::Binary, large.clone().into()).expect("the connection is there");
    }
    engine.send_to(connection, Kind::Text, b"that many"[..].into()).expect("the connection is there");
    engine.close(connection, 4000, "enough").expect("the connection is there");
    let _ = engine.send_to(connection, Kind::Text, b"after the close"[..].into());
    let (payloads, code) = read_to_close(&mut client);
    assert_eq!(code, 4000);
    assert_eq!(payloads.len(), 4);
    assert!(payloads[..3].iter().all(|payload| *payload == large));
    assert_eq!(payloads[3], b"that many");
    engine.shutdown_now();
}

fn a_client_that_reads_nothing_is_closed_in_spite_of_messages_that_wait(driver: DriverChoice) {
    let (engine, mut events) = hosting(driver, Duration::from_millis(200));
    let mut client = connect(addr(&engine), "/", None);
    send(&mut client, "hello");
    let connection = wait_for(&mut events, |event| match event {
        Event::Message { connection, .. } => Some(connection),
        _ => None,
    });
    let large = vec![b'x'; 16 << 20];
    for _ in 0..3 {
        engine.send_to(connection, Kind::Binary, large.clone().into()).expect("the connection is there");
    }
    engine.close(connection, 4000, "enough").expect("the connection is there");
    wait_for(&mut events, |event| matches!(event, Event::Closed { code: 4000, .. }).then_some(()));
    drop(client);
    engine.shutdown_now();
}
