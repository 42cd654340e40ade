//! Logs of finished frames: append once, send to everybody, forget from the front.
//!
//! Knows frames as opaque byte runs with a sequence number each, memory blocks and budgets. Must never know a socket, a
//! subscriber, a thread or a clock.

#[cfg(test)]
mod memory_tests;
mod pool;
#[cfg(test)]
mod reading_tests;
mod stream;
#[cfg(test)]
mod tests;

pub use pool::{BlockPool, Referrer};
pub use stream::{Entry, Frame, FramePayload, Log, Place};
