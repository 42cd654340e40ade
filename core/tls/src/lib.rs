//! TLS 1.3 (RFC 8446) and TLS 1.2 (RFC 5246, 5288, 7905) for a server, without sockets.
//!
//! rustls does the handshake. Then its keys are taken over, and every record is sealed and opened here, in place: what a
//! message costs is a copy and the cipher, and nothing is allocated for it.
//!
//! Knows certificates, records, keys. Must never know a socket, a file, or what is said.
#![forbid(unsafe_code)]

mod acceptor;
mod alert;
mod connection;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshake;
mod protect;
mod record;
mod subject;

pub use acceptor::{Acceptor, AcceptorConfig, CertificateError, ClientCertificates, IDENTITIES_MAX, Identity, Version};
pub use alert::Alert;
pub use connection::{Connection, Opened, Sealed};
pub use handshake::{Established, Handshake, HandshakeError, INPUT_BYTES_MAX, Progress};
pub use record::{HEADER_BYTES, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX, record_bytes};
pub use subject::SUBJECT_BYTES_MAX;

#[cfg(test)]
mod tests;
