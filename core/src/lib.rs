//! fanwire: publish a message once, every WebSocket subscriber of its topic gets it.

mod config;
mod driver;
mod event;
mod ingest;
mod log;
pub mod proto;
mod registry;
mod shard;
mod sys;
mod types;

pub use types::{ConnectionId, Kind, Priority, TopicId};
