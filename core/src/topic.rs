//! The publishing side: topics, publishers, claims.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::config::nanoseconds;
use crate::ingest::{ATTRIBUTES_MAX, ClaimBuf, Head, INLINE_MAX, Payload, Position, Refused};
use crate::numbering::{Given, SEQ_MAX};
use crate::outlet::FLAG_FORWARDED;
use crate::registry::Opened;
use crate::shard::{Command, FULL, Gauges, Shared, are_watched};
use crate::sys::clock;
use crate::types::{Kind, Priority, TopicId};

/// How long the first [`Topic::pressure`] waits for the shards…
const FIRST_ANSWER: Duration = Duration::from_millis(100);
/// …and how often it asks meanwhile.
const ASK_AGAIN: Duration = Duration::from_micros(200);

/// Why a message was not published. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The ingest ring or the payload pool is full (and stayed so for the time allowed): the slowest shard is behind.
    #[error("the ingest ring or the payload pool is full: try again, or wait with a time-out")]
    WouldBlock,
    /// Larger than [`crate::LimitsConfig::message_bytes_max`].
    #[error("a message of {bytes} bytes is larger than the {max} allowed (limits.message_bytes_max)")]
    TooLarge {
        /// The message.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More attributes than [`ATTRIBUTES_MAX`].
    #[error("{bytes} bytes of attributes are more than the {ATTRIBUTES_MAX} allowed")]
    AttributesTooLarge {
        /// How many.
        bytes: usize,
    },
    /// Published as text or JSON, but not UTF-8.
    #[error("a text or JSON message must be UTF-8")]
    NotUtf8,
    /// The number that the message was given is not above the last one given in its lane.
    #[error("a message with number {seq} cannot follow number {last}")]
    OutOfOrder {
        /// The message's.
        seq: u64,
        /// The last one's.
        last: u64,
    },
    /// The number that the message was given is not from 1 to [`SEQ_MAX`].
    #[error("{seq} is no message's number: it must be from 1 to {SEQ_MAX}")]
    BadSeq {
        /// The number.
        seq: u64,
    },
    /// The topic was removed.
    #[error("the topic was removed")]
    Removed,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

impl From<Refused> for PublishError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stopped => PublishError::Stopped,
            Refused::Full | Refused::TooLarge => PublishError::WouldBlock,
        }
    }
}

/// What may be said of a message beyond its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its importance.
    pub priority: Priority,
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: &'a [u8],
    /// What it replaces, where a topic's policy is to keep only the newest message of each key.
    pub key: Option<&'a str>,
    /// After so long (at most 49 days) it is worth nothing: a subscriber that lags does not get it any more.
    pub ttl: Option<Duration>,
    /// Its sequence number, from 1 to [`SEQ_MAX`], above those of all messages of its lane before it: a broker's. Numbers may be left
    /// out; nobody misses anything for that. `None`: the one after the last. Numbers of a lane are to come from one thread at a time:
    /// one that enters behind a higher one is refused by every shard, and counted (`out_of_order`).
    pub seq: Option<u64>,
    /// What is to be said of it beyond the payload, at most [`ATTRIBUTES_MAX`] bytes; empty: nothing. The engine keeps them beside the
    /// message and hands them to outlets ([`crate::OutletMessage::attributes`]); no client is sent them. Any bytes will do; by custom
    /// they are lines `name=value`, of which traces ([`crate::Engine::traces`]) know one: `traceparent`, after W3C Trace Context.
    pub attributes: &'a [u8],
}

/// A message of another engine, as an outlet there gave it: see [`Topic::forward`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Its importance.
    pub priority: Priority,
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: &'a [u8],
    /// What was said of it beyond the payload: see [`Message::attributes`].
    pub attributes: &'a [u8],
    /// What it replaces, as [`crate::OutletMessage::key`] says it; 0: nothing.
    pub key: u64,
    /// How long after `time_ns` it is worth nothing.
    pub ttl: Option<Duration>,
    /// When it was published: nanoseconds since 1970.
    pub time_ns: u64,
}

fn check_attributes(attributes: &[u8]) -> Result<(), PublishError> {
    match attributes.len() {
        0..=ATTRIBUTES_MAX => Ok(()),
        bytes => Err(PublishError::AttributesTooLarge { bytes }),
    }
}

/// A key as the engine compares it, and as [`crate::OutletMessage::key`] and [`Forwarded::key`] say it: FNV-1a, never 0.
pub fn key_number(key: &str) -> u64 {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.max(1)
}

/// An expiry as a record has it.
fn in_ms(ttl: Option<Duration>) -> u32 {
    ttl.map_or(0, |ttl| ttl.as_millis().clamp(1, u32::MAX.into()) as u32)
}

/// How the subscribers of a topic stand: what a publisher slows down by, or sends less by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Pressure {
    /// Subscribers now.
    pub subscribers: u64,
    /// The largest lag of any subscriber in any priority, as a share of the lane's budget in bytes: 0 for none; at 0.9 the oldest messages are dropped, or,
    /// in the critical lane, at 1 the subscriber is closed.
    pub fullest: f64,
    /// How old the oldest message is that some subscriber has still to get; zero if there is none.
    pub oldest: Duration,
    /// Messages lost so far by subscribers that were too slow, by priority: critical (none, ever), high, normal, low. One
    /// message lost by two subscribers counts twice.
    pub dropped: [u64; 4],
}

/// A topic to publish on. Cheap to clone, may be used from any thread, outlives nothing: after the engine's end every call
/// answers [`PublishError::Stopped`].
#[derive(Clone)]
pub struct Topic {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    id: TopicId,
    epoch: u64,
    name: Box<str>,
    is_removed: Arc<AtomicBool>,
    gauges: Arc<OnceLock<Arc<Gauges>>>,
    given: Arc<Given>,
    has_published: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Inner { shared, name, id, has_published, .. } = self;
        shared.registry.release(name, *id, has_published.load(Relaxed), shared.to_ring());
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("name", &self.inner.name).field("id", &self.inner.id).finish()
    }
}

impl Topic {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened, name: &str) -> Self {
        let Opened { id, epoch, is_removed, gauges, given, .. } = opened;
        let has_published = AtomicBool::new(false);
        let name = name.into();
        Self { inner: Arc::new(Inner { shared, id, epoch, name, is_removed, gauges, given, has_published }) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its number.
    pub fn id(&self) -> TopicId {
        self.inner.id
    }

    /// The epoch in which its sequence numbers count: another one after each start of the engine, and when the topic is made
    /// again after its removal.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// How the subscribers of this topic stand, at most some ten milliseconds ago (a hundred at 100,000 subscribers).
    /// Subscribers that asked for less (`max_hz`) are not behind for that. The first call for a topic makes
    /// the shards look after it and waits for their first answer, 100 ms at most; later calls read memory and never wait.
    ///
    /// # Errors
    /// `Removed` or `Stopped`.
    pub fn pressure(&self) -> Result<Pressure, PublishError> {
        let Inner { shared, id, is_removed, gauges, .. } = &*self.inner;
        let gauges = gauges.get_or_init(|| Arc::new(shared.mailboxes.iter().map(|_| Default::default()).collect()));
        let until = clock::monotonic_ns() + FIRST_ANSWER.as_nanos() as u64;
        while !are_watched(gauges) {
            if shared.mailboxes.iter().any(|m| m.is_stopped.load(Relaxed)) {
                return Err(PublishError::Stopped);
            }
            if is_removed.load(Relaxed) {
                return Err(PublishError::Removed);
            }
            if clock::monotonic_ns() > until {
                break;
            }
            for (number, mailbox) in shared.mailboxes.iter().enumerate() {
                // A shard that has not come to the topic's making yet leaves this without an answer: it is asked again.
                if !gauges[number].is_watched.load(Relaxed)
                    && mailbox.commands.push(Command::Watch { topic: *id, gauges: gauges.clone() }).is_ok()
                {
                    shared.ring.wake_reader(number);
                }
            }
            std::thread::park_timeout(ASK_AGAIN);
        }
        if is_removed.load(Relaxed) {
            return Err(PublishError::Removed);
        }
        if shared.ring.is_closed() {
            return Err(PublishError::Stopped);
        }
        let mut sum = Pressure::default();
        let (mut fullest, mut oldest_ns) = (0, u64::MAX);
        for gauge in gauges.iter() {
            sum.subscribers += gauge.subscribers.load(Relaxed);
            fullest = fullest.max(gauge.fullest.load(Relaxed));
            oldest_ns = oldest_ns.min(gauge.oldest_ns.load(Relaxed).wrapping_sub(1));
            for (sum, dropped) in sum.dropped.iter_mut().zip(&gauge.dropped) {
                *sum += dropped.load(Relaxed);
            }
        }
        sum.fullest = fullest as f64 / FULL as f64;
        if oldest_ns != u64::MAX {
            sum.oldest = Duration::from_nanos(clock::realtime_ns().saturating_sub(oldest_ns));
        }
        Ok(sum)
    }

    /// Publishes one message. Copies it once; never waits. Returns its place in the order of its priority's messages.
    ///
    /// # Errors
    /// See [`PublishError`]; `WouldBlock` if there is no room now.
    pub fn publish(&self, priority: Priority, kind: Kind, payload: &[u8]) -> Result<Position, PublishError> {
        // Not by way of `publish_message`, which looks for what nobody has said here.
        let head = self.check(priority, kind, payload)?;
        self.put(&head, payload)
    }

    /// Publishes one message with a key, an expiry or a number. Copies it once; never waits.
    ///
    /// # Errors
    /// See [`PublishError`]; `WouldBlock` if there is no room now.
    pub fn publish_message(&self, message: &Message<'_>) -> Result<Position, PublishError> {
        let head = self.head(message)?;
        if head.seq != 0 {
            return self.numbered(&head, || self.put_message(&head, message));
        }
        self.put_message(&head, message)
    }

    #[inline]
    fn put_message(&self, head: &Head, message: &Message<'_>) -> Result<Position, PublishError> {
        match message.attributes {
            [] => self.put(head, message.payload),
            attributes => self.put_with(head, attributes, message.payload),
        }
    }

    #[inline]
    fn put(&self, head: &Head, payload: &[u8]) -> Result<Position, PublishError> {
        if payload.len() <= INLINE_MAX {
            return Ok(self.inner.shared.ring.try_publish(head, payload)?);
        }
        let payload = self.inner.shared.payloads.copy_from(payload).ok_or(PublishError::WouldBlock)?;
        self.inner.shared.ring.try_publish_shared(head, payload).map_err(|(refused, _)| refused.into())
    }

    #[cold]
    fn put_with(&self, head: &Head, attributes: &[u8], payload: &[u8]) -> Result<Position, PublishError> {
        check_attributes(attributes)?;
        let Shared { ring, payloads, .. } = &*self.inner.shared;
        if attributes.len() + payload.len() <= INLINE_MAX {
            return Ok(ring.try_publish_with(head, attributes, payload)?);
        }
        let payload = payloads.copy_from(payload).ok_or(PublishError::WouldBlock)?;
        ring.try_publish_shared_with(head, attributes, payload).map_err(|(refused, _)| refused.into())
    }

    /// Publishes a message that brings a number, if that is above the last one given.
    #[cold]
    fn numbered(
        &self,
        head: &Head,
        put: impl FnOnce() -> Result<Position, PublishError>,
    ) -> Result<Position, PublishError> {
        let &Head { priority, seq, .. } = head;
        let given = &self.inner.given;
        let last = given.take(priority, seq).map_err(|last| PublishError::OutOfOrder { seq, last })?;
        let published = put();
        if published.is_err() {
            given.give_back(priority, seq, last);
        }
        published
    }

    /// Publishes one message, waiting up to `wait` for room.
    ///
    /// # Errors
    /// See [`PublishError`]; `WouldBlock` once the time is over.
    pub fn publish_timeout(
        &self,
        priority: Priority,
        kind: Kind,
        payload: &[u8],
        wait: Duration,
    ) -> Result<Position, PublishError> {
        self.publish_message_timeout(&Message { priority, kind, payload, ..Message::default() }, wait)
    }

    /// Publishes one message with a key, an expiry or a number, waiting up to `wait` for room.
    ///
    /// # Errors
    /// See [`PublishError`]; `WouldBlock` once the time is over.
    pub fn publish_message_timeout(&self, message: &Message<'_>, wait: Duration) -> Result<Position, PublishError> {
        let head = self.head(message)?;
        let put = || self.put_timeout(&head, message.attributes, message.payload, wait);
        if head.seq == 0 { put() } else { self.numbered(&head, put) }
    }

    fn put_timeout(
        &self,
        head: &Head,
        attributes: &[u8],
        payload: &[u8],
        wait: Duration,
    ) -> Result<Position, PublishError> {
        check_attributes(attributes)?;
        let ring = &self.inner.shared.ring;
        if attributes.len() + payload.len() <= INLINE_MAX {
            return Ok(match attributes {
                [] => ring.publish_timeout(head, payload, wait),
                _ => ring.publish_with_timeout(head, attributes, payload, wait),
            }?);
        }
        let until = clock::monotonic_ns().saturating_add(nanoseconds(wait));
        let payloads = &self.inner.shared.payloads;
        let payload = ring.retry_timeout(wait, || payloads.copy_from(payload)).ok_or(PublishError::WouldBlock)?;
        let rest = Duration::from_nanos(until.saturating_sub(clock::monotonic_ns()));
        ring.publish_shared_timeout(head, attributes, payload, rest).map_err(|(refused, _)| refused.into())
    }

    /// Publishes bytes by reference: they are kept, not copied, until the last shard has done with them. Small ones are
    /// copied all the same, for that is cheaper.
    ///
    /// # Errors
    /// See [`PublishError`]; `WouldBlock` also when as many bytes are referenced as
    /// [`crate::MemoryConfig::payload_bytes`] allows.
    pub fn publish_bytes(&self, priority: Priority, kind: Kind, payload: Bytes) -> Result<Position, PublishError> {
        if payload.len() <= 1_024 {
            return self.publish(priority, kind, &payload);
        }
        self.check(priority, kind, &payload)?;
        let payload = self.inner.shared.payloads.adopt(payload).map_err(|_| PublishError::WouldBlock)?;
        self.publish_payload(priority, kind, payload).map_err(|refused| refused.error)
    }

    /// Publishes a payload that is in the engine's memory already: one received as an event, or one refused before.
    ///
    /// # Errors
    /// See [`PublishError`]; the payload comes back.
    pub fn publish_payload(
        &self,
        priority: Priority,
        kind: Kind,
        payload: Payload,
    ) -> Result<Position, RefusedPayload> {
        let head = match self.check(priority, kind, &payload) {
            Ok(head) => head,
            Err(error) => return Err(RefusedPayload { error, payload }),
        };
        self.inner
            .shared
            .ring
            .try_publish_shared(&head, payload)
            .map_err(|(refused, payload)| RefusedPayload { error: refused.into(), payload })
    }

    /// Publishes messages of one priority and kind, in order, in one step: as many as fit. Returns how many.
    ///
    /// # Errors
    /// See [`PublishError`]: about the first message that was not taken, if not even one was.
    pub fn publish_many(&self, priority: Priority, kind: Kind, payloads: &[&[u8]]) -> Result<usize, PublishError> {
        let Some(first) = payloads.first() else { return Ok(0) };
        let head = self.check(priority, kind, first)?;
        // What this call can do in one step: up to the first message that is too large or not text.
        let sound =
            payloads[1..].iter().take_while(|p| self.check_payload(kind, p).is_ok() && p.len() <= INLINE_MAX).count();
        if first.len() > INLINE_MAX {
            return self.publish(priority, kind, first).map(|_| 1);
        }
        Ok(self.inner.shared.ring.try_publish_many(&head, &payloads[..=sound])?)
    }

    /// [`Topic::publish_many`], waiting up to `wait` for room for all of them. Returns how many were published.
    ///
    /// # Errors
    /// See [`PublishError`]: about the first message that was not taken, if not even one was.
    pub fn publish_many_timeout(
        &self,
        priority: Priority,
        kind: Kind,
        payloads: &[&[u8]],
        wait: Duration,
    ) -> Result<usize, PublishError> {
        let Some(first) = payloads.first() else { return Ok(0) };
        let head = self.check(priority, kind, first)?;
        if first.len() > INLINE_MAX {
            return self.publish_timeout(priority, kind, first, wait).map(|_| 1);
        }
        let sound =
            payloads[1..].iter().take_while(|p| self.check_payload(kind, p).is_ok() && p.len() <= INLINE_MAX).count();
        Ok(self.inner.shared.ring.publish_many_timeout(&head, &payloads[..=sound], wait)?)
    }

    /// Memory to write a message of `len` bytes in place (all zero). Publish it with [`Claim::commit`]; dropped, it is
    /// given back and nobody notices.
    ///
    /// # Errors
    /// `TooLarge`, `Stopped`, or `WouldBlock` if the payload pool is full.
    pub fn claim(&self, len: usize) -> Result<Claim, PublishError> {
        let max = self.inner.shared.config.limits.message_bytes_max;
        if len > max {
            return Err(PublishError::TooLarge { bytes: len, max });
        }
        if self.inner.shared.ring.is_closed() {
            return Err(PublishError::Stopped);
        }
        let buf = self.inner.shared.payloads.claim(len).ok_or(PublishError::WouldBlock)?;
        Ok(Claim { buf, topic: self.clone() })
    }

    /// A publisher that always uses this priority and kind.
    pub fn publisher(&self, priority: Priority, kind: Kind) -> Publisher {
        Publisher { topic: self.clone(), priority, kind }
    }

    /// Publishes what was published on another engine, waiting up to `wait` for room: with the time, key and expiry that it has
    /// there. Outlets say that it [came so](crate::OutletMessage::is_forwarded), so that two engines can forward to each other.
    ///
    /// # Errors
    /// See [`PublishError`]; `WouldBlock` once the time is over.
    pub fn forward(&self, message: &Forwarded<'_>, wait: Duration) -> Result<Position, PublishError> {
        let Forwarded { priority, kind, payload, attributes, key, ttl, time_ns } = *message;
        let head =
            Head { key, ttl_ms: in_ms(ttl), time_ns, flags: FLAG_FORWARDED, ..self.check(priority, kind, payload)? };
        self.put_timeout(&head, attributes, payload, wait)
    }

    #[inline(always)]
    fn head(&self, message: &Message<'_>) -> Result<Head, PublishError> {
        let Message { priority, kind, payload, key, ttl, seq, attributes: _ } = *message;
        if let Some(seq) = seq.filter(|seq| !(1..=SEQ_MAX).contains(seq)) {
            return Err(PublishError::BadSeq { seq });
        }
        let head = self.check(priority, kind, payload)?;
        Ok(Head { seq: seq.unwrap_or(0), key: key.map_or(0, key_number), ttl_ms: in_ms(ttl), ..head })
    }

    /// Part of every publish: by a call, the head would be written down and copied.
    #[inline(always)]
    fn check(&self, priority: Priority, kind: Kind, payload: &[u8]) -> Result<Head, PublishError> {
        self.check_payload(kind, payload)?;
        if self.inner.is_removed.load(Relaxed) {
            return Err(PublishError::Removed);
        }
        // Most messages are not the first: they only read.
        if !self.inner.has_published.load(Relaxed) {
            self.inner.has_published.store(true, Relaxed);
        }
        Ok(Head { time_ns: clock::realtime_ns(), ..Head::message(self.inner.id, priority, kind) })
    }

    fn check_payload(&self, kind: Kind, payload: &[u8]) -> Result<(), PublishError> {
        let max = self.inner.shared.config.limits.message_bytes_max;
        if payload.len() > max {
            return Err(PublishError::TooLarge { bytes: payload.len(), max });
        }
        if kind != Kind::Binary && simdutf8::basic::from_utf8(payload).is_err() {
            return Err(PublishError::NotUtf8);
        }
        Ok(())
    }
}

/// A payload that was not published, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RefusedPayload {
    /// Why.
    #[source]
    pub error: PublishError,
    /// The payload, for another try with [`Topic::publish_payload`].
    pub payload: Payload,
}

/// A topic with a fixed priority and kind.
#[derive(Clone, Debug)]
pub struct Publisher {
    topic: Topic,
    priority: Priority,
    kind: Kind,
}

impl Publisher {
    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// See [`Topic::publish`].
    ///
    /// # Errors
    /// See there.
    #[inline]
    pub fn publish(&self, payload: &[u8]) -> Result<Position, PublishError> {
        self.topic.publish(self.priority, self.kind, payload)
    }

    /// See [`Topic::publish_timeout`].
    ///
    /// # Errors
    /// See there.
    pub fn publish_timeout(&self, payload: &[u8], wait: Duration) -> Result<Position, PublishError> {
        self.topic.publish_timeout(self.priority, self.kind, payload, wait)
    }

    /// See [`Topic::publish_bytes`].
    ///
    /// # Errors
    /// See there.
    pub fn publish_bytes(&self, payload: Bytes) -> Result<Position, PublishError> {
        self.topic.publish_bytes(self.priority, self.kind, payload)
    }

    /// See [`Topic::publish_many`].
    ///
    /// # Errors
    /// See there.
    pub fn publish_many(&self, payloads: &[&[u8]]) -> Result<usize, PublishError> {
        self.topic.publish_many(self.priority, self.kind, payloads)
    }

    /// See [`Topic::claim`].
    ///
    /// # Errors
    /// See there.
    pub fn claim(&self, len: usize) -> Result<Claim, PublishError> {
        self.topic.claim(len)
    }
}

/// Memory of the engine's, to be written and published without a copy.
pub struct Claim {
    buf: ClaimBuf,
    topic: Topic,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("len", &self.buf.len()).field("topic", &self.topic).finish()
    }
}

impl Claim {
    /// Makes the message `len` bytes long if it is shorter, the new bytes zero; may move it. False: the payload pool is full, and
    /// nothing has changed.
    #[must_use]
    pub fn grow(&mut self, len: usize) -> bool {
        len <= self.topic.inner.shared.config.limits.message_bytes_max && self.buf.grow(len)
    }

    /// Shortens the message.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// Publishes it.
    ///
    /// # Errors
    /// See [`PublishError`]; the payload comes back.
    pub fn commit(self, priority: Priority, kind: Kind) -> Result<Position, RefusedPayload> {
        self.topic.publish_payload(priority, kind, self.buf.freeze())
    }
}

impl std::ops::Deref for Claim {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buf
    }
}

impl std::ops::DerefMut for Claim {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buf
    }
}
