//! What clients publish, on its way into the ring or to the host.

use crate::driver::Driver;
use crate::event::Event;
use crate::ingest::{Head, Payload, Refused};
use crate::proto::close::CloseCode;
use crate::proto::subscribe::{self, ControlError, Publish};
use crate::shard::clients::NO_TOPIC;
use crate::shard::lanes::FLAG_SENDER_EXCLUDED;
use crate::shard::request::{Extras, Held, Publication, Unopened};
use crate::shard::turn::long::{publication_of, unopened};
use crate::shard::turn::receive::{Flow, Inbound};
use crate::shard::turn::subscribe::SubscribeError;
use crate::shard::waiters::Cause;
use crate::shard::{Ending, Shard, dialect};
use crate::types::{Kind, Priority};

/// Scratch memory for decoded payloads, kept from message to message.
const PAYLOAD_KEPT: usize = 256 << 10;

/// What came of a message for the ring.
enum Published {
    Yes,
    /// There is no room now.
    NoRoom(Payload),
    /// Its connection was closed, or the engine ends.
    No,
}

impl<D: Driver> Shard<D> {
    pub(super) fn on_raw_message(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        let conn = &self.clients[slot];
        if conn.flags.is_hosts {
            return self.hand_to_host(slot, kind, message);
        }
        if conn.publishes_to == NO_TOPIC || !conn.flags.may_publish {
            self.mark_close(slot, CloseCode::POLICY.to_u16(), "publishing is not allowed here");
            return Flow::Stop;
        }
        if let Some(name) = self.name_to_open(slot) {
            match self.open_for_publisher(slot, &name) {
                Ok(topic) => {
                    self.clients[slot].publishes_to = topic;
                    if std::mem::take(&mut self.clients[slot].flags.awaits_topic) {
                        self.clients.extra(slot).publishes_to = None;
                    }
                }
                Err(SubscribeError::Busy) => {
                    let Some(payload) = self.owned(slot, message) else { return Flow::Stop };
                    return self.hold(slot, Held::Message { kind, payload }, Some(Cause::Names));
                }
                Err(SubscribeError::Stopped) => {
                    self.engine_ends(slot);
                    return Flow::Stop;
                }
                Err(_) => {
                    // Its name is sound: there is no room for the topic's next life.
                    let reason = "the topic was removed, and no more topics can be made";
                    self.mark_close(slot, CloseCode::TRY_AGAIN_LATER.to_u16(), reason);
                    return Flow::Stop;
                }
            }
        }
        let topic = self.clients[slot].publishes_to;
        let publication = Publication { topic, priority: Priority::Normal, kind, extras: Extras::default() };
        self.publish(slot, publication, message)
    }

    /// The name of the topic of a raw connection, if it has to be opened before the next message.
    fn name_to_open(&mut self, slot: u32) -> Option<Box<str>> {
        if self.clients[slot].flags.awaits_topic {
            return self.clients.extra(slot).publishes_to.clone();
        }
        let Some(topic) = self.topics.by_id(self.clients[slot].publishes_to) else {
            let steps = self.leave_ended(slot);
            self.pace.work.input.spend(steps);
            return self.clients[slot].flags.awaits_topic.then(|| self.clients.extra(slot).publishes_to.clone())?;
        };
        (!topic.is_published()).then(|| (&*topic.name).into())
    }

    /// Whether a client may publish this.
    ///
    /// # Errors
    /// What to answer the client.
    pub(super) fn check_publisher<'a>(&mut self, slot: u32, publish: &Publish<'a>) -> Result<(), ControlError<'a>> {
        let refuse = |message: &'static str| {
            Err(ControlError { code: subscribe::code::NOT_ALLOWED, message: message.into(), id: publish.id })
        };
        if !self.clients[slot].flags.may_publish {
            return refuse("publishing is not allowed on this connection");
        }
        if !self.may_publish_to(slot, &publish.topic) {
            return refuse("publishing to this topic is not allowed");
        }
        Ok(())
    }

    /// A `publish` request.
    ///
    /// # Errors
    /// What to answer the client.
    pub(super) fn on_publish<'a>(&mut self, slot: u32, publish: &Publish<'a>) -> Result<Flow, ControlError<'a>> {
        let refuse = |code, message: &'static str| ControlError { code, message: message.into(), id: publish.id };
        self.check_publisher(slot, publish)?;
        let mut scratch = std::mem::take(&mut self.desk.payload);
        scratch.clear();
        let kind = match publish.content.as_plain() {
            Some(_) => Ok(publish.content.kind()),
            None => publish.content.decode(&mut scratch),
        };
        let Ok(kind) = kind else { return Err(refuse(subscribe::code::BAD_DATA, "`data` is not base64")) };
        let bytes = publish.content.as_plain().unwrap_or(&scratch);
        let opened = self.open_for_publisher(slot, &publish.topic);
        let publication = Publication { kind, ..publication_of(publish) };
        let flow = match opened {
            Ok(topic) => Ok(self.publish(slot, Publication { topic, ..publication }, Inbound::Lent(bytes))),
            Err(error) => match refusal_of_topic(error) {
                Some((code, message)) => Err(refuse(code, message)),
                None => Ok(match self.keep(slot, bytes) {
                    Some(payload) => {
                        let held = Held::Open(unopened(publish), publication, payload);
                        self.hold(slot, held, Some(Cause::Names))
                    }
                    None => Flow::Stop,
                }),
            },
        };
        if scratch.capacity() <= PAYLOAD_KEPT {
            self.desk.payload = scratch;
        }
        flow
    }

    /// Publishes for a client; what finds no room waits for its turn.
    pub(super) fn publish(&mut self, slot: u32, publication: Publication, message: Inbound<'_>) -> Flow {
        if self.pace.ending == Ending::No {
            // Those move first where another process goes on. Who begins later was told another moment.
            self.clients[slot].flags.has_published = true;
        }
        // Those that wait already come first; who is served has its share of bytes.
        let len = message.bytes().len();
        let is_behind = match &mut self.pace.ring_credit {
            Some(credit) if *credit < len => true,
            Some(credit) => {
                *credit -= len;
                false
            }
            None => !self.waiters.is_empty(Cause::Ring),
        };
        let published = match message {
            message if is_behind => match self.owned(slot, message) {
                Some(payload) => Published::NoRoom(payload),
                None => Published::No,
            },
            Inbound::Lent(bytes) if publication.is_copied(bytes) => self.publish_inline(slot, &publication, bytes),
            message => match self.owned(slot, message) {
                Some(payload) => self.publish_payload(slot, &publication, payload),
                None => Published::No,
            },
        };
        self.after_publish(slot, publication, published)
    }

    /// Publishes to a topic whose name had to wait.
    pub(super) fn publish_to_name(
        &mut self,
        slot: u32,
        topic: Box<Unopened>,
        publication: Publication,
        payload: Payload,
    ) -> Flow {
        let error = match self.open_for_publisher(slot, &topic.name) {
            Ok(id) => return self.publish(slot, Publication { topic: id, ..publication }, Inbound::Own(payload)),
            Err(error) => error,
        };
        let Some((code, message)) = refusal_of_topic(error) else {
            return self.hold(slot, Held::Open(topic, publication, payload), Some(Cause::Names));
        };
        let id = topic.id.as_deref().and_then(|raw| dialect::id_of(self.clients[slot].protocol, raw));
        self.refuse_request(slot, &ControlError { code, message: message.into(), id });
        if self.clients[slot].is_live() { Flow::Go } else { Flow::Stop }
    }

    /// Publishes what has waited.
    pub(super) fn publish_held(&mut self, slot: u32, publication: Publication, payload: Payload) -> Flow {
        if let Some(credit) = &mut self.pace.ring_credit {
            *credit = credit.saturating_sub(payload.len() + 1);
        }
        let published = match publication.is_copied(&payload) {
            true => match self.publish_inline(slot, &publication, &payload) {
                Published::NoRoom(_) => Published::NoRoom(payload),
                other => other,
            },
            false => self.publish_payload(slot, &publication, payload),
        };
        self.after_publish(slot, publication, published)
    }

    fn after_publish(&mut self, slot: u32, publication: Publication, published: Published) -> Flow {
        match published {
            Published::Yes => Flow::Go,
            Published::No => Flow::Stop,
            Published::NoRoom(payload) => self.hold(slot, Held::Publish(publication, payload), Some(Cause::Ring)),
        }
    }

    fn head(&self, slot: u32, publication: &Publication) -> Head {
        let &Publication { topic, priority, kind, extras } = publication;
        Head {
            time_ns: (self.shared.wall_ns)(),
            origin: self.clients.id(slot),
            flags: if self.clients[slot].flags.skips_own { FLAG_SENDER_EXCLUDED } else { 0 },
            key: extras.key,
            ttl_ms: extras.ttl_ms,
            ..Head::message(topic, priority, kind)
        }
    }

    fn publish_inline(&mut self, slot: u32, publication: &Publication, bytes: &[u8]) -> Published {
        let head = self.head(slot, publication);
        let published = match publication.extras.parent {
            None => self.shared.ring.try_publish(&head, bytes),
            Some(_) => self.shared.ring.try_publish_with(&head, &publication.line(), bytes),
        };
        match published {
            Ok(_) => Published::Yes,
            Err(Refused::Full) => match self.keep(slot, bytes) {
                Some(payload) => Published::NoRoom(payload),
                None => Published::No,
            },
            Err(_) => self.engine_ends(slot),
        }
    }

    fn publish_payload(&mut self, slot: u32, publication: &Publication, payload: Payload) -> Published {
        let head = self.head(slot, publication);
        match self.shared.ring.try_publish_shared_with(&head, &publication.line(), payload) {
            Ok(_) => Published::Yes,
            Err((Refused::Full, payload)) => Published::NoRoom(payload),
            Err(_) => self.engine_ends(slot),
        }
    }

    fn engine_ends(&mut self, slot: u32) -> Published {
        self.mark_close(slot, CloseCode::GOING_AWAY.to_u16(), "the server is shutting down");
        Published::No
    }

    fn hand_to_host(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        let Some(payload) = self.owned(slot, message) else { return Flow::Stop };
        if !self.waiters.is_empty(Cause::Host) && self.pace.serves != Some(Cause::Host) {
            return self.hold(slot, Held::Message { kind, payload }, Some(Cause::Host));
        }
        let connection = self.clients.id(slot);
        let event = Event::Message { connection, kind, payload };
        match self.host.hand_over(&self.shared.mailboxes[self.number as usize], event) {
            Ok(()) => {
                self.clients[slot].flags.has_spoken = true;
                Flow::Go
            }
            Err(Event::Message { payload, .. }) => self.hold(slot, Held::Message { kind, payload }, Some(Cause::Host)),
            Err(_) => Flow::Stop,
        }
    }

    /// A message in pool memory; without memory the connection is closed and `None` comes back.
    pub(super) fn owned(&mut self, slot: u32, message: Inbound<'_>) -> Option<Payload> {
        match message {
            Inbound::Own(payload) => Some(payload),
            Inbound::Lent(bytes) => self.keep(slot, bytes),
        }
    }

    /// Copies a message into pool memory; without memory the connection is closed and `None` comes back.
    pub(super) fn keep(&mut self, slot: u32, bytes: &[u8]) -> Option<Payload> {
        let payload = self.shared.payloads.copy_from(bytes);
        if payload.is_none() {
            self.evict(slot, "no memory for this message");
        }
        payload
    }
}

/// What a client is told whose message's topic cannot be opened; `None`: nothing, for it is tried again.
fn refusal_of_topic(error: SubscribeError) -> Option<(&'static str, &'static str)> {
    Some(match error {
        SubscribeError::TooMany | SubscribeError::TooManyTopics | SubscribeError::NotAllowed => {
            (subscribe::code::TOO_MANY_TOPICS, "no more topics can be made")
        }
        SubscribeError::Malformed => (subscribe::code::BAD_TOPIC, "malformed topic name"),
        SubscribeError::Stopped => (subscribe::code::STOPPED, "the server is shutting down"),
        SubscribeError::Busy | SubscribeError::Later => return None,
    })
}
