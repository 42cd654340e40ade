//! What a bridge is to connect to, and as whom.

use std::fs::File;
use std::path::{Path, PathBuf};

use async_nats::ServerAddr;
use fanwire::proto::topic::Pattern;

use crate::node::{CLUSTER_BYTES_MAX, Prefix, is_cluster_name};

/// NATS servers that a bridge may be told of.
const URLS_MAX: usize = 64;
/// Patterns that are always asked for, and prefixes of plain subjects.
const PATTERNS_MAX: usize = 256;

/// See the module's head.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Servers: `nats://host:port`, `tls://host:port`, with a user and a password if need be. At least one; others of their cluster are
    /// found.
    pub urls: Vec<String>,
    /// The cluster's name: nodes of one name hear each other.
    pub cluster: String,
    /// The node's number where it is to be a certain one: of two processes of which one takes over from the other, for what is between
    /// them goes another way. `None`: a random one.
    pub node: Option<u64>,
    /// A file of NATS credentials (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// Certificates, in PEM, of those that sign the servers'; the system's are trusted, too.
    pub ca_file: Option<PathBuf>,
    /// A certificate and its key, in PEM, for servers that ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Names and patterns that this node hears whether anybody here wants them or not.
    pub keep: Vec<Pattern>,
    /// Prefixes of plain subjects that are topics: what others publish there comes in, what is published here goes there.
    pub foreign: Vec<Prefix>,
    /// Bytes that may wait for NATS.
    pub outward_bytes_max: usize,
    /// Bytes that may wait for the engine.
    pub inward_bytes_max: usize,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".to_owned()],
            cluster: "main".to_owned(),
            node: None,
            credentials_file: None,
            ca_file: None,
            certificate: None,
            keep: Vec::new(),
            foreign: Vec::new(),
            outward_bytes_max: 64 << 20,
            inward_bytes_max: 16 << 20,
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No server, or too many.
    #[error("there must be from 1 to {URLS_MAX} NATS servers, not {0}")]
    Urls(usize),
    /// Not where a NATS server can be.
    #[error("`{url}` is no NATS server: {problem}")]
    Url {
        /// As it was given, without a password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Not a cluster's name.
    #[error("`{0}` is no name of a cluster: 1 to {CLUSTER_BYTES_MAX} letters, digits, `-` and `_`")]
    Cluster(String),
    /// Too many patterns or prefixes.
    #[error("there may be {PATTERNS_MAX} of each, patterns to keep and prefixes of subjects, not {0}")]
    Patterns(usize),
    /// One prefix is another one, or below it.
    #[error("the prefix `{inner}` is another one, or below it: `{outer}`")]
    Nested {
        /// The one.
        inner: String,
        /// The other.
        outer: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file that has no credentials in it.
    #[error("{}: no NATS credentials: {error}", path.display())]
    Credentials {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: std::io::Error,
    },
}

impl BridgeConfig {
    /// Looks at everything that can be looked at without a server. Returns the servers' addresses.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<Vec<ServerAddr>, ConfigError> {
        if !(1..=URLS_MAX).contains(&self.urls.len()) {
            return Err(ConfigError::Urls(self.urls.len()));
        }
        let addresses = self.urls.iter().map(|url| check_url(url)).collect::<Result<Vec<_>, _>>()?;
        if !is_cluster_name(&self.cluster) {
            return Err(ConfigError::Cluster(self.cluster.clone()));
        }
        let most = self.keep.len().max(self.foreign.len());
        if most > PATTERNS_MAX {
            return Err(ConfigError::Patterns(most));
        }
        self.check_foreign()?;
        let certificate = self.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        for path in self.credentials_file.iter().chain(&self.ca_file).chain(certificate) {
            File::open(path).map_err(|error| ConfigError::File { path: path.clone(), error })?;
        }
        Ok(addresses)
    }

    /// Each topic has one subject.
    fn check_foreign(&self) -> Result<(), ConfigError> {
        for (at, inner) in self.foreign.iter().enumerate() {
            let is_outer = |(other, outer): &(usize, &Prefix)| {
                *other != at && (inner == *outer || inner.as_str().starts_with(&format!("{}.", outer.as_str())))
            };
            if let Some((_, outer)) = self.foreign.iter().enumerate().find(is_outer) {
                let (inner, outer) = (inner.as_str().to_owned(), outer.as_str().to_owned());
                return Err(ConfigError::Nested { inner, outer });
            }
        }
        Ok(())
    }
}

/// Looks at where a server is to be.
///
/// # Errors
/// What is wrong.
pub fn check_url(url: &str) -> Result<ServerAddr, ConfigError> {
    let wrong = |problem: String| ConfigError::Url { url: without_password(url), problem };
    let (scheme, _) = url.split_once("://").ok_or_else(|| wrong("it must begin with nats:// or tls://".into()))?;
    if !["nats", "tls"].contains(&scheme) {
        return Err(wrong(format!("{scheme}:// is neither nats:// nor tls://")));
    }
    url.parse().map_err(|error: std::io::Error| wrong(error.to_string()))
}

/// For logs: what stands between `://` and `@` may be a secret.
pub fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

/// The text of a file of credentials.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut BridgeConfig)) -> String {
        let mut config = BridgeConfig::default();
        change(&mut config);
        config.check().expect_err("it is wrong").to_string()
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_is_told() {
        assert!(BridgeConfig::default().check().is_ok());
        let url = |url: &str| problem(|config| config.urls = vec![url.to_owned()]);
        assert_eq!(url("localhost"), "`localhost` is no NATS server: it must begin with nats:// or tls://");
        let told = url("http://me:secret@host:1");
        assert_eq!(told, "`http://…@host:1` is no NATS server: http:// is neither nats:// nor tls://");
        assert!(url("nats://host:port").contains("`nats://host:port` is no NATS server"));
        assert!(problem(|config| config.cluster = "a.b".into()).contains("`a.b` is no name of a cluster"));
        let told = problem(|config| config.credentials_file = Some("/no/such/file".into()));
        assert!(told.starts_with("cannot read /no/such/file: "), "{told}");
        let prefixes = |texts: &[&str]| texts.iter().map(|text| Prefix::parse(text).expect("one")).collect::<Vec<_>>();
        let told = problem(|config| config.foreign = prefixes(&["ab", "a", "a.b"]));
        assert_eq!(told, "the prefix `a.b` is another one, or below it: `a`");
        assert!(problem(|config| config.foreign = prefixes(&["a", "a"])).contains("`a`"));
    }

    #[test]
    fn limits_hold_at_the_limit_and_not_one_past_it() {
        let with_urls = |count| BridgeConfig { urls: vec!["tls://a:1".into(); count], ..Default::default() };
        assert!(with_urls(URLS_MAX).check().is_ok());
        assert!(matches!(with_urls(URLS_MAX + 1).check(), Err(ConfigError::Urls(65))));
        assert!(matches!(with_urls(0).check(), Err(ConfigError::Urls(0))));
        let keep = |count| BridgeConfig { keep: vec![Pattern::parse("a").expect("one"); count], ..Default::default() };
        assert!(keep(PATTERNS_MAX).check().is_ok());
        assert!(matches!(keep(PATTERNS_MAX + 1).check(), Err(ConfigError::Patterns(257))));
    }
}
