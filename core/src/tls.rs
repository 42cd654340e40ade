//! TLS of an engine: its files, read and judged; what a shard's driver is wrapped in.
//!
//! Knows files and the configuration. Must never know a record, or a socket.

/// What a connection's keys take in user space, about (`core/tests/footprint.rs`).
pub const SESSION_BYTES: usize = 2_048;
/// What one shard seals at once: 512 KiB of content, and what its records add.
pub const SCRATCH_BYTES: usize = 640 << 10;
/// The longest subject of a client's certificate.
pub const SUBJECT_BYTES_MAX: usize = 1_024;
#[cfg(feature = "tls")]
const _: () = assert!(SUBJECT_BYTES_MAX == fanwire_tls::SUBJECT_BYTES_MAX);

#[cfg(not(feature = "tls"))]
mod none {
    use std::sync::Arc;

    use crate::config::{Config, TlsConfig};
    use crate::plan::ConfigError;

    /// This build speaks no TLS: there are none.
    #[derive(Debug)]
    pub enum Acceptors {}

    /// What handshakes are done with; `None` where no listener speaks TLS.
    ///
    /// # Errors
    /// Where one does.
    pub fn acceptors(config: &Config) -> Result<Option<Arc<Acceptors>>, Vec<ConfigError>> {
        let Some(listener) = config.listen.iter().find(|listener| listener.is_tls) else { return Ok(None) };
        let problem = "this build speaks no TLS: it was made without the feature `tls`".into();
        Err(vec![ConfigError { field: "listen", value: listener.to_string(), problem }])
    }

    /// When certificates end: here there are none.
    pub fn ends_s(_: &Option<Arc<Acceptors>>) -> Vec<u64> {
        Vec::new()
    }

    /// Certificates that were read, and are not used yet: here there are none.
    pub enum Anew {}

    impl Anew {
        /// Nobody gets here.
        pub fn take_effect(self) -> usize {
            match self {}
        }
    }

    /// Nothing to read.
    ///
    /// # Errors
    /// Never.
    pub fn read_anew(_: &Option<Arc<Acceptors>>, _: &TlsConfig) -> Result<Option<Anew>, Vec<ConfigError>> {
        Ok(None)
    }
}
#[cfg(not(feature = "tls"))]
pub use none::{Acceptors, acceptors, ends_s, read_anew};

#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
pub use files::{Acceptors, acceptors, ends_s, read_anew};
