//! Who decides on an engine's upgrades by tokens (RFC 7519), for every program that has an engine: the server, and hosts in C, C++,
//! Python and Rust.
//!
//! `attendant` is the thread that decides, and what it can be told meanwhile. It asks a `desk`, in which order tokens are judged;
//! that one asks the `door`, which has keys and rules. `placement` finds a request's token, `live` knows by what connections came
//! in, `revocations` which tokens are refused although they are good. Keys come from `key_file` and `key_url`.
//!
//! Knows the engine's public interface, tokens, files, a clock, HTTPS. Must never know a shard, HTTP servers, a command line.
#![forbid(unsafe_code)]

mod attendant;
mod clock;
mod desk;
mod door;
mod error;
mod key_file;
mod key_health;
mod key_url;
mod live;
mod placement;
mod refusals;
mod revocations;
mod waiting;
pub mod web;

pub use attendant::{Attendant, Order, Revoked, attend, configure, memory};
pub use door::{Door, DoorConfig, KeysFrom, Opened};
pub use error::{AccessError, ErrorKind};
pub use key_file::{read_keys, read_regular, read_text, secret};
pub use key_health::KeyHealth;
pub use key_url::{KeySource, KeyUrl, Moved, keep, not_read};
pub use revocations::{Meant, NAME_BYTES_MAX, Revocations, RevocationsConfig};
