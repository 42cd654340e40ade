//! An open connection brings another token: what it may do is replaced, and what it may not have any more ends.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::access::{Allowed, AskHost, Decision, Grants};
use crate::config::LimitsConfig;
use crate::proto::topic::Pattern;

const MINUTE: Duration = Duration::from_secs(60);
/// More than a deadline is late.
const TICKS_NS: u64 = 200_000_000;

fn stage_with(limits: LimitsConfig) -> Stage {
    let mut config = Config { limits, ..Config::default() };
    config.events.capacity = 64;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(2), headers: Vec::new() });
    Stage::new(config, 4 << 20)
}

fn only(patterns: &[&str]) -> Allowed {
    Allowed::Only(patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect())
}

fn grants(subscribe: &[&str], publish: &[&str], lifetime: Option<Duration>) -> Grants {
    Grants { subscribe: only(subscribe), publish: only(publish), lifetime, subject: Some("u1".into()) }
}

fn decide(stage: &mut Stage, player: &Player, decision: Decision) {
    stage.commands(Command::Decide { connection: player.connection, decision: Box::new(decision) });
}

/// Somebody who is in, with these grants.
fn enters(stage: &mut Stage, protocol: Protocol, grants: Grants) -> Player {
    let mut player = stage.knocks("/", protocol);
    decide(stage, &player, Decision::Allow(grants));
    stage.turns(2, &mut player);
    let heard = player.wire.read_some(usize::MAX);
    assert!(matches!(heard[..], [Incoming::Upgraded(..), ..]), "{heard:?}");
    stage.events();
    player
}

/// It brings a token: those that the host is asked about.
fn brings(stage: &mut Stage, player: &mut Player, token: &str) -> Vec<String> {
    player.asks(&json!({"type": "auth", "id": 7, "token": token}));
    stage.turns(2, player);
    tokens(stage)
}

fn tokens(stage: &mut Stage) -> Vec<String> {
    let token = |event| if let Event::Reauthorize { token, .. } = event { Some(token) } else { None };
    stage.events().into_iter().filter_map(token).collect()
}

fn is_error(heard: &[String], code: &str) -> bool {
    matches!(heard, [text] if text.contains(&format!("code: \"{code}\"")))
}

#[test]
fn a_new_token_replaces_grants_and_moves_the_end_in_every_subprotocol() {
    for protocol in Protocol::NAMED {
        let mut stage = stage_with(LimitsConfig::default());
        let mut player = enters(&mut stage, protocol, grants(&["a/**"], &[], Some(MINUTE)));
        assert_eq!(brings(&mut stage, &mut player, "second"), ["second"]);
        assert!(player.reads().is_empty(), "the host has not decided");
        decide(&mut stage, &player, Decision::Allow(grants(&["a/**", "b"], &["b"], Some(2 * MINUTE))));
        let heard = stage.plays(3, &mut player);
        assert!(matches!(&heard[..], [text] if text.starts_with("authorized Some(1")), "{protocol:?}: {heard:?}");
        // The old end is none any more.
        stage.net.advance_to(stage.net.now_ns() + MINUTE.as_nanos() as u64 + TICKS_NS);
        player.asks(&topics(&["b"]));
        player.asks(&json!({"type": "publish", "topic": "b", "data": "1"}));
        let heard = stage.plays(300, &mut player);
        let has = |word: &str| heard.iter().filter(|text| text.starts_with(word)).count() == 1;
        assert!(has("subscribed") && has("normal") && heard.len() == 2, "{protocol:?}: {heard:?}");
        stage.net.advance_to(stage.net.now_ns() + MINUTE.as_nanos() as u64);
        let heard = stage.plays(2, &mut player);
        assert!(heard.iter().any(|text| text.contains("4401")), "{protocol:?}: {heard:?}");
    }
}

#[test]
fn what_is_not_covered_any_more_ends_and_is_told_before_the_answer() {
    let mut stage = stage_with(LimitsConfig::default());
    let mut player = enters(&mut stage, Protocol::JsonV1, grants(&["**"], &["**"], None));
    stage.says("a/1", "1", |_| {});
    stage.says("b/1", "1", |_| {});
    // By name, of a topic that is there and one that is not yet, and by patterns.
    player.asks(&topics(&["a/1", "b/1", "c", "a/*", "*/1", "b/x"]));
    stage.plays(5, &mut player);
    brings(&mut stage, &mut player, "second");
    decide(&mut stage, &player, Decision::Allow(grants(&["a/*", "b/x"], &["a/*"], Some(MINUTE))));
    let mut heard = stage.plays(5, &mut player);
    assert!(heard.pop().is_some_and(|text| text.starts_with("authorized Some(")), "{heard:?}");
    heard.sort_unstable();
    assert_eq!(heard, ["unsubscribed */1", "unsubscribed b/1", "unsubscribed c"]);
    for (topic, count) in [("a/1", 1), ("b/1", 0), ("c", 0), ("b/x", 1)] {
        stage.says(topic, "2", |_| {});
        let heard = stage.plays(3, &mut player);
        let messages = heard.iter().filter(|text| text.starts_with("normal")).count();
        assert_eq!(messages, count, "{topic}: {heard:?}");
    }
    player.asks(&topics(&["b/1"]));
    assert!(is_error(&stage.plays(3, &mut player), "not_allowed"));
    player.asks(&json!({"type": "publish", "topic": "b/1", "data": 1}));
    assert!(is_error(&stage.plays(3, &mut player), "not_allowed"));
    // With nothing at all it may not publish either.
    stage.net.advance_to(stage.net.now_ns() + 2_000_000_000);
    brings(&mut stage, &mut player, "third");
    decide(&mut stage, &player, Decision::Allow(grants(&[], &[], Some(MINUTE))));
    assert_eq!(stage.plays(5, &mut player).iter().filter(|text| text.starts_with("unsubscribed")).count(), 3);
    player.asks(&json!({"type": "publish", "topic": "a/1", "data": 1}));
    assert!(is_error(&stage.plays(3, &mut player), "not_allowed"));
}

#[test]
fn who_is_granted_everything_keeps_nothing_of_the_engines_own() {
    let mut stage = stage_with(LimitsConfig::default());
    let mut player = enters(&mut stage, Protocol::JsonV1, grants(&["$sys/clients", "a"], &[], None));
    player.asks(&topics(&["$sys/clients", "a"]));
    assert_eq!(stage.plays(5, &mut player).iter().filter(|text| text.starts_with("subscribed")).count(), 2);
    brings(&mut stage, &mut player, "second");
    let everything = Grants { subscribe: Allowed::Everything, ..grants(&[], &[], None) };
    decide(&mut stage, &player, Decision::Allow(everything));
    let heard = stage.plays(5, &mut player);
    let said = |word: &str| heard.iter().filter(|text| text.starts_with(word)).count();
    let ended = heard.iter().filter(|text| *text == "unsubscribed $sys/clients").count();
    assert_eq!((said("unsubscribed"), ended, said("authorized")), (1, 1, 1), "{heard:?}");
}

#[test]
fn a_token_that_is_not_good_is_an_error_and_the_old_end_stands() {
    for (decision, code) in [
        (Decision::Unauthorized, "not_authorized"),
        (Decision::Forbidden, "not_allowed"),
        (Decision::Unavailable, "unavailable"),
        // Of somebody else.
        (Decision::Allow(Grants { subject: Some("u2".into()), ..grants(&["**"], &["**"], None) }), "not_authorized"),
        (Decision::Allow(Grants { subject: None, ..grants(&["**"], &["**"], None) }), "not_authorized"),
    ] {
        let mut stage = stage_with(LimitsConfig::default());
        let mut player = enters(&mut stage, Protocol::JsonV1, grants(&["a"], &[], Some(MINUTE)));
        brings(&mut stage, &mut player, "second");
        decide(&mut stage, &player, decision);
        let heard = stage.plays(3, &mut player);
        assert!(is_error(&heard, code), "{code}: {heard:?}");
        assert_eq!((stage.stats().renewed, stage.stats().renewals_refused), (0, 1));
        player.asks(&topics(&["b"]));
        assert!(is_error(&stage.plays(3, &mut player), "not_allowed"), "{code}");
        stage.net.advance_to(stage.net.now_ns() + MINUTE.as_nanos() as u64 + TICKS_NS);
        assert!(stage.plays(2, &mut player).iter().any(|text| text.contains("4401")), "{code}");
    }
}

#[test]
fn where_nobody_decides_no_token_is_taken() {
    let mut stage = Stage::new(Config::default(), 4 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["t"]));
    player.reads();
    assert!(brings(&mut stage, &mut player, "x").is_empty());
    assert!(is_error(&player.reads(), "not_authorized"));
}

#[test]
fn a_flood_of_tokens_asks_the_host_once_a_second_at_most() {
    let mut stage = stage_with(LimitsConfig::default());
    let mut player = enters(&mut stage, Protocol::JsonV1, grants(&["a"], &[], Some(MINUTE)));
    let start_ns = stage.net.now_ns();
    let (mut asked, mut too_often, mut sent) = (0, 0, 0);
    for _ in 0..3_000 {
        player.asks(&json!({"type": "auth", "token": "x"}));
        sent += 1;
        let heard = stage.plays(1, &mut player);
        too_often += heard.iter().filter(|text| text.contains("too_often")).count();
        for token in tokens(&mut stage) {
            assert_eq!(token, "x");
            asked += 1;
            decide(&mut stage, &player, Decision::Unauthorized);
        }
    }
    stage.plays(3, &mut player);
    let seconds = (stage.net.now_ns() - start_ns) / 1_000_000_000;
    assert!((1..=seconds + 1).contains(&asked), "{asked} in {seconds} s");
    assert_eq!(stage.stats().renewals_refused, asked);
    assert!(too_often + asked as usize >= sent - 3, "each is answered: {too_often} of {sent}");
}

#[test]
fn while_the_host_has_not_decided_it_goes_on_and_is_not_asked_again() {
    let mut stage = stage_with(LimitsConfig::default());
    let mut player = enters(&mut stage, Protocol::JsonV1, grants(&["a"], &[], Some(MINUTE)));
    assert_eq!(brings(&mut stage, &mut player, "second").len(), 1);
    stage.net.advance_to(stage.net.now_ns() + 30_000_000_000);
    assert!(brings(&mut stage, &mut player, "third").is_empty());
    assert!(is_error(&player.reads(), "too_often"));
    player.asks(&topics(&["a"]));
    assert!(stage.plays(3, &mut player)[0].starts_with("subscribed"));
    // A decision counts from its own moment on, and once.
    decide(&mut stage, &player, Decision::Allow(grants(&["a"], &[], Some(MINUTE))));
    decide(&mut stage, &player, Decision::Allow(grants(&["**"], &[], None)));
    assert!(matches!(&stage.plays(3, &mut player)[..], [text] if text.starts_with("authorized Some(59")));
    stage.net.advance_to(stage.net.now_ns() + MINUTE.as_nanos() as u64 + TICKS_NS);
    assert!(stage.plays(2, &mut player).iter().any(|text| text.contains("4401")));
}

#[test]
fn a_decision_waits_for_a_request_that_is_half_done_and_is_nothing_where_the_client_has_gone() {
    let mut stage = stage_with(LimitsConfig::default());
    stage.topics((0..3_000).map(|n| format!("a/{n}")));
    let mut player = enters(&mut stage, Protocol::JsonV1, grants(&["**"], &[], None));
    player.asks(&json!({"type": "auth", "token": "second"}));
    player.asks(&topics(&["a/*"]));
    stage.turns(1, &mut player);
    assert_eq!(tokens(&mut stage).len(), 1);
    // The pattern's walk takes several turns; its end is told before the answer.
    decide(&mut stage, &player, Decision::Allow(grants(&["b"], &[], Some(MINUTE))));
    let mut heard = Vec::new();
    for _ in 0..200 {
        heard.append(&mut stage.plays(1, &mut player));
        stage.events();
    }
    let [.., ended, answer] = &heard[..] else { panic!("{heard:?}") };
    assert!(ended == "unsubscribed a/*" && answer.starts_with("authorized"), "{ended} {answer}");
    assert_eq!(stage.stats().cursors, 0);
    stage.net.advance_to(stage.net.now_ns() + 2_000_000_000);
    brings(&mut stage, &mut player, "third");
    player.wire.close();
    stage.turns(5, &mut player);
    decide(&mut stage, &player, Decision::Allow(grants(&["**"], &[], None)));
    stage.turns(5, &mut player);
}

#[test]
fn as_many_subscriptions_as_one_may_have_end_within_the_budgets_of_turns() {
    let most = 5_000;
    let limits = LimitsConfig { subscriptions_per_connection_max: most, ..LimitsConfig::default() };
    let mut stage = stage_with(limits);
    let mut player = enters(&mut stage, Protocol::JsonV1, grants(&["**"], &[], None));
    for first in (0..most).step_by(500) {
        let names: Vec<String> = (first..first + 500).map(|n| format!("n/{n}/*")).collect();
        player.asks(&json!({"type": "subscribe", "topics": names}));
        stage.plays(20, &mut player);
    }
    brings(&mut stage, &mut player, "second");
    // 256 patterns to look through for each.
    let keeps: Vec<String> = (0..256).map(|n| format!("n/{n}/**")).collect();
    let keeps: Vec<&str> = keeps.iter().map(String::as_str).collect();
    decide(&mut stage, &player, Decision::Allow(grants(&keeps, &[], Some(MINUTE))));
    let mut heard = Vec::new();
    for turn in 0.. {
        // `turns` holds each against its budgets.
        heard.append(&mut stage.plays(1, &mut player));
        if heard.last().is_some_and(|text| text.starts_with("authorized")) {
            assert!(turn > 10, "not all in one turn");
            break;
        }
        assert!(turn < 5_000, "{} heard", heard.len());
    }
    assert_eq!(heard.len(), most as usize - 256 + 1);
}
