//! The simulated network: virtual time, listeners, connections and faults, shared by drivers and clients.
//!
//! Everything happens in one thread; every random choice comes from one seeded generator. So a run is its seed.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::SimDriver;
use super::conn::{ClientEnd, Conn, ECONNRESET, EPIPE, ETIMEDOUT, EndNews, ShardEnd, delayed};
use super::options::SimOptions;
use super::rng::Rng;
use super::socket::SimSocket;
use crate::driver::{DriverCounters, Event, RECV_HEADROOM, RecvBuf, Sent, Slot};

/// What received memory is filled with before and after it is lent, so that stale reads show.
const POISON: u8 = 0xdd;

/// A network, shared by its drivers and sockets. Clones are handles of the same network.
#[derive(Clone)]
pub struct SimNet {
    state: Rc<RefCell<NetState>>,
}

/// Everything a network holds.
pub struct NetState {
    /// The knobs; may be changed between two turns.
    pub options: SimOptions,
    had_resets: bool,
    had_delays: bool,
    pub(super) now_ns: u64,
    clock: Arc<AtomicU64>,
    pub(super) rng: Rng,
    pub(super) conns: Vec<Conn>,
    pub(super) shards: Vec<ShardSide>,
}

/// What the kernel keeps for one shard.
pub(super) struct ShardSide {
    pub listening: bool,
    pub open_max: u32,
    /// No more accepts than those already waiting; the listener closes with the last of them.
    pub stopping: bool,
    /// What waits is another process's, which has the same socket.
    pub is_left: bool,
    pub backlog: VecDeque<usize>,
    /// Connection by slot.
    pub slots: Vec<Option<usize>>,
    /// Slots in use.
    pub used: BTreeSet<u32>,
    /// Free slots; the last freed is the last.
    pub free: Vec<u32>,
    /// Receive buffers not on loan.
    pub buffers: Vec<(u16, Box<[u8]>)>,
    /// Address of each buffer, by id: a foreign one is recognised when it comes back.
    pub buffer_addresses: Vec<usize>,
    pub lent: Vec<bool>,
    pub woken: Arc<AtomicBool>,
    pub counters: DriverCounters,
    pub alive: bool,
    /// Turns of the shard.
    pub turns: u64,
    /// Connections accepted, in order, until somebody asks.
    pub accepted: Vec<usize>,
}

impl ShardSide {
    fn open(&self) -> u32 {
        self.used.len() as u32
    }
}

impl SimNet {
    /// A network without shards yet, at a random virtual time.
    pub fn new(seed: u64, options: SimOptions) -> Self {
        let mut rng = Rng::new(seed);
        let now_ns = 1_000_000_000 + rng.below(1 << 40);
        let (had_resets, had_delays) = (options.reset > 0 || options.failed_send > 0, options.delay > 0);
        let clock = Arc::new(AtomicU64::new(now_ns));
        let (conns, shards) = (Vec::new(), Vec::new());
        let state = NetState { had_resets, had_delays, options, now_ns, clock, rng, conns, shards };
        SimNet { state: Rc::new(RefCell::new(state)) }
    }

    /// The driver of shard number `shard`; shards are made in order, each once.
    ///
    /// # Panics
    /// If `shard` is not the next number.
    pub fn driver(&self, shard: usize) -> SimDriver {
        let mut net = self.state_mut();
        assert_eq!(shard, net.shards.len(), "drivers are made in order");
        let limits = net.options.limits.clone();
        let buffers: Vec<(u16, Box<[u8]>)> = (0..limits.recv_buffers)
            .map(|id| (id, vec![POISON; RECV_HEADROOM + limits.recv_bytes as usize].into_boxed_slice()))
            .collect();
        net.shards.push(ShardSide {
            listening: true,
            open_max: 0,
            stopping: false,
            is_left: false,
            backlog: VecDeque::new(),
            slots: vec![None; limits.slots as usize],
            used: BTreeSet::new(),
            free: (0..limits.slots).rev().collect(),
            buffer_addresses: buffers.iter().map(|(_, bytes)| bytes.as_ptr() as usize).collect(),
            lent: vec![false; buffers.len()],
            buffers,
            woken: Arc::new(AtomicBool::new(false)),
            counters: DriverCounters::default(),
            alive: true,
            turns: 0,
            accepted: Vec::new(),
        });
        drop(net);
        SimDriver::new(self.clone(), shard)
    }

    /// A client's connection to `shard`, from a made-up local address.
    pub fn connect(&self, shard: usize) -> SimSocket {
        let port = 1024 + (self.state().conns.len() % 60_000) as u16;
        self.connect_from(shard, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// A client's connection to `shard` from `peer`. Refused (the socket reads a reset) where nobody listens or the
    /// backlog is full.
    pub fn connect_from(&self, shard: usize, peer: SocketAddr) -> SimSocket {
        let conn = self.state_mut().connect(shard, peer);
        SimSocket::new(self.clone(), conn)
    }

    /// Of each shard's driver.
    #[cfg(all(test, feature = "tls"))]
    pub fn limits(&self) -> crate::driver::DriverLimits {
        self.state().options.limits.clone()
    }

    /// Virtual time.
    pub fn now_ns(&self) -> u64 {
        self.state().now_ns
    }

    /// Whether a shard takes connections.
    pub fn is_listening(&self, shard: usize) -> bool {
        self.state().shards[shard].listening
    }

    /// Moves virtual time on to `t`; never back.
    pub fn advance_to(&self, t: u64) {
        let mut net = self.state_mut();
        net.now_ns = net.now_ns.max(t);
        net.clock.store(net.now_ns, Ordering::Relaxed);
    }

    /// The earliest instant at which the shard's driver has an event to report, if nobody acts.
    pub fn next_due(&self, shard: usize) -> Option<u64> {
        self.state().next_due(shard)
    }

    /// True when the shard's driver would report something now.
    pub fn is_due(&self, shard: usize) -> bool {
        let net = self.state();
        net.next_due(shard).is_some_and(|t| t <= net.now_ns)
    }

    /// True when a waker was used and no turn has reported it.
    pub fn is_woken(&self, shard: usize) -> bool {
        self.state().shards[shard].woken.load(Ordering::Acquire)
    }

    /// Slots in use on a shard.
    pub fn open_slots(&self, shard: usize) -> u32 {
        self.state().shards[shard].open()
    }

    /// Receive buffers that the shard holds.
    pub fn buffers_lent(&self, shard: usize) -> usize {
        self.state().shards[shard].lent.iter().filter(|lent| **lent).count()
    }

    /// Turns that a shard has begun.
    pub fn turns(&self, shard: usize) -> u64 {
        self.state().shards[shard].turns
    }

    /// The sockets that a shard has accepted since this was asked last, in order.
    pub fn take_accepted(&self, shard: usize) -> Vec<usize> {
        std::mem::take(&mut self.state_mut().shards[shard].accepted)
    }

    /// A clock that shows this network's virtual time, for any thread.
    pub fn clock(&self) -> Arc<AtomicU64> {
        self.state().clock.clone()
    }

    /// Bytes that have moved so far, in both directions: where this stands still, nothing happens.
    pub fn bytes_moved(&self) -> u64 {
        self.state().conns.iter().map(|conn| conn.sent_total + conn.received_total).sum()
    }

    /// True if the network could reset connections at any time of its life.
    pub fn has_resets(&self) -> bool {
        self.state().had_resets
    }

    /// True if the network could delay things at any time of its life.
    pub fn has_delays(&self) -> bool {
        self.state().had_delays
    }

    /// Changes the faults of a running network.
    pub fn with_options(&self, change: impl FnOnce(&mut SimOptions)) {
        change(&mut self.state_mut().options);
    }

    pub(super) fn state(&self) -> Ref<'_, NetState> {
        self.state.borrow()
    }

    pub(super) fn state_mut(&self) -> RefMut<'_, NetState> {
        self.state.borrow_mut()
    }
}

/// The clients' side.
impl NetState {
    fn connect(&mut self, shard: usize, peer: SocketAddr) -> usize {
        let peer = if self.rng.chance(self.options.peer_unknown) { None } else { Some(peer) };
        let due = delayed(self.now_ns, &mut self.rng, &self.options);
        let ends_while_paused = self.rng.chance(self.options.ends_while_paused);
        let mut conn = Conn::new(peer, due, ends_while_paused);
        let side = &mut self.shards[shard];
        let index = self.conns.len();
        let takes = side.is_left || side.listening && !side.stopping && side.alive;
        if takes && side.backlog.len() < self.options.backlog {
            side.backlog.push_back(index);
        } else {
            conn.server = ShardEnd::Closed;
            conn.client_reset = true;
            conn.failed = Some(ECONNRESET);
        }
        self.conns.push(conn);
        index
    }

    pub(super) fn client_write(&mut self, index: usize, bytes: &[u8]) -> Option<usize> {
        let conn = &mut self.conns[index];
        assert_eq!(conn.client, ClientEnd::Open, "the client writes after it has closed");
        if conn.client_reset {
            return None;
        }
        if conn.server == ShardEnd::Closed {
            // What comes to a closed socket is answered with RST; the first write still succeeds.
            conn.abort(ECONNRESET, self.now_ns, &mut self.rng, &self.options);
            return Some(bytes.len());
        }
        let n = bytes.len().min(self.options.recv_capacity.saturating_sub(conn.inbound.len()));
        if conn.inbound.is_empty() {
            conn.inbound_due = delayed(self.now_ns, &mut self.rng, &self.options);
        }
        conn.inbound.extend(&bytes[..n]);
        Some(n)
    }

    pub(super) fn client_read(&mut self, index: usize, max: usize, into: &mut Vec<u8>) -> usize {
        let conn = &mut self.conns[index];
        let n = max.min(conn.outbound.len());
        into.extend(conn.outbound.drain(..n));
        if n > 0 {
            conn.arm_writable(self.now_ns, &mut self.rng, &self.options);
        }
        n
    }

    pub(super) fn client_shutdown(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        if conn.client == ClientEnd::Open {
            conn.client = ClientEnd::Finished;
            if conn.failed.is_none() && conn.end == EndNews::None {
                conn.end = EndNews::Due(delayed(self.now_ns, &mut self.rng, &self.options), None);
            }
        }
    }

    pub(super) fn client_reset(&mut self, index: usize) {
        self.client_fails(index, ECONNRESET);
    }

    pub(super) fn client_fails(&mut self, index: usize, errno: i32) {
        let conn = &mut self.conns[index];
        conn.client = ClientEnd::Gone;
        conn.outbound.clear();
        conn.abort(errno, self.now_ns, &mut self.rng, &self.options);
    }

    pub(super) fn client_close(&mut self, index: usize) {
        if !self.conns[index].outbound.is_empty() {
            // close(2) with unread data sends RST, not FIN.
            return self.client_reset(index);
        }
        self.client_shutdown(index);
        let conn = &mut self.conns[index];
        conn.client = ClientEnd::Gone;
        conn.arm_writable(self.now_ns, &mut self.rng, &self.options);
    }
}

/// The shards' side.
impl NetState {
    pub(super) fn conn_of(&mut self, shard: usize, slot: Slot, what: &str) -> usize {
        let open = self.shards[shard].slots.get(slot.0 as usize).copied().flatten();
        open.unwrap_or_else(|| panic!("shard {shard}: {what} on the closed slot {}", slot.0))
    }

    pub(super) fn turn(&mut self, shard: usize, events: &mut Vec<Event>) {
        let side = &mut self.shards[shard];
        side.counters.syscalls += 1;
        let events_max = events.len() + self.options.limits.events_per_turn;

        if side.woken.swap(false, Ordering::AcqRel) || self.rng.chance(self.options.spurious_woken) {
            events.push(Event::Woken);
        }
        let mut slots: Vec<u32> = self.shards[shard].used.iter().copied().collect();
        let start = if slots.is_empty() { 0 } else { self.rng.index(slots.len()) };
        slots.rotate_left(start);
        let shuffled = self.rng.chance(self.options.shuffle);
        if shuffled {
            self.rng.shuffle(&mut slots);
        }
        let accepts_first = self.rng.chance(500);
        if accepts_first {
            self.accept(shard, events, events_max);
        }
        for slot in slots {
            if events.len() >= events_max {
                break;
            }
            self.report(shard, slot, events, events_max);
        }
        if !accepts_first {
            self.accept(shard, events, events_max);
        }
        self.close_listener_if_done(shard);
    }

    /// What there is to say of one connection.
    fn report(&mut self, shard: usize, slot: u32, events: &mut Vec<Event>, events_max: usize) {
        let now = self.now_ns;
        let Some(index) = self.shards[shard].slots[slot as usize] else { return };
        if self.rng.chance(self.options.reset) && !self.conns[index].is_protected {
            let errno = *self.rng.pick(&[ECONNRESET, ETIMEDOUT]);
            self.conns[index].abort(errno, now, &mut self.rng, &self.options);
        }
        let writable_first = self.rng.chance(500);
        if writable_first {
            self.report_writable(index, slot, events);
        }
        // Mostly all that is there in one run, sometimes several runs in one turn, as multishot receives do.
        while events.len() < events_max && self.conns[index].has_bytes(now) {
            if !self.report_bytes(shard, index, slot, events) {
                break;
            }
        }
        if events.len() < events_max
            && let Some(error) = self.conns[index].end_due(now)
        {
            let conn = &mut self.conns[index];
            conn.end = EndNews::Told;
            conn.inbound.clear();
            events.push(Event::End { slot: Slot(slot), error });
        }
        if !writable_first && events.len() < events_max {
            self.report_writable(index, slot, events);
        }
    }

    fn report_writable(&mut self, index: usize, slot: u32, events: &mut Vec<Event>) {
        let conn = &mut self.conns[index];
        if conn.want && conn.writable_due.is_some_and(|due| due <= self.now_ns) {
            conn.want = false;
            conn.writable_due = None;
            events.push(Event::Writable { slot: Slot(slot) });
        }
    }

    /// Lends one buffer of received bytes; false when none is free.
    fn report_bytes(&mut self, shard: usize, index: usize, slot: u32, events: &mut Vec<Event>) -> bool {
        let side = &mut self.shards[shard];
        let exhausted = side.buffers.is_empty() || self.rng.chance(self.options.no_recv_buffer);
        if exhausted {
            side.counters.recv_buffers_exhausted += 1;
            return false;
        }
        let pick = self.rng.index(side.buffers.len());
        let (id, mut bytes) = side.buffers.swap_remove(pick);
        side.lent[id as usize] = true;
        side.counters.receives += 1;

        let conn = &mut self.conns[index];
        let whole = conn.inbound.len().min(self.options.limits.recv_bytes as usize);
        let n = if self.rng.chance(self.options.recv_crumb) {
            self.rng.between(1, 7).min(whole as u64) as usize
        } else if self.rng.chance(self.options.recv_cut) {
            self.rng.between(1, whole as u64) as usize
        } else {
            whole
        };
        bytes.fill(POISON);
        for (to, from) in bytes[RECV_HEADROOM..].iter_mut().zip(conn.inbound.drain(..n)) {
            *to = from;
        }
        conn.received_total += n as u64;
        conn.inbound_due = delayed(self.now_ns, &mut self.rng, &self.options);
        let buf = RecvBuf { bytes, start: RECV_HEADROOM, end: RECV_HEADROOM + n, id };
        events.push(Event::Received { slot: Slot(slot), buf });
        true
    }

    fn accept(&mut self, shard: usize, events: &mut Vec<Event>, events_max: usize) {
        let one = self.rng.chance(self.options.accept_one);
        while events.len() < events_max && self.can_accept(shard, self.now_ns) {
            let side = &mut self.shards[shard];
            let index = side.backlog.pop_front().expect("can_accept saw it");
            let at = if self.rng.chance(self.options.slot_reuse) {
                side.free.len() - 1
            } else {
                self.rng.index(side.free.len())
            };
            let slot = side.free.remove(at);
            assert!(side.slots[slot as usize].is_none());
            side.slots[slot as usize] = Some(index);
            side.used.insert(slot);
            let conn = &mut self.conns[index];
            conn.server = ShardEnd::Open(slot);
            side.accepted.push(index);
            events.push(Event::Accepted { listener: 0, slot: Slot(slot), peer: conn.peer });
            if one {
                break;
            }
        }
    }

    fn can_accept(&self, shard: usize, now: u64) -> bool {
        let side = &self.shards[shard];
        let room = !side.free.is_empty() && (side.stopping || side.open() < side.open_max);
        let due = side.backlog.front().is_some_and(|index| match self.conns[*index].server {
            ShardEnd::Waiting(due) => due <= now,
            _ => unreachable!("only waiting connections are in the backlog"),
        });
        side.listening && room && due
    }

    fn close_listener_if_done(&mut self, shard: usize) {
        let side = &mut self.shards[shard];
        if side.stopping && side.listening && side.backlog.is_empty() {
            side.listening = false;
        }
    }

    pub(super) fn leave_listener(&mut self, shard: usize) {
        let side = &mut self.shards[shard];
        (side.listening, side.is_left) = (false, true);
    }

    pub(super) fn stop_listening(&mut self, shard: usize) {
        let side = &mut self.shards[shard];
        if side.is_left {
            return;
        }
        side.stopping = true;
        // The kernel resets what finds no slot when the listener closes.
        let room = side.free.len().min(side.backlog.len());
        let refused = side.backlog.split_off(room);
        let now = self.now_ns;
        for index in refused {
            let conn = &mut self.conns[index];
            conn.server = ShardEnd::Closed;
            conn.abort(ECONNRESET, now, &mut self.rng, &self.options);
        }
        // accept(2) in a loop sees them all at once.
        for index in &self.shards[shard].backlog {
            self.conns[*index].server = ShardEnd::Waiting(now);
        }
        self.close_listener_if_done(shard);
    }

    fn next_due(&self, shard: usize) -> Option<u64> {
        let side = &self.shards[shard];
        let mut due = side.woken.load(Ordering::Acquire).then_some(self.now_ns);
        let mut sooner = |t: u64| due = Some(due.map_or(t, |d: u64| d.min(t)));
        if let Some(index) = side.backlog.front()
            && let ShardEnd::Waiting(at) = self.conns[*index].server
            && self.can_accept(shard, at)
        {
            sooner(at);
        }
        for index in side.used.iter().filter_map(|slot| side.slots[*slot as usize]) {
            if let Some(at) = self.conns[index].next_due() {
                sooner(at);
            }
        }
        due.map(|t| t.max(self.now_ns))
    }

    pub(super) fn send(&mut self, shard: usize, slot: Slot, parts: &[std::io::IoSlice<'_>]) -> Sent {
        let index = self.conn_of(shard, slot, "send");
        let total: usize = parts.iter().map(|part| part.len()).sum();
        assert!(total > 0, "shard {shard}: empty send on slot {}", slot.0);
        let now = self.now_ns;
        self.shards[shard].counters.sends += 1;
        let conn = &mut self.conns[index];
        assert!(
            matches!(conn.server, ShardEnd::Open(_)),
            "shard {shard}: send after shutdown_write on slot {}",
            slot.0
        );
        if let Some(errno) = conn.failed {
            // The error is reported once; after that the socket is merely broken.
            conn.failed = Some(EPIPE);
            return Sent::Failed(errno);
        }
        if self.rng.chance(self.options.failed_send) && !conn.is_protected {
            conn.abort(ECONNRESET, now, &mut self.rng, &self.options);
            conn.failed = Some(EPIPE);
            return Sent::Failed(ECONNRESET);
        }
        let room = self.options.send_capacity - conn.outbound.len();
        if room == 0 || self.rng.chance(self.options.blocked_send) {
            self.shards[shard].counters.sends_short += 1;
            return Sent::Blocked;
        }
        let fits = total.min(room);
        let n = if self.rng.chance(self.options.short_send) {
            let most = if self.rng.chance(self.options.tiny_send) { fits.min(7) } else { fits };
            self.rng.between(1, most as u64) as usize
        } else {
            fits
        };
        if n < total {
            self.shards[shard].counters.sends_short += 1;
        }
        if conn.client != ClientEnd::Gone {
            conn.sends.push_back((conn.sent_total, now, self.shards[shard].turns));
        }
        conn.sent_total += n as u64;
        if conn.client == ClientEnd::Gone {
            // Nobody is there any more: the kernel takes it, the answer is RST.
            conn.abort(ECONNRESET, now, &mut self.rng, &self.options);
            return Sent::Bytes(n);
        }
        let mut left = n;
        for part in parts {
            let take = left.min(part.len());
            conn.outbound.extend(&part[..take]);
            left -= take;
        }
        Sent::Bytes(n)
    }

    pub(super) fn want_writable(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        conn.want = true;
        conn.arm_writable(self.now_ns, &mut self.rng, &self.options);
    }

    pub(super) fn shutdown_write(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        if let ShardEnd::Open(slot) = conn.server {
            conn.server = ShardEnd::Finished(slot);
            conn.want = false;
            conn.writable_due = None;
        }
    }

    pub(super) fn close(&mut self, shard: usize, slot: Slot) {
        let index = self.conn_of(shard, slot, "close");
        let now = self.now_ns;
        let conn = &mut self.conns[index];
        conn.want = false;
        conn.writable_due = None;
        if !conn.inbound.is_empty() {
            // close(2) with unread data sends RST, not FIN.
            conn.abort(ECONNRESET, now, &mut self.rng, &self.options);
        }
        conn.server = ShardEnd::Closed;
        conn.end = EndNews::Told;
        conn.inbound = VecDeque::new();
        let side = &mut self.shards[shard];
        side.slots[slot.0 as usize] = None;
        side.used.remove(&slot.0);
        side.free.push(slot.0);
    }

    pub(super) fn give_back(&mut self, shard: usize, buf: RecvBuf) {
        let side = &mut self.shards[shard];
        let lent = side.lent.get(buf.id as usize).copied();
        assert_eq!(lent, Some(true), "shard {shard}: buffer {} was not on loan", buf.id);
        assert_eq!(
            side.buffer_addresses[buf.id as usize],
            buf.bytes.as_ptr() as usize,
            "shard {shard}: buffer {} came back as other memory",
            buf.id
        );
        side.lent[buf.id as usize] = false;
        let mut bytes = buf.bytes;
        bytes.fill(POISON);
        side.buffers.push((buf.id, bytes));
    }

    /// The shard's driver is dropped: the kernel closes everything it had.
    pub(super) fn shard_gone(&mut self, shard: usize) {
        while let Some(&slot) = self.shards[shard].used.first() {
            self.close(shard, Slot(slot));
        }
        let side = &mut self.shards[shard];
        side.alive = false;
        side.listening = false;
        if side.is_left {
            return;
        }
        for index in std::mem::take(&mut side.backlog) {
            self.conns[index].server = ShardEnd::Closed;
            self.conns[index].abort(ECONNRESET, self.now_ns, &mut self.rng, &self.options);
        }
    }
}
