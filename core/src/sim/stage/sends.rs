//! What one send brings, how many there are, and when none is tried.

use super::*;
use crate::config::{SlowPolicy, TopicConfig};

fn config() -> Config {
    let mut config = Config::default();
    config.memory.ring_bytes = 1 << 20;
    config
}

/// Bytes of the frame around a text of 126 to 65,535 bytes.
const HEADER: usize = 4;
const SEND_MAX: usize = 64 << 10;

/// A client that is served as it stands in its topic's log, or one that is looked at by itself.
fn client(stage: &mut Stage, is_gathered: bool) -> Player {
    if is_gathered { stage.gathered() } else { stage.raw("/t/a") }
}

#[test]
fn one_send_brings_64_kib_at_most_and_each_turn_goes_on() {
    for is_gathered in [false, true] {
        let mut stage = Stage::new(config(), 1 << 20);
        let mut player = client(&mut stage, is_gathered);
        let before = stage.stats();
        (0..40).for_each(|number| stage.says("a", &text(&format!("{number}"), 5_000), |_| {}));
        let mut brought = Vec::new();
        for _ in 0..4 {
            let before = stage.stats().sent_bytes;
            stage.turns(1, &mut player);
            brought.push((stage.stats().sent_bytes - before) as usize);
        }
        let rest = 40 * (5_000 + HEADER) - 3 * SEND_MAX;
        // Who does not keep up is looked at by itself in the same turn.
        let expected =
            if is_gathered { [SEND_MAX, SEND_MAX, SEND_MAX, rest] } else { [2 * SEND_MAX, SEND_MAX, rest, 0] };
        assert_eq!(brought, expected, "{is_gathered}");
        assert_eq!(stage.stats().sends - before.sends, 4, "{is_gathered}");
        assert_eq!(player.reads(), (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn the_rest_of_a_half_sent_frame_counts_as_part_of_the_64_kib() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.gathered();
    stage.says("a", &text("first", 30_000), |_| {});
    stage.send_capacity(10_000);
    stage.turns(1, &mut player);
    player.reads();
    for number in 0..10 {
        stage.says("b", &text(&format!("{number}"), 10_000), |_| {});
    }
    stage.turns(1, &mut player);
    assert_eq!(player.reads(), [""; 0]);
    stage.send_capacity(1 << 20);
    let before = stage.stats().sent_bytes;
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, SEND_MAX);
    let rest = 30_000 + HEADER + 10 * (10_000 + HEADER) - 20_000 - SEND_MAX;
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, SEND_MAX + rest);
}

#[test]
fn what_is_said_to_one_client_takes_no_room_from_what_is_said_to_all() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.gathered();
    let before = stage.stats().sent_bytes;
    player.pings("ping");
    stage.sends_to(&player, &text("alone", 20_000));
    (0..14).for_each(|number| stage.says("a", &text(&format!("{number}"), 5_000), |_| {}));
    stage.turns(1, &mut player);
    let to_one = 2 + 4 + 20_000 + HEADER;
    assert_eq!((stage.stats().sent_bytes - before) as usize, SEND_MAX + to_one);
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, 14 * (5_000 + HEADER) + to_one);
    assert_eq!(player.reads().len(), 16);
}

#[test]
fn messages_to_one_client_come_many_at_a_time_and_128_kib_at_most() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a");
    (10..30).for_each(|number| stage.sends_to(&player, &number.to_string()));
    stage.turns(1, &mut player);
    let first = player.reads();
    assert!(first.len() > 5, "{first:?}");
    stage.turns(2, &mut player);
    let all: Vec<_> = first.into_iter().chain(player.reads()).collect();
    assert_eq!(all, (10..30).map(|number| number.to_string()).collect::<Vec<_>>());

    let before = stage.stats();
    (0..4).for_each(|number| stage.sends_to(&player, &text(&number.to_string(), 50_000)));
    stage.says("a", &text("all", 40_000), |_| {});
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before.sent_bytes) as usize, 2 * SEND_MAX);
    stage.turns(1, &mut player);
    let all = 4 * (50_000 + HEADER) + 40_000 + HEADER;
    assert_eq!((stage.stats().sent_bytes - before.sent_bytes) as usize, all);
    assert_eq!(player.reads(), ["0", "1", "2", "3", "all"]);
    assert_eq!(stage.stats().sends - before.sends, 2);
}

#[test]
fn lanes_share_the_64_kib_of_a_send() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.gathered();
    let before = stage.stats().sent_bytes;
    for topic in ["a", "b"] {
        (0..5).for_each(|number| stage.says(topic, &text(&format!("{topic}{number}"), 9_996), |_| {}));
    }
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, SEND_MAX);
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, 100_000);
    assert_eq!(player.reads().len(), 10);
}

/// The most that one send brings ends anywhere: in a header, or between two frames of a run.
#[test]
fn a_send_that_is_full_at_the_end_of_a_frame_or_in_a_header_goes_on_in_the_next_turn() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a");
    let before = stage.stats().sent_bytes;
    // Ten bytes of header, and two bytes left for the next one's.
    stage.sends_to(&player, &text("first", 2 * SEND_MAX - 12));
    stage.sends_to(&player, &text("second", 1_000));
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, 2 * SEND_MAX);
    assert_eq!(stage.plays(1, &mut player), ["first", "second"]);

    let before = stage.stats().sent_bytes;
    for number in 0..2 {
        stage.sends_to(&player, &text(&format!("alone {number}"), SEND_MAX - 5_004));
    }
    (0..20).for_each(|number| stage.says("a", &text(&number.to_string(), 996), |_| {}));
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, 2 * SEND_MAX);
    assert_eq!(player.reads().len(), 12);
    assert_eq!(stage.plays(2, &mut player).len(), 10);
}

/// The rest of a long frame that has moved out of its log.
#[test]
fn a_rest_that_moved_out_comes_in_sends_of_128_kib_at_most() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
    assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
    stage.send_capacity(20);
    stage.says("a", &format!("\"{}\"", "x".repeat(300_000)), |head| head.payload_kind = Kind::Json);
    // It is rendered in pieces.
    stage.turns(8, &mut player);
    assert_eq!(player.reads(), [""; 0]);
    stage.shard.drop_derived(true, || true);
    stage.says("a", "2", |head| head.payload_kind = Kind::Json);
    stage.send_capacity(1 << 20);
    let mut brought = Vec::new();
    for _ in 0..12 {
        let before = stage.stats().sent_bytes;
        stage.turns(1, &mut player);
        brought.push((stage.stats().sent_bytes - before) as usize);
    }
    assert_eq!(brought[..2], [2 * SEND_MAX, 2 * SEND_MAX]);
    // The message behind it comes when the log has been built again.
    assert!(brought[2..].iter().sum::<usize>() < 39_000 && brought[2] > 37_000, "{brought:?}");
    assert_eq!(player.reads(), ["normal 1", "normal 2"]);
}

#[test]
fn messages_to_one_client_leave_room_for_a_part_of_a_run() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a");
    let before = stage.stats().sent_bytes;
    (0..2).for_each(|number| stage.sends_to(&player, &text(&number.to_string(), 60_000)));
    (2..5).for_each(|number| stage.says("a", &text(&number.to_string(), 10_000), |_| {}));
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, 2 * SEND_MAX);
    stage.turns(1, &mut player);
    assert_eq!((stage.stats().sent_bytes - before) as usize, 2 * (60_000 + HEADER) + 3 * (10_000 + HEADER));
    assert_eq!(player.reads(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn news_that_cross_the_end_of_a_block_come_at_once() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a");
    for number in 0..20 {
        stage.says("a", &text(&format!("{number}"), 3_000), |_| {});
        let before = stage.stats().sends;
        assert_eq!(stage.plays(1, &mut player), [number.to_string()]);
        assert_eq!(stage.stats().sends - before, 1);
    }
}

#[test]
fn who_has_everything_leaves_nothing_to_do() {
    let mut stage = Stage::new(config(), 1 << 20);
    // Served with all others, by itself, and frame by frame.
    let mut players = [stage.raw("/t/a"), stage.gathered(), stage.raw("/t/a?echo=0")];
    let [first, ..] = &mut players;
    stage.turns(2, first);
    for number in 1..5 {
        stage.says("a", &text(&number.to_string(), 900), |_| {});
        stage.turns(1, &mut players[0]);
        for player in &mut players {
            assert_eq!(player.reads(), [number.to_string()]);
        }
        assert!(stage.sleeps().is_some(), "{number}");
    }
}

/// A client that takes a part of what is sent, and then does not read: what is published, what is for it alone, and its own pings
/// lead to no send before there is room.
#[test]
fn who_took_less_than_was_sent_is_not_tried_again_before_there_is_room() {
    for is_gathered in [false, true] {
        let mut stage = Stage::new(config(), 4_000);
        let mut player = client(&mut stage, is_gathered);
        let before = stage.stats();
        stage.says("a", &text("first", 5_000), |_| {});
        stage.turns(1, &mut player);
        assert_eq!((stage.stats().sent_bytes - before.sent_bytes, stage.stats().sends - before.sends), (4_000, 1));
        for number in 2..5 {
            stage.says("a", &number.to_string(), |_| {});
            stage.sends_to(&player, "alone");
            stage.turns(2, &mut player);
        }
        assert_eq!(stage.stats().sends - before.sends, 1, "{is_gathered}");
        assert_eq!(stage.plays(3, &mut player), ["first", "alone", "alone", "alone", "2", "3", "4"], "{is_gathered}");
        assert_eq!(stage.stats().sends - before.sends, 2, "{is_gathered}");
    }
}

/// More is there than one send brings, and the kernel has room, but too little to say so once it has been used up: nothing is
/// waited for.
#[test]
fn who_took_all_of_a_send_is_sent_more_without_waiting_for_room() {
    for is_gathered in [false, true] {
        let mut stage = Stage::new(config(), SEND_MAX + 10_000);
        let mut player = client(&mut stage, is_gathered);
        let before = stage.stats().sent_bytes;
        (0..20).for_each(|number| stage.says("a", &text(&number.to_string(), 5_000), |_| {}));
        stage.turns(2, &mut player);
        assert_eq!((stage.stats().sent_bytes - before) as usize, SEND_MAX + 10_000, "{is_gathered}");
        assert_eq!(stage.plays(4, &mut player).len(), 20);
    }
}

#[test]
fn a_connection_that_fails_is_closed_and_nobody_else_notices() {
    for is_gathered in [false, true] {
        let mut stage = Stage::new(config(), 1 << 20);
        let mut players: Vec<_> = (0..5).map(|_| client(&mut stage, is_gathered)).collect();
        let mut failing = players.remove(2);
        failing.wire.reset();
        // The reset is not seen before the send.
        stage.says("a", "first", |_| {});
        stage.turns(1, &mut players[0]);
        stage.says("a", "second", |_| {});
        stage.turns(1, &mut players[0]);
        for player in &mut players {
            let heard = player.reads();
            assert_eq!(heard[heard.len() - 2..], ["first", "second"], "{is_gathered}");
        }
        assert_eq!((stage.stats().connections, stage.stats().closed), (4, 1));
    }
}

#[test]
fn a_send_that_fails_closes_its_connection_and_no_other() {
    for is_gathered in [false, true] {
        let mut stage = Stage::new(config(), 1 << 20);
        let mut player = client(&mut stage, is_gathered);
        stage.net.with_options(|options| options.failed_send = 1_000);
        stage.says("a", "first", |_| {});
        stage.turns(1, &mut player);
        stage.net.with_options(|options| options.failed_send = 0);
        assert_eq!((stage.stats().connections, stage.stats().closed), (0, 1));
        let mut other = client(&mut stage, is_gathered);
        stage.says("a", "second", |_| {});
        assert_eq!(stage.plays(2, &mut other).last().unwrap(), "second");
    }
}

#[test]
fn many_clients_are_served_with_few_calls() {
    const CLIENTS: u32 = 130;
    let mut stage = Stage::new(Config { connections_max: CLIENTS, ..config() }, 1 << 20);
    let mut players: Vec<_> = (0..CLIENTS).map(|_| stage.raw("/t/a")).collect();
    // 64 at a time as they stand in their topic's log, 32 at a time where each needs a look of its own.
    for (calls, is_gathered) in [(3, false), (5, true)] {
        if is_gathered {
            players.iter().for_each(|player| stage.sends_to(player, "alone"));
        }
        stage.says("a", "all", |_| {});
        let before = (stage.batches(), stage.stats().sends);
        stage.turns(1, &mut players[0]);
        let after = (stage.batches(), stage.stats().sends);
        assert_eq!((after.0 - before.0, after.1 - before.1), (calls, u64::from(CLIENTS)), "{is_gathered}");
        for player in &mut players {
            let heard = player.reads();
            assert_eq!((heard.len(), &*heard[heard.len() - 1]), (1 + usize::from(is_gathered), "all"));
        }
    }
}

#[test]
fn a_client_that_lags_a_little_gets_all_it_lacks_in_one_send() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::Disconnect] {
        let topics = vec![TopicConfig { policy, ..TopicConfig::default() }];
        let mut stage = Stage::new(Config { topics, ..config() }, 1 << 20);
        let mut player = stage.gathered();
        let before = stage.stats();
        (0..200).for_each(|number| stage.says("a", &number.to_string(), |_| {}));
        stage.turns(1, &mut player);
        assert_eq!(player.reads().len(), 200);
        assert_eq!(stage.stats().sends - before.sends, 1);
        assert_eq!(stage.stats().deliveries - before.deliveries, 200);
    }
}
