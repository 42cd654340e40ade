//! The host decides who comes in, what each may do, and for how long.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::access::{Allowed, AskHost, Decision, Grants};
use crate::proto::topic::Pattern;

/// More than a deadline is late.
const TICKS_NS: u64 = 200_000_000;
const WITHIN: Duration = Duration::from_secs(2);

fn stage(capacity: usize) -> Stage {
    let mut config = Config::default();
    config.events.capacity = capacity;
    config.access.ask_host =
        Some(AskHost { within: WITHIN, headers: vec!["sec-websocket-version".into(), "cookie".into()] });
    config.limits.handshake_timeout = Duration::from_secs(5);
    Stage::new(config, 4 << 20)
}

fn only(patterns: &[&str]) -> Allowed {
    Allowed::Only(patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect())
}

fn allow(subscribe: Allowed, publish: Allowed, lifetime: Option<Duration>) -> Decision {
    Decision::Allow(Grants { subscribe, publish, lifetime, subject: None })
}

/// Somebody asks to come in: the target that the host is told.
fn asked(stage: &mut Stage, player: &Player) -> String {
    let events = stage.events();
    let [Event::Authorize { connection, listener: 0, target, headers, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*connection, player.connection);
    assert_eq!(headers[..], [("sec-websocket-version".to_owned(), b"13".to_vec())], "those asked for that are there");
    target.clone()
}

fn decide(stage: &mut Stage, player: &mut Player, decision: Decision) -> Vec<Incoming> {
    stage.commands(Command::Decide { connection: player.connection, decision: Box::new(decision) });
    stage.turns(2, player);
    player.wire.read_some(usize::MAX)
}

/// The codes of the errors among what it hears.
fn codes(stage: &mut Stage, player: &mut Player, request: &Value) -> Vec<String> {
    player.asks(request);
    let heard = stage.plays(3, player);
    let code = |text: &String| text.split("code: \"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    heard.iter().filter_map(code).collect()
}

#[test]
fn nobody_comes_in_before_the_host_has_decided() {
    let mut stage = stage(16);
    let mut player = stage.knocks("/?x=1", Protocol::JsonV1);
    assert_eq!(asked(&mut stage, &player), "/?x=1");
    stage.turns(100, &mut player);
    assert!(player.wire.read_some(usize::MAX).is_empty() && stage.events().is_empty(), "it is asked once");
    let heard = decide(&mut stage, &mut player, allow(Allowed::Everything, Allowed::Nothing, None));
    assert!(matches!(heard[..], [Incoming::Upgraded(..), ..]), "{heard:?}");
    assert!(matches!(stage.events()[..], [Event::Opened { .. }]));
    // The first decision counts.
    assert!(decide(&mut stage, &mut player, Decision::Forbidden).is_empty());
}

#[test]
fn who_is_refused_is_told_how() {
    for (decision, status) in [(Decision::Unauthorized, 401), (Decision::Forbidden, 403), (Decision::Unavailable, 503)]
    {
        let mut stage = stage(16);
        let mut player = stage.knocks("/", Protocol::JsonV1);
        let heard = decide(&mut stage, &mut player, decision);
        assert!(matches!(heard[..], [Incoming::Refused(told), ..] if told == status), "{status}: {heard:?}");
    }
}

#[test]
fn who_is_not_decided_on_in_time_gets_503() {
    let mut stage = stage(16);
    let mut player = stage.knocks("/", Protocol::JsonV1);
    stage.net.advance_to(stage.net.now_ns() + WITHIN.as_nanos() as u64 - 10_000_000);
    stage.turns(1, &mut player);
    assert!(player.wire.read_some(usize::MAX).is_empty());
    stage.net.advance_to(stage.net.now_ns() + TICKS_NS);
    stage.turns(2, &mut player);
    let heard = player.wire.read_some(usize::MAX);
    assert!(matches!(heard[..], [Incoming::Refused(503), ..]), "{heard:?}");
    let heard = decide(&mut stage, &mut player, allow(Allowed::Everything, Allowed::Everything, None));
    assert!(!heard.iter().any(|incoming| matches!(incoming, Incoming::Upgraded(..))), "too late: {heard:?}");
}

#[test]
fn while_the_host_takes_no_events_nobody_is_asked_about_and_nobody_comes_in() {
    let mut stage = stage(1);
    // One in the mailbox, and one that waits for room there: nobody else is accepted.
    let mut players: Vec<Player> = (0..2).map(|_| stage.knocks("/", Protocol::JsonV1)).collect();
    for player in &mut players {
        stage.turns(20, player);
        assert!(player.wire.read_some(usize::MAX).is_empty());
    }
    let asked: usize = (0..8)
        .map(|_| {
            stage.turns(1, &mut players[0]);
            stage.events().len()
        })
        .sum();
    assert_eq!(asked, 2);
    for player in &mut players {
        let heard = decide(&mut stage, player, allow(Allowed::Everything, Allowed::Nothing, None));
        assert!(matches!(heard[..], [Incoming::Upgraded(..), ..]), "{heard:?}");
    }
}

#[test]
fn what_is_not_granted_is_refused_and_what_is_covered_is_not() {
    let mut stage = stage(64);
    let mut player = stage.knocks("/", Protocol::JsonV1);
    decide(&mut stage, &mut player, allow(only(&["rover/*/imu", "log/**"]), only(&["chat/me"]), None));
    let subscribe = |topic: &str| json!({"type": "subscribe", "topics": [topic]});
    for topic in ["rover/1/imu", "rover/*/imu", "log/**", "log/a/*"] {
        assert_eq!(codes(&mut stage, &mut player, &subscribe(topic)), [""; 0], "{topic}");
    }
    for topic in ["**", "rover/**", "rover/1", "log", "chat/me"] {
        assert_eq!(codes(&mut stage, &mut player, &subscribe(topic)), ["not_allowed"], "{topic}");
    }
    let publish = |topic: &str| json!({"type": "publish", "topic": topic, "data": 1});
    assert_eq!(codes(&mut stage, &mut player, &publish("chat/me")), [""; 0]);
    assert_eq!(codes(&mut stage, &mut player, &publish("log/a")), ["not_allowed"]);
    // What was refused brought nothing.
    stage.says("secret", "1", |_| {});
    stage.says("log/a", "1", |_| {});
    let heard = stage.plays(3, &mut player);
    assert_eq!(heard.iter().filter(|text| text.starts_with("normal")).count(), 1, "{heard:?}");
}

#[test]
fn a_target_names_only_what_is_granted() {
    for (target, expected) in [("/t/a?topic=b", 101), ("/t/a?topic=c", 403), ("/t/c", 403)] {
        let mut stage = stage(16);
        let mut player = stage.knocks(target, Protocol::Raw);
        assert_eq!(asked(&mut stage, &player), target);
        let heard = decide(&mut stage, &mut player, allow(only(&["a", "b"]), only(&["b"]), None));
        match heard[..] {
            [Incoming::Upgraded(..), ..] => assert_eq!(expected, 101, "{target}"),
            [Incoming::Refused(status), ..] => assert_eq!(status, expected, "{target}"),
            _ => panic!("{heard:?}"),
        }
        if expected == 101 {
            // It publishes to the first, which it may not.
            player.says("no");
            let heard = stage.plays(3, &mut player);
            assert!(heard.iter().any(|text| text.contains("1008")), "{heard:?}");
        }
    }
}

#[test]
fn grants_end_at_their_moment() {
    let mut stage = stage(16);
    let mut player = stage.knocks("/", Protocol::JsonV1);
    let lifetime = Duration::from_secs(60);
    decide(&mut stage, &mut player, allow(Allowed::Everything, Allowed::Nothing, Some(lifetime)));
    stage.net.advance_to(stage.net.now_ns() + lifetime.as_nanos() as u64 - 10_000_000);
    assert!(!stage.plays(1, &mut player).iter().any(|text| text.contains("Close")));
    assert!(stage.sleeps().is_some_and(|until| until <= stage.net.now_ns() + 10_000_000), "it wakes in time");
    stage.net.advance_to(stage.net.now_ns() + TICKS_NS);
    let heard = stage.plays(2, &mut player);
    assert!(heard.iter().any(|text| text.contains("4401")), "{heard:?}");
}
