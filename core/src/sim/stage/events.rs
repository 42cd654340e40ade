//! What the host is told of a connection's topics.

use serde_json::json;

use super::*;
use crate::config::LimitsConfig;

/// More than one turn takes down.
const TOPICS: usize = 1_000;

fn stage() -> (Stage, Player) {
    let limits = LimitsConfig { topics_per_connection_max: 5_000, ..LimitsConfig::default() };
    let mut config = Config { limits, ..Config::default() };
    config.events.capacity = 8_192;
    config.memory.ring_bytes = 1 << 20;
    let mut stage = Stage::new(config, 4 << 20);
    let names: Vec<String> = (0..TOPICS).map(|n| format!("t/{n}")).collect();
    let mut player = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": names}));
    stage.turns(8, &mut player);
    (stage, player)
}

/// Of one connection: how often it got a topic and lost one, and whether it is closed, with nothing after that.
fn told(events: &[Event]) -> (usize, usize, bool) {
    let count = |what: fn(&Event) -> bool| events.iter().filter(|event| what(event)).count();
    (
        count(|event| matches!(event, Event::Subscribed { .. })),
        count(|event| matches!(event, Event::Unsubscribed { .. })),
        matches!(events.last(), Some(Event::Closed { .. })),
    )
}

#[test]
fn the_end_of_each_subscription_is_told_before_an_orderly_close() {
    let (mut stage, mut player) = stage();
    let connection = player.connection;
    let close = Command::Close { connection, code: 1000, reason: String::new() };
    assert!(stage.shared.mailboxes[0].commands.push(close).is_ok());
    stage.turns(1, &mut player);
    let mut events = stage.events();
    assert!(matches!(told(&events), (TOPICS, 1..TOPICS, false)), "it takes several turns: {:?}", told(&events));
    // Gone before all is taken down.
    player.wire.reset();
    stage.turns(8, &mut player);
    events.extend(stage.events());
    assert_eq!(told(&events), (TOPICS, TOPICS, true));
}

#[test]
fn of_who_is_cut_off_only_the_close_is_told() {
    let (mut stage, mut player) = stage();
    player.wire.reset();
    stage.turns(8, &mut player);
    assert_eq!(told(&stage.events()), (TOPICS, 0, true));
}
