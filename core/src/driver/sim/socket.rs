//! The client's end of a simulated connection.

use super::conn::{ClientEnd, ShardEnd};
use super::net::SimNet;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// This many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The server sent FIN after its last byte.
    End,
    /// The connection was reset (or refused).
    Reset,
}

/// One client connection. Reads and writes never wait. Dropped while open, it closes like a process that exits.
pub struct SimSocket {
    net: SimNet,
    index: usize,
}

impl SimSocket {
    pub(super) fn new(net: SimNet, index: usize) -> Self {
        SimSocket { net, index }
    }

    /// Writes what fits: the number of bytes taken, 0 for none now, `None` for a connection that was reset.
    ///
    /// # Panics
    /// After [`SimSocket::shutdown`], [`SimSocket::reset`] or [`SimSocket::close`].
    pub fn write(&self, bytes: &[u8]) -> Option<usize> {
        self.net.state_mut().client_write(self.index, bytes)
    }

    /// Appends at most `max` received bytes to `into`.
    pub fn read(&self, max: usize, into: &mut Vec<u8>) -> Read {
        let mut net = self.net.state_mut();
        let n = net.client_read(self.index, max, into);
        let conn = &net.conns[self.index];
        match conn.server {
            _ if n > 0 => Read::Bytes(n),
            _ if !conn.outbound.is_empty() => Read::Nothing,
            _ if conn.client_reset => Read::Reset,
            ShardEnd::Finished(_) | ShardEnd::Closed => Read::End,
            _ => Read::Nothing,
        }
    }

    /// Bytes that wait to be read.
    pub fn readable(&self) -> usize {
        self.net.state().conns[self.index].outbound.len()
    }

    /// Its number in the network.
    pub fn number(&self) -> usize {
        self.index
    }

    /// When byte `offset` of the stream to this client was sent: virtual time, and the shard's turn. Offsets only grow.
    pub fn sent_at(&self, offset: u64) -> (u64, u64) {
        let sends = &mut self.net.state_mut().conns[self.index].sends;
        while sends.get(1).is_some_and(|next| next.0 <= offset) {
            sends.pop_front();
        }
        sends.front().map_or((0, 0), |send| (send.1, send.2))
    }

    /// Sends FIN; reading goes on.
    pub fn shutdown(&self) {
        self.net.state_mut().client_shutdown(self.index);
    }

    /// Sends RST.
    pub fn reset(&self) {
        self.net.state_mut().client_reset(self.index);
    }

    /// Ends with this errno, as where the protocol below is broken.
    pub fn fails(&self, errno: i32) {
        self.net.state_mut().client_fails(self.index, errno);
    }

    /// Closes both directions: FIN, or RST if something was left unread.
    pub fn close(&self) {
        self.net.state_mut().client_close(self.index);
    }

    /// From now on the network never resets this connection (its shard still may).
    pub fn protect(&self) {
        self.net.state_mut().conns[self.index].is_protected = true;
    }

    /// True after [`SimSocket::close`] or [`SimSocket::reset`].
    pub fn is_closed(&self) -> bool {
        self.net.state().conns[self.index].client == ClientEnd::Gone
    }

    /// True while the shard has the connection in a slot.
    pub fn is_accepted(&self) -> bool {
        self.net.state().conns[self.index].slot().is_some()
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        if !self.is_closed() {
            self.close();
        }
    }
}
