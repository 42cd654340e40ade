//! When a driver may accept: below the shard's limit, within its slots, and not while descriptors are used up.
//!
//! Must never know sockets.

/// Connections taken in one turn at most, so that a storm of connects does not stall those that are open.
pub const ACCEPTS_PER_TURN: usize = 32;
/// How long to leave the backlog alone after the process or the machine ran out of descriptors. The next close ends it
/// early.
const RETRY_AFTER_NS: u64 = 100_000_000;

/// The rule for accepting.
#[derive(Debug)]
pub struct Gate {
    slots: u32,
    open_max: u32,
    retry_at_ns: Option<u64>,
    stopping: bool,
}

impl Gate {
    /// Closed until [`Gate::open_below`].
    pub fn new(slots: u32) -> Self {
        Gate { slots, open_max: 0, retry_at_ns: None, stopping: false }
    }

    /// Accept while fewer than `open_max` slots are in use.
    pub fn open_below(&mut self, open_max: u32) {
        self.open_max = open_max.min(self.slots);
    }

    /// From now on only the backlog is drained, into any free slot.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// True after [`Gate::stop`].
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// How many connections may be accepted now, with `in_use` slots taken.
    pub fn room(&self, in_use: u32, now_ns: u64) -> u32 {
        if self.retry_at_ns.is_some_and(|at| now_ns < at) {
            return 0;
        }
        let limit = if self.stopping { self.slots } else { self.open_max };
        limit.saturating_sub(in_use)
    }

    /// Descriptors are used up: leave the backlog alone for a while.
    pub fn on_exhausted(&mut self, now_ns: u64) {
        self.retry_at_ns = Some(now_ns + RETRY_AFTER_NS);
    }

    /// A descriptor came free: no reason to wait longer.
    pub fn on_closed(&mut self) {
        self.retry_at_ns = None;
    }

    /// Until when a waiting turn may sleep before accepting should be tried again.
    pub fn retry_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.retry_at_ns.filter(|&at| now_ns < at)
    }
}

/// What an accept that failed with `errno` means for the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptTrouble {
    /// The backlog is empty.
    Empty,
    /// That one connection was gone before it was taken: try the next.
    Lost,
    /// No descriptors, no memory, or an error that would only repeat itself: wait.
    Exhausted,
}

impl AcceptTrouble {
    /// Sorts the errors of accept(2).
    pub fn of(errno: i32) -> Self {
        match errno {
            libc::EAGAIN => AcceptTrouble::Empty,
            // accept(2): "treat them like EAGAIN by retrying".
            libc::EINTR
            | libc::ECONNABORTED
            | libc::ENETDOWN
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EPERM => AcceptTrouble::Lost,
            _ => AcceptTrouble::Exhausted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_limit_leaves() {
        let mut gate = Gate::new(10);
        assert_eq!(gate.room(0, 0), 0);
        gate.open_below(4);
        assert_eq!(gate.room(1, 0), 3);
        assert_eq!(gate.room(5, 0), 0);
        gate.open_below(100);
        assert_eq!(gate.room(4, 0), 6);
        gate.open_below(0);
        gate.stop();
        assert_eq!(gate.room(4, 0), 6);
    }

    #[test]
    fn exhaustion_waits_for_the_time_or_a_close() {
        let mut gate = Gate::new(10);
        gate.open_below(10);
        gate.on_exhausted(1000);
        assert_eq!(gate.room(0, 1000), 0);
        assert_eq!(gate.retry_at_ns(1000), Some(1000 + RETRY_AFTER_NS));
        assert_eq!(gate.room(0, 1000 + RETRY_AFTER_NS), 10);
        assert_eq!(gate.retry_at_ns(1000 + RETRY_AFTER_NS), None);
        gate.on_exhausted(1000);
        gate.on_closed();
        assert_eq!(gate.room(0, 1000), 10);
    }

    #[test]
    fn errors_of_accept_are_told_apart() {
        assert_eq!(AcceptTrouble::of(libc::EAGAIN), AcceptTrouble::Empty);
        assert_eq!(AcceptTrouble::of(libc::ECONNABORTED), AcceptTrouble::Lost);
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOTSOCK] {
            assert_eq!(AcceptTrouble::of(errno), AcceptTrouble::Exhausted);
        }
    }
}
