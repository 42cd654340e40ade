//! TLS from the client's side: whom a server has to convince, and what is said where it does not.
//!
//! `trust` makes rustls's configuration of the options, `verifier` looks at certificates, `session` is one connection's records,
//! `fault` puts into words what went wrong.

pub mod arguments;
mod certificate;
pub mod fault;
pub mod session;
pub mod trust;
mod verifier;

pub use arguments::TlsArgs;
pub use trust::{Trust, certificates, private_key};
