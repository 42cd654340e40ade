//! The I/O boundary: what a shard may ask of the kernel, and nothing else.
//!
//! A shard is generic over [`Driver`] (statically dispatched), so that the same shard code runs on io_uring,
//! on epoll, and in memory under virtual time with seeded faults. A driver knows sockets, slots and time; it
//! must never know frames, topics or policies.
//!
//! Three rules make every driver the same to its shard:
//!
//! 1. **Sends complete before [`Driver::send`] returns.** They never wait (`MSG_DONTWAIT | MSG_NOSIGNAL`): what
//!    the socket does not take is a short count or [`Sent::Blocked`]. So no log memory is ever referenced by
//!    an operation in flight and the borrow checker proves it: a batch borrows, and the borrow ends with the call.
//! 2. **Received bytes are lent.** [`Event::Received`] hands over a [`RecvBuf`]; the shard gives it back with
//!    [`Driver::give_back`] when it has looked at it: in the same turn, or in a later one, before which it does not wait.
//!    An idle connection owns no receive buffer.
//! 3. **A slot is dead after [`Driver::close`].** No event names it again until a new [`Event::Accepted`] does:
//!    the driver keeps generations and swallows what completes late.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

mod buffers;
#[cfg(test)]
mod conformance;
mod cut;
pub mod epoll;
mod gate;
mod inlet;
#[cfg(feature = "bench")]
pub mod null;
pub mod probe;
pub mod proxied;
pub mod sim;
mod slots;
#[cfg(feature = "tls")]
pub mod tls;
pub mod uring;
mod waker;

#[cfg(any(test, feature = "test-knobs"))]
pub use cut::SendCut;

/// Index of a connection in its driver's table: dense, below [`DriverLimits::slots`], reused after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// Most sends in one batch: FLOOR of the useful range (64 to 256) keeps the working set in cache.
pub const SEND_BATCH_OPS: usize = 64;
/// Most memory parts in one batch, over all its sends.
pub const SEND_BATCH_PARTS: usize = 512;
/// Most memory parts in one send.
pub const SEND_PARTS_MAX: usize = 16;
/// Free bytes in front of received data, so that a shard can put back the unread tail of an earlier read
/// (at most an incomplete control frame) without moving the new bytes.
pub const RECV_HEADROOM: usize = 256;

/// The errno of a connection whose peer broke the protocol below, such as TLS.
pub const EPROTO: i32 = 71;

/// What a driver is made with. All of it is fixed for the driver's life and part of the engine's memory sum.
#[derive(Clone, Debug)]
pub struct DriverLimits {
    /// Connections that may be open at once, the reserve for refusals included.
    pub slots: u32,
    /// Receive buffers on loan at most; each holds [`RECV_HEADROOM`] plus `recv_bytes`.
    pub recv_buffers: u16,
    /// Usable bytes of one receive buffer.
    pub recv_bytes: u32,
    /// Events reported by one [`Driver::turn`] at most (a bound on the work of one turn).
    pub events_per_turn: usize,
}

/// A received run of bytes on loan from the driver.
///
/// `bytes[start..end]` is what arrived; `bytes[..start]` is headroom of at least [`RECV_HEADROOM`] bytes.
#[derive(Debug)]
pub struct RecvBuf {
    /// The whole buffer.
    pub bytes: Box<[u8]>,
    /// First received byte.
    pub start: usize,
    /// One past the last received byte.
    pub end: usize,
    /// The driver's own number for the buffer.
    pub id: u16,
}

impl RecvBuf {
    /// What arrived (and what was put in front of it).
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The same, to be unmasked in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Puts `tail` in front of the received bytes.
    ///
    /// # Panics
    /// If `tail` is longer than the headroom that is left (a bug of the caller: the bound is
    /// [`RECV_HEADROOM`]).
    pub fn put_in_front(&mut self, tail: &[u8]) {
        assert!(tail.len() <= self.start, "carry of {} bytes exceeds the headroom {}", tail.len(), self.start);
        self.start -= tail.len();
        self.bytes[self.start..self.start + tail.len()].copy_from_slice(tail);
    }
}

/// What happened since the last turn.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted into `slot`. `peer` is `None` where the kernel could not say.
    Accepted {
        /// Which of the listeners it came by, from 0.
        listener: u16,
        /// The new connection's slot.
        slot: Slot,
        /// The peer's address.
        peer: Option<SocketAddr>,
    },
    /// Bytes arrived (never empty).
    Received {
        /// The connection.
        slot: Slot,
        /// The bytes, on loan until [`Driver::give_back`].
        buf: RecvBuf,
    },
    /// The peer sends no more (`error: None`: an orderly FIN) or the connection failed (`Some(errno)`).
    /// Reported at most once a connection. The slot stays open for sending until it is closed.
    End {
        /// The connection.
        slot: Slot,
        /// `None` for end of stream, else the errno.
        error: Option<i32>,
    },
    /// A send that [`Driver::want_writable`] was waiting for can go on. Reported once for each request.
    Writable {
        /// The connection.
        slot: Slot,
    },
    /// The connection's keys may protect little more, and there are no next ones: it is to be closed soon. From TLS 1.2 alone,
    /// once a connection.
    Worn {
        /// The connection.
        slot: Slot,
    },
    /// The waker was used.
    Woken,
}

/// How one send of a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// This many bytes went to the kernel: possibly fewer than asked, never zero.
    Bytes(usize),
    /// The socket took nothing (`EAGAIN`): ask for [`Driver::want_writable`].
    Blocked,
    /// The connection is gone, with this errno. It still has to be closed.
    Failed(i32),
}

/// Sends to be done together: up to [`SEND_BATCH_OPS`] connections, at most one send for each.
#[derive(Default)]
pub struct SendBatch<'a> {
    ops: ArrayVec<SendOp, SEND_BATCH_OPS>,
    parts: ArrayVec<IoSlice<'a>, SEND_BATCH_PARTS>,
}

#[derive(Clone, Copy)]
struct SendOp {
    slot: Slot,
    first_part: u16,
    parts: u16,
}

impl<'a> SendBatch<'a> {
    /// An empty batch; it lives on the stack and allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// True before the first send is added.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// True where [`SendBatch::push`] with [`SEND_PARTS_MAX`] parts might not fit any more: send first.
    pub fn is_full(&self) -> bool {
        self.ops.is_full() || self.parts.len() + SEND_PARTS_MAX > SEND_BATCH_PARTS
    }

    /// Adds one send of `parts`, in order. At most one send a connection and batch.
    ///
    /// # Panics
    /// If the batch is full, `parts` is empty or longer than [`SEND_PARTS_MAX`].
    pub fn push(&mut self, slot: Slot, parts: &[IoSlice<'a>]) {
        assert!(!parts.is_empty() && parts.len() <= SEND_PARTS_MAX && !self.is_full());
        let first_part = self.parts.len() as u16;
        for part in parts {
            self.parts.push(*part);
        }
        self.ops.push(SendOp { slot, first_part, parts: parts.len() as u16 });
    }

    /// Adds one send of one contiguous run: the hot path.
    ///
    /// # Panics
    /// If the batch is full.
    #[inline]
    pub fn push_one(&mut self, slot: Slot, bytes: &'a [u8]) {
        assert!(!self.is_full());
        let first_part = self.parts.len() as u16;
        self.parts.push(IoSlice::new(bytes));
        self.ops.push(SendOp { slot, first_part, parts: 1 });
    }

    /// The sends in the order they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Slot, &[IoSlice<'a>])> {
        self.ops.iter().map(|op| {
            let first = op.first_part as usize;
            (op.slot, &self.parts[first..first + op.parts as usize])
        })
    }

    /// Empties the batch for reuse.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.parts.clear();
    }
}

/// Results of a batch, index by index.
pub type SendResults = ArrayVec<Sent, SEND_BATCH_OPS>;

/// How long [`Driver::turn`] may wait for something to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: report what is there.
    No,
    /// Until an event, the waker, or this instant of [`Driver::now_ns`].
    Until(u64),
}

/// Wakes a sleeping driver from any thread. Cheap to call twice; a wake before the sleep is not lost.
pub trait Wake: Send + Sync {
    /// Makes the driver's current or next waiting turn return with [`Event::Woken`].
    fn wake(&self);
}

/// What the kernel knows of one connection, looked up for a few of them once in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// The peer's address; `None` on Unix sockets.
    pub peer: Option<SocketAddr>,
    /// The peer has no room for what is sent: it does not read, or too slowly. `None`: that cannot be told.
    pub is_window_shut: Option<bool>,
}

/// Counters every driver keeps, read by the shard once in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// System calls (`io_uring_enter`, `epoll_wait`, `sendmsg`, …).
    pub syscalls: u64,
    /// Sends submitted.
    pub sends: u64,
    /// Sends that took fewer bytes than asked, or none.
    pub sends_short: u64,
    /// Receives completed with bytes.
    pub receives: u64,
    /// Times no receive buffer was free.
    pub recv_buffers_exhausted: u64,
    /// Completion-queue overflows seen.
    pub cq_overflows: u64,
    /// Times accept was refused for want of descriptors (`EMFILE`, `ENFILE`).
    pub accept_exhausted: u64,
    /// Connections closed at a proxied listener because they had no header, or were not to have one.
    pub proxy_refused: u64,
    /// TLS handshakes completed.
    pub tls_handshakes: u64,
    /// Connections given up for what came over TLS, or for want of memory for it.
    pub tls_failed: u64,
    /// Bytes that TLS holds for handshakes, records that are not whole and rests of records.
    pub tls_bytes: u64,
    /// The most that there have been.
    pub tls_bytes_max: u64,
}

/// One shard's window on the kernel. Lives and dies on the shard's thread.
pub trait Driver {
    /// Name for logs and metrics: `uring`, `epoll` or `sim`.
    fn name(&self) -> &'static str;

    /// Monotonic nanoseconds. Cheap, and constant within a turn unless the driver waited.
    fn now_ns(&self) -> u64;

    /// Monotonic nanoseconds at this moment.
    fn fresh_ns(&self) -> u64 {
        self.now_ns()
    }

    /// Nanoseconds of CPU that this thread has used; 0 where time is not real.
    fn cpu_ns(&self) -> u64 {
        0
    }

    /// A handle that wakes this driver.
    fn waker(&self) -> Arc<dyn Wake>;

    /// Accepts connections while fewer than `open_max` slots are in use; 0 stops accepting and leaves what waits in
    /// the kernel's backlog. The driver never accepts a connection that it has no slot for.
    fn accept_while_below(&mut self, open_max: u32);

    /// Stops listening for good: accepts what already waits in the backlog (reported as usual by the next turns,
    /// as far as there are slots), then closes the listener.
    fn stop_listening(&mut self);

    /// Leaves a listener, and what waits in its backlog, to another process that has the same socket: accepts nothing there
    /// from now on. [`Driver::stop_listening`] is about the others then.
    fn leave_listener(&mut self, listener: u16);

    /// Submits what is pending, waits as `wait` says if nothing has happened, and appends at most
    /// [`DriverLimits::events_per_turn`] events.
    ///
    /// # Errors
    /// Only where the driver itself cannot go on (its ring or epoll descriptor fails): never for a connection's trouble.
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;

    /// Does all sends of `batch` and fills `results` (cleared first), one for each send, in order.
    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults);

    /// Asks for one [`Event::Writable`] when the socket takes bytes again. Idempotent while one is pending.
    fn want_writable(&mut self, slot: Slot);

    /// Stops reporting [`Event::Received`] for this connection (back-pressure on a publisher), until
    /// [`Driver::resume_recv`]. What was already reported stays reported.
    fn pause_recv(&mut self, slot: Slot);

    /// Undoes [`Driver::pause_recv`]; bytes that arrived meanwhile are reported by the next turns.
    fn resume_recv(&mut self, slot: Slot);

    /// Returns a buffer from [`Event::Received`].
    fn give_back(&mut self, buf: RecvBuf);

    /// Sends FIN after what the kernel still holds; receiving goes on.
    fn shutdown_write(&mut self, slot: Slot);

    /// Closes the connection and frees its slot. The peer always sees FIN or RST, whatever was armed.
    fn close(&mut self, slot: Slot);

    /// What the kernel knows of a connection; `None` where it cannot be asked. Some system calls: for few connections alone.
    fn socket_state(&mut self, _slot: Slot) -> Option<SocketState> {
        None
    }

    /// Who a client is by the certificate that it has shown: the subject, as RFC 4514 writes it. Told once; what is not asked for
    /// before the upgrade takes memory until the connection ends.
    fn take_subject(&mut self, _slot: Slot) -> Option<Box<str>> {
        None
    }

    /// Counters so far.
    fn counters(&self) -> DriverCounters;
}

/// What an adapter has from the driver in its field `$driver`, as it is: the clocks, the waker, the listeners.
macro_rules! passes_on {
    ($driver:ident) => {
        fn name(&self) -> &'static str {
            self.$driver.name()
        }

        fn now_ns(&self) -> u64 {
            self.$driver.now_ns()
        }

        fn fresh_ns(&self) -> u64 {
            self.$driver.fresh_ns()
        }

        fn cpu_ns(&self) -> u64 {
            self.$driver.cpu_ns()
        }

        fn waker(&self) -> Arc<dyn Wake> {
            self.$driver.waker()
        }

        fn accept_while_below(&mut self, open_max: u32) {
            self.$driver.accept_while_below(open_max);
        }

        fn socket_state(&mut self, slot: Slot) -> Option<SocketState> {
            self.$driver.socket_state(slot)
        }

        fn stop_listening(&mut self) {
            self.$driver.stop_listening();
        }

        fn leave_listener(&mut self, listener: u16) {
            self.$driver.leave_listener(listener);
        }
    };
}
use passes_on;

impl<D: Driver + ?Sized> Driver for Box<D> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }

    fn fresh_ns(&self) -> u64 {
        (**self).fresh_ns()
    }

    fn cpu_ns(&self) -> u64 {
        (**self).cpu_ns()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        (**self).waker()
    }

    fn accept_while_below(&mut self, open_max: u32) {
        (**self).accept_while_below(open_max);
    }

    fn stop_listening(&mut self) {
        (**self).stop_listening();
    }

    fn leave_listener(&mut self, listener: u16) {
        (**self).leave_listener(listener);
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        (**self).turn(wait, events)
    }

    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        (**self).send(batch, results);
    }

    fn want_writable(&mut self, slot: Slot) {
        (**self).want_writable(slot);
    }

    fn pause_recv(&mut self, slot: Slot) {
        (**self).pause_recv(slot);
    }

    fn resume_recv(&mut self, slot: Slot) {
        (**self).resume_recv(slot);
    }

    fn give_back(&mut self, buf: RecvBuf) {
        (**self).give_back(buf);
    }

    fn shutdown_write(&mut self, slot: Slot) {
        (**self).shutdown_write(slot);
    }

    fn close(&mut self, slot: Slot) {
        (**self).close(slot);
    }

    fn socket_state(&mut self, slot: Slot) -> Option<SocketState> {
        (**self).socket_state(slot)
    }

    fn take_subject(&mut self, slot: Slot) -> Option<Box<str>> {
        (**self).take_subject(slot)
    }

    fn counters(&self) -> DriverCounters {
        (**self).counters()
    }
}
