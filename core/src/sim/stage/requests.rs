//! Requests: what takes long is done in pieces, and others are answered between them.

use super::*;
use crate::config::PublishAccess;
use crate::shard::turn_steps_max;

/// No turn with these budgets is longer, for requests alone: input, requests and answers.
const TURN_STEPS: u64 = 16_000;

fn config() -> Config {
    let mut config = Config { shards: Some(1), topics_max: 8_000, ..Config::default() };
    config.memory.ring_bytes = 1 << 20;
    config
}

/// Turns until this client has its answer, in each of which the others go on; and the longest of these turns.
fn turns_until_answered(stage: &mut Stage, players: &mut [Player]) -> (u64, u64) {
    let (turn, _) = (stage.stats().turns, players[0].reads());
    players[0].asks(&json!({"type": "ping", "id": 7}));
    let mut longest = 0;
    for _ in 0..500 {
        longest = longest.max(stage.turn_of(players));
        if players[0].reads().iter().any(|said| said.contains("Pong")) {
            return (stage.stats().turns - turn, longest);
        }
        for player in &mut players[1..] {
            player.wire.read_some(usize::MAX);
        }
    }
    panic!("no answer");
}

#[test]
fn who_pings_beside_a_long_unsubscribe_of_what_was_never_there_is_answered_in_its_turn() {
    let mut stage = Stage::new(config(), 64 << 10);
    stage.topics((0..1_000).map(|i| format!("d/{i}")));
    let mut players = vec![stage.player(Protocol::JsonV1, &topics(&["other"]))];
    let patterns: Vec<String> = (0..300).map(|i| format!("*/{i}")).collect();
    for _ in 0..4 {
        players.push(stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["**"]})));
        let player = players.last_mut().expect("just pushed");
        player.asks(&json!({"type": "subscribe", "topics": patterns}));
    }
    for _ in 0..400 {
        stage.turn_of(&mut players);
        players.iter_mut().for_each(|player| _ = player.reads());
    }
    let unknown: Vec<String> = (0..1_024).map(|i| format!("none/{i}/**")).collect();
    for player in &mut players[1..] {
        player.asks(&json!({"type": "unsubscribe", "topics": unknown}));
    }
    for _ in 0..20 {
        let (turns, longest) = turns_until_answered(&mut stage, &mut players);
        assert!(turns <= 3 && longest <= TURN_STEPS, "answered after {turns} turns, the longest of {longest} steps");
    }
}

#[test]
fn five_thousand_topics_are_joined_and_left_in_pieces_and_others_hear_meanwhile() {
    let mut stage = Stage::new(config(), 4 << 20);
    stage.topics((0..5_000).map(|i| format!("d/{i}")));
    let mut players = vec![
        stage.player(Protocol::JsonV1, &topics(&["other"])),
        stage.player(Protocol::JsonV1, &topics(&["another"])),
    ];
    stage.turn_of(&mut players);
    players.iter_mut().for_each(|player| _ = player.reads());
    for kind in ["subscribe", "unsubscribe"] {
        players[1].asks(&json!({"type": kind, "id": 1, "topics": ["**"]}));
        let (mut told, mut turns) = (0, 0);
        // With `other` and `another`; the latter it had, and is told of again.
        let expected = if kind == "subscribe" { 5_002 } else { 1 };
        while told < expected {
            stage.says("other", "news", |_| {});
            let steps = stage.turn_of(&mut players);
            assert_eq!(players[0].reads().len(), 1, "another's message comes in the same turn");
            told += players[1].reads().iter().filter(|said| said.contains("ubscribed")).count();
            assert!(steps <= TURN_STEPS, "a turn of {steps} steps");
            turns += 1;
            assert!(turns < 400, "{told} of {expected} after {turns} turns");
        }
    }
    assert_eq!(stage.stats().cursors, 1);
}

/// Receive buffers full of the smallest messages there are, of several clients at once.
#[test]
fn a_flood_of_the_smallest_messages_is_read_in_pieces() {
    let mut config = config();
    config.access.publish = PublishAccess::Everyone;
    let mut stage = Stage::new(config, 64 << 10);
    let mut players = vec![stage.player(Protocol::JsonV1, &topics(&["other"]))];
    for _ in 0..4 {
        players.push(stage.raw("/t/flood?echo=0"));
    }
    for player in &mut players[1..] {
        player.wire.send_bytes(&[0x81, 0x81, 0, 0, 0, 0, b'1'].repeat(40_000));
    }
    for _ in 0..10 {
        let (turns, longest) = turns_until_answered(&mut stage, &mut players);
        assert!(turns <= 4, "answered after {turns} turns");
        assert!(longest <= TURN_STEPS + 8_192, "a turn of {longest} steps; allowed at all: {}", turn_steps_max(0));
    }
}
