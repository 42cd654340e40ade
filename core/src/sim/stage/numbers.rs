//! Numbers that the host gives its messages: they jump, and nothing is missing for that.

use serde_json::json;

use super::lag::config;
use super::{EPOCH, Stage, text, topics};
use crate::config::{Config, Retention, SlowPolicy, TopicConfig};
use crate::event::Protocol;

/// Messages of `a` with these numbers.
fn says(stage: &Stage, seqs: &[u64]) {
    seqs.iter().for_each(|&seq| stage.says("a", &seq.to_string(), |head| head.seq = seq));
}

#[test]
fn a_jump_is_no_loss_and_a_number_that_is_not_above_the_last_is_refused() {
    for (protocol, heard) in [
        (Protocol::JsonV1, vec!["subscribed", "normal 10", "normal 11", "normal 500", "normal 501", "normal 502"]),
        (Protocol::MsgpackV1, vec!["subscribed", "normal 10", "normal 11", "normal 500", "normal 501", "normal 502"]),
        // Those that follow each other may share a batch.
        (Protocol::BatchV1, vec!["subscribed", "normal 10 to 11", "normal 500 to 502"]),
        (Protocol::Raw, vec!["10", "11", "500", "counted", "502"]),
    ] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
        let mut player = match protocol {
            Protocol::Raw => stage.raw("/t/a"),
            _ => stage.player(protocol, &topics(&["a"])),
        };
        says(&stage, &[10, 11, 11, 10, 500, 3]);
        stage.says("a", "counted", |_| {});
        says(&stage, &[501, 502]);
        assert_eq!(stage.plays(30, &mut player), heard, "{protocol:?}");
        assert_eq!((stage.stats().messages, stage.stats().out_of_order), (5, 4));
        assert_eq!((stage.stats().gaps, stage.losses()), (0, vec![]));
    }
}

#[test]
fn a_resume_names_any_number_and_is_told_what_is_not_kept_as_exactly_as_anybody_can() {
    let retention = Retention::Last { messages: Some(3), bytes: None, age: None };
    let topic = TopicConfig { retention, ..TopicConfig::default() };
    for (since, is_told) in [
        (Some(60), "subscribed normal 60"),
        (Some(65), "subscribed normal 60"),
        (Some(59), "subscribed normal 60 | normal lost 60 to 60: retention"),
        (Some(30), "subscribed normal 60 | normal lost 31 to 60, 3 messages: retention"),
        (None, "subscribed normal 60 | normal lost 1 to 60, 6 messages: retention"),
    ] {
        let mut stage = Stage::new(Config { topics: vec![topic.clone()], ..config(SlowPolicy::DropOldest) }, 4 << 20);
        says(&stage, &[10, 20, 30, 40, 50, 60, 70, 80, 90]);
        let mut object = topics(&["a"]);
        let seq = since.map_or(json!({}), |seq: u64| json!({"normal": seq}));
        object["since"] = json!({"a": {"epoch": EPOCH, "seq": seq}});
        let mut player = stage.player(Protocol::JsonV1, &object);
        let mut expected: Vec<&str> = is_told.split(" | ").collect();
        expected.extend(["normal 70", "normal 80", "normal 90"]);
        assert_eq!(stage.plays(9, &mut player), expected, "{since:?}");
    }
}

/// What has left the log is counted, and named, although nothing of it is there any more.
#[test]
fn who_lags_past_what_the_log_has_is_told_how_many_messages_that_were() {
    for protocol in [Protocol::JsonV1, Protocol::BatchV1] {
        let mut stage = Stage::new(config(SlowPolicy::DropOldest), 4 << 20);
        let mut player = stage.player(protocol, &topics(&["a", "b"]));
        stage.says("b", "begun", |_| {});
        stage.plays(30, &mut player);
        stage.holds(&mut player);
        let count = 800;
        for number in 0..count {
            stage.says("a", &text("x", 4_000), |head| head.seq = 7 * number + 5);
            if number % 100 < 99 {
                continue;
            }
            // It takes more than one turn to render all that.
            stage.turns(30, &mut player);
        }
        stage.lets_go(&mut player);
        let heard = stage.plays(60, &mut player);
        let told: Vec<_> = heard.iter().filter(|said| said.contains("lost")).collect();
        let [told] = told[..] else { panic!("{heard:?}") };
        let lost = stage.stats().dropped_normal;
        let last = 7 * (lost - 1) + 5;
        assert!(lost > 400 && lost < count, "{lost} of {count}");
        assert_eq!(*told, format!("normal lost 5 to {last}, {lost} messages: lag"), "{protocol:?}");
        assert_eq!(
            heard.last().unwrap(),
            &match protocol {
                Protocol::JsonV1 => format!("normal {}", 7 * (count - 1) + 5),
                _ => format!("normal {} to {0}", 7 * (count - 1) + 5),
            }
        );
    }
}

/// What a log forgets costs a look at the cursors, in steps that the turn counts; who fell behind long ago costs nothing again.
#[test]
fn a_crowd_that_never_reads_costs_a_look_each_time_that_a_log_forgets() {
    const CROWD: u64 = 800;
    let mut config = Config { shards: Some(1), connections_max: 2_000, ..config(SlowPolicy::DropOldest) };
    config.memory.client_bytes = 64 << 20;
    let mut stage = Stage::new(config, 4 << 20);
    let mut crowd = Vec::new();
    let mut number = 0;
    let mut says = |stage: &mut Stage, len: usize| {
        number += 1;
        stage.says("a", &text("x", len), |head| head.seq = 7 * number + 5);
    };
    says(&mut stage, 100);
    // Everybody stands at a message of its own.
    for _ in 0..CROWD {
        crowd.push(stage.raw("/t/a"));
        stage.turn_of(&mut []);
        stage.send_capacity(1);
        says(&mut stage, 100);
        stage.turn_of(&mut []);
        stage.send_capacity(4 << 20);
        stage.turn_of(&mut []);
    }
    stage.send_capacity(1);
    let (mut looks, mut most) = (0, 0);
    for _ in 0..60 {
        (0..10).for_each(|_| says(&mut stage, 4_000));
        stage.turn_of(&mut []);
        let spent = u64::from(stage.shard.last_work().records.spent());
        // Ten records, without what it takes to forget.
        let spent = spent.saturating_sub(10 * (4 + 4));
        looks += spent;
        most = most.max(spent);
    }
    assert!(looks >= CROWD / 8, "{looks} steps: what is looked at is counted");
    assert!(looks < 30 * CROWD && most < 4 * CROWD, "{looks} steps, {most} at once");
    assert_eq!(stage.stats().cursors, CROWD);
}
