//! Every metric moves: a table of all of them, with what moves each.
//!
//! Four short plays move most. The others are moved by tests of their own, which the table names, and which must name them.

#![allow(clippy::disallowed_methods, reason = "tests live in real time")]

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fanwire::{DriverChoice, Engine, Kind, Priority, TopicConfig, metrics, settings};
use support::{Bare, JSON, PATIENCE, addr, config, masked, start, upgrade_request, wait_until};

/// What moves a metric.
enum By {
    /// It is above 0 in a scrape of one of the plays here.
    Play(&'static str),
    /// It is above 0 from the start on.
    Start,
    /// A test elsewhere, in this file of the repository, that names it so.
    Test(&'static str, &'static str),
}
use By::{Play, Start, Test};

const NEWS: &str = "news";
const LOSS: &str = "loss";
const REFUSED: &str = "refused";
const COMPRESSED: &str = "compressed";

/// Families, but for the prefix `fanwire_`.
const TABLE: &[(&str, By)] = &[
    ("build", Start),
    ("running", Start),
    ("start_time_seconds", Start),
    ("connections_limit", Start),
    ("topics_limit", Start),
    ("cursors_limit", Start),
    ("ring_limit_bytes", Start),
    ("payload_limit_bytes", Start),
    ("log_limit_bytes", Start),
    ("memory_planned_bytes", Start),
    ("certificate_expiry_seconds", Test("core/tests/tls.rs", "fanwire_certificate_expiry_seconds")),
    ("publish_to_first_send_seconds", Play(NEWS)),
    ("publish_to_last_send_seconds", Play(NEWS)),
    ("turn_duration_seconds", Play(NEWS)),
    ("sends_per_turn", Play(NEWS)),
    ("send_batch_size", Play(NEWS)),
    ("dropped_messages", Play(LOSS)),
    ("refusals", Play(REFUSED)),
    ("shards", Start),
    ("ring_bytes", Test("core/tests/standstill.rs", "ring_bytes")),
    ("payload_bytes", Play(LOSS)),
    ("connections", Play(NEWS)),
    ("accepted", Play(NEWS)),
    ("refused", Play(REFUSED)),
    ("upgraded", Play(NEWS)),
    ("upgrades_refused", Play(REFUSED)),
    ("closed", Play(REFUSED)),
    ("violations", Play(REFUSED)),
    ("evicted", Test("core/tests/counters.rs", "evicted")),
    ("pongs_missed", Test("core/tests/counters.rs", "pongs_missed")),
    ("cut_off", Test("core/tests/counters.rs", "cut_off")),
    ("topics", Play(NEWS)),
    ("cursors", Play(NEWS)),
    ("messages", Play(NEWS)),
    ("message_bytes", Play(NEWS)),
    ("received", Play(NEWS)),
    ("deliveries", Play(NEWS)),
    ("encoded", Play(NEWS)),
    ("compressed", Play(COMPRESSED)),
    ("rebuilt", Test("core/src/sim/seeds.rs", "rebuilt")),
    ("lagging", Test("core/src/sim/stage/lag.rs", "lagging")),
    ("passed_over", Test("core/src/sim/stage/pace.rs", "passed_over")),
    ("sent_bytes", Play(NEWS)),
    ("sends", Play(NEWS)),
    ("sends_short", Play(LOSS)),
    ("syscalls", Play(NEWS)),
    ("gaps", Play(LOSS)),
    ("dropped_critical", Test("core/tests/counters.rs", "dropped_critical")),
    ("dropped_high", Test("core/tests/counters.rs", "dropped_high")),
    ("dropped_normal", Play(LOSS)),
    ("dropped_low", Test("core/tests/counters.rs", "dropped_low")),
    ("unlogged", Test("core/src/sim/run.rs", "unlogged")),
    ("log_bytes", Play(NEWS)),
    ("remainder_bytes", Test("core/src/sim/run.rs", "remainder_bytes")),
    ("events_waiting", Test("core/src/sim/run.rs", "events_waiting")),
    ("turns", Play(NEWS)),
    ("sleeps", Play(NEWS)),
    ("recv_buffers_exhausted", Test("core/src/driver/conformance/receiving.rs", "recv_buffers_exhausted")),
    ("cq_overflows", Test("core/src/driver/uring/tests.rs", "cq_overflows")),
    ("accept_exhausted", Test("core/tests/faults.rs", "accept_exhausted")),
    ("turn_steps_max", Play(NEWS)),
    ("turn_max_seconds", Test("core/tests/metrics.rs", "fanwire_turn_max_seconds")),
    ("client_bytes", Play(NEWS)),
    ("lifetimes_ended", Test("core/src/sim/stage/deadlines.rs", "lifetimes_ended")),
    ("refused_too_often", Test("core/src/sim/stage/addresses.rs", "refused_too_often")),
    ("refused_failing", Test("core/src/sim/stage/addresses.rs", "refused_failing")),
    ("addresses_failing", Test("core/src/sim/stage/addresses.rs", "addresses_failing")),
    ("refused_for_subject", Test("core/src/sim/stage/subjects.rs", "refused_for_subject")),
    ("input_paused", Test("core/src/sim/stage/senders.rs", "input_paused")),
    ("senders_paused", Test("core/src/sim/world.rs", "senders_paused")),
    ("too_fast", Test("core/src/sim/stage/senders.rs", "too_fast")),
    ("drained", Play(NEWS)),
    ("proxy_refused", Test("core/tests/proxies.rs", "proxy_refused")),
    ("refused_full", Play(REFUSED)),
    ("refused_for_address", Play(REFUSED)),
    ("refused_waiting", Play(REFUSED)),
    ("subscriptions_refused", Play(REFUSED)),
    ("topics_refused", Play(REFUSED)),
    ("messages_too_large", Play(REFUSED)),
    ("compressed_from_bytes", Play(COMPRESSED)),
    ("compressed_to_bytes", Play(COMPRESSED)),
    ("compression_saved_bytes", Play(COMPRESSED)),
    ("busy_seconds", Play(NEWS)),
    ("renewed", Test("core/src/sim/stage/renew.rs", "renewed")),
    ("renewals_refused", Test("core/src/sim/stage/renew.rs", "renewals_refused")),
    ("tls_handshakes", Test("core/src/driver/tls/tests/limits.rs", "tls_handshakes")),
    ("tls_failed", Test("core/src/driver/tls/tests/limits.rs", "tls_failed")),
    ("tls_bytes", Test("core/src/driver/tls/tests/limits.rs", "tls_bytes")),
    ("tls_max_bytes", Test("core/src/driver/tls/tests/limits.rs", "tls_bytes_max")),
    ("out_of_order", Test("core/src/sim/world.rs", "totals.out_of_order")),
    ("handshakes_late", Test("core/src/sim/stage/deadlines.rs", "handshakes_late")),
    ("closed_idle", Test("core/src/sim/stage/deadlines.rs", "closed_idle")),
];

/// Limits by their settings, each with the family that counts who has run into it.
const LIMITS: &[(&str, &str)] = &[
    ("connections_max", "refused_full"),
    ("cursors_max", "subscriptions_refused"),
    ("topics_max", "topics_refused"),
    ("limits.message_bytes_max", "messages_too_large"),
    ("limits.request_bytes_max", "upgrades_refused"),
    ("limits.handshake_timeout", "handshakes_late"),
    ("limits.handshakes_max", "refused_waiting"),
    ("limits.connections_per_address_max", "refused_for_address"),
    ("limits.upgrades_per_address_per_minute_max", "refused_too_often"),
    ("limits.failures_per_address_per_minute_max", "refused_failing"),
    ("limits.inbound_messages_per_second_max", "input_paused"),
    ("limits.inbound_bytes_per_second_max", "input_paused"),
    ("limits.connection_lifetime", "lifetimes_ended"),
    ("limits.connections_per_subject_max", "refused_for_subject"),
    ("limits.subscriptions_per_subject_max", "refused_for_subject"),
    ("limits.patterns_per_subject_max", "refused_for_subject"),
    ("limits.topics_per_subject_max", "refused_for_subject"),
    ("limits.ping_every", "pongs_missed"),
    ("limits.idle_timeout", "closed_idle"),
    ("limits.message_timeout", "violations"),
    ("limits.close_window", "drained"),
    ("limits.subscriptions_per_connection_max", "subscriptions_refused"),
    ("limits.topics_per_connection_max", "topics_refused"),
];

/// Settings among them that refuse and end nothing: what the kernel may hold, how long an end that has begun may take.
const NO_LIMITS: [&str; 2] = ["limits.unsent_bytes_max", "limits.close_timeout"];

/// A new limit finds its way into the metrics, and into the page that says what happens past it.
#[test]
fn every_limit_has_a_counter_that_moves_and_stands_in_the_page() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to/limits.md")).expect("a page");
    let is_limit = |name: &str| {
        name.starts_with("limits.") && !NO_LIMITS.contains(&name)
            || ["connections_max", "cursors_max", "topics_max"].contains(&name)
    };
    let mut limits: Vec<&str> = settings().map(|setting| setting.name).filter(|name| is_limit(name)).collect();
    let mut counted: Vec<&str> = LIMITS.iter().map(|(limit, _)| *limit).collect();
    limits.sort_unstable();
    counted.sort_unstable();
    assert_eq!(limits, counted, "limits, and those that are counted");
    for (limit, family) in LIMITS {
        assert!(TABLE.iter().any(|(name, _)| name == family), "{limit}: there is no {family}");
        let short = limit.rsplit('.').next().unwrap_or_default();
        if let Some(line) = page.lines().find(|line| line.starts_with(&format!("| `{short}` "))) {
            assert!(line.contains(&format!("`{family}`")), "{family} does not stand in docs/how-to/limits.md: {line}");
        }
    }
}

/// The samples of a text: names with labels, and values.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("\n# EOF\n"), "no end: {text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let split = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    };
    lines.map(split).collect()
}

/// The highest sample of a family.
fn highest(samples: &BTreeMap<String, f64>, family: &str) -> f64 {
    let of_family = |name: &str| {
        let rest = name.strip_prefix("fanwire_").and_then(|name| name.strip_prefix(family));
        rest.is_some_and(|rest| ["", "_total", "_count", "_info"].contains(&rest.split('{').next().unwrap_or_default()))
    };
    samples.iter().filter(|(name, _)| of_family(name)).map(|(_, value)| *value).fold(0.0, f64::max)
}

fn scrape(engine: &Engine) -> BTreeMap<String, f64> {
    samples(&engine.metrics())
}

fn subscribe(client: &mut Bare, topic: &str) {
    client.send(&masked(0x81, format!(r#"{{"type":"subscribe","topics":["{topic}"]}}"#).as_bytes()));
    client.send(&masked(0x81, br#"{"type":"ping","id":"in"}"#));
    while !String::from_utf8_lossy(&client.frame().expect("an answer").payload).contains("pong") {}
}

/// Messages to a few, and a good end.
fn news() -> BTreeMap<String, f64> {
    let mut engine = start(config(DriverChoice::Epoll));
    let topic = engine.topic("news").expect("a sound topic");
    let mut client = Bare::upgraded(addr(&engine), "/", Some(JSON));
    subscribe(&mut client, "*");
    for _ in 0..5 {
        topic.publish(Priority::Normal, Kind::Text, b"hello").expect("room");
        while !String::from_utf8_lossy(&client.frame().expect("a message").payload).contains("hello") {}
    }
    wait_until("it is measured", || highest(&scrape(&engine), "publish_to_last_send_seconds") >= 1.0);
    wait_until("gauges are up to date", || highest(&scrape(&engine), "cursors") == 1.0);
    let mut seen = scrape(&engine);
    let reader = std::thread::spawn(move || {
        while let Some(frame) = client.frame() {
            if frame.first == 0x88 {
                client.send(&masked(0x88, &frame.payload));
            }
        }
    });
    assert!(engine.drain(PATIENCE).is_clean);
    reader.join().expect("a client that reads");
    let end = scrape(&engine);
    assert_eq!((highest(&end, "drained"), highest(&end, "running")), (1.0, 0.0));
    seen.extend(end.into_iter().filter(|(name, _)| name.starts_with("fanwire_drained")));
    seen
}

/// One who does not read, below a pattern.
fn loss() -> BTreeMap<String, f64> {
    let mut config = config(DriverChoice::Epoll);
    config.memory.lane_bytes = 256 << 10;
    config.topics = vec![TopicConfig { pattern: "rover/**".into(), ..TopicConfig::default() }];
    let engine = start(config);
    let topic = engine.topic("rover/1").expect("a sound topic");
    let mut client = Bare::connect_thin(addr(&engine)).upgrade("/", Some(JSON));
    subscribe(&mut client, "rover/1");
    let large = vec![b'x'; 20_000];
    wait_until("it has lost something", || {
        for _ in 0..20 {
            topic.publish_timeout(Priority::Normal, Kind::Text, &large, PATIENCE).expect("room");
        }
        // Who takes nothing at all is not looked at.
        client.frame().expect("a message");
        scrape(&engine)
            .contains_key(r#"fanwire_dropped_messages_total{pattern="rover/**",priority="normal",reason="lag"}"#)
    });
    wait_until("counters follow", || highest(&scrape(&engine), "gaps") > 0.0);
    scrape(&engine)
}

/// Refusals of many kinds.
fn refused() -> BTreeMap<String, f64> {
    let mut config = config(DriverChoice::Epoll);
    config.connections_max = 3;
    config.limits.connections_per_address_max = 3;
    config.limits.subscriptions_per_connection_max = 1;
    config.limits.topics_per_connection_max = 1;
    config.limits.message_bytes_max = 1_000;
    config.limits.handshakes_max = 1;
    let engine = start(config);
    let at = addr(&engine);
    let mut client = Bare::connect(at);
    client.send(upgrade_request("/nowhere", None).as_bytes());
    assert!(client.response_head().starts_with("HTTP/1.1 404 "));
    drop(client);
    let is = |family: &'static str, value: f64| {
        wait_until(family, || highest(&scrape(&engine), family) == value);
    };
    is("closed", 1.0);
    let mut client = Bare::upgraded(at, "/", Some(JSON));
    client.send(&masked(0x81, br#"{"type":"subscribe","topics":["a"]}"#));
    client.send(&masked(0x81, br#"{"type":"subscribe","topics":["b"]}"#));
    is("subscriptions_refused", 1.0);
    client.send(&masked(0x82, &[0; 1_001]));
    is("messages_too_large", 1.0);
    drop(client);
    is("closed", 2.0);
    // Of two that say nothing the older one makes room.
    let silent = (Bare::connect(at), Bare::connect(at));
    is("refused_waiting", 1.0);
    drop(silent);
    is("connections", 0.0);
    let upgraded: Vec<_> = (0..3).map(|_| Bare::upgraded(at, "/t/a", None)).collect();
    let mut fourth = Bare::connect(at);
    assert!(fourth.response_head().starts_with("HTTP/1.1 429 "));
    is("refused_for_address", 1.0);
    drop((upgraded, fourth));
    let mut seen = scrape(&engine);
    seen.extend(too_many_connections_and_topics());
    seen
}

/// The same for limits that the first ones would hide.
fn too_many_connections_and_topics() -> BTreeMap<String, f64> {
    let mut config = config(DriverChoice::Epoll);
    config.connections_max = 1;
    config.limits.topics_per_connection_max = 1;
    let engine = start(config);
    let mut client = Bare::upgraded(addr(&engine), "/", Some(JSON));
    for topic in ["a", "b"] {
        client.send(&masked(0x81, format!(r#"{{"type":"subscribe","topics":["{topic}"]}}"#).as_bytes()));
    }
    wait_until("a topic is refused", || highest(&scrape(&engine), "topics_refused") == 1.0);
    let mut second = Bare::connect(addr(&engine));
    assert!(second.response_head().starts_with("HTTP/1.1 503 "));
    wait_until("it is counted", || highest(&scrape(&engine), "refused_full") == 1.0);
    let of_this = ["fanwire_topics_refused", "fanwire_refused_full"];
    scrape(&engine).into_iter().filter(|(name, _)| of_this.iter().any(|other| name.starts_with(other))).collect()
}

/// A message that is compressed, for one who agreed to it.
fn compressed() -> BTreeMap<String, f64> {
    let mut config = config(DriverChoice::Epoll);
    config.compression.deflate = true;
    let engine = start(config);
    let topic = engine.topic("news").expect("a sound topic");
    let request = upgrade_request("/t/news", None)
        .replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n");
    let mut client = Bare::connect(addr(&engine));
    client.send(request.as_bytes());
    assert!(client.response_head().contains("permessage-deflate"));
    wait_until("somebody is there", || highest(&scrape(&engine), "upgraded") == 1.0);
    let text = "the same again. ".repeat(500);
    topic.publish(Priority::Normal, Kind::Text, text.as_bytes()).expect("room");
    let frame = client.frame().expect("a message");
    wait_until("it is counted", || highest(&scrape(&engine), "compressed_to_bytes") > 0.0);
    let seen = scrape(&engine);
    let of = |family| highest(&seen, family) as usize;
    assert_eq!((of("compressed_from_bytes"), of("compressed_to_bytes")), (text.len(), frame.payload.len()));
    assert_eq!(of("compression_saved_bytes"), text.len() - frame.payload.len(), "one subscriber");
    seen
}

#[test]
fn every_metric_is_moved_by_what_the_table_says() {
    let plays = BTreeMap::from([(NEWS, news()), (LOSS, loss()), (REFUSED, refused()), (COMPRESSED, compressed())]);
    let mut faults = Vec::new();
    for (family, by) in TABLE {
        match by {
            Start => assert!(highest(&plays[NEWS], family) > 0.0 || *family == "running", "{family}"),
            Play(play) if highest(&plays[play], family) > 0.0 => {}
            Play(play) => faults.push(format!("{family} did not move in {play}")),
            Test(file, named) => {
                let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file));
                if !text.unwrap_or_default().contains(named) {
                    faults.push(format!("{file} does not name {named}"));
                }
            }
        }
    }
    assert_eq!(faults, [""; 0]);
    let listed: Vec<String> = metrics().into_iter().map(|metric| metric.name).collect();
    let expected: Vec<String> = TABLE.iter().map(|(family, _)| format!("fanwire_{family}")).collect();
    assert_eq!(listed, expected, "the table of metrics, and this one");
}

#[test]
fn the_longest_turn_is_told_once_there_was_a_long_one() {
    let engine = start(config(DriverChoice::Epoll));
    let topic = engine.topic("a").expect("a sound topic");
    let _clients: Vec<_> = (0..50).map(|_| Bare::upgraded(addr(&engine), "/t/a", None)).collect();
    // Some turn takes more CPU than its clock is worth being read for.
    wait_until("a turn was long", || {
        for _ in 0..100 {
            topic.publish_timeout(Priority::Low, Kind::Text, &[b'x'; 1_000], PATIENCE).expect("room");
        }
        scrape(&engine)[r#"fanwire_turn_max_seconds{shard="0"}"#] > 0.0
    });
}

#[test]
fn a_scrape_is_bounded_and_has_every_family_once() {
    let mut config = config(DriverChoice::Epoll);
    config.shards = Some(4);
    // Topics do not make it longer.
    let engine = start(config);
    let before = engine.metrics();
    let topics: Vec<_> = (0..500).map(|n| engine.topic(&format!("t/{n}")).expect("a sound topic")).collect();
    for topic in &topics {
        topic.publish_timeout(Priority::Low, Kind::Text, b"x", Duration::from_secs(30)).expect("room");
    }
    wait_until("all is read", || engine.stats().total.messages == 500);
    let after = engine.metrics();
    let names = |text: &str| samples(text).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert!(after.len() < 100 << 10, "{} bytes", after.len());
    for metric in metrics() {
        assert_eq!(after.matches(&format!("# TYPE {} ", metric.name)).count(), 1, "{}", metric.name);
    }
}
