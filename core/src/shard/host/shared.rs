//! What a shard shares with the rest of the engine: the ring, the names, its mailbox, its counters.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};

use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;

use super::gauges::Gauges;
use crate::access::Decision;
use crate::config::Config;
pub use crate::counters::{Counters, ShardStats};
use crate::epoch::Epochs;
use crate::event::Event;
use crate::failure::FailureRecord;
use crate::ingest::{Payload, PayloadPool, Ring};
use crate::listen::{Listener, Place};
use crate::registry::{Registry, To};
use crate::rules::Rules;
use crate::shard::admission::Counted;
use crate::shard::census::Found;
use crate::shard::host::outlets::Wanted;
use crate::shard::readmission::Notes;
use crate::telemetry::{Instruments, Telemetry};
use crate::tls::Acceptors;
use crate::traces::TraceFlow;
use crate::types::{ConnectionId, Kind, TopicId};

/// What every shard and every handle of one engine holds.
pub struct Shared {
    /// The configuration that the engine was started with, validated.
    pub config: Config,
    /// What holds of it now.
    pub rules: Rules,
    /// What is listened on, by the numbers that drivers know: sockets that were handed over in the place of what names them.
    pub listening: Vec<Listener>,
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
    /// What each address and each subject has.
    pub counted: Counted,
    /// What TLS handshakes are done with, where any listener speaks TLS.
    pub tls: Option<Arc<Acceptors>>,
    /// What the engine knows of itself.
    pub telemetry: Telemetry,
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

    /// The ring and the time, for records about topics.
    pub fn to_ring(&self) -> To<'_> {
        To { ring: &self.ring, time_ns: (self.wall_ns)(), epochs: self.epochs }
    }

    /// Whether connections of this listener begin with the PROXY protocol.
    pub fn is_proxied(&self, listener: u16) -> bool {
        self.listening.get(usize::from(listener)).is_some_and(|listener| listener.is_proxied)
    }

    /// Whether those who come by this listener are observers.
    pub fn is_for_observers(&self, listener: u16) -> bool {
        self.listening.get(usize::from(listener)).is_some_and(|listener| listener.place == Place::Observers)
    }

    /// Counts one connection less.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Release);
    }

    /// True if nobody is connected to any shard: all that clients have published is in the ring.
    pub fn is_deserted(&self) -> bool {
        self.open.load(Acquire) == 0
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
    /// What it measures beside.
    pub instruments: Instruments,
    /// What its last round over clients and topics has found, until the first shard takes it.
    pub found: ArrayQueue<Box<Found>>,
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
    /// The host has decided whether a connection may come in.
    Decide {
        /// Which.
        connection: ConnectionId,
        /// What it said.
        decision: Box<Decision>,
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
    /// Hand messages of some topics to the host, from now on.
    Outlet(Box<Wanted>),
    /// Tell the names which patterns have subscribers, from now on or no more.
    Interest(bool),
    /// Tell what befalls a sample of messages and connections, from now on.
    Trace(Arc<TraceFlow>),
    /// Say how the subscribers of a topic stand, from now on.
    Watch {
        /// Which.
        topic: TopicId,
        /// Where.
        gauges: Arc<Gauges>,
    },
    /// A shard that the ring has passed over asks to be let in again.
    LetIn {
        /// Which.
        shard: u8,
    },
    /// What another shard has taken down for this one, which the ring has passed over.
    Notes(Box<Notes>),
    /// Stop accepting, flush, close everybody with 1001, or 1012 over a window, and end; reset what is left at the deadline.
    Drain {
        /// Time allowed, in nanoseconds from now.
        within_ns: u64,
        /// Time over which the closes are spread; 0: each is closed as soon as it has everything.
        window_ns: u64,
    },
    /// Leave these listeners to another process, and close everybody over a window, those that publish first; what is left at the
    /// deadline is reset.
    HandOver {
        /// Time allowed, in nanoseconds from now.
        within_ns: u64,
        /// Time over which the closes are spread.
        window_ns: u64,
        /// By the drivers' numbers. What waits in the others is taken first.
        left: Arc<[u16]>,
    },
    /// End at once.
    Stop,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new(commands: usize, events: usize) -> Self {
        Self {
            commands: ArrayQueue::new(commands),
            events: ArrayQueue::new(events.max(1)),
            counters: Counters::default(),
            instruments: Instruments::default(),
            found: ArrayQueue::new(1),
            is_stopped: AtomicBool::new(false),
        }
    }
}
