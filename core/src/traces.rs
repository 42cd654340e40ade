//! Traces: what befell a sample of the messages and connections, told to the host by one bounded queue: [`crate::Engine::traces`].
//!
//! A message is in the sample by chance, out of its place in the ring, so that all shards choose the same ones without talking; or
//! because its publisher says so: where its attributes have a `traceparent`, that decides. Nobody waits for the host: what finds no
//! room is lost, and counted. While nobody has asked, nothing is looked at. Knows what happened, and when. Must never know who is
//! told of it, and in which form.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::config::nanoseconds;
use crate::event::Protocol;
use crate::flow::Flow;
use crate::proto::traceparent::TraceParent;
use crate::sys::clock;
use crate::types::{ConnectionId, Kind, Priority};

/// Most events that may wait: [`TracesConfig::events_max`].
pub const TRACE_EVENTS_MAX: usize = 1 << 16;

/// What is to be told, and how much of it may wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracesConfig {
    /// The part of messages, and of connections, that is chosen by chance: from 0 to 1. A message with a `traceparent` in its attributes
    /// is chosen if that says that it is sampled, and else is not.
    pub sample: f64,
    /// Events that may wait, 1 to [`TRACE_EVENTS_MAX`]: 160 bytes or so each, and the names of their topics.
    pub events_max: usize,
}

/// Something that has happened, from when to when by the wall clock: nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// The shard that tells.
    pub shard: u8,
    /// When it began.
    pub begin_ns: u64,
    /// When it was over.
    pub end_ns: u64,
    /// What.
    pub what: Traced,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traced {
    /// A message was published: from when the ring took it until the first shard had it in its log. The first shard tells.
    Published(TracedMessage),
    /// A message was sent to a shard's subscribers, of which there were so many: from the first send until all had it, or had stopped
    /// taking anything. Each shard tells that has subscribers.
    Delivered(TracedMessage, u32),
    /// A connection was open.
    Connected(TracedConnection),
}

/// A message of the sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedMessage {
    /// Tells it from all others of the engine: the same on every shard.
    pub id: u64,
    /// Its topic.
    pub topic: Arc<str>,
    /// Its priority.
    pub priority: Priority,
    /// Its sequence number among the topic's messages of this priority.
    pub seq: u64,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its payload.
    pub bytes: usize,
    /// The connection that it came from; `None`: the host's.
    pub from: Option<ConnectionId>,
    /// The trace that its publisher says it belongs to.
    pub parent: Option<TraceParent>,
}

/// A connection of the sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedConnection {
    /// Which.
    pub id: ConnectionId,
    /// Where it came from, as far as that is known.
    pub peer: Option<SocketAddr>,
    /// What it spoke.
    pub protocol: Protocol,
    /// The code that it was closed with.
    pub code: u16,
}

/// Whether chance chooses what has this number, of 2^32 so many: evenly, also of numbers that follow each other at one distance.
#[inline(always)]
pub(crate) fn is_chosen(number: u64, chosen_below: u64) -> bool {
    // Fibonacci hashing: the high half of the product with 2^64 divided by the golden ratio.
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < chosen_below
}

/// The queue between all shards and the host.
#[derive(Debug)]
pub(crate) struct TraceFlow {
    flow: Flow<TraceEvent>,
    /// What is below this by chance is chosen, of 2^32.
    chosen_below: u64,
}

impl TraceFlow {
    /// An empty one.
    ///
    /// # Errors
    /// That of `eventfd`.
    pub fn new(config: &TracesConfig) -> std::io::Result<Self> {
        Ok(Self {
            flow: Flow::new(config.events_max)?,
            chosen_below: (config.sample * f64::from(u32::MAX)).round() as u64 + u64::from(config.sample >= 1.0),
        })
    }

    /// Whether chance chooses what has this number.
    pub fn chooses(&self, number: u64) -> bool {
        is_chosen(number, self.chosen_below)
    }

    /// What [`is_chosen`] compares with.
    pub fn chosen_below(&self) -> u64 {
        self.chosen_below
    }

    /// Adds an event, or counts it.
    pub fn push(&self, event: TraceEvent) {
        // What finds no room is counted there, and that is all.
        let _ = self.flow.push(event);
    }

    /// An event found no room.
    pub fn lose(&self) {
        self.flow.lose();
    }

    /// There is something new.
    pub fn ring(&self) {
        self.flow.ring();
    }

    /// The host does not want any more.
    pub fn is_closed(&self) -> bool {
        self.flow.is_closed()
    }
}

/// The host's end. Dropping it ends the tracing.
#[derive(Debug)]
pub struct Traces {
    flow: Arc<TraceFlow>,
    /// Whether the engine has somebody who wants them.
    is_wanted: Arc<AtomicBool>,
}

impl Traces {
    /// `None`: somebody has them already.
    pub(crate) fn new(flow: Arc<TraceFlow>, is_wanted: &Arc<AtomicBool>) -> Option<Self> {
        (!is_wanted.swap(true, Relaxed)).then(|| Self { flow, is_wanted: is_wanted.clone() })
    }

    fn queue(&self) -> &Flow<TraceEvent> {
        &self.flow.flow
    }

    /// The next event, if there is one.
    #[expect(clippy::should_implement_trait, reason = "None means not now, not the end")]
    pub fn next(&mut self) -> Option<TraceEvent> {
        self.queue().next()
    }

    /// Waits up to `timeout` for an event.
    pub fn wait(&mut self, timeout: Duration) -> Option<TraceEvent> {
        let until_ns = clock::monotonic_ns().saturating_add(nanoseconds(timeout));
        loop {
            if let Some(event) = self.next() {
                return Some(event);
            }
            // It may have rung for what was taken meanwhile.
            let rest_ns = until_ns.saturating_sub(clock::monotonic_ns());
            if rest_ns == 0 || !self.queue().wait(Duration::from_nanos(rest_ns)) {
                return self.next();
            }
        }
    }

    /// Events that found no room so far.
    pub fn lost(&self) -> u64 {
        self.queue().lost()
    }
}

impl AsFd for Traces {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue().as_fd()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.queue().close();
        while self.queue().pop().is_some() {}
        self.is_wanted.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_chooses_the_part_that_was_asked_for_of_places_at_any_distance() {
        for (sample, of_million) in [(0.0, 0), (0.01, 10_000), (0.5, 500_000), (1.0, 1_000_000)] {
            let flow = TraceFlow::new(&TracesConfig { sample, events_max: 1 }).expect("an eventfd");
            for distance in [64, 576, 16_448] {
                let chosen = (0..1_000_000u64).filter(|n| flow.chooses(n * distance)).count();
                assert!(chosen.abs_diff(of_million) <= of_million / 20, "{chosen} of {sample} at {distance}");
            }
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_there_is_one_who_hears() {
        let (flow, is_wanted) = (
            Arc::new(TraceFlow::new(&TracesConfig { sample: 1.0, events_max: 2 }).expect("an eventfd")),
            Arc::default(),
        );
        let mut traces = Traces::new(flow.clone(), &is_wanted).expect("nobody has them");
        assert!(Traces::new(flow.clone(), &is_wanted).is_none());
        let what = TracedConnection { id: ConnectionId::new(0, 1, 2), peer: None, protocol: Protocol::Raw, code: 1000 };
        for begin_ns in 1..=3 {
            flow.push(TraceEvent { shard: 0, begin_ns, end_ns: 9, what: Traced::Connected(what.clone()) });
        }
        let heard: Vec<u64> = std::iter::from_fn(|| traces.next()).map(|event| event.begin_ns).collect();
        assert_eq!((heard, traces.lost()), (vec![1, 2], 1));
        drop(traces);
        assert!(flow.is_closed() && Traces::new(flow, &is_wanted).is_some());
    }
}
