//! Job: asking other machines by HTTP: whom they have to convince, and how long they may take.
//! Knows: HTTPS, whom this machine trusts. Must never know: what is asked for.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Whoever asks a URL, at most so long for all of it: name, connection, head, body. Elsewhere than the URL says nobody is asked.
///
/// # Errors
/// Why there is nobody whom this machine trusts, for a person.
pub fn agent(url: &str, within: Duration) -> Result<ConfigBuilder<AgentScope>, String> {
    let is_tls = url.starts_with("https:");
    let config = Agent::config_builder()
        .https_only(is_tls)
        .timeout_global(Some(within))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("fanwire/", env!("CARGO_PKG_VERSION")));
    if !is_tls {
        return Ok(config.proxy(None));
    }
    let trusted = trusted_here()?;
    let roots: RootCerts = trusted.iter().map(|der| Certificate::from_der(der).to_owned()).into();
    let provider = Arc::new(ring::default_provider());
    let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
    Ok(config.tls_config(tls))
}

/// What OpenSSL would trust on this machine: `SSL_CERT_FILE` and `SSL_CERT_DIR`, else what the distribution has.
///
/// # Errors
/// That it trusts nobody, for a person.
pub fn trusted_here() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("certificates of the system: {error}");
    }
    if found.certs.is_empty() {
        let first = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!("this machine trusts nobody{first}: install ca-certificates"));
    }
    Ok(found.certs)
}
