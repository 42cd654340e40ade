//! How often an address may come, and how often it may fail.

use std::time::Duration;

use super::*;
use crate::access::{Allowed, AskHost, Decision, Grants};
use crate::config::LimitsConfig;
use crate::driver::EPROTO;

const SECOND_NS: u64 = 1_000_000_000;
const HERE: &str = "192.0.2.1:9";
const ELSEWHERE: &str = "192.0.2.2:9";

fn stage(upgrades: u32, failures: u32) -> Stage {
    let limits = LimitsConfig {
        upgrades_per_address_per_minute_max: upgrades,
        failures_per_address_per_minute_max: failures,
        handshake_timeout: Duration::from_secs(10),
        ..LimitsConfig::default()
    };
    Stage::new(Config { shards: Some(1), limits, ..Config::default() }, 4 << 20)
}

/// A client from there: it, and the status of its answer; 0: none yet.
fn comes(stage: &mut Stage, from: &str, target: &str) -> (Player, u16) {
    let mut player = stage.knocks_from(from.parse().expect("an address"), target, Protocol::Raw);
    let status = match player.wire.read_some(usize::MAX).first() {
        Some(Incoming::Upgraded(..)) => 101,
        Some(Incoming::Refused(status)) => *status,
        None => 0,
        other => panic!("{other:?}"),
    };
    (player, status)
}

/// The same for one who goes at once.
fn status(stage: &mut Stage, from: &str, target: &str) -> u16 {
    let (mut player, status) = comes(stage, from, target);
    player.wire.reset();
    stage.turns(4, &mut player);
    status
}

/// In steps that are no standstill.
fn passes(stage: &mut Stage, ns: u64) {
    let until = stage.net.now_ns() + ns;
    while stage.net.now_ns() < until {
        stage.net.advance_to(until.min(stage.net.now_ns() + 200_000_000));
        stage.turn_of(&mut []);
    }
}

#[test]
fn an_address_comes_so_often_in_a_minute_and_then_as_the_minute_passes() {
    let mut stage = stage(5, 0);
    // Five turns of a millisecond each are less than the twelve seconds of one upgrade.
    assert!((0..5).all(|_| status(&mut stage, HERE, "/t/t") == 101), "at the limit");
    for _ in 0..3 {
        assert_eq!(status(&mut stage, HERE, "/t/t"), 429, "one past it");
    }
    assert_eq!(status(&mut stage, ELSEWHERE, "/t/t"), 101);
    passes(&mut stage, 12 * SECOND_NS);
    assert_eq!((status(&mut stage, HERE, "/t/t"), status(&mut stage, HERE, "/t/t")), (101, 429));
    assert_eq!((stage.stats().refused_too_often, stage.stats().refused), (4, 4));
    // A request that comes to nothing is one as well.
    passes(&mut stage, 60 * SECOND_NS);
    assert!((0..5).all(|_| status(&mut stage, HERE, "/nowhere") == 404));
    assert_eq!(status(&mut stage, HERE, "/nowhere"), 429);
}

#[test]
fn an_address_fails_so_often_and_is_then_refused_for_twice_as_long_each_time() {
    let mut stage = stage(0, 20);
    let (mut stays, _) = comes(&mut stage, HERE, "/t/t");
    assert!((0..20).all(|_| status(&mut stage, HERE, "/nowhere") == 404), "at the limit");
    assert_eq!(status(&mut stage, HERE, "/t/t"), 101, "and it may come");
    assert_eq!(status(&mut stage, HERE, "/nowhere"), 404, "one past it");
    for span_s in [30, 60, 120, 240, 480, 600, 600] {
        assert_eq!(status(&mut stage, HERE, "/t/t"), 429, "{span_s}");
        assert_eq!(status(&mut stage, ELSEWHERE, "/t/t"), 101, "{span_s}");
        passes(&mut stage, (span_s - 1) * SECOND_NS);
        assert_eq!(status(&mut stage, HERE, "/t/t"), 429, "{span_s}");
        passes(&mut stage, SECOND_NS);
        // One may try, and fails.
        let (mut tries, told) = comes(&mut stage, HERE, "/nowhere");
        assert_eq!(told, 404, "{span_s}");
        tries.wire.reset();
    }
    passes(&mut stage, 600 * SECOND_NS);
    assert_eq!(status(&mut stage, HERE, "/t/t"), 101, "one tries, and is good");
    assert!((0..20).all(|_| status(&mut stage, HERE, "/nowhere") == 404), "all is forgotten");
    stage.says("t", "1", |_| {});
    stage.turns(2, &mut stays);
    assert!(!stays.reads().is_empty(), "who is in stays in");
    assert_eq!((stage.stats().addresses_failing, stage.stats().refused_failing), (8, 14));
}

#[test]
fn requests_that_do_not_end_and_those_that_the_host_refuses_are_failures() {
    let mut config = Config { shards: Some(1), ..Config::default() };
    config.limits.failures_per_address_per_minute_max = 3;
    config.events.capacity = 16;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(2), headers: Vec::new() });
    let mut stage = Stage::new(config, 4 << 20);
    for decision in [Decision::Unauthorized, Decision::Forbidden] {
        let (mut player, told) = comes(&mut stage, HERE, "/t/t");
        assert_eq!(told, 0, "the host is asked");
        stage.commands(Command::Decide { connection: player.connection, decision: Box::new(decision) });
        stage.turns(2, &mut player);
        player.wire.reset();
    }
    // Who says nothing, or half of a request, fails at the end of its time; who is not decided on does not.
    let silent = stage.net.connect_from(0, HERE.parse().expect("an address"));
    let undecided = comes(&mut stage, HERE, "/t/t");
    passes(&mut stage, 3 * SECOND_NS);
    passes(&mut stage, 8 * SECOND_NS);
    assert_eq!(stage.stats().addresses_failing, 0, "three failures");
    drop((silent, undecided));
    let (mut player, told) = comes(&mut stage, HERE, "/nowhere");
    assert_eq!((told, stage.stats().addresses_failing), (404, 1));
    player.wire.reset();
    assert_eq!(status(&mut stage, HERE, "/t/t"), 429);
}

#[test]
fn the_one_that_tries_is_upgraded_by_the_host_s_word_and_the_others_wait_for_it() {
    let mut config = Config { shards: Some(1), ..Config::default() };
    config.limits.failures_per_address_per_minute_max = 1;
    config.events.capacity = 16;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(2), headers: Vec::new() });
    let mut stage = Stage::new(config, 4 << 20);
    assert!((0..2).all(|_| status(&mut stage, HERE, "/nowhere") == 404));
    passes(&mut stage, 30 * SECOND_NS);
    let (mut tries, told) = comes(&mut stage, HERE, "/t/t");
    assert_eq!((told, status(&mut stage, HERE, "/t/t")), (0, 429));
    let grants = Grants { subscribe: Allowed::Everything, publish: Allowed::Nothing, lifetime: None, subject: None };
    let decision = Box::new(Decision::Allow(grants));
    stage.commands(Command::Decide { connection: tries.connection, decision });
    stage.turns(2, &mut tries);
    assert!(matches!(tries.wire.read_some(usize::MAX)[..], [Incoming::Upgraded(..), ..]));
    assert_eq!(status(&mut stage, HERE, "/nowhere"), 404, "the breaker is closed");
}

#[test]
fn a_handshake_that_breaks_below_is_a_failure_and_one_that_is_given_up_is_none() {
    let mut stage = stage(0, 2);
    let mut breaks = |errno: i32| {
        let socket = stage.net.connect_from(0, HERE.parse().expect("an address"));
        (0..4).for_each(|_| _ = stage.turn_of(&mut []));
        socket.fails(errno);
        (0..4).for_each(|_| _ = stage.turn_of(&mut []));
        stage.stats().addresses_failing
    };
    let reset = 104;
    assert_eq!([reset; 10].map(&mut breaks), [0; 10]);
    assert_eq!([EPROTO; 3].map(&mut breaks), [0, 0, 1]);
    assert_eq!(status(&mut stage, HERE, "/t/t"), 429);
}

#[test]
fn a_limit_that_is_on_changes_while_the_engine_runs() {
    let mut stage = stage(1, 0);
    assert_eq!((status(&mut stage, HERE, "/t/t"), status(&mut stage, HERE, "/t/t")), (101, 429));
    let mut config = (*stage.shared.rules.current()).clone();
    config.limits.upgrades_per_address_per_minute_max = 60;
    let told = stage.shared.rules.replace(&config, 1).expect("a legal configuration");
    assert_eq!(told.changed, ["limits.upgrades_per_address_per_minute_max"]);
    // One in a second, where it was one in a minute.
    for _ in 0..5 {
        passes(&mut stage, SECOND_NS);
        assert_eq!((status(&mut stage, HERE, "/t/t"), status(&mut stage, HERE, "/t/t")), (101, 429));
    }
}
