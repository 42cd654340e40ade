//! The engine's integration tests in one program, so that there is one to build and to link: a module for each subject.
//!
//! Those that count what a whole process holds, or load the machine, are programs of their own: see `[[test]]` in Cargo.toml.

#[macro_use]
mod support;

mod bad_input;
mod counters;
mod engine;
mod host;
mod large_messages;
mod lifecycle;
mod limits;
mod origins;
mod pressure;
mod protocol;
mod restart;
mod slow_batches;
mod standstill;
mod thin_link;
mod threads;
#[cfg(feature = "test-knobs")]
mod shard_end;
#[cfg(feature = "test-knobs")]
mod tiny;
