//! A topic of many subscribers ends in pieces, and is gone for everybody at once.

use super::*;

/// The host removes a topic.
fn removes(stage: &Stage, name: &str) {
    assert_eq!(stage.shared.registry.remove(name, stage.shared.to_ring()), Ok(true), "{name}");
}

#[test]
fn a_topic_of_many_subscribers_ends_in_pieces_and_its_next_life_is_heard_by_all_who_named_it() {
    const MANY: u64 = 2_000;
    let mut config = Config { shards: Some(1), topics_max: 64, connections_max: 5_000, ..Config::default() };
    config.memory.client_bytes = 256 << 20;
    let mut stage = Stage::new(config, 64 << 10);
    stage.says("t", "old", |_| {});
    // Half by its name, half by a pattern.
    let mut crowd: Vec<Player> =
        (0..MANY).map(|n| stage.player(Protocol::JsonV1, &topics(&[if n % 2 == 0 { "t" } else { "*" }]))).collect();
    (0..20).for_each(|_| _ = stage.turn_of(&mut []));
    crowd.iter_mut().for_each(|player| _ = player.reads());
    assert_eq!(stage.stats().cursors, MANY);
    stage.says("t", "last", |_| {});
    removes(&stage, "t");
    stage.says("t", "new", |_| {});
    let mut turns = 0;
    while stage.stats().cursors != MANY || turns < 2 {
        let steps = stage.turn_of(&mut []);
        assert!(stage.shard.last_work().leaving.spent() <= 3_100 && steps <= 40_000, "{:?}", stage.shard.last_work());
        turns += 1;
        assert!(turns < 100, "{} cursors after {turns} turns", stage.stats().cursors);
    }
    assert!(turns >= MANY / 1_000, "{turns} turns");
    (0..20).for_each(|_| _ = stage.turn_of(&mut []));
    for (number, player) in crowd.iter_mut().enumerate() {
        let said = player.reads();
        let new: Vec<&String> =
            said.iter().filter(|said| said.starts_with("subscribed") || said.starts_with("normal 1")).collect();
        // Who asked for it by name or pattern hears of its next life, and nothing of the last one behind that.
        assert_eq!(new.len(), 2, "{number}: {said:?}");
        assert_eq!(said.last().map(String::as_str), Some("normal 1"), "{number}: {said:?}");
    }
}

#[test]
fn who_acts_while_a_topic_ends_finds_it_ended() {
    const MANY: u64 = 1_500;
    let mut config = Config { shards: Some(1), topics_max: 64, connections_max: 5_000, ..Config::default() };
    config.memory.client_bytes = 256 << 20;
    let mut stage = Stage::new(config, 64 << 10);
    stage.says("t", "old", |_| {});
    // Members leave from the last on: these are left for long.
    let mut named = stage.player(Protocol::JsonV1, &topics(&["t"]));
    let mut matched = stage.player(Protocol::JsonV1, &topics(&["*"]));
    let mut raw = stage.raw("/t/t");
    let mut crowd: Vec<Player> = (0..MANY).map(|_| stage.player(Protocol::JsonV1, &topics(&["t"]))).collect();
    (0..20).for_each(|_| _ = stage.turn_of(&mut []));
    for player in [&mut named, &mut matched, &mut raw] {
        player.reads();
    }
    removes(&stage, "t");
    stage.turn_of(&mut []);
    assert!(stage.stats().cursors > 500, "it still ends");
    named.asks(&json!({"type": "unsubscribe", "id": 1, "topics": ["t"]}));
    matched.asks(&json!({"type": "unsubscribe", "id": 1, "topics": ["*"]}));
    raw.says("by the raw client");
    (0..2).for_each(|_| _ = stage.turn_of(std::slice::from_mut(&mut named)));
    (0..2).for_each(|_| _ = stage.turn_of(std::slice::from_mut(&mut matched)));
    (0..2).for_each(|_| _ = stage.turn_of(std::slice::from_mut(&mut raw)));
    (0..60).for_each(|_| _ = stage.turn_of(&mut []));
    for player in [&mut named, &mut matched] {
        let said = player.reads();
        assert!(said.iter().any(|said| said.contains("nsubscribed")), "{said:?}");
    }
    assert_eq!(raw.reads(), ["by the raw client"], "it publishes to the topic's next life");
    for player in &mut crowd {
        assert!(player.reads().iter().any(|said| said == "normal 1"));
    }
    crowd.iter_mut().for_each(|player| player.wire.reset());
    (0..60).for_each(|_| _ = stage.turn_of(&mut []));
    assert_eq!(stage.stats().cursors, 1);
}
