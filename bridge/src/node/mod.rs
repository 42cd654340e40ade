//! A node of a cluster, without input and output: what comes from the engine and from NATS goes in, what is to be done comes out.
//!
//! Knows topics, subjects, numbers. Must never know a socket, a thread, a clock or the NATS client: the time is an argument, in
//! milliseconds from any moment on. Everything is bounded: queues by bytes, tables by entries.

mod cover;
mod envelope;
mod heard;
mod held;
pub(crate) mod planted;
mod queue;
mod sent;
mod subject;
mod subscriptions;
mod wants;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fanwire::proto::topic::{Pattern, is_engine_owned};
use fanwire::{Kind, Priority};

pub use self::envelope::{Envelope, Origin};
pub use self::subject::{CLUSTER_BYTES_MAX, Prefix, PrefixError, is_cluster_name};
pub use self::subscriptions::Change;

use self::cover::Cover;
use self::heard::{Heard, News};
use self::held::Held;
use self::planted::Defect;
use self::queue::Bounded;
use self::sent::Sent;
use self::subject::Space;
use self::subscriptions::Subscriptions;
use self::wants::Wants;
use crate::counters::{Counters, add, count, set};

/// Lanes of other nodes whose losses are counted.
const LANES_MAX: usize = 262_144;
/// Names and patterns asked for exactly: four subscriptions each. Beyond, prefixes stand for them.
pub const EXACT_MAX: usize = 1_024;
/// Bytes of messages that came before those before them.
const HELD_BYTES_MAX: usize = 4 << 20;
/// What a message counts for beside its payload and its topic.
const MESSAGE_BYTES: usize = 128;
/// NATS takes that much less of a payload than it says: subject and reply come with it.
pub const PAYLOAD_MARGIN: usize = 4_096;

/// The connections of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// High, normal and low.
    Main,
    /// Critical, so that nothing else is in front of it.
    Critical,
    /// Prefixes of plain subjects: what others do there ends no other connection.
    Foreign,
}

impl Link {
    /// All of them.
    pub const ALL: [Link; 3] = [Link::Main, Link::Critical, Link::Foreign];
}

/// What a node is told of itself.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The cluster's name.
    pub cluster: String,
    /// The node's number: see [`Origin`].
    pub node: u64,
    /// A random number, another one at each start.
    pub run: u32,
    /// Names and patterns that are asked for always.
    pub keep: Vec<Pattern>,
    /// Prefixes of plain subjects that are topics here.
    pub foreign: Vec<Prefix>,
    /// Bytes that may wait for NATS.
    pub outward_bytes_max: usize,
    /// Bytes that may wait for the engine.
    pub inward_bytes_max: usize,
}

/// A message of this engine's.
#[derive(Clone, Debug)]
pub struct Local<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its lane.
    pub priority: Priority,
    /// What the payload is.
    pub kind: Kind,
    /// What it replaces, as a number; 0: nothing.
    pub key: u64,
    /// How long it is worth something, in milliseconds; 0: always.
    pub ttl_ms: u32,
    /// Messages of its lane right before it that the outlet had no room for.
    pub missed: u64,
    /// The payload.
    pub payload: Bytes,
}

/// A message for NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Its subject.
    pub subject: Arc<str>,
    /// Its reply subject: see [`Envelope`].
    pub envelope: Envelope,
    /// The payload.
    pub payload: Bytes,
    queued_ms: u64,
}

/// A message of NATS.
#[derive(Clone, Debug, Default)]
pub struct Received<'a> {
    /// Its subject.
    pub subject: &'a str,
    /// Its reply subject.
    pub reply: Option<&'a str>,
    /// What its headers say of its priority.
    pub priority: Option<Priority>,
    /// What its headers say of what it replaces, as a number; 0: nothing.
    pub key: u64,
    /// The payload.
    pub payload: Bytes,
}

/// A message for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Its topic.
    pub topic: Box<str>,
    /// Its lane.
    pub priority: Priority,
    /// What the payload is.
    pub kind: Kind,
    /// What it replaces, as a number; 0: nothing.
    pub key: u64,
    /// How long it is worth something, in milliseconds; 0: always.
    pub ttl_ms: u32,
    /// The payload.
    pub payload: Bytes,
}

impl Inbound {
    fn bytes(&self) -> usize {
        self.payload.len() + self.topic.len() + MESSAGE_BYTES
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Node {
    space: Space,
    foreign: Vec<Prefix>,
    wants: Wants,
    /// What is asked for; the links' subscriptions follow.
    asked: BTreeSet<Box<str>>,
    cover: Cover,
    /// What is wanted has changed since: look at it at this time.
    settles_ms: Option<u64>,
    settled_ms: u64,
    links: [Subscriptions; Link::ALL.len()],
    sent: Sent,
    heard: Heard,
    held: Held,
    /// For the cluster, and for plain subjects.
    outward: [Bounded<Outbound>; 2],
    inward: Bounded<Inbound>,
    payload_max: usize,
    counters: Arc<Counters>,
}

impl Node {
    /// A node that is alone.
    pub fn new(config: NodeConfig, counters: Arc<Counters>) -> Self {
        let NodeConfig { cluster, node, run, keep, foreign, outward_bytes_max, inward_bytes_max } = config;
        let always: Vec<String> = foreign.iter().flat_map(Prefix::subjects).collect();
        // Where there are no plain subjects, their part is the cluster's.
        let plain_bytes = if foreign.is_empty() { 0 } else { outward_bytes_max / 2 };
        let mut made = Self {
            space: Space::new(&cluster),
            wants: Wants::new(keep.iter().map(|pattern| pattern.as_str().into()).collect()),
            asked: BTreeSet::new(),
            cover: Cover::default(),
            settles_ms: Some(0),
            settled_ms: 0,
            links: [Subscriptions::new([]), Subscriptions::new([]), Subscriptions::new(always)],
            sent: Sent::new(node, run, sent::TOPICS_MAX),
            heard: Heard::new(LANES_MAX),
            held: Held::new(HELD_BYTES_MAX),
            outward: [Bounded::new(outward_bytes_max - plain_bytes), Bounded::new(plain_bytes)],
            inward: Bounded::new(inward_bytes_max),
            payload_max: usize::MAX,
            foreign,
            counters,
        };
        made.settle();
        made
    }

    /// Largest payload that the server takes.
    pub fn on_payload_max(&mut self, bytes: usize) {
        self.payload_max = bytes.saturating_sub(PAYLOAD_MARGIN);
    }

    /// A name or a pattern has its first subscriber, or none any more.
    pub fn on_interest(&mut self, topics: &Pattern, is_wanted: bool, now_ms: u64) {
        let is_elsewhere = self.foreign.iter().any(|prefix| prefix.covers(topics));
        if is_elsewhere || is_engine_owned(topics.as_str()) {
            return;
        }
        if self.wants.on_interest(topics.as_str(), is_wanted, now_ms) {
            self.note_change(now_ms);
        }
        set(&self.counters.interest, self.wants.len());
    }

    /// Looking at all that is wanted takes some microseconds for each: it is done less often the more there is.
    fn note_change(&mut self, now_ms: u64) {
        let rest_ms = self.wants.len() as u64 / 100;
        self.settles_ms.get_or_insert(now_ms.max(self.settled_ms + rest_ms));
    }

    /// When [`Node::on_time`] has something to do.
    pub fn due_ms(&self) -> Option<u64> {
        self.settles_ms.into_iter().chain(self.wants.due_ms()).min()
    }

    /// It is so late.
    pub fn on_time(&mut self, now_ms: u64) {
        if self.wants.on_time(now_ms) {
            self.note_change(now_ms);
            set(&self.counters.interest, self.wants.len());
        }
        if self.settles_ms.is_some_and(|settles_ms| settles_ms <= now_ms) {
            self.settled_ms = now_ms;
            self.settle();
        }
    }

    /// Subscriptions follow what is wanted.
    fn settle(&mut self) {
        self.settles_ms = None;
        let now = self.wants.fewest(EXACT_MAX);
        let before = std::mem::replace(&mut self.asked, now);
        for text in self.asked.difference(&before) {
            for (link, subject) in lanes(&self.space, text) {
                self.links[link as usize].want(subject);
            }
        }
        let mut has_less = false;
        for text in before.difference(&self.asked) {
            has_less = true;
            for (link, subject) in lanes(&self.space, text) {
                self.links[link as usize].drop(subject);
            }
        }
        self.cover = Cover::of(self.asked.iter().map(|text| &**text));
        if has_less {
            // What comes between now and the next subscriber is not lost: nobody asked for it.
            let (cover, foreign) = (&self.cover, &self.foreign);
            self.heard.interrupt_others(|topic| cover.has(topic) || foreign.iter().any(|prefix| prefix.has(topic)));
        }
    }

    /// What a connection is to do about its subscriptions, if there is anything now.
    pub fn next_change(&mut self, link: Link) -> Option<Change> {
        let change = self.links[link as usize].next();
        self.note_subscriptions();
        change
    }

    /// The subjects that a connection is to be subscribed to.
    #[cfg(test)]
    pub fn subjects(&self, link: Link) -> Vec<String> {
        let all = self.asked.iter().flat_map(|text| lanes(&self.space, text));
        all.filter(|(of, _)| *of == link).map(|(_, subject)| subject.into()).collect()
    }

    fn note_subscriptions(&self) {
        set(&self.counters.subscriptions, self.links.iter().map(Subscriptions::len).sum());
    }

    /// The server has answered what it was asked by [`Change::Confirm`], and what came before was heard; or it has not.
    pub fn on_confirmed(&mut self, link: Link, number: u64, has_answered: bool) {
        self.links[link as usize].on_confirmed(number, has_answered);
        if !self.are_changing() {
            self.let_go();
        }
    }

    /// All that a subscription has brought was heard.
    pub fn on_ended(&mut self, link: Link, number: u64) {
        self.links[link as usize].on_ended(number);
        self.note_subscriptions();
        if !self.are_changing() {
            self.let_go();
        }
    }

    fn are_changing(&self) -> bool {
        self.links.iter().any(Subscriptions::are_changing)
    }

    /// A message was published here.
    pub fn on_local(&mut self, local: Local<'_>, now_ms: u64) {
        let Local { topic, priority, kind, key, ttl_ms, missed, payload } = local;
        if is_engine_owned(topic) {
            return;
        }
        add(&self.counters.lost_outlet, missed);
        let missed = if planted::has(Defect::LeavesOutMissed) { 0 } else { missed };
        let is_plain = self.foreign.iter().any(|prefix| prefix.has(topic));
        let space = &self.space;
        let (origin, seq, subject) = self.sent.next(topic, priority, missed, || match is_plain {
            true => plain_subject(topic),
            false => space.subject(priority, topic),
        });
        if payload.len() > self.payload_max {
            return count(&self.counters.lost_too_large);
        }
        let envelope = Envelope { origin, seq, kind, priority, ttl_ms, key };
        let bytes = outbound_bytes(&subject, &payload);
        let outbound = Outbound { subject, envelope, payload, queued_ms: now_ms };
        let counters = &self.counters;
        self.outward[usize::from(is_plain)].push(priority, bytes, outbound, |_| count(&counters.lost_outward));
        self.note_outward();
    }

    /// The next message for a connection.
    pub fn next_outbound(&mut self, link: Link, now_ms: u64) -> Option<Outbound> {
        let (queue, priorities) = match link {
            Link::Main => (0, Priority::High..=Priority::Low),
            Link::Critical => (0, Priority::Critical..=Priority::Critical),
            Link::Foreign => (1, Priority::Critical..=Priority::Low),
        };
        let next = loop {
            let Some(mut outbound) = self.outward[queue].pop(priorities.clone()) else { break None };
            let waited_ms = now_ms.saturating_sub(outbound.queued_ms);
            match u64::from(outbound.envelope.ttl_ms) {
                0 => break Some(outbound),
                ttl_ms if ttl_ms <= waited_ms => count(&self.counters.lost_expired),
                ttl_ms => {
                    // Less than a number of 32 bits was before.
                    outbound.envelope.ttl_ms = (ttl_ms - waited_ms) as u32;
                    break Some(outbound);
                }
            }
        };
        self.note_outward();
        next
    }

    fn note_outward(&self) {
        set(&self.counters.outward_bytes, self.outward.iter().map(Bounded::bytes).sum());
    }

    /// A message has come by a connection.
    pub fn on_received(&mut self, link: Link, received: Received<'_>) {
        let Received { subject, reply, priority, key, payload } = received;
        let envelope = reply.and_then(Envelope::parse);
        let said = envelope.map_or(priority, |envelope| Some(envelope.priority)).unwrap_or_default();
        let lane = match link {
            Link::Foreign => subject::decode(subject).map(|topic| (said, topic)),
            _ => self.space.lane(subject).filter(|(priority, _)| envelope.is_none_or(|e| e.priority == *priority)),
        };
        let Some((priority, topic)) = lane.filter(|(_, topic)| !is_engine_owned(topic)) else {
            return count(&self.counters.passed_over);
        };
        let is_own = envelope.is_some_and(|envelope| envelope.origin.node == self.sent.node());
        if is_own && !planted::has(Defect::HearsItself) {
            return count(&self.counters.echoes);
        }
        if link != Link::Foreign && !self.cover.has(&topic) {
            return count(&self.counters.unwanted);
        }
        let topic = topic.into_boxed_str();
        let Some(envelope) = envelope else {
            let kind = if std::str::from_utf8(&payload).is_ok() { Kind::Text } else { Kind::Binary };
            return self.take(Inbound { topic, priority, kind, key, ttl_ms: 0, payload });
        };
        let Envelope { kind, ttl_ms, key, .. } = envelope;
        self.on_numbered(envelope, Inbound { topic, priority, kind, key, ttl_ms, payload });
    }

    fn on_numbered(&mut self, envelope: Envelope, message: Inbound) {
        let may_hold = self.are_changing() && !planted::has(Defect::HoldsNothing);
        if may_hold && self.heard.missing_before(&message.topic, &envelope) > 0 {
            if !self.held.has_room(&message) {
                self.let_go();
            }
            if self.held.has_room(&message) {
                return self.held.keep(envelope, message);
            }
        }
        let topic = message.topic.clone();
        self.hear(&envelope, message);
        let mut last = envelope;
        while let Some((envelope, message)) = self.held.next_of(&topic, &last) {
            self.hear(&envelope, message);
            last = envelope;
        }
    }

    /// What was held comes, whatever is missing before it.
    fn let_go(&mut self) {
        if self.held.is_empty() {
            return;
        }
        for (envelope, message) in self.held.let_go() {
            self.hear(&envelope, message);
        }
    }

    fn hear(&mut self, envelope: &Envelope, message: Inbound) {
        match self.heard.hear(&message.topic, envelope) {
            News::Copy => return count(&self.counters.copies),
            News::Next { lost } => add(&self.counters.lost_peer, lost),
        }
        set(&self.counters.forgotten, self.heard.forgotten() as usize);
        self.take(message);
    }

    fn take(&mut self, message: Inbound) {
        let counters = &self.counters;
        self.inward.push(message.priority, message.bytes(), message, |_| count(&counters.lost_inward));
        set(&counters.inward_bytes, self.inward.bytes());
    }

    /// The next message for the engine.
    pub fn next_inbound(&mut self) -> Option<Inbound> {
        let next = self.inward.pop(Priority::Critical..=Priority::Low);
        set(&self.counters.inward_bytes, self.inward.bytes());
        next
    }

    /// The engine has no room for it now.
    pub fn put_back(&mut self, message: Inbound) {
        self.inward.put_back(message.priority, message.bytes(), message);
        set(&self.counters.inward_bytes, self.inward.bytes());
    }
}

fn outbound_bytes(subject: &str, payload: &Bytes) -> usize {
    payload.len() + subject.len() + MESSAGE_BYTES
}

fn plain_subject(topic: &str) -> String {
    let mut subject = String::with_capacity(topic.len());
    subject::encode(&mut subject, topic);
    subject
}

/// The subjects of a name or a pattern, each with the connection that has it.
fn lanes(space: &Space, topics: &str) -> [(Link, Box<str>); Priority::ALL.len()] {
    Priority::ALL.map(|priority| {
        let link = if priority == Priority::Critical { Link::Critical } else { Link::Main };
        (link, space.subject(priority, topics).into())
    })
}

#[cfg(test)]
mod tests;
