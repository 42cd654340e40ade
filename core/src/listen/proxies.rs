//! Which proxies are believed when they say whom they speak for.
//!
//! Knows addresses and listeners. Must never know how a proxy says it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::config::{Config, nanoseconds};
use crate::driver::proxied::{ProxyOptions, Trusts};
use crate::listen::Listener;
use crate::proto::cidr::{Cidr, CidrError};

/// Most entries of [`crate::AccessConfig::trusted_proxies`]: each is looked at for each address that a proxy names.
pub const TRUSTED_PROXIES_MAX: usize = 64;

/// What [`TrustedProxy::Unix`] is written as.
const UNIX: &str = "unix";

/// Proxies that are believed: see [`crate::AccessConfig::trusted_proxies`]. As a text: an address, a block of addresses such as
/// `10.0.0.0/8` or `2001:db8::/32`, or `unix`.
///
/// ```
/// let proxies: Vec<fanwire::TrustedProxy> = vec!["10.0.0.0/8".parse()?, "::1".parse()?, "unix".parse()?];
/// assert_eq!(proxies[0].to_string(), "10.0.0.0/8");
/// # Ok::<(), fanwire::TrustedProxyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrustedProxy {
    /// Those at these addresses.
    At(Cidr),
    /// Those that come by a Unix socket.
    Unix,
}

impl TrustedProxy {
    /// Whether it is one at this address.
    pub fn is_at(&self, address: IpAddr) -> bool {
        matches!(self, TrustedProxy::At(block) if block.contains(address))
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustedProxy::At(block) => block.fmt(f),
            TrustedProxy::Unix => f.write_str(UNIX),
        }
    }
}

/// A text that is no [`TrustedProxy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}; proxies that come by a Unix socket are written as unix")]
pub struct TrustedProxyError {
    text: String,
    problem: CidrError,
}

impl FromStr for TrustedProxy {
    type Err = TrustedProxyError;

    fn from_str(text: &str) -> Result<Self, TrustedProxyError> {
        match text {
            UNIX => Ok(TrustedProxy::Unix),
            _ => text
                .parse()
                .map(TrustedProxy::At)
                .map_err(|problem| TrustedProxyError { text: text.to_owned(), problem }),
        }
    }
}

impl Config {
    /// Whether a proxy at this address is believed.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.access.trusted_proxies.iter().any(|proxy| proxy.is_at(address))
    }

    /// Whether what `peer` brings by this listener may be somebody else's who comes by way of it.
    pub(crate) fn trusts_peer(&self, listener: Option<&Listener>, peer: Option<SocketAddr>) -> bool {
        match (peer, listener) {
            (Some(peer), _) => self.trusts(peer.ip()),
            // Where the PROXY protocol named nobody, the peer is not the one that is trusted.
            (None, Some(listener)) => listener.path().is_some() && !listener.is_proxied && self.trusts_unix(),
            (None, None) => false,
        }
    }

    fn trusts_unix(&self) -> bool {
        self.access.trusted_proxies.contains(&TrustedProxy::Unix)
    }

    /// Whether a proxy of this address, or one that comes by a Unix socket, is believed.
    pub(crate) fn trusts_proxy(&self, peer: Option<SocketAddr>) -> bool {
        peer.map_or_else(|| self.trusts_unix(), |peer| self.trusts(peer.ip()))
    }

    /// What the drivers of so many shards need to know of proxies before these listeners. `trusts` says who is one now.
    pub(crate) fn proxy_options(&self, listening: &[Listener], shards: usize, trusts: Trusts) -> ProxyOptions {
        ProxyOptions {
            is_proxied: listening.iter().map(|listener| listener.is_proxied).collect(),
            trusts,
            headings_max: self.handshakes_per_shard(shards),
            timeout_ns: nanoseconds(self.limits.handshake_timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_address_a_block_or_unix() {
        for text in ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "0.0.0.0/0", "unix"] {
            assert_eq!(text.parse::<TrustedProxy>().unwrap().to_string(), text);
        }
        assert_eq!("10.1.2.3/32".parse::<TrustedProxy>().unwrap().to_string(), "10.1.2.3");
        for (text, told) in [
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("proxy.example", "not an address"),
            ("unix:", "written as unix"),
            ("Unix", "written as unix"),
            ("10.0.0.0/40", "from 0 to 32"),
        ] {
            let error = text.parse::<TrustedProxy>().unwrap_err().to_string();
            assert!(error.contains(told) && error.starts_with(&format!("`{text}`")), "{error}");
        }
    }
}
