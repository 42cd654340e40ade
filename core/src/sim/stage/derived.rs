//! Logs that can be made again take no room from those that cannot.

use serde_json::json;

use super::*;
use crate::config::{MemoryConfig, TopicConfig};
use crate::types::{Kind, Priority};

const TOPICS: u64 = 250;
const BLOCK: u64 = 4 << 10;

/// Topics with a message each, which take a block each, in a pool with as many blocks once more, and `spare`.
fn stage(spare: u64) -> (Stage, Player) {
    let mut config = Config::default();
    config.memory.pool_bytes = ((2 * TOPICS + spare) * BLOCK) as usize;
    config.memory.ring_bytes = 1 << 20;
    let mut stage = Stage::new(config, 64 << 10);
    let quiet = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["quiet"]}));
    stage.topics((0..TOPICS).map(|number| format!("x/{number}")));
    for number in 0..TOPICS {
        stage.says(&format!("x/{number}"), "1", |head| head.payload_kind = Kind::Json);
        stage.turn_of(&mut []);
    }
    assert!(stage.stats().log_bytes >= TOPICS * BLOCK);
    (stage, quiet)
}

fn goes_on(stage: &mut Stage, quiet: &mut Player, count: usize) {
    let heard: Vec<String> = (0..count)
        .flat_map(|_| {
            stage.says("quiet", &format!("\"{}\"", "x".repeat(1_000)), |head| head.payload_kind = Kind::Json);
            stage.plays(2, quiet)
        })
        .collect();
    let messages = heard.iter().filter(|text| text.starts_with("normal ")).count();
    assert_eq!((messages, stage.stats().unlogged), (count, 0), "{heard:?}");
}

#[test]
fn who_subscribes_to_all_takes_nothing_from_others() {
    for reads in [true, false] {
        let (mut stage, mut quiet) = stage(0);
        let mut all = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["**"]}));
        for _ in 0..20 {
            stage.turn_of(std::slice::from_mut(&mut all));
            if reads {
                all.wire.read_some(usize::MAX);
            }
        }
        stage.net.advance_to(stage.net.now_ns() + 2_000_000_000);
        goes_on(&mut stage, &mut quiet, 300);
    }
}

#[test]
fn what_was_forgotten_is_there_for_who_comes_later_and_goes_with_who_leaves() {
    let (mut stage, mut quiet) = stage(8);
    let before = stage.stats().log_bytes;
    let mut all = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["**"]}));
    for _ in 0..20 {
        stage.turn_of(std::slice::from_mut(&mut all));
        all.wire.read_some(usize::MAX);
    }
    stage.net.advance_to(stage.net.now_ns() + 2_000_000_000);
    goes_on(&mut stage, &mut quiet, 100);
    let mut later = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["x/*"]}));
    let mut heard = Vec::new();
    for _ in 0..60 {
        heard.extend(stage.plays(1, &mut later));
    }
    let kept = heard.iter().filter(|text| *text == "normal 1").count() as u64;
    assert_eq!((kept, stage.stats().unlogged), (TOPICS, 0), "{heard:?}");
    for player in [&mut all, &mut later] {
        player.wire.reset();
    }
    (0..20).for_each(|_| _ = stage.turn_of(&mut []));
    assert!(stage.stats().log_bytes < before + TOPICS * BLOCK / 4, "{} of {before}", stage.stats().log_bytes);
}

#[test]
fn who_reads_late_gets_what_was_given_up_meanwhile() {
    for protocol in [Protocol::JsonV1, Protocol::BatchV1] {
        let (mut stage, mut quiet) = stage(0);
        let mut all = stage.player(protocol, &json!({"type": "subscribe", "topics": ["x/*"]}));
        stage.plays(20, &mut all);
        // More than the kernel takes for who does not read.
        let payload = format!("\"{}\"", "y".repeat(700));
        for number in 0..TOPICS {
            stage.says(&format!("x/{number}"), &payload, |head| head.payload_kind = Kind::Json);
            stage.turn_of(&mut []);
        }
        stage.net.advance_to(stage.net.now_ns() + 2_000_000_000);
        goes_on(&mut stage, &mut quiet, 300);
        let heard: Vec<String> = (0..200).flat_map(|_| stage.plays(1, &mut all)).collect();
        let count = |number: u32| heard.iter().filter(|text| text.contains(&format!("normal {number}"))).count() as u64;
        let lost = heard.iter().filter(|text| text.contains("lost")).count();
        assert_eq!((count(2), lost), (TOPICS, 0), "{protocol:?}: {heard:?}");
        stage.shard.check_nothing_is_forgotten();
    }
}

#[test]
fn a_topic_of_another_priority_loses_nothing_to_who_subscribes_to_all() {
    for (others, own) in
        [(Priority::Normal, Priority::Low), (Priority::Critical, Priority::Normal), (Priority::Low, Priority::High)]
    {
        let mut config = Config::default();
        config.memory.pool_bytes = (2 * TOPICS * BLOCK) as usize;
        config.memory.ring_bytes = 1 << 20;
        let mut stage = Stage::new(config, 64 << 10);
        let ask = json!({"type": "subscribe", "topics": ["quiet"]});
        let mut quiet: Vec<Player> =
            [Protocol::JsonV1, Protocol::BatchV1, Protocol::MsgpackV1].map(|p| stage.player(p, &ask)).into();
        let mut raw = stage.raw("/t/quiet");
        stage.topics((0..TOPICS).map(|number| format!("x/{number}")));
        for number in 0..TOPICS {
            stage.says(&format!("x/{number}"), "1", |head| (head.payload_kind, head.priority) = (Kind::Json, others));
            stage.turn_of(&mut []);
        }
        // Nobody reads what is sent to these.
        let _all: Vec<Player> = [Protocol::JsonV1, Protocol::MsgpackV1, Protocol::BatchV1]
            .map(|p| stage.player(p, &json!({"type": "subscribe", "topics": ["**"]})))
            .into();
        for _ in 0..30 {
            stage.turn_of(&mut []);
        }
        for _ in 0..300 {
            let payload = format!("\"{}\"", "x".repeat(1_000));
            stage.says("quiet", &payload, |head| (head.payload_kind, head.priority) = (Kind::Json, own));
            stage.turns(2, &mut raw);
            raw.wire.read_some(usize::MAX);
            quiet.iter_mut().for_each(|player| drop(player.wire.read_some(usize::MAX)));
        }
        assert_eq!((stage.stats().unlogged, stage.losses()), (0, vec![]), "{others} and {own}");
    }
}

#[test]
fn who_keeps_up_with_tiny_messages_in_a_small_lane_loses_none() {
    // Their entries in the index take several times what their frames do, and a segment is forgotten at once.
    for (lane_bytes, each) in [(64 << 10, 30), (64 << 10, 100), (256 << 10, 300)] {
        let memory = MemoryConfig { ring_bytes: 1 << 20, ..MemoryConfig::default() };
        let topic = TopicConfig { lane_bytes: Some(lane_bytes), ..TopicConfig::default() };
        let mut stage = Stage::new(Config { memory, topics: vec![topic], ..Config::default() }, 1 << 20);
        let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
        stage.turns(2, &mut player);
        player.reads();
        let mut heard = 0;
        for _ in 0..60 {
            (0..each).for_each(|_| stage.says("a", "tiny", |_| {}));
            heard += stage.plays(1, &mut player).len();
        }
        heard += stage.plays(10, &mut player).len();
        assert_eq!((heard, stage.stats().gaps), (60 * each, 0), "{lane_bytes} {each}");
    }
}
