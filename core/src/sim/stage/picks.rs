//! Cursors that pass messages over: the newest of each key, what has expired, what the client published itself.

use super::*;
use crate::config::{MemoryConfig, SlowPolicy, TopicConfig};
use crate::proto::server_message::GapReason::Lag;

fn config(policy: SlowPolicy) -> Config {
    Config {
        topics: vec![TopicConfig { policy, ..TopicConfig::default() }],
        memory: MemoryConfig { ring_bytes: 1 << 20, ..MemoryConfig::default() },
        ..Config::default()
    }
}

/// A client whose kernel takes nothing for now.
fn held(stage: &mut Stage, target: &str) -> Player {
    let mut player = stage.raw(target);
    stage.holds(&mut player);
    player
}

/// What it is told once there is room, in so many turns.
fn let_go(stage: &mut Stage, player: &mut Player, turns: usize) -> Vec<String> {
    stage.lets_go(player);
    let mut heard = stage.plays(turns, player);
    assert_eq!(heard.remove(0), "held");
    heard
}

const MS_NS: u64 = 1_000_000;

#[test]
fn latest_is_the_newest_message_of_each_key_in_order() {
    let mut stage = Stage::new(config(SlowPolicy::Latest), 1 << 20);
    let mut player = held(&mut stage, "/t/a");
    for (name, key) in [("x1", 1), ("y1", 2), ("none1", 0), ("x2", 1), ("none2", 0), ("z1", 3), ("x3", 1), ("y2", 2)] {
        stage.says("a", name, |head| head.key = key);
    }
    stage.turns(2, &mut player);
    assert_eq!(let_go(&mut stage, &mut player, 2), ["none2", "z1", "x3", "y2"]);
    assert_eq!((stage.stats().passed_over, stage.stats().deliveries, stage.stats().gaps), (4, 4, 0));
    // Who keeps up gets everything.
    for (name, key) in [("x4", 1), ("x5", 1)] {
        stage.says("a", name, |head| head.key = key);
        assert_eq!(stage.plays(1, &mut player), [name]);
    }
    assert_eq!(stage.stats().passed_over, 4);
}

#[test]
fn other_policies_conflate_nothing() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::Disconnect] {
        let mut stage = Stage::new(config(policy), 1 << 20);
        let mut player = held(&mut stage, "/t/a");
        // One that expires makes all who lag look at each frame.
        stage.says("a", "first", |head| head.ttl_ms = 1_000_000);
        for name in ["x1", "x2", "x3"] {
            stage.says("a", name, |head| head.key = 1);
        }
        stage.turns(2, &mut player);
        assert_eq!(let_go(&mut stage, &mut player, 2), ["first", "x1", "x2", "x3"]);
        assert_eq!(stage.stats().passed_over, 0);
    }
}

/// However many are passed over, what is wanted comes without anything else having to happen.
#[test]
fn what_comes_behind_hundreds_of_superseded_messages_is_sent() {
    for (count, hold) in [(200, false), (256, false), (257, false), (300, false), (1_000, false), (600, true)] {
        let mut stage = Stage::new(config(SlowPolicy::Latest), 1 << 20);
        let mut player = stage.gathered();
        if hold {
            stage.holds(&mut player);
        }
        (0..count).for_each(|number| stage.says("a", &number.to_string(), |head| head.key = 1));
        stage.says("a", "other", |head| head.key = 2);
        let heard = match hold {
            true => let_go(&mut stage, &mut player, 9),
            false => stage.plays(9, &mut player),
        };
        assert_eq!(heard, [&*(count - 1).to_string(), "other"], "{count}, {hold}");
        assert_eq!(stage.stats().passed_over, count - 1);
        assert!(stage.sleeps().is_some());
    }
}

#[test]
fn who_gets_only_the_newest_of_each_key_may_lag_without_a_loss() {
    let mut config = config(SlowPolicy::Latest);
    config.topics[0].lane_bytes = Some(16 << 10);
    let mut stage = Stage::new(config, 1 << 20);
    let mut player = held(&mut stage, "/t/a");
    stage.losses();
    // Many times the budget, of one key.
    for number in 0..100 {
        stage.says("a", &text(&number.to_string(), 3_000), |head| head.key = 1);
        stage.turns(1, &mut player);
    }
    assert_eq!(let_go(&mut stage, &mut player, 2), ["99"]);
    assert_eq!((stage.losses(), stage.stats().passed_over, stage.stats().lagging), (vec![], 99, 0));
}

#[test]
fn the_newest_of_a_key_that_left_the_log_is_a_loss_from_there_to_what_is_held() {
    let mut config = config(SlowPolicy::Latest);
    config.topics[0].lane_bytes = Some(16 << 10);
    let mut stage = Stage::new(config, 1 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
    stage.turns(1, &mut player);
    stage.says("a", "once", |head| head.key = 1);
    assert_eq!(stage.plays(2, &mut player), ["subscribed", "normal 1"]);
    stage.losses();
    stage.holds(&mut player);
    stage.says("a", "twice", |head| head.key = 1);
    for number in 3..=100 {
        stage.says("a", &text(&number.to_string(), 3_000), |head| head.key = 2);
        stage.turns(1, &mut player);
    }
    let heard = let_go(&mut stage, &mut player, 3);
    let [(2, last, Lag)] = stage.losses()[..] else { panic!("{heard:?}") };
    assert_eq!(heard, [format!("normal lost 2 to {last}: lag"), "normal 100".to_owned()]);
    assert!((90..100).contains(&last), "the log holds at least the newest: {last}");
    let stats = stage.stats();
    // The client had number 2 in view, and 3 to 99 were superseded: those still held are passed over, the others are lost with it.
    assert_eq!((stats.dropped_normal, stats.passed_over), (last - 1, 99 - last));
}

#[test]
fn a_message_that_expires_while_its_client_lags_is_passed_over_to_the_instant() {
    for (ms, comes) in [(98, true), (99, false), (100, false)] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 1 << 20);
        let mut player = held(&mut stage, "/t/a");
        stage.says("a", "before", |_| {});
        stage.says("a", "expires", |head| head.ttl_ms = 100);
        stage.says("a", "after", |_| {});
        // With the turn in which it is sent.
        stage.turns(ms, &mut player);
        let expected: &[&str] = if comes { &["before", "expires", "after"] } else { &["before", "after"] };
        assert_eq!(let_go(&mut stage, &mut player, 1), expected, "{ms} ms");
        assert_eq!(stage.stats().passed_over, u64::from(!comes));
        assert_eq!(stage.stats().deliveries, expected.len() as u64);
        assert!(stage.plays(3, &mut player).is_empty());
    }
}

#[test]
fn what_is_passed_over_first_last_or_alone_leaves_the_cursor_at_the_end() {
    for (names, expected) in [
        (&["old1", "old2", "new1"][..], &["new1"][..]),
        (&["new1", "old1", "old2"], &["new1"]),
        (&["old1", "new1", "old2", "new2"], &["new1", "new2"]),
        (&["old1", "old2"], &[]),
    ] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 1 << 20);
        let mut player = held(&mut stage, "/t/a");
        for name in names {
            stage.says("a", name, |head| head.ttl_ms = if name.starts_with("old") { 1 } else { 0 });
        }
        stage.turns(4, &mut player);
        assert_eq!(let_go(&mut stage, &mut player, 2), expected);
        assert_eq!(stage.stats().passed_over as usize, names.len() - expected.len());
        stage.says("a", "next", |_| {});
        assert_eq!(stage.plays(2, &mut player), ["next"]);
        assert_eq!(stage.stats().passed_over as usize, names.len() - expected.len(), "none is counted twice");
    }
}

#[test]
fn critical_messages_expire_for_nobody_and_are_never_conflated() {
    let mut stage = Stage::new(config(SlowPolicy::Latest), 1 << 20);
    let mut player = held(&mut stage, "/t/a?echo=0");
    for name in ["one", "two", "three"] {
        stage.says("a", name, |head| {
            (head.priority, head.key, head.ttl_ms, head.origin, head.flags) =
                (Priority::Critical, 1, 1, player.connection, 1);
        });
    }
    stage.turns(5, &mut player);
    assert_eq!(let_go(&mut stage, &mut player, 2), ["one", "two", "three"]);
    assert_eq!(stage.stats().passed_over, 0);
}

#[test]
fn critical_messages_are_not_paced() {
    let mut stage = Stage::new(config(SlowPolicy::DropOldest), 1 << 20);
    let mut object = topics(&["a"]);
    object["max_hz"] = json!(0.01);
    let mut player = stage.player(Protocol::JsonV1, &object);
    assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
    for number in 1..4 {
        stage.says("a", "now", |head| head.priority = Priority::Critical);
        assert_eq!(stage.plays(1, &mut player), [format!("critical {number}")]);
    }
}

#[test]
fn who_wants_no_echo_gets_all_but_its_own_messages() {
    let mut stage = Stage::new(config(SlowPolicy::DropOldest), 1 << 20);
    let mut mute = stage.raw("/t/a?echo=0");
    let mut other = stage.raw("/t/a?echo=0");
    let mut plain = stage.raw("/t/a");
    for (player, name) in [(0, "mute1"), (1, "other1"), (2, "plain1"), (0, "mute2"), (3, "host1"), (0, "mute3")] {
        match player {
            0 => mute.says(name),
            1 => other.says(name),
            2 => plain.says(name),
            _ => stage.says("a", name, |_| {}),
        }
        stage.turns(1, &mut mute);
        stage.turns(1, &mut other);
        stage.turns(1, &mut plain);
    }
    stage.turns(2, &mut plain);
    assert_eq!(mute.reads(), ["other1", "plain1", "host1"]);
    assert_eq!(other.reads(), ["mute1", "plain1", "mute2", "host1", "mute3"]);
    assert_eq!(plain.reads(), ["mute1", "other1", "plain1", "mute2", "host1", "mute3"]);
    assert_eq!(stage.stats().passed_over, 4);
}

/// Two subscriptions of one connection, only one of which wants no echo.
#[test]
fn echo_is_a_wish_of_the_subscription() {
    let mut stage = Stage::new(config(SlowPolicy::DropOldest), 1 << 20);
    let mut object = topics(&["a"]);
    object["echo"] = json!(false);
    let mut player = stage.player(Protocol::JsonV1, &object);
    player.asks(&topics(&["b"]));
    assert_eq!(stage.plays(3, &mut player), ["subscribed", "subscribed"]);
    for topic in ["a", "b"] {
        player.asks(&json!({"type": "publish", "topic": topic, "priority": "high", "data": 1}));
    }
    stage.says("a", "hello", |_| {});
    assert_eq!(stage.plays(3, &mut player), ["high 1", "normal 1"]);
    assert_eq!(stage.stats().passed_over, 1);
}

/// More frames than one send has parts, and than it has bytes.
#[test]
fn what_is_picked_comes_whole_over_several_sends() {
    for (count, len) in [(100, 10), (40, 5_000), (5, 60_000)] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 1 << 20);
        let mut player = held(&mut stage, "/t/a");
        stage.says("a", "old", |head| head.ttl_ms = 1);
        let names: Vec<_> = (100..100 + count).map(|number| number.to_string()).collect();
        names.iter().for_each(|name| stage.says("a", &text(name, len), |_| {}));
        stage.turns(3, &mut player);
        let before = stage.stats().sent_bytes;
        let mut heard = let_go(&mut stage, &mut player, 1);
        let brought = (stage.stats().sent_bytes - before) as usize;
        assert!(brought <= 66_000 && (len == 10 || brought > 40_000), "{brought}");
        heard.extend(stage.plays(20, &mut player));
        assert_eq!(heard, names);
        assert_eq!(stage.stats().passed_over, 1);
    }
}

/// As [`super::cuts`] has it, for a cursor that looks at each frame.
#[test]
fn a_send_of_picked_frames_may_be_cut_anywhere() {
    let play = |cut: usize, more: usize| {
        let mut stage = Stage::new(config(SlowPolicy::Latest), 1 << 20);
        let mut player = held(&mut stage, "/t/a");
        for (name, key, len) in [("x1", 1, 5), ("y1", 2, 9), ("x2", 1, 130), ("z", 3, 4), ("x3", 1, 7)] {
            stage.says("a", &text(name, len), |head| head.key = key);
        }
        stage.turns(1, &mut player);
        stage.lets_go(&mut player);
        // The rest of what is held are five bytes.
        stage.send_capacity(5 + cut);
        stage.turns(1, &mut player);
        let mut heard = player.reads();
        assert_eq!(heard.remove(0), "held");
        stage.says("a", "x4", |head| head.key = 1);
        stage.send_capacity(more);
        stage.turns(1, &mut player);
        heard.extend(player.reads());
        stage.send_capacity(1 << 20);
        heard.extend(stage.plays(4, &mut player));
        assert!(stage.sleeps().is_some());
        (heard, stage.stats().deliveries, stage.stats().passed_over)
    };
    // y1, z and x3 are 26 bytes; a cut before or inside x3 lets x4 take its place, unless it has begun.
    for cut in 1..26 {
        for more in [1, 3, 60] {
            let (heard, deliveries, passed_over) = play(cut, more);
            assert_eq!((deliveries as usize, passed_over as usize), (heard.len(), 6 - heard.len()), "{heard:?}");
            assert_eq!(
                (&heard[..2], &heard[heard.len() - 1]),
                (&["y1".to_owned(), "z".to_owned()][..], &"x4".to_owned())
            );
            let has_begun = cut > 17;
            assert_eq!(heard.contains(&"x3".to_owned()), has_begun, "cut at {cut} and {more}: {heard:?}");
        }
    }
}

/// A subscriber of `a` in batches that close with each turn, held.
fn held_batches(policy: SlowPolicy) -> (Stage, Player) {
    let mut config = config(policy);
    config.topics[0].batch_window = Some(std::time::Duration::ZERO);
    let mut stage = Stage::new(config, 1 << 20);
    let mut player = stage.player(Protocol::BatchV1, &topics(&["a"]));
    assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
    stage.holds(&mut player);
    (stage, player)
}

#[test]
fn batches_of_several_messages_are_not_conflated() {
    let (mut stage, mut player) = held_batches(SlowPolicy::Latest);
    for _ in 0..3 {
        (0..3).for_each(|_| stage.says("a", "message", |_| {}));
        stage.turns(1, &mut player);
    }
    assert_eq!(let_go(&mut stage, &mut player, 2), ["normal 1 to 3", "normal 4 to 6", "normal 7 to 9"]);
}

#[test]
fn what_expires_counts_each_message_of_a_batch() {
    let (mut stage, mut player) = held_batches(SlowPolicy::DropOldest);
    (0..3).for_each(|_| stage.says("a", "expires", |head| head.ttl_ms = 2));
    (0..3).for_each(|_| stage.says("a", "stays", |_| {}));
    stage.turns(5, &mut player);
    assert_eq!(let_go(&mut stage, &mut player, 2), ["normal 4 to 6"]);
    assert_eq!((stage.stats().passed_over, stage.stats().deliveries), (3, 3));
}

#[test]
fn the_wall_clock_decides_what_has_expired() {
    let mut stage = Stage::with_wall_clock(config(SlowPolicy::DropOldest), 1 << 20, |now| 5_000 + now / MS_NS % 2);
    let mut player = held(&mut stage, "/t/a");
    stage.says("a", "expires", |head| head.ttl_ms = 1);
    stage.turns(50, &mut player);
    assert_eq!(let_go(&mut stage, &mut player, 2), ["expires"]);
}
