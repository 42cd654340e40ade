//! Receive buffers that a driver lends to its shard.
//!
//! Knows how many there are and which are free. Must never know connections.

use super::{DriverLimits, RECV_HEADROOM, RecvBuf};

/// All receive buffers of one driver: reserved at start, each in exactly one place (here or on loan).
#[derive(Debug)]
pub struct RecvBuffers {
    /// The last one given back is lent first: its memory is warm.
    free: Vec<RecvBuf>,
    recv_bytes: usize,
}

impl RecvBuffers {
    /// `recv_buffers` zeroed buffers; memory is touched at first use.
    pub fn new(limits: &DriverLimits) -> Self {
        let recv_bytes = limits.recv_bytes.max(1) as usize;
        // Reversed, so that the lowest numbers go first.
        let free = (0..limits.recv_buffers.max(1)).rev().map(|id| Self::make(recv_bytes, id)).collect();
        RecvBuffers { free, recv_bytes }
    }

    fn make(recv_bytes: usize, id: u16) -> RecvBuf {
        let bytes = vec![0; RECV_HEADROOM + recv_bytes].into_boxed_slice();
        RecvBuf { bytes, start: RECV_HEADROOM, end: RECV_HEADROOM, id }
    }

    /// Buffers that can be lent now.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// One buffer, empty (`start == end == RECV_HEADROOM`), unless all are on loan.
    pub fn take(&mut self) -> Option<RecvBuf> {
        self.free.pop()
    }

    /// Takes a buffer back.
    pub fn put(&mut self, mut buf: RecvBuf) {
        debug_assert_eq!(buf.bytes.len(), RECV_HEADROOM + self.recv_bytes, "buffer {} is not ours", buf.id);
        if cfg!(feature = "guard-pages") {
            buf = Self::make(self.recv_bytes, buf.id);
        }
        buf.start = RECV_HEADROOM;
        buf.end = RECV_HEADROOM;
        self.free.push(buf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_with_its_headroom() {
        let limits = DriverLimits { slots: 1, recv_buffers: 2, recv_bytes: 64, events_per_turn: 1 };
        let mut buffers = RecvBuffers::new(&limits);
        let mut first = buffers.take().unwrap();
        let second = buffers.take().unwrap();
        assert!(buffers.take().is_none());
        assert_ne!(first.id, second.id);
        first.end += 10;
        first.put_in_front(&[1; 5]);
        buffers.put(first);
        let again = buffers.take().unwrap();
        assert_eq!((again.start, again.end, again.bytes.len()), (RECV_HEADROOM, RECV_HEADROOM, RECV_HEADROOM + 64));
    }
}
