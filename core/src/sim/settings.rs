//! The engine's configuration in a run: small, with tight limits, drawn from the seed.

use std::time::Duration;

use super::nature::{Fate, TOPICS};
use super::payload::TINY;
use crate::access::AskHost;
use crate::config::{
    AccessConfig, CompressionConfig, Config, EventsConfig, LimitsConfig, MemoryConfig, PublishAccess, Retention,
    SlowPolicy, TopicConfig,
};
use crate::driver::sim::Rng;

/// Time from accept to a complete upgrade request.
pub const HANDSHAKE_NS: u64 = 10_000_000_000;
/// And for a message.
pub const MESSAGE_NS: u64 = 120_000_000_000;
/// How long the host has to decide who comes in.
const ASK_NS: u64 = 5_000_000_000;

/// The wall clock at an instant of virtual time.
pub fn wall_of(now_ns: u64) -> u64 {
    1_700_000_000_000_000_000 + now_ns
}

/// A small engine with tight limits. Every value is one that a host could configure.
pub fn random_config(rng: &mut Rng, shards: usize) -> Config {
    let lane_bytes: usize = *rng.pick(&[16 << 10, 64 << 10, 256 << 10, 1 << 20]);
    let pool_bytes = shards * lane_bytes * *rng.pick(&[1, 4, 40, 200, 200]);
    let connections_max = *rng.pick(&[4, 12, 60]);
    let config = Config {
        shards: Some(shards),
        connections_max,
        cursors_max: *rng.pick(&[8, 200, 10_000, 10_000, 10_000, 10_000]),
        topics_max: *rng.pick(&[8, 64, 64, 1_000]),
        memory: MemoryConfig {
            ring_bytes: *rng.pick(&[64 << 10, 64 << 10, 1 << 20]),
            pool_bytes,
            lane_bytes,
            payload_bytes: *rng.pick(&[640 << 10, 16 << 20]),
            remainder_bytes: *rng.pick(&[0, 4 << 10, 1 << 20, 1 << 20]),
            client_bytes: *rng.pick(&[1 << 20, 4 << 20, 64 << 20, 64 << 20]),
            ..MemoryConfig::default()
        },
        limits: LimitsConfig {
            message_bytes_max: 256 << 10,
            request_bytes_max: *rng.pick(&[1 << 10, 16 << 10]),
            ping_every: *rng.pick(&[Duration::ZERO, Duration::from_secs(1), Duration::from_secs(30)]),
            idle_timeout: Duration::ZERO,
            subscriptions_per_connection_max: *rng.pick(&[3, 64, 1_024, 1_024, 1_024, 1_024]),
            handshake_timeout: Duration::from_nanos(HANDSHAKE_NS),
            message_timeout: Duration::from_nanos(MESSAGE_NS),
            // A client here may take its time over the upgrade, and is not to be cut off for another one.
            handshakes_max: connections_max,
            ..LimitsConfig::default()
        },
        topics: random_topics(rng),
        compression: CompressionConfig { deflate: rng.chance(900), threshold_bytes: *rng.pick(&[1, 100, 1 << 10]) },
        events: *rng.pick(&[
            EventsConfig { capacity: 0, messages: false },
            EventsConfig { capacity: 2, messages: true },
            EventsConfig { capacity: 1_000, messages: true },
        ]),
        access: AccessConfig { publish: PublishAccess::Loopback, ..AccessConfig::default() },
        ..Config::default()
    };
    let ask_host = AskHost { within: Duration::from_nanos(ASK_NS), headers: vec![Fate::HEADER.to_owned()] };
    let asks = config.events.capacity > 0 && rng.chance(400);
    let access = AccessConfig { ask_host: asks.then_some(ask_host), ..config.access.clone() };
    let config = Config { access, ..config };
    let config = Config { limits: with_limits(&config, shards), ..config };
    if let Err(errors) = config.plan_for(shards, None) {
        panic!("not a legal configuration: {errors:?}");
    }
    config
}

/// In one run of four an address has half of the connections, and comes and fails so often; in another one clients are
/// slowed down, and what subjects have is counted. Drawn from what is drawn already, so that no draw of chance is another
/// than before; and there is room for each shard's witness, which comes first.
fn with_limits(config: &Config, shards: usize) -> LimitsConfig {
    match (config.topics_max == 64, config.limits.request_bytes_max == 1 << 10) {
        (true, true) => LimitsConfig {
            connections_per_address_max: (config.connections_max / 2).max(shards as u32),
            upgrades_per_address_per_minute_max: 600,
            failures_per_address_per_minute_max: 100,
            ..config.limits
        },
        (true, false) => LimitsConfig {
            inbound_messages_per_second_max: 40,
            inbound_bytes_per_second_max: 1 << 20,
            connections_per_subject_max: config.connections_max,
            subscriptions_per_subject_max: u32::MAX,
            patterns_per_subject_max: u32::MAX,
            topics_per_subject_max: 1_000_000,
            ..config.limits
        },
        // The end is spread over a time.
        (false, true) => LimitsConfig { close_window: Duration::from_secs(2), ..config.limits },
        (false, false) => config.limits,
    }
}

/// Settings for some topics; others go by the defaults.
fn random_topics(rng: &mut Rng) -> Vec<TopicConfig> {
    let mut topics = Vec::new();
    for pattern in TOPICS.into_iter().chain(["deep/**", "a/*"]) {
        if rng.chance(300) {
            continue;
        }
        let retention = match rng.below(6) {
            0 => Retention::None,
            1 => Retention::Last { messages: Some(rng.skewed(60)), bytes: None, age: None },
            2 => Retention::Last { messages: None, bytes: Some(rng.skewed(60_000)), age: None },
            3 => Retention::Last {
                messages: None,
                bytes: None,
                age: Some(Duration::from_nanos(rng.skewed(5_000_000_000))),
            },
            4 => Retention::Last {
                messages: Some(rng.skewed(200)),
                bytes: Some(rng.skewed(200_000)),
                age: Some(Duration::from_secs(100)),
            },
            _ => Retention::LastValue,
        };
        topics.push(TopicConfig {
            pattern: pattern.to_owned(),
            retention,
            policy: *rng.pick(
                &[
                    SlowPolicy::DropOldest,
                    SlowPolicy::DropOldest,
                    SlowPolicy::Latest,
                    SlowPolicy::Latest,
                    SlowPolicy::Disconnect,
                ][if pattern == TINY { 0..1 } else { 0..5 }],
            ),
            lane_bytes: *rng.pick(&[None, None, Some(16 << 10)]),
            batch_window: *rng.pick(&[
                None,
                None,
                Some(Duration::ZERO),
                Some(Duration::from_millis(5)),
                Some(Duration::from_millis(300)),
            ]),
            deliver_within: Duration::from_millis(*rng.pick(&[0, 0, 0, 1, 20, 300])),
        });
    }
    topics
}
