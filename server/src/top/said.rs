//! Job: what the `$sys` topics say, as far as it is shown.
//! Knows: docs/reference/sys-topics.md. Must never know: sockets, screens.
//!
//! Whatever is missing counts as nothing, and what is not known is passed over: a newer server may say more.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The topics, in the order in which they are asked for.
pub const TOPICS: [&str; 4] = ["$sys/shards", "$sys/topics", "$sys/clients", "$sys/gaps"];

/// `$sys/shards`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shards {
    pub at_ms: u64,
    /// What rates are over; 0: they are not known yet.
    pub interval_s: Option<f64>,
    pub version: String,
    pub driver: String,
    pub uptime_s: f64,
    pub connections_max: u64,
    total: Map<String, Value>,
    pub shards: Vec<Shard>,
    pub latency: Latency,
}

impl Shards {
    /// A counter of the whole engine; 0 where there is none of this name.
    pub fn total(&self, name: &str) -> f64 {
        self.total.get(name).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// Messages lost by subscribers so far.
    pub fn lost(&self) -> f64 {
        ["dropped_critical", "dropped_high", "dropped_normal", "dropped_low"].iter().map(|name| self.total(name)).sum()
    }
}

/// One shard.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shard {
    pub shard: u64,
    pub utilisation: f64,
    pub connections: u64,
}

/// How long things took in the last interval.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Latency {
    pub publish_to_first_send_us: Spread,
    pub publish_to_last_send_us: Spread,
    pub turn_us: Spread,
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Spread {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// `$sys/topics`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Topics {
    pub total: u64,
    pub topics: Vec<Topic>,
}

/// One topic.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Topic {
    pub topic: String,
    pub subscribers: u64,
    pub published_per_s: f64,
    pub bytes_per_s: f64,
    pub dropped: u64,
    pub lanes: Vec<Lane>,
}

impl Topic {
    /// Its lane whose slowest subscriber is furthest behind.
    pub fn worst(&self) -> Option<&Lane> {
        self.lanes.iter().max_by(|a, b| a.behind.total_cmp(&b.behind))
    }
}

/// One lane of a topic.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lane {
    pub priority: String,
    pub behind: f64,
    pub bytes: u64,
    pub capacity_bytes: u64,
}

/// `$sys/clients`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Clients {
    pub interval_s: Option<f64>,
    pub total: u64,
    pub behind: u64,
    pub by_lag: Vec<Client>,
    pub by_work: Vec<Client>,
}

/// One client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Client {
    pub id: String,
    pub peer: Option<String>,
    pub subject: Option<String>,
    pub form: String,
    pub connected_s: f64,
    pub subscriptions: u64,
    pub behind_messages: u64,
    pub behind_bytes: u64,
    pub used: f64,
    pub drops_in_s: Option<f64>,
    pub cause: Option<String>,
    pub work_per_s: f64,
    pub lanes: Vec<ClientLane>,
    pub lost: Vec<Lost>,
    pub lost_total: u64,
}

/// A step is about 100 ns of a shard.
const STEPS_PER_S: f64 = 1e7;

impl Client {
    /// The share of one shard's time that it costs.
    pub fn work(&self) -> f64 {
        self.work_per_s / STEPS_PER_S
    }
}

/// A lane that a client is behind in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClientLane {
    pub topic: String,
    pub priority: String,
    pub behind_messages: u64,
    pub behind_bytes: u64,
    pub used: f64,
}

/// Messages that a client has lost.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Lost {
    pub topic: String,
    pub priority: String,
    pub from: u64,
    pub to: u64,
}

impl Lost {
    pub fn count(&self) -> u64 {
        self.to.saturating_sub(self.from).saturating_add(1)
    }
}

/// `$sys/gaps`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Gaps {
    pub gaps: Vec<Gap>,
    pub left_out: u64,
}

/// One gap of one client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Gap {
    pub at_ms: u64,
    pub client: String,
    pub reason: String,
    #[serde(flatten)]
    pub lost: Lost,
}
