//! The host decides who comes in, and what each may do.

use std::time::Duration;

use crate::support::{Bare, addr, config, start, upgrade_request, wait_until};
use fanwire::proto::topic::Pattern;
use fanwire::{
    Allowed, AskHost, ConnectionId, DecideError, Decision, DriverChoice, Engine, Event, Events, GRANT_PATTERNS_MAX,
    Grants, SUBJECT_BYTES_MAX,
};

on_both_drivers![
    the_host_is_told_what_it_asked_for_and_its_word_holds,
    an_answer_for_somebody_who_is_gone_does_nothing,
    each_listener_is_told_apart,
];

fn engine(driver: DriverChoice) -> (Engine, Events) {
    let mut config = config(driver);
    config.events.capacity = 64;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(5), headers: vec!["cookie".into()] });
    let mut engine = start(config);
    let events = engine.events().expect("there is a capacity");
    (engine, events)
}

fn only(pattern: &str) -> Allowed {
    Allowed::Only(vec![Pattern::parse(pattern).expect("a pattern")])
}

fn everything() -> Decision {
    Decision::Allow(Grants { subscribe: Allowed::Everything, publish: Allowed::Nothing, lifetime: None, subject: None })
}

/// The next that asks to come in.
fn next_asked(events: &mut Events) -> (ConnectionId, usize, String, Vec<(String, Vec<u8>)>) {
    let mut asked = None;
    wait_until("somebody asks", || {
        if let Some(Event::Authorize { connection, listener, target, headers, .. }) = events.next() {
            asked = Some((connection, listener, target, headers));
        }
        asked.is_some()
    });
    asked.expect("just now")
}

fn the_host_is_told_what_it_asked_for_and_its_word_holds(driver: DriverChoice) {
    let (engine, mut events) = engine(driver);
    for (topic, status) in [("mine", "101"), ("other", "403")] {
        let mut client = Bare::connect(addr(&engine));
        let target = format!("/t/{topic}?x=1");
        let request = upgrade_request(&target, None).replacen("\r\n\r\n", "\r\nCookie: a=b\r\nX-Other: no\r\n\r\n", 1);
        client.send(request.as_bytes());
        let (connection, listener, told, headers) = next_asked(&mut events);
        assert_eq!((listener, told), (0, target));
        assert_eq!(headers, [("cookie".to_owned(), b"a=b".to_vec())]);
        let grants = Grants { subscribe: only("mine"), publish: Allowed::Nothing, lifetime: None, subject: None };
        engine.decide(connection, Decision::Allow(grants)).expect("it is there");
        let head = client.response_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{topic}: {head}");
    }
    let mut client = Bare::connect(addr(&engine));
    client.send(upgrade_request("/t/mine", None).as_bytes());
    let (connection, ..) = next_asked(&mut events);
    let patterns = |count: usize| {
        let subscribe = Allowed::Only(vec![Pattern::parse("mine").expect("a pattern"); count]);
        let subject = Some("u".repeat(SUBJECT_BYTES_MAX));
        Decision::Allow(Grants { subscribe, publish: Allowed::Nothing, lifetime: None, subject })
    };
    let too_many = DecideError::TooManyPatterns { patterns: GRANT_PATTERNS_MAX + 1 };
    assert_eq!(engine.decide(connection, patterns(GRANT_PATTERNS_MAX + 1)), Err(too_many));
    let too_long = DecideError::LongSubject { bytes: SUBJECT_BYTES_MAX + 1 };
    let subject = Some("u".repeat(SUBJECT_BYTES_MAX + 1));
    let named = Grants { subscribe: Allowed::Nothing, publish: Allowed::Nothing, lifetime: None, subject };
    assert_eq!(engine.decide(connection, Decision::Allow(named)), Err(too_long));
    engine.decide(connection, patterns(GRANT_PATTERNS_MAX)).expect("it is there");
    assert!(client.response_head().starts_with("HTTP/1.1 101 "));
    engine.shutdown_now();
}

fn an_answer_for_somebody_who_is_gone_does_nothing(driver: DriverChoice) {
    let (engine, mut events) = engine(driver);
    let mut client = Bare::connect(addr(&engine));
    client.send(upgrade_request("/t/mine", None).as_bytes());
    let (gone, ..) = next_asked(&mut events);
    drop(client);
    let mut next = Bare::connect(addr(&engine));
    next.send(upgrade_request("/t/mine", None).as_bytes());
    let (connection, ..) = next_asked(&mut events);
    assert_ne!(gone, connection);
    for decision in [everything(), Decision::Forbidden] {
        engine.decide(gone, decision).expect("the shard is there");
    }
    engine.decide(connection, everything()).expect("it is there");
    assert!(next.response_head().starts_with("HTTP/1.1 101 "));
    engine.shutdown_now();
}

fn each_listener_is_told_apart(driver: DriverChoice) {
    let mut config = config(driver);
    config.events.capacity = 64;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(5), headers: Vec::new() });
    config.listen = vec![([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()];
    let mut engine = start(config);
    let mut events = engine.events().expect("there is a capacity");
    let addresses = engine.local_addrs().to_vec();
    assert_eq!(addresses.len(), 2);
    for (expected, &address) in addresses.iter().enumerate().rev() {
        let mut client = Bare::connect(address);
        client.send(upgrade_request("/t/x", None).as_bytes());
        let (connection, listener, ..) = next_asked(&mut events);
        assert_eq!(listener, expected);
        engine.decide(connection, everything()).expect("it is there");
        assert!(client.response_head().starts_with("HTTP/1.1 101 "));
    }
    engine.shutdown_now();
}
