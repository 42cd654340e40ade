//! The sockets that an engine listens on: one for each address and shard; of Unix sockets, and of those that the process was
//! started with, one that all shards share.
//!
//! Knows addresses and how long to be patient with one that is taken. Must never know what comes in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use self::inherited::Resolved;
pub use self::unix::SocketFile;
use crate::sys::clock;
use crate::sys::socket::{self, ListenOptions};

mod inherited;
mod listener;
mod proxies;
mod unix;

pub use inherited::{InheritedSocket, resolve};
pub use listener::{Listener, ListenerError, Place};
pub use proxies::{TRUSTED_PROXIES_MAX, TrustedProxy, TrustedProxyError};

/// How long an address may still be held by a process that was killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Data that is not acknowledged, or finds no room, is given up after so long: a peer that is gone without a word, or reads no more.
const USER_TIMEOUT_MS: u32 = 120_000;

/// The sockets of a whole engine.
pub struct Listeners {
    /// What is listened on, in the order of the configuration, ports filled in.
    pub all: Vec<Listener>,
    /// Each shard's sockets.
    pub by_shard: Vec<Vec<OwnedFd>>,
    /// Files that are removed when nobody listens any more.
    pub files: Vec<SocketFile>,
}

/// What every accepted connection inherits.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// `TCP_NOTSENT_LOWAT`.
    pub unsent_bytes_max: usize,
    /// `SO_SNDBUF`, where a test asks for it.
    pub send_buffer: Option<u32>,
}

/// True if IPv4 clients come in at the IPv6 address `address` too: `[::]` stands for every address of both kinds, unless an IPv4
/// address with the same port is listened on besides.
pub fn is_dual_stack(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port() && other.port() != 0;
    address.is_ipv6() && address.ip().is_unspecified() && !all.iter().any(beside)
}

/// Listens on every address, once for each shard.
///
/// # Errors
/// The place that cannot be had, and what the kernel said.
pub fn listen_all(
    wanted: Vec<Resolved>,
    shards: usize,
    inherited: Inherited,
) -> Result<Listeners, (Listener, io::Error)> {
    let by_shard = (0..shards).map(|_| Vec::new()).collect();
    let mut listeners = Listeners { all: Vec::new(), by_shard, files: Vec::new() };
    let addresses: Vec<_> = wanted.iter().filter_map(|(listener, _)| listener.address()).collect();
    for (listener, socket) in wanted {
        let options = |reuse_port| ListenOptions {
            reuse_port,
            v6only: listener.address().is_none_or(|address| !is_dual_stack(address, &addresses)),
            notsent_lowat: u32::try_from(inherited.unsent_bytes_max).ok(),
            user_timeout_ms: Some(USER_TIMEOUT_MS),
            send_buffer: inherited.send_buffer,
            ..ListenOptions::default()
        };
        listeners.add(listener.clone(), socket, options).map_err(|error| (listener, error))?;
    }
    Ok(listeners)
}

impl Listeners {
    fn add(
        &mut self,
        listener: Listener,
        socket: Option<OwnedFd>,
        options: impl Fn(bool) -> ListenOptions,
    ) -> io::Result<()> {
        match (&listener.place, socket) {
            (Place::Address(address), None) => return self.add_address(&listener, *address, options),
            (Place::Address(_), Some(socket)) => {
                socket::inherit(&socket, &options(false))?;
                self.share(socket)?;
            }
            (_, Some(socket)) => self.share(socket)?,
            (Place::Path(path), None) => {
                let (socket, file) = patiently(|| unix::listen(path, options(false).backlog))?;
                self.files.push(file);
                self.share(socket)?;
            }
            (Place::Inherited(_) | Place::Observers, None) => return Err(io::ErrorKind::NotFound.into()),
        }
        self.all.push(listener);
        Ok(())
    }

    /// One socket an address and shard: the kernel spreads connections evenly.
    fn add_address(
        &mut self,
        listener: &Listener,
        address: SocketAddr,
        options: impl Fn(bool) -> ListenOptions,
    ) -> io::Result<()> {
        // Without SO_REUSEPORT first: with it, a second engine on the same port would quietly take half of the connections.
        let first = patiently(|| socket::listen(address, &options(false)))?;
        let actual = socket::local_addr(&first)?;
        self.all.push(Listener { place: Place::Address(actual), ..listener.clone() });
        if let [only] = &mut self.by_shard[..] {
            only.push(first);
            return Ok(());
        }
        drop(first);
        for list in &mut self.by_shard {
            list.push(socket::listen(actual, &options(true))?);
        }
        Ok(())
    }

    /// One socket for all shards: whoever is awake takes the connection.
    fn share(&mut self, socket: OwnedFd) -> io::Result<()> {
        for list in &mut self.by_shard {
            list.push(socket.try_clone()?);
        }
        Ok(())
    }
}

/// Listens, trying for a while where the address is taken: the kernel gives up the rings of a process that was killed, and with
/// them its listeners, a little after the process itself is gone.
fn patiently<S>(listen: impl Fn() -> io::Result<S>) -> io::Result<S> {
    let until = clock::monotonic_ns() + PATIENCE.as_nanos() as u64;
    loop {
        match listen() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && clock::monotonic_ns() < until => {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_of_all_takes_both_kinds_and_only_where_it_is_alone() {
        for (address, all, expected) in [
            ("[::]:9001", &["[::]:9001"][..], true),
            ("[::]:9001", &["[::]:9001", "0.0.0.0:9001"], false),
            ("[::]:9001", &["127.0.0.1:9001", "[::]:9001"], false),
            ("[::]:9001", &["[::]:9001", "0.0.0.0:9002"], true),
            ("[::]:9001", &["[::]:9001", "[::1]:9001"], true),
            ("[::]:0", &["[::]:0", "0.0.0.0:0"], true),
            ("[::1]:9001", &["[::1]:9001"], false),
            ("0.0.0.0:9001", &["0.0.0.0:9001"], false),
        ] {
            let all: Vec<SocketAddr> = all.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(is_dual_stack(address.parse().unwrap(), &all), expected, "{address} of {all:?}");
        }
    }
}
