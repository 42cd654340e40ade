//! What a shard does for each connection: its deadline, its patterns, its place in the hot pass.

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use fanwire::bench::{OneShard, Wheel};
use fanwire::proto::client::{UpgradeRequest, encode_frame};
use fanwire::proto::header::Opcode;
use fanwire::proto::topic::Pattern;
use fanwire::{Config, Kind, Priority};

use crate::payload::payload;

const CONNECTIONS: u32 = 10_000;
const SUBSCRIBERS: u64 = 1_000;
const SECOND_NS: u64 = 1_000_000_000;

pub fn benches(criterion: &mut Criterion) {
    timer(criterion);
    patterns(criterion);
    new_topic(criterion);
    hot_pass(criterion);
}

/// Moving the deadline of each of 10,000 connections 30 s ahead and looking what is due, beside an ordered set.
fn timer(criterion: &mut Criterion) {
    let mut wheel = Wheel::new(CONNECTIONS, 0);
    let mut due = Vec::new();
    let mut now = 0;
    let mut ours = || {
        now += 1_000;
        for slot in 0..CONNECTIONS {
            wheel.arm(slot, now + 30 * SECOND_NS + u64::from(slot) * 1_000_000);
        }
        due.clear();
        wheel.expire(now, 256, &mut due);
        due.len()
    };
    let mut deadlines = vec![0; CONNECTIONS as usize];
    let mut ordered = BTreeSet::new();
    let mut time = 0;
    let mut theirs = || {
        time += 1_000;
        for slot in 0..CONNECTIONS {
            ordered.remove(&(deadlines[slot as usize], slot));
            deadlines[slot as usize] = time + 30 * SECOND_NS + u64::from(slot) * 1_000_000;
            ordered.insert((deadlines[slot as usize], slot));
        }
        ordered.range(..(time, 0)).count()
    };
    assert_eq!((ours(), theirs()), (0, 0), "nothing is due");
    let mut fresh = Wheel::new(2, 0);
    let mut fired = Vec::new();
    fresh.arm(1, SECOND_NS);
    fresh.expire(SECOND_NS - 1, 256, &mut fired);
    assert!(fired.is_empty(), "not before its time");
    fresh.expire(2 * SECOND_NS, 256, &mut fired);
    assert_eq!(fired, [1], "after its time");
    let mut group = criterion.benchmark_group(format!("timer-arm/{CONNECTIONS}"));
    group.throughput(Throughput::Elements(CONNECTIONS.into()));
    group.bench_function("fanwire", |b| b.iter(|| black_box(ours())));
    group.bench_function("btree-set", |b| b.iter(|| black_box(theirs())));
    group.finish();
}

/// Whether `name` is matched, by splitting both at each slash.
fn split_match(pattern: &str, name: &str) -> bool {
    let mut names = name.split('/');
    for level in pattern.split('/') {
        match (level, names.next()) {
            ("**", Some(_)) => return true,
            (_, None) => return false,
            (level, Some(name)) if level != "*" && level != name => return false,
            _ => {}
        }
    }
    names.next().is_none()
}

/// 1,000 patterns asked about one name.
fn patterns(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..SUBSCRIBERS)
        .map(|n| match n % 4 {
            0 => format!("rover/{n}/**"),
            1 => format!("rover/*/sensor_{n}/state"),
            2 => format!("rover/{n}/imu/*"),
            _ => "rover/*/imu/state".to_owned(),
        })
        .collect();
    let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text).expect("legal")).collect();
    let name = "rover/996/imu/state";
    let ours = |name: &str| patterns.iter().filter(|pattern| pattern.matches(name)).count();
    let theirs = |name: &str| texts.iter().filter(|pattern| split_match(pattern, name)).count();
    assert_eq!((ours(name), theirs(name)), (251, 251), "the same patterns match");
    let mut group = criterion.benchmark_group(format!("pattern-match/{SUBSCRIBERS}"));
    group.throughput(Throughput::Elements(SUBSCRIBERS));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(name))));
    group.bench_function("split", |b| b.iter(|| theirs(black_box(name))));
    group.finish();
}

fn connect(shard: &mut OneShard, target: &str, protocols: &[&str]) -> fanwire::bench::Slot {
    let slot = shard.connect();
    let mut request = Vec::new();
    let upgrade = UpgradeRequest { host: "localhost", target, key: *b"the sample nonce", protocols, headers: &[] };
    upgrade.write(&mut request).expect("a legal request");
    shard.receive(slot, &request);
    slot
}

fn one_shard() -> OneShard {
    OneShard::new(Config { connections_max: SUBSCRIBERS as u32, ..Config::default() })
}

/// A new topic, and its end, with 1,000 connections of one pattern each to be asked.
fn new_topic(criterion: &mut Criterion) {
    let mut shard = one_shard();
    for n in 0..SUBSCRIBERS {
        let slot = connect(&mut shard, "/", &["fanwire.json.v1"]);
        let subscribe = format!(r#"{{"type":"subscribe","id":1,"topics":["rover/{n}/**"]}}"#);
        let mut said = Vec::new();
        encode_frame(&mut said, Opcode::Text, true, false, [1, 2, 3, 4], subscribe.as_bytes());
        shard.receive(slot, &said);
    }
    let mut come_and_go = |on_made: &mut dyn FnMut(&OneShard)| {
        let topic = shard.topic("rover/996/imu/state");
        topic.publish(Priority::Normal, Kind::Json, b"1").expect("the ring has room");
        shard.turn();
        on_made(&shard);
        shard.remove_topic("rover/996/imu/state");
        shard.turn();
    };
    let mut cursors = 0;
    come_and_go(&mut |shard| cursors = shard.stats().cursors);
    assert_eq!(cursors, 1, "one of the patterns matches");
    let mut group = criterion.benchmark_group(format!("new-topic/{SUBSCRIBERS}"));
    group.throughput(Throughput::Elements(SUBSCRIBERS));
    group.bench_function("fanwire", |b| b.iter(|| come_and_go(&mut |shard| _ = black_box(shard))));
    group.finish();
}

/// One message published and sent to 1,000 subscribers, on a driver that takes every byte at once; beside a clone of a counted
/// buffer into each subscriber's queue, and out of it.
fn hot_pass(criterion: &mut Criterion) {
    let payload = payload(512);
    let mut shard = one_shard();
    let topic = shard.topic("rover/1/imu");
    shard.turn();
    for _ in 0..SUBSCRIBERS {
        connect(&mut shard, "/t/rover/1/imu", &[]);
    }
    shard.turn();
    let mut ours = |payload: &[u8]| {
        topic.publish(Priority::Normal, Kind::Json, payload).expect("the ring has room");
        shard.turn();
        shard.stats().deliveries
    };
    let mut queues = vec![std::collections::VecDeque::new(); SUBSCRIBERS as usize];
    let mut theirs = |payload: &[u8]| {
        let frame = bytes::Bytes::copy_from_slice(payload);
        queues.iter_mut().for_each(|queue| queue.push_back(frame.clone()));
        queues.iter_mut().filter_map(|queue| queue.pop_front()).map(|frame| black_box(frame).len() as u64).sum::<u64>()
    };
    let before = ours(&payload);
    assert_eq!(ours(&payload) - before, SUBSCRIBERS, "each subscriber gets it");
    assert_eq!(theirs(&payload), SUBSCRIBERS * 512, "each subscriber gets it");
    let mut group = criterion.benchmark_group(format!("hot-pass/{SUBSCRIBERS}"));
    group.throughput(Throughput::Elements(SUBSCRIBERS));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(&payload))));
    group.bench_function("queues-of-bytes", |b| b.iter(|| theirs(black_box(&payload))));
    group.finish();
}
