//! Job: asking other machines by HTTP: whom they have to convince, and how long they may take.
//! Knows: HTTPS, whom this machine trusts. Must never know: what is asked for.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use crate::tls;

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
    let trusted = tls::of_the_system().map_err(|failure| failure.error.to_string())?;
    let roots: RootCerts = trusted.iter().map(|der| Certificate::from_der(der).to_owned()).into();
    let provider = Arc::new(ring::default_provider());
    let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
    Ok(config.tls_config(tls))
}
