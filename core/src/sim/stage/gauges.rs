//! What publishers are told of a topic's subscribers, and how often a shard looks.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::config::{MemoryConfig, SlowPolicy, TopicConfig};
use crate::shard::{Gauges, are_watched};

const BUDGET: u64 = 1 << 20;
const MS_NS: u64 = 1_000_000;
/// What a lag of the whole budget is told as.
const FULL: u64 = 1_048_576;

fn stage() -> Stage {
    Stage::new(
        Config {
            memory: MemoryConfig { ring_bytes: 1 << 20, lane_bytes: BUDGET as usize, ..MemoryConfig::default() },
            ..Config::default()
        },
        4 << 20,
    )
}

fn watch(stage: &Stage, topic: TopicId) -> Arc<Gauges> {
    let gauges: Arc<Gauges> = Arc::new((0..1).map(|_| Default::default()).collect());
    stage.commands(Command::Watch { topic, gauges: gauges.clone() });
    gauges
}

/// Subscribers, the largest lag, and how long ago the oldest message was published that somebody has still to get.
fn told(stage: &Stage, gauges: &Gauges) -> (u64, u64, Option<u64>) {
    let gauge = &gauges[0];
    let oldest = Some(gauge.oldest_ns.load(Relaxed)).filter(|&ns| ns > 0).map(|ns| wall_of(stage.net.now_ns()) - ns);
    (gauge.subscribers.load(Relaxed), gauge.fullest.load(Relaxed), oldest)
}

/// One turn after so long.
fn turn_after(stage: &mut Stage, ns: u64) {
    stage.net.advance_to(stage.net.now_ns() + ns);
    stage.shard.turn(false).expect("the sim driver never fails");
}

#[test]
fn a_shard_answers_for_topics_that_it_knows() {
    let mut stage = stage();
    let mut player = stage.raw("/t/a");
    let topic = stage.topic("a");
    let known = watch(&stage, topic);
    let unknown = watch(&stage, TopicId(topic.0 + 1));
    assert!(!are_watched(&known));
    stage.turns(1, &mut player);
    assert_eq!((are_watched(&known), are_watched(&unknown)), (true, false));
    assert_eq!(told(&stage, &known), (1, 0, None));
    let both: Gauges = (0..2).map(|_| Default::default()).collect();
    both[0].is_watched.store(true, Relaxed);
    assert!(!are_watched(&both), "every shard must have answered");
}

#[test]
fn a_lag_is_told_as_a_share_of_the_budget_and_by_its_oldest_message() {
    let mut stage = stage();
    let mut player = stage.raw("/t/a");
    let mut other = stage.raw("/t/a");
    let gauges = watch(&stage, stage.topic("a"));
    stage.turns(20, &mut player);
    stage.says("a", "everybody gets this", |_| {});
    stage.turns(20, &mut player);
    assert_eq!(told(&stage, &gauges), (2, 0, None));
    stage.net.with_options(|options| options.blocked_send = 1_000);
    // Frames of 1,000 bytes and of 10,000.
    stage.says("a", &text("first", 996), |_| {});
    stage.turns(5, &mut player);
    stage.says("a", &text("second", 9_996), |_| {});
    stage.turns(20, &mut player);
    assert_eq!(told(&stage, &gauges), (2, 11_000 * FULL / BUDGET, Some(25 * MS_NS)));
    // A more important lane with less in it.
    stage.says("a", &text("high", 496), |head| head.priority = Priority::High);
    stage.turns(20, &mut player);
    assert_eq!(told(&stage, &gauges), (2, 11_000 * FULL / BUDGET, Some(45 * MS_NS)));
    stage.net.with_options(|options| options.blocked_send = 0);
    stage.turns(20, &mut player);
    assert_eq!(told(&stage, &gauges), (2, 0, None));
    other.reads();
    // One of two who is behind is enough.
    stage.net.with_options(|options| options.send_capacity = 100);
    player.reads();
    stage.says("a", &text("third", 496), |_| {});
    stage.turns(20, &mut player);
    other.reads();
    stage.turns(1, &mut player);
    other.reads();
    assert_eq!(told(&stage, &gauges), (2, 500 * FULL / BUDGET, Some(20 * MS_NS + MS_NS)));
    other.wire.close();
    player.wire.close();
    stage.turns(20, &mut player);
    assert_eq!(told(&stage, &gauges), (0, 0, None));
}

#[test]
fn who_asked_for_less_is_not_behind() {
    let mut stage = stage();
    let mut paced = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["a"], "max_hz": 0.01}));
    let gauges = watch(&stage, stage.topic("a"));
    for _ in 0..30 {
        stage.says("a", &text("message", 996), |_| {});
        stage.turns(1, &mut paced);
    }
    assert_eq!(told(&stage, &gauges), (1, 0, None));
    // Who wants no echo lags like anybody.
    let mut object = topics(&["a"]);
    object["echo"] = json!(false);
    let mut mute = stage.player(Protocol::JsonV1, &object);
    stage.turns(3, &mut mute);
    stage.net.with_options(|options| options.blocked_send = 1_000);
    stage.says("a", &text("message", 996), |_| {});
    stage.turns(20, &mut mute);
    let (subscribers, fullest, oldest) = told(&stage, &gauges);
    assert_eq!((subscribers, oldest), (2, Some(20 * MS_NS)));
    assert!((1_000 * FULL / BUDGET..1_200 * FULL / BUDGET).contains(&fullest), "one frame and its envelope: {fullest}");
}

#[test]
fn losses_are_told_by_importance() {
    let memory = MemoryConfig { ring_bytes: 1 << 20, lane_bytes: 16 << 10, ..MemoryConfig::default() };
    let mut stage = Stage::new(Config { memory, ..Config::default() }, 4 << 20);
    let mut player = stage.raw("/t/a");
    let gauges = watch(&stage, stage.topic("a"));
    stage.net.with_options(|options| options.blocked_send = 1_000);
    for _ in 0..20 {
        for priority in [Priority::High, Priority::Low] {
            stage.says("a", &text("message", 3_000), |head| head.priority = priority);
        }
        stage.turns(1, &mut player);
    }
    stage.net.with_options(|options| options.blocked_send = 0);
    stage.turns(30, &mut player);
    let stats = stage.stats();
    let dropped: Vec<_> = gauges[0].dropped.iter().map(|count| count.load(Relaxed)).collect();
    assert_eq!(dropped, [0, stats.dropped_high, 0, stats.dropped_low]);
    assert!(stats.dropped_high > 0 && stats.dropped_low > 0);
}

/// What is passed over moves a cursor as what is sent does.
#[test]
fn a_backlog_that_expires_is_none() {
    let mut stage = stage();
    let mut player = stage.raw("/t/a");
    let gauges = watch(&stage, stage.topic("a"));
    stage.net.with_options(|options| options.blocked_send = 1_000);
    (0..3).for_each(|_| stage.says("a", &text("message", 996), |head| head.ttl_ms = 50));
    stage.turns(30, &mut player);
    assert_eq!(told(&stage, &gauges), (1, 3_000 * FULL / BUDGET, Some(30 * MS_NS)));
    stage.turns(40, &mut player);
    assert_eq!((told(&stage, &gauges), stage.stats().passed_over), ((1, 0, None), 3));
}

/// Two topics of three cursors in all: ten milliseconds and three microseconds from one look to the next.
#[test]
fn a_shard_looks_a_hundred_times_a_second_at_most_and_less_often_the_more_cursors_there_are() {
    let mut stage = stage();
    let mut player = stage.raw("/t/a?topic=b");
    let mut other = stage.raw("/t/b");
    for topic in ["a", "b"] {
        stage.says(topic, "first", |_| {});
    }
    stage.turns(1, &mut player);
    let gauges = ["a", "b"].map(|name| watch(&stage, stage.topic(name)));
    stage.turns(30, &mut player);
    player.reads();
    other.reads();
    stage.send_capacity(1);
    let seen = |gauges: &[Arc<Gauges>; 2]| gauges.each_ref().map(|gauges| gauges[0].fullest.load(Relaxed));
    let one = 1_000 * FULL / BUDGET;
    stage.says("a", &text("news", 996), |_| {});
    turn_after(&mut stage, 30 * MS_NS);
    assert_eq!(seen(&gauges), [one, 0]);
    stage.says("b", &text("news", 996), |_| {});
    turn_after(&mut stage, 10 * MS_NS + 2_999);
    assert_eq!(seen(&gauges), [one, 0], "too early by a nanosecond");
    turn_after(&mut stage, 1);
    assert_eq!(seen(&gauges), [one, one]);
    gauges.iter().for_each(|gauges| gauges[0].fullest.store(8, Relaxed));
    turn_after(&mut stage, 30 * MS_NS);
    assert_eq!(seen(&gauges), [8, 8], "nothing has moved");
}

#[test]
fn a_shard_that_has_something_to_look_at_wakes_for_it() {
    let mut stage = stage();
    let mut player = stage.raw("/t/a");
    let gauges = watch(&stage, stage.topic("a"));
    stage.turns(30, &mut player);
    stage.says("a", "first", |_| {});
    turn_after(&mut stage, MS_NS);
    let next_ns = stage.net.now_ns() + 10 * MS_NS + 1_000;
    assert!(stage.sleeps().is_some_and(|until| until > next_ns), "nothing has moved since");
    stage.says("a", "second", |_| {});
    turn_after(&mut stage, MS_NS);
    assert_eq!(stage.sleeps(), Some(next_ns));
    assert!(are_watched(&gauges));
}

#[test]
fn a_topic_that_is_gone_has_no_subscribers_and_is_looked_at_no_more() {
    let mut stage = stage();
    let mut player = stage.raw("/t/a");
    let topic = stage.topic("a");
    let gauges = watch(&stage, topic);
    stage.says("a", "first", |_| {});
    stage.turns(30, &mut player);
    stage.net.with_options(|options| options.blocked_send = 1_000);
    stage.says("a", "second", |_| {});
    stage.turns(30, &mut player);
    assert!(told(&stage, &gauges).1 > 0);
    assert_eq!(stage.shared.registry.remove("a", stage.shared.to_ring()), Ok(true));
    stage.turns(30, &mut player);
    assert_eq!(told(&stage, &gauges), (0, 0, None));
    gauges[0].fullest.store(5, Relaxed);
    stage.says("b", "elsewhere", |_| {});
    stage.turns(30, &mut player);
    assert_eq!(gauges[0].fullest.load(Relaxed), 5);
    // Another topic that has taken its number is not it.
    assert_ne!(stage.topic("a"), topic);
}

#[test]
fn the_policy_of_a_topic_makes_no_difference_to_what_is_told() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::Latest, SlowPolicy::Disconnect] {
        let topics = vec![TopicConfig { policy, lane_bytes: Some(BUDGET as usize), ..TopicConfig::default() }];
        let memory = MemoryConfig { ring_bytes: 1 << 20, ..MemoryConfig::default() };
        let mut stage = Stage::new(Config { topics, memory, ..Config::default() }, 4 << 20);
        let mut player = stage.raw("/t/a");
        let gauges = watch(&stage, stage.topic("a"));
        stage.net.with_options(|options| options.blocked_send = 1_000);
        stage.says("a", &text("message", 996), |_| {});
        stage.turns(30, &mut player);
        assert_eq!(told(&stage, &gauges), (1, 1_000 * FULL / BUDGET, Some(30 * MS_NS)), "{policy:?}");
    }
}
