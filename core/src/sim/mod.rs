//! The whole engine under simulation: shards on the `sim` driver, clients that check every byte, a host that publishes.
//!
//! Everything runs in one thread under virtual time, in an order drawn from a seed. A run is its seed: a failure
//! prints it together with the command that repeats it.

mod acts;
mod client;
mod engine;
mod frames;
mod matches;
mod nature;
mod payload;
mod raw;
mod run;
#[cfg(test)]
mod seeds;
mod settings;
mod speech;
#[cfg(test)]
mod stage;
mod truth;
mod vandal;
mod view;
mod world;

#[cfg(fuzzing)]
pub use run::from_bytes;
