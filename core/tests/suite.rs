//! The engine's integration tests in one program, so that there is one to build and to link: a module for each subject.
//!
//! Those that count what a whole process holds, or load the machine, are programs of their own: see `[[test]]` in Cargo.toml.

#[macro_use]
mod support;

mod admission;
mod authorize;
mod bad_input;
mod counters;
mod engine;
mod host;
mod interest;
mod large_messages;
mod lifecycle;
mod limits;
mod listening;
mod metrics;
mod observers;
mod origins;
mod outlet;
mod pressure;
mod protocol;
mod proxies;
mod reference;
mod reload;
mod restart;
#[cfg(feature = "test-knobs")]
mod shard_end;
mod slow_batches;
mod standstill;
mod sys_topics;
mod thin_link;
mod threads;
#[cfg(feature = "test-knobs")]
mod tiny;
#[cfg(feature = "tls")]
mod tls;
mod traces;
mod unix_sockets;
