//! What the kernel says of one TCP connection.
//!
//! Safety: each call is given memory of its own, with its exact length, for the time of the call.
#![allow(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

/// `struct tcp_info` (linux/tcp.h) begins with these; later kernels add more at the end. Places of what is read of it, in bytes.
const MSS_AT: usize = 16;
const UNACKED_AT: usize = 24;
const WINDOW_AT: usize = 228;
const INFO_BYTES: usize = WINDOW_AT + 4;

/// The peer's address; `None` on Unix sockets, and where the connection is gone.
pub fn peer(fd: impl AsFd) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getpeername(fd).ok()??).ok()
}

/// Whether the peer's receive window has no room for another segment beyond what is on its way: it does not read, or too slowly.
/// `None` where the kernel does not say (below 5.4, and for what is not TCP).
pub fn is_window_shut(fd: impl AsFd) -> Option<bool> {
    let mut info = [0u8; INFO_BYTES];
    let mut len = INFO_BYTES as libc::socklen_t;
    // SAFETY: `info` has `len` bytes, and both live to the end of the call.
    let done = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done != 0 || (len as usize) < INFO_BYTES {
        return None;
    }
    let word = |at: usize| u64::from(u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]));
    let (segment, unacked, window) = (word(MSS_AT).max(1), word(UNACKED_AT), word(WINDOW_AT));
    Some(unacked * segment + segment > window)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_window_of_who_does_not_read_is_shut_and_opens_when_it_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut writer, _) = listener.accept().unwrap();
        assert_eq!(peer(&writer), Some(reader.local_addr().unwrap()));
        assert_eq!(is_window_shut(&writer), Some(false));
        writer.set_nonblocking(true).unwrap();
        let block = [7; 64 << 10];
        let mut written = 0;
        // Full is full when some time has not made room.
        let mut refused = 0;
        while refused < 1_000 {
            match writer.write(&block) {
                Ok(n) => (written, refused) = (written + n, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refused += 1;
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(is_window_shut(&writer), Some(true));
        let mut all = vec![0; written];
        reader.read_exact(&mut all).unwrap();
        let mut looks = 0;
        while is_window_shut(&writer) == Some(true) {
            looks += 1;
            assert!(looks < 10_000_000, "the window stays shut");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_not_tcp_has_neither() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!((peer(&one), is_window_shut(&one)), (None, None));
    }
}
