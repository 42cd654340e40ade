//! The sockets that an engine listens on: one for each address and shard; of Unix sockets, and of those that the process was
//! started with, one that all shards share.
//!
//! Knows addresses and how long to be patient with one that is taken. Must never know what comes in.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

pub use self::held::{Held, HeldSocket};
use self::inherited::{BY_NAME, Resolved, Source};
pub use self::unix::SocketFile;
use crate::sys::clock;
use crate::sys::socket::{self, ListenOptions};

mod held;
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
/// Why a socket at an IPv6 address cannot be taken over as it is.
const OTHER_KIND: &str = "the socket that was handed over takes IPv4 clients, too, or takes none, and this configuration wants it \
                          the other way: end the other process first";

/// The sockets of a whole engine.
#[derive(Default)]
pub struct Listeners {
    /// What is listened on, in the order of the configuration, ports filled in.
    pub all: Vec<Listener>,
    /// The same by the numbers that drivers know: once for each socket that a shard has of it.
    pub by_number: Vec<Listener>,
    /// Each shard's sockets, by those numbers.
    pub by_shard: Vec<Vec<OwnedFd>>,
    /// Files that are removed when nobody listens any more.
    pub files: Vec<SocketFile>,
    /// Every socket once, to be handed over: with its name, and that number.
    pub held: Vec<HeldSocket>,
    /// What was handed over and is listened on: its names there.
    pub taken: Vec<String>,
    /// What of that is still to be set as [`Inherited`] has it, once nothing can go wrong any more.
    unset: Vec<(OwnedFd, ListenOptions)>,
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
    let mut listeners = Listeners { by_shard, ..Listeners::default() };
    let addresses: Vec<_> = wanted.iter().filter_map(|resolved| resolved.listener.address()).collect();
    for Resolved { listener, name, source } in wanted {
        let options = ListenOptions {
            v6only: listener.address().is_none_or(|address| !is_dual_stack(address, &addresses)),
            notsent_lowat: u32::try_from(inherited.unsent_bytes_max).ok(),
            user_timeout_ms: Some(USER_TIMEOUT_MS),
            send_buffer: inherited.send_buffer,
            ..ListenOptions::default()
        };
        listeners.add(&listener, name, source, options).map_err(|error| (listener, error))?;
    }
    Ok(listeners)
}

impl Listeners {
    fn add(&mut self, listener: &Listener, name: String, source: Source, options: ListenOptions) -> io::Result<()> {
        let sockets = match source {
            Source::New => self.listen(listener, &options)?,
            Source::Inherited(socket) => {
                if listener.address().is_some() {
                    socket::inherit(&socket, &options)?;
                }
                vec![socket]
            }
            Source::HandedOver { sockets, name } => {
                self.take_over(listener, &name, &sockets, options)?;
                self.taken.push(name);
                sockets
            }
        };
        let actual = match (&listener.place, sockets.first()) {
            (Place::Address(_), Some(socket)) => Place::Address(socket::local_addr(socket)?),
            (place, _) => place.clone(),
        };
        let listener = Listener { place: actual, ..listener.clone() };
        let first = self.by_number.len() as u16;
        let each = self.deal(&sockets)?;
        self.by_number.extend(std::iter::repeat_n(listener.clone(), each));
        if listener.place == Place::Observers {
            // They are not shown, and come to no successor.
            return Ok(());
        }
        self.all.push(listener);
        let numbers = first..first + each as u16;
        self.held.extend(sockets.into_iter().map(|socket| HeldSocket {
            name: name.clone(),
            numbers: numbers.clone(),
            socket,
        }));
        Ok(())
    }

    /// New sockets: of an address one for each shard, for the kernel spreads connections evenly over them; of a path one for all.
    fn listen(&mut self, listener: &Listener, options: &ListenOptions) -> io::Result<Vec<OwnedFd>> {
        let address = match &listener.place {
            Place::Address(address) => *address,
            Place::Path(path) => {
                let (socket, file) = patiently(|| unix::listen(path, options.backlog))?;
                self.files.push(file);
                return Ok(vec![socket]);
            }
            Place::Inherited(_) | Place::Observers => return Err(io::ErrorKind::NotFound.into()),
        };
        // Without SO_REUSEPORT first: with it, a second engine on the same port would quietly take half of the connections.
        let alone = ListenOptions { reuse_port: false, ..options.clone() };
        let first = patiently(|| socket::listen(address, &alone))?;
        if self.by_shard.len() == 1 {
            return Ok(vec![first]);
        }
        let actual = socket::local_addr(&first)?;
        drop(first);
        let shared = ListenOptions { reuse_port: true, ..options.clone() };
        self.by_shard.iter().map(|_| socket::listen(actual, &shared)).collect()
    }

    /// Sockets of a predecessor, as they are: what it would notice comes in [`Listeners::settle`].
    fn take_over(
        &mut self,
        listener: &Listener,
        name: &str,
        sockets: &[OwnedFd],
        options: ListenOptions,
    ) -> io::Result<()> {
        match &listener.place {
            // The file of one that systemd has made is not ours to remove.
            Place::Path(path) if !name.starts_with(BY_NAME) => {
                let file = SocketFile::of(path)?;
                file.leave();
                self.files.push(file);
            }
            Place::Address(address) => {
                for socket in sockets {
                    if address.is_ipv6() && socket::is_v6only(socket)? != options.v6only {
                        return Err(io::Error::other(OTHER_KIND));
                    }
                    self.unset.push((socket.try_clone()?, options.clone()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives the shards a listener's sockets; how many each gets. One to each or a few to each where that comes out even, else all
    /// of them to all: whoever is awake takes the connection. No socket is left over, for what waits in it would be lost.
    fn deal(&mut self, sockets: &[OwnedFd]) -> io::Result<usize> {
        let (have, shards) = (sockets.len(), self.by_shard.len());
        for (shard, list) in self.by_shard.iter_mut().enumerate() {
            let is_its = |at: &usize| match (have.is_multiple_of(shards), shards.is_multiple_of(have)) {
                (true, _) => at % shards == shard,
                (false, true) => *at == shard % have,
                (false, false) => true,
            };
            for at in (0..have).filter(is_its) {
                list.push(sockets[at].try_clone()?);
            }
        }
        Ok(if have.is_multiple_of(shards) {
            have / shards
        } else if shards.is_multiple_of(have) {
            1
        } else {
            have
        })
    }

    /// Sets what was handed over as the configuration has it. Until then its predecessor has noticed nothing.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn settle(&mut self) -> io::Result<()> {
        self.unset.drain(..).try_for_each(|(socket, options)| socket::inherit(&socket, &options))
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
    fn sockets_are_dealt_out_so_that_none_is_left_over() {
        let options = || ListenOptions::default();
        for (have, shards, each) in
            [(1, 1, 1), (4, 4, 1), (4, 2, 2), (2, 4, 1), (1, 3, 1), (3, 1, 3), (2, 3, 2), (3, 2, 3)]
        {
            let first = socket::listen("127.0.0.1:0".parse().unwrap(), &options()).unwrap();
            let at = socket::local_addr(&first).unwrap();
            let rest = (1..have).map(|_| socket::listen(at, &options()).unwrap());
            let sockets: Vec<_> = std::iter::once(first).chain(rest).collect();
            let mut listeners =
                Listeners { by_shard: (0..shards).map(|_| Vec::new()).collect(), ..Listeners::default() };
            listeners.add(&Listener::plain(at), "a".into(), handed(sockets), options()).unwrap();
            assert!(listeners.by_shard.iter().all(|list| list.len() == each), "{have} to {shards}");
            assert_eq!((listeners.all.len(), listeners.by_number.len()), (1, each));
            assert!(listeners.held.iter().all(|held| held.numbers == (0..each as u16)));
            let dealt: std::collections::BTreeSet<_> = listeners
                .by_shard
                .iter()
                .flatten()
                .map(|fd| rustix::net::sockopt::socket_cookie(fd).unwrap())
                .collect();
            assert_eq!(dealt.len(), have, "{have} to {shards}");
            listeners.settle().unwrap();
        }
    }

    fn handed(sockets: Vec<OwnedFd>) -> Source {
        Source::HandedOver { sockets, name: "a".into() }
    }

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
