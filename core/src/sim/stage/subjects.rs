//! What a subject may have, over all its connections.

use std::time::Duration;

use super::*;
use crate::access::{Allowed, AskHost, Decision, Grants};
use crate::config::LimitsConfig;
use crate::shard::What;

fn stage(change: impl FnOnce(&mut LimitsConfig)) -> Stage {
    let mut config = Config { shards: Some(1), connections_max: 40, ..Config::default() };
    config.events.capacity = 64;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(2), headers: Vec::new() });
    change(&mut config.limits);
    Stage::new(config, 4 << 20)
}

/// Somebody comes, and the host says who it is: the client, and the status that it is answered with.
fn comes(stage: &mut Stage, subject: Option<&str>, target: &str, protocol: Protocol) -> (Player, u16) {
    let mut player = stage.knocks(target, protocol);
    let subject = subject.map(str::to_owned);
    let grants = Grants { subscribe: Allowed::Everything, publish: Allowed::Everything, lifetime: None, subject };
    let decision = Box::new(Decision::Allow(grants));
    stage.commands(Command::Decide { connection: player.connection, decision });
    stage.turns(3, &mut player);
    let status = match player.wire.read_some(usize::MAX)[..] {
        [Incoming::Upgraded(..), ..] => 101,
        [Incoming::Refused(status), ..] => status,
        ref other => panic!("{other:?}"),
    };
    stage.events();
    (player, status)
}

fn client(stage: &mut Stage, subject: &str) -> Player {
    let (player, status) = comes(stage, Some(subject), "/", Protocol::JsonV1);
    assert_eq!(status, 101);
    player
}

fn goes(stage: &mut Stage, mut player: Player) {
    player.wire.reset();
    (0..6).for_each(|_| _ = stage.turn_of(&mut []));
}

/// The code of the error among what it is answered, or nothing.
fn code(stage: &mut Stage, player: &mut Player, request: &Value) -> String {
    player.asks(request);
    let heard = stage.plays(4, player);
    stage.events();
    let code = |text: &String| text.split("code: \"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    heard.iter().find_map(code).unwrap_or_default()
}

fn unsubscribe(name: &str) -> Value {
    json!({"type": "unsubscribe", "topics": [name]})
}

fn publish(topic: &str) -> Value {
    json!({"type": "publish", "topic": topic, "data": 1})
}

fn has(stage: &Stage, what: What) -> u32 {
    stage.shared.counted.subjects.has("u1", what)
}

#[test]
fn a_subject_has_so_many_connections_and_one_more_is_told_429() {
    for most in [1, 2, 5] {
        let mut stage = stage(|limits| limits.connections_per_subject_max = most);
        let mut players: Vec<Player> = (0..most).map(|_| client(&mut stage, "u1")).collect();
        for _ in 0..3 {
            let (player, status) = comes(&mut stage, Some("u1"), "/", Protocol::JsonV1);
            assert_eq!(status, 429, "one past {most}");
            goes(&mut stage, player);
        }
        for other in [Some("u2"), None, None] {
            assert_eq!(comes(&mut stage, other, "/t/t", Protocol::Raw).1, 101, "{other:?}");
        }
        assert_eq!((has(&stage, What::Connections), stage.stats().refused_for_subject), (most, 3));
        goes(&mut stage, players.remove(0));
        players.push(client(&mut stage, "u1"));
        players.into_iter().for_each(|player| goes(&mut stage, player));
        assert_eq!((has(&stage, What::Connections), stage.shared.counted.subjects.len()), (0, 0));
    }
}

#[test]
fn a_subject_has_so_many_subscriptions_by_all_its_connections() {
    let mut stage = stage(|limits| limits.subscriptions_per_subject_max = 3);
    let (mut first, mut second) = (client(&mut stage, "u1"), client(&mut stage, "u1"));
    assert_eq!(code(&mut stage, &mut first, &topics(&["a", "b/*"])), "");
    assert_eq!(code(&mut stage, &mut second, &topics(&["a"])), "", "at the limit");
    for name in ["c", "c/*"] {
        assert_eq!(code(&mut stage, &mut second, &topics(&[name])), "too_many_subscriptions", "one past it");
    }
    // The same again is none more.
    assert_eq!(code(&mut stage, &mut first, &topics(&["a", "b/*"])), "");
    assert_eq!(code(&mut stage, &mut second, &topics(&["a"])), "");
    assert_eq!(has(&stage, What::Subscriptions), 3);
    let mut other = client(&mut stage, "u2");
    assert_eq!(code(&mut stage, &mut other, &topics(&["a", "b", "c"])), "");
    assert_eq!(code(&mut stage, &mut first, &unsubscribe("b/*")), "");
    assert_eq!(code(&mut stage, &mut second, &topics(&["c"])), "");
    assert_eq!(code(&mut stage, &mut first, &topics(&["d"])), "too_many_subscriptions");
    goes(&mut stage, second);
    assert_eq!(has(&stage, What::Subscriptions), 1);
    assert_eq!(code(&mut stage, &mut first, &topics(&["d", "e"])), "");
    goes(&mut stage, first);
    assert_eq!(has(&stage, What::Subscriptions), 0);
}

#[test]
fn a_subject_has_so_many_patterns_and_names_are_none() {
    let mut stage = stage(|limits| limits.patterns_per_subject_max = 2);
    let (mut first, mut second) = (client(&mut stage, "u1"), client(&mut stage, "u1"));
    assert_eq!(code(&mut stage, &mut first, &topics(&["a/*", "a/**", "b", "c"])), "");
    assert_eq!(code(&mut stage, &mut second, &topics(&["*"])), "too_many_subscriptions");
    assert_eq!(code(&mut stage, &mut first, &topics(&["a/*", "d"])), "", "the same again");
    assert_eq!(code(&mut stage, &mut first, &unsubscribe("a/*")), "");
    assert_eq!(code(&mut stage, &mut second, &topics(&["*"])), "");
    assert_eq!(code(&mut stage, &mut second, &topics(&["a/*"])), "too_many_subscriptions");
    goes(&mut stage, second);
    assert_eq!(has(&stage, What::Patterns), 1);
}

#[test]
fn a_subject_makes_so_many_topics_by_subscribing_and_has_them_back_when_they_are_not_its_own_any_more() {
    let mut stage = stage(|limits| limits.topics_per_subject_max = 2);
    let (mut first, mut second) = (client(&mut stage, "u1"), client(&mut stage, "u1"));
    stage.topic("there");
    assert_eq!(code(&mut stage, &mut first, &topics(&["a", "there", "x/*"])), "");
    assert_eq!(code(&mut stage, &mut second, &topics(&["b"])), "", "at the limit");
    assert_eq!(code(&mut stage, &mut second, &topics(&["c"])), "too_many_topics", "one past it");
    assert_eq!(code(&mut stage, &mut second, &topics(&["there", "a"])), "", "what is there is subscribed to");
    // `a` is there for two now, and `b` is published to by somebody else.
    assert_eq!(has(&stage, What::Topics), 1);
    stage.says("b", "1", |_| {});
    stage.turns(2, &mut first);
    assert_eq!(code(&mut stage, &mut second, &topics(&["c", "d"])), "");
    assert_eq!((has(&stage, What::Topics), stage.stats().refused_for_subject), (2, 1));
    goes(&mut stage, second);
    assert_eq!(has(&stage, What::Topics), 0);
}

#[test]
fn what_a_subject_publishes_to_first_counts_until_its_last_connection_is_gone() {
    let mut stage = stage(|limits| limits.topics_per_subject_max = 2);
    let (mut first, mut second) = (client(&mut stage, "u1"), client(&mut stage, "u1"));
    stage.says("there", "1", |_| {});
    stage.turns(2, &mut first);
    for topic in ["a", "there", "a", "b"] {
        assert_eq!(code(&mut stage, &mut first, &publish(topic)), "", "{topic}");
    }
    assert_eq!(code(&mut stage, &mut second, &publish("c")), "too_many_topics");
    assert_eq!(code(&mut stage, &mut second, &publish("a")), "", "who has published publishes on");
    goes(&mut stage, first);
    assert_eq!(
        (code(&mut stage, &mut second, &publish("c")), has(&stage, What::Topics)),
        ("too_many_topics".into(), 2)
    );
    goes(&mut stage, second);
    let mut third = client(&mut stage, "u1");
    assert_eq!(code(&mut stage, &mut third, &publish("c")), "");
}

#[test]
fn a_topic_that_one_subscribes_to_and_then_publishes_on_is_one_and_is_not_had_back() {
    let mut stage = stage(|limits| limits.topics_per_subject_max = 1);
    let mut player = client(&mut stage, "u1");
    assert_eq!(code(&mut stage, &mut player, &topics(&["a"])), "");
    assert_eq!(code(&mut stage, &mut player, &publish("a")), "");
    assert_eq!(has(&stage, What::Topics), 1);
    for request in [topics(&["b"]), publish("b")] {
        assert_eq!(code(&mut stage, &mut player, &request), "too_many_topics");
    }
    // The same of a raw client, whose first message comes with its request.
    let (mut raw, status) = comes(&mut stage, Some("u3"), "/t/r", Protocol::Raw);
    assert_eq!(status, 101);
    raw.says("1");
    let heard = stage.plays(4, &mut raw);
    assert!(!heard.iter().any(|said| said.starts_with("Close")), "{heard:?}");
    assert_eq!(stage.shared.counted.subjects.has("u3", What::Topics), 1);
    assert_eq!(comes(&mut stage, Some("u3"), "/t/other", Protocol::Raw).1, 503);
}

#[test]
fn nothing_is_kept_where_nothing_is_limited() {
    let mut stage = stage(|_| {});
    let mut player = client(&mut stage, "u1");
    assert_eq!(code(&mut stage, &mut player, &topics(&["a", "b/*"])), "");
    assert_eq!((stage.shared.counted.subjects.len(), stage.stats().refused_for_subject), (0, 0));
}
