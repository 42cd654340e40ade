//! The driver on epoll: for kernels and containers that refuse io_uring.
//!
//! Every socket is registered once, edge-triggered; what an edge said is remembered in its [`Inlet`] until a read proves
//! it stale. Interest in writability is (re)stated with each [`Driver::want_writable`], which makes the kernel look at
//! once, so that no edge between a send and the request for it can be lost.
//!
//! Knows descriptors, slots and readiness; must never know frames, topics or policies.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags};

use super::buffers::RecvBuffers;
use super::cut::{Cutter, SendCut};
use super::gate::{ACCEPTS_PER_TURN, AcceptTrouble, Gate};
use super::inlet::{Inlet, NextRead, end_seen};
use super::slots::{FreeSlots, SlotQueue};
use super::waker::EventWaker;
use super::{
    Driver, DriverCounters, DriverLimits, Event, RecvBuf, SendBatch, SendResults, Sent, Slot, SocketState, Wait, Wake,
};
use crate::sys::clock::{self, monotonic_ns};
use crate::sys::poll::{Epoll, EventFlags, RawEvent};
use crate::sys::tcp;

/// Readiness reports taken from the kernel at once; the rest is there at the next turn.
const RAW_EVENTS: usize = 512;
/// Reads of one connection in one turn while others wait.
const READS_PER_TURN: usize = 4;

/// Set in the keys of what is no connection.
const KEY_SPECIAL: u64 = 1 << 63;
/// The waker's key; a listener's is [`KEY_SPECIAL`] plus its index.
const KEY_WAKER: u64 = u64::MAX;

/// What an [`EpollDriver`] is made with beyond the limits.
#[derive(Clone, Debug, Default)]
pub struct EpollOptions {
    /// Test knob.
    pub send_cut: SendCut,
}

/// One shard's epoll instance and its connections.
pub struct EpollDriver {
    epoll: Epoll,
    waker: Arc<EventWaker>,
    woken: bool,
    listeners: Vec<Listener>,
    gate: Gate,
    /// By slot, as far as slots were ever used.
    connections: Vec<Connection>,
    free: FreeSlots,
    readable: SlotQueue,
    writable: SlotQueue,
    buffers: RecvBuffers,
    raw: Box<[RawEvent]>,
    events_per_turn: usize,
    cutter: Cutter,
    now_ns: u64,
    counters: DriverCounters,
}

#[derive(Debug)]
struct Listener {
    /// `None` once it was closed for good.
    fd: Option<OwnedFd>,
    /// Connections may wait in the backlog.
    ready: bool,
}

#[derive(Debug, Default)]
struct Connection {
    /// `None` while the slot is free.
    fd: Option<OwnedFd>,
    /// Counts the slot's connections, so that a late event is told from a new one.
    generation: u32,
    inlet: Inlet,
    outlet: Outlet,
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

impl EpollDriver {
    /// A driver that accepts from `listeners`, once [`Driver::accept_while_below`] lets it.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`, or `ENOSPC` (`fs.epoll.max_user_watches`).
    pub fn new(limits: &DriverLimits, listeners: Vec<OwnedFd>, options: &EpollOptions) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let waker = Arc::new(EventWaker::new()?);
        epoll.add(&*waker, KEY_WAKER, EventFlags::IN | EventFlags::ET)?;
        for (index, listener) in listeners.iter().enumerate() {
            rustix::io::ioctl_fionbio(listener, true)?;
            epoll.add(listener, KEY_SPECIAL | index as u64, EventFlags::IN | EventFlags::ET)?;
        }
        Ok(EpollDriver {
            epoll,
            waker,
            woken: false,
            listeners: listeners.into_iter().map(|fd| Listener { fd: Some(fd), ready: true }).collect(),
            gate: Gate::new(limits.slots),
            connections: Vec::with_capacity(limits.slots as usize),
            free: FreeSlots::new(limits.slots),
            readable: SlotQueue::new(limits.slots),
            writable: SlotQueue::new(limits.slots),
            buffers: RecvBuffers::new(limits),
            raw: vec![RawEvent { events: 0, u64: 0 }; RAW_EVENTS].into_boxed_slice(),
            events_per_turn: limits.events_per_turn.max(1),
            cutter: Cutter::new(options.send_cut),
            now_ns: monotonic_ns(),
            counters: DriverCounters::default(),
        })
    }

    fn open(&mut self, slot: Slot) -> Option<&mut Connection> {
        self.connections.get_mut(slot.0 as usize).filter(|connection| connection.fd.is_some())
    }

    /// True if a turn has something to do without asking the kernel.
    fn has_work(&self) -> bool {
        self.woken
            || !self.writable.is_empty()
            || (!self.readable.is_empty() && self.buffers.available() > 0)
            || (self.gate.room(self.free.in_use(), self.now_ns) > 0 && self.listeners.iter().any(|l| l.ready))
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

    fn on_raw_event(&mut self, key: u64, flags: EventFlags) {
        if key == KEY_WAKER {
            self.waker.on_signal();
            self.woken = true;
        } else if key & KEY_SPECIAL != 0 {
            let listener = &mut self.listeners[(key & !KEY_SPECIAL) as usize];
            listener.ready = listener.fd.is_some();
        } else {
            let slot = key as u32;
            let connection = &mut self.connections[slot as usize];
            if connection.fd.is_none() || connection.generation != (key >> 32) as u32 {
                return;
            }
            let hangup = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            let is_broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            let is_ready = (hangup || flags.contains(EventFlags::IN)) && connection.inlet.on_ready(hangup);
            if is_ready || (hangup && connection.inlet.on_hangup(is_broken)) {
                self.readable.push(slot);
            }
            let writable = flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
            if writable && connection.outlet == Outlet::Waiting {
                connection.outlet = Outlet::Due;
                self.writable.push(slot);
            }
        }
    }

    fn report_writable(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        while left > 0
            && let Some(slot) = self.writable.pop()
        {
            let connection = &mut self.connections[slot as usize];
            if connection.fd.is_some() && connection.outlet == Outlet::Due {
                connection.outlet = Outlet::Idle;
                events.push(Event::Writable { slot: Slot(slot) });
                left -= 1;
            }
        }
    }

    fn accept(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        for index in 0..self.listeners.len() {
            while left > 0 && self.listeners[index].ready && self.gate.room(self.free.in_use(), self.now_ns) > 0 {
                let Some(listener) = &self.listeners[index].fd else { break };
                self.counters.syscalls += 1;
                match rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    Ok((fd, peer)) => {
                        left -= 1;
                        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                        self.register(fd, index as u16, peer, events);
                    }
                    Err(errno) => match AcceptTrouble::of(errno.raw_os_error()) {
                        AcceptTrouble::Empty => self.listeners[index].ready = false,
                        AcceptTrouble::Lost => left -= 1,
                        AcceptTrouble::Exhausted => self.on_exhausted(),
                    },
                }
            }
            if self.gate.is_stopping() {
                self.finish_listening(index);
            }
        }
    }

    fn register(&mut self, fd: OwnedFd, listener: u16, peer: Option<SocketAddr>, events: &mut Vec<Event>) {
        // `accept` asked the gate, whose room is at most the free slots.
        let Some(slot) = self.free.take() else { return };
        while self.connections.len() <= slot as usize {
            self.connections.push(Connection::default());
        }
        let generation = self.connections[slot as usize].generation;
        self.counters.syscalls += 1;
        if self.epoll.add(&fd, connection_key(slot, generation), watched(false)).is_err() {
            // No memory or too many watches: the peer sees the close, and the next accept waits.
            self.free.put(slot);
            self.on_exhausted();
            return;
        }
        self.connections[slot as usize] =
            Connection { fd: Some(fd), generation, inlet: Inlet::default(), outlet: Outlet::default() };
        events.push(Event::Accepted { listener, slot: Slot(slot), peer });
    }

    fn on_exhausted(&mut self) {
        self.counters.accept_exhausted += 1;
        self.gate.on_exhausted(self.now_ns);
    }

    /// Closes a listener whose backlog is empty, or that can be drained no further.
    fn finish_listening(&mut self, index: usize) {
        let full = self.free.is_empty();
        if !self.listeners[index].ready || full {
            self.close_listener(index);
        }
    }

    fn close_listener(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        listener.ready = false;
        if let Some(fd) = listener.fd.take() {
            // Somebody else may have the same socket: then our close alone would not end the watch.
            let _ = self.epoll.remove(&fd);
        }
    }

    fn receive(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        let mut reads = self.readable.len() * READS_PER_TURN;
        while left > 0 && reads > 0 && !self.readable.is_empty() {
            let Some(mut buf) = self.buffers.take() else {
                self.counters.recv_buffers_exhausted += 1;
                return;
            };
            let Some(slot) = self.readable.pop() else { return };
            let room = buf.bytes.len() - buf.start;
            let connection = &mut self.connections[slot as usize];
            let next = connection.inlet.next_read();
            let Some(fd) = connection.fd.as_ref().filter(|_| next != NextRead::Nothing) else {
                self.buffers.put(buf);
                continue;
            };
            reads -= 1;
            if let NextRead::Peek { is_broken } = next {
                self.counters.syscalls += 1;
                let seen = rustix::net::recv(fd, &mut buf.bytes[..1], RecvFlags::DONTWAIT | RecvFlags::PEEK);
                let seen = seen.map(|(_, count)| count).map_err(Errno::raw_os_error);
                self.buffers.put(buf);
                if let Some(error) = end_seen(seen, is_broken)
                    && connection.inlet.on_end()
                {
                    events.push(Event::End { slot: Slot(slot), error });
                    left -= 1;
                }
                continue;
            }
            connection.inlet.on_read_begin();
            self.counters.syscalls += 1;
            let slot_id = Slot(slot);
            match rustix::net::recv(fd, &mut buf.bytes[buf.start..], RecvFlags::DONTWAIT) {
                Ok((1.., count)) => {
                    buf.end = buf.start + count;
                    self.counters.receives += 1;
                    events.push(Event::Received { slot: slot_id, buf });
                    left -= 1;
                    if connection.inlet.on_bytes(count == room) {
                        self.readable.push(slot);
                    }
                    continue;
                }
                Err(Errno::AGAIN) => connection.inlet.on_nothing(),
                Err(Errno::INTR) => {
                    if connection.inlet.on_ready(false) {
                        self.readable.push(slot);
                    }
                }
                ended => {
                    let error = ended.err().map(Errno::raw_os_error);
                    if connection.inlet.on_end() {
                        events.push(Event::End { slot: slot_id, error });
                        left -= 1;
                    }
                }
            }
            self.buffers.put(buf);
        }
    }

    fn send_one(&mut self, slot: Slot, parts: &[IoSlice<'_>]) -> Sent {
        let cut = self.cutter.next();
        let Some(connection) = self.connections.get(slot.0 as usize) else { return Sent::Failed(libc::EBADF) };
        let Some(fd) = &connection.fd else { return Sent::Failed(libc::EBADF) };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            self.counters.syscalls += 1;
            let result = match parts {
                [first, rest @ ..] if rest.is_empty() || cut.is_some() => {
                    rustix::net::send(fd, &first[..first.len().min(cut.unwrap_or(usize::MAX))], flags)
                }
                several => rustix::net::sendmsg(fd, several, &mut SendAncillaryBuffer::default(), flags),
            };
            return match result {
                Ok(count @ 1..) => Sent::Bytes(count),
                Ok(0) | Err(Errno::AGAIN) => Sent::Blocked,
                Err(Errno::INTR) => continue,
                Err(errno) => Sent::Failed(errno.raw_os_error()),
            };
        }
    }
}

fn connection_key(slot: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(slot)
}

fn watched(writability: bool) -> EventFlags {
    let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
    if writability { flags | EventFlags::OUT } else { flags }
}

impl Driver for EpollDriver {
    fn name(&self) -> &'static str {
        "epoll"
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
        let fd = self.open(slot)?.fd.as_ref()?;
        Some(SocketState { peer: tcp::peer(fd), is_window_shut: tcp::is_window_shut(fd) })
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    fn accept_while_below(&mut self, open_max: u32) {
        self.gate.open_below(open_max);
    }

    fn stop_listening(&mut self) {
        self.gate.stop();
        for listener in self.listeners.iter_mut().filter(|listener| listener.fd.is_some()) {
            // Look once more, whatever was reported so far.
            listener.ready = true;
        }
    }

    fn leave_listener(&mut self, listener: u16) {
        self.close_listener(listener.into());
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.now_ns = monotonic_ns();
        let timeout_ns = self.timeout_ns(wait);
        self.counters.syscalls += 1;
        let count = self.epoll.wait(&mut self.raw, timeout_ns)?;
        if timeout_ns > 0 {
            self.now_ns = monotonic_ns();
        }
        for index in 0..count {
            let RawEvent { events: flags, u64: key } = self.raw[index];
            self.on_raw_event(key, EventFlags::from_bits_retain(flags));
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
        Ok(())
    }

    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        results.clear();
        for (slot, parts) in batch.iter() {
            let sent = self.send_one(slot, parts);
            self.counters.sends += 1;
            let asked: usize = parts.iter().map(|part| part.len()).sum();
            self.counters.sends_short += u64::from(!matches!(sent, Sent::Bytes(count) if count == asked));
            results.push(sent);
        }
    }

    fn want_writable(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot.0 as usize) else { return };
        let Some(fd) = &connection.fd else { return };
        if connection.outlet != Outlet::Idle {
            return;
        }
        connection.outlet = Outlet::Waiting;
        self.counters.syscalls += 1;
        // The kernel looks at the socket's state here: writable already is an event of the next turn.
        let key = connection_key(slot.0, connection.generation);
        if self.epoll.modify(fd, key, watched(true)).is_err() {
            // Cannot be watched (no memory): let the next send find out.
            connection.outlet = Outlet::Due;
            self.writable.push(slot.0);
        }
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
        if let Some(fd) = self.open(slot).and_then(|connection| connection.fd.as_ref()) {
            // ENOTCONN: the peer has reset the connection already, which is as shut as can be.
            let _ = rustix::net::shutdown(fd.as_fd(), Shutdown::Write);
            self.counters.syscalls += 1;
        }
    }

    fn close(&mut self, slot: Slot) {
        let Some(connection) = self.open(slot) else { return };
        let Some(fd) = connection.fd.take() else { return };
        // Keys have 31 bits of generation: the top bit marks what is no connection.
        connection.generation = (connection.generation + 1) & 0x7fff_ffff;
        connection.outlet = Outlet::Idle;
        // A forked child of the host may hold a copy of the descriptor: closing ours would then send nothing.
        let _ = rustix::net::shutdown(&fd, Shutdown::Both);
        drop(fd);
        self.counters.syscalls += 2;
        self.free.put(slot.0);
        self.gate.on_closed();
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests;
