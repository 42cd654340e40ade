//! Messages on their way in, before anybody looks at what they say: kept in segments, inflated and put together in pieces.
//!
//! Knows bytes. Never knows whose they are, nor what is done with them.

mod arrived;
mod segments;

pub use arrived::{Arrived, Came, INFLATING_BYTES, INFLATING_MAX, fault_of};
pub use segments::Segments;
