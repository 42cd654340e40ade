//! One shard: one thread, its driver, its connections, its copy of every log.
//!
//! A shard is a few parts that own what they touch, and a turn that hands things on between them (ARCHITECTURE.md draws it). Parts know
//! each other by narrow functions and in one direction; only the files of `turn` see more than three of them. Generic over the
//! [`Driver`], so the same code runs on io_uring, on epoll and in the simulator. Must never know a system call, a clock other than
//! its driver's, or anything of the host's: what the host is to hear goes into a mailbox.

mod admission;
mod budget;
mod census;
mod clients;
mod closes;
mod dialect;
#[cfg(test)]
mod footprint;
mod host;
mod lanes;
mod message;
mod options;
mod pieces;
mod readmission;
mod request;
mod rest;
mod sender;
mod subscriptions;
mod table;
mod topics;
#[cfg(any(test, fuzzing))]
pub mod trace;
mod turn;
mod waiters;

use std::collections::VecDeque;
use std::sync::Arc;

#[cfg(any(test, fuzzing))]
pub use budget::turn_steps_max;
#[cfg(feature = "bench")]
pub use clients::Wheel;
pub use host::gauges::{FULL, Gauges, are_watched};
pub use host::outlets::Wanted;
pub use host::{Command, Mailbox, ShardStats, Shared};

#[cfg(test)]
pub use self::admission::What;
use self::admission::{Admission, PENDING_BYTES};
pub use self::admission::{
    COUNTED_BYTES, Counted, LIFETIME_BYTES, QUESTION_BYTES, REMEMBERED_MAX, SENDER_BYTES, SUBJECT_BYTES,
};
use self::budget::Work;
use self::census::{Census, LOSER_BYTES, TALLY_BYTES};
use self::clients::{Clients, Conn, Extra, NODE_BYTES};
use self::closes::{CLOSING_BYTES, Closes};
use self::host::Host;
use self::lanes::{Clock, Cursor, Lanes};
use self::message::{INFLATING_BYTES, INFLATING_MAX};
use self::readmission::Readmission;
use self::sender::Sender;
#[cfg(test)]
pub use self::subscriptions::FEW_CURSORS;
use self::subscriptions::{SUBSCRIBER_BYTES, Subscriptions};
use self::topics::Topics;
use self::waiters::Waiters;
use crate::driver::{Driver, Event as IoEvent};
use crate::ingest::{Reader, Standing};
use crate::proto::inflate::Inflater;
use crate::rules::Taken;
use crate::telemetry::{Instruments, Stopwatch};

/// Connections in the table beyond the limit, to be told 503.
pub const REFUSAL_SLOTS: u32 = 64;

/// What one connection costs in the shard's tables, at most, when idle.
pub const CONNECTION_BYTES: usize = size_of::<Conn>() + SUBSCRIBER_BYTES + NODE_BYTES + 64;
/// What it costs on top when it is not: while it is in the middle of something, or ends.
pub const BUSY_BYTES: usize = size_of::<Extra>() + CLOSING_BYTES;
/// What one connection before its upgrade costs on top, apart from its request's bytes.
pub const HANDSHAKE_BYTES: usize = PENDING_BYTES;
/// What inflating long messages takes of a shard, at most.
pub const LONG_BYTES: usize = INFLATING_MAX * INFLATING_BYTES;
/// What one topic costs a shard.
pub const TOPIC_BYTES: usize = topics::TOPIC_BYTES + size_of::<subscriptions::Members>();
/// What one cursor costs.
pub const CURSOR_BYTES: usize = size_of::<Cursor>() + subscriptions::CURSOR_BYTES;
/// What the tables of a shard's memberships and patterns cost, however many there are.
pub const PIECES_BYTES: usize = 3 * pieces::PIECES_BYTES;

/// What one connection costs at most that `$sys` topics may tell of.
pub const WATCHED_BYTES: usize = TALLY_BYTES + LOSER_BYTES;
/// The same of a topic.
pub const WATCHED_TOPIC_BYTES: usize = census::COUNTED_BYTES;

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
        /// The first slot whose connection was not told yet when its moment comes.
        untold: u32,
        /// Somebody else goes on where this ends.
        handover: Option<Handover>,
    },
    Ended,
}

/// How far a hand-over has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Handover {
    /// When it was looked last whose moment had come, and where the ring ended then: those have everything once that is read.
    looked: Option<(u64, Standing)>,
}

/// What a shard hears: its sockets and the ring.
struct Ears<D: Driver> {
    driver: D,
    /// What the driver said and nobody has looked at yet, in order.
    events: VecDeque<IoEvent>,
    /// Where the driver puts it.
    fresh: Vec<IoEvent>,
    reader: Option<Reader>,
    /// The end of a topic that was read while messages of it wait for the moment of a latency budget, and until when they may.
    held_end: Option<(crate::types::TopicId, u64)>,
    /// New connections are accepted.
    admits: bool,
    /// Connections that the driver may have open.
    slots: u32,
}

/// What time it is, and what is still to be done in this turn.
struct Pace {
    now_ns: u64,
    work: Work,
    ending: Ending,
    /// Before then, something that was said may not have been heard.
    heard_all_from_ns: u64,
    /// The queue of waiters that is served just now…
    serves: Option<waiters::Cause>,
    /// …and, of the ring's, what the connection in hand may still publish, in bytes.
    ring_credit: Option<usize>,
    /// Steps of input at which the queue of waiters, or the new input, that is looked at just now has had its share.
    input_until: u32,
    /// Slots that are due, kept from turn to turn.
    due: Vec<u32>,
    /// When the thread's CPU clock was last read: by the driver's clock, and what it said.
    cpu_read: (u64, u64),
    /// How old messages are when they are sent.
    stopwatch: Stopwatch,
}

/// What reading and answering requests takes, kept from turn to turn.
#[derive(Default)]
struct Desk {
    inflater: Inflater,
    inflated: Vec<u8>,
    /// Pieces of long messages.
    piece: Vec<u8>,
    /// Who inflates a long message has a clone of it.
    seats: Arc<()>,
    payload: Vec<u8>,
    answer: Vec<u8>,
}

/// See the module's head.
pub struct Shard<D: Driver> {
    number: u8,
    shared: Arc<Shared>,
    /// The settings that hold.
    rules: Taken,
    ears: Ears<D>,
    clients: Clients,
    admission: Admission,
    topics: Topics,
    lanes: Lanes,
    subscriptions: Subscriptions,
    sender: Sender,
    waiters: Waiters,
    closes: Closes,
    host: Host,
    readmission: Readmission,
    census: Census,
    desk: Desk,
    pace: Pace,
    stats: ShardStats,
    #[cfg(any(test, fuzzing))]
    trace: trace::Trace,
}

impl<D: Driver> Shard<D> {
    /// A shard that reads `reader` and serves what `driver` accepts, up to `slots` connections at once, refusals included.
    pub fn new(number: u8, mut driver: D, shared: Arc<Shared>, reader: Reader, slots: u32) -> Self {
        let now_ns = driver.now_ns();
        let shards = shared.mailboxes.len();
        driver.accept_while_below(slots);
        Self {
            number,
            rules: shared.rules.take(),
            clients: Clients::new(number, slots, now_ns),
            admission: Admission::new(&shared.config.limits, slots, shared.config.handshakes_per_shard(shards)),
            topics: Topics::new(shared.config.topics_max),
            lanes: Lanes::new(&shared.config, shared.payloads.clone(), shards),
            subscriptions: Subscriptions::new(shared.config.cursors_max.div_ceil(shards as u32)),
            sender: Sender::default(),
            waiters: Waiters::default(),
            closes: Closes::default(),
            host: Host::default(),
            readmission: Readmission::default(),
            census: Census::default(),
            desk: Desk::default(),
            pace: Pace {
                now_ns,
                work: Work::new(),
                ending: Ending::No,
                heard_all_from_ns: 0,
                serves: None,
                ring_credit: None,
                input_until: 0,
                due: Vec::new(),
                cpu_read: (now_ns, driver.cpu_ns()),
                stopwatch: Stopwatch::default(),
            },
            stats: ShardStats::default(),
            #[cfg(any(test, fuzzing))]
            trace: trace::Trace::default(),
            ears: Ears {
                driver,
                events: VecDeque::with_capacity(1_024),
                fresh: Vec::with_capacity(1_024),
                reader: Some(reader),
                held_end: None,
                admits: true,
                slots,
            },
            shared,
        }
    }

    fn mailbox(&self) -> &Mailbox {
        &self.shared.mailboxes[self.number as usize]
    }

    fn instruments(&self) -> &Instruments {
        &self.mailbox().instruments
    }

    /// Nobody comes in any more, and nothing waits for its time. A hand-over is no such end.
    fn is_ending(&self) -> bool {
        !matches!(self.pace.ending, Ending::No | Ending::Draining { handover: Some(_), .. })
    }

    fn clock(&self) -> Clock {
        Clock { now_ns: self.pace.now_ns, is_ending: self.is_ending() }
    }
}
