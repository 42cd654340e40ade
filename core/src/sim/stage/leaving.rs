//! Connections that go: what they leave behind is taken down in pieces.

use super::*;
use crate::shard::turn_steps_max;

#[test]
fn a_connection_with_five_thousand_topics_that_goes_costs_others_a_bounded_part_of_a_turn() {
    let mut config = Config { shards: Some(1), topics_max: 8_000, ..Config::default() };
    config.memory.ring_bytes = 1 << 20;
    let mut stage = Stage::new(config, 4 << 20);
    stage.topics((0..5_000).map(|i| format!("d/{i}")));
    let mut players = vec![stage.player(Protocol::JsonV1, &topics(&["other"]))];
    for _ in 0..3 {
        players.push(stage.player(Protocol::JsonV1, &topics(&["**"])));
    }
    for _ in 0..400 {
        stage.turn_of(&mut players);
        players.iter_mut().for_each(|player| _ = player.reads());
    }
    for player in &mut players[1..] {
        player.wire.close();
    }
    let mut turns = 0;
    while stage.stats().connections > 1 {
        stage.says("other", "news", |_| {});
        let steps = stage.turn_of(&mut players[..1]);
        assert_eq!(players[0].reads().len(), 1, "another's message comes in the same turn");
        // Three steps a topic, of 3,000 a turn; and the news itself.
        assert!(steps <= 4_500, "a turn of {steps} steps; allowed at all: {}", turn_steps_max(0));
        turns += 1;
        assert!(turns < 100, "it is never taken down");
    }
    assert!(turns >= 5, "in {turns} turns");
}
