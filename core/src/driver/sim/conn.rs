//! One simulated TCP connection: two byte pipes and the state of both ends.
//!
//! Knows what TCP promises (order, FIN after the data, RST at any time) and nothing of frames.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::options::SimOptions;
use super::rng::Rng;

/// `ECONNRESET`.
pub const ECONNRESET: i32 = 104;
/// `EPIPE`.
pub const EPIPE: i32 = 32;
/// `ETIMEDOUT`.
pub const ETIMEDOUT: i32 = 110;

/// The client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEnd {
    /// Reads and writes.
    Open,
    /// Sent FIN, reads on.
    Finished,
    /// Closed: whatever comes is answered with RST.
    Gone,
}

/// The shard's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardEnd {
    /// Waits in the listener's backlog from this instant on.
    Waiting(u64),
    /// In this slot.
    Open(u32),
    /// In this slot, FIN sent.
    Finished(u32),
    /// Closed, or never accepted.
    Closed,
}

/// What the shard is still to be told of the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndNews {
    /// Nothing happened.
    None,
    /// To be told from this instant on.
    Due(u64, Option<i32>),
    /// Told.
    Told,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// The client's end.
    pub client: ClientEnd,
    /// The shard's end.
    pub server: ShardEnd,
    /// Client to shard.
    pub inbound: VecDeque<u8>,
    /// From when on the shard can see `inbound`.
    pub inbound_due: u64,
    /// Shard to client.
    pub outbound: VecDeque<u8>,
    /// The connection was reset; what the next send fails with.
    pub failed: Option<i32>,
    /// The client reads RST after what is left of `outbound`.
    pub client_reset: bool,
    /// The shard's news of the end.
    pub end: EndNews,
    /// The shard asked for no more received bytes.
    pub paused: bool,
    /// Whether this connection's end is reported while it is paused: both are legal.
    pub ends_while_paused: bool,
    /// The shard waits for room; from when on it is told of it.
    pub want: bool,
    /// See `want`.
    pub writable_due: Option<u64>,
    /// The network never resets this one.
    pub is_protected: bool,
    /// All bytes taken from the shard so far.
    pub sent_total: u64,
    /// All bytes given to the shard so far.
    pub received_total: u64,
    /// For each send: where it begins in the stream, virtual time, the shard's turn.
    pub sends: VecDeque<(u64, u64, u64)>,
}

impl Conn {
    /// A connection that waits to be accepted from `due` on.
    pub fn new(peer: Option<SocketAddr>, due: u64, ends_while_paused: bool) -> Self {
        Conn {
            peer,
            client: ClientEnd::Open,
            server: ShardEnd::Waiting(due),
            inbound: VecDeque::new(),
            inbound_due: 0,
            outbound: VecDeque::new(),
            failed: None,
            client_reset: false,
            end: EndNews::None,
            paused: false,
            ends_while_paused,
            want: false,
            writable_due: None,
            is_protected: false,
            sent_total: 0,
            received_total: 0,
            sends: VecDeque::new(),
        }
    }

    /// The slot, while the shard has it open.
    pub fn slot(&self) -> Option<u32> {
        match self.server {
            ShardEnd::Open(slot) | ShardEnd::Finished(slot) => Some(slot),
            ShardEnd::Waiting(_) | ShardEnd::Closed => None,
        }
    }

    /// RST, from whichever side: both ends learn of it, what was in flight may be lost.
    pub fn abort(&mut self, errno: i32, now: u64, rng: &mut Rng, options: &SimOptions) {
        if self.failed.is_some() {
            return;
        }
        self.failed = Some(errno);
        self.client_reset = true;
        if rng.chance(options.reset_loses) {
            let keep = rng.index(self.inbound.len() + 1);
            self.inbound.truncate(keep);
            let keep = rng.index(self.outbound.len() + 1);
            self.outbound.truncate(keep);
        }
        if self.end != EndNews::Told {
            self.end = EndNews::Due(delayed(now, rng, options), Some(errno));
        }
        // A waiting sender is always told (EPOLLERR comes with EPOLLOUT): the end may be held back while receiving is paused.
        self.arm_writable(now, rng, options);
    }

    /// Sets the time of a wanted Writable if there is room (or nothing left to wait for).
    pub fn arm_writable(&mut self, now: u64, rng: &mut Rng, options: &SimOptions) {
        let room = options.send_capacity - self.outbound.len();
        // Linux reports room when a third is free (sk_stream_is_writeable); a full pipe that was read a little is not enough.
        let enough = room >= options.send_capacity.div_ceil(3) || self.client == ClientEnd::Gone;
        if self.want && self.writable_due.is_none() && (enough || self.failed.is_some()) {
            self.writable_due = Some(delayed(now, rng, options));
        }
    }

    /// Whether a turn at `now` may hand over received bytes.
    pub fn has_bytes(&self, now: u64) -> bool {
        !self.paused && !self.inbound.is_empty() && self.inbound_due <= now
    }

    /// The error (or `None` for FIN) that a turn at `now` has to report.
    pub fn end_due(&self, now: u64) -> Option<Option<i32>> {
        match self.end {
            EndNews::Due(due, error) if due <= now && self.may_tell_end(error) => Some(error),
            _ => None,
        }
    }

    fn may_tell_end(&self, error: Option<i32>) -> bool {
        if self.paused {
            self.ends_while_paused && (error.is_some() || self.inbound.is_empty())
        } else {
            // The bytes first: also those that came before a reset and survived it.
            self.inbound.is_empty()
        }
    }

    /// The earliest instant at which the driver has something to report, if nobody acts.
    pub fn next_due(&self) -> Option<u64> {
        let mut due = self.writable_due.filter(|_| self.want);
        let mut sooner = |t: u64| due = Some(due.map_or(t, |d| d.min(t)));
        if !self.paused && !self.inbound.is_empty() {
            sooner(self.inbound_due);
        }
        if let EndNews::Due(at, error) = self.end
            && self.may_tell_end(error)
        {
            sooner(at);
        }
        due
    }
}

/// `now`, or later where the delay strikes.
pub fn delayed(now: u64, rng: &mut Rng, options: &SimOptions) -> u64 {
    if rng.chance(options.delay) { now + rng.skewed(options.delay_max_ns) } else { now }
}
