//! Cursors that fall behind: what they are told, when they are moved, and who must go.
//!
//! A lag is told in bytes of frames. A burst that is read in one turn is a lag of just its bytes to a client that is looked at by
//! itself, as one with two topics is.

use std::time::Duration;

use super::*;
use crate::config::{EventsConfig, LimitsConfig, MemoryConfig, SlowPolicy, TopicConfig};
use crate::proto::server_message::GapReason::{Epoch, Lag, Retention as Retained};

const BUDGET: usize = 1 << 20;
/// A cursor that lags more than this is moved forward…
const HIGH: usize = BUDGET * 90 / 100;
/// …so that it lags no more than this.
const LOW: usize = BUDGET / 2;

pub(super) fn config(policy: SlowPolicy) -> Config {
    Config {
        topics: vec![TopicConfig { policy, lane_bytes: Some(BUDGET), ..TopicConfig::default() }],
        events: EventsConfig { capacity: 1_000, messages: false },
        memory: MemoryConfig { ring_bytes: 32 << 20, ..MemoryConfig::default() },
        ..Config::default()
    }
}

/// Publishes frames of so many bytes in all, the first ones 10,004 bytes long; returns each one's length.
fn burst(stage: &Stage, topic: &str, priority: Priority, bytes: usize) -> Vec<usize> {
    let (mut lens, mut left) = (Vec::new(), bytes);
    while left > 0 {
        // The last one or two are shorter, but none too short for a header of four bytes.
        let len = if left > 20_008 { 10_004 } else { left.div_ceil(1 + left / 10_005) };
        stage.says(topic, &text(&format!("{}", lens.len() + 1), len - 4), |head| head.priority = priority);
        lens.push(len);
        left -= len;
    }
    assert_eq!(lens.iter().sum::<usize>(), bytes);
    lens
}

/// The number of the first frame of which, with all behind it, there are at most [`LOW`] bytes.
fn first_within_low(lens: &[usize]) -> u64 {
    let mut lag: usize = lens.iter().sum();
    let is_beyond = |len: &&usize| {
        let was = lag;
        lag -= **len;
        was > LOW
    };
    1 + lens.iter().take_while(is_beyond).count() as u64
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_cursor_is_moved_when_it_lags_by_more_than_90_percent_and_then_to_50() {
    for (lag, is_moved) in [(HIGH, false), (HIGH + 1, true)] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
        let mut player = stage.gathered();
        stage.losses();
        let lens = burst(&stage, "a", Priority::Normal, lag);
        let heard = stage.plays(30, &mut player);
        let first = if is_moved { first_within_low(&lens) } else { 1 };
        assert_eq!(heard, numbers(first..=lens.len() as u64), "{lag}");
        assert_eq!(stage.losses(), Vec::from_iter(is_moved.then_some((1, first - 1, Lag))), "{lag}");
        let stats = stage.stats();
        assert_eq!((stats.dropped_normal, stats.gaps), (first - 1, u64::from(is_moved)));
        // With the one of the other topic.
        assert_eq!(stats.deliveries, 1 + lens.len() as u64 - (first - 1));
    }
}

#[test]
fn who_lags_too_far_to_lose_nothing_is_closed_with_1013() {
    for (policy, priority) in [
        (SlowPolicy::DropOldest, Priority::Critical),
        (SlowPolicy::Latest, Priority::Critical),
        (SlowPolicy::Disconnect, Priority::Critical),
        (SlowPolicy::Disconnect, Priority::Normal),
    ] {
        for (lag, is_lost) in [(HIGH, false), (HIGH + 1, true)] {
            let mut stage = Stage::new(config(policy), 4 << 20);
            let mut player = stage.gathered();
            let lens = burst(&stage, "a", priority, lag);
            let heard = stage.plays(30, &mut player);
            if is_lost {
                assert_eq!(heard, ["Close(Some(1013))", "End"], "{policy:?} {priority}");
            } else {
                assert_eq!(heard, numbers(1..=lens.len() as u64), "{policy:?} {priority}");
            }
            let stats = stage.stats();
            assert_eq!((stats.evicted, stats.gaps), (u64::from(is_lost), 0), "{policy:?} {priority}");
            let evicted = stage.events().into_iter().any(|event| matches!(event, Event::Evicted { .. }));
            assert_eq!(evicted, is_lost);
        }
    }
}

/// Nobody looks at a client whose link takes nothing more. What the log forgets ends it all the same.
#[test]
fn who_takes_nothing_more_and_has_lost_what_it_must_not_lose_is_closed() {
    for protocol in [Protocol::Raw, Protocol::JsonV1, Protocol::BatchV1] {
        for (policy, priority, max_hz, is_lost) in [
            (SlowPolicy::DropOldest, Priority::Critical, None, true),
            (SlowPolicy::Latest, Priority::Critical, Some(0.01), true),
            (SlowPolicy::Disconnect, Priority::Normal, None, true),
            // Who gets only the newest loses nothing by lagging.
            (SlowPolicy::Disconnect, Priority::Normal, Some(0.01), false),
            (SlowPolicy::DropOldest, Priority::Normal, None, false),
            (SlowPolicy::Latest, Priority::Normal, None, false),
        ] {
            if protocol == Protocol::Raw && max_hz.is_some() {
                continue;
            }
            let mut stage = Stage::new(config(policy), 4 << 20);
            let mut player = match protocol {
                Protocol::Raw => stage.gathered(),
                _ => {
                    let mut object = topics(&["a", "b"]);
                    if let Some(hz) = max_hz {
                        object["max_hz"] = json!(hz);
                    }
                    stage.player(protocol, &object)
                }
            };
            stage.says("a", "first", |head| head.priority = priority);
            stage.plays(3, &mut player);
            stage.holds(&mut player);
            for _ in 0..8 {
                burst(&stage, "a", priority, BUDGET / 4);
                // It takes more than one turn to render all that.
                stage.turns(30, &mut player);
            }
            let evicted = stage.stats().evicted;
            assert_eq!(evicted, u64::from(is_lost), "{protocol:?} {policy:?} {priority} {max_hz:?}");
        }
    }
}

/// The rest of a half-sent frame, then the close frame: nothing of what else there is.
#[test]
fn who_is_sent_away_gets_its_half_sent_frame_and_the_close_frame() {
    let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
    let mut player = stage.raw("/t/a?topic=b&topic=c");
    stage.send_capacity(1_000);
    stage.says("a", &text("first", 5_000), |_| {});
    stage.turns(1, &mut player);
    burst(&stage, "b", Priority::Critical, HIGH + 1);
    for topic in ["a", "b", "c"] {
        stage.says(topic, &format!("{topic} more"), |_| {});
    }
    stage.sends_to(&player, "alone");
    player.reads();
    stage.turns(1, &mut player);
    stage.send_capacity(4 << 20);
    assert_eq!(stage.plays(9, &mut player), ["first", "Close(Some(1013))", "End"]);
    assert_eq!((stage.stats().evicted, stage.stats().cursors), (1, 0));
}

/// With lanes behind the one that is lost.
#[test]
fn who_is_sent_away_gets_nothing_of_other_lanes() {
    for is_left_over in [false, true] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
        let mut player = stage.raw("/t/a?topic=b&topic=c");
        for topic in ["a", "b", "c"] {
            stage.says(topic, topic, |head| head.priority = Priority::Critical);
        }
        assert_eq!(stage.plays(2, &mut player).len(), 3);
        // A send that the kernel does not take: all lanes are looked at, not only those with news.
        stage.net.with_options(|options| options.blocked_send = if is_left_over { 1_000 } else { 0 });
        if is_left_over {
            stage.says("c", "left over", |_| {});
            stage.turns(1, &mut player);
        }
        burst(&stage, "b", Priority::Critical, HIGH + 1);
        stage.says("a", "more", |_| {});
        stage.says("c", "more", |head| head.priority = Priority::Critical);
        stage.turns(1, &mut player);
        stage.net.with_options(|options| options.blocked_send = 0);
        assert_eq!(stage.plays(9, &mut player), ["Close(Some(1013))", "End"], "{is_left_over}");
    }
}

#[test]
fn what_has_left_the_log_is_lost_and_the_cursor_goes_on_within_half_the_budget() {
    let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
    let mut player = stage.gathered();
    stage.losses();
    stage.send_capacity(1);
    stage.says("b", "held", |_| {});
    stage.turns(1, &mut player);
    let mut lens = Vec::new();
    for _ in 0..3 {
        lens.extend(burst(&stage, "a", Priority::Normal, 900_180));
        stage.turns(1, &mut player);
    }
    player.reads();
    stage.send_capacity(4 << 20);
    let first = first_within_low(&lens);
    let heard = stage.plays(30, &mut player);
    assert_eq!((&*heard[0], heard.len() as u64), ("held", lens.len() as u64 - first + 2));
    assert_eq!(stage.losses(), [(1, first - 1, Lag)]);
}

#[test]
fn a_frame_larger_than_90_percent_of_the_budget_is_delivered() {
    let mut config = config(SlowPolicy::DropOldest);
    config.topics[0].lane_bytes = Some(16 << 10);
    for priority in [Priority::Normal, Priority::Critical] {
        let mut stage = Stage::new(config.clone(), 4 << 20);
        let mut player = stage.gathered();
        stage.losses();
        stage.says("a", &text("large", 60_000), |head| head.priority = priority);
        assert_eq!(stage.plays(3, &mut player), ["large"]);
        assert_eq!((stage.losses(), stage.stats().evicted), (vec![], 0));
    }
}

/// A JSON subscriber of `a` and `b` that has its first message.
fn begun() -> (Stage, Player) {
    let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a", "b"]));
    stage.says("b", "begun", |_| {});
    assert_eq!(stage.plays(2, &mut player), ["subscribed", "subscribed", "normal 1"]);
    stage.losses();
    (stage, player)
}

#[test]
fn a_client_of_a_subprotocol_is_told_what_it_lost_before_what_comes() {
    let (mut stage, mut player) = begun();
    stage.holds(&mut player);
    let lens = burst(&stage, "a", Priority::High, HIGH + 1);
    // It takes more than one turn to render all that.
    stage.turns(100, &mut player);
    stage.lets_go(&mut player);
    let mut heard = stage.plays(30, &mut player);
    assert_eq!(heard.remove(0), "held");
    let [(1, last, Lag)] = stage.losses()[..] else { panic!("{heard:?}") };
    assert_eq!(heard[0], format!("high lost 1 to {last}: lag"));
    let rest: Vec<_> = (last + 1..=lens.len() as u64).map(|number| format!("high {number}")).collect();
    assert_eq!(heard[1..], rest);
    assert_eq!((stage.stats().dropped_high, stage.stats().gaps), (last, 1));
}

/// A client that does not read its control messages: its gap notice waits, its cursor stays, and nothing is sent before the notice.
#[test]
fn a_gap_notice_that_finds_no_room_waits_and_holds_the_cursor() {
    let (mut stage, mut player) = begun();
    stage.send_capacity(1);
    // Answers up to the limit beyond which no more input is taken.
    let id = "x".repeat(60);
    (0..40).for_each(|_| player.asks(&json!({"type": "ping", "id": id})));
    stage.turns(3, &mut player);
    player.wire.read_some(1);
    stage.send_capacity(60);
    burst(&stage, "a", Priority::Normal, HIGH + 1);
    // It takes more than one turn to render all that.
    stage.turns(100, &mut player);
    assert_eq!(stage.losses(), [], "no room to tell it");
    let mut heard = player.reads();
    stage.send_capacity(4 << 20);
    heard.extend(stage.plays(60, &mut player));
    let at = heard.iter().position(|said| said.starts_with("normal")).unwrap();
    let [(1, last, Lag)] = stage.losses()[..] else { panic!("{heard:?}") };
    assert_eq!(heard[at], format!("normal lost 1 to {last}: lag"));
    assert_eq!(heard[at + 1], format!("normal {}", last + 1));
    assert!(heard[..at].iter().all(|said| said.starts_with("Pong")), "{heard:?}");
}

#[test]
fn what_is_not_retained_is_told_once_with_its_reason_and_counts_as_no_drop() {
    let retention = crate::config::Retention::Last { messages: Some(3), bytes: None, age: None };
    let topic = TopicConfig { retention, ..TopicConfig::default() };
    for (epoch, seq, from, reason) in [(EPOCH, 2, 3, Retained), (EPOCH + 9, 2, 1, Epoch)] {
        for max_hz in [None, Some(1_000_000.0)] {
            let mut stage =
                Stage::new(Config { topics: vec![topic.clone()], ..config(SlowPolicy::DropOldest) }, 1 << 20);
            (1..=9).for_each(|number| stage.says("a", &number.to_string(), |_| {}));
            let mut object = topics(&["a"]);
            object["since"] = json!({"a": {"epoch": epoch, "seq": {"normal": seq}}});
            if let Some(hz) = max_hz {
                object["max_hz"] = json!(hz);
            }
            let mut player = stage.player(Protocol::JsonV1, &object);
            let mut heard = stage.plays(4, &mut player);
            stage.says("a", "10", |_| {});
            heard.extend(stage.plays(3, &mut player));
            let told = format!("normal lost {from} to 6: {}", reason.name());
            let expected = match max_hz {
                None => vec!["subscribed normal 6", &told, "normal 7", "normal 8", "normal 9", "normal 10"],
                Some(_) => vec!["subscribed normal 6", &told, "normal 9", "normal 10"],
            };
            assert_eq!(heard, expected);
            assert_eq!(stage.losses().last(), Some(&(from, 6, reason)));
            assert_eq!((stage.stats().gaps, stage.stats().dropped_normal), (1, 0));
        }
    }
}

const WARN: usize = BUDGET * 70 / 100;

fn warnings(stage: &Stage) -> Vec<(ConnectionId, String, Priority)> {
    let told = stage.events().into_iter().filter_map(|event| match event {
        Event::Lagging { connection, topic, priority } => Some((connection, topic, priority)),
        _ => None,
    });
    told.collect()
}

#[test]
fn the_host_is_warned_of_a_lag_above_70_percent() {
    for (lag, is_warned) in [(WARN, false), (WARN + 1, true)] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
        let mut player = stage.gathered();
        burst(&stage, "a", Priority::High, lag);
        stage.plays(30, &mut player);
        let told = Vec::from_iter(is_warned.then(|| (player.connection, "a".to_owned(), Priority::High)));
        assert_eq!(warnings(&stage), told);
        assert_eq!(stage.stats().lagging, u64::from(is_warned));
    }
}

#[test]
fn the_host_is_warned_again_once_the_lag_has_been_at_50_percent() {
    for (low, is_warned) in [(LOW + 1, false), (LOW, true)] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
        let mut player = stage.gathered();
        // The kernel takes nothing, and each turn looks at the lag.
        stage.net.with_options(|options| options.blocked_send = 1_000);
        let much = WARN + 1 - low;
        burst(&stage, "a", Priority::Normal, much);
        burst(&stage, "a", Priority::Normal, low);
        stage.turns(2, &mut player);
        assert_eq!(warnings(&stage).len(), 1);
        // The kernel takes just so much that the lag is as wanted.
        stage.net.with_options(|options| (options.blocked_send, options.send_capacity) = (0, much));
        let before = stage.stats().sent_bytes;
        stage.turns(9, &mut player);
        assert_eq!((stage.stats().sent_bytes - before) as usize, much);
        stage.net.with_options(|options| (options.blocked_send, options.send_capacity) = (1_000, 4 << 20));
        player.reads();
        stage.turns(2, &mut player);
        burst(&stage, "a", Priority::Normal, much);
        stage.turns(2, &mut player);
        assert_eq!((warnings(&stage).len(), stage.stats().gaps), (usize::from(is_warned), 0), "{low}");
    }
}

#[test]
fn an_engine_whose_host_hears_nothing_counts_its_laggards() {
    let mut config = config(SlowPolicy::DropOldest);
    config.events = EventsConfig { capacity: 0, messages: false };
    config.limits = LimitsConfig { ping_every: Duration::ZERO, ..config.limits };
    let mut stage = Stage::new(config, 4 << 20);
    let mut player = stage.gathered();
    burst(&stage, "a", Priority::Low, HIGH);
    stage.plays(30, &mut player);
    assert_eq!((stage.stats().lagging, stage.events().len()), (1, 0));
}

/// Whoever stands in what a critical lane forgets, and not the first of them alone; though none of them takes anything.
#[test]
fn all_who_lose_a_critical_message_are_sent_away_in_that_turn() {
    let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
    let mut players: Vec<Player> = (0..5).map(|_| stage.raw("/t/a")).collect();
    stage.send_capacity(1);
    for player in &players {
        stage.sends_to(player, "held");
    }
    stage.turns(2, &mut players[0]);
    burst(&stage, "a", Priority::Critical, BUDGET * 3 / 2);
    stage.turns(1, &mut players[0]);
    assert_eq!(stage.stats().evicted, 5);
}
