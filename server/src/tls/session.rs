//! Job: one TLS connection's records, over a socket that does not block: the handshake, then plaintext both ways.
//! Knows: rustls's buffers. Must never know: what the plaintext means, whom to trust.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::PollFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Error};

use super::Trust;
use super::fault::{NoTls, is_record};
use crate::dial::{DialError, Interrupts};
use crate::wire::Wire;

/// Bytes of records read at once.
const READ_BYTES: usize = 64 << 10;

/// The connection. rustls bounds what it holds: 64 KiB of plaintext to be sealed, and one record of 16 KiB on its way in.
pub struct Session {
    tls: ClientConnection,
    /// `records[start..end]` has arrived and is not opened yet.
    records: Box<[u8]>,
    start: usize,
    end: usize,
    /// `sealed[sent..]` has still to be sent.
    sealed: Vec<u8>,
    sent: usize,
    /// What the other side sent cannot be read on from here.
    fault: Option<Error>,
    /// TCP has ended.
    is_ended: bool,
    /// The last read did not take everything.
    has_input: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("fault", &self.fault).field("is_ended", &self.is_ended).finish_non_exhaustive()
    }
}

impl Session {
    /// A connection to a server of this name, which it will have to prove.
    ///
    /// # Errors
    /// Where that cannot be a host's name.
    pub fn new(trust: &Trust, host: &str) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| io::Error::other(format!("`{host}` cannot be the name in a certificate")))?;
        let tls = ClientConnection::new(trust.0.clone(), name).map_err(io::Error::other)?;
        Ok(Session {
            tls,
            records: vec![0; READ_BYTES].into(),
            start: 0,
            end: 0,
            sealed: Vec::new(),
            sent: 0,
            fault: None,
            is_ended: false,
            has_input: false,
        })
    }

    /// The handshake.
    ///
    /// # Errors
    /// Interrupted, out of time, or what went wrong: an [`Error`] or a [`NoTls`].
    pub fn shake_hands(
        &mut self,
        wire: &mut Wire,
        deadline: Instant,
        interrupts: &Interrupts<'_>,
    ) -> Result<(), DialError> {
        loop {
            match self.flush(wire) {
                Ok(()) if !self.tls.is_handshaking() => {
                    // The server may have said something behind its last record of the handshake.
                    self.has_input = true;
                    return Ok(());
                }
                Ok(()) => interrupts.wait_for(wire.as_fd(), PollFlags::IN, deadline)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    interrupts.wait_for(wire.as_fd(), PollFlags::OUT, deadline)?;
                    continue;
                }
                Err(error) => return Err(ended(error).into()),
            }
            let is_first = wire.moved().received == 0;
            match self.receive(wire) {
                Ok(()) if self.is_ended => return Err(io::Error::other(NoTls::Ended).into()),
                Ok(()) if is_first && !is_record(&self.records[self.start..self.end]) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, NoTls::Other).into());
                }
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(ended(error).into()),
            }
            while self.start < self.end && self.tls.is_handshaking() {
                self.open_record(wire)?;
            }
        }
    }

    /// Plaintext that has arrived; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has; whatever else ends the connection.
    pub fn read(&mut self, wire: &mut Wire, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let end = loop {
            if filled == room.len() {
                break Ok(());
            }
            match self.tls.reader().read(&mut room[filled..]) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    filled += n;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It ended without the notice that RFC 8446 section 6.1 wants: a WebSocket has its own, and tells by that.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Ok(()),
                Err(error) => break Err(error),
            }
            if self.is_ended {
                break Ok(());
            }
            if let Some(fault) = &self.fault {
                break Err(io::Error::new(io::ErrorKind::InvalidData, fault.clone()));
            }
            let more = match self.start < self.end {
                true => self.open_record(wire),
                false => self.receive(wire),
            };
            match more {
                // What was opened before it is still to be read.
                Err(_) if self.fault.is_some() => {}
                Err(error) => break Err(error),
                Ok(()) => {}
            }
        };
        // Whatever else ended this read is for the next one to see.
        self.has_input = filled > 0 && !matches!(&end, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        match end {
            Err(error) if filled == 0 => Err(error),
            _ => Ok(filled),
        }
    }

    /// True where the next read finds something, or the end, whatever poll says of the descriptor.
    pub fn has_input(&self) -> bool {
        self.has_input
    }

    /// Seals some of `bytes`, and sends what the kernel has room for.
    ///
    /// # Errors
    /// `WouldBlock` while records from before have to be sent; after any other error none are held back.
    pub fn write(&mut self, wire: &mut Wire, bytes: &[u8]) -> io::Result<usize> {
        self.flush(wire)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let taken = self.tls.writer().write(bytes)?;
        match self.flush(wire) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Bytes of records that are not with the kernel yet.
    pub fn held_back(&self) -> usize {
        self.sealed.len() - self.sent
    }

    /// Says that nothing more comes, as far as that can be said without waiting.
    pub fn say_goodbye(&mut self, wire: &mut Wire) {
        if self.fault.is_none() && !self.is_ended {
            self.tls.send_close_notify();
            let _ = self.flush(wire);
        }
    }

    /// Sends what there is.
    fn flush(&mut self, wire: &mut Wire) -> io::Result<()> {
        loop {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.sealed)?;
            }
            if self.held_back() == 0 {
                self.sealed.clear();
                self.sent = 0;
                return Ok(());
            }
            match wire.write(&self.sealed[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.sealed.clear();
                        self.sent = 0;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Reads records, to be opened.
    fn receive(&mut self, wire: &mut Wire) -> io::Result<()> {
        let n = wire.read(&mut self.records)?;
        (self.start, self.end) = (0, n);
        if n == 0 {
            self.is_ended = true;
            // So that rustls can tell an end that was announced from another one.
            self.tls.read_tls(&mut io::empty())?;
            let _ = self.tls.process_new_packets();
        }
        Ok(())
    }

    /// Opens some of the records that have arrived, and answers what has to be answered.
    fn open_record(&mut self, wire: &mut Wire) -> io::Result<()> {
        let mut rest = &self.records[self.start..self.end];
        self.tls.read_tls(&mut rest)?;
        self.start = self.end - rest.len();
        let opened = self.tls.process_new_packets();
        // Also the alert that says why this side ends it. Who cannot be sent to any more may have said something before.
        let _ = self.flush(wire);
        opened.map(|_| ()).map_err(|fault| {
            self.fault = Some(fault.clone());
            io::Error::new(io::ErrorKind::InvalidData, fault)
        })
    }
}

/// A port without TLS may well do this when it is spoken to in TLS.
fn ended(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => io::Error::other(NoTls::Ended),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
