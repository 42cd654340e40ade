//! What a listener is: where it listens, whether it speaks TLS, whether a proxy stands before it.
//!
//! Knows how that is written. Must never know sockets.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a [`Listener`] listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// Address and port; port 0 takes a free one.
    Address(SocketAddr),
    /// A Unix socket of this path, for proxies on this machine: its clients have no address. It is made with mode 0660 and
    /// removed at the end. One that is left over is replaced; one that somebody listens at is not.
    Path(PathBuf),
    /// Sockets that the process was started with: see [`crate::InheritedSocket`]. `None`: all that no other listener names.
    Inherited(Option<String>),
    /// The socket of [`crate::InheritedSocket::for_observers`]. No text stands for it.
    Observers,
}

/// A place to listen at. As a text: `IP:PORT`, or the same as the address that a client connects to, `ws://IP:PORT` or
/// `wss://IP:PORT`; `unix:PATH`; `fd:NAME` or `systemd` for inherited sockets. With `?proxy` at its end connections begin with
/// the PROXY protocol.
///
/// ```
/// let listener: fanwire::Listener = "wss://[::]:9443".parse()?;
/// assert!(listener.is_tls && listener.address().is_some_and(|address| address.port() == 9443));
/// # Ok::<(), fanwire::ListenerError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Listener {
    /// Where.
    pub place: Place,
    /// True: TLS, by the certificates of [`crate::Config::tls`].
    pub is_tls: bool,
    /// True: each connection begins with a header of the PROXY protocol, version 2, ahead of TLS, from one of
    /// [`crate::AccessConfig::trusted_proxies`]. Any other is closed without a word.
    pub is_proxied: bool,
}

impl Listener {
    /// Listens for `ws://`.
    pub fn plain(address: impl Into<SocketAddr>) -> Self {
        Self::at(Place::Address(address.into()))
    }

    /// Listens for `wss://`.
    pub fn tls(address: impl Into<SocketAddr>) -> Self {
        Self { is_tls: true, ..Self::plain(address) }
    }

    /// Listens at a Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Path(path.into()))
    }

    /// Listens at the inherited sockets of this name.
    pub fn inherited(name: impl Into<String>) -> Self {
        Self::at(Place::Inherited(Some(name.into())))
    }

    /// Where observers come in.
    pub(super) fn observers() -> Self {
        Self::at(Place::Observers)
    }

    fn at(place: Place) -> Self {
        Self { place, is_tls: false, is_proxied: false }
    }

    /// The same behind a proxy that speaks the PROXY protocol.
    pub fn proxied(self) -> Self {
        Self { is_proxied: true, ..self }
    }

    /// Its address and port, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        if let Place::Address(address) = self.place { Some(address) } else { None }
    }

    /// The path of its Unix socket, if it is one.
    pub fn path(&self) -> Option<&Path> {
        if let Place::Path(path) = &self.place { Some(path) } else { None }
    }

    /// What a client connects to: a URL, or `unix:PATH`.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        match &self.place {
            Place::Address(address) => format!("{scheme}://{address}"),
            place => place.to_string(),
        }
    }
}

impl<A: Into<SocketAddr>> From<A> for Listener {
    fn from(address: A) -> Self {
        Self::plain(address)
    }
}

/// The end of a listener behind a proxy.
const PROXIED: &str = "?proxy";
const UNIX: &str = "unix:";
const INHERITED: &str = "fd:";
const ALL_INHERITED: &str = "systemd";
/// Longest path of a Unix socket: `sun_path`, and the zero at its end.
const PATH_BYTES_MAX: usize = 107;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => address.fmt(f),
            Place::Path(path) => write!(f, "{UNIX}{}", path.display()),
            Place::Inherited(Some(name)) => write!(f, "{INHERITED}{name}"),
            Place::Inherited(None) => f.write_str(ALL_INHERITED),
            Place::Observers => f.write_str("(observers)"),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "wss://" } else { "" };
        write!(f, "{scheme}{}{}", self.place, if self.is_proxied { PROXIED } else { "" })
    }
}

/// A text that is no [`Listener`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// None of its kinds.
    #[error(
        "`{0}` is no address: an IP address and a port are needed, like 127.0.0.1:9001 or [::1]:9001 (port 0: a free one), \
         for TLS like wss://127.0.0.1:9443; with ?proxy at its end for the PROXY protocol; a Unix socket is written like \
         unix:/run/fanwire/fanwire.sock, one of systemd's like fd:NAME"
    )]
    Address(String),
    /// A path that no Unix socket can have.
    #[error("`{0}`: the path of a Unix socket has 1 to {PATH_BYTES_MAX} bytes")]
    Path(String),
    /// `fd:` without a name, or with a colon in it.
    #[error("`{0}`: the name of an inherited socket has 1 to 255 letters, and no colon")]
    Name(String),
}

impl FromStr for Listener {
    type Err = ListenerError;

    fn from_str(text: &str) -> Result<Self, ListenerError> {
        let (written, is_proxied) = match text.strip_suffix(PROXIED) {
            Some(written) => (written, true),
            None => (text, false),
        };
        let (written, is_tls, is_url) = match written.split_once("://") {
            Some(("ws", place)) => (place, false, true),
            Some(("wss", place)) => (place, true, true),
            _ => (written, false, false),
        };
        // A URL may end with its path, which is the same for every listener.
        let address = if is_url { written.strip_suffix('/').unwrap_or(written) } else { written };
        let place = match (place_without_address(text, written)?, address.parse()) {
            // TLS is spoken to addresses and to inherited sockets.
            (Some(Place::Path(_)), _) if is_url => return Err(ListenerError::Address(text.to_owned())),
            (Some(place), _) => place,
            (None, Ok(address)) => Place::Address(address),
            (None, Err(_)) => return Err(ListenerError::Address(text.to_owned())),
        };
        Ok(Self { place, is_tls, is_proxied })
    }
}

fn place_without_address(text: &str, written: &str) -> Result<Option<Place>, ListenerError> {
    if let Some(path) = written.strip_prefix(UNIX) {
        let is_path = (1..=PATH_BYTES_MAX).contains(&path.len()) && !path.contains('\0');
        return if is_path { Ok(Some(Place::Path(path.into()))) } else { Err(ListenerError::Path(text.to_owned())) };
    }
    if let Some(name) = written.strip_prefix(INHERITED) {
        let is_name = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        let place = Place::Inherited(Some(name.to_owned()));
        return if is_name { Ok(Some(place)) } else { Err(ListenerError::Name(text.to_owned())) };
    }
    Ok((written == ALL_INHERITED).then_some(Place::Inherited(None)))
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
            ("unix:/run/fanwire.sock", false, "unix:/run/fanwire.sock"),
            ("unix:here.sock", false, "unix:here.sock"),
            ("fd:web", false, "fd:web"),
            ("wss://fd:web", true, "wss://fd:web"),
            ("systemd", false, "systemd"),
        ] {
            let listener: Listener = text.parse().unwrap();
            assert_eq!((listener.is_tls, listener.to_string()), (is_tls, shown.to_owned()), "{text}");
            assert_eq!(listener.to_string().parse(), Ok(listener.clone()));
            let proxied = listener.clone().proxied();
            assert_eq!(proxied.to_string(), format!("{shown}?proxy"));
            assert_eq!(proxied.to_string().parse(), Ok(proxied.clone()));
            assert_eq!(proxied.url(), listener.url(), "what a client connects to");
        }
        assert_eq!("ws://[::1]:0/?proxy".parse::<Listener>().unwrap().to_string(), "[::1]:0?proxy");
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
            "wss://unix:/run/a",
            "ws://unix:/run/a",
            "systemd:",
            "Systemd",
            "/run/fanwire.sock",
        ] {
            assert_eq!(text.parse::<Listener>(), Err(ListenerError::Address(text.to_owned())), "{text}");
        }
        let path = |bytes: usize| format!("unix:{}", "a".repeat(bytes));
        assert!(path(107).parse::<Listener>().is_ok() && path(1).parse::<Listener>().is_ok());
        for text in [path(0), path(108), "unix:a\0b".to_owned()] {
            assert_eq!(text.parse::<Listener>(), Err(ListenerError::Path(text.clone())));
        }
        let name = |bytes: usize| format!("fd:{}", "a".repeat(bytes));
        assert!(name(255).parse::<Listener>().is_ok());
        for text in [name(0), name(256), "fd:a:b".to_owned(), "fd:a b".to_owned()] {
            assert_eq!(text.parse::<Listener>(), Err(ListenerError::Name(text.clone())));
        }
    }
}
