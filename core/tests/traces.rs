//! Traces: what befalls a sample of the messages and connections is told to the host.

use fanwire::proto::traceparent::TraceParent;
use fanwire::{
    DriverChoice, Engine, Kind, Message, Priority, Protocol, TRACE_EVENTS_MAX, TraceEvent, Traced, TracedMessage,
    Traces, TracesConfig, TracesError,
};

use crate::support::{JSON, PATIENCE, addr, config, connect, next_payload, send, settle, start, subscribe, wait_until};

on_both_drivers![a_message_is_told_of_from_its_publication_to_its_delivery];

const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An engine that tells, and has begun to.
fn traced(driver: DriverChoice, sample: f64) -> (Engine, Traces) {
    let engine = start(config(driver));
    let mut traces = engine.traces(TracesConfig { sample, events_max: 1_000 }).expect("nobody has them");
    let topic = engine.topic("is/it/on").expect("a name");
    let attributes = format!("traceparent={VALUE}");
    // The shard begins in its next turn.
    wait_until("the shard tells", || {
        let message = Message { payload: b"?", attributes: attributes.as_bytes(), ..Message::default() };
        topic.publish_message(&message).expect("room in the ring");
        traces.next().is_some()
    });
    (engine, traces)
}

/// The next event that is not of the beginning.
fn next(traces: &mut Traces) -> TraceEvent {
    loop {
        let event = traces.wait(PATIENCE).expect("an event");
        match &event.what {
            Traced::Published(message) if &*message.topic == "is/it/on" => {}
            _ => return event,
        }
    }
}

fn published(event: TraceEvent) -> TracedMessage {
    assert!(event.begin_ns > 0 && event.begin_ns <= event.end_ns);
    match event.what {
        Traced::Published(message) => message,
        other => panic!("{other:?}"),
    }
}

fn a_message_is_told_of_from_its_publication_to_its_delivery(driver: DriverChoice) {
    let (engine, mut traces) = traced(driver, 1.0);
    assert_eq!(engine.traces(TracesConfig { sample: 1.0, events_max: 1 }).err(), Some(TracesError::Taken));
    let mut subscribers = [(); 3].map(|()| subscribe(addr(&engine), &["a/b"]));
    let topic = engine.topic("a/b").expect("a name");
    topic.publish(Priority::High, Kind::Json, b"{\"v\":1}").expect("room in the ring");
    let message = published(next(&mut traces));
    assert_eq!((&*message.topic, message.priority, message.seq), ("a/b", Priority::High, 1));
    assert_eq!((message.kind, message.bytes, message.from, message.parent), (Kind::Json, 7, None, None));
    let event = next(&mut traces);
    assert!(event.begin_ns <= event.end_ns, "{event:?}");
    assert_eq!(event.what, Traced::Delivered(message, 3));
    subscribers.iter_mut().for_each(|client| drop(next_payload(client)));
    // Nobody wants it: nothing is delivered.
    engine.topic("c").expect("a name").publish(Priority::Low, Kind::Text, b"x").expect("room in the ring");
    let mut publisher = connect(addr(&engine), "/", Some(JSON));
    settle(&mut publisher);
    let request = format!(r#"{{"type":"publish","topic":"a/b","data":2,"traceparent":"{VALUE}"}}"#);
    send(&mut publisher, &request);
    assert_eq!(&*published(next(&mut traces)).topic, "c");
    let message = published(next(&mut traces));
    assert_eq!((message.parent, message.seq), (TraceParent::parse(VALUE.as_bytes()), 1));
    let from = message.from.expect("a connection");
    assert_eq!(next(&mut traces).what, Traced::Delivered(message, 3));
    drop(publisher);
    let event = next(&mut traces);
    match event.what {
        Traced::Connected(connection) => {
            assert_eq!((connection.id, connection.protocol), (from, Protocol::JsonV1));
            assert!(connection.peer.is_some() && event.begin_ns < event.end_ns);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(traces.lost(), 0);
    drop(traces);
    let again = engine.traces(TracesConfig { sample: 0.0, events_max: 1 });
    assert!(again.is_ok(), "{again:?}");
    engine.shutdown_now();
}

#[test]
fn who_brings_a_traceparent_decides_and_chance_does_for_all_others() {
    let (engine, mut traces) = traced(DriverChoice::Epoll, 0.0);
    let topic = engine.topic("a").expect("a name");
    let said = |flags: &str| format!("level=3\ntraceparent={}", VALUE.replace("-01", flags));
    // What is no value of the header counts as none.
    for attributes in ["", &said("-00"), &said("-0x"), &said("-03")] {
        let message = Message { payload: b"x", attributes: attributes.as_bytes(), ..Message::default() };
        topic.publish_message(&message).expect("room in the ring");
    }
    let message = published(next(&mut traces));
    assert_eq!((message.seq, message.parent.map(|parent| parent.flags)), (4, Some(3)));
    drop(traces);
    let mut traces = engine.traces(TracesConfig { sample: 1.0, events_max: 1_000 }).expect("nobody has them");
    wait_until("the shard tells", || {
        topic.publish(Priority::Normal, Kind::Text, b"?").expect("room in the ring");
        traces.next().is_some()
    });
    let before = engine.topic("last").expect("a name");
    for attributes in [&said("-00"), &said("-0x")] {
        let message = Message { payload: b"x", attributes: attributes.as_bytes(), ..Message::default() };
        before.publish_message(&message).expect("room in the ring");
    }
    loop {
        let message = published(next(&mut traces));
        if &*message.topic == "last" {
            assert_eq!((message.seq, message.parent), (2, None));
            break;
        }
    }
    engine.shutdown_now();
}

#[test]
fn limits_of_traces_hold_at_the_limit_and_not_one_past_it() {
    let engine = start(config(DriverChoice::Epoll));
    for (sample, is_one) in [(-0.001, false), (0.0, true), (1.0, true), (1.001, false), (f64::NAN, false)] {
        let result = engine.traces(TracesConfig { sample, events_max: 1 });
        assert_eq!(matches!(result, Err(TracesError::Sample(_))), !is_one, "{sample}");
    }
    for (events_max, is_one) in [(0, false), (1, true), (TRACE_EVENTS_MAX, true), (TRACE_EVENTS_MAX + 1, false)] {
        let result = engine.traces(TracesConfig { sample: 0.5, events_max });
        assert_eq!(result.err(), (!is_one).then_some(TracesError::Events(events_max)));
    }
    engine.shutdown_now();
}

#[test]
fn what_the_host_does_not_take_is_lost_counted_and_holds_nobody_up() {
    let engine = start(config(DriverChoice::Epoll));
    let mut traces = engine.traces(TracesConfig { sample: 1.0, events_max: 4 }).expect("nobody has them");
    let topic = engine.topic("a").expect("a name");
    wait_until("the shard tells", || {
        topic.publish(Priority::Normal, Kind::Text, b"?").expect("room in the ring");
        traces.next().is_some()
    });
    while traces.next().is_some() {}
    let before = traces.lost();
    for _ in 0..100 {
        topic.publish_timeout(Priority::Normal, Kind::Text, b"x", PATIENCE).expect("room in the ring");
    }
    wait_until("what is lost is counted", || traces.lost() >= before + 90);
    assert!(traces.next().is_some());
    engine.shutdown_now();
}
