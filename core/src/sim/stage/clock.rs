//! Latency budgets: when a cursor is visited, what goes with it, and that nothing is lost by waiting.

use std::time::Duration;

use super::*;
use crate::config::{MemoryConfig, SlowPolicy, TopicConfig};

/// Topics `a` and `b` may wait 20 ms, others not.
fn config() -> Config {
    let memory = MemoryConfig { ring_bytes: 1 << 20, ..MemoryConfig::default() };
    let delayed = |pattern: &str| TopicConfig {
        pattern: pattern.into(),
        deliver_within: Duration::from_millis(20),
        ..TopicConfig::default()
    };
    let topics = vec![delayed("a"), delayed("b"), TopicConfig::default()];
    Config { memory, topics, ..Config::default() }
}

/// In which of so many turns of a millisecond something comes, and what.
fn timeline(stage: &mut Stage, player: &mut Player, turns: usize) -> Vec<(usize, Vec<String>)> {
    let come = (1..=turns).map(|turn| (turn, stage.plays(1, player)));
    come.filter(|(_, heard)| !heard.is_empty()).collect()
}

#[test]
fn a_cursor_is_visited_once_a_budget_and_gets_all_that_came_since() {
    for protocol in [Protocol::Raw, Protocol::JsonV1, Protocol::MsgpackV1] {
        let mut stage = Stage::new(config(), 1 << 20);
        let mut player = match protocol {
            Protocol::Raw => stage.raw("/t/a"),
            _ => stage.player(protocol, &topics(&["a"])),
        };
        stage.turns(2, &mut player);
        player.reads();
        let mut visits = Vec::new();
        let mut told = 0;
        for turn in 0..200 {
            if turn % 5 == 0 && turn < 180 {
                stage.says("a", "m", |_| {});
            }
            let heard = stage.plays(1, &mut player);
            if !heard.is_empty() {
                visits.push(turn);
                told += heard.len();
            }
        }
        assert_eq!(told, 36, "{protocol:?}");
        assert_eq!(visits.len(), 9, "{protocol:?}: {visits:?}");
        assert!(visits.windows(2).all(|two| two[1] - two[0] == 20), "{protocol:?}: {visits:?}");
        assert!(visits[0] < 20, "{protocol:?}: {visits:?}");
    }
}

#[test]
fn visits_of_many_are_spread_over_the_budget_and_the_shard_sleeps_between_them() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut players: Vec<Player> = (0..6).map(|_| stage.raw("/t/a")).collect();
    stage.says("a", "first", |_| {});
    let mut at = vec![0; players.len()];
    stage.turn_of(&mut []);
    for turn in 1..=21 {
        for (player, at) in players.iter_mut().zip(&mut at) {
            if player.reads() == ["first"] {
                *at = turn;
            }
        }
        if at.contains(&0) {
            let until = stage.sleeps().expect("nothing else is to be done");
            assert!(until <= stage.net.now_ns() + 20_000_000, "turn {turn}: {until}");
        }
        stage.turn_of(&mut []);
    }
    let moments: std::collections::BTreeSet<_> = at.iter().copied().collect();
    assert!(!moments.contains(&0), "{at:?}");
    assert_eq!(moments.len(), 6, "each has a moment of its own: {at:?}");
}

#[test]
fn a_subscription_may_allow_more_than_its_topic_and_the_larger_budget_counts() {
    for (topic, asks, most) in [("a", Some(5), 20), ("a", Some(60), 60), ("c", Some(60), 60), ("c", None, 0)] {
        for protocol in [Protocol::Raw, Protocol::JsonV1, Protocol::MsgpackV1] {
            let mut stage = Stage::new(config(), 1 << 20);
            let mut player = match (protocol, asks) {
                (Protocol::Raw, Some(ms)) => stage.raw(&format!("/t/{topic}?max_delay_ms={ms}")),
                (Protocol::Raw, None) => stage.raw(&format!("/t/{topic}")),
                (_, asks) => {
                    let mut object = topics(&[topic]);
                    object["max_delay_ms"] = json!(asks);
                    stage.player(protocol, &object)
                }
            };
            stage.turns(2, &mut player);
            player.reads();
            let mut longest = 0;
            for _ in 0..7 {
                stage.says(topic, "m", |_| {});
                let heard = timeline(&mut stage, &mut player, most + 6);
                assert_eq!(heard.len(), 1, "{topic} {asks:?} {protocol:?}");
                // One turn until the message is read.
                assert!(heard[0].0 <= most + 1, "{topic} {asks:?} {protocol:?}: {heard:?}");
                longest = longest.max(heard[0].0);
            }
            assert!(longest * 2 > most, "{topic} {asks:?} {protocol:?}: it was never waited for long, {longest}");
        }
    }
}

#[test]
fn critical_messages_leave_at_once_and_what_waits_goes_with_them() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a", "b"]));
    stage.says("a", "begun", |head| head.priority = Priority::Critical);
    stage.turns(30, &mut player);
    player.reads();
    stage.says("a", "1", |_| {});
    stage.says("b", "1", |_| {});
    assert_eq!(stage.plays(1, &mut player), [""; 0], "they wait");
    let sends = stage.stats().sends;
    stage.says("a", "2", |head| head.priority = Priority::Critical);
    let mut heard = stage.plays(1, &mut player);
    assert_eq!(heard.remove(0), "critical 2");
    assert_eq!(heard, ["normal 1", "normal 1"]);
    assert_eq!(stage.stats().sends, sends + 1, "in one send");
    assert_eq!(timeline(&mut stage, &mut player, 40), [], "nothing twice");
}

#[test]
fn who_waits_loses_nothing_in_a_small_lane() {
    let memory = MemoryConfig { ring_bytes: 1 << 20, ..MemoryConfig::default() };
    let topic =
        TopicConfig { lane_bytes: Some(64 << 10), deliver_within: Duration::from_secs(1), ..TopicConfig::default() };
    let config = Config { memory, topics: vec![topic], ..Config::default() };
    for protocol in [Protocol::Raw, Protocol::JsonV1] {
        let mut stage = Stage::new(config.clone(), 1 << 20);
        let mut player = match protocol {
            Protocol::Raw => stage.raw("/t/a"),
            _ => stage.player(protocol, &topics(&["a"])),
        };
        stage.turns(2, &mut player);
        player.reads();
        let mut heard = 0;
        for _ in 0..100 {
            // A third of the lane at once: two of them, and what waits is beyond its half.
            (0..22).for_each(|_| stage.says("a", &text("m", 1_000), |_| {}));
            heard += stage.plays(6, &mut player).len();
        }
        heard += stage.plays(1_000, &mut player).len();
        assert_eq!((heard, stage.stats().gaps), (2_200, 0), "{protocol:?}");
    }
}

#[test]
fn who_may_wait_loses_nothing_in_a_small_lane_and_holds_up_nobody() {
    // Of 4 to 16 segments; the ring brings an eighth of the lane and more in every turn.
    for (lane_bytes, bytes, each) in
        [(16 << 10, 200, 12), (64 << 10, 1_000, 12), (64 << 10, 10, 100), (256 << 10, 1_000, 48)]
    {
        let memory = MemoryConfig { ring_bytes: 1 << 20, ..MemoryConfig::default() };
        let topic = TopicConfig { lane_bytes: Some(lane_bytes), ..TopicConfig::default() };
        let mut stage = Stage::new(Config { memory, topics: vec![topic], ..Config::default() }, 1 << 20);
        let mut waits = stage.raw("/t/a?max_delay_ms=1000");
        let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
        stage.turns(2, &mut player);
        player.reads();
        let (mut heard, mut heard_late) = (0, 0);
        for _ in 0..60 {
            (0..each).for_each(|_| stage.says("a", &text("m", bytes), |_| {}));
            heard += stage.plays(1, &mut player).len();
            heard_late += waits.reads().len();
        }
        heard += stage.plays(60, &mut player).len();
        heard_late += stage.plays(1_000, &mut waits).len();
        let all = 60 * each;
        assert_eq!((heard, heard_late, stage.stats().gaps), (all, all, 0), "{lane_bytes} {bytes}");
    }
}

#[test]
fn a_message_that_would_expire_meanwhile_is_not_waited_with() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
    stage.turns(2, &mut player);
    player.reads();
    for (ttl_ms, waits) in [(10, false), (39, false), (40, true), (1_000, true)] {
        stage.turns(20, &mut player);
        player.reads();
        stage.says("a", "expires", |head| head.ttl_ms = ttl_ms);
        let at = timeline(&mut stage, &mut player, 25);
        assert_eq!(at.len(), 1, "{ttl_ms}: {at:?}");
        assert!(waits || at[0].0 == 1, "{ttl_ms}: {at:?}");
    }
}

#[test]
fn under_latest_who_waits_gets_the_newest_of_each_key() {
    let mut config = config();
    config.topics[0].policy = SlowPolicy::Latest;
    let mut stage = Stage::new(config, 1 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
    stage.turns(2, &mut player);
    player.reads();
    for key in [1, 2, 1, 1, 2] {
        stage.says("a", "m", |head| head.key = key);
    }
    let heard = timeline(&mut stage, &mut player, 25);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0].1, ["normal 4", "normal 5"]);
    assert_eq!((stage.stats().passed_over, stage.stats().gaps), (3, 0));
}

#[test]
fn a_closing_connection_gets_what_waits_first() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a");
    stage.says("a", "1", |_| {});
    assert_eq!(stage.plays(1, &mut player), [""; 0]);
    stage.commands(Command::Close { connection: player.connection, code: 1000, reason: "enough".into() });
    let heard = stage.plays(2, &mut player);
    assert_eq!(heard.first().map(String::as_str), Some("1"), "{heard:?}");
    assert!(heard[1].contains("1000"), "{heard:?}");
}

#[test]
fn who_takes_nothing_keeps_nobody_from_being_visited() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut stuck = stage.raw("/t/a");
    let mut player = stage.raw("/t/a");
    stage.holds(&mut stuck);
    stage.says("a", "1", |_| {});
    stage.lets_go(&mut player);
    assert_eq!(timeline(&mut stage, &mut player, 20).len(), 1);
    let heard = stage.plays(40, &mut stuck);
    assert_eq!(heard.last().map(String::as_str), Some("1"), "{heard:?}");
}

#[test]
fn a_reconnect_goes_on_without_waiting_for_a_moment() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut first = stage.raw("/t/a");
    (0..5).for_each(|_| stage.says("a", "m", |_| {}));
    stage.turns(25, &mut first);
    let mut object = topics(&["a"]);
    object["since"] = json!({"a": {"epoch": EPOCH, "seq": {"normal": 2}}});
    let mut player = stage.player(Protocol::JsonV1, &object);
    let heard = stage.plays(2, &mut player);
    assert_eq!(heard.last().map(String::as_str), Some("normal 5"), "{heard:?}");
}

#[test]
fn a_topic_that_ends_is_sent_to_its_end_first() {
    for protocol in [Protocol::Raw, Protocol::JsonV1] {
        let mut stage = Stage::new(config(), 1 << 20);
        let names = ["a", "b"];
        let mut players: Vec<Player> = (0..5)
            .map(|number| match protocol {
                Protocol::Raw => stage.raw(if number % 2 == 0 { "/t/a" } else { "/t/a?topic=b" }),
                _ => stage.player(protocol, &topics(&names[..1 + number % 2])),
            })
            .collect();
        (0..3).for_each(|_| _ = stage.turn_of(&mut players));
        players.iter_mut().for_each(|player| _ = player.reads());
        stage.says("a", "last", |_| {});
        stage.turn_of(&mut players);
        assert_eq!(stage.shared.registry.remove("a", stage.shared.to_ring()), Ok(true));
        stage.says("b", "behind it", |_| {});
        (0..30).for_each(|_| _ = stage.turn_of(&mut players));
        for (number, player) in players.iter_mut().enumerate() {
            let heard = player.reads();
            let last = if protocol == Protocol::Raw { "last" } else { "normal 1" };
            assert_eq!(heard.first().map(String::as_str), Some(last), "{protocol:?} {number}: {heard:?}");
            let behind = heard[1..].iter().filter(|said| *said == "behind it" || *said == "normal 1");
            assert_eq!(behind.count(), number % 2, "{protocol:?} {number}: {heard:?}");
        }
    }
}

#[test]
fn who_pings_in_every_turn_does_not_hold_the_end_of_a_topic() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a");
    let mut pinger = stage.raw("/t/c");
    stage.says("a", "last", |_| {});
    stage.turn_of(&mut []);
    assert_eq!(stage.shared.registry.remove("a", stage.shared.to_ring()), Ok(true));
    stage.says("c", "behind it", |_| {});
    let mut turns = 0;
    while !pinger.reads().contains(&"behind it".to_owned()) {
        pinger.pings("?");
        stage.turns(1, &mut pinger);
        turns += 1;
        assert!(turns < 10, "the ring is not read");
    }
    assert_eq!(player.reads(), ["last"]);
}
