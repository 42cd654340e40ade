//! What the world needs of the engine under test, and what a run is told and tells.

use super::payload::Stamp;
use super::truth::Truth;
use crate::driver::sim::Rng;
use crate::shard::trace::Note;

/// Counters of the engine, summed over its shards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Connections open.
    pub connections: u64,
    /// Messages lost by cursors, by priority.
    pub dropped: [u64; 4],
    /// Messages of clients that the host has taken.
    pub heard: u64,
    /// Events that wait for room in the host's queue.
    pub events_waiting: u64,
    /// Clients that are not read just now, for they sent too fast.
    pub senders_paused: u64,
    /// Cursors in use.
    pub cursors: u64,
    /// Copies of half-sent frames, bytes.
    pub remainder_bytes: u64,
    /// Connections given up for want of memory or for being too slow.
    pub evicted: u64,
    /// Frames for which there was no log memory at all.
    pub unlogged: u64,
    /// Messages rendered into derived logs, compressions, and derived logs built again.
    pub derived: (u64, u64, u64),
    /// Messages read from the ring by the shard that read the fewest and the most.
    pub messages: (u64, u64),
    /// Messages refused for their number, likewise.
    pub out_of_order: (u64, u64),
}

/// How the host hands over a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Copied.
    Copy,
    /// Written in place.
    Claim,
    /// By reference.
    Reference,
}

/// What the world needs of the engine under test.
pub trait Engine {
    /// Number of shards.
    fn shards(&self) -> usize;
    /// One turn of one shard. True once it has ended.
    fn turn(&self, shard: usize, may_wait: bool) -> bool;
    /// Publishes, with a number of its own or (0) without; false: no room.
    fn publish(&self, stamp: &Stamp, seq: u64, way: Way) -> bool;
    /// Removes a topic; false: no room, or no such topic.
    fn remove(&self, topic: &str) -> bool;
    /// Reads what went through the ring since the last time. Returns the number of records.
    fn audit(&self, truth: &mut Truth) -> u64;
    /// Does something else that a host may do at any time; while the world settles it only takes events, all of them.
    fn host_act(&self, rng: &mut Rng, settling: bool);
    /// Messages that one client sent to the host and the host has taken.
    fn heard(&self, client: u32) -> u64;
    /// Whether the host's commands wait for this shard.
    fn has_commands(&self, shard: usize) -> bool;
    /// Begins an orderly end.
    fn drain(&self, within_ns: u64);
    /// Ends it at once.
    fn stop(&self);
    /// What a shard has noted since this was asked last.
    fn take_notes(&self, shard: usize) -> Vec<Note>;
    /// Drops some of a shard's derived logs, unless that shard sleeps.
    fn drop_derived(&self, shard: usize, rng: &mut Rng);
    /// Messages that came by the host's outlet, and those that found no room there; `None`: it has none.
    fn by_outlet(&self) -> Option<u64>;
    /// Panics if the host, where it hears of all messages, has not heard of each.
    fn check_traces(&self, messages: u64);
    /// Panics if the engine holds more memory than it may.
    fn check_memory(&self);
    /// Panics if a log has not the attributes of just the messages that it holds.
    fn check_attributes(&self, truth: &Truth);
    /// Steps of the longest turn, and by how much each budget was overspent at most.
    fn steps(&self) -> (u64, [u32; 8]);
    /// The engine's counters.
    fn totals(&self) -> Totals;
}

/// What kind of run this is.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Random steps before the world settles.
    pub steps: u64,
    /// Clients at most.
    pub clients: usize,
    /// Time may leap by minutes.
    pub leaps: bool,
    /// Topics are removed and made again.
    pub removes: bool,
    /// Raw connections without a topic talk to the host.
    pub host_listens: bool,
    /// Derived logs are dropped, in so many of 1,000 turns.
    pub drops_derived: u32,
    /// The engine pings, and closes who does not answer.
    pub pings: bool,
    /// Messages published in one burst at most.
    pub burst_max: u64,
    /// Some topics are a broker's: their messages bring numbers, which jump.
    pub numbers: bool,
    /// Keys that the host's messages have, in each lane.
    pub keys: u16,
    /// The host makes and uses so many topics more.
    pub wide: u64,
    /// Several clients lag in one topic, in which the host publishes what is critical.
    pub is_crowded: bool,
    /// Longest filling of the host's payloads.
    pub filling_max: u64,
}

/// What happened in a run: to see that runs are worth their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Clients that connected.
    pub clients: usize,
    /// Clients that got their 101.
    pub upgraded: usize,
    /// Messages through the ring.
    pub messages: u64,
    /// Numbers that were left out between two messages.
    pub jumps: u64,
    /// Messages refused because their number came too late.
    pub out_of_order: u64,
    /// Messages received by clients.
    pub deliveries: u64,
    /// Messages announced as lost.
    pub gaps: u64,
    /// Messages that raw clients missed.
    pub holes: u64,
    /// Clients closed with 1013.
    pub evicted: usize,
    /// Messages that somebody's wish or a topic's policy passed over.
    pub passed_over: u64,
    /// Cursors placed by a `since`.
    pub resumed: u64,
    /// Compressed messages received.
    pub compressed: u64,
    /// Batches of more than one message received.
    pub batches: u64,
    /// Derived logs built again.
    pub rebuilt: u64,
    /// Names that clients gave back without having had them.
    pub unknown: u64,
    /// Steps of the longest turn.
    pub steps_max: u64,
    /// Steps by which each of a turn's budgets was overspent at most.
    pub over: [u32; 8],
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.clients += other.clients;
        self.upgraded += other.upgraded;
        self.messages += other.messages;
        self.jumps = self.jumps.saturating_add(other.jumps);
        self.out_of_order += other.out_of_order;
        self.deliveries += other.deliveries;
        self.gaps += other.gaps;
        self.holes += other.holes;
        self.evicted += other.evicted;
        self.passed_over += other.passed_over;
        self.resumed += other.resumed;
        self.compressed += other.compressed;
        self.batches += other.batches;
        self.rebuilt += other.rebuilt;
        self.unknown += other.unknown;
        self.steps_max = self.steps_max.max(other.steps_max);
        self.over.iter_mut().zip(other.over).for_each(|(most, other)| *most = (*most).max(other));
    }
}
