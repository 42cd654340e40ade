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

/// The beginning of a message that does not end: nothing but a header, or a part, or half of a frame, perhaps with more of it later.
fn begins(player: &mut Player, how: usize) {
    match how {
        0 => player.wire.send_bytes(&[0x81]),
        1 => player.wire.send_bytes(&[0x81, 0xfe, 0x01]),
        2 => player.wire.send_frame(Opcode::Text, false, b"", &mut player.rng),
        3 => player.wire.send_frame(Opcode::Text, false, b"part", &mut player.rng),
        _ => player.wire.send_bytes(&[0x81, 0xfe, 0x10, 0x00, 0, 0, 0, 0, b'a']),
    }
}

/// The next byte of it, or a ping within it.
fn goes_on(player: &mut Player, how: usize) {
    match how {
        2 | 3 => player.pings("x"),
        4 => player.wire.send_bytes(b"b"),
        _ => {}
    }
}

#[test]
fn a_message_that_does_not_end_is_closed_with_1008_past_its_time_and_not_before() {
    for how in 0..5 {
        let mut stage = calm(|config| config.limits.message_timeout = Duration::from_secs(20));
        let mut player = stage.raw("/t/t");
        // One before it that is whole changes nothing.
        player.says("whole");
        begins(&mut player, how);
        for _ in 0..20 {
            let said = passes(&mut stage, &mut player, 985);
            assert!(!said.iter().any(|said| said.starts_with("Close")), "{how}: {said:?}");
            goes_on(&mut player, how);
        }
        let said = passes(&mut stage, &mut player, 700 + TICKS_MS);
        assert!(said.iter().any(|said| said == "Close(Some(1008))"), "{how}: {said:?}");
        assert_eq!(stage.shared.payloads.used_bytes(), 0, "its memory is given back");
    }
}

#[test]
fn a_message_that_ends_in_time_is_taken_and_each_has_its_own_time() {
    let mut stage = calm(|config| config.limits.message_timeout = Duration::from_secs(20));
    let mut player = stage.raw("/t/t");
    for count in 1..=4 {
        player.wire.send_frame(Opcode::Text, false, b"half", &mut player.rng);
        let said = passes(&mut stage, &mut player, 19_700);
        assert!(!said.iter().any(|said| said.starts_with("Close")), "{said:?}");
        player.wire.send_frame(Opcode::Continuation, true, b"whole", &mut player.rng);
        passes(&mut stage, &mut player, 1);
        assert_eq!(stage.stats().messages, count, "it is taken");
    }
    // Nothing is begun: nothing is late.
    let said = passes(&mut stage, &mut player, 60_000);
    assert!(!said.iter().any(|said| said.starts_with("Close")), "{said:?}");
}

#[test]
fn without_a_limit_a_message_may_take_as_long_as_it_likes() {
    let mut stage = calm(|config| config.limits.message_timeout = Duration::ZERO);
    let mut player = stage.raw("/t/t");
    player.wire.send_frame(Opcode::Text, false, b"half", &mut player.rng);
    let said = passes(&mut stage, &mut player, 3_600_000);
    assert!(!said.iter().any(|said| said.starts_with("Close")), "{said:?}");
}

/// A client that asks, in messages of so many bytes, and does not read its answers: the last that was taken of it waits.
fn who_does_not_read(stage: &mut Stage, bytes: usize) -> Player {
    let mut player = stage.player(Protocol::JsonV1, &topics(&["t"]));
    // The answer to each quotes it, so that a few fill what there is room for.
    let request = format!(r#"{{"type":"unsubscribe","topics":["a//{}"]}}{}"#, "b".repeat(240), " ".repeat(bytes));
    (0..24).for_each(|_| player.says(&request));
    (0..200).for_each(|_| _ = stage.turn_of(std::slice::from_mut(&mut player)));
    player
}

#[test]
fn a_message_behind_answers_that_are_not_read_has_its_time_too() {
    let mut stage = calm(|config| config.limits.message_timeout = Duration::from_secs(20));
    stage.send_capacity(2 << 10);
    let mut player = who_does_not_read(&mut stage, 100_000);
    let held = stage.stats();
    assert_eq!((held.connections, held.evicted), (1, 0));
    for _ in 0..19 {
        step(&mut stage, 200);
        stage.net.advance_to(stage.net.now_ns() + 1_000_000);
    }
    assert_eq!(stage.stats().evicted, 0, "before its time");
    (0..110).for_each(|_| step(&mut stage, 200));
    assert_eq!(stage.stats().evicted, 1, "past it");
    assert!(stage.shared.payloads.used_bytes() < 100_000, "its memory is given back");
    player.wire.reset();
}

#[test]
fn messages_behind_answers_that_are_not_read_have_a_share_of_memory() {
    let mut stage = calm(|config| {
        config.connections_max = 64;
        config.memory.payload_bytes = 16 << 20;
        config.limits.message_bytes_max = 1 << 20;
    });
    stage.send_capacity(2 << 10);
    let mut crowd: Vec<Player> = (0..30).map(|_| who_does_not_read(&mut stage, 200_000)).collect();
    // A quarter, or one largest message if that is more.
    assert!(stage.shared.payloads.used_bytes() <= 5 << 20, "{}", stage.shared.payloads.used_bytes());
    assert!(stage.stats().evicted >= 10, "{}", stage.stats().evicted);
    crowd.iter_mut().for_each(|player| player.wire.reset());
    (0..10).for_each(|_| _ = stage.turn_of(&mut []));
    assert_eq!(stage.shared.payloads.used_bytes(), 0);
}

#[test]
fn who_asks_for_little_does_not_pay_for_those_that_hold_much() {
    let mut stage = calm(|config| config.memory.client_bytes = 512 << 10);
    stage.topics((0..600).map(|n| format!("d/{n}")));
    let since: serde_json::Map<String, Value> = (0..2_000).map(|n| (format!("d/{n}"), json!({"epoch": 1}))).collect();
    let mut honest = stage.player(Protocol::JsonV1, &topics(&["t"]));
    stage.plays(2, &mut honest);
    stage.send_capacity(2 << 10);
    let mut crowd = Vec::new();
    for _ in 0..6 {
        let mut player = stage.player(Protocol::JsonV1, &topics(&["t"]));
        player.asks(&json!({"type": "subscribe", "topics": ["d/*"], "since": since}));
        (0..40).for_each(|_| _ = stage.turn_of(std::slice::from_mut(&mut player)));
        crowd.push(player);
    }
    assert!(stage.stats().evicted >= 1, "they hold more than there is");
    honest.asks(&json!({"type": "subscribe", "topics": (0..200).map(|n| format!("e/{n}")).collect::<Vec<_>>()}));
    let heard = stage.plays(60, &mut honest);
    assert!(!heard.iter().any(|said| said.starts_with("Close")), "{heard:?}");
    assert_eq!(heard.iter().filter(|said| said.starts_with("subscribed")).count(), 200);
    crowd.iter_mut().for_each(|player| player.wire.reset());
}

#[test]
fn who_breaks_the_protocol_right_after_a_message_is_closed_soon_whatever_follows() {
    let reserved_bit: &[u8] = &[0xa1, 0x80, 1, 2, 3, 4];
    let unknown_opcode: &[u8] = &[0x83, 0x80, 1, 2, 3, 4];
    let of_nothing: &[u8] = &[0x80, 0x80, 1, 2, 3, 4];
    let unmasked: &[u8] = &[0x81, 1, b'a'];
    let ping: &[u8] = &[0x89, 0x80, 1, 2, 3, 4];
    for wrong in [reserved_bit, unknown_opcode, of_nothing, unmasked] {
        for behind in [&[][..], ping, &ping[..3], &[0x01, 0x81, 0, 0, 0, 0, b'a']] {
            let mut stage = calm(|config| config.events = EventsConfig { capacity: 100, messages: true });
            let mut player = stage.raw("/");
            let bytes = [&[0x81, 0x81, 0, 0, 0, 0, b'a'], wrong, behind].concat();
            player.wire.send_bytes(&bytes);
            let mut said = Vec::new();
            for _ in 0..10 {
                // The host takes what there is, and answers nothing.
                said.extend(passes(&mut stage, &mut player, 50));
                stage.events();
            }
            assert!(said.iter().any(|said| said == "Close(Some(1002))"), "{wrong:?}, {behind:?}: {said:?}");
        }
    }
}
