//! `max_hz`: when the next message of a lane may be sent, and which one it is.

use super::*;
use crate::config::{MemoryConfig, SlowPolicy, TopicConfig};
use crate::proto::server_message::GapReason::Lag;

fn config() -> Config {
    let memory = MemoryConfig { ring_bytes: 1 << 20, ..MemoryConfig::default() };
    Config { memory, topics: vec![TopicConfig::default()], ..Config::default() }
}

/// A client that wants ten messages a second: one turn in a hundred.
fn paced(stage: &mut Stage, more: Value) -> Player {
    let mut object = topics(&["a"]);
    object["max_hz"] = json!(10);
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    let mut player = stage.player(Protocol::JsonV1, &object);
    assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
    player
}

/// In which of so many turns something comes, and what.
fn timeline(stage: &mut Stage, player: &mut Player, turns: usize) -> Vec<(usize, String)> {
    let come = (1..=turns).flat_map(|turn| stage.plays(1, player).into_iter().map(move |said| (turn, said)));
    come.collect()
}

fn lines(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
    expected.iter().map(|(turn, said)| (*turn, (*said).to_owned())).collect()
}

#[test]
fn the_newest_comes_when_the_interval_is_over_and_not_a_turn_later() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({}));
    stage.says("a", "1", |_| {});
    assert_eq!(timeline(&mut stage, &mut player, 1), lines(&[(1, "normal 1")]));
    (2..5).for_each(|number| stage.says("a", &number.to_string(), |_| {}));
    assert_eq!(timeline(&mut stage, &mut player, 99), []);
    assert_eq!(timeline(&mut stage, &mut player, 1), lines(&[(1, "normal 4")]));
    assert_eq!((stage.stats().passed_over, stage.stats().deliveries), (2, 2));
    // Nothing new: nothing comes, and the next one comes at once.
    assert_eq!(timeline(&mut stage, &mut player, 150), []);
    stage.says("a", "5", |_| {});
    stage.turns(1, &mut player);
    stage.says("a", "6", |_| {});
    assert_eq!(player.reads(), ["normal 5"]);
    assert_eq!(timeline(&mut stage, &mut player, 200), lines(&[(100, "normal 6")]));
    assert_eq!((stage.stats().passed_over, stage.stats().gaps), (2, 0));
}

#[test]
fn a_shard_with_a_paced_client_sleeps_until_its_time() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({}));
    stage.says("a", "1", |_| {});
    stage.turns(1, &mut player);
    let due = stage.net.now_ns() + 100_000_000;
    stage.says("a", "2", |_| {});
    stage.turns(2, &mut player);
    assert_eq!(stage.sleeps(), Some(due));
}

#[test]
fn each_lane_has_a_pace_of_its_own() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({}));
    for turn in 1..=201 {
        for priority in [Priority::Low, Priority::High] {
            stage.says("a", "message", |head| head.priority = priority);
        }
        let heard = stage.plays(1, &mut player);
        match turn % 100 {
            1 => assert_eq!(heard, [format!("high {turn}"), format!("low {turn}")]),
            _ => assert_eq!(heard, [""; 0], "turn {turn}"),
        }
    }
}

#[test]
fn what_has_expired_or_is_its_own_is_no_candidate() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({"echo": false}));
    stage.says("a", "first", |_| {});
    assert_eq!(timeline(&mut stage, &mut player, 1), lines(&[(1, "normal 1")]));
    stage.says("a", "wanted", |head| (head.origin, head.flags) = (player.connection, 0));
    stage.says("a", "of another", |head| (head.origin, head.flags) = (ConnectionId::HOST, 1));
    stage.says("a", "own", |head| (head.origin, head.flags) = (player.connection, 1));
    stage.says("a", "short-lived", |head| head.ttl_ms = 50);
    assert_eq!(timeline(&mut stage, &mut player, 100), lines(&[(100, "normal 3")]));
    // What follows the newest candidate is passed over once something comes behind it.
    stage.says("a", "long-lived", |head| head.ttl_ms = 1_000);
    assert_eq!(timeline(&mut stage, &mut player, 200), lines(&[(100, "normal 6")]));
    assert_eq!((stage.stats().passed_over, stage.stats().deliveries), (3, 3));
}

/// To the instant: it is worth nothing from then on.
#[test]
fn a_paced_message_that_expires_just_when_its_time_comes_does_not_come() {
    for (ttl_ms, comes) in [(99, false), (100, false), (101, true)] {
        let mut stage = Stage::new(config(), 1 << 20);
        let mut player = paced(&mut stage, json!({}));
        stage.says("a", "first", |_| {});
        stage.turns(1, &mut player);
        (0..3).for_each(|_| stage.says("a", "expires", |head| head.ttl_ms = ttl_ms));
        assert_eq!(player.reads(), ["normal 1"]);
        let expected: &[(usize, &str)] = if comes { &[(100, "normal 4")] } else { &[] };
        assert_eq!(timeline(&mut stage, &mut player, 150), lines(expected), "{ttl_ms}");
        assert!(stage.sleeps().is_some());
        assert_eq!(stage.stats().passed_over, if comes { 2 } else { 3 });
        // Without a candidate no time begins: what is new comes at once.
        stage.says("a", "fifth", |_| {});
        let turn = if comes { 50 } else { 1 };
        assert_eq!(timeline(&mut stage, &mut player, 60), lines(&[(turn, "normal 5")]));
    }
}

#[test]
fn what_left_the_log_is_no_loss_to_who_wants_the_newest() {
    let mut config = config();
    for policy in [SlowPolicy::DropOldest, SlowPolicy::Latest, SlowPolicy::Disconnect] {
        config.topics[0] = TopicConfig { policy, lane_bytes: Some(16 << 10), ..TopicConfig::default() };
        let mut stage = Stage::new(config.clone(), 1 << 20);
        let mut player = paced(&mut stage, json!({}));
        stage.says("a", "first", |_| {});
        stage.turns(1, &mut player);
        assert_eq!(player.reads(), ["normal 1"]);
        stage.losses();
        for number in 2..=80 {
            stage.says("a", &text(&number.to_string(), 3_000), |head| head.key = number);
            stage.turns(1, &mut player);
        }
        assert_eq!(timeline(&mut stage, &mut player, 30), lines(&[(21, "normal 80")]), "{policy:?}");
        let stats = stage.stats();
        assert_eq!((stage.losses(), stats.gaps, stats.passed_over, stats.lagging), (vec![], 0, 78, 0), "{policy:?}");
    }
}

#[test]
fn a_paced_client_gets_the_newest_at_once_when_the_engine_ends() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({}));
    stage.says("a", "1", |_| {});
    stage.turns(1, &mut player);
    stage.says("a", "2", |_| {});
    stage.says("a", "3", |_| {});
    stage.turns(2, &mut player);
    assert_eq!(player.reads(), ["normal 1"]);
    stage.commands(Command::Drain { within_ns: 1_000_000_000, window_ns: 0 });
    assert_eq!(timeline(&mut stage, &mut player, 5)[..2], lines(&[(1, "normal 3"), (2, "Close(Some(1001))")]));
}

/// A frame that begins to go out begins the interval: its rest takes as long as it takes.
#[test]
fn the_interval_begins_with_a_frame_s_first_byte() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({}));
    stage.send_capacity(40);
    stage.says("a", &text("long", 400), |_| {});
    // Twelve turns, at forty bytes each.
    let first = timeline(&mut stage, &mut player, 30);
    assert!(first.len() == 1 && first[0].0 > 10, "{first:?}");
    stage.send_capacity(1 << 20);
    stage.says("a", "2", |_| {});
    assert_eq!(timeline(&mut stage, &mut player, 90), lines(&[(71, "normal 2")]));
}

/// The newest while a frame is half sent is looked for when it is out and the interval is over.
#[test]
fn a_paced_client_inside_a_frame_finishes_it_first() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({}));
    stage.send_capacity(40);
    stage.says("a", &text("long", 400), |_| {});
    stage.turns(1, &mut player);
    (2..5).for_each(|number| stage.says("a", &number.to_string(), |_| {}));
    // It does not read for longer than the interval.
    stage.turns(150, &mut player);
    stage.send_capacity(1 << 20);
    assert_eq!(timeline(&mut stage, &mut player, 120), lines(&[(2, "normal 1"), (3, "normal 4")]));
    assert_eq!((stage.stats().passed_over, stage.stats().deliveries), (2, 2));
}

#[test]
fn a_paced_message_larger_than_a_send_comes_whole() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = paced(&mut stage, json!({}));
    for number in 1..4 {
        stage.says("a", &text("small", 200), |_| {});
        stage.says("a", &text("large", 150_000), |_| {});
        let heard = timeline(&mut stage, &mut player, 110);
        assert_eq!(heard, lines(&[(2, &*format!("normal {}", 2 * number))]), "{number}");
    }
    assert_eq!(stage.stats().passed_over, 3);
}

#[test]
fn paced_lanes_share_the_64_kib_of_a_send() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut object = topics(&["a", "b"]);
    object["max_hz"] = json!(10);
    let mut player = stage.player(Protocol::JsonV1, &object);
    assert_eq!(stage.plays(2, &mut player), ["subscribed", "subscribed"]);
    let before = stage.stats().sent_bytes;
    ["a", "b"].into_iter().for_each(|topic| stage.says(topic, &text("large", 40_000), |_| {}));
    stage.turns(1, &mut player);
    assert_eq!(stage.stats().sent_bytes - before, 64 << 10);
    assert_eq!(stage.plays(2, &mut player), ["normal 1", "normal 1"]);
}

/// More lanes have their time than fit one send: all get theirs in the turns that follow.
#[test]
fn paced_lanes_that_find_no_room_in_a_send_follow_in_the_next() {
    let mut stage = Stage::new(config(), 1 << 20);
    let names: Vec<_> = (0..40).map(|number| format!("t{number}")).collect();
    let mut object = topics(&names.iter().map(String::as_str).collect::<Vec<_>>());
    object["max_hz"] = json!(10);
    let mut player = stage.player(Protocol::JsonV1, &object);
    stage.turns(2, &mut player);
    player.reads();
    for len in [10, 9_000] {
        stage.turns(200, &mut player);
        names.iter().for_each(|name| stage.says(name, &text(name, len), |_| {}));
        let heard = timeline(&mut stage, &mut player, 90);
        assert_eq!(heard.len(), 40);
        assert!(heard.last().unwrap().0 < 9, "{heard:?}");
    }
}

#[test]
fn a_client_that_wants_no_pace_is_told_of_its_losses_in_a_paced_clients_topic() {
    let mut config = config();
    config.topics[0].lane_bytes = Some(16 << 10);
    let mut stage = Stage::new(config, 1 << 20);
    let mut paced = paced(&mut stage, json!({}));
    let mut plain = stage.player(Protocol::JsonV1, &topics(&["a"]));
    stage.turns(1, &mut plain);
    assert_eq!(plain.reads(), ["subscribed"]);
    stage.losses();
    for player in [&mut paced, &mut plain] {
        stage.holds(player);
    }
    for number in 1..=80 {
        stage.says("a", &text(&number.to_string(), 3_000), |_| {});
        stage.turns(1, &mut paced);
    }
    for player in [&mut paced, &mut plain] {
        stage.lets_go(player);
    }
    stage.turns(9, &mut paced);
    assert_eq!(paced.reads(), ["held", "normal 80"]);
    let heard = plain.reads();
    let [(1, last, Lag)] = stage.losses()[..] else { panic!("{heard:?}") };
    assert_eq!(heard[..2], ["held".to_owned(), format!("normal lost 1 to {last}: lag")]);
    assert_eq!(heard.last().unwrap(), "normal 80");
}
