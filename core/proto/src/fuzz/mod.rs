//! What a fuzzer does with its bytes: one function a target.
//!
//! Each function takes any bytes at all and panics where a promise of the code under it is broken: not only by a crash, but
//! where the same bytes cut elsewhere give something else, where a plain second implementation comes to another verdict, where
//! what was written is not what is read back, where more memory is taken than the maximum allows. `core/fuzz` hands them to
//! libFuzzer; `corpora_replay` runs its seeds and corpora in every `./test`.
//!
//! Knows the protocol's modules and the simulator. Never knows libFuzzer, and never reads a clock or a random number: a
//! failing input fails again.

mod batch;
#[cfg(test)]
mod corpora_replay;
mod deflate;
mod dictionary;
mod forwarded;
mod frame;
mod http;
mod inflate;
mod input;
mod json;
mod lz4_plain;
mod msgpack;
pub(crate) mod msgpack_plain;
mod negotiation;
mod negotiation_plain;
mod plain_inflate;
mod proxy;
mod server_messages;

pub use batch::batch;
pub use deflate::deflate;
pub use dictionary::dictionary;
pub use forwarded::forwarded;
pub use frame::frame;
pub use http::http;
pub use inflate::inflate;
pub use json::json;
pub use msgpack::msgpack;
pub use negotiation::negotiation;
pub use proxy::proxy;
