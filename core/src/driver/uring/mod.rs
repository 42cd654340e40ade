//! The driver on io_uring.
//!
//! One ring a shard, sockets as direct descriptors (they take no number in the process's table). Readiness comes by
//! multishot polls, 256 bytes of kernel memory for an idle connection. Everything that moves bytes is a *batch*: up to
//! 64 accepts, receives or sends that cannot wait, handed over with one `io_uring_enter` and answered when it returns. So
//! nothing in flight ever names memory, an idle connection owns no buffer, the descriptor table cannot overflow, and
//! closing has only polls to cancel.
//!
//! Knows descriptors, slots and readiness; must never know frames, topics or policies.
//! Unsafe code is in the files that make entries; its contract is in [`ring`].

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use io_uring::opcode;
use io_uring::types::{CancelBuilder, Fixed, Timespec};

use super::buffers::RecvBuffers;
use super::cut::{Cutter, SendCut};
use super::gate::{ACCEPTS_PER_TURN, Gate};
use super::inlet::{Inlet, NextRead};
use super::slots::{FreeSlots, SlotQueue};
use super::waker::EventWaker;
use super::{
    Driver, DriverCounters, DriverLimits, Event, RecvBuf, SEND_BATCH_OPS, SendBatch, SendResults, Sent, Slot,
    SocketState, Wait, Wake,
};
use crate::sys::clock::{self, monotonic_ns};
use crate::sys::socket::RawAddr;

mod accept;
mod batch;
mod polls;
mod receive;
mod ring;
mod send;
mod state;
mod token;

use batch::Answers;
use ring::Ring;
use token::{Op, Token};

/// Operations in one batch at most.
const BATCH: usize = SEND_BATCH_OPS;
/// Calls for deferred work in one turn at most.
const LOOKS_PER_TURN: usize = 64;
/// Looks at the completions before a dropped driver gives up waiting for the kernel's last words.
const LOOKS_AT_END: u32 = 1000;

/// What a [`UringDriver`] is made with beyond the limits.
#[derive(Clone, Debug)]
pub struct UringOptions {
    /// Submission queue entries: a batch and what else a turn queues should fit.
    pub sq_entries: u32,
    /// Completion queue entries, at least `sq_entries`. 16 bytes each.
    pub cq_entries: u32,
    /// Test knob.
    pub send_cut: SendCut,
    /// Test knob: accept as on kernels before 6.10, whose rings cannot accept without waiting.
    pub accept_by_syscall: bool,
    /// Test knob: nothing of the ring's that came after Linux 6.1.
    pub is_old: bool,
    /// Test knob: most calls into the kernel fail with `EINTR`, `EAGAIN` or `EBUSY`.
    #[cfg(test)]
    pub refuses_most_calls: bool,
}

impl Default for UringOptions {
    fn default() -> Self {
        UringOptions {
            sq_entries: 256,
            cq_entries: 4096,
            send_cut: SendCut::Whole,
            accept_by_syscall: false,
            is_old: false,
            #[cfg(test)]
            refuses_most_calls: false,
        }
    }
}

/// One shard's ring and its connections. Stays on the thread that made it.
pub struct UringDriver {
    // First, so that it is gone before the memory its operations could name.
    ring: Ring,
    answers: Answers,
    /// Operations with completions still to come, batches aside.
    in_kernel: usize,
    waker: Arc<EventWaker>,
    waker_armed: bool,
    woken: bool,
    /// Connections that wait for room, whose peer has ended: such a poll ends at once, so it is made again only now and then. When, the
    /// slot, its generation.
    polled_late: VecDeque<(u64, u32, u32)>,
    listeners: Vec<Listener>,
    gate: Gate,
    /// By slot, as far as slots were ever used.
    connections: Vec<Connection>,
    free: FreeSlots,
    readable: SlotQueue,
    writable: SlotQueue,
    /// Connections whose watch ended and must be armed again.
    unwatched: SlotQueue,
    buffers: RecvBuffers,
    /// Reads of the batch under way: the kernel writes to these buffers.
    reads: Vec<Read>,
    /// The kernel's ring cannot accept without waiting: accept4 does it.
    accept_by_syscall: bool,
    /// Addresses of the batch of accepts under way: the kernel writes here.
    addrs: Box<[RawAddr; ACCEPTS_PER_TURN]>,
    /// Headers of the batch of sends under way: the kernel reads them.
    headers: Box<[libc::msghdr; BATCH]>,
    events_per_turn: usize,
    cutter: Cutter,
    now_ns: u64,
    counters: DriverCounters,
    /// The ring has a single issuer: the thread that made it.
    not_send: PhantomData<*mut ()>,
}

#[derive(Debug)]
struct Listener {
    /// `None` once it was closed for good.
    fd: Option<OwnedFd>,
    /// Connections may wait in the backlog.
    ready: bool,
    /// The kernel has a poll of it.
    armed: bool,
    /// What waits there is somebody else's.
    is_left: bool,
}

impl Listener {
    fn new(fd: OwnedFd) -> Self {
        Listener { fd: Some(fd), ready: true, armed: false, is_left: false }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Open,
    /// Closed by the shard; the kernel has yet to say that nothing is left.
    Closing,
}

#[derive(Debug, Default)]
struct Connection {
    state: State,
    /// Counts the slot's connections, modulo [`GENERATIONS`].
    generation: u32,
    inlet: Inlet,
    outlet: Outlet,
    /// The kernel has a poll for bytes and hangups.
    watched: bool,
    /// The kernel has a poll for room to send.
    room_armed: bool,
    /// Operations with completions still to come.
    in_kernel: u8,
    /// Why the kernel would not watch the connection any more (out of memory): its last bytes are read, then it has failed.
    watch_error: Option<NonZeroU16>,
}

/// What is known of a connection's sending side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Outlet {
    /// Nobody waits.
    #[default]
    Idle,
    /// The shard waits for the socket to take bytes again.
    Waiting,
    /// It does again; the event is to be reported.
    Due,
}

struct Read {
    slot: u32,
    buf: RecvBuf,
    next: NextRead,
}

impl UringDriver {
    /// A driver that accepts from `listeners`, once [`Driver::accept_while_below`] lets it. Must be made on the thread
    /// that uses it.
    ///
    /// # Errors
    /// What ring set-up answers (see [`Ring::new`]), and `EMFILE` where `limits.slots` is above `RLIMIT_NOFILE` (the limit
    /// holds for each ring's table by itself).
    pub fn new(limits: &DriverLimits, listeners: Vec<OwnedFd>, options: &UringOptions) -> io::Result<Self> {
        let ring = Ring::new(options.sq_entries, options.cq_entries, options.is_old)?;
        ring.submitter().register_files_sparse(limits.slots.max(1))?;
        // Only shutdowns go through the kernel's worker threads: one is enough. An old kernel may refuse to be told.
        let _ = ring.submitter().register_iowq_max_workers(&mut [1, 1]);
        for listener in &listeners {
            // An accept that finds the backlog empty must say so instead of waiting.
            rustix::io::ioctl_fionbio(listener, true)?;
        }
        #[cfg(test)]
        let ring = {
            let mut ring = ring;
            if options.refuses_most_calls {
                ring.refuse_most_calls();
            }
            ring
        };
        Ok(UringDriver {
            ring,
            answers: Answers::new(),
            in_kernel: 0,
            waker: Arc::new(EventWaker::new()?),
            waker_armed: false,
            woken: false,
            polled_late: VecDeque::new(),
            listeners: listeners.into_iter().map(Listener::new).collect(),
            gate: Gate::new(limits.slots),
            connections: Vec::with_capacity(limits.slots as usize),
            free: FreeSlots::new(limits.slots),
            readable: SlotQueue::new(limits.slots),
            writable: SlotQueue::new(limits.slots),
            unwatched: SlotQueue::new(limits.slots),
            buffers: RecvBuffers::new(limits),
            reads: Vec::with_capacity(BATCH),
            accept_by_syscall: options.accept_by_syscall,
            addrs: Box::new([RawAddr::EMPTY; ACCEPTS_PER_TURN]),
            headers: Box::new([EMPTY_HEADER; BATCH]),
            events_per_turn: limits.events_per_turn.max(1),
            cutter: Cutter::new(options.send_cut),
            now_ns: monotonic_ns(),
            counters: DriverCounters::default(),
            not_send: PhantomData,
        })
    }

    fn open(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.connections.get_mut(slot.0 as usize).filter(|connection| connection.state == State::Open)
    }

    /// True if a turn has something to do without asking the kernel.
    fn has_work(&self) -> bool {
        self.woken
            || !self.writable.is_empty()
            || (!self.readable.is_empty() && self.buffers.available() > 0)
            || (self.gate.room(self.free.in_use(), self.now_ns) > 0 && self.listeners.iter().any(|l| l.ready))
    }

    /// Asks the kernel to tell of room to send.
    fn poll_for_room(&mut self, slot: u32) {
        self.connections[slot as usize].room_armed = true;
        // The kernel looks at the socket's state when it takes the poll: no edge can be missed.
        let poll = opcode::PollAdd::new(Fixed(slot), libc::POLLOUT as u32).build();
        self.push_for(slot, Op::Room, poll);
    }

    /// Asks again for those whose poll ended without room.
    fn poll_again(&mut self) {
        while let Some(&(due_ns, slot, generation)) = self.polled_late.front()
            && due_ns <= self.now_ns
        {
            self.polled_late.pop_front();
            let connection = &self.connections[slot as usize];
            let is_waiting = connection.state == State::Open && connection.outlet == Outlet::Waiting;
            if is_waiting && connection.generation == generation && !connection.room_armed {
                self.poll_for_room(slot);
            }
        }
    }

    fn timeout_ns(&self, wait: Wait) -> u64 {
        match wait {
            Wait::Until(deadline_ns) if !self.has_work() => {
                let retry_ns = self.gate.retry_at_ns(self.now_ns).unwrap_or(u64::MAX);
                let again_ns = self.polled_late.front().map_or(u64::MAX, |&(due_ns, ..)| due_ns);
                deadline_ns.min(retry_ns).min(again_ns).saturating_sub(self.now_ns)
            }
            _ => 0,
        }
    }

    /// Ends the kernel's poll of a listener, if there is one.
    fn cancel_listener(&mut self, index: usize) {
        if self.listeners[index].armed {
            let cancel = opcode::AsyncCancel::new(Token::new(Op::Listener, 0, index as u32).pack()).build();
            self.push_detached(cancel, Token::new(Op::CancelListener, 0, index as u32));
        }
    }

    fn report_writable(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        while left > 0
            && let Some(slot) = self.writable.pop()
        {
            let connection = &mut self.connections[slot as usize];
            if connection.state == State::Open && connection.outlet == Outlet::Due {
                connection.outlet = Outlet::Idle;
                events.push(Event::Writable { slot: Slot(slot) });
                left -= 1;
            }
        }
    }
}

/// How soon to poll again for room to send to a peer that sends no more.
const POLL_AGAIN_NS: u64 = 50_000_000;

const AGAIN: i32 = -libc::EAGAIN;
const INTERRUPTED: i32 = -libc::EINTR;
const EMPTY_HEADER: libc::msghdr = libc::msghdr {
    msg_name: std::ptr::null_mut(),
    msg_namelen: 0,
    msg_iov: std::ptr::null_mut(),
    msg_iovlen: 0,
    msg_control: std::ptr::null_mut(),
    msg_controllen: 0,
    msg_flags: 0,
};

impl Driver for UringDriver {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn fresh_ns(&self) -> u64 {
        clock::monotonic_ns()
    }

    fn cpu_ns(&self) -> u64 {
        clock::thread_cpu_ns()
    }

    fn socket_state(&mut self, slot: Slot) -> Option<SocketState> {
        self.ask_socket(slot)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    fn accept_while_below(&mut self, open_max: u32) {
        self.gate.open_below(open_max);
    }

    fn stop_listening(&mut self) {
        if self.gate.is_stopping() {
            return;
        }
        self.gate.stop();
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if listener.is_left {
                continue;
            }
            // Look once more, whatever was reported so far.
            listener.ready = listener.fd.is_some();
            self.cancel_listener(index);
        }
    }

    fn leave_listener(&mut self, listener: u16) {
        let index = usize::from(listener);
        let listener = &mut self.listeners[index];
        if listener.is_left || listener.fd.is_none() {
            return;
        }
        (listener.is_left, listener.ready) = (true, false);
        if listener.armed {
            self.cancel_listener(index);
        } else {
            listener.fd = None;
        }
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.now_ns = monotonic_ns();
        self.poll_again();
        self.arm();
        let timeout_ns = self.timeout_ns(wait);
        self.ring.wait(Some(timeout_ns));
        if timeout_ns > 0 {
            self.now_ns = monotonic_ns();
        }
        self.reap();
        // One call runs 20 pieces of deferred work at most.
        for _ in 0..LOOKS_PER_TURN {
            if !self.ring.has_deferred() {
                break;
            }
            self.ring.look();
            self.reap();
        }

        let mut left = self.events_per_turn;
        if std::mem::take(&mut self.woken) {
            events.push(Event::Woken);
            left -= 1;
        }
        // No kind of event takes more than half of what is left, so that none starves another.
        let before = events.len();
        self.report_writable(left.div_ceil(2), events);
        left -= events.len() - before;
        let before = events.len();
        self.accept(left.div_ceil(2).min(ACCEPTS_PER_TURN), events);
        left -= events.len() - before;
        self.receive(left, events);
        self.ring.failure().map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        results.clear();
        self.submit_sends(batch);
        for (index, (_, parts)) in batch.iter().enumerate() {
            let sent = match self.answers.results[index].result {
                count @ 1.. => Sent::Bytes(count as usize),
                0 | AGAIN | INTERRUPTED => Sent::Blocked,
                error => Sent::Failed(-error),
            };
            self.counters.sends += 1;
            let asked: usize = parts.iter().map(|part| part.len()).sum();
            self.counters.sends_short += u64::from(!matches!(sent, Sent::Bytes(count) if count == asked));
            results.push(sent);
        }
    }

    fn want_writable(&mut self, slot: Slot) {
        let Some(connection) = self.open(slot) else { return };
        if connection.outlet != Outlet::Idle {
            return;
        }
        connection.outlet = Outlet::Waiting;
        self.poll_for_room(slot.0);
    }

    fn pause_recv(&mut self, slot: Slot) {
        if let Some(connection) = self.open(slot) {
            connection.inlet.pause();
        }
    }

    fn resume_recv(&mut self, slot: Slot) {
        if self.open(slot).is_some_and(|connection| connection.inlet.resume()) {
            self.readable.push(slot.0);
        }
    }

    fn give_back(&mut self, buf: RecvBuf) {
        self.buffers.put(buf);
    }

    fn shutdown_write(&mut self, slot: Slot) {
        if self.open(slot).is_some() {
            self.push_for(slot.0, Op::Shutdown, opcode::Shutdown::new(Fixed(slot.0), libc::SHUT_WR).build());
        }
    }

    fn close(&mut self, slot: Slot) {
        let Some(connection) = self.open(slot) else { return };
        connection.state = State::Closing;
        connection.outlet = Outlet::Idle;
        let (generation, watched, room_armed) = (connection.generation, connection.watched, connection.room_armed);
        // An armed poll holds the socket: closing the descriptor first would send no FIN until the poll ends.
        for (op, armed) in [(Op::Watch, watched), (Op::Room, room_armed)] {
            if armed {
                let cancel = opcode::AsyncCancel::new(Token::new(op, generation, slot.0).pack()).build();
                self.push_for(slot.0, Op::Cancel, cancel);
            }
        }
        self.push_for(slot.0, Op::Close, opcode::Close::new(Fixed(slot.0)).build());
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters { syscalls: self.ring.syscalls, cq_overflows: self.ring.overflows, ..self.counters }
    }
}

impl Drop for UringDriver {
    /// Ends every operation before any memory goes, and closes every socket now rather than when the kernel gets round to
    /// taking the ring apart.
    fn drop(&mut self) {
        self.ring.submit();
        let second = Timespec::new().sec(1);
        let _ = self.ring.submitter().register_sync_cancel(Some(second), CancelBuilder::any());
        let mut looks = 0;
        while self.in_kernel > 0 && looks < LOOKS_AT_END && self.ring.failure().is_none() {
            // A shutdown may be in a worker's hands: give it a moment.
            self.ring.wait(Some(1_000_000));
            self.reap();
            looks += 1;
        }
        let _ = self.ring.submitter().unregister_files();
    }
}

#[cfg(all(test, feature = "guard-pages"))]
mod guard_tests;
#[cfg(test)]
mod tests;
