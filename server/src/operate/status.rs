//! Job: how a running server is, in a few figures.
//! Knows: the engine's counters. Must never know: who asks.

use serde::{Deserialize, Serialize};

use super::Server;
use crate::units::{grouped, some};

/// The figures.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of this program.
    pub version: String,
    pub pid: u32,
    /// Where it can be connected to.
    pub listeners: Vec<String>,
    pub shards: usize,
    pub connections: u64,
    pub topics: u64,
    /// Subscriptions, by topic and priority.
    pub cursors: u64,
    /// Messages published so far.
    pub messages: u64,
    /// Messages that subscribers were sent so far.
    pub deliveries: u64,
}

impl Server<'_> {
    /// How it is; figures may be a second old.
    pub fn status(&self) -> Status {
        let stats = self.engine.stats();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            listeners: self.engine.listeners().iter().map(|listener| listener.url()).collect(),
            shards: stats.shards.len(),
            connections: stats.total.connections,
            topics: stats.total.topics,
            cursors: stats.total.cursors,
            messages: stats.total.messages,
            deliveries: stats.total.deliveries,
        }
    }
}

impl Status {
    /// All of it for a person.
    pub fn lines(&self) -> Vec<String> {
        let Status { version, pid, listeners, shards, connections, topics, cursors, messages, deliveries } = self;
        let [connections, topics, cursors] =
            [(*connections, "connection"), (*topics, "topic"), (*cursors, "cursor")].map(|(n, what)| some(n, what));
        vec![
            format!("fanwire {version}, process {pid}, {}, {}", some(*shards as u64, "shard"), listeners.join(", ")),
            format!("{connections}, {topics}, {cursors}"),
            format!("{} published, {} delivered", some(*messages, "message"), grouped(*deliveries)),
        ]
    }
}
