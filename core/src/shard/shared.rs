//! What a shard shares with the rest of the engine: the ring, the names, its mailbox, its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;

use super::pressure::Gauges;
use crate::config::Config;
use crate::epoch::Epochs;
use crate::event::Event;
use crate::failure::FailureRecord;
use crate::ingest::{Payload, PayloadPool, Ring};
use crate::registry::Registry;
use crate::types::{ConnectionId, Kind, TopicId};

/// What every shard and every handle of one engine holds.
pub struct Shared {
    /// The engine's configuration, validated.
    pub config: Config,
    /// Tell this run's numbering from any other's.
    pub epochs: Epochs,
    /// Messages and topic life-cycle.
    pub ring: Arc<Ring>,
    /// Memory of large payloads.
    pub payloads: Arc<PayloadPool>,
    /// Topic names.
    pub registry: Registry,
    /// One for each shard.
    pub mailboxes: Vec<CachePadded<Mailbox>>,
    /// Connections open on all shards.
    pub open: AtomicU32,
    /// The first shard that failed.
    pub failure: FailureRecord,
    /// The wall clock: nanoseconds since the Unix epoch.
    pub wall_ns: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Rings when a shard has put events into its mailbox.
    pub bell: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    /// Counts one more connection; false if that is more than the configuration allows.
    pub fn enter(&self) -> bool {
        self.open.fetch_add(1, Relaxed) < self.config.connections_max
    }

    /// Counts one connection less.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

/// Traffic between the host and one shard, apart from messages.
pub struct Mailbox {
    /// Host to shard.
    pub commands: ArrayQueue<Command>,
    /// Shard to host.
    pub events: ArrayQueue<Event>,
    /// What the shard counts.
    pub counters: Counters,
    /// The shard has ended (by request or by its own bug) and takes no more commands.
    pub is_stopped: AtomicBool,
}

/// What the host may ask of a shard.
#[derive(Debug)]
pub enum Command {
    /// Send a message to one connection.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// Text or binary.
        kind: Kind,
        /// The message.
        payload: Payload,
    },
    /// Close one connection.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Close code.
        code: u16,
        /// Close reason, at most 123 bytes.
        reason: String,
    },
    /// Say how the subscribers of a topic stand, from now on.
    Watch {
        /// Which.
        topic: TopicId,
        /// Where.
        gauges: Arc<Gauges>,
    },
    /// Stop accepting, flush, close everybody with 1001, and end; reset what is left at the deadline.
    Drain {
        /// Time allowed, in nanoseconds from now.
        within_ns: u64,
    },
    /// End at once.
    Stop,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a shard counts: written by the shard alone, read by anyone, each value exact, together only roughly so.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// What the shards count at one moment, or the sum over shards.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ShardStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Reads all of them.
            pub fn read(&self) -> ShardStats {
                ShardStats { $($name: self.$name.load(Relaxed),)* }
            }

            /// Stores `now` over all of them.
            pub fn store(&self, now: &ShardStats) {
                $(self.$name.store(now.$name, Relaxed);)*
            }
        }

        impl std::ops::AddAssign for ShardStats {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Connections open now, handshakes included.
    connections,
    /// Connections accepted.
    accepted,
    /// Connections refused because a limit was reached: with 503, or cut off before their upgrade in favour of newer ones.
    refused,
    /// Upgrades completed.
    upgraded,
    /// Upgrades refused (4xx).
    upgrades_refused,
    /// Connections closed, for whatever reason.
    closed,
    /// Connections closed for breaking the protocol (1002, 1007, 1009, 1008).
    violations,
    /// Connections closed because they were too slow for their critical messages, or their rest could not be kept.
    evicted,
    /// Connections closed because they did not answer a ping.
    pongs_missed,
    /// Connections cut off by a shutdown that ran out of time.
    cut_off,
    /// Topics known.
    topics,
    /// Cursors in use.
    cursors,
    /// Messages read from the ring.
    messages,
    /// Payload bytes read from the ring.
    message_bytes,
    /// Messages received from clients.
    received,
    /// Frames delivered from logs: one for each message and subscriber.
    deliveries,
    /// Messages rendered into derived logs.
    encoded,
    /// Compressions done.
    compressed,
    /// Derived logs built again for a subscriber that came back.
    rebuilt,
    /// Cursors that passed 70 % of their lane's budget.
    lagging,
    /// Messages passed over by `latest`, `max_hz`, expiry and exclusions.
    passed_over,
    /// Bytes given to the kernel.
    sent_bytes,
    /// Sends submitted.
    sends,
    /// Sends that the socket did not take whole.
    sends_short,
    /// System calls.
    syscalls,
    /// Gaps: runs of messages lost by one cursor.
    gaps,
    /// Critical messages lost by cursors (never, while their connection lives).
    dropped_critical,
    /// High messages lost by cursors.
    dropped_high,
    /// Normal messages lost by cursors.
    dropped_normal,
    /// Low messages lost by cursors.
    dropped_low,
    /// Frames that found no log memory at all.
    unlogged,
    /// Log memory in use, bytes.
    log_bytes,
    /// Copies of half-sent frames, bytes.
    remainder_bytes,
    /// Events that the host was too slow to take and that wait on their connection.
    events_waiting,
    /// Turns of the loop.
    turns,
    /// Turns that slept.
    sleeps,
    /// Times no receive buffer was free.
    recv_buffers_exhausted,
    /// Completion-queue overflows.
    cq_overflows,
    /// Times accept failed for want of descriptors.
    accept_exhausted,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new(commands: usize, events: usize) -> Self {
        Self {
            commands: ArrayQueue::new(commands),
            events: ArrayQueue::new(events.max(1)),
            counters: Counters::default(),
            is_stopped: AtomicBool::new(false),
        }
    }
}
