//! The protocol, sans I/O: bytes in, actions out.
//!
//! Knows RFC 6455, RFC 9112 as far as an upgrade needs it, and fanwire's own subprotocols. Never names a socket, a
//! descriptor, a thread or a clock. The same bytes cut at any places give the same events. The engine is `fanwire`, which
//! has all of this as `fanwire::proto`; what speaks to an engine needs this crate alone.
#![forbid(unsafe_code)]

pub mod batch;
pub mod cidr;
pub mod client;
pub mod close;
pub mod compress;
pub mod decoder;
pub mod deflate;
pub mod dictionary;
pub mod encoder;
pub mod forwarded;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod handshake;
pub mod header;
pub mod inflate;
pub mod json;
pub mod long;
pub mod lz4;
pub mod mask;
pub mod msgpack;
pub mod proxy;
pub mod request;
pub mod server_message;
pub mod subscribe;
pub mod target;
pub mod token;
pub mod topic;
pub mod traceparent;
pub mod utf8;

pub use fanwire_types::{ConnectionId, Kind, Priority, TopicId};
