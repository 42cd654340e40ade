//! The control side of the subprotocols: requests of clients, and what the engine has to tell them.

use super::Shard;
use super::conn::{Awaits, Direct, Held, Phase, connection_id};
use super::interest::SubscribeError;
use super::receive::{Extras, Flow, Inbound};
use super::table::NONE;
use super::topics::{Link, Wishes};
use crate::driver::Driver;
use crate::event::Protocol;
use crate::ingest::Payload;
use crate::proto::encoder;
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::proto::server_message::{
    ErrorMessage, Gap, GapReason, Limits, Pong, ServerMessage, Subscribed, Unsubscribed, Welcome,
};
use crate::proto::subscribe::{self, ClientMessage, ControlError, Id, Publish};
use crate::proto::{batch, json, msgpack};
use crate::registry::TopicError;
use crate::types::{ConnectionId, Kind, Priority};
use crate::usdt::{self, DropReason};

/// Messages to one connection alone that may wait for it.
const DIRECT_MAX: usize = 4_096;

impl<D: Driver> Shard<D> {
    /// Queues a control object in the connection's own protocol.
    fn tell(&mut self, slot: u32, object: &ServerMessage<'_>) {
        let protocol = self.conns[slot as usize].protocol;
        let mut body = std::mem::take(&mut self.control_scratch);
        body.clear();
        let opcode = render(&mut body, protocol, object);
        let mut header = [0; HEADER_BYTES_MAX];
        let len = encoder::header(&mut header, opcode, body.len() as u64, false);
        let extra = self.extra(slot);
        extra.control.extend_from_slice(&header[..len]);
        extra.control.extend_from_slice(&body);
        self.control_scratch = body;
    }

    fn answer(&mut self, slot: u32, object: &ServerMessage<'_>) {
        self.tell(slot, object);
        self.settle(slot);
        self.mark_dirty(slot);
    }

    fn refuse_request(&mut self, slot: u32, error: &ControlError<'_>) {
        let ControlError { code, message, id } = error;
        self.answer(
            slot,
            &ServerMessage::Error(ErrorMessage { code: (*code).into(), message: message.as_ref().into(), id: *id }),
        );
    }

    pub(super) fn welcome(&mut self, slot: u32) {
        let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
        let shared = self.shared.clone();
        let config = &shared.config;
        let welcome = Welcome {
            session: connection.to_string().into(),
            server: config.server_name.as_str().into(),
            protocol: self.conns[slot as usize].protocol.name().into(),
            time_us: (shared.wall_ns)() / 1_000,
            limits: Limits {
                message_bytes_max: config.limits.message_bytes_max as u64,
                topics_max: subscribe::TOPICS_MAX as u32,
                subscriptions_max: config.limits.subscriptions_per_connection_max,
            },
        };
        self.tell(slot, &ServerMessage::Welcome(welcome));
    }

    /// A message of a client that speaks a subprotocol.
    pub(super) fn on_control_message(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        if !self.extra(slot).has_control_room() || !self.host_keeps_up() {
            // It does not read its answers, or the host does not hear of them: then neither do we read its questions.
            return self.hold_control(slot, kind, message);
        }
        let protocol = self.conns[slot as usize].protocol;
        let result = match parse(protocol, kind, message.bytes()) {
            Ok(ClientMessage::Subscribe { id, topics, since, max_hz, echo }) => {
                let wishes = Wishes::new(max_hz, echo);
                let mut result = Ok(());
                for topic in &topics {
                    let raw_id = id.as_ref().map(Id::as_bytes);
                    result = self.subscribe(slot, topic, None, raw_id, wishes, &since).map(drop);
                    // Joining may have evicted it: then it is told nothing more.
                    if result.is_err() || !self.conns[slot as usize].is_live() {
                        break;
                    }
                }
                result.map_err(|error| refusal_of(error, id))
            }
            Ok(ClientMessage::Unsubscribe { id, topics }) => {
                for topic in topics {
                    if self.unsubscribe(slot, &topic) {
                        self.answer(slot, &ServerMessage::Unsubscribed(Unsubscribed { id, topic }));
                    } else {
                        let error = ControlError {
                            code: subscribe::code::NOT_SUBSCRIBED,
                            message: format!("there is no subscription to {topic:?}").into(),
                            id,
                        };
                        self.refuse_request(slot, &error);
                    }
                }
                Ok(())
            }
            Ok(ClientMessage::Publish(publish)) => self.on_publish(slot, &publish),
            Ok(ClientMessage::Ping { id }) => {
                self.answer(slot, &ServerMessage::Pong(Pong { id }));
                Ok(())
            }
            Ok(ClientMessage::Unknown) => Ok(()),
            Err(error) => Err(Some(error)),
        };
        match result {
            Ok(()) => {}
            Err(Some(error)) => self.refuse_request(slot, &error),
            // Busy: the same message again later. What it has already done, doing again does not change.
            Err(None) => return self.hold_control(slot, kind, message),
        }
        if self.conns[slot as usize].is_live() { Flow::Go } else { Flow::Stop }
    }

    fn hold_control(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        if !self.conns[slot as usize].is_live() {
            return Flow::Stop;
        }
        let text = match message {
            Inbound::Own(payload) => payload,
            Inbound::Lent(bytes) => match self.keep(slot, bytes) {
                Some(payload) => payload,
                None => return Flow::Stop,
            },
        };
        self.hold(slot, Held::Control { kind, text })
    }

    /// `Err(None)`: no room now.
    fn on_publish<'a>(&mut self, slot: u32, publish: &Publish<'a>) -> Result<(), Option<ControlError<'a>>> {
        let refuse =
            |code, message: &'static str| Err(Some(ControlError { code, message: message.into(), id: publish.id }));
        if !self.conns[slot as usize].flags.may_publish {
            return refuse(subscribe::code::NOT_ALLOWED, "publishing is not allowed on this connection");
        }
        let known = self.topic_names.get(publish.topic.as_ref()).and_then(|&t| self.topics[t as usize].as_ref());
        let topic = match known {
            Some(state) => state.id,
            None => {
                match self.shared.registry.open(&publish.topic, &self.shared.ring, (self.shared.wall_ns)(), false) {
                    Ok(id) => id,
                    Err(TopicError::WouldBlock) => return Err(None),
                    Err(TopicError::TooMany) => {
                        return refuse(subscribe::code::TOO_MANY_TOPICS, "no more topics can be made");
                    }
                    Err(TopicError::Name(_)) => return refuse(subscribe::code::BAD_TOPIC, "malformed topic name"),
                    Err(TopicError::Stopped) => return refuse(subscribe::code::STOPPED, "the server is shutting down"),
                }
            }
        };
        let mut scratch = std::mem::take(&mut self.payload_scratch);
        scratch.clear();
        let kind = match publish.content.as_plain() {
            Some(_) => Ok(publish.content.kind()),
            None => publish.content.decode(&mut scratch),
        };
        let result = match kind {
            Ok(kind) => {
                let bytes = publish.content.as_plain().unwrap_or(&scratch);
                // What cannot be kept for want of room is parsed again from the held message.
                let extras = Extras {
                    key: publish.key.as_deref().map_or(0, crate::topic::key_number),
                    ttl_ms: publish.ttl_ms.map_or(0, |ms| ms.clamp(1, u32::MAX.into()) as u32),
                };
                match self.publish(slot, topic, publish.priority, kind, extras, Inbound::Lent(bytes)) {
                    Ok(()) | Err(None) => Ok(()),
                    Err(Some(_)) => Err(None),
                }
            }
            Err(_) => refuse(subscribe::code::BAD_DATA, "`data` is not base64"),
        };
        if scratch.capacity() <= 256 << 10 {
            self.payload_scratch = scratch;
        }
        result
    }

    /// Renders what is due from the connection's state, as far as there is room: the newest pong, and announcements.
    pub(super) fn render_due(&mut self, slot: u32) {
        if let Some(extra) = &mut self.conns[slot as usize].extra
            && let Some(pong) = extra.pong.take()
        {
            extra.control.extend_from_slice(&encoder::pong(&pong));
        }
        if self.conns[slot as usize].announce_count == 0 {
            return;
        }
        let mut membership = self.conns[slot as usize].memberships;
        while membership != NONE && self.extra(slot).has_control_room() {
            if self.memberships[membership].must_announce {
                self.announce(slot, membership);
            }
            membership = self.memberships[membership].next;
        }
        if self.conns[slot as usize].announce_count == 0 {
            self.forget_literals(slot);
        }
    }

    fn announce(&mut self, slot: u32, membership: u32) {
        let m = self.memberships[membership];
        self.memberships[membership].must_announce = false;
        self.conns[slot as usize].announce_count -= 1;
        let mut seq = [None; 4];
        let mut link = m.links;
        while link != NONE {
            let Link { stream, index, sibling, .. } = self.links[link];
            link = sibling;
            // The newest message that this cursor will not bring from here on: the rest of a half-sent one goes out
            // before this announcement.
            let stream = &self.streams[stream];
            let next = stream.next_boundary(&stream.cursors.subs[index as usize]);
            seq[self.lanes[stream.lane].priority as usize] = Some(next.saturating_sub(1));
        }
        let Some(state) = &self.topics[m.topic as usize] else { return };
        let (name, topic_id, epoch) = (state.name.clone(), state.id.0, state.epoch);
        let id = self.conns[slot as usize].interests.get(m.interest as usize).and_then(|i| i.id.clone());
        let is_msgpack = self.conns[slot as usize].protocol == Protocol::MsgpackV1;
        let id = id.as_deref().and_then(|raw| match is_msgpack {
            true => Id::from_msgpack(raw),
            false => std::str::from_utf8(raw).ok().and_then(Id::from_json),
        });
        self.tell(
            slot,
            &ServerMessage::Subscribed(Subscribed { id, topic: name.as_ref().into(), topic_id, epoch, seq }),
        );
    }

    /// Names whose topic exists and is announced need no interest record any more.
    fn forget_literals(&mut self, slot: u32) {
        let Self { conns, topic_names, .. } = self;
        for interest in conns[slot as usize].interests.iter_mut() {
            if interest.pattern.is_literal() && topic_names.contains_key(interest.pattern.as_str()) {
                interest.is_gone = true;
            }
        }
        self.forget_interests(slot);
    }

    /// Accounts for messages that a cursor has lost, and tells its client where the protocol can. False: no room to tell it
    /// now, so the cursor must stay where it is.
    pub(super) fn announce_gap(&mut self, slot: u32, stream: u32, from: u64, to: u64, reason: GapReason) -> bool {
        let lane = &self.lanes[self.streams[stream].lane];
        let (topic, priority) = (lane.topic, lane.priority);
        if self.conns[slot as usize].protocol != Protocol::Raw {
            if !self.extra(slot).has_control_room() {
                return false;
            }
            let Some(state) = &self.topics[topic as usize] else { return true };
            let name = state.name.clone();
            let gap = Gap { topic: name.as_ref().into(), priority, from, to, reason };
            self.tell(slot, &ServerMessage::Gap(gap));
        }
        self.stats.gaps += 1;
        self.probe_drop(slot, stream, to - from + 1, drop_reason(reason));
        #[cfg(any(test, fuzzing))]
        self.trace_lost(slot, topic, priority, (from, to, reason));
        if reason != GapReason::Lag {
            // Lost before this cursor was there.
            return true;
        }
        let lost = to - from + 1;
        if let Some(state) = &mut self.topics[topic as usize] {
            state.dropped[priority as usize] += lost;
        }
        match priority {
            Priority::Critical => self.stats.dropped_critical += lost,
            Priority::High => self.stats.dropped_high += lost,
            Priority::Normal => self.stats.dropped_normal += lost,
            Priority::Low => self.stats.dropped_low += lost,
        }
        true
    }

    /// Tells tracers of messages that a connection does not get, or ([`usdt::NOBODY`]) no one gets.
    pub(super) fn probe_drop(&self, slot: u32, stream: u32, count: u64, reason: DropReason) {
        let lane = &self.lanes[self.streams[stream].lane];
        let topic = self.topics[lane.topic as usize].as_ref().map_or(lane.topic, |t| t.id.0);
        usdt::drop(self.number.into(), slot, topic, lane.priority as u32, count, reason as u32);
    }

    /// Queues a message of the host's to one connection.
    pub(super) fn on_send(&mut self, connection: ConnectionId, kind: Kind, payload: Payload) {
        let slot = connection.slot();
        if !self.is_current(connection) || self.conns[slot as usize].phase != Phase::Open {
            return;
        }
        if self.extra(slot).farewell.as_ref().is_some_and(|f| f.awaits == Awaits::Nothing) {
            // The host has closed it.
            return;
        }
        if self.extra(slot).direct.len() >= DIRECT_MAX {
            self.evict(slot, "too slow for messages to it alone");
            return;
        }
        let opcode = if kind == Kind::Binary { Opcode::Binary } else { Opcode::Text };
        let mut header = [0; HEADER_BYTES_MAX];
        let len = encoder::header(&mut header, opcode, payload.len() as u64, false);
        let header = header[..len].iter().copied().collect();
        self.extra(slot).direct.push_back(Direct { header, payload });
        self.settle(slot);
        self.mark_dirty(slot);
    }
}

/// Writes a control object as `protocol` has it; returns the opcode of its frame.
fn render(out: &mut Vec<u8>, protocol: Protocol, object: &ServerMessage<'_>) -> Opcode {
    match protocol {
        Protocol::MsgpackV1 => {
            match object {
                ServerMessage::Welcome(o) => msgpack::welcome(out, o),
                ServerMessage::Subscribed(o) => msgpack::subscribed(out, o),
                ServerMessage::Unsubscribed(o) => msgpack::unsubscribed(out, o),
                ServerMessage::Gap(o) => msgpack::gap(out, o),
                ServerMessage::Error(o) => msgpack::error(out, o),
                ServerMessage::Pong(o) => msgpack::pong(out, o),
                ServerMessage::Migrate(o) => msgpack::migrate(out, o),
                // Messages come from logs.
                ServerMessage::Message(_) | ServerMessage::Unknown => {}
            }
            Opcode::Binary
        }
        Protocol::Raw | Protocol::JsonV1 | Protocol::BatchV1 | Protocol::BatchV1Lz4 => {
            let is_batch = matches!(protocol, Protocol::BatchV1 | Protocol::BatchV1Lz4);
            let start = if is_batch { batch::control_begin(out) } else { 0 };
            match object {
                ServerMessage::Welcome(o) => json::welcome(out, o),
                ServerMessage::Subscribed(o) => json::subscribed(out, o),
                ServerMessage::Unsubscribed(o) => json::unsubscribed(out, o),
                ServerMessage::Gap(o) => json::gap(out, o),
                ServerMessage::Error(o) => json::error(out, o),
                ServerMessage::Pong(o) => json::pong(out, o),
                ServerMessage::Migrate(o) => json::migrate(out, o),
                ServerMessage::Message(_) | ServerMessage::Unknown => {}
            }
            if is_batch {
                batch::control_finish(out, start);
                return Opcode::Binary;
            }
            Opcode::Text
        }
    }
}

/// Reads a request as `protocol` has it.
fn parse(protocol: Protocol, kind: Kind, bytes: &[u8]) -> Result<ClientMessage<'_>, ControlError<'_>> {
    let wrong =
        |message: &'static str| ControlError { code: subscribe::code::BAD_MESSAGE, message: message.into(), id: None };
    match (protocol, kind) {
        (Protocol::MsgpackV1, Kind::Binary) => msgpack::request::parse(bytes),
        (Protocol::MsgpackV1, _) => Err(wrong("fanwire.msgpack.v1 speaks binary messages")),
        // A client of the batch protocol may write its requests as plain text, too: the same objects.
        (_, Kind::Text | Kind::Json) => match std::str::from_utf8(bytes) {
            Ok(text) => subscribe::parse(text),
            Err(_) => Err(wrong("not UTF-8")),
        },
        (Protocol::BatchV1 | Protocol::BatchV1Lz4, Kind::Binary) => match batch::control_of(bytes) {
            Ok(Some(text)) => subscribe::parse(text),
            Ok(None) => Ok(ClientMessage::Unknown),
            Err(_) => Err(wrong("not a control frame of fanwire.batch.v1")),
        },
        (_, Kind::Binary) => Err(wrong("fanwire.json.v1 speaks text messages")),
    }
}

fn refusal_of(error: SubscribeError, id: Option<Id<'_>>) -> Option<ControlError<'_>> {
    let (code, message) = match error {
        SubscribeError::Busy => return None,
        SubscribeError::TooMany => {
            (subscribe::code::TOO_MANY_SUBSCRIPTIONS, "a maximum of topics, subscriptions or cursors is reached")
        }
        SubscribeError::Stopped => (subscribe::code::STOPPED, "the server is shutting down"),
        SubscribeError::Malformed => (subscribe::code::BAD_TOPIC, "malformed topic name or pattern"),
    };
    Some(ControlError { code, message: message.into(), id })
}

fn drop_reason(reason: GapReason) -> DropReason {
    match reason {
        GapReason::Lag => DropReason::Lag,
        GapReason::Retention => DropReason::Retention,
        GapReason::Epoch => DropReason::Epoch,
        GapReason::NodeChanged => DropReason::NodeChanged,
    }
}
