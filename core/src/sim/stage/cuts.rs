//! Sends that the kernel takes a part of: cut at any byte, the client gets the same.

use super::*;

/// A play up to what is sent in one turn.
type Play = fn(&mut Stage) -> Player;

/// What happens to the engine between a cut and the rest.
type Between = fn(&mut Stage);

/// A topic for each priority, so that what goes first does not depend on turns that topics take.
const LANES: [(&str, Priority); 4] =
    [("l", Priority::Low), ("n", Priority::Normal), ("h", Priority::High), ("c", Priority::Critical)];

fn small() -> Config {
    let mut config = Config::default();
    config.memory.ring_bytes = 1 << 20;
    config
}

/// Plays `play` once for each `step`th byte of what its last turn sends, and cuts the send there; the next send takes as many bytes as `mores`
/// says in turn, those after it all there is. Whatever is cut, the client hears the same, and the engine counts the same.
fn cut_everywhere(play: Play, between: Between, step: usize, mores: &[usize]) {
    let stage_of = || {
        let mut stage = Stage::new(small(), 1 << 20);
        let player = play(&mut stage);
        (stage, player)
    };
    let (mut stage, mut player) = stage_of();
    let before = stage.stats();
    stage.turns(1, &mut player);
    let total = (stage.stats().sent_bytes - before.sent_bytes) as usize;
    let mut expected = player.reads();
    between(&mut stage);
    expected.extend(stage.plays(3, &mut player));
    let count = |stage: &Stage| {
        let after = stage.stats();
        (after.deliveries - before.deliveries, after.sent_bytes - before.sent_bytes, after.gaps, after.closed)
    };
    let counted = count(&stage);
    assert!(total > 0 && expected.len() > 2, "{expected:?}");
    for (cut, &more) in (1..total).step_by(step).zip(mores.iter().cycle()) {
        let (mut stage, mut player) = stage_of();
        stage.send_capacity(cut);
        stage.turns(1, &mut player);
        assert_eq!(stage.stats().sent_bytes - before.sent_bytes, cut as u64);
        let mut heard = player.reads();
        between(&mut stage);
        stage.send_capacity(more);
        stage.turns(1, &mut player);
        heard.extend(player.reads());
        stage.send_capacity(1 << 20);
        heard.extend(stage.plays(4, &mut player));
        assert_eq!(heard, expected, "cut at {cut} and {more}");
        assert_eq!(count(&stage), counted, "cut at {cut} and {more}");
        assert!(stage.sleeps().is_some(), "cut at {cut} and {more}: something is left to do");
    }
}

fn nothing(_: &mut Stage) {}

fn one_topic(stage: &mut Stage) -> Player {
    let player = stage.raw("/t/a");
    for (name, len) in [("first", 10), ("second", 200), ("third", 7)] {
        stage.says("a", &text(name, len), |_| {});
    }
    player
}

fn all_lanes(stage: &mut Stage) -> Player {
    let player = stage.raw("/t/c?topic=h&topic=n&topic=l");
    for (topic, priority) in LANES {
        for (number, len) in [(1, 9), (2, 130)] {
            stage.says(topic, &text(&format!("{topic}{number}"), len), |head| head.priority = priority);
        }
    }
    player
}

/// Pongs, messages to it alone and messages of a topic in one turn.
fn all_kinds(stage: &mut Stage) -> Player {
    let mut player = stage.raw("/t/a");
    player.pings("one");
    player.pings("two");
    for (name, len) in [("alone 1", 9), ("alone 2", 140), ("alone 3", 8)] {
        stage.sends_to(&player, &text(name, len));
    }
    for (name, len) in [("first", 6), ("second", 30)] {
        stage.says("a", &text(name, len), |_| {});
    }
    player
}

fn rendered(stage: &mut Stage) -> Player {
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
    stage.says("a", "before", |_| {});
    assert_eq!(stage.plays(3, &mut player).last().unwrap(), "normal 1");
    for (name, len) in [("first", 10), ("second", 70), ("third", 7)] {
        stage.says("a", &text(name, len), |_| {});
    }
    player
}

/// Frames over several segments: by reference, and across the end of a block.
fn long(stage: &mut Stage) -> Player {
    let player = stage.raw("/t/a");
    for (name, len) in [("first", 3_000), ("second", 3_000), ("third", 20_000), ("fourth", 9)] {
        stage.says("a", &text(name, len), |_| {});
    }
    player
}

#[test]
fn a_run_of_one_topic_may_be_cut_anywhere() {
    cut_everywhere(one_topic, nothing, 1, &[1, 3, 60]);
}

#[test]
fn a_gathered_send_of_several_lanes_may_be_cut_anywhere() {
    cut_everywhere(all_lanes, nothing, 1, &[1, 3, 60]);
}

#[test]
fn pongs_messages_to_one_client_and_messages_to_all_may_be_cut_anywhere() {
    cut_everywhere(all_kinds, nothing, 1, &[1, 3, 60]);
}

#[test]
fn long_frames_over_many_segments_may_be_cut_anywhere() {
    cut_everywhere(long, nothing, 251, &[4_096]);
}

#[test]
fn what_is_rendered_anew_meanwhile_goes_on_behind_the_half_sent_frame() {
    cut_everywhere(rendered, |stage| stage.shard.drop_derived(true, || true), 1, &[1, 3, 60]);
}

#[test]
fn what_is_published_meanwhile_waits_for_the_half_sent_frame_and_then_goes_by_its_importance() {
    let mut stage = Stage::new(small(), 1 << 20);
    let mut player = stage.raw("/t/c?topic=h&topic=n&topic=l");
    stage.says("n", &text("n1", 100), |_| {});
    stage.says("n", &text("n2", 100), |_| {});
    stage.send_capacity(50);
    stage.turns(1, &mut player);
    assert_eq!(player.reads(), [""; 0]);
    for (topic, priority) in LANES {
        stage.says(topic, &text(&format!("{topic} late"), 20), |head| head.priority = priority);
    }
    player.pings("ping");
    stage.sends_to(&player, "alone");
    stage.turns(1, &mut player);
    stage.send_capacity(1 << 20);
    let heard = stage.plays(3, &mut player);
    let pong = format!("{:?}", Incoming::Pong(b"ping".to_vec()));
    assert_eq!(heard, ["n1", &pong, "alone", "c late", "h late", "n2", "n late", "l late"]);
}
