//! The receiving side of one connection, as both real drivers keep it.
//!
//! Both kernels report readiness by edges: an edge that was reported and not acted upon must be remembered here, or
//! the connection falls silent. Must never know how readiness is learned or how bytes are read.

/// What is known of a connection's receiving side, in one byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inlet(u8);

impl Inlet {
    /// Bytes, end or error may wait in the socket.
    const READABLE: u8 = 1;
    /// The peer has sent its FIN, or the connection failed: read until the kernel says so.
    const HANGUP: u8 = 2;
    /// The shard wants no more for now.
    const PAUSED: u8 = 4;
    /// The end was reported: nothing more ever will be.
    const ENDED: u8 = 8;
    /// The peer hung up while the shard wants no more: perhaps nothing is left to be read.
    const PROBE: u8 = 16;
    /// The connection is over both ways: what was not read is nobody's any more.
    const BROKEN: u8 = 32;

    fn set(&mut self, bit: u8, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// Readiness was reported. True if there is reading to do now.
    pub fn on_ready(&mut self, hangup: bool) -> bool {
        self.set(Self::READABLE, true);
        self.set(Self::HANGUP, self.has(Self::HANGUP) || hangup);
        self.wants_read()
    }

    /// The peer hung up; `is_broken`: the connection is over both ways. True if it is to be found out what that leaves, though the
    /// shard wants no more.
    pub fn on_hangup(&mut self, is_broken: bool) -> bool {
        self.set(Self::BROKEN, self.has(Self::BROKEN) || is_broken);
        let is_held = self.has(Self::PAUSED) && !self.has(Self::ENDED);
        self.set(Self::PROBE, is_held);
        is_held
    }

    /// What is to be tried next; an attempt to find out what a hangup leaves is made once.
    pub fn next_read(&mut self) -> NextRead {
        let is_probe = self.has(Self::PROBE) && self.has(Self::PAUSED) && !self.has(Self::ENDED);
        self.set(Self::PROBE, false);
        match (self.wants_read(), is_probe) {
            (true, _) => NextRead::Bytes,
            (false, true) => NextRead::Peek { is_broken: self.has(Self::BROKEN) },
            (false, false) => NextRead::Nothing,
        }
    }

    /// True if a read should be tried.
    pub fn wants_read(&self) -> bool {
        self.0 & (Self::READABLE | Self::PAUSED | Self::ENDED) == Self::READABLE
    }

    /// A read is about to be tried. What becomes ready from now on is new: it counts even if the kernel reports it while the
    /// read is under way.
    pub fn on_read_begin(&mut self) {
        self.set(Self::READABLE, false);
    }

    /// A read returned bytes. `more` says that the kernel had more than the buffer took, or may have had. True if
    /// there is reading to do.
    pub fn on_bytes(&mut self, more: bool) -> bool {
        // After a hangup no further edge may come, so that only the end itself ends the reading.
        self.set(Self::READABLE, self.has(Self::READABLE) || more || self.has(Self::HANGUP));
        self.wants_read()
    }

    /// A read found nothing: the next edge will tell.
    pub fn on_nothing(&mut self) {
        // A hangup that has nothing to read was not one (or will be told again); not to spin matters more.
        self.set(Self::HANGUP, false);
    }

    /// A read found the end or an error. True the first time, which is when it is to be reported.
    pub fn on_end(&mut self) -> bool {
        let is_first = !self.has(Self::ENDED);
        self.set(Self::ENDED, true);
        is_first
    }

    /// True once the end was reported.
    pub fn is_ended(&self) -> bool {
        self.has(Self::ENDED)
    }

    /// Stops reading.
    pub fn pause(&mut self) {
        self.set(Self::PAUSED, true);
    }

    /// Goes on reading. True if there is reading to do now.
    pub fn resume(&mut self) -> bool {
        self.set(Self::PAUSED, false);
        self.wants_read()
    }
}

/// See [`Inlet::next_read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRead {
    /// Bytes.
    Bytes,
    /// A look at whether there are any, which leaves them where they are.
    Peek {
        /// Whatever there is: the connection is over.
        is_broken: bool,
    },
    /// Nothing.
    Nothing,
}

/// What a look at a paused connection whose peer hung up has shown: its end, with the error if it failed, or none yet.
pub fn end_seen(seen: Result<usize, i32>, is_broken: bool) -> Option<Option<i32>> {
    match seen {
        Ok(0) if !is_broken => Some(None),
        Ok(_) if is_broken => Some(Some(libc::ECONNRESET)),
        Ok(_) => None,
        Err(libc::EAGAIN | libc::EINTR) => is_broken.then_some(Some(libc::ECONNRESET)),
        Err(errno) => Some(Some(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hangup_while_paused_is_looked_at_once_and_an_end_is_told_once() {
        let mut inlet = Inlet::default();
        assert!(!inlet.on_hangup(false), "not paused: the reading finds it");
        inlet.pause();
        assert!(!inlet.on_ready(true) && inlet.on_hangup(false));
        assert_eq!(inlet.next_read(), NextRead::Peek { is_broken: false });
        assert_eq!(inlet.next_read(), NextRead::Nothing);
        assert!(inlet.on_hangup(true));
        assert_eq!(inlet.next_read(), NextRead::Peek { is_broken: true });
        assert!(inlet.on_hangup(false) && inlet.resume());
        assert_eq!(inlet.next_read(), NextRead::Bytes, "its bytes come first");
        inlet.pause();
        assert!(inlet.on_end() && !inlet.on_hangup(true));
        assert_eq!(inlet.next_read(), NextRead::Nothing);
    }

    #[test]
    fn an_edge_during_a_read_is_not_lost() {
        let mut inlet = Inlet::default();
        assert!(inlet.on_ready(false));
        inlet.on_read_begin();
        assert!(!inlet.wants_read());
        assert!(inlet.on_ready(false));
        assert!(inlet.on_bytes(false));
    }

    #[test]
    fn a_short_read_ends_reading_unless_the_peer_hung_up() {
        let mut inlet = Inlet::default();
        inlet.on_ready(false);
        inlet.on_read_begin();
        assert!(!inlet.on_bytes(false));
        inlet.on_ready(true);
        inlet.on_read_begin();
        assert!(inlet.on_bytes(false));
        inlet.on_read_begin();
        assert!(inlet.on_end());
        assert!(!inlet.on_end());
        assert!(!inlet.on_ready(true));
    }

    #[test]
    fn what_arrives_while_paused_is_read_on_resume() {
        let mut inlet = Inlet::default();
        inlet.pause();
        assert!(!inlet.on_ready(false));
        assert!(inlet.resume());
        inlet.on_read_begin();
        inlet.on_nothing();
        inlet.pause();
        assert!(!inlet.resume());
    }
}
