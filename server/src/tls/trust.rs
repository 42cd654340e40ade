//! Job: from the options to rustls's configuration: whom to trust, as who to come.
//! Knows: files in PEM, the system's certificates. Must never know: connections.

use std::path::Path;
use std::sync::Arc;

use fanwire_access::{read_text, web};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsArgs;
use super::verifier::{Everybody, Verifier};
use crate::exit::{Exit, Failure, OrExit};
use crate::stderr;
use crate::url::Url;

/// What a client needs for TLS. Cheap to clone; remembers sessions, so that who comes back is known.
#[derive(Clone, Debug)]
pub struct Trust(pub(super) Arc<ClientConfig>);

impl Trust {
    /// What the options say, if `url` wants TLS at all. Tells on stderr where no certificate will be looked at.
    ///
    /// # Errors
    /// Where a file cannot be read (66), does not hold what it should, or this machine trusts nobody (78).
    pub fn for_url(url: &Url, args: &TlsArgs) -> Result<Option<Self>, Failure> {
        if !url.is_tls {
            return Ok(None);
        }
        if args.insecure {
            let what = "--insecure: anybody can pretend to be this server, and read and change what is sent";
            stderr::say("WARN", &format!("{url}: {what}"));
        }
        Trust::new(args).map(Some)
    }

    fn new(args: &TlsArgs) -> Result<Self, Failure> {
        // Named here, not taken from the process: two libraries in one process may want different ones.
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match (&args.ca, args.insecure) {
            (_, true) => Arc::new(Everybody(provider.clone())),
            (Some(path), false) => {
                let whom = format!("those in {}", path.display());
                Arc::new(verifier(certificates(path)?, whom, &provider)?)
            }
            (None, false) => {
                let nobody = |text| Failure::message(Exit::Config, format!("{text}, or name a file with --ca"));
                let trusted = web::trusted_here().map_err(nobody)?;
                Arc::new(verifier(trusted, "those whom this machine trusts".into(), &provider)?)
            }
        };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.or_exit(Exit::Software, || "cannot begin with TLS".into())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &args.client_cert {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let key_path = args.client_key.as_ref().unwrap_or(path);
                let (chain, key) = (certificates(path)?, private_key(key_path)?);
                let does_not_fit = || format!("{} with the key in {}", path.display(), key_path.display());
                builder.with_client_auth_cert(chain, key).or_exit(Exit::Config, does_not_fit)?
            }
        };
        // What is spoken behind TLS (RFC 7301): a WebSocket begins as HTTP/1.1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Trust(Arc::new(config)))
    }
}

fn verifier(
    trusted: Vec<CertificateDer<'static>>,
    whom: String,
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, Failure> {
    let cannot = format!("nobody can be trusted: no certificate of {whom} can be used");
    Verifier::new(trusted, whom, provider.clone()).or_exit(Exit::Config, || cannot)
}

/// The certificates in a file.
///
/// # Errors
/// 66 where it cannot be read, 78 where it has none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read_text(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found.or_exit(Exit::Config, || format!("{} is not PEM", path.display()))? {
        found if found.is_empty() => {
            Err(Failure::message(Exit::Config, format!("{} holds no certificate in PEM", path.display())))
        }
        found => Ok(found),
    }
}

/// The private key in a file.
///
/// # Errors
/// As [`certificates`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    let bytes = read_text(path)?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .or_exit(Exit::Config, || format!("{} holds no private key in PEM without a password", path.display()))
}
