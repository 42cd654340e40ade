//! What a client asked for and did not get at once. It was parsed when it came, and is not parsed again.

mod long;

pub use long::{Decoding, Long, Parsed, Resuming, Stage};

use arrayvec::ArrayVec;

use super::message::Arrived;
use super::options::Options;
use crate::ingest::{INLINE_MAX, Payload};
use crate::proto::subscribe::SinceList;
use crate::proto::traceparent::{TRACEPARENT_LINE_BYTES, TraceParent};
use crate::types::{Kind, Priority, TopicId};

/// What a client may say of a message beyond its priority.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// Conflation key; 0: none.
    pub key: u64,
    /// Milliseconds after which it is worth nothing; 0: never.
    pub ttl_ms: u32,
    /// The trace that it belongs to.
    pub parent: Option<TraceParent>,
}

/// A client's message, on its way into the ring.
#[derive(Debug)]
pub struct Publication {
    /// Where to.
    pub topic: TopicId,
    /// How important.
    pub priority: Priority,
    /// What the payload is.
    pub kind: Kind,
    /// What else was said.
    pub extras: Extras,
}

impl Publication {
    /// What it says of itself beyond the payload, on a line; nothing, if nothing.
    pub fn line(&self) -> ArrayVec<u8, TRACEPARENT_LINE_BYTES> {
        self.extras.parent.map_or_else(ArrayVec::new, |parent| parent.line().into())
    }

    /// Whether this payload is copied into the ring.
    pub fn is_copied(&self, payload: &[u8]) -> bool {
        let said = if self.extras.parent.is_some() { TRACEPARENT_LINE_BYTES } else { 0 };
        payload.len() + said <= INLINE_MAX
    }
}

/// A topic that could not be made yet, for a message to it.
#[derive(Debug)]
pub struct Unopened {
    /// Its name.
    pub name: Box<str>,
    /// The `id` of the request, for the answer if it cannot be made at all.
    pub id: Option<Box<[u8]>>,
}

/// What waits before more of its client's input is looked at.
#[derive(Debug)]
pub enum Held {
    /// A message that has not been looked at: its answer has no room yet, or the host does not take its events.
    Message {
        /// Text or binary.
        kind: Kind,
        /// The message.
        payload: Payload,
    },
    /// A message that is not whole yet: it is inflated, or put together.
    Arrived(Box<Arrived>),
    /// A request that is parsed in part.
    Long(Box<Long>),
    /// A message that has no room in the ring.
    Publish(Publication, Payload),
    /// A message for a topic that could not be made yet.
    Open(Box<Unopened>, Publication, Payload),
    /// A request that is done in part.
    Request(Box<Request>),
    /// What a connection may not have any more is ended in part.
    Sweep(Box<Sweep>),
}

impl Held {
    /// Tells what is held from what was held before.
    pub fn mark(&self) -> usize {
        match self {
            Held::Message { payload, .. } | Held::Publish(_, payload) | Held::Open(_, _, payload) => {
                payload.as_ptr().addr()
            }
            Held::Request(request) => 1 + request.next,
            Held::Sweep(sweep) => 1 + sweep.steps,
            Held::Arrived(arrived) => 1 + arrived.done(),
            Held::Long(long) => 1 + long.mark(),
        }
    }

    /// Memory that no pool counts.
    pub fn bytes(&self) -> usize {
        match self {
            Held::Request(request) => request.bytes,
            Held::Open(topic, ..) => topic.name.len() + topic.id.as_ref().map_or(0, |id| id.len()),
            Held::Sweep(sweep) => sweep.bytes(),
            Held::Long(long) => long.held_bytes(),
            Held::Message { .. } | Held::Publish(..) | Held::Arrived(_) => 0,
        }
    }
}

/// What is to be done for each topic of a request.
#[derive(Debug)]
pub enum Action {
    /// Subscribe to it.
    Subscribe {
        /// Beyond the messages.
        options: Options,
        /// What the client has already.
        since: SinceList,
    },
    /// End its subscription.
    Unsubscribe,
}

/// A request of one or more topics and patterns.
#[derive(Debug)]
pub struct Request {
    /// To be echoed, as it was written.
    pub id: Option<Box<[u8]>>,
    /// What to do.
    pub action: Action,
    /// Names and patterns.
    pub topics: Vec<Box<str>>,
    /// The next of them.
    pub next: usize,
    /// How far the pattern in hand has come.
    pub scan: Option<Scan>,
    /// Memory of all this.
    bytes: usize,
}

/// How far it has come to end what a connection may not have any more.
#[derive(Debug)]
pub struct Sweep {
    /// Of the request with the new token, as it was written.
    pub id: Option<Box<[u8]>>,
    /// The subscription that is being ended, and how far the walk over its topics has come.
    pub ends: Option<(Box<str>, Option<Scan>)>,
    /// Subscriptions looked at and ended.
    pub steps: usize,
}

impl Sweep {
    /// Nothing is ended yet.
    pub fn new(id: Option<Box<[u8]>>) -> Self {
        Sweep { id, ends: None, steps: 0 }
    }

    fn bytes(&self) -> usize {
        let words = self.ends.as_ref().map_or(0, |(words, _)| words.len());
        size_of::<Self>() + words + self.id.as_ref().map_or(0, |id| id.len())
    }
}

/// Where a walk over the topics of a pattern goes on.
#[derive(Debug, Default)]
pub struct Scan {
    /// Behind this name, in the order of the levels; `None`: at the first.
    pub after: Option<Box<[u8]>>,
    /// Topics made since the walk began are not its affair.
    pub before_number: u64,
    /// The subscription that it serves.
    pub subscription: u32,
    /// That subscription was there before: its topics are announced once more.
    pub is_again: bool,
}

impl Request {
    /// From what was parsed.
    pub fn new(id: Option<Box<[u8]>>, action: Action, topics: Vec<Box<str>>) -> Self {
        let since = match &action {
            Action::Subscribe { since, .. } => since.held_bytes(),
            Action::Unsubscribe => 0,
        };
        let bytes = size_of::<Self>()
            + since
            + id.as_ref().map_or(0, |id| id.len())
            + topics.iter().map(|t| size_of::<Box<str>>() + t.len()).sum::<usize>();
        Self { id, action, topics, next: 0, scan: None, bytes }
    }
}
