//! Live topics between fanwire nodes over NATS, and with plain NATS publishers and subscribers.
//!
//! What is published on one node reaches the subscribers of all: at most once, each publisher's messages of a lane in order. [`Bridge`]
//! runs on a thread of its own, takes what is published from an outlet, and hears who wants what. What it decides is in [`node`], without
//! a socket or a clock; `shell` is a thin layer over the NATS client.

#![forbid(unsafe_code)]

mod config;
mod counters;
pub mod node;
mod shell;
#[cfg(test)]
mod sim;

pub use config::{BridgeConfig, ConfigError};
pub use counters::{Counters, METRICS, Metric, MetricKind};
pub use shell::{Bridge, BridgeError, Stop};
