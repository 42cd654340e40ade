//! Outlets: what is published on chosen topics, handed to the host in the order of one shard.
//!
//! A bridge to another system, or a logger, takes messages here without reading the ring itself. A queue between a shard and the host's
//! thread, bounded in messages and in bytes: the shard never waits for it. What finds no room is left out, and the next message of its
//! lane says how many are missing.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::engine::SendError;
use crate::flow::Flow;
use crate::ingest::Payload;
use crate::proto::topic::Pattern;
use crate::types::{Kind, Priority};

/// Outlets that an engine may have at once.
pub const OUTLETS_MAX: usize = 8;
/// The shard whose order outlets have.
pub(crate) const OUTLET_SHARD: usize = 0;
/// In a record's flags: another engine has it already, and is not to get it back.
pub(crate) const FLAG_FORWARDED: u8 = 2;
/// Messages that an outlet may hold.
pub const OUTLET_MESSAGES_MAX: usize = 1 << 20;
/// Patterns that an outlet may have.
pub const OUTLET_PATTERNS_MAX: usize = 1_024;

/// What an outlet is to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutletConfig {
    /// Topics, 1 to [`OUTLET_PATTERNS_MAX`] patterns or names. A topic that several match comes once.
    pub topics: Vec<Pattern>,
    /// Messages that may wait, 1 to [`OUTLET_MESSAGES_MAX`].
    pub messages_max: usize,
    /// Bytes of payloads and attributes that may wait. They are the payload pool's: more than an eighth of
    /// [`crate::MemoryConfig::payload_bytes`] is refused.
    pub bytes_max: usize,
    /// What came by [`crate::Topic::forward`] is left out; [`OutletMessage::missed`] does not count it.
    pub leaves_out_forwarded: bool,
}

/// One message.
#[derive(Debug)]
pub struct OutletMessage {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The epoch of its numbering.
    pub epoch: u64,
    /// The lane.
    pub priority: Priority,
    /// Its number.
    pub seq: u64,
    /// Messages of the same lane right before it that found no room, or that the shard itself has lost.
    pub missed: u64,
    /// What it is.
    pub kind: Kind,
    /// When it was published: nanoseconds since 1970.
    pub time_ns: u64,
    /// What it replaces, as a number; 0: nothing.
    pub key: u64,
    /// How long after that it is worth nothing.
    pub ttl: Option<Duration>,
    /// It came by [`crate::Topic::forward`] from another engine, which has it.
    pub is_forwarded: bool,
    /// What its publisher said of it beyond the payload, if anything: [`crate::Message::attributes`]. In the engine's memory, too.
    pub attributes: Option<Payload>,
    /// The message, in the engine's memory: drop it soon.
    pub payload: Payload,
}

impl OutletMessage {
    /// What it counts as towards [`OutletConfig::bytes_max`].
    fn bytes(&self) -> usize {
        self.payload.len() + self.attributes.as_ref().map_or(0, |attributes| attributes.len())
    }
}

/// Why there is no outlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutletError {
    /// No pattern, or too many.
    #[error("an outlet has from 1 to {OUTLET_PATTERNS_MAX} patterns, not {patterns}")]
    Patterns {
        /// How many.
        patterns: usize,
    },
    /// A queue of no length, or too long.
    #[error("an outlet holds from 1 to {OUTLET_MESSAGES_MAX} messages, not {messages}")]
    Messages {
        /// Its length.
        messages: usize,
    },
    /// More bytes than are an outlet's part of the payload pool.
    #[error("an outlet holds at most {max} bytes, not {bytes} (an eighth of memory.payload_bytes)")]
    Bytes {
        /// Asked for.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There are as many as there may be.
    #[error("an engine has at most {OUTLETS_MAX} outlets")]
    TooMany,
    /// The process has no descriptor left for it.
    #[error("there is no descriptor left for it")]
    NoDescriptor,
    /// It cannot be handed to a shard.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The queue between a shard and the host.
#[derive(Debug)]
pub(crate) struct Outflow {
    flow: Flow<OutletMessage>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Outflow {
    /// An empty one.
    ///
    /// # Errors
    /// That of `eventfd`.
    pub fn new(messages_max: usize, bytes_max: usize) -> std::io::Result<Self> {
        Ok(Self { flow: Flow::new(messages_max)?, bytes: AtomicUsize::new(0), bytes_max })
    }

    /// Whether a message of so many bytes finds room now. Only the shard adds, so it still does when that is added.
    pub fn has_room(&self, bytes: usize) -> bool {
        !self.flow.is_full() && self.bytes.load(Relaxed).saturating_add(bytes) <= self.bytes_max
    }

    /// Adds a message for which there is room.
    pub fn push(&self, message: OutletMessage) {
        self.bytes.fetch_add(message.bytes(), Relaxed);
        if let Err(message) = self.flow.push(message) {
            self.give_back(&message);
        }
    }

    /// A message found no room.
    pub fn lose(&self) {
        self.flow.lose();
    }

    /// There is something new.
    pub fn ring(&self) {
        self.flow.ring();
    }

    /// The host does not take messages any more.
    pub fn is_closed(&self) -> bool {
        self.flow.is_closed()
    }

    /// A message does not wait any more.
    fn give_back(&self, message: &OutletMessage) {
        self.bytes.fetch_sub(message.bytes(), Relaxed);
    }
}

/// The host's end: see the module's head, and [`crate::Engine::outlet`]. Dropping it ends the outlet.
///
/// Its descriptor is readable whenever there may be messages: put it into any poll loop, then call [`Outlet::next`] until it gives
/// `None`.
#[derive(Debug)]
pub struct Outlet {
    outflow: Arc<Outflow>,
    /// Outlets of the engine that are open, this one included.
    open: Arc<AtomicUsize>,
}

impl Outlet {
    /// `None`: there are as many as there may be.
    pub(crate) fn new(outflow: Arc<Outflow>, open: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |count: usize| (count < OUTLETS_MAX).then_some(count + 1);
        open.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self { outflow, open: open.clone() })
    }

    pub(crate) fn outflow(&self) -> Arc<Outflow> {
        self.outflow.clone()
    }

    /// The next message, if there is one. Messages of one lane come in the order of their numbers.
    #[expect(clippy::should_implement_trait, reason = "None means not now, not the end")]
    pub fn next(&mut self) -> Option<OutletMessage> {
        self.outflow.flow.next().inspect(|message| self.outflow.give_back(message))
    }

    /// Waits up to `timeout` for a message.
    pub fn wait(&mut self, timeout: Duration) -> Option<OutletMessage> {
        if let Some(message) = self.next() {
            return Some(message);
        }
        self.outflow.flow.wait(timeout);
        self.next()
    }

    /// Messages that found no room so far.
    pub fn lost(&self) -> u64 {
        self.outflow.flow.lost()
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outflow.flow.as_fd()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.outflow.flow.close();
        // What waits is the payload pool's. What comes meanwhile goes with the shard's end of the queue.
        while let Some(message) = self.outflow.flow.pop() {
            self.outflow.give_back(&message);
        }
        self.open.fetch_sub(1, Relaxed);
    }
}
