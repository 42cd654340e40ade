//! What a listener is: where it listens, whether it speaks TLS, whether a proxy stands before it.
//!
//! Knows how that is written. Must never know sockets.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// A place to listen at. As a text: `IP:PORT`, or the same as the address that a client connects to, `ws://IP:PORT` or
/// `wss://IP:PORT`. With `?proxy` at its end connections begin with the PROXY protocol.
///
/// ```
/// let listener: fanwire::Listener = "wss://[::]:9443".parse()?;
/// assert!(listener.is_tls && listener.address.port() == 9443);
/// # Ok::<(), fanwire::ListenerError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// True: TLS, by the certificates of [`crate::Config::tls`].
    pub is_tls: bool,
    /// True: each connection begins with a header of the PROXY protocol, version 2, ahead of TLS, from one of
    /// [`crate::AccessConfig::trusted_proxies`]. Any other is closed without a word.
    pub is_proxied: bool,
}

impl Listener {
    /// Listens for `ws://`.
    pub fn plain(address: impl Into<SocketAddr>) -> Self {
        Self { address: address.into(), is_tls: false, is_proxied: false }
    }

    /// Listens for `wss://`.
    pub fn tls(address: impl Into<SocketAddr>) -> Self {
        Self { is_tls: true, ..Self::plain(address) }
    }

    /// The same behind a proxy that speaks the PROXY protocol.
    pub fn proxied(self) -> Self {
        Self { is_proxied: true, ..self }
    }

    /// What a client connects to.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        format!("{scheme}://{}", self.address)
    }
}

impl<A: Into<SocketAddr>> From<A> for Listener {
    fn from(address: A) -> Self {
        Self::plain(address)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_tls { f.write_str(&self.url()) } else { self.address.fmt(f) }?;
        if self.is_proxied { f.write_str(PROXIED) } else { Ok(()) }
    }
}

/// The end of a listener behind a proxy.
const PROXIED: &str = "?proxy";

/// A text that is no [`Listener`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address: an IP address and a port are needed, like 127.0.0.1:9001 or [::1]:9001 (port 0: a free one), \
     for TLS like wss://127.0.0.1:9443; with ?proxy at its end for the PROXY protocol"
)]
pub struct ListenerError(String);

impl FromStr for Listener {
    type Err = ListenerError;

    fn from_str(text: &str) -> Result<Self, ListenerError> {
        let (place, is_proxied) = match text.strip_suffix(PROXIED) {
            Some(place) => (place, true),
            None => (text, false),
        };
        let (is_tls, address) = match place.split_once("://") {
            Some(("ws", address)) => (false, address),
            Some(("wss", address)) => (true, address),
            _ => (false, place),
        };
        // A URL may end with its path, which is the same for every listener.
        let address = if address.len() < place.len() { address.strip_suffix('/').unwrap_or(address) } else { address };
        let address = address.parse().map_err(|_| ListenerError(text.to_owned()))?;
        Ok(Self { address, is_tls, is_proxied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_an_address_or_a_url() {
        for (text, is_tls, shown) in [
            ("127.0.0.1:9001", false, "127.0.0.1:9001"),
            ("ws://127.0.0.1:9001", false, "127.0.0.1:9001"),
            ("[::1]:0", false, "[::1]:0"),
            ("wss://[::]:9443", true, "wss://[::]:9443"),
            ("wss://[::]:9443/", true, "wss://[::]:9443"),
        ] {
            let listener: Listener = text.parse().unwrap();
            assert_eq!((listener.is_tls, listener.to_string()), (is_tls, shown.to_owned()), "{text}");
            assert_eq!(listener.to_string().parse(), Ok(listener));
        }
        for (text, shown) in [
            ("127.0.0.1:9001?proxy", "127.0.0.1:9001?proxy"),
            ("ws://[::1]:0/?proxy", "[::1]:0?proxy"),
            ("wss://[::]:9443?proxy", "wss://[::]:9443?proxy"),
        ] {
            let listener: Listener = text.parse().unwrap();
            assert_eq!((listener.is_proxied, listener.to_string()), (true, shown.to_owned()), "{text}");
            assert_eq!(listener.to_string().parse(), Ok(listener));
            assert!(!listener.url().contains('?'), "what a client connects to");
        }
        for text in [
            "",
            "?proxy",
            "127.0.0.1:1?proxy?proxy",
            "127.0.0.1:1?",
            "127.0.0.1:1?proxy=1",
            "127.0.0.1:1?Proxy",
            "9001",
            "localhost:1",
            "http://127.0.0.1:1",
            "WSS://127.0.0.1:1",
            "127.0.0.1:1/",
            "wss://",
            "wss://1:1//",
        ] {
            assert_eq!(text.parse::<Listener>(), Err(ListenerError(text.to_owned())), "{text}");
        }
    }
}
