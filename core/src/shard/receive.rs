//! What clients send: frames, messages, and input that has to wait.

use super::Shard;
use super::conn::{Held, NO_TOPIC, Phase, connection_id};
use super::intake::FLAG_SENDER_EXCLUDED;
use super::timer::Moment;
use crate::driver::{Driver, RECV_HEADROOM, RecvBuf};
use crate::event::{Event, Protocol};
use crate::ingest::{Head, INLINE_MAX, Payload, Refused};
use crate::proto::close::CloseCode;
use crate::proto::decoder::{Decoder, Part, Role};
use crate::proto::encoder;
use crate::proto::inflate::InflateError;
use crate::types::{Kind, Priority, TopicId};

/// Whether the next part of the input may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Go,
    /// The connection is closing, or its input waits.
    Stop,
}

/// Inflated memory kept from message to message.
const INFLATED_KEPT: usize = 256 << 10;

/// What a client may say of a message beyond its priority.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// Conflation key; 0: none.
    pub key: u64,
    /// Milliseconds after which it is worth nothing; 0: never.
    pub ttl_ms: u32,
}

/// A received message: where it arrived, or in memory of its own.
pub enum Inbound<'a> {
    /// In the receive buffer.
    Lent(&'a [u8]),
    /// In pool memory.
    Own(Payload),
}

impl Inbound<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Inbound::Lent(bytes) => bytes,
            Inbound::Own(payload) => payload,
        }
    }
}

impl<D: Driver> Shard<D> {
    pub(super) fn on_received(&mut self, slot: u32, buf: &mut RecvBuf) {
        let conn = &mut self.conns[slot as usize];
        conn.heard = Moment::at(self.now_ns);
        conn.flags.awaits_pong = false;
        match conn.phase {
            Phase::Free | Phase::Broken => {}
            Phase::Closing | Phase::Lingering => self.on_last_frames(slot, buf),
            Phase::Handshake => self.on_request_bytes(slot, buf.filled()),
            Phase::Open | Phase::Draining => {
                if let Some(extra) = &mut conn.extra
                    && !extra.inbox.is_empty()
                {
                    if extra.held.is_some() || extra.inbox.len() > RECV_HEADROOM {
                        // It waits, and this came before the pause took hold.
                        extra.inbox.extend_from_slice(buf.filled());
                        return;
                    }
                    buf.put_in_front(&extra.inbox);
                    extra.inbox.clear();
                } else if let Some(extra) = &mut conn.extra
                    && extra.held.is_some()
                {
                    extra.inbox.extend_from_slice(buf.filled());
                    return;
                }
                self.on_frames(slot, buf.filled_mut());
            }
        }
    }

    /// After our close frame only the client's matters (RFC 6455 section 7.1.1: the server closes the connection first).
    fn on_last_frames(&mut self, slot: u32, buf: &mut RecvBuf) {
        let inbox = std::mem::take(&mut self.extra(slot).inbox);
        if inbox.len() <= RECV_HEADROOM {
            buf.put_in_front(&inbox);
        }
        self.on_frames(slot, buf.filled_mut());
        let conn = &self.conns[slot as usize];
        if conn.phase == Phase::Lingering && conn.flags.has_said_close {
            let code = conn.close_code;
            self.close_now(slot, code);
        }
    }

    /// Decodes frames; what cannot be consumed yet goes to the inbox.
    pub(super) fn on_frames(&mut self, slot: u32, bytes: &mut [u8]) {
        let limit = self.shared.config.limits.message_bytes_max as u64;
        let conn = &mut self.conns[slot as usize];
        let kept = conn.extra.as_mut().and_then(|extra| extra.decoder.take());
        let mut decoder = kept.unwrap_or(Decoder::new(Role::Server, conn.flags.may_deflate));
        let mut at = 0;
        loop {
            let step = match decoder.next(&mut bytes[at..], limit) {
                Ok(step) => step,
                Err(violation) => {
                    self.on_violation(slot, violation.code, violation.reason);
                    at = bytes.len();
                    break;
                }
            };
            at += step.consumed;
            let Some(part) = step.part else { break };
            if self.on_part(slot, part) == Flow::Stop {
                break;
            }
        }
        let conn = &mut self.conns[slot as usize];
        if !matches!(conn.phase, Phase::Free | Phase::Broken) {
            if !decoder.is_between_messages() {
                self.extra(slot).decoder = Some(decoder);
            }
            if at < bytes.len() {
                self.extra(slot).inbox.extend_from_slice(&bytes[at..]);
            }
        }
        self.settle(slot);
    }

    fn on_part(&mut self, slot: u32, part: Part<'_>) -> Flow {
        let is_closing = !self.conns[slot as usize].is_listening();
        match part {
            Part::Close { .. } if is_closing => {
                self.conns[slot as usize].flags.has_said_close = true;
                Flow::Stop
            }
            _ if is_closing => Flow::Go,
            Part::Ping(payload) => {
                let extra = self.extra(slot);
                if extra.pong.is_none() && extra.has_control_room() {
                    extra.control.extend_from_slice(&encoder::pong(payload));
                } else {
                    // While it does not read, only its newest ping is answered (RFC 6455 section 5.5.3).
                    extra.pong = Some(payload.iter().copied().collect());
                }
                self.settle(slot);
                self.mark_dirty(slot);
                Flow::Go
            }
            Part::Pong(_) => Flow::Go,
            Part::Close { code, .. } => {
                let code = code.map_or(CloseCode::NO_STATUS, |c| c);
                self.conns[slot as usize].flags.has_said_close = true;
                self.begin_close(slot, code.to_u16(), "");
                Flow::Stop
            }
            Part::Data { text, compressed, first, last, bytes } => {
                let kind = if text { Kind::Text } else { Kind::Binary };
                if compressed {
                    return self.on_compressed_part(slot, kind, first && last, last, bytes);
                }
                if first && last {
                    return self.on_client_message(slot, kind, Inbound::Lent(bytes));
                }
                if !self.assemble(slot, bytes) {
                    self.evict(slot, "no memory for this message");
                    return Flow::Stop;
                }
                if !last {
                    return Flow::Go;
                }
                match self.extra(slot).assembly.take() {
                    Some(claim) => self.on_client_message(slot, kind, Inbound::Own(claim.freeze())),
                    None => Flow::Go,
                }
            }
        }
    }

    /// A part of a compressed message: inflated when it is whole, never beyond the largest message.
    fn on_compressed_part(&mut self, slot: u32, kind: Kind, is_whole: bool, is_last: bool, bytes: &[u8]) -> Flow {
        if !is_whole {
            if !self.assemble(slot, bytes) {
                self.evict(slot, "no memory for this message");
                return Flow::Stop;
            }
            if !is_last {
                return Flow::Go;
            }
        }
        let assembled = if is_whole { None } else { self.extra(slot).assembly.take() };
        let compressed: &[u8] = assembled.as_deref().unwrap_or(bytes);
        let max = self.shared.config.limits.message_bytes_max;
        let mut inflated = std::mem::take(&mut self.inflated);
        inflated.clear();
        let fault = match self.inflater.inflate(compressed, max, &mut inflated) {
            Ok(_) if kind == Kind::Text && simdutf8::basic::from_utf8(&inflated).is_err() => {
                Some((CloseCode::INVALID_PAYLOAD, "text is not UTF-8"))
            }
            Ok(_) => None,
            Err(InflateError::TooBig) => Some((CloseCode::TOO_BIG, "message too big when inflated")),
            Err(_) => Some((CloseCode::INVALID_PAYLOAD, "not a permessage-deflate payload")),
        };
        let flow = match fault {
            None => self.on_client_message(slot, kind, Inbound::Lent(&inflated)),
            Some((code, reason)) => {
                self.on_violation(slot, code, reason);
                Flow::Stop
            }
        };
        if inflated.capacity() <= INFLATED_KEPT {
            self.inflated = inflated;
        }
        flow
    }

    /// Adds to the message that is arriving. Memory grows with what has arrived, never with what was declared.
    fn assemble(&mut self, slot: u32, bytes: &[u8]) -> bool {
        if self.extra(slot).assembly.is_none() {
            let Some(claim) = self.shared.payloads.claim_empty(bytes.len()) else { return false };
            self.extra(slot).assembly = Some(claim);
        }
        self.extra(slot).assembly.as_mut().is_some_and(|claim| claim.append(bytes))
    }

    fn on_client_message(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        self.stats.received += 1;
        self.conns[slot as usize].message = Moment::at(self.now_ns);
        match self.conns[slot as usize].protocol {
            Protocol::Raw => self.on_raw_message(slot, kind, message),
            _ => self.on_control_message(slot, kind, message),
        }
    }

    fn on_raw_message(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        let conn = &self.conns[slot as usize];
        if conn.flags.is_hosts {
            return self.hand_to_host(slot, kind, message);
        }
        let topic = conn.publishes_to;
        if topic == NO_TOPIC || !conn.flags.may_publish {
            self.begin_close(slot, CloseCode::POLICY.to_u16(), "publishing is not allowed here");
            return Flow::Stop;
        }
        match self.publish(slot, topic, Priority::Normal, kind, Extras::default(), message) {
            Ok(()) => Flow::Go,
            Err(None) => Flow::Stop,
            Err(Some(payload)) => self.hold(slot, Held::Raw { kind, payload }),
        }
    }

    /// Publishes for a client. `Err(Some(_))`: no room now; `Err(None)`: it was closed or the engine ends.
    pub(super) fn publish(
        &mut self,
        slot: u32,
        topic: TopicId,
        priority: Priority,
        kind: Kind,
        extras: Extras,
        message: Inbound<'_>,
    ) -> Result<(), Option<Payload>> {
        let origin = connection_id(self.number, slot, &self.conns[slot as usize]);
        let is_excluded = self.conns[slot as usize].flags.skips_own;
        let head = Head {
            time_ns: (self.shared.wall_ns)(),
            origin,
            flags: if is_excluded { FLAG_SENDER_EXCLUDED } else { 0 },
            key: extras.key,
            ttl_ms: extras.ttl_ms,
            ..Head::message(topic, priority, kind)
        };
        let result = match message {
            Inbound::Lent(bytes) if bytes.len() <= INLINE_MAX => match self.shared.ring.try_publish(&head, bytes) {
                Err(Refused::Full) => {
                    return Err(self.keep(slot, bytes));
                }
                other => other,
            },
            message => {
                let payload = match message {
                    Inbound::Own(payload) => payload,
                    Inbound::Lent(bytes) => match self.keep(slot, bytes) {
                        Some(payload) => payload,
                        None => return Err(None),
                    },
                };
                match self.shared.ring.try_publish_shared(&head, payload) {
                    Err((Refused::Full, payload)) => return Err(Some(payload)),
                    other => other.map_err(|(refused, _)| refused),
                }
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(_) => {
                self.begin_close(slot, CloseCode::GOING_AWAY.to_u16(), "the server is shutting down");
                Err(None)
            }
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

    fn hand_to_host(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        let payload = match message {
            Inbound::Own(payload) => payload,
            Inbound::Lent(bytes) => match self.keep(slot, bytes) {
                Some(payload) => payload,
                None => return Flow::Stop,
            },
        };
        if !self.host_events.is_empty() {
            return self.hold(slot, Held::Raw { kind, payload });
        }
        let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
        let event = Event::Message { connection, kind, payload };
        match self.shared.mailboxes[self.number as usize].events.push(event) {
            Ok(()) => {
                self.rang = true;
                self.conns[slot as usize].flags.has_spoken = true;
                Flow::Go
            }
            Err(Event::Message { payload, .. }) => self.hold(slot, Held::Raw { kind, payload }),
            Err(_) => Flow::Stop,
        }
    }

    /// Sets a message aside and stops reading from its client.
    pub(super) fn hold(&mut self, slot: u32, held: Held) -> Flow {
        if self.conns[slot as usize].is_live() {
            self.extra(slot).held = Some(held);
            self.hold_input(slot);
        }
        Flow::Stop
    }

    /// Tries again what was set aside, and goes on with what arrived behind it.
    pub(super) fn retry_input(&mut self, slot: u32) {
        if self.conns[slot as usize].phase == Phase::Handshake {
            self.try_upgrade(slot);
            return;
        }
        if !self.conns[slot as usize].is_live() {
            return;
        }
        if let Some(held) = self.extra(slot).held.take() {
            let flow = match held {
                Held::Raw { kind, payload } => self.on_raw_message(slot, kind, Inbound::Own(payload)),
                Held::Control { kind, text } => self.on_control_message(slot, kind, Inbound::Own(text)),
            };
            if flow == Flow::Stop {
                return;
            }
        }
        let mut inbox = std::mem::take(&mut self.extra(slot).inbox);
        self.on_frames(slot, &mut inbox);
        inbox.clear();
        let extra = self.extra(slot);
        if extra.inbox.is_empty() {
            // Keep the memory.
            extra.inbox = inbox;
        }
        if extra.held.is_none() && self.conns[slot as usize].is_live() {
            self.release_input(slot);
        }
        self.settle(slot);
    }
}
