//! Deadlines: what the shard has not read is not the client's silence.

use std::time::Duration;

use super::*;
use crate::config::EventsConfig;

const EVERY: Duration = Duration::from_secs(10);

fn config(events: EventsConfig) -> Config {
    let mut config = Config { shards: Some(1), events, ..Config::default() };
    config.limits.ping_every = EVERY;
    config
}

/// So many milliseconds in which the client answers every ping.
fn answers(stage: &mut Stage, player: &mut Player, ms: u32) {
    for _ in 0..ms {
        stage.turns(1, player);
        for said in player.reads() {
            assert!(!said.starts_with("Close") && said != "End", "{said}");
            if said.starts_with("Ping") {
                player.wire.send_frame(Opcode::Pong, true, b"", &mut player.rng);
            }
        }
    }
}

#[test]
fn who_answers_is_not_closed_after_a_standstill() {
    for stands_still in [2, 10] {
        let mut stage = Stage::new(config(EventsConfig::default()), 64 << 10);
        let mut player = stage.player(Protocol::JsonV1, &topics(&["t"]));
        answers(&mut stage, &mut player, 15_000);
        // The whole process stands still, with a ping out and without, and its answer comes after it.
        stage.net.advance_to(stage.net.now_ns() + stands_still * EVERY.as_nanos() as u64);
        answers(&mut stage, &mut player, 40_000);
        assert_eq!(stage.stats().pongs_missed, 0);
    }
}

#[test]
fn who_answers_is_not_closed_while_the_host_takes_no_events() {
    let mut stage = Stage::new(config(EventsConfig { capacity: 2, messages: true }), 64 << 10);
    let mut player = stage.raw("/");
    answers(&mut stage, &mut player, 100);
    for _ in 0..50 {
        player.says("for the host");
    }
    // Its input is held for four intervals and more: what it says meanwhile is not heard.
    answers(&mut stage, &mut player, 45_000);
    let mut taken = 0;
    for _ in 0..200 {
        taken += stage.events().iter().filter(|event| matches!(event, Event::Message { .. })).count();
        answers(&mut stage, &mut player, 10);
    }
    assert_eq!((taken, stage.stats().pongs_missed), (50, 0));
    answers(&mut stage, &mut player, 25_000);
}

#[test]
fn who_does_not_answer_is_closed_after_two_intervals() {
    let mut stage = Stage::new(config(EventsConfig::default()), 64 << 10);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["t"]));
    let heard = stage.plays(19_000, &mut player);
    assert!(heard.iter().any(|said| said.starts_with("Ping")) && !heard.iter().any(|said| said.starts_with("Close")));
    let heard = stage.plays(6_000, &mut player);
    assert!(heard.iter().any(|said| said.contains("1011")), "{heard:?}");
}
