//! The whole engine: shards on the simulated driver, with clients and a network that the input decides.

use crate::sim::from_bytes;

/// One run of the simulation: the input decides what would be chance. What must hold is in the head of `core/src/sim/mod.rs`.
pub fn engine(data: &[u8]) {
    from_bytes(data);
}
