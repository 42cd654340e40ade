//! One shard: one thread, its driver, its connections, its copy of every log.
//!
//! Knows connections, topics, logs and cursors, and drives them turn by turn. Generic over the [`Driver`], so the same code
//! runs on io_uring, on epoll and in the simulator. Must never know a system call, a clock other than its driver's, or
//! anything of the host's: what the host is to hear goes into a mailbox.

mod admission;
mod close;
mod conn;
mod control;
mod derive;
#[cfg(test)]
mod footprint;
mod handshake;
mod intake;
mod interest;
mod pick;
mod pressure;
mod receive;
mod remainder;
mod send;
mod shared;
mod table;
mod timer;
mod topics;
#[cfg(any(test, fuzzing))]
pub mod trace;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

pub use admission::PENDING_BYTES;
pub use pressure::{FULL, Gauges, are_watched};
pub use shared::{Command, Mailbox, ShardStats, Shared};
pub use timer::Wheel;

use self::admission::PendingUpgrades;
use self::conn::{Conn, Extra, Phase};
use self::derive::Scratch;
use self::pressure::Watch;
use self::remainder::Rests;
use self::send::Plan;
use self::table::Table;
use self::timer::Moment;
use self::topics::{Lane, Link, Membership, Special, Stream, Sub, TopicState, Wishes};
use crate::driver::{Driver, Event as IoEvent, SendResults, Wait};
use crate::event::Event;
use crate::ingest::Reader;
use crate::log::BlockPool;
use crate::proto::compress::Deflater;
use crate::proto::inflate::Inflater;
use crate::proto::json::JsonCheck;
use crate::proto::lz4::Lz4;
use crate::usdt;

/// Ring records read in one turn at most.
const RECORDS_PER_TURN: usize = 1_024;
/// Payload bytes read from the ring in one turn at most (and one record more).
const RECORD_BYTES_PER_TURN: usize = 1 << 20;
/// Host commands taken in one turn at most.
const COMMANDS_PER_TURN: usize = 256;
/// Deadlines looked at in one turn at most.
const DEADLINES_PER_TURN: usize = 256;
/// Emptied [`Extra`]s kept for reuse.
const STOCK_MAX: usize = 1_024;
/// Connections in the table beyond the limit, to be told 503.
pub const REFUSAL_SLOTS: u32 = 64;

/// What one connection costs in the shard's tables, at most, when idle.
pub const CONNECTION_BYTES: usize = size_of::<Conn>() + timer::NODE_BYTES + 64;
/// What one connection before its upgrade costs on top, apart from its request's bytes.
pub const HANDSHAKE_BYTES: usize = size_of::<Extra>() + PENDING_BYTES;
/// What one cursor costs.
pub const CURSOR_BYTES: usize = size_of::<Sub>() + size_of::<Link>() + size_of::<Membership>() + 8;
/// How soon to try again what waits for another thread.
const RETRY_NS: u64 = 500_000;

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Go on.
    Going,
    /// The shard has ended: everything is closed.
    Ended,
}

/// How far an ordered end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// Flushing; what is left at the deadline is reset.
    Draining {
        began_ns: u64,
        deadline_ns: u64,
        /// Time over which the closes are spread; 0: none.
        window_ns: u64,
        /// Before then nobody's moment has come.
        look_ns: u64,
    },
    Ended,
}

/// See the module's head.
pub struct Shard<D: Driver> {
    number: u8,
    driver: D,
    shared: Arc<Shared>,
    reader: Option<Reader>,

    conns: Vec<Conn>,
    open_count: u32,
    pending: PendingUpgrades,
    wheel: Wheel,
    #[expect(clippy::vec_box, reason = "a connection holds the box: the whole box is what is kept")]
    stock: Vec<Box<Extra>>,

    topics: Vec<Option<TopicState>>,
    topic_names: HashMap<Box<str>, u32>,
    /// Topics ever made, the same on all shards at the same place in the ring.
    topics_created: u64,
    lanes: Table<Lane>,
    streams: Table<Stream>,
    memberships: Table<Membership>,
    /// What memberships are to do beyond the usual, by membership, of those that are to.
    wishes: HashMap<u32, Wishes>,
    links: Table<Link>,
    specials: Table<Special>,
    /// Connections with interests (slot, generation): asked about every new topic. May name some that have none any more.
    interested: Vec<(u32, u32)>,
    /// Connections that have interests.
    interested_count: usize,

    pool: BlockPool,
    remainder_bytes: usize,
    rests: Rests,
    json: JsonCheck,
    derive_scratch: Scratch,
    deflater: Deflater,
    lz4: Lz4,
    inflater: Inflater,
    inflated: Vec<u8>,
    batch_buffers: Vec<Vec<u8>>,
    /// Open batches: when each is to be closed, and its stream. May name batches that are closed already.
    open_batches: Vec<(u64, u32)>,
    /// Cursors that wait for their time: when, connection, generation.
    paced: BinaryHeap<Reverse<(u64, u32, u32)>>,
    control_scratch: Vec<u8>,
    payload_scratch: Vec<u8>,

    /// Streams that grew this turn, by priority.
    active: [Vec<u32>; 4],
    /// Lanes whose source grew this turn.
    grown: Vec<u32>,
    still_growing: Vec<u32>,
    /// This turn's news, a ring for each connection: (link, next position).
    news: Vec<(u32, u32)>,
    dirty: Vec<u32>,
    next_dirty: Vec<u32>,
    doomed: Vec<(u32, u16)>,
    stuck: Vec<u32>,
    due: Vec<u32>,
    io_events: Vec<IoEvent>,
    results: SendResults,
    plans: Vec<Plan>,
    host_events: VecDeque<Event>,

    stats: ShardStats,
    watch: Watch,
    ending: Ending,
    /// New connections are accepted.
    admits: bool,
    /// Connections that the driver may have open.
    conn_slots: u32,
    rang: bool,
    now_ns: u64,
    #[cfg(any(test, fuzzing))]
    trace: trace::Trace,
}

impl<D: Driver> Shard<D> {
    /// A shard that reads `reader` and serves what `driver` accepts, up to `slots` connections at once, refusals included.
    pub fn new(number: u8, mut driver: D, shared: Arc<Shared>, reader: Reader, slots: u32) -> Self {
        let now_ns = driver.now_ns();
        let shards = shared.mailboxes.len();
        driver.accept_while_below(slots);
        let cursors = shared.config.cursors_max.div_ceil(shards as u32);
        // What logs may refer to of the payload pool. The rest is for what is being received, published and rendered.
        let payload_bytes = shared.config.memory.payload_bytes;
        Self {
            number,
            conns: Vec::with_capacity(slots as usize),
            open_count: 0,
            pending: PendingUpgrades::new(shared.config.handshakes_per_shard(shards)),
            wheel: Wheel::new(slots, now_ns),
            stock: Vec::new(),
            topics: Vec::new(),
            topic_names: HashMap::new(),
            topics_created: 0,
            lanes: Table::new(u32::MAX - 1),
            streams: Table::new(u32::MAX - 1),
            memberships: Table::reserved(cursors),
            wishes: HashMap::new(),
            links: Table::reserved(cursors),
            specials: Table::new(cursors),
            interested: Vec::new(),
            interested_count: 0,
            pool: BlockPool::new(shared.config.memory.pool_bytes / shards)
                .with_referred_limits(payload_bytes / 2, payload_bytes / 8 / shards),
            remainder_bytes: 0,
            rests: Rests::default(),
            json: JsonCheck::new(),
            derive_scratch: Scratch::default(),
            deflater: Deflater::new(),
            lz4: Lz4::new(),
            inflater: Inflater::new(),
            inflated: Vec::new(),
            batch_buffers: Vec::new(),
            open_batches: Vec::new(),
            paced: BinaryHeap::new(),
            control_scratch: Vec::new(),
            payload_scratch: Vec::new(),
            active: Default::default(),
            grown: Vec::new(),
            still_growing: Vec::new(),
            news: Vec::new(),
            dirty: Vec::new(),
            next_dirty: Vec::new(),
            doomed: Vec::new(),
            stuck: Vec::new(),
            due: Vec::new(),
            io_events: Vec::with_capacity(1_024),
            results: SendResults::new(),
            plans: Vec::new(),
            host_events: VecDeque::new(),
            stats: ShardStats::default(),
            watch: Watch::default(),
            ending: Ending::No,
            admits: true,
            conn_slots: slots,
            rang: false,
            now_ns,
            #[cfg(any(test, fuzzing))]
            trace: trace::Trace::default(),
            driver,
            shared,
            reader: Some(reader),
        }
    }

    /// One pass: hear the kernel and the host, read the ring, send, look at deadlines. Every part is bounded; what is left
    /// over is taken up by the next turn. `may_wait`: sleep when there is nothing to do.
    ///
    /// # Errors
    /// Only when the driver itself has failed.
    pub fn turn(&mut self, may_wait: bool) -> io::Result<Turned> {
        let wait = if may_wait && self.has_no_work() { self.prepare_sleep() } else { Wait::No };
        let mut events = std::mem::take(&mut self.io_events);
        let turned = self.driver.turn(wait, &mut events);
        if wait != Wait::No {
            self.stats.sleeps += 1;
            if let Some(reader) = &mut self.reader {
                reader.cancel_sleep();
            }
        }
        self.now_ns = self.driver.now_ns();
        self.stats.turns += 1;
        for event in events.drain(..) {
            self.on_io(event);
        }
        self.io_events = events;
        turned?;
        self.take_commands();
        self.read_ring();
        self.derive_grown();
        self.resume_paced();
        self.retry_stuck();
        self.send_news();
        self.close_doomed();
        self.expire_deadlines();
        self.look_over_watched();
        self.flush_host_events();
        self.admit();
        self.end_if_drained();
        self.publish_counters();
        if let Some(reader) = &mut self.reader {
            reader.release();
        }
        Ok(if self.ending == Ending::Ended { Turned::Ended } else { Turned::Going })
    }

    fn has_no_work(&self) -> bool {
        self.dirty.is_empty() && self.doomed.is_empty() && self.grown.is_empty() && self.ending != Ending::Ended
    }

    /// Says that this shard sleeps, then looks once more: whoever publishes after that look sees the flag and wakes us.
    fn prepare_sleep(&mut self) -> Wait {
        let Some(reader) = &mut self.reader else { return Wait::No };
        if reader.is_finished() {
            // Only draining is left, and only this shard's own sockets matter.
            return Wait::Until(self.now_ns + RETRY_NS);
        }
        if !reader.prepare_sleep() || !self.shared.mailboxes[self.number as usize].commands.is_empty() {
            reader.cancel_sleep();
            return Wait::No;
        }
        let mut until = self.wheel.next_deadline_ns().unwrap_or(u64::MAX);
        until = until.min(self.next_batch_due_ns().unwrap_or(u64::MAX));
        until = until.min(self.watch.due_ns().unwrap_or(u64::MAX));
        until = until.min(self.paced.peek().map_or(u64::MAX, |Reverse((due, ..))| *due));
        if let Ending::Draining { deadline_ns, .. } = self.ending {
            until = until.min(deadline_ns);
        }
        if !self.stuck.is_empty() || !self.host_events.is_empty() {
            // What they wait for (a slower shard, the host) does not wake this shard.
            until = until.min(self.now_ns + RETRY_NS);
        }
        // A bound on how stale the counters may be.
        Wait::Until(until.min(self.now_ns + 1_000_000_000))
    }

    fn on_io(&mut self, event: IoEvent) {
        match event {
            IoEvent::Accepted { slot, peer } => self.on_accepted(slot.0, peer),
            IoEvent::Received { slot, mut buf } => {
                self.on_received(slot.0, &mut buf);
                self.driver.give_back(buf);
            }
            IoEvent::End { slot, error } => self.on_end(slot.0, error),
            IoEvent::Writable { slot } => self.on_writable(slot.0),
            IoEvent::Woken => {}
        }
    }

    fn on_writable(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.phase == Phase::Free || !conn.flags.is_blocked {
            return;
        }
        conn.flags.is_blocked = false;
        conn.flags.has_leftover = true;
        // Silence while it could not read was no silence of its own.
        conn.heard = Moment::at(self.now_ns);
        self.mark_dirty(slot);
    }

    /// Puts a connection on the list of those to be served this turn (or the next, if this turn's sends are done).
    fn mark_dirty(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if !conn.flags.is_dirty {
            conn.flags.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Something about the connection has changed: keep its cursor out of the hot pass or let it back.
    fn settle(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.extra.as_ref().is_some_and(|e| e.is_empty())
            && let Some(extra) = conn.extra.take()
            && self.stock.len() < STOCK_MAX
        {
            self.stock.push(extra);
        }
        if conn.link_count == 1
            && let Some(&link) = conn.links.iter().find(|&&l| l != table::NONE)
        {
            let aside = !conn.is_plain();
            let link = self.links[link];
            self.streams[link.stream].cursors.subs[link.index as usize].set_aside(aside);
        }
    }

    fn extra(&mut self, slot: u32) -> &mut Extra {
        let conn = &mut self.conns[slot as usize];
        if conn.extra.is_none() {
            conn.extra = Some(self.stock.pop().unwrap_or_default());
        }
        // Just set.
        conn.extra.get_or_insert_default()
    }

    /// Serves the cursors whose time has come.
    fn resume_paced(&mut self) {
        while let Some(&Reverse((due, slot, generation))) = self.paced.peek()
            && due <= self.now_ns
        {
            self.paced.pop();
            let conn = &mut self.conns[slot as usize];
            if conn.generation == generation && conn.is_live() {
                conn.flags.has_leftover = true;
                self.mark_dirty(slot);
            }
        }
    }

    fn is_ending(&self) -> bool {
        self.ending != Ending::No
    }

    fn take_commands(&mut self) {
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.shared.mailboxes[self.number as usize].commands.pop() else { return };
            match command {
                Command::Send { connection, kind, payload } => self.on_send(connection, kind, payload),
                Command::Close { connection, code, reason } => {
                    let slot = connection.slot();
                    if self.is_current(connection) {
                        self.close_after_messages(slot, code, reason);
                    }
                }
                Command::Watch { topic, gauges } => self.watch(topic, gauges),
                Command::Drain { within_ns } => self.begin_drain(within_ns),
                Command::Stop => self.stop(),
            }
        }
    }

    fn is_current(&self, connection: crate::types::ConnectionId) -> bool {
        self.conns
            .get(connection.slot() as usize)
            .is_some_and(|c| c.phase != Phase::Free && c.generation == connection.generation())
    }

    fn retry_stuck(&mut self) {
        for _ in 0..self.stuck.len() {
            let slot = self.stuck.swap_remove(0);
            let conn = &mut self.conns[slot as usize];
            if conn.phase == Phase::Free || !conn.flags.is_stuck {
                continue;
            }
            conn.flags.is_stuck = false;
            self.retry_input(slot);
        }
    }

    fn tell_host(&mut self, event: Event) {
        if self.shared.config.events.capacity == 0 {
            return;
        }
        if !self.host_events.is_empty() {
            self.host_events.push_back(event);
            return;
        }
        if let Err(event) = self.shared.mailboxes[self.number as usize].events.push(event) {
            self.host_events.push_back(event);
        }
        self.rang = true;
    }

    /// True while the host takes its events. While it does not, nobody new comes in and no request is looked at, for each
    /// would add events: so what waits stays bounded by what the open connections have still to say.
    fn host_keeps_up(&self) -> bool {
        self.host_events.len() <= self.shared.config.events.capacity
    }

    fn admit(&mut self) {
        let admits = self.host_keeps_up();
        if admits != self.admits && self.ending == Ending::No {
            self.admits = admits;
            self.driver.accept_while_below(if admits { self.conn_slots } else { 0 });
        }
    }

    fn flush_host_events(&mut self) {
        while let Some(event) = self.host_events.pop_front() {
            self.rang = true;
            if let Err(event) = self.shared.mailboxes[self.number as usize].events.push(event) {
                self.host_events.push_front(event);
                break;
            }
        }
        if std::mem::take(&mut self.rang) {
            (self.shared.bell)();
        }
    }

    fn expire_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(self.now_ns, DEADLINES_PER_TURN, &mut due);
        for slot in due.drain(..) {
            self.on_deadline(slot);
        }
        self.due = due;
    }

    fn publish_counters(&mut self) {
        let io = self.driver.counters();
        let stats = &mut self.stats;
        stats.connections = u64::from(self.open_count);
        stats.topics = self.topic_names.len() as u64;
        stats.cursors = self.links.len() as u64;
        stats.log_bytes = self.pool.lent_bytes() as u64;
        stats.remainder_bytes = self.remainder_bytes as u64;
        stats.events_waiting = self.host_events.len() as u64;
        stats.sends = io.sends;
        stats.sends_short = io.sends_short;
        stats.syscalls = io.syscalls;
        stats.recv_buffers_exhausted = io.recv_buffers_exhausted;
        stats.cq_overflows = io.cq_overflows;
        stats.accept_exhausted = io.accept_exhausted;
        self.shared.mailboxes[self.number as usize].counters.store(stats);
        usdt::turn(self.number.into(), stats.messages, stats.deliveries, stats.sends);
    }
}
