//! Job: TLS at the admin port: its certificate, and whose clients' certificates are accepted.
//! Knows: rustls, files in PEM. Must never know: HTTP.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::config::AdminConfig;
use crate::exit::{Exit, Failure, OrExit};
use crate::tls::{certificates, private_key};

/// What handshakes are done with; `None`: there is no TLS.
///
/// # Errors
/// 66 where a file cannot be read, 78 where it is of no use, or one is missing.
pub fn acceptor(config: &AdminConfig) -> Result<Option<TlsAcceptor>, Failure> {
    let AdminConfig { certificate_file, key_file, client_ca_file, .. } = config;
    let (certificate_file, key_file) = match (certificate_file, key_file) {
        (Some(certificate_file), Some(key_file)) => (certificate_file, key_file),
        (None, None) if client_ca_file.is_none() => return Ok(None),
        (None, None) => return Err(wrong("admin.client_ca_file needs admin.certificate_file and admin.key_file, too")),
        _ => return Err(wrong("admin.certificate_file and admin.key_file go together")),
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.or_exit(Exit::Software, || "cannot begin with TLS".into())?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).or_exit(Exit::Config, || path.display().to_string())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.or_exit(Exit::Config, || path.display().to_string())?)
        }
    };
    let does_not_fit = || format!("{} with the key in {}", certificate_file.display(), key_file.display());
    let mut tls = builder
        .with_single_cert(certificates(certificate_file)?, private_key(key_file)?)
        .or_exit(Exit::Config, does_not_fit)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

fn wrong(what: &str) -> Failure {
    Failure::message(Exit::Config, what)
}
