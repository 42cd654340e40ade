//! Job: whether a server's certificate is to be trusted.
//! Knows: rustls's verification, certificates that are trusted themselves. Must never know: files, connections.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use super::certificate::{self, Issuer};

/// Trusts what those vouch for that it was given, and those themselves: a server's own certificate that may sign others, as
/// `openssl req -x509` makes it, would otherwise be refused.
#[derive(Debug)]
pub struct Verifier {
    chains: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    /// Whom it trusts, in words.
    whom: String,
}

impl Verifier {
    /// Trusts `trusted`, who are called `whom`.
    ///
    /// # Errors
    /// Where none of them can vouch for anybody.
    pub fn new(
        trusted: Vec<CertificateDer<'static>>,
        whom: String,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let chains = chains.map_err(|error| Error::General(error.to_string()))?;
        Ok(Verifier { chains, trusted, whom })
    }

    /// With who the issuer is said to be, where nothing leads to it.
    fn explained(&self, error: CertificateError, end_entity: &CertificateDer<'_>) -> CertificateError {
        let issuer = certificate::issuer(end_entity);
        match (&error, &issuer) {
            // What may sign others, and has signed itself, is not looked at further by webpki: nobody else vouches for it.
            (CertificateError::UnknownIssuer, _) | (CertificateError::Other(_), Issuer::Itself) => {
                CertificateError::Other(OtherError(Arc::new(UnknownIssuer { issuer, whom: self.whom.clone() })))
            }
            _ => error,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            certificate::check_dates(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(error)) => Err(self.explained(error, end_entity).into()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Nobody who is trusted has issued the certificate.
#[derive(Debug)]
pub struct UnknownIssuer {
    issuer: Issuer,
    whom: String,
}

impl fmt::Display for UnknownIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = &self.whom;
        match &self.issuer {
            Issuer::Itself => write!(f, "its certificate is signed by itself, and is not one of {whom}"),
            Issuer::Named(name) => {
                write!(f, "its certificate is issued by `{name}`, and nothing leads from there to {whom}")
            }
            Issuer::Unknown => write!(f, "its certificate leads to none of {whom}"),
        }
    }
}

impl std::error::Error for UnknownIssuer {}

/// Trusts everybody: whoever has a certificate's key, whatever is in it.
#[derive(Debug)]
pub struct Everybody(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Everybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
