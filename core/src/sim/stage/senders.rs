//! How fast a client may send: at the limit nothing happens, one past it nothing is read for a while, and nothing is lost.

use std::time::Duration;

use super::*;
use crate::config::LimitsConfig;

fn stage(messages: u32, bytes: usize) -> Stage {
    let limits = LimitsConfig {
        inbound_messages_per_second_max: messages,
        inbound_bytes_per_second_max: bytes,
        ping_every: Duration::from_secs(5),
        ..LimitsConfig::default()
    };
    Stage::new(Config { shards: Some(1), limits, ..Config::default() }, 4 << 20)
}

/// Messages that were read of clients, and pauses.
fn counts(stage: &Stage) -> (u64, u64) {
    (stage.stats().received, stage.stats().input_paused)
}

fn passes(stage: &mut Stage, player: &mut Player, ms: u64) {
    stage.net.advance_to(stage.net.now_ns() + ms * 1_000_000);
    stage.turns(3, player);
}

#[test]
fn a_second_s_messages_are_read_at_once_and_the_one_behind_them_waits_for_its_time() {
    for limit in [1, 5, 40] {
        let mut stage = stage(limit, 0);
        let mut player = stage.raw("/t/t");
        (0..limit).for_each(|_| player.says("x"));
        stage.turns(2, &mut player);
        assert_eq!(counts(&stage), (limit.into(), 0), "at the limit");
        player.says("one past it");
        player.says("behind it");
        stage.turns(2, &mut player);
        assert_eq!(counts(&stage), (u64::from(limit) + 1, 1), "{limit}: what is too early ends the reading");
        assert!(stage.sleeps().is_some(), "nobody looks at it meanwhile");
        passes(&mut stage, &mut player, 1_500);
        assert_eq!(stage.stats().received, u64::from(limit) + 2, "{limit}: nothing is lost");
        assert!(!player.reads().iter().any(|said| said.starts_with("Close")));
    }
}

#[test]
fn pings_and_pongs_are_messages_and_parts_of_a_message_are_not() {
    let mut stage = stage(6, 0);
    let mut player = stage.raw("/t/t");
    (0..2).for_each(|_| player.pings("a"));
    (0..2).for_each(|_| player.wire.send_frame(Opcode::Pong, true, b"", &mut player.rng));
    player.wire.send_frame(Opcode::Text, false, b"a", &mut player.rng);
    (0..20).for_each(|_| player.wire.send_frame(Opcode::Continuation, false, b"b", &mut player.rng));
    player.wire.send_frame(Opcode::Continuation, true, b"c", &mut player.rng);
    player.says("the sixth");
    stage.turns(2, &mut player);
    assert_eq!(counts(&stage), (2, 0));
    player.pings("the seventh");
    player.says("waits");
    stage.turns(2, &mut player);
    assert_eq!(counts(&stage), (2, 1));
    let pongs = |player: &mut Player| player.reads().iter().filter(|said| said.starts_with("Pong")).count();
    assert_eq!(pongs(&mut player), 3, "it is answered");
    passes(&mut stage, &mut player, 1_000);
    assert_eq!(stage.stats().received, 3);
}

#[test]
fn a_second_s_bytes_are_read_at_once_and_one_byte_more_makes_it_wait() {
    const HEAD: usize = 6;
    for (len, pauses) in [(100 - HEAD, 0), (101 - HEAD, 1)] {
        let mut stage = stage(0, 100);
        let mut player = stage.raw("/t/t");
        player.says(&"x".repeat(len));
        stage.turns(1, &mut player);
        assert_eq!(counts(&stage), (1, pauses), "{len}");
        passes(&mut stage, &mut player, 3_000);
        player.says("goes on");
        stage.turns(2, &mut player);
        assert_eq!(counts(&stage), (2, pauses), "{len}");
    }
}

#[test]
fn who_is_paused_for_long_is_neither_closed_for_its_silence_nor_kept_longer() {
    let mut stage = stage(0, 1_000);
    let mut player = stage.raw("/t/t");
    // A minute's worth, in a receive or several.
    player.says(&"x".repeat(61_000));
    (0..30).for_each(|_| _ = stage.turn_of(std::slice::from_mut(&mut player)));
    for _ in 0..70 {
        player.says("waits");
        passes(&mut stage, &mut player, 1_000);
        assert!(!player.reads().iter().any(|said| said.starts_with("Close")));
    }
    for _ in 0..10 {
        passes(&mut stage, &mut player, 1_000);
    }
    assert_eq!((stage.stats().received, stage.stats().pongs_missed), (71, 0));
}

#[test]
fn who_goes_on_sending_too_fast_has_ten_pauses_and_is_closed_with_1008() {
    let mut stage = stage(100, 0);
    let mut player = stage.raw("/t/t");
    let (mut heard, mut lasted_ms) = (Vec::new(), 0);
    while !heard.iter().any(|said: &String| said.starts_with("Close")) {
        assert!(lasted_ms < 120_000, "it is closed at some time: {heard:?}");
        while player.wire.queued() < 4_000 {
            player.says("x");
        }
        stage.turn_of(std::slice::from_mut(&mut player));
        heard.append(&mut player.reads());
        lasted_ms += 1;
    }
    assert!(heard.iter().any(|said| said.contains("1008")), "{heard:?}");
    assert!((51_000..60_000).contains(&lasted_ms), "{lasted_ms} ms");
    let stats = stage.stats();
    assert_eq!((stats.input_paused, stats.too_fast, stats.violations), (10, 1, 1));
    // As many as its rate allows, a second's worth to begin with, and one for each pause.
    assert!(stats.received <= 100 + 100 * lasted_ms / 1_000 + 11, "{}", stats.received);
}

#[test]
fn others_are_served_while_one_is_paused_and_without_limits_nobody_is() {
    let mut stage = stage(10, 0);
    let mut other = stage.player(Protocol::JsonV1, &topics(&["t"]));
    let mut player = stage.raw("/t/u");
    (0..500).for_each(|_| player.says("x"));
    stage.turns(2, &mut player);
    assert_eq!(stage.stats().input_paused, 1);
    stage.says("t", "1", |_| {});
    assert_eq!(stage.plays(2, &mut other).iter().filter(|said| said.starts_with("normal")).count(), 1);
    let mut free = self::stage(0, 0);
    let mut player = free.raw("/t/t");
    (0..500).for_each(|_| player.says("x"));
    free.turns(4, &mut player);
    assert_eq!(counts(&free), (500, 0));
}

#[test]
fn a_slot_s_next_connection_owes_nothing() {
    let mut stage = stage(3, 0);
    for _ in 0..3 {
        let mut player = stage.raw("/t/t");
        (0..4).for_each(|_| player.says("x"));
        stage.turns(2, &mut player);
        player.wire.reset();
        // Its end is seen when it is read again.
        stage.turns(800, &mut player);
        assert_eq!(stage.stats().connections, 0);
    }
    assert_eq!(counts(&stage), (12, 3));
}

#[test]
fn who_leaves_while_it_is_paused_is_gone_at_once_and_all_that_it_sent_is_there() {
    for limit in [1, 4] {
        let mut stage = stage(limit, 0);
        stage.net.with_options(|options| options.ends_while_paused = 1_000);
        let mut player = stage.raw("/t/t");
        (0..limit + 3).for_each(|_| player.says("x"));
        stage.turns(2, &mut player);
        assert_eq!((stage.stats().input_paused, stage.stats().connections), (1, 1));
        player.wire.finish();
        stage.hands_over(&mut player);
        stage.turns(6, &mut player);
        assert_eq!(stage.stats().connections, 0, "its end is no matter of its pace");
        assert_eq!(stage.stats().messages, u64::from(limit) + 3, "nothing is lost");
    }
}

#[test]
fn who_is_paused_is_pinged_so_that_its_kernel_tells_if_it_is_gone() {
    let mut stage = stage(1, 0);
    let mut player = stage.raw("/t/t?echo=0");
    // It goes on being too fast for long.
    (0..40).for_each(|_| player.says("x"));
    stage.turns(2, &mut player);
    let mut pings = 0;
    for _ in 0..130 {
        passes(&mut stage, &mut player, 100);
        pings += player.reads().iter().filter(|said| said.starts_with("Ping")).count();
    }
    assert!(pings >= 1, "{pings}");
}

#[test]
fn who_is_being_closed_is_not_read_without_end() {
    // Without a limit on bytes, and with one: what is left of a largest message, and a little.
    for (bytes, may) in [(0, 1 << 20), (1_000, 512 << 10)] {
        let limits = LimitsConfig {
            inbound_bytes_per_second_max: bytes,
            message_bytes_max: 1 << 20,
            close_timeout: Duration::from_secs(5),
            ..LimitsConfig::default()
        };
        let config = Config { shards: Some(1), limits, ..Config::default() };
        let mut stage = Stage::new(config, 4 << 20);
        let mut player = stage.raw("/t/t");
        // Against RFC 6455: a continuation of nothing.
        player.wire.send_frame(Opcode::Continuation, true, b"", &mut player.rng);
        stage.turns(2, &mut player);
        let before = stage.net.bytes_moved();
        let moved = |stage: &Stage| (stage.net.bytes_moved() - before) as usize;
        let mut read = 0;
        // As long as it is read, it sends.
        for _ in 0..200 {
            player.says(&"x".repeat(16_000));
            stage.turns(1, &mut player);
            if std::mem::replace(&mut read, moved(&stage)) == moved(&stage) {
                break;
            }
        }
        let most = may + (64 << 10);
        assert!((most..most + (64 << 10)).contains(&read), "{bytes}: {read} of {most}");
        // Its time goes on, and then it is gone.
        assert_eq!(stage.net.open_slots(0), 1);
        passes(&mut stage, &mut player, 6_000);
        assert_eq!(stage.net.open_slots(0), 0);
    }
}
