//! Certificates and keys out of their files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use fanwire_tls::{Acceptor, AcceptorConfig, CertificateError, ClientCertificates as Shown, Identity, Version};
use rustix::fs::OFlags;

use crate::config::{ClientCertificates, Config, TlsConfig, TlsVersion};
pub use crate::driver::tls::Acceptors;
use crate::plan::ConfigError;

/// Longest file: one is read while nobody waits, but all of it at once.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What handshakes are done with; `None` where no listener speaks TLS.
///
/// # Errors
/// Each file that cannot be read, or else what is wrong with the first that is.
pub fn acceptors(config: &Config) -> Result<Option<Arc<Acceptors>>, Vec<ConfigError>> {
    if !config.listen.iter().any(|listener| listener.is_tls) {
        return Ok(None);
    }
    Ok(Some(Arc::new(Acceptors::new(read(&config.tls)?))))
}

/// When the certificates end that connections get now, as Unix times, in the order of the configuration.
pub fn ends_s(acceptors: &Option<Arc<Acceptors>>) -> Vec<u64> {
    acceptors.as_ref().map_or_else(Vec::new, |acceptors| acceptors.ends_s())
}

/// Certificates that were read, and are not used yet.
pub struct Anew {
    acceptors: Arc<Acceptors>,
    acceptor: Acceptor,
    count: usize,
}

impl Anew {
    /// Connections get them from now on. How many there are.
    pub fn take_effect(self) -> usize {
        self.acceptors.replace(self.acceptor);
        self.count
    }
}

/// Reads the files anew, where any listener speaks TLS. Whoever names none has taken TLS out of the configuration, which
/// goes with its listeners: that takes a restart.
///
/// # Errors
/// As [`acceptors`].
pub fn read_anew(acceptors: &Option<Arc<Acceptors>>, tls: &TlsConfig) -> Result<Option<Anew>, Vec<ConfigError>> {
    let count = tls.certificate_files.len();
    match acceptors {
        Some(acceptors) if count > 0 => Ok(Some(Anew { acceptors: acceptors.clone(), acceptor: read(tls)?, count })),
        _ => Ok(None),
    }
}

/// Reads the files, and sees that they can be used.
///
/// # Errors
/// As [`acceptors`].
fn read(tls: &TlsConfig) -> Result<Acceptor, Vec<ConfigError>> {
    let mut faults = Vec::new();
    let mut text = |field: &'static str, path: &Path| match read_file(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(fault(field, path, format!("cannot be read: {error}")));
            Vec::new()
        }
    };
    let pairs = tls.certificate_files.iter().zip(&tls.key_files);
    let identities =
        pairs.map(|(chain, key)| Identity { chain_pem: text(CHAINS, chain), key_pem: text(KEYS, key) }).collect();
    let client_ca_pem = tls.client_ca_file.as_deref().map(|path| text(CLIENT_CA, path));
    if !faults.is_empty() {
        return Err(faults);
    }
    let client_certificates = match tls.client_certificates {
        ClientCertificates::Ignored => Shown::Ignored,
        ClientCertificates::Optional => Shown::Optional,
        ClientCertificates::Required => Shown::Required,
    };
    let version_min = match tls.version_min {
        TlsVersion::V12 => Version::V12,
        TlsVersion::V13 => Version::V13,
    };
    Acceptor::new(&AcceptorConfig { identities, client_ca_pem, client_certificates, version_min })
        .map_err(|error| vec![in_words(tls, error)])
}

const CHAINS: &str = "tls.certificate_files";
const KEYS: &str = "tls.key_files";
const CLIENT_CA: &str = "tls.client_ca_file";

fn in_words(tls: &TlsConfig, error: CertificateError) -> ConfigError {
    let nowhere = Path::new("");
    let nth = |files: &[std::path::PathBuf], index: usize| files.get(index).cloned().unwrap_or_default();
    match error {
        CertificateError::Chain { index, what } => fault(CHAINS, &nth(&tls.certificate_files, index), what),
        CertificateError::Key { index, what } => fault(KEYS, &nth(&tls.key_files, index), what),
        CertificateError::Count(_) => fault(CHAINS, nowhere, error.to_string()),
        CertificateError::ClientCa(what) => fault(CLIENT_CA, tls.client_ca_file.as_deref().unwrap_or(nowhere), what),
        CertificateError::NoClientCa => fault(CLIENT_CA, nowhere, error.to_string()),
    }
}

fn fault(field: &'static str, path: &Path, problem: String) -> ConfigError {
    ConfigError { field, value: path.display().to_string(), problem }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // One that is no regular file may keep its reader waiting for ever.
    let no_waiting = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(no_waiting).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("a regular file of at most {FILE_BYTES_MAX} bytes is needed")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
