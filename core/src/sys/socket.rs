//! Listening sockets with the options that every accepted connection inherits.
//!
//! Linux copies these options from the listener to what it accepts, so that a connection costs no `setsockopt`.
//!
//! Safety: each call is given initialised memory of its own, with its exact length, for the time of the call.
//!
//! Safety: one `setsockopt` with a live local int, and a descriptor that is new.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt};

/// What a listener, and all that it accepts, is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections the kernel keeps until they are accepted (capped by `net.core.somaxconn`).
    pub backlog: i32,
    /// Let several sockets listen on one address: one a shard, the kernel spreads connections over them.
    pub reuse_port: bool,
    /// An IPv6 address takes IPv6 clients alone, so that `[::]` and `0.0.0.0` can stand side by side (`IPV6_V6ONLY`). Else
    /// `[::]` takes IPv4 clients too, whose addresses come as `::ffff:1.2.3.4`.
    pub v6only: bool,
    /// Send small frames at once (`TCP_NODELAY`).
    pub nodelay: bool,
    /// Most unsent bytes the kernel takes before a send says `EAGAIN` (`TCP_NOTSENT_LOWAT`): what a laggard has not got stays
    /// in the shared log instead of in 4 MiB of the kernel's memory. 16 to 64 KiB.
    pub notsent_lowat: Option<u32>,
    /// Milliseconds that sent data may stay unacknowledged before the kernel drops the connection
    /// (`TCP_USER_TIMEOUT`).
    pub user_timeout_ms: Option<u32>,
    /// Fixed send buffer in bytes (`SO_SNDBUF`; the kernel doubles it). `None` lets the kernel size it.
    pub send_buffer: Option<u32>,
    /// Fixed receive buffer in bytes (`SO_RCVBUF`; the kernel doubles it). `None` lets the kernel size it.
    pub recv_buffer: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: 4096,
            reuse_port: true,
            v6only: true,
            nodelay: true,
            notsent_lowat: Some(32 << 10),
            user_timeout_ms: None,
            send_buffer: None,
            recv_buffer: None,
        }
    }
}

/// A non-blocking, close-on-exec TCP socket that listens on `addr` (port 0: the kernel chooses, see [`local_addr`]).
///
/// # Errors
/// What the kernel answers: `EADDRINUSE`, `EACCES` (port below 1024), `EADDRNOTAVAIL`, `EMFILE` …
pub fn listen(addr: SocketAddr, options: &ListenOptions) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A restart must not wait for the old process's connections in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if options.reuse_port {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, options.v6only)?;
    }
    inherit(&fd, options)?;
    // Before listen: the window scale of a connection is fixed by the listener's receive buffer.
    if let Some(bytes) = options.recv_buffer {
        sockopt::set_socket_recv_buffer_size(&fd, bytes as usize)?;
    }
    rustix::net::bind(&fd, &addr)?;
    rustix::net::listen(&fd, options.backlog)?;
    Ok(fd)
}

/// Sets what a connection inherits from its listener, and what can be set of it when that listens already.
///
/// # Errors
/// What the kernel answers.
pub fn inherit(fd: &OwnedFd, options: &ListenOptions) -> io::Result<()> {
    if options.nodelay {
        sockopt::set_tcp_nodelay(fd, true)?;
    }
    if let Some(bytes) = options.notsent_lowat {
        set_notsent_lowat(fd.as_fd(), bytes)?;
    }
    if let Some(ms) = options.user_timeout_ms {
        sockopt::set_tcp_user_timeout(fd, ms)?;
    }
    if let Some(bytes) = options.send_buffer {
        sockopt::set_socket_send_buffer_size(fd, bytes as usize)?;
    }
    Ok(())
}

/// A non-blocking, close-on-exec Unix stream socket.
///
/// # Errors
/// What the kernel answers.
pub fn unix() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Binds a Unix socket to a path, which must not be there yet.
///
/// # Errors
/// What the kernel answers: `EADDRINUSE`, `EACCES`, `ENOENT` …
pub fn bind_unix(fd: &OwnedFd, path: &Path) -> io::Result<()> {
    Ok(rustix::net::bind(fd, &SocketAddrUnix::new(path)?)?)
}

/// Whether a socket at an IPv6 address takes IPv6 clients alone.
///
/// # Errors
/// What the kernel answers.
pub fn is_v6only(fd: impl AsFd) -> io::Result<bool> {
    Ok(sockopt::ipv6_v6only(fd)?)
}

/// Whether it is a stream socket that listens.
///
/// # Errors
/// It is no socket at all.
pub fn is_listening(fd: impl AsFd) -> io::Result<bool> {
    Ok(sockopt::socket_type(&fd)? == SocketType::STREAM && sockopt::socket_acceptconn(&fd)?)
}

/// Another, close-on-exec descriptor of what a host's number stands for.
///
/// # Errors
/// `EBADF` where that is nothing, `EMFILE`.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: any number may be asked about; no memory is named.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The path a Unix socket is bound to.
///
/// # Errors
/// What `getsockname` answers, or `EAFNOSUPPORT` for what has no path.
pub fn local_path(fd: impl AsFd) -> io::Result<PathBuf> {
    let unsupported = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
    let address = SocketAddrUnix::try_from(rustix::net::getsockname(fd)?).map_err(|_| unsupported())?;
    let path = address.path_bytes().ok_or_else(unsupported)?;
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// The address a socket is bound to.
///
/// # Errors
/// What `getsockname` answers, or `EAFNOSUPPORT` for what is neither IPv4 nor IPv6.
pub fn local_addr(fd: impl AsFd) -> io::Result<SocketAddr> {
    let addr = rustix::net::getsockname(fd)?;
    SocketAddr::try_from(addr).map_err(|_| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

fn set_notsent_lowat(fd: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, hence open; the option is an int, and pointer and length are those of a live
    // local int.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, (&raw const value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for any IPv4 or IPv6 address as the kernel writes it: a `sockaddr_in` or `sockaddr_in6` in bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct RawAddr {
    /// The kernel's bytes.
    pub bytes: [u8; 32],
    /// In: the room; out: what was written.
    pub len: libc::socklen_t,
}

impl RawAddr {
    /// Empty, with all its room.
    pub const EMPTY: RawAddr = RawAddr { bytes: [0; 32], len: 32 };

    /// The address, if it is one of the two families.
    pub fn to_socket_addr(self) -> Option<SocketAddr> {
        let bytes = self.bytes;
        let family = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        if family == libc::AF_INET as u16 && self.len >= 16 {
            let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        } else if family == libc::AF_INET6 as u16 && self.len >= 28 {
            let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            let ip: [u8; 16] = bytes[8..24].try_into().ok()?;
            let flow = u32::from_be_bytes(word(4));
            let scope = u32::from_ne_bytes(word(24));
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
        } else {
            None
        }
    }
}

impl From<SocketAddr> for RawAddr {
    fn from(addr: SocketAddr) -> Self {
        let mut raw = RawAddr::EMPTY;
        let family = match addr {
            SocketAddr::V4(v4) => {
                raw.bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.len = 16;
                libc::AF_INET
            }
            SocketAddr::V6(v6) => {
                raw.bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.len = 28;
                libc::AF_INET6
            }
        };
        raw.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        raw.bytes[2..4].copy_from_slice(&addr.port().to_be_bytes());
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn accepted_sockets_inherit_the_listeners_options() {
        let options = ListenOptions { user_timeout_ms: Some(7000), ..Default::default() };
        let fd = listen(loopback(), &options).unwrap();
        let addr = local_addr(&fd).unwrap();
        assert_ne!(addr.port(), 0);
        let _client = TcpStream::connect(addr).unwrap();
        let accepted = rustix::net::accept(&fd).unwrap();
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), 7000);
    }

    #[test]
    fn two_listeners_share_a_port_with_reuse_port_and_not_without() {
        let first = listen(loopback(), &ListenOptions::default()).unwrap();
        let addr = local_addr(&first).unwrap();
        listen(addr, &ListenOptions::default()).unwrap();
        let alone = ListenOptions { reuse_port: false, ..Default::default() };
        assert_eq!(listen(addr, &alone).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    }

    #[test]
    fn both_families_listen_on_one_port() {
        let Ok(six) = listen("[::]:0".parse().unwrap(), &ListenOptions::default()) else {
            eprintln!("skipped: no IPv6 here");
            return;
        };
        let port = local_addr(&six).unwrap().port();
        let four = listen(SocketAddr::from(([0, 0, 0, 0], port)), &ListenOptions::default()).unwrap();
        assert_eq!(local_addr(&four).unwrap().port(), port);
    }

    #[test]
    fn raw_addresses_round_trip() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%3]:8"] {
            let addr: SocketAddr = text.parse().unwrap();
            let raw = RawAddr::from(addr);
            assert_eq!(raw.bytes[2..4], addr.port().to_be_bytes());
            assert_eq!(raw.to_socket_addr(), Some(addr));
        }
        assert_eq!(RawAddr::EMPTY.to_socket_addr(), None);
    }

    #[test]
    fn a_taken_address_without_reuse_is_an_error() {
        let std = TcpListener::bind(loopback()).unwrap();
        let error = listen(std.local_addr().unwrap(), &ListenOptions::default()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    }
}
