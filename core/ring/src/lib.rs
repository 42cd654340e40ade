//! The way in: one bounded broadcast ring of records for the whole engine, and the pool of counted payloads.
//!
//! Many producers (the host's threads, shards for their clients) publish; every shard reads every record in the same order.
//! A small payload is copied into the ring; a larger one, and what was written in place, crosses as a reference to a counted
//! [`Payload`]. Critical messages have room of their own and are read first. A full ring says so; nothing is dropped and no shard ever waits on it.
//!
//! Knows bytes, heads and readers; must never know connections, frames, topics' names or the driver.

#![cfg_attr(any(feature = "loom", feature = "shuttle"), allow(dead_code, reason = "models use a part"))]

mod area;
mod cursor;
mod error;
#[cfg_attr(any(feature = "loom", feature = "shuttle"), allow(dead_code, reason = "models sleep in another way"))]
mod futex;
mod made;
mod memory;
mod payload;
mod publish;
mod reader;
pub mod readers;
mod record;
mod ring;
mod shared;
mod signal;
mod sync;
pub mod usdt;

#[cfg(all(test, feature = "loom"))]
mod loom;
#[cfg(all(test, feature = "shuttle", not(feature = "loom")))]
mod shuttle;
#[cfg(all(test, any(feature = "loom", feature = "shuttle")))]
mod sleeper;
#[cfg(all(test, not(any(feature = "loom", feature = "shuttle"))))]
mod tests;

use fanwire_types as types;

pub use area::INLINE_MAX;
pub use error::{Refused, RingError};
pub use payload::{ClaimBuf, POOL_BYTES_DEFAULT, Payload, PayloadPool};
pub use reader::Reader;
pub use readers::STANDSTILL_NS;
pub use record::{ATTRIBUTES_MAX, Body, Head, Position, Record, RecordKind, Standing};
pub use ring::{RING_BYTES_DEFAULT, RING_BYTES_MAX, RING_BYTES_MIN, Ring};
