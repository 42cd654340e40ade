//! Job: the bytes of a WebSocket, over TCP or over TLS over TCP, without blocking.
//! Knows: that TLS holds bytes back in both directions. Must never know: what the bytes mean.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::dial::{DialError, Interrupts};
use crate::tls::Trust;
use crate::tls::session::Session;
use crate::url::Url;
use crate::wire::{Moved, Wire};

/// The connection.
#[derive(Debug)]
pub struct Socket {
    wire: Wire,
    tls: Option<Box<Session>>,
}

impl Socket {
    /// What `url` says about a connection that there is: as it is, or with TLS, whose handshake is over when this returns.
    ///
    /// # Errors
    /// Interrupted, or what went wrong in the handshake: see [`crate::tls::fault::failure`].
    pub fn open(
        stream: TcpStream,
        url: &Url,
        trust: Option<&Trust>,
        deadline: Instant,
        interrupts: &Interrupts<'_>,
    ) -> Result<Self, DialError> {
        let mut wire = Wire::new(stream);
        let tls = match (url.is_tls, trust) {
            (false, _) => None,
            (true, Some(trust)) => {
                let mut session = Session::new(trust, &url.host)?;
                session.shake_hands(&mut wire, deadline, interrupts)?;
                Some(Box::new(session))
            }
            // Never without TLS where it was asked for.
            (true, None) => return Err(io::Error::other("nobody is trusted").into()),
        };
        Ok(Socket { wire, tls })
    }

    /// Bytes that the kernel gave and took, as they are on the wire.
    pub fn moved(&self) -> Moved {
        self.wire.moved()
    }

    /// What has arrived; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has; whatever else ends the connection.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.wire.read(room),
            Some(session) => session.read(&mut self.wire, room),
        }
    }

    /// True where the next read finds something, or the end, whatever poll says of the descriptor.
    pub fn has_input(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| session.has_input())
    }

    /// Takes some of `bytes`, and gives the kernel what it has room for: of those, and of what was held back.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing; after any other error nothing is held back any more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.wire.write(bytes),
            Some(session) => session.write(&mut self.wire, bytes),
        }
    }

    /// Bytes that were taken and are not with the kernel yet.
    pub fn held_back(&self) -> usize {
        self.tls.as_ref().map_or(0, |session| session.held_back())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(session) = &mut self.tls {
            session.say_goodbye(&mut self.wire);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}
