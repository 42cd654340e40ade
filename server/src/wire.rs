//! Job: a TCP connection that does not block, and how many bytes have gone each way.
//! Knows: one socket. Must never know: what the bytes mean.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// The connection. Calls are begun anew where a signal interrupted them.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    moved: Moved,
}

/// Bytes that the kernel gave and took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// From the other side.
    pub received: u64,
    /// To the other side.
    pub sent: u64,
}

impl Wire {
    /// A connection on which nothing has been sent.
    pub fn new(stream: TcpStream) -> Self {
        Wire { stream, moved: Moved::default() }
    }

    /// Bytes so far.
    pub fn moved(&self) -> Moved {
        self.moved
    }

    /// What has arrived; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let n = again(|| (&self.stream).read(room))?;
        self.moved.received += n as u64;
        Ok(n)
    }

    /// What the kernel takes of it now.
    ///
    /// # Errors
    /// `WouldBlock` where it has no room.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = again(|| (&self.stream).write(bytes))?;
        self.moved.sent += n as u64;
        Ok(n)
    }
}

fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
