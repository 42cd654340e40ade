//! The driver on io_uring.
//!
//! One ring a shard, sockets as direct descriptors (they take no number in the process's table). Readiness comes by
//! multishot polls, 256 bytes of kernel memory for an idle connection. Everything that moves bytes is a *batch*: up to
//! 64 accepts, receives or sends that cannot wait, handed over with one `io_uring_enter` and answered when it returns. So
//! nothing in flight ever names memory, an idle connection owns no buffer, the descriptor table cannot overflow, and
//! closing has only polls to cancel.
//!
//! Knows descriptors, slots and readiness; must never know frames, topics or policies.
//! The safety contract is in [`ring`].
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::NonZeroI32;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use arrayvec::ArrayVec;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed, Timespec};
use io_uring::{opcode, squeue};
use rustix::net::SocketFlags;

use super::buffers::RecvBuffers;
use super::gate::{ACCEPTS_PER_TURN, AcceptTrouble, Gate};
use super::inlet::{Inlet, SlotQueue};
use super::waker::EventWaker;
use super::{
    Driver, DriverCounters, DriverLimits, Event, RecvBuf, SEND_BATCH_OPS, SendBatch, SendResults, Sent, Slot, Wait,
    Wake,
};
use crate::sys::clock::monotonic_ns;
use crate::sys::socket::RawAddr;

pub mod ring;
mod token;

use ring::{Completion, REAP, Ring};
use token::{GENERATIONS, Op, Token};

/// Operations in one batch at most.
const BATCH: usize = SEND_BATCH_OPS;
/// Reads of one connection in one turn while others wait.
const READS_PER_TURN: usize = 4;
/// Accepts tried at once when nothing is known of the backlog: each that finds it empty costs 0.15 µs.
const ACCEPTS_AT_FIRST: usize = 4;
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
    /// Test knob: no send takes more bytes than this.
    pub send_cut: Option<usize>,
    /// Test knob: accept as on kernels before 6.10, whose rings cannot accept without waiting.
    pub accept_by_syscall: bool,
}

impl Default for UringOptions {
    fn default() -> Self {
        UringOptions { sq_entries: 256, cq_entries: 4096, send_cut: None, accept_by_syscall: false }
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
    listeners: Vec<Listener>,
    gate: Gate,
    connections: Box<[Connection]>,
    free: Vec<u32>,
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
    send_cut: usize,
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
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Open,
    /// Closed by the shard; the kernel has yet to say that nothing is left.
    Closing,
}

#[derive(Clone, Debug, Default)]
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
    watch_error: Option<NonZeroI32>,
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

/// Slots that a batch of accepts is to fill.
type Targets = ArrayVec<u32, ACCEPTS_PER_TURN>;

struct Read {
    slot: u32,
    buf: RecvBuf,
}

/// Results of the batch under way, by index.
struct Answers {
    serial: u32,
    outstanding: usize,
    asked: usize,
    results: [Completion; BATCH],
}

const NO_ANSWER: Completion = Completion { user_data: 0, result: -libc::EIO, flags: 0 };

impl Answers {
    fn begin(&mut self) {
        debug_assert_eq!(self.outstanding, 0);
        self.serial = (self.serial + 1) % GENERATIONS;
        self.asked = 0;
    }

    /// The user data of the batch's next operation.
    fn next(&mut self) -> u64 {
        let token = Token::new(Op::Batch, self.serial, self.asked as u32);
        self.results[self.asked] = NO_ANSWER;
        self.asked += 1;
        self.outstanding += 1;
        token.pack()
    }

    fn on_completion(&mut self, token: Token, completion: Completion) {
        // A batch that a failed ring left behind has an older serial.
        if token.generation == self.serial && (token.slot as usize) < self.asked {
            self.results[token.slot as usize] = completion;
            self.outstanding -= 1;
        }
    }
}

impl UringDriver {
    /// A driver that accepts from `listeners`, once [`Driver::accept_while_below`] lets it. Must be made on the thread
    /// that uses it.
    ///
    /// # Errors
    /// What ring set-up answers (see [`Ring::new`]), and `EMFILE` where `limits.slots` is above `RLIMIT_NOFILE` (the limit
    /// holds for each ring's table by itself).
    pub fn new(limits: &DriverLimits, listeners: Vec<OwnedFd>, options: &UringOptions) -> io::Result<Self> {
        let ring = Ring::new(options.sq_entries, options.cq_entries)?;
        ring.submitter().register_files_sparse(limits.slots.max(1))?;
        // Only shutdowns go through the kernel's worker threads: one is enough. An old kernel may refuse to be told.
        let _ = ring.submitter().register_iowq_max_workers(&mut [1, 1]);
        for listener in &listeners {
            // An accept that finds the backlog empty must say so instead of waiting.
            rustix::io::ioctl_fionbio(listener, true)?;
        }
        Ok(UringDriver {
            ring,
            answers: Answers { serial: 0, outstanding: 0, asked: 0, results: [NO_ANSWER; BATCH] },
            in_kernel: 0,
            waker: Arc::new(EventWaker::new()?),
            waker_armed: false,
            woken: false,
            listeners: listeners
                .into_iter()
                .map(|fd| Listener { fd: Some(fd), ready: true, armed: false })
                .collect(),
            gate: Gate::new(limits.slots),
            connections: vec![Connection::default(); limits.slots as usize].into_boxed_slice(),
            free: (0..limits.slots).rev().collect(),
            readable: SlotQueue::new(limits.slots),
            writable: SlotQueue::new(limits.slots),
            unwatched: SlotQueue::new(limits.slots),
            buffers: RecvBuffers::new(limits),
            reads: Vec::with_capacity(BATCH),
            accept_by_syscall: options.accept_by_syscall,
            addrs: Box::new([RawAddr::EMPTY; ACCEPTS_PER_TURN]),
            headers: Box::new([EMPTY_HEADER; BATCH]),
            events_per_turn: limits.events_per_turn.max(1),
            send_cut: options.send_cut.unwrap_or(usize::MAX).max(1),
            now_ns: monotonic_ns(),
            counters: DriverCounters::default(),
            not_send: PhantomData,
        })
    }

    fn in_use(&self) -> u32 {
        (self.connections.len() - self.free.len()) as u32
    }

    fn open(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.connections.get_mut(slot.0 as usize).filter(|connection| connection.state == State::Open)
    }

    /// True if a turn has something to do without asking the kernel.
    fn has_work(&self) -> bool {
        self.woken
            || !self.writable.is_empty()
            || (!self.readable.is_empty() && self.buffers.available() > 0)
            || (self.gate.room(self.in_use(), self.now_ns) > 0 && self.listeners.iter().any(|l| l.ready))
    }

    fn timeout_ns(&self, wait: Wait) -> u64 {
        match wait {
            Wait::Until(deadline_ns) if !self.has_work() => {
                let retry_ns = self.gate.retry_at_ns(self.now_ns).unwrap_or(u64::MAX);
                deadline_ns.min(retry_ns).saturating_sub(self.now_ns)
            }
            _ => 0,
        }
    }

    // --- Submission ---

    /// Queues an entry, handing over what is queued if there is no room.
    ///
    /// # Safety
    /// As [`Ring::push`].
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: passed on to the caller.
        while !unsafe { self.ring.push(entry) } && self.ring.failure().is_none() {
            if !self.ring.submit() {
                self.reap();
            }
        }
    }

    /// Queues an operation that names no memory and completes when it likes.
    fn push_detached(&mut self, entry: squeue::Entry, token: Token) {
        self.in_kernel += 1;
        // SAFETY: polls, cancels, closes and shutdowns name no memory of ours.
        unsafe { self.push(&entry.user_data(token.pack())) };
    }

    /// The same, on behalf of a connection, which is not over before it has completed.
    fn push_for(&mut self, slot: u32, op: Op, entry: squeue::Entry) {
        let connection = &mut self.connections[slot as usize];
        connection.in_kernel += 1;
        let token = Token::new(op, connection.generation, slot);
        self.push_detached(entry, token);
    }

    /// Hands the batch over and takes completions until all of it is answered. Operations of a batch cannot wait, so that
    /// neither can this.
    fn finish_batch(&mut self) {
        while self.answers.outstanding > 0 {
            let submitted = self.ring.submit();
            if self.ring.failure().is_some() {
                // Unanswered ones read as EIO; the next turn reports the ring's failure.
                self.answers.outstanding = 0;
                return;
            }
            if self.reap() == 0 && submitted {
                // Overflown into the kernel's own list: it is fetched by asking for events.
                self.ring.wait(None);
            }
        }
    }

    // --- Completion ---

    /// Takes all completions there are. Returns how many.
    fn reap(&mut self) -> usize {
        let mut total = 0;
        loop {
            let mut completions = [NO_ANSWER; REAP];
            let count = self.ring.reap(&mut completions);
            for completion in &completions[..count] {
                self.on_completion(*completion);
            }
            total += count;
            if count < REAP {
                return total;
            }
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        let Some(token) = Token::unpack(completion.user_data) else { return };
        if token.op == Op::Batch {
            return self.answers.on_completion(token, completion);
        }
        let is_last = !completion.is_more();
        self.in_kernel -= usize::from(is_last);
        match token.op {
            // Without its wakes or connections a driver is of no use, and to ask again and again would spin.
            Op::Waker | Op::Listener if completion.result < 0 && completion.result != -libc::ECANCELED => {
                self.ring.fail(-completion.result);
            }
            Op::Waker => {
                self.waker_armed &= !is_last;
                self.waker.on_signal();
                self.woken = true;
            }
            Op::Listener => {
                // A listener under cancellation is looked at a last time, too.
                let listener = &mut self.listeners[token.slot as usize];
                listener.armed &= !is_last;
                listener.ready = true;
            }
            Op::CancelListener | Op::Batch => {}
            Op::Watch | Op::Room | Op::Cancel | Op::Close | Op::Shutdown => {
                self.on_connection_completion(token, completion.result, is_last);
            }
        }
    }

    fn on_connection_completion(&mut self, token: Token, result: i32, is_last: bool) {
        let slot = token.slot;
        let connection = &mut self.connections[slot as usize];
        // A slot is not reused while it has operations in the kernel: this is the second lock on that door.
        if connection.generation != token.generation {
            debug_assert!(false, "completion of a connection that is over: {token:?}");
            return;
        }
        connection.in_kernel -= u8::from(is_last);
        let is_open = connection.state == State::Open;
        match token.op {
            Op::Watch => {
                connection.watched &= !is_last;
                if is_open {
                    // An error reads as a hangup: the receive that follows learns what it is.
                    let hangup = result < 0 || result & HANGUP != 0;
                    if connection.inlet.on_ready(hangup) {
                        self.readable.push(slot);
                    }
                    if result < 0 {
                        connection.watch_error = NonZeroI32::new(-result);
                    } else if is_last {
                        // Every good end re-arms: an overflow of completions ends polls that way.
                        self.unwatched.push(slot);
                    }
                }
            }
            Op::Room => {
                connection.room_armed = false;
                if is_open && connection.outlet == Outlet::Waiting {
                    connection.outlet = Outlet::Due;
                    self.writable.push(slot);
                }
            }
            _ => {}
        }
        let connection = &mut self.connections[slot as usize];
        if connection.state == State::Closing && connection.in_kernel == 0 {
            connection.state = State::Free;
            connection.generation = (connection.generation + 1) % GENERATIONS;
            self.free.push(slot);
            self.gate.on_closed();
        }
    }

    /// Arms every poll that should be and is not.
    fn arm(&mut self) {
        if !self.waker_armed {
            self.waker_armed = true;
            let poll = opcode::PollAdd::new(Fd(self.waker.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
            self.push_detached(poll, Token::new(Op::Waker, 0, 0));
        }
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if let (Some(fd), false, false) = (&listener.fd, listener.armed, self.gate.is_stopping()) {
                let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
                listener.armed = true;
                self.push_detached(poll, Token::new(Op::Listener, 0, index as u32));
            }
        }
        while let Some(slot) = self.unwatched.pop() {
            self.watch(slot);
        }
    }

    fn watch(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if connection.state == State::Open && !connection.watched && !connection.inlet.is_ended() {
            connection.watched = true;
            let poll = opcode::PollAdd::new(Fixed(slot), WATCHED as u32).multi(true).build();
            self.push_for(slot, Op::Watch, poll);
        }
    }

    // --- What a turn reports ---

    fn report_writable(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        while left > 0 && let Some(slot) = self.writable.pop() {
            let connection = &mut self.connections[slot as usize];
            if connection.state == State::Open && connection.outlet == Outlet::Due {
                connection.outlet = Outlet::Idle;
                events.push(Event::Writable { slot: Slot(slot) });
                left -= 1;
            }
        }
    }

    fn accept(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        for index in 0..self.listeners.len() {
            let mut attempt = ACCEPTS_AT_FIRST;
            while left > 0 && self.listeners[index].ready {
                let room = self.gate.room(self.in_use(), self.now_ns) as usize;
                let count = attempt.min(room).min(left).min(ACCEPTS_PER_TURN);
                if count == 0 {
                    break;
                }
                left -= self.accept_batch(index, count, events);
                attempt *= 4;
            }
            if self.gate.is_stopping() {
                self.finish_listening(index);
            }
        }
    }

    /// Tries `count` accepts, for which there are slots. Returns how many attempts were used up.
    fn accept_batch(&mut self, index: usize, count: usize, events: &mut Vec<Event>) -> usize {
        let Some(fd) = self.listeners[index].fd.as_ref().map(AsRawFd::as_raw_fd) else {
            self.listeners[index].ready = false;
            return 0;
        };
        // What comes in from here on is news, also if the poll reports it while the batch is under way.
        self.listeners[index].ready = false;
        // The gate's room is at most the free slots.
        let targets: Targets = (0..count).filter_map(|_| self.free.pop()).collect();
        if self.accept_by_syscall {
            self.accept_into_table(index, &targets);
        } else {
            self.submit_accepts(fd, &targets);
        }

        let (mut empty, mut exhausted) = (false, false);
        let mut used = 0;
        for (attempt, &slot) in targets.iter().enumerate() {
            let result = self.answers.results[attempt].result;
            if result >= 0 {
                used += 1;
                self.on_accepted(slot, attempt, events);
                continue;
            }
            if result == -libc::EINVAL && !self.accept_by_syscall {
                // Before 6.10 the kernel knows no accept that does not wait. Nothing was accepted: the other way.
                self.accept_by_syscall = true;
                continue;
            }
            match AcceptTrouble::of(-result) {
                AcceptTrouble::Empty => empty = true,
                AcceptTrouble::Lost => used += 1,
                AcceptTrouble::Exhausted => exhausted = true,
            }
        }
        for (_, &slot) in targets.iter().enumerate().rev().filter(|&(i, _)| self.answers.results[i].result < 0) {
            self.free.push(slot);
        }
        if exhausted {
            self.counters.accept_exhausted += 1;
            self.gate.on_exhausted(self.now_ns);
        }
        // No accept found the backlog empty: it may hold more.
        self.listeners[index].ready |= !empty;
        used
    }

    /// Accepts straight into the table's slots `targets`, all with one call.
    fn submit_accepts(&mut self, listener: i32, targets: &[u32]) {
        self.answers.begin();
        for (attempt, &slot) in targets.iter().enumerate() {
            let target = DestinationSlot::try_from_slot_target(slot).ok();
            let addr = &mut self.addrs[attempt];
            *addr = RawAddr::EMPTY;
            let room = &raw mut addr.len;
            let accept = opcode::Accept::new(Fd(listener), addr.bytes.as_mut_ptr().cast(), room).file_index(target);
            let token = self.answers.next();
            let entry = ring::without_waiting(accept.build().user_data(token));
            // SAFETY: the address and its length are in a box that this driver owns and frees after its ring; they stay
            // untouched until `finish_batch` below has seen the completion.
            unsafe { self.push(&entry) };
        }
        self.finish_batch();
    }

    /// The same with system calls: accept, move the socket into the table, forget its number.
    fn accept_into_table(&mut self, index: usize, targets: &[u32]) {
        let mut error = 0;
        for (attempt, &slot) in targets.iter().enumerate() {
            // After one error the rest would only repeat it.
            if error == 0 {
                match self.accept_one_into_table(index, slot) {
                    Ok(addr) => self.addrs[attempt] = addr,
                    Err(errno) => error = -errno.raw_os_error(),
                }
            }
            self.answers.results[attempt].result = error;
        }
    }

    fn accept_one_into_table(&mut self, index: usize, slot: u32) -> Result<RawAddr, rustix::io::Errno> {
        let Some(listener) = &self.listeners[index].fd else { return Err(rustix::io::Errno::AGAIN) };
        self.ring.syscalls += 3;
        let (fd, peer) = rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
        self.ring
            .submitter()
            .register_files_update(slot, &[fd.as_raw_fd()])
            .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::NOMEM))?;
        Ok(peer.and_then(|peer| SocketAddr::try_from(peer).ok()).map_or(RawAddr::EMPTY, RawAddr::from))
    }

    fn on_accepted(&mut self, slot: u32, attempt: usize, events: &mut Vec<Event>) {
        let generation = self.connections[slot as usize].generation;
        self.connections[slot as usize] = Connection { state: State::Open, generation, ..Connection::default() };
        events.push(Event::Accepted { slot: Slot(slot), peer: self.addrs[attempt].to_socket_addr() });
        self.watch(slot);
    }

    /// Closes a listener whose poll is gone and whose backlog is empty, or that can be drained no further.
    fn finish_listening(&mut self, index: usize) {
        let full = self.free.is_empty();
        let listener = &mut self.listeners[index];
        // With its poll armed the kernel would keep it listening after our close.
        if !listener.armed && (!listener.ready || full) {
            listener.ready = false;
            listener.fd = None;
        }
    }

    fn receive(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        let mut attempts = self.readable.len() * READS_PER_TURN;
        while left > 0 && attempts > 0 {
            let mut reads = std::mem::take(&mut self.reads);
            self.begin_reads(left.min(attempts).min(BATCH), &mut reads);
            attempts -= reads.len();
            let count = reads.len();
            self.submit_reads(&mut reads);
            for (index, read) in reads.drain(..).enumerate() {
                let before = events.len();
                self.on_read(self.answers.results[index], read, events);
                left -= events.len() - before;
            }
            self.reads = reads;
            if count == 0 {
                return;
            }
        }
    }

    /// Pairs connections that may have bytes with buffers.
    fn begin_reads(&mut self, most: usize, reads: &mut Vec<Read>) {
        while reads.len() < most && !self.readable.is_empty() {
            let Some(buf) = self.buffers.take() else {
                self.counters.recv_buffers_exhausted += 1;
                return;
            };
            let Some(slot) = self.readable.pop() else { return };
            let connection = &mut self.connections[slot as usize];
            if connection.state == State::Open && connection.inlet.wants_read() {
                connection.inlet.on_read_begin();
                reads.push(Read { slot, buf });
            } else {
                self.buffers.put(buf);
            }
        }
    }

    fn submit_reads(&mut self, reads: &mut [Read]) {
        self.answers.begin();
        for Read { slot, buf } in reads.iter_mut() {
            let room = (buf.bytes.len() - buf.start) as u32;
            let to = buf.bytes[buf.start..].as_mut_ptr();
            let receive = opcode::Recv::new(Fixed(*slot), to, room).flags(libc::MSG_DONTWAIT).build();
            let token = self.answers.next();
            // SAFETY: the buffer is exclusively borrowed through `reads` and stays where it is until `finish_batch` below
            // has seen the completion; `room` is what is left of it from `to`.
            unsafe { self.push(&receive.user_data(token)) };
        }
        self.finish_batch();
    }

    fn on_read(&mut self, answer: Completion, read: Read, events: &mut Vec<Event>) {
        let Read { slot, mut buf } = read;
        let connection = &mut self.connections[slot as usize];
        let slot_id = Slot(slot);
        match answer.result {
            count @ 1.. => {
                buf.end = buf.start + count as usize;
                let more = buf.end == buf.bytes.len() || answer.is_socket_nonempty();
                self.counters.receives += 1;
                events.push(Event::Received { slot: slot_id, buf });
                if connection.inlet.on_bytes(more) {
                    self.readable.push(slot);
                }
                return;
            }
            AGAIN => {
                connection.inlet.on_nothing();
                if let Some(errno) = connection.watch_error
                    && connection.inlet.on_end()
                {
                    events.push(Event::End { slot: slot_id, error: Some(errno.get()) });
                }
            }
            INTERRUPTED => {
                if connection.inlet.on_ready(false) {
                    self.readable.push(slot);
                }
            }
            ended => {
                if connection.inlet.on_end() {
                    events.push(Event::End { slot: slot_id, error: (ended < 0).then_some(-ended) });
                }
            }
        }
        self.buffers.put(buf);
    }

    // --- Sending ---

    fn submit_sends(&mut self, batch: &SendBatch<'_>) {
        self.answers.begin();
        for (index, (slot, parts)) in batch.iter().enumerate() {
            let token = self.answers.next();
            if self.open(slot).is_none() {
                self.answers.outstanding -= 1;
                self.answers.results[index].result = -libc::EBADF;
                continue;
            }
            let fixed = Fixed(slot.0);
            let entry = if parts.len() == 1 || self.send_cut != usize::MAX {
                let len = parts[0].len().min(self.send_cut).min(u32::MAX as usize);
                opcode::Send::new(fixed, parts[0].as_ptr(), len as u32).flags(SEND_FLAGS).build()
            } else {
                let header = &mut self.headers[index];
                // `IoSlice` is an iovec by its contract; the kernel does not write through it in a send.
                header.msg_iov = parts.as_ptr().cast_mut().cast();
                header.msg_iovlen = parts.len() as _;
                opcode::SendMsg::new(fixed, header).flags(SEND_FLAGS as u32).build()
            };
            // SAFETY: bytes and parts are borrowed by the batch, which outlives this call; the header is in a box that this
            // driver owns. All of it stays as it is until `finish_batch` below has seen the completion.
            unsafe { self.push(&entry.user_data(token)) };
        }
        self.finish_batch();
    }
}

const AGAIN: i32 = -libc::EAGAIN;
const INTERRUPTED: i32 = -libc::EINTR;
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
const WATCHED: i32 = (libc::POLLIN | libc::POLLRDHUP) as i32;
const HANGUP: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;
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
            // Look once more, whatever was reported so far.
            self.listeners[index].ready = self.listeners[index].fd.is_some();
            if self.listeners[index].armed {
                let cancel = opcode::AsyncCancel::new(Token::new(Op::Listener, 0, index as u32).pack()).build();
                self.push_detached(cancel, Token::new(Op::CancelListener, 0, index as u32));
            }
        }
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.now_ns = monotonic_ns();
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
        connection.room_armed = true;
        // The kernel looks at the socket's state when it takes the poll: no edge can be missed.
        let poll = opcode::PollAdd::new(Fixed(slot.0), libc::POLLOUT as u32).build();
        self.push_for(slot.0, Op::Room, poll);
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

#[cfg(test)]
mod tests;
