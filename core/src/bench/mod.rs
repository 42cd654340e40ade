//! The engine's insides for `benches/`, in a build with the feature `bench` and in no other.
//!
//! Offers the parts that the public interface hides, as they are, and one shard on the `null` driver. Knows everything;
//! nothing of the engine may name it. No promise is made of anything here: it is not part of the public interface.

mod one_shard;

pub use crate::driver::Slot;
pub use crate::ingest::{Body, Head, Position, Reader, Record, Refused, Ring, RingError};
pub use crate::log::{BlockPool, Edge, Entry, Frame, FramePayload, Log, Place, Position as LogPosition, Referrer, Seq};
pub use crate::shard::Wheel;
pub use one_shard::OneShard;
