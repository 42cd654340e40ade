//! fanwire: publish a message once, every WebSocket subscriber of its topic gets it.

mod driver;
mod ingest;
mod log;
pub mod proto;
mod shard;
#[cfg(test)]
mod sim;
mod sys;
mod types;

pub use types::{ConnectionId, Kind, Priority, TopicId};
