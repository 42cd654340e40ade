//! What handshakes are done with: certificates by name, keys, whom clients may show.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring as provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Most certificates: each greeting may look at all of them.
pub const IDENTITIES_MAX: usize = 64;
/// A WebSocket upgrade is HTTP/1.1 (RFC 7301: a client that wants only others is told so).
const ALPN: &[u8] = b"http/1.1";

/// A certificate with its chain, and its key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate first, then those that lead to its root.
    pub chain_pem: Vec<u8>,
    /// PKCS #8, PKCS #1 or SEC1.
    pub key_pem: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Ignored,
    /// They are asked; who shows none comes in, too.
    Optional,
    /// Who shows none stays out.
    Required,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 1.2, and 1.3 where the client can.
    #[default]
    V12,
    /// 1.3 alone.
    V13,
}

/// What an [`Acceptor`] is made of.
#[derive(Clone, Debug, Default)]
pub struct AcceptorConfig {
    /// Certificates, 1 to [`IDENTITIES_MAX`]. The first is for clients that name no server, or one that none is for.
    pub identities: Vec<Identity>,
    /// Certificates of those that sign clients' certificates, in PEM.
    pub client_ca_pem: Option<Vec<u8>>,
    /// Whether clients show certificates; needs `client_ca_pem` unless ignored.
    pub client_certificates: ClientCertificates,
    /// The oldest version.
    pub version_min: Version,
}

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// None at all, or more than [`IDENTITIES_MAX`].
    #[error("{0} certificates: 1 to {IDENTITIES_MAX} are needed")]
    Count(usize),
    /// Something of the identity with this number, from 0.
    #[error("{what}")]
    Chain {
        /// Which one.
        index: usize,
        /// What is wrong with its chain.
        what: String,
    },
    /// Something of the key with this number.
    #[error("{what}")]
    Key {
        /// Which one.
        index: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The certificates that clients' are signed by.
    #[error("{0}")]
    ClientCa(String),
    /// Clients' certificates are wanted, but nobody is named that signs them.
    #[error("clients' certificates are wanted, but none that they are signed by")]
    NoClientCa,
}

/// Does handshakes. Clones are the same.
#[derive(Clone)]
pub struct Acceptor {
    tls: Arc<ServerConfig>,
    ends_s: Arc<[u64]>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// The first that cannot be used, and why.
    pub fn new(config: &AcceptorConfig) -> Result<Self, CertificateError> {
        if !(1..=IDENTITIES_MAX).contains(&config.identities.len()) {
            return Err(CertificateError::Count(config.identities.len()));
        }
        let identities = config.identities.iter().enumerate();
        let certified: Vec<_> =
            identities.map(|(index, identity)| certified(index, identity)).collect::<Result<_, _>>()?;
        let ends_s = certified.iter().map(|key| ends_s(key)).collect();
        let provider = Arc::new(provider::default_provider());
        let versions: &[&SupportedProtocolVersion] = match config.version_min {
            Version::V12 => &[&TLS13, &TLS12],
            Version::V13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.map_err(|error| CertificateError::ClientCa(error.to_string()))?;
        let builder = match config.client_certificates {
            ClientCertificates::Ignored => builder.with_no_client_auth(),
            wanted => {
                let roots = roots(config.client_ca_pem.as_deref().ok_or(CertificateError::NoClientCa)?)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match wanted {
                    ClientCertificates::Required => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(
                    verifier.build().map_err(|error| CertificateError::ClientCa(error.to_string()))?,
                )
            }
        };
        let mut tls = builder.with_cert_resolver(Arc::new(ByName(certified)));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        // A client that comes back with a ticket saves itself work and us bytes; one is enough. What it is sealed with is
        // forgotten with these certificates.
        tls.ticketer = provider::Ticketer::new().map_err(|error| CertificateError::ClientCa(error.to_string()))?;
        tls.send_tls13_tickets = 1;
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.max_early_data_size = 0;
        tls.enable_secret_extraction = true;
        Ok(Self { tls: Arc::new(tls), ends_s })
    }

    /// When each certificate ends, as Unix times, in the order in which they were given.
    pub fn ends_s(&self) -> &[u64] {
        &self.ends_s
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.tls.clone()
    }
}

/// When a certificate ends: the first of its chain, as Unix time. 0 where its dates cannot be read.
fn ends_s(key: &CertifiedKey) -> u64 {
    let certificate = key.cert.first().and_then(|der| Certificate::from_der(der).ok());
    certificate.map_or(0, |certificate| certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

fn roots(ca_pem: &[u8]) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|error| CertificateError::ClientCa(in_words(&error)))?;
        roots.add(certificate).map_err(|error| CertificateError::ClientCa(error.to_string()))?;
    }
    if roots.is_empty() { Err(CertificateError::ClientCa(NO_CERTIFICATE.into())) } else { Ok(roots) }
}

const NO_CERTIFICATE: &str = "no certificate in PEM (`-----BEGIN CERTIFICATE-----`) is in it";

fn certified(index: usize, identity: &Identity) -> Result<Arc<CertifiedKey>, CertificateError> {
    let wrong_chain = |what: String| CertificateError::Chain { index, what };
    let wrong_key = |what: String| CertificateError::Key { index, what };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&identity.chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong_chain(in_words(&error)))?;
    let first = chain.first().ok_or_else(|| wrong_chain(NO_CERTIFICATE.into()))?;
    ParsedCertificate::try_from(first)
        .map_err(|error| wrong_chain(format!("the certificate cannot be read: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).map_err(|error| match error {
        pem::Error::NoItemsFound => wrong_key(
            "no private key in PEM is in it (an encrypted one cannot be read: `openssl pkey -in FILE -out OTHER`)"
                .into(),
        ),
        error => wrong_key(in_words(&error)),
    })?;
    let key = provider::sign::any_supported_type(&key)
        .map_err(|_| wrong_key("ECDSA (P-256, P-384), Ed25519 or RSA of 2,048 bits or more is needed".into()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(_) => Err(wrong_key("the key is not the certificate's".into())),
    }
}

fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => NO_CERTIFICATE.into(),
        // It would show a part of the text, and that may be a key.
        _ => "the PEM is damaged".into(),
    }
}

/// The first certificate that is for the name that the client wants, and that it can check.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can_check = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let wanted = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_for = |key: &&Arc<CertifiedKey>| wanted.as_ref().is_some_and(|name| is_for(key, name));
        let named = self.0.iter().filter(can_check).find(is_for);
        named.or_else(|| self.0.iter().find(can_check)).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.cert.first().and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
    parsed.is_some_and(|certificate| rustls::client::verify_server_name(&certificate, name).is_ok())
}
