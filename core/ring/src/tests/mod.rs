//! Tests of the ring and the pool with real threads; `loom.rs` has the models.

mod critical;
mod oracle;
mod payload;
mod ring;
mod signal;
mod stress;

use super::Head;
use crate::types::{Kind, Priority, TopicId};

fn head(topic: u32) -> Head {
    Head::message(TopicId(topic), Priority::Normal, Kind::Binary)
}
