//! Deadlines: what the shard has not read is not the client's silence.

use std::time::Duration;

use super::*;
use crate::config::EventsConfig;
use crate::driver::sim::Read;

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

/// More than a deadline is late: a tick of the wheel, and the turns in which it is told.
const TICKS_MS: u64 = 100;

/// In steps that are no standstill: what the client is told.
fn passes(stage: &mut Stage, player: &mut Player, ms: u64) -> Vec<String> {
    let until = stage.net.now_ns() + ms * 1_000_000;
    let mut heard = Vec::new();
    while stage.net.now_ns() < until {
        stage.net.advance_to((until - 1_000_000).min(stage.net.now_ns() + 200_000_000));
        heard.append(&mut stage.plays(1, player));
    }
    heard
}

fn step(stage: &mut Stage, ms: u64) {
    stage.net.advance_to(stage.net.now_ns() + (ms - 1) * 1_000_000);
    stage.turn_of(&mut []);
}

/// A stage where nobody is pinged.
fn calm(change: impl FnOnce(&mut Config)) -> Stage {
    let mut config = config(EventsConfig::default());
    config.limits.ping_every = Duration::ZERO;
    change(&mut config);
    Stage::new(config, 64 << 10)
}

#[test]
fn who_says_nothing_is_closed_past_the_idle_time_out_and_not_before() {
    let mut stage = calm(|config| config.limits.idle_timeout = Duration::from_secs(20));
    let mut player = stage.player(Protocol::JsonV1, &topics(&["t"]));
    // The last word was a few milliseconds ago. A ping is no message.
    assert!(!passes(&mut stage, &mut player, 19_900).iter().any(|said| said.starts_with("Close")));
    player.asks(&topics(&["u"]));
    assert!(!passes(&mut stage, &mut player, 50).iter().any(|said| said.starts_with("Close")));
    player.pings("x");
    for _ in 0..20 {
        let said = passes(&mut stage, &mut player, 990);
        assert!(!said.iter().any(|said| said.starts_with("Close")), "{said:?}");
    }
    assert_eq!(stage.stats().closed_idle, 0);
    let said = passes(&mut stage, &mut player, 500 + TICKS_MS);
    assert!(said.iter().any(|said| said.contains("1001")), "{said:?}");
    assert_eq!(stage.stats().closed_idle, 1);
}

#[test]
fn who_does_not_finish_its_request_is_told_408_past_its_time_and_who_says_nothing_is_cut_off() {
    for half in [true, false] {
        let mut stage = calm(|config| config.limits.handshake_timeout = Duration::from_secs(5));
        let socket = stage.net.connect_from(0, SocketAddr::from(([192, 0, 2, 1], 9)));
        if half {
            assert_eq!(socket.write(b"GET /t/t HTTP/1.1\r\n"), Some(19));
        }
        // It has to arrive first.
        (0..4).for_each(|_| step(&mut stage, 1));
        (0..24).for_each(|_| step(&mut stage, 200));
        assert_eq!((stage.stats().connections, stage.stats().handshakes_late), (1, 0), "before its time");
        (0..4).for_each(|_| step(&mut stage, TICKS_MS));
        assert_eq!((stage.stats().upgrades_refused, stage.stats().handshakes_late), (u64::from(half), 1));
        let mut told = Vec::new();
        while matches!(socket.read(usize::MAX, &mut told), Read::Bytes(_)) {}
        assert!(told.starts_with(if half { b"HTTP/1.1 408 " } else { b"" }), "{told:?}");
        assert_eq!((told.is_empty(), stage.stats().connections), (!half, u64::from(half)), "it lingers, or is gone");
    }
}

#[test]
fn a_connection_is_closed_with_1012_between_its_lifetime_and_a_tenth_more() {
    const LIFETIME_MS: u64 = 100_000;
    let mut stage = calm(|config| config.limits.connection_lifetime = Duration::from_millis(LIFETIME_MS));
    let mut players: Vec<Player> = (0..8).map(|_| stage.player(Protocol::JsonV1, &topics(&["t"]))).collect();
    // They came within so many turns of a millisecond.
    let came_ms = 8 * 5;
    assert!(!passes(&mut stage, &mut players[0], LIFETIME_MS - came_ms - 2).iter().any(|said| said.contains("Close")));
    assert_eq!(stage.stats().lifetimes_ended, 0, "before its time");
    let mut ends_ms = Vec::new();
    for ms in 0..LIFETIME_MS / 10 + 2 * came_ms {
        let ended = stage.stats().lifetimes_ended;
        stage.turn_of(&mut []);
        (ended..stage.stats().lifetimes_ended).for_each(|_| ends_ms.push(ms));
    }
    assert_eq!(ends_ms.len(), 8, "past it");
    ends_ms.dedup();
    assert!(ends_ms.len() >= 6 && ends_ms[ends_ms.len() - 1] - ends_ms[0] > 2_000, "not together: {ends_ms:?}");
    for player in &mut players {
        let said = stage.plays(2, player);
        assert!(said.iter().any(|said| said.contains("1012")), "{said:?}");
    }
}

#[test]
fn a_slot_s_next_connection_has_its_own_lifetime_and_a_shard_sleeps_until_it_ends() {
    let mut stage = calm(|config| config.limits.connection_lifetime = Duration::from_secs(10));
    let mut first = stage.player(Protocol::JsonV1, &topics(&["t"]));
    passes(&mut stage, &mut first, 8_000);
    first.wire.reset();
    stage.turns(4, &mut first);
    let mut second = stage.player(Protocol::JsonV1, &topics(&["t"]));
    let said = passes(&mut stage, &mut second, 4_000);
    assert!(!said.iter().any(|said| said.contains("Close")), "{said:?}");
    let said = passes(&mut stage, &mut second, 8_000);
    assert!(said.iter().any(|said| said.contains("1012")), "{said:?}");
    assert_eq!(stage.stats().lifetimes_ended, 1);
}
