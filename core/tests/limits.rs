//! Every setting at its limits, one past them, at zero and at its type's maximum: refused by name, or taken and then as documented.

#![allow(clippy::disallowed_methods, reason = "tests live in real time")]

use crate::support;

use std::time::Duration;

use fanwire::{
    Config, ConfigError, DriverChoice, Engine, EventsConfig, Kind, LimitsConfig, MESSAGE_BYTES_MAX, Priority,
    PublishError, Retention, StartError, TopicConfig, TopicError,
};
use support::{
    Bare, JSON, addr, config, connect, masked, next_object, next_payload, read_to_close, send, start, try_connect,
    upgrade_request, wait_until,
};

on_both_drivers![
    what_is_taken_serves,
    the_largest_message_is_the_largest,
    the_largest_request_is_the_largest,
    as_many_topics_as_allowed_and_no_more,
    as_many_cursors_as_allowed_and_no_more,
    as_many_subscriptions_as_allowed_and_no_more,
    as_many_connections_as_allowed_and_no_more,
    messages_are_compressed_from_the_threshold_on,
    no_time_at_all_is_an_end_at_once,
    the_longest_times_never_end_anything,
];

/// What is to become of a row.
#[derive(Clone, Copy)]
enum Verdict {
    /// An engine starts with it and serves.
    Serves,
    /// It is legal; whether a machine has so much memory is another matter.
    Fits,
    /// Refused, with this setting named.
    Refused(&'static str),
}
use Verdict::{Fits, Refused, Serves};

type Row = (&'static str, fn(&mut Config), Verdict);

/// A setting for all topics.
fn topic(config: &mut Config) -> &mut TopicConfig {
    config.topics.push(TopicConfig::default());
    config.topics.last_mut().expect("just put there")
}

fn last(messages: Option<u64>, bytes: Option<u64>, age: Option<Duration>) -> Retention {
    Retention::Last { messages, bytes, age }
}

const YEAR_2554: Duration = Duration::from_nanos(u64::MAX);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("nothing special", |_| {}, Serves),
    ("listen: nowhere", |c| c.listen.clear(), Refused("listen")),
    ("listen: twice", |c| c.listen.push(([127, 0, 0, 1], 0).into()), Serves),
    ("shards: 0", |c| c.shards = Some(0), Refused("shards")),
    ("shards: 1", |c| c.shards = Some(1), Serves),
    ("shards: 64", |c| { c.shards = Some(64); c.memory.lane_bytes = 1 << 20; }, Serves),
    ("shards: 65", |c| { c.shards = Some(65); c.memory.lane_bytes = 1 << 14; }, Refused("shards")),
    ("shards: max", |c| c.shards = Some(usize::MAX), Refused("shards")),
    ("cpus: none", |c| c.cpus = Some(Vec::new()), Serves),
    ("cpus: one that is not there", |c| c.cpus = Some(vec![usize::MAX]), Serves),
    ("connections_max: 0 is the default", |c| c.connections_max = 0, Serves),
    ("connections_max: 1", |c| c.connections_max = 1, Serves),
    ("connections_max: 16 million", |c| c.connections_max = 16_000_000, Fits),
    ("connections_max: one past", |c| c.connections_max = 16_000_001, Refused("connections_max")),
    ("connections_max: max", |c| c.connections_max = u32::MAX, Refused("connections_max")),
    ("cursors_max: 0", |c| c.cursors_max = 0, Refused("cursors_max")),
    ("cursors_max: 1", |c| c.cursors_max = 1, Serves),
    ("cursors_max: 2^30", |c| c.cursors_max = 1 << 30, Fits),
    ("cursors_max: one past", |c| c.cursors_max = (1 << 30) + 1, Refused("cursors_max")),
    ("cursors_max: max", |c| c.cursors_max = u32::MAX, Refused("cursors_max")),
    ("topics_max: 0", |c| c.topics_max = 0, Refused("topics_max")),
    ("topics_max: 1", |c| c.topics_max = 1, Serves),
    ("topics_max: 1 million", |c| c.topics_max = 1_000_000, Serves),
    ("topics_max: one past", |c| c.topics_max = 1_000_001, Refused("topics_max")),
    ("topics_max: max", |c| c.topics_max = u32::MAX, Refused("topics_max")),
    ("ring_bytes: 0", |c| c.memory.ring_bytes = 0, Refused("memory.ring_bytes")),
    ("ring_bytes: half of the least", |c| c.memory.ring_bytes = 32 << 10, Refused("memory.ring_bytes")),
    ("ring_bytes: the least", |c| c.memory.ring_bytes = 64 << 10, Serves),
    ("ring_bytes: one past the least", |c| c.memory.ring_bytes = (64 << 10) + 1, Refused("memory.ring_bytes")),
    ("ring_bytes: the most", |c| c.memory.ring_bytes = 4 << 30, Fits),
    ("ring_bytes: twice the most", |c| c.memory.ring_bytes = 8 << 30, Refused("memory.ring_bytes")),
    ("ring_bytes: max", |c| c.memory.ring_bytes = usize::MAX, Refused("memory.ring_bytes")),
    ("lane_bytes: 0", |c| c.memory.lane_bytes = 0, Refused("memory.lane_bytes")),
    ("lane_bytes: one less than the least", |c| c.memory.lane_bytes = (16 << 10) - 1, Refused("memory.lane_bytes")),
    ("lane_bytes: the least", |c| c.memory.lane_bytes = 16 << 10, Serves),
    ("lane_bytes: the whole pool", |c| c.memory.lane_bytes = c.memory.pool_bytes, Serves),
    ("lane_bytes: one past", |c| c.memory.lane_bytes = c.memory.pool_bytes + 1, Refused("memory.pool_bytes")),
    ("lane_bytes: max", |c| c.memory.lane_bytes = usize::MAX, Refused("memory.lane_bytes")),
    ("pool_bytes: 0", |c| c.memory.pool_bytes = 0, Refused("memory.pool_bytes")),
    ("pool_bytes: one lane", |c| c.memory.pool_bytes = c.memory.lane_bytes, Serves),
    ("pool_bytes: one less", |c| c.memory.pool_bytes = c.memory.lane_bytes - 1, Refused("memory.pool_bytes")),
    ("pool_bytes: two shards, two lanes", |c| { c.shards = Some(2); c.memory.pool_bytes = 2 * c.memory.lane_bytes; }, Serves),
    ("pool_bytes: two shards, one less", |c| { c.shards = Some(2); c.memory.pool_bytes = 2 * c.memory.lane_bytes - 1; }, Refused("memory.pool_bytes")),
    ("pool_bytes: max", |c| c.memory.pool_bytes = usize::MAX, Refused("memory.pool_bytes")),
    ("payload_bytes: 0", |c| c.memory.payload_bytes = 0, Refused("memory.payload_bytes")),
    ("payload_bytes: two messages", |c| c.memory.payload_bytes = 2 * c.limits.message_bytes_max, Serves),
    ("payload_bytes: one less", |c| c.memory.payload_bytes = 2 * c.limits.message_bytes_max - 1, Refused("memory.payload_bytes")),
    ("payload_bytes: max", |c| c.memory.payload_bytes = usize::MAX, Refused("memory.payload_bytes")),
    ("remainder_bytes: 0", |c| c.memory.remainder_bytes = 0, Serves),
    ("remainder_bytes: max", |c| c.memory.remainder_bytes = usize::MAX, Refused("memory.remainder_bytes")),
    ("message_bytes_max: 0", |c| c.limits.message_bytes_max = 0, Refused("limits.message_bytes_max")),
    ("message_bytes_max: 1", |c| c.limits.message_bytes_max = 1, Serves),
    ("message_bytes_max: the most", |c| c.limits.message_bytes_max = MESSAGE_BYTES_MAX, Serves),
    ("message_bytes_max: one past", |c| c.limits.message_bytes_max = MESSAGE_BYTES_MAX + 1, Refused("limits.message_bytes_max")),
    ("message_bytes_max: max", |c| c.limits.message_bytes_max = usize::MAX, Refused("limits.message_bytes_max")),
    ("request_bytes_max: 0", |c| c.limits.request_bytes_max = 0, Refused("limits.request_bytes_max")),
    ("request_bytes_max: one less than the least", |c| c.limits.request_bytes_max = 511, Refused("limits.request_bytes_max")),
    ("request_bytes_max: the least", |c| c.limits.request_bytes_max = 512, Serves),
    ("request_bytes_max: the most", |c| c.limits.request_bytes_max = 64 << 10, Serves),
    ("request_bytes_max: one past", |c| c.limits.request_bytes_max = (64 << 10) + 1, Refused("limits.request_bytes_max")),
    ("request_bytes_max: max", |c| c.limits.request_bytes_max = usize::MAX, Refused("limits.request_bytes_max")),
    ("unsent_bytes_max: 0", |c| c.limits.unsent_bytes_max = 0, Refused("limits.unsent_bytes_max")),
    ("unsent_bytes_max: one less than the least", |c| c.limits.unsent_bytes_max = 1023, Refused("limits.unsent_bytes_max")),
    ("unsent_bytes_max: the least", |c| c.limits.unsent_bytes_max = 1024, Serves),
    ("unsent_bytes_max: the most", |c| c.limits.unsent_bytes_max = 64 << 20, Serves),
    ("unsent_bytes_max: one past", |c| c.limits.unsent_bytes_max = (64 << 20) + 1, Refused("limits.unsent_bytes_max")),
    ("unsent_bytes_max: max", |c| c.limits.unsent_bytes_max = usize::MAX, Refused("limits.unsent_bytes_max")),
    ("handshakes_max: 1", |c| c.limits.handshakes_max = 1, Serves),
    ("handshakes_max: all", |c| c.limits.handshakes_max = c.connections_max, Serves),
    ("handshakes_max: one past", |c| c.limits.handshakes_max = c.connections_max + 1, Refused("limits.handshakes_max")),
    ("connections_per_address_max: 0 is no limit", |c| c.limits.connections_per_address_max = 0, Serves),
    ("connections_per_address_max: 1", |c| c.limits.connections_per_address_max = 1, Serves),
    ("connections_per_address_max: 16 million", |c| c.limits.connections_per_address_max = 16_000_000, Serves),
    (
        "connections_per_address_max: one past",
        |c| c.limits.connections_per_address_max = 16_000_001,
        Refused("limits.connections_per_address_max"),
    ),
    ("upgrades_per_address_per_minute_max: 0 is no limit", |c| c.limits.upgrades_per_address_per_minute_max = 0, Serves),
    ("upgrades_per_address_per_minute_max: 10^9", |c| c.limits.upgrades_per_address_per_minute_max = 1_000_000_000, Serves),
    ("upgrades_per_address_per_minute_max: one past", |c| c.limits.upgrades_per_address_per_minute_max = 1_000_000_001, Refused("limits.upgrades_per_address_per_minute_max")),
    ("failures_per_address_per_minute_max: 0 is no limit", |c| c.limits.failures_per_address_per_minute_max = 0, Serves),
    ("failures_per_address_per_minute_max: 10^9", |c| c.limits.failures_per_address_per_minute_max = 1_000_000_000, Serves),
    ("failures_per_address_per_minute_max: one past", |c| c.limits.failures_per_address_per_minute_max = 1_000_000_001, Refused("limits.failures_per_address_per_minute_max")),
    ("inbound_messages_per_second_max: 0 is no limit", |c| c.limits.inbound_messages_per_second_max = 0, Serves),
    ("inbound_messages_per_second_max: 10^9", |c| c.limits.inbound_messages_per_second_max = 1_000_000_000, Serves),
    ("inbound_messages_per_second_max: one past", |c| c.limits.inbound_messages_per_second_max = 1_000_000_001, Refused("limits.inbound_messages_per_second_max")),
    ("inbound_bytes_per_second_max: 0 is no limit", |c| c.limits.inbound_bytes_per_second_max = 0, Serves),
    ("inbound_bytes_per_second_max: 2^40", |c| c.limits.inbound_bytes_per_second_max = 1 << 40, Serves),
    ("inbound_bytes_per_second_max: one past", |c| c.limits.inbound_bytes_per_second_max = (1 << 40) + 1, Refused("limits.inbound_bytes_per_second_max")),
    ("connections_per_subject_max: 0 is no limit", |c| c.limits.connections_per_subject_max = 0, Serves),
    ("connections_per_subject_max: 16 million", |c| c.limits.connections_per_subject_max = 16_000_000, Serves),
    ("connections_per_subject_max: one past", |c| c.limits.connections_per_subject_max = 16_000_001, Refused("limits.connections_per_subject_max")),
    ("topics_per_subject_max: 0 is no limit", |c| c.limits.topics_per_subject_max = 0, Serves),
    ("topics_per_subject_max: 1 million", |c| c.limits.topics_per_subject_max = 1_000_000, Serves),
    ("topics_per_subject_max: one past", |c| c.limits.topics_per_subject_max = 1_000_001, Refused("limits.topics_per_subject_max")),
    ("failures_per_address_per_minute_max: 1", |c| c.limits.failures_per_address_per_minute_max = 1, Serves),
    ("connections_per_subject_max: 1", |c| c.limits.connections_per_subject_max = 1, Serves),
    ("subscriptions_per_subject_max: 1", |c| c.limits.subscriptions_per_subject_max = 1, Serves),
    ("patterns_per_subject_max: 1", |c| c.limits.patterns_per_subject_max = 1, Serves),
    ("topics_per_subject_max: 1", |c| c.limits.topics_per_subject_max = 1, Serves),
    ("subscriptions_per_subject_max: max", |c| c.limits.subscriptions_per_subject_max = u32::MAX, Serves),
    ("patterns_per_subject_max: max", |c| c.limits.patterns_per_subject_max = u32::MAX, Serves),
    ("connection_lifetime: 0 is never", |c| c.limits.connection_lifetime = Duration::ZERO, Serves),
    ("connection_lifetime: 2^64 ns", |c| c.limits.connection_lifetime = YEAR_2554 + Duration::from_nanos(1), Serves),
    ("connection_lifetime: max", |c| c.limits.connection_lifetime = Duration::MAX, Serves),
    ("handshakes_max: max", |c| c.limits.handshakes_max = u32::MAX, Refused("limits.handshakes_max")),
    ("handshake_timeout: 0", |c| c.limits.handshake_timeout = Duration::ZERO, Refused("limits.handshake_timeout")),
    ("handshake_timeout: 2^64 ns", |c| c.limits.handshake_timeout = YEAR_2554 + Duration::from_nanos(1), Serves),
    ("handshake_timeout: max", |c| c.limits.handshake_timeout = Duration::MAX, Serves),
    ("ping_every: 0 is never", |c| c.limits.ping_every = Duration::ZERO, Serves),
    ("ping_every: 2^64 ns", |c| c.limits.ping_every = YEAR_2554 + Duration::from_nanos(1), Serves),
    ("ping_every: max", |c| c.limits.ping_every = Duration::MAX, Serves),
    ("message_timeout: 0 is never", |c| c.limits.message_timeout = Duration::ZERO, Serves),
    ("message_timeout: 2^64 ns", |c| c.limits.message_timeout = YEAR_2554 + Duration::from_nanos(1), Serves),
    ("message_timeout: max", |c| c.limits.message_timeout = Duration::MAX, Serves),
    ("idle_timeout: 0 is never", |c| c.limits.idle_timeout = Duration::ZERO, Serves),
    ("idle_timeout: 2^64 ns", |c| c.limits.idle_timeout = YEAR_2554 + Duration::from_nanos(1), Serves),
    ("idle_timeout: max", |c| c.limits.idle_timeout = Duration::MAX, Serves),
    ("close_timeout: max", |c| c.limits.close_timeout = Duration::MAX, Serves),
    ("close_window: 0", |c| c.limits.close_window = Duration::ZERO, Serves),
    ("close_window: 2^64 ns", |c| c.limits.close_window = YEAR_2554 + Duration::from_nanos(1), Serves),
    ("close_window: max", |c| c.limits.close_window = Duration::MAX, Serves),
    ("subscriptions_per_connection_max: 1", |c| c.limits.subscriptions_per_connection_max = 1, Serves),
    ("subscriptions_per_connection_max: max", |c| c.limits.subscriptions_per_connection_max = u32::MAX, Serves),
    ("topics: no pattern", |c| topic(c).pattern.clear(), Refused("topics.pattern")),
    ("topics: no such pattern", |c| topic(c).pattern = "a//b".into(), Refused("topics.pattern")),
    ("topics: many", |c| c.topics = vec![TopicConfig::default(); 10_000], Serves),
    ("topics.lane_bytes: 0", |c| topic(c).lane_bytes = Some(0), Refused("topics.lane_bytes")),
    ("topics.lane_bytes: one less than the least", |c| topic(c).lane_bytes = Some((16 << 10) - 1), Refused("topics.lane_bytes")),
    ("topics.lane_bytes: the least", |c| topic(c).lane_bytes = Some(16 << 10), Serves),
    ("topics.lane_bytes: the whole pool", |c| { let all = c.memory.pool_bytes; topic(c).lane_bytes = Some(all); }, Serves),
    ("topics.lane_bytes: one past", |c| { let all = c.memory.pool_bytes; topic(c).lane_bytes = Some(all + 1); }, Refused("topics.lane_bytes")),
    ("topics.lane_bytes: max", |c| topic(c).lane_bytes = Some(usize::MAX), Refused("topics.lane_bytes")),
    ("topics.batch_window: 0", |c| topic(c).batch_window = Some(Duration::ZERO), Serves),
    ("topics.batch_window: 2^64 ns", |c| topic(c).batch_window = Some(YEAR_2554 + Duration::from_nanos(1)), Serves),
    ("topics.batch_window: max", |c| topic(c).batch_window = Some(Duration::MAX), Serves),
    ("topics.deliver_within: the most", |c| topic(c).deliver_within = Duration::from_secs(1), Serves),
    ("topics.deliver_within: one past", |c| topic(c).deliver_within = Duration::from_millis(1_001), Refused("topics.deliver_within")),
    ("topics.deliver_within: 1 ms", |c| topic(c).deliver_within = Duration::from_millis(1), Serves),
    ("topics.deliver_within: half a millisecond", |c| topic(c).deliver_within = Duration::from_micros(500), Refused("topics.deliver_within")),
    ("topics.deliver_within: max", |c| topic(c).deliver_within = Duration::MAX, Refused("topics.deliver_within")),
    ("topics.retention: nothing of anything", |c| topic(c).retention = last(Some(0), Some(0), Some(Duration::ZERO)), Serves),
    ("topics.retention: 1 of each", |c| topic(c).retention = last(Some(1), Some(1), Some(Duration::from_nanos(1))), Serves),
    ("topics.retention: max", |c| topic(c).retention = last(Some(u64::MAX), Some(u64::MAX), Some(Duration::MAX)), Serves),
    ("topics.retention: 2^64 ns", |c| topic(c).retention = last(None, None, Some(YEAR_2554 + Duration::from_nanos(1))), Serves),
    ("threshold_bytes: 0", |c| c.compression.threshold_bytes = 0, Serves),
    ("threshold_bytes: max", |c| c.compression.threshold_bytes = usize::MAX, Serves),
    ("events.capacity: 1", |c| c.events = EventsConfig { capacity: 1, messages: false }, Serves),
    ("events.capacity: the most", |c| c.events = EventsConfig { capacity: 1 << 20, messages: true }, Fits),
    ("events.capacity: one past", |c| c.events.capacity = (1 << 20) + 1, Refused("events.capacity")),
    ("events.capacity: max", |c| c.events.capacity = usize::MAX, Refused("events.capacity")),
    ("events.messages: no room for any", |c| c.events = EventsConfig { capacity: 0, messages: true }, Refused("events.messages")),
    ("trusted_proxies: none", |c| c.access.trusted_proxies.clear(), Serves),
    ("trusted_proxies: 64", |c| c.access.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(); 64], Serves),
    (
        "trusted_proxies: one past",
        |c| c.access.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(); 65],
        Refused("access.trusted_proxies"),
    ),
    ("listen: behind a proxy that is not named", |c| c.listen.push("127.0.0.1:0?proxy".parse().unwrap()), Refused("listen")),
    ("allowed_origins: with a slash", |c| c.access.allowed_origins = vec!["https://a/".into()], Refused("access.allowed_origins")),
    ("allowed_origins: many", |c| c.access.allowed_origins = vec!["https://example.com".into(); 10_000], Serves),
    ("server_name: empty", |c| c.server_name.clear(), Serves),
    ("server_name: the longest, all escaped", |c| c.server_name = "\u{1}".repeat(255), Serves),
    ("server_name: one past", |c| c.server_name = "x".repeat(256), Refused("server_name")),
];

/// The same without a kernel: refused by name, with the value and the way out; and the plan of what is taken adds up.
#[test]
fn what_is_wrong_is_named() {
    for (what, set, verdict) in TABLE {
        let mut config = config(DriverChoice::Epoll);
        set(&mut config);
        let plan = config.plan();
        let is_memory = |error: &ConfigError| error.problem.contains("do not fit");
        match (verdict, &plan) {
            (Refused(field), Err(errors)) => {
                let error = errors.iter().find(|error| error.field == *field);
                let error = error.unwrap_or_else(|| panic!("{what}: {field} is not among {errors:?}"));
                assert!(!error.problem.is_empty() && !is_memory(error), "{what}: {error}");
                assert!(error.to_string().starts_with(field), "{what}: {error}");
            }
            (Serves, Ok(plan)) | (Fits, Ok(plan)) => {
                assert!(plan.total_bytes() >= plan.lines.iter().map(|line| line.bytes).max().unwrap_or_default());
            }
            (Fits, Err(errors)) if errors.iter().all(is_memory) => {}
            (_, plan) => panic!("{what}: {plan:?}"),
        }
    }
    let wrong_twice = Config { topics_max: 0, listen: Vec::new(), ..Config::default() };
    assert_eq!(wrong_twice.plan().expect_err("two things are wrong").len(), 2, "each is told");
}

fn what_is_taken_serves(driver: DriverChoice) {
    for (what, set, verdict) in TABLE {
        let mut config = config(driver);
        set(&mut config);
        match (verdict, Engine::start(config)) {
            (Refused(_), Err(StartError::Config(_))) | (Fits, _) => {}
            (Serves, Ok(engine)) => {
                let topic = engine.topic("t").expect("one topic at least");
                let mut client = connect(addr(&engine), "/t/t", None);
                wait_until(what, || engine.stats().total.upgraded == 1);
                topic.publish(Priority::Normal, Kind::Text, b"1").expect("room for a byte");
                assert_eq!(next_payload(&mut client), b"1", "{what}");
                client.close(None).expect("a live client");
                assert_eq!(read_to_close(&mut client).0.len(), 0, "{what}");
                engine.shutdown(Duration::from_secs(30));
            }
            (_, Ok(_)) => panic!("{what}: it started"),
            (_, Err(error)) => panic!("{what}: {error}"),
        }
    }
}

fn publish(engine: &Engine, len: usize) -> Result<(), PublishError> {
    let topic = engine.topic("t").expect("one topic at least");
    topic.publish_timeout(Priority::Normal, Kind::Binary, &vec![7; len], support::PATIENCE).map(drop)
}

fn the_largest_message_is_the_largest(driver: DriverChoice) {
    for max in [1, 125, 126, 65_535, 65_536, 100_000] {
        let engine = start(with_limits(driver, |limits| limits.message_bytes_max = max));
        let mut subscriber = connect(addr(&engine), "/t/t", None);
        wait_until("it is in", || engine.stats().total.upgraded == 1);
        publish(&engine, max).expect("the largest");
        assert_eq!(next_payload(&mut subscriber).len(), max);
        assert!(matches!(publish(&engine, max + 1), Err(PublishError::TooLarge { .. })), "{max}");
        let mut client = Bare::upgraded(addr(&engine), "/t/t?echo=false", None);
        client.send(&masked(0x82, &vec![7; max]));
        client.send(&masked(0x02, &vec![7; max - 1]));
        client.send(&masked(0x80, &[7]));
        for _ in 0..2 {
            assert_eq!(next_payload(&mut subscriber).len(), max);
        }
        client.send(&masked(0x82, &vec![7; max + 1]));
        while let Some(frame) = client.frame() {
            if frame.first == 0x88 {
                assert_eq!(frame.payload[..2], 1009u16.to_be_bytes(), "{max}");
                break;
            }
        }
        let mut client = Bare::upgraded(addr(&engine), "/t/t", None);
        client.send(&[masked(0x02, &vec![7; max]), masked(0x80, &[7])].concat());
        assert_eq!(client.close_code(), 1009, "{max} in fragments");
        engine.shutdown_now();
    }
}

fn with_limits(driver: DriverChoice, set: impl FnOnce(&mut LimitsConfig)) -> Config {
    let mut config = config(driver);
    set(&mut config.limits);
    config
}

fn the_largest_request_is_the_largest(driver: DriverChoice) {
    for max in [512, 16 << 10, 64 << 10] {
        let engine = start(with_limits(driver, |limits| limits.request_bytes_max = max));
        for (length, answer) in [(max, "HTTP/1.1 101 "), (max + 1, "HTTP/1.1 431 ")] {
            let request = upgrade_request("/t/t", None);
            let filler = format!("X: {}\r\n", "x".repeat(length - request.len() - 5));
            let request = request.replace("Upgrade: ", &format!("{filler}Upgrade: "));
            assert_eq!(request.len(), length);
            let mut client = Bare::connect(addr(&engine));
            client.send(request.as_bytes());
            let head = client.response_head();
            assert!(head.starts_with(answer), "{length} of {max}: {head}");
        }
        engine.shutdown_now();
    }
}

fn as_many_topics_as_allowed_and_no_more(driver: DriverChoice) {
    let engine = start(Config { topics_max: 2, ..config(driver) });
    let first = engine.topic("a").expect("the first");
    let _second = engine.topic("b").expect("the second");
    engine.topic("a").expect("known already");
    assert!(matches!(engine.topic("c"), Err(TopicError::TooMany)));
    // A client's topics count as well.
    let mut client = Bare::connect(addr(&engine));
    client.send(upgrade_request("/t/c", None).as_bytes());
    assert!(client.response_head().starts_with("HTTP/1.1 503 "));
    // Nobody needs it any more: there is room for another.
    drop(first);
    engine.topic("c").expect("in its place");
    engine.shutdown_now();
}

/// Subscribes, and gives the error's code or "subscribed".
fn subscribed(client: &mut support::Client, topic: &str) -> String {
    send(client, &serde_json::json!({"type": "subscribe", "id": topic, "topics": [topic]}).to_string());
    loop {
        let object = next_object(client);
        if object["id"] == topic {
            return object["code"].as_str().unwrap_or("subscribed").to_owned();
        }
    }
}

fn as_many_cursors_as_allowed_and_no_more(driver: DriverChoice) {
    for max in [1, 7] {
        let engine = start(Config { cursors_max: max, ..config(driver) });
        let topics: Vec<_> = (0..10).map(|i| engine.topic(&format!("t/{i}")).expect("a topic")).collect();
        for topic in &topics {
            topic.publish(Priority::Normal, Kind::Text, b"1").expect("room");
        }
        let mut client = connect(addr(&engine), "/", Some(JSON));
        let answers: Vec<_> = (0..10).map(|i| subscribed(&mut client, &format!("t/{i}"))).collect();
        let taken = answers.iter().filter(|answer| *answer == "subscribed").count();
        assert_eq!(taken, max as usize, "{answers:?}");
        wait_until("they are counted", || engine.stats().total.cursors == u64::from(max));
        engine.shutdown_now();
    }
}

fn as_many_subscriptions_as_allowed_and_no_more(driver: DriverChoice) {
    for max in [0, 1, 5] {
        let engine = start(with_limits(driver, |limits| limits.subscriptions_per_connection_max = max));
        let mut client = connect(addr(&engine), "/", Some(JSON));
        assert_eq!(next_object(&mut client)["limits"]["subscriptions_max"], max);
        for i in 0..max {
            assert_eq!(subscribed(&mut client, &format!("t/{i}")), "subscribed");
        }
        for topic in ["one/more", "one/*"] {
            let code = subscribed(&mut client, topic);
            assert_eq!(code, "too_many_subscriptions", "{max}");
        }
        engine.shutdown_now();
    }
}

fn as_many_connections_as_allowed_and_no_more(driver: DriverChoice) {
    for max in [1, 3] {
        let engine = start(Config { connections_max: max, shards: Some(2), ..config(driver) });
        let clients: Vec<_> = (0..max).map(|_| connect(addr(&engine), "/t/t", None)).collect();
        let mut refused = Bare::connect(addr(&engine));
        refused.send(upgrade_request("/t/t", None).as_bytes());
        assert!(refused.response_head().starts_with("HTTP/1.1 503 "), "{max}");
        refused.read_to_end();
        drop(clients);
        wait_until("a place is free", || try_connect(addr(&engine), "/t/t", None).is_ok());
        engine.shutdown_now();
    }
}

fn messages_are_compressed_from_the_threshold_on(driver: DriverChoice) {
    for (threshold, lens, compressed) in
        [(0, [60, 600], 2), (600, [599, 600], 1), (601, [599, 600], 0), (usize::MAX, [60, 60_000], 0)]
    {
        let mut config = config(driver);
        config.compression.threshold_bytes = threshold;
        let engine = start(config);
        let request = upgrade_request("/t/t", None)
            .replace("Upgrade: ", "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: ");
        let mut client = Bare::connect(addr(&engine));
        client.send(request.as_bytes());
        assert!(client.response_head().contains("permessage-deflate"));
        wait_until("it is in", || engine.stats().total.upgraded == 1);
        for len in lens {
            publish(&engine, len).expect("room");
        }
        let frames = lens.map(|_| client.frame().expect("a message").first);
        let marked = frames.iter().filter(|first| **first == 0xC2).count();
        assert_eq!(marked, compressed, "from {threshold} on: {frames:x?}");
        wait_until("it is counted", || engine.stats().total.compressed == compressed as u64);
        engine.shutdown_now();
    }
}

fn no_time_at_all_is_an_end_at_once(driver: DriverChoice) {
    let nothing = Duration::from_nanos(1);
    let engine = start(with_limits(driver, |limits| limits.handshake_timeout = nothing));
    Bare::connect(addr(&engine)).read_to_end();
    engine.shutdown(Duration::ZERO);

    let engine = start(with_limits(driver, |limits| limits.idle_timeout = nothing));
    assert_eq!(Bare::upgraded(addr(&engine), "/t/t", None).close_code(), 1001);
    engine.shutdown(Duration::ZERO);

    // Pinged without end, and never closed for it, for the other side answers.
    let engine = start(with_limits(driver, |limits| limits.ping_every = Duration::from_secs(1)));
    let mut client = Bare::upgraded(addr(&engine), "/t/t", None);
    for _ in 0..2 {
        assert_eq!(client.frame().expect("a ping").first, 0x89);
        client.send(&masked(0x8a, b""));
    }
    engine.shutdown(Duration::ZERO);

    // The close frame may or may not get out; the end comes in either case.
    let engine = start(with_limits(driver, |limits| limits.close_timeout = Duration::ZERO));
    let mut client = Bare::upgraded(addr(&engine), "/t/t", None);
    client.send(&masked(0x83, b""));
    let code = client.close_code();
    assert!(code == 1002 || code == 1006, "{code}");
    engine.shutdown(Duration::ZERO);
}

fn the_longest_times_never_end_anything(driver: DriverChoice) {
    let mut config = with_limits(driver, |limits| {
        limits.handshake_timeout = Duration::MAX;
        limits.ping_every = Duration::MAX;
        limits.idle_timeout = Duration::MAX;
        limits.close_timeout = Duration::MAX;
    });
    config.events.capacity = 10;
    let mut engine = start(config);
    let mut slow = Bare::connect(addr(&engine));
    let mut silent = Bare::upgraded(addr(&engine), "/t/t", None);
    // Some ticks of the shard's wheel.
    support::pause(300);
    publish(&engine, 3).expect("room");
    assert_eq!(silent.frame().expect("the message").payload, [7; 3]);
    slow.send(upgrade_request("/t/t", None).as_bytes());
    assert!(slow.response_head().starts_with("HTTP/1.1 101 "));
    // Waits have no end either, but for what they wait for.
    let mut events = engine.events().expect("asked for");
    for _ in 0..2 {
        assert!(events.wait(Duration::MAX).is_some());
    }
    let topic = engine.topic("t").expect("known");
    topic.publish_timeout(Priority::Normal, Kind::Binary, &[1; 100_000], Duration::MAX).expect("room");
    for client in [&mut silent, &mut slow] {
        while client.frame().expect("the message").payload.len() < 100_000 {}
    }
    let others = std::thread::spawn(move || [silent.close_code(), slow.close_code()]);
    assert!(engine.shutdown(Duration::MAX).is_clean);
    assert_eq!(others.join().expect("well-behaved clients"), [1001, 1001]);
}
