//! Outlets: what is published on chosen topics comes to the host too.

use fanwire::proto::topic::Pattern;
use fanwire::{
    ATTRIBUTES_MAX, DriverChoice, Kind, Message, OUTLET_MESSAGES_MAX, OUTLET_PATTERNS_MAX, OUTLETS_MAX, Outlet,
    OutletConfig, OutletError, Priority, PublishError, SEQ_MAX, TopicError,
};

use crate::support::{PATIENCE, config, start, wait_until};

on_both_drivers![what_is_published_comes_by_the_outlet_too];

fn wanted(patterns: &[&str], messages_max: usize) -> OutletConfig {
    let topics = patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect();
    OutletConfig { topics, messages_max, bytes_max: 64 << 10, leaves_out_forwarded: false }
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
        engine.outlet(OutletConfig { topics, messages_max, bytes_max, leaves_out_forwarded: false })
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

#[test]
fn what_is_said_of_a_message_comes_by_the_outlet_up_to_its_limit_and_no_client_sees_it() {
    let engine = start(config(DriverChoice::Epoll));
    let mut outlet = engine.outlet(wanted(&["said"], 16)).expect("there is room for one");
    let topic = engine.topic("said").expect("a name");
    let mut first = None;
    wait_until("the outlet is open", || {
        topic.publish(Priority::Normal, Kind::Text, b"is it open?").expect("room in the ring");
        first = outlet.next();
        first.is_some()
    });
    topic.publish(Priority::Normal, Kind::Text, b"now").expect("room in the ring");
    while outlet.wait(PATIENCE).expect("what was published").payload.as_ref() != b"now" {}
    let most = [7; ATTRIBUTES_MAX];
    let large = vec![b'x'; 20_000];
    for payload in [&b"small"[..], &large] {
        for attributes in [&b"k=v"[..], &most, b""] {
            let message = Message { payload, attributes, ..Message::default() };
            topic.publish_message(&message).expect("room in the ring");
            topic.publish_message_timeout(&message, PATIENCE).expect("room in the ring");
            for _ in 0..2 {
                let came = outlet.wait(PATIENCE).expect("what was published");
                assert_eq!(came.payload.as_ref(), payload);
                assert_eq!(came.attributes.as_deref().unwrap_or_default(), attributes);
            }
        }
    }
    let refused = topic.publish_message(&Message { attributes: &[7; ATTRIBUTES_MAX + 1], ..Message::default() });
    assert_eq!(refused, Err(PublishError::AttributesTooLarge { bytes: ATTRIBUTES_MAX + 1 }));
}

#[test]
fn a_topic_s_messages_may_bring_numbers_in_an_epoch_that_the_host_names() {
    let engine = start(config(DriverChoice::Epoll));
    let topic = engine.topic_in_epoch("orders", 77).expect("a name and an epoch");
    assert_eq!(topic.epoch(), 77);
    assert_eq!(engine.topic_in_epoch("orders", 77).map(|topic| topic.epoch()), Ok(77));
    assert_eq!(engine.topic_in_epoch("orders", 78).map(|_| ()), Err(TopicError::OtherEpoch(77)));
    for (epoch, is_one) in [(0, false), (1, true), (SEQ_MAX, true), (SEQ_MAX + 1, false)] {
        let opened = engine.topic_in_epoch(&format!("in/{epoch}"), epoch).map(|topic| topic.epoch());
        assert_eq!(opened, if is_one { Ok(epoch) } else { Err(TopicError::NoEpoch(epoch)) });
    }
    let say = |seq| topic.publish_message(&Message { seq: Some(seq), payload: b"{}", ..Message::default() });
    assert_eq!(say(0), Err(PublishError::BadSeq { seq: 0 }));
    assert_eq!(say(SEQ_MAX + 1), Err(PublishError::BadSeq { seq: SEQ_MAX + 1 }));
    say(10).expect("room in the ring");
    assert_eq!(say(10), Err(PublishError::OutOfOrder { seq: 10, last: 10 }));
    // By whatever handle.
    let other = engine.topic("orders").expect("a name");
    let late = other.publish_message(&Message { seq: Some(9), ..Message::default() });
    assert_eq!(late, Err(PublishError::OutOfOrder { seq: 9, last: 10 }));
    say(SEQ_MAX).expect("room in the ring");
}
