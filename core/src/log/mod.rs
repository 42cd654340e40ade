//! Logs of finished frames: append once, send to everybody, forget from the front.
//!
//! Knows frames as opaque byte runs with a position and a number each, memory blocks and budgets. Must never know a socket, a
//! subscriber, a thread or a clock.

mod attributes;
mod labels;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod number_tests;
mod numbers;
mod pool;
mod position;
#[cfg(test)]
mod reading_tests;
mod stream;
#[cfg(test)]
mod tests;

pub use pool::{BlockPool, Referrer};
pub use position::{Edge, Position, Seq};
pub use stream::{Entry, Frame, FramePayload, Log, Place};
