//! Outlets: what is published on chosen topics comes to the host too.

use fanwire::proto::topic::Pattern;
use fanwire::{
    DriverChoice, Kind, OUTLET_MESSAGES_MAX, OUTLET_PATTERNS_MAX, OUTLETS_MAX, Outlet, OutletConfig, OutletError,
    Priority,
};

use crate::support::{config, start, wait_until};

on_both_drivers![what_is_published_comes_by_the_outlet_too];

fn wanted(patterns: &[&str], messages_max: usize) -> OutletConfig {
    let topics = patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect();
    OutletConfig { topics, messages_max, bytes_max: 64 << 10 }
}

fn next(outlet: &mut Outlet) -> (String, u64, u64, Vec<u8>) {
    let mut found = None;
    wait_until("a message comes", || {
        found = outlet.next().map(|m| (m.topic.to_string(), m.seq, m.missed, m.payload.to_vec()));
        found.is_some()
    });
    found.expect("just now")
}

fn what_is_published_comes_by_the_outlet_too(driver: DriverChoice) {
    let engine = start(config(driver));
    let mut outlet = engine.outlet(wanted(&["log/*"], 16)).expect("there is room for one");
    let (log, other) = (engine.topic("log/a").expect("a name"), engine.topic("other").expect("a name"));
    // The shard opens it in its next turn: from some message on all come.
    let mut sent = 0u64;
    let mut first = None;
    wait_until("the outlet is open", || {
        sent += 1;
        log.publish(Priority::Normal, Kind::Text, format!("{sent}").as_bytes()).expect("room in the ring");
        std::thread::yield_now();
        first = outlet.next();
        first.is_some()
    });
    let first = first.expect("just now");
    assert_eq!((&*first.topic, first.missed, &*first.payload), ("log/a", 0, first.seq.to_string().as_bytes()));
    for seq in first.seq + 1..=sent {
        assert_eq!(next(&mut outlet), ("log/a".into(), seq, 0, seq.to_string().into_bytes()));
    }
    other.publish(Priority::Normal, Kind::Text, b"not asked for").expect("room in the ring");
    for number in sent + 1..=sent + 40 {
        log.publish(Priority::Normal, Kind::Text, number.to_string().as_bytes()).expect("room in the ring");
    }
    wait_until("the queue is full", || outlet.lost() == 24);
    for seq in sent + 1..=sent + 16 {
        assert_eq!(next(&mut outlet).1, seq);
    }
    log.publish(Priority::Normal, Kind::Text, b"again").expect("room in the ring");
    assert_eq!(next(&mut outlet), ("log/a".into(), sent + 41, 24, b"again".to_vec()));
    engine.shutdown_now();
}

#[test]
fn limits_of_outlets_hold_at_the_limit_and_not_one_past_it() {
    let engine = start(config(DriverChoice::Epoll));
    let most = engine.config().memory.payload_bytes / 8;
    let of = |patterns: usize, messages_max: usize, bytes_max: usize| {
        let topics = vec![Pattern::parse("a").expect("a pattern"); patterns];
        engine.outlet(OutletConfig { topics, messages_max, bytes_max })
    };
    drop(of(OUTLET_PATTERNS_MAX, 1, most).expect("at the limit"));
    assert_eq!(
        of(OUTLET_PATTERNS_MAX + 1, 1, 1).err(),
        Some(OutletError::Patterns { patterns: OUTLET_PATTERNS_MAX + 1 })
    );
    assert_eq!(of(0, 1, 1).err(), Some(OutletError::Patterns { patterns: 0 }));
    assert_eq!(of(1, 0, 1).err(), Some(OutletError::Messages { messages: 0 }));
    let messages = OUTLET_MESSAGES_MAX + 1;
    assert_eq!(of(1, messages, 1).err(), Some(OutletError::Messages { messages }));
    assert_eq!(of(1, 1, most + 1).err(), Some(OutletError::Bytes { bytes: most + 1, max: most }));
    for _ in 0..3 {
        let outlets: Vec<Outlet> = (0..OUTLETS_MAX).map(|_| of(1, 1, 1).expect("at the limit")).collect();
        assert_eq!(of(1, 1, 1).err(), Some(OutletError::TooMany));
        drop(outlets);
    }
    engine.shutdown_now();
}
