//! What clients send: frames become messages, and messages are looked at, until something has to be waited for.

use crate::driver::{Driver, RECV_HEADROOM, RecvBuf, Slot};
use crate::event::Protocol;
use crate::ingest::Payload;
use crate::proto::close::CloseCode;
use crate::proto::decoder::{Decoder, Part, Role};
use crate::proto::encoder;
use crate::shard::Shard;
use crate::shard::budget::limit;
use crate::shard::clients::{Moment, Phase};
use crate::shard::message::{Arrived, Segments, fault_of};
use crate::shard::request::Held;
use crate::shard::waiters::{Cause, Waiter};
use crate::types::Kind;

/// Whether the next part of the input may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Yes.
    Go,
    /// The connection is closing, or its input waits.
    Stop,
}

/// True for what a client's rate counts: a message's end, and control frames but for a close.
fn ends_message(part: &Part<'_>) -> bool {
    match part {
        Part::Ping(_) | Part::Pong(_) => true,
        Part::Close { .. } => false,
        Part::Data { last, .. } => *last,
    }
}

/// Who holds most is found, told and closed.
const STEPS_A_LOOK: u32 = 16;
/// What is inflated at once; a message that becomes longer is inflated in pieces.
const INFLATED_AT_ONCE: usize = 64 << 10;
/// Beside the rest of its largest message, bytes that a closing connection may still send.
const LAST_BYTES: usize = 64 << 10;
/// The largest message of a client that may not publish: room for a request with all the topics that one may name.
pub const REQUEST_BYTES_MAX: usize = 512 << 10;

/// A received message: where it arrived, or in memory of its own.
pub(super) enum Inbound<'a> {
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
        let conn = &mut self.clients[slot];
        conn.heard = Moment::at(self.pace.now_ns);
        conn.flags.awaits_pong = false;
        match conn.phase {
            Phase::Free | Phase::Broken | Phase::Marked => {}
            Phase::Closing | Phase::Lingering => self.on_last_frames(slot, buf),
            Phase::Handshake => self.on_request_bytes(slot, buf.filled()),
            Phase::Open | Phase::Draining => {
                let waits = conn.flags.is_waiting;
                let early_ns = self.count_bytes(slot, buf.filled().len());
                let conn = &mut self.clients[slot];
                if let Some(extra) = &mut conn.extra {
                    if waits || extra.held.is_some() || extra.inbox.len() > RECV_HEADROOM {
                        // It waits, and this came before the pause took hold.
                        extra.inbox.extend_from_slice(buf.filled());
                        self.check_held_bytes(slot);
                        return;
                    }
                    if !extra.inbox.is_empty() {
                        buf.put_in_front(&extra.inbox);
                        extra.inbox.clear();
                    }
                }
                self.on_frames(slot, buf.filled_mut());
                if early_ns > 0 {
                    self.pause_sender(slot, early_ns);
                }
            }
        }
    }

    /// After our close frame only the client's matters (RFC 6455 section 7.1.1: the server closes the connection first).
    fn on_last_frames(&mut self, slot: u32, buf: &mut RecvBuf) {
        let extra = self.clients.extra(slot);
        let discarded = extra.tally.discarded.saturating_add(buf.filled().len() as u32);
        extra.tally.discarded = discarded;
        let (discarded, inbox) = (discarded as usize, std::mem::take(&mut extra.inbox));
        if inbox.len() <= RECV_HEADROOM {
            buf.put_in_front(&inbox);
        }
        self.on_frames(slot, buf.filled_mut());
        let conn = &self.clients[slot];
        if conn.phase == Phase::Lingering && conn.flags.has_said_close {
            let code = conn.close_code;
            self.cut(slot, code);
        } else if discarded > self.last_bytes_max(slot) {
            self.stop_reading(slot);
        }
    }

    /// Bytes that a closing connection may still send: it may be in the middle of a message, at whose end it would hear of the close.
    fn last_bytes_max(&self, slot: u32) -> usize {
        let rest = match self.admission.senders.counts_bytes() {
            true => REQUEST_BYTES_MAX,
            false => self.message_bytes_max(slot),
        };
        rest + LAST_BYTES
    }

    /// Nothing more is read of a closing connection, so that no stranger has us discard what it sends without end: its time goes on.
    #[cold]
    fn stop_reading(&mut self, slot: u32) {
        let conn = &mut self.clients[slot];
        if matches!(conn.phase, Phase::Closing | Phase::Lingering) && !conn.flags.is_paused {
            conn.flags.is_paused = true;
            self.ears.driver.pause_recv(Slot(slot));
        }
    }

    /// The largest message that is taken from a connection, inflated or not.
    fn message_bytes_max(&self, slot: u32) -> usize {
        let max = self.rules.limits.message_bytes_max;
        let flags = self.clients[slot].flags;
        if flags.may_publish || flags.is_hosts { max } else { max.min(REQUEST_BYTES_MAX) }
    }

    /// Decodes frames; what cannot be consumed yet goes to the inbox.
    pub(super) fn on_frames(&mut self, slot: u32, bytes: &mut [u8]) {
        let limit = self.message_bytes_max(slot) as u64;
        let conn = &mut self.clients[slot];
        let kept = conn.extra.as_mut().and_then(|extra| extra.decoder.take());
        let mut decoder = kept.unwrap_or(Decoder::new(Role::Server, conn.flags.may_deflate));
        let mut began_ns = conn.extra.as_ref().map_or(0, |extra| extra.began_ns);
        let (mut at, mut wants_more) = (0, false);
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
            let Some(part) = step.part else {
                wants_more = true;
                break;
            };
            if began_ns != 0 && matches!(part, Part::Data { last: true, .. }) {
                // The next one has its own beginning.
                began_ns = 0;
                if let Some(extra) = self.clients[slot].extra.as_mut().filter(|extra| extra.assembly.is_none()) {
                    extra.began_ns = 0;
                }
            }
            let counts = self.admission.senders.counts_messages() && ends_message(&part);
            let flow = self.on_part(slot, part);
            if counts && self.count_message(slot) == Flow::Stop || flow == Flow::Stop {
                break;
            }
            if at < bytes.len() && self.takes_too_long() && self.clients[slot].is_listening() {
                // The rest is for another turn.
                let is_in_round = self.pace.serves == Some(Cause::Ring);
                self.hold_input(slot, Some(if is_in_round { Cause::Ring } else { Cause::Turn }));
                break;
            }
        }
        if !matches!(self.clients[slot].phase, Phase::Free | Phase::Broken | Phase::Marked) {
            let is_unfinished = !decoder.is_between_messages() || (wants_more && at < bytes.len());
            if !decoder.is_between_messages() {
                self.clients.extra(slot).decoder = Some(decoder);
            }
            if at < bytes.len() {
                self.clients.extra(slot).inbox.extend_from_slice(&bytes[at..]);
                self.check_held_bytes(slot);
            }
            if is_unfinished || began_ns != 0 {
                self.note_unfinished(slot, is_unfinished, began_ns);
            }
        }
        self.refresh(slot);
    }

    /// True if this turn's input has taken so long that even what has begun is interrupted. What has been set aside already is at once;
    /// a buffer that has just come only if it holds thousands of frames, for to stop and to go on costs a call of the kernel each.
    fn takes_too_long(&self) -> bool {
        let spare = if self.pace.serves.is_some() { 0 } else { limit::INPUT };
        self.pace.work.input.spent() >= self.pace.input_until + spare
    }

    fn on_part(&mut self, slot: u32, part: Part<'_>) -> Flow {
        let is_closing = !self.clients[slot].is_listening();
        self.pace.work.input.spend(1);
        match part {
            Part::Close { .. } if is_closing => {
                self.clients[slot].flags.has_said_close = true;
                Flow::Stop
            }
            _ if is_closing => Flow::Go,
            Part::Ping(payload) => {
                let extra = self.clients.extra(slot);
                if extra.pong.is_none() && extra.has_control_room() {
                    extra.control.extend_from_slice(&encoder::pong(payload));
                } else {
                    // While it does not read, only its newest ping is answered (RFC 6455 section 5.5.3).
                    extra.pong = Some(payload.iter().copied().collect());
                }
                self.refresh(slot);
                self.clients.mark_dirty(slot);
                Flow::Go
            }
            Part::Pong(_) => Flow::Go,
            Part::Close { code, .. } => {
                let code = code.map_or(CloseCode::NO_STATUS, |c| c);
                self.clients[slot].flags.has_said_close = true;
                self.mark_close(slot, code.to_u16(), "");
                Flow::Stop
            }
            Part::Data { text, compressed, first, last, bytes } => {
                let kind = if text { Kind::Text } else { Kind::Binary };
                self.pace.work.input.spend((bytes.len() / 32) as u32);
                if compressed {
                    return self.on_compressed_part(slot, kind, first && last, last, bytes);
                }
                if first && last {
                    return self.on_client_message(slot, kind, Inbound::Lent(bytes));
                }
                if !self.assemble(slot, bytes) {
                    return self.has_no_memory(slot);
                }
                if !last {
                    return Flow::Go;
                }
                match self.clients.take_message(slot).map(Segments::into_one) {
                    Some(Ok(claim)) => self.on_client_message(slot, kind, Inbound::Own(claim.freeze())),
                    Some(Err(parts)) => match Arrived::plain(kind, parts, &self.shared.payloads) {
                        Some(arrived) => self.run_arrived(slot, Box::new(arrived)),
                        None => self.has_no_memory(slot),
                    },
                    None => Flow::Go,
                }
            }
        }
    }

    /// A part of a compressed message: inflated when it is whole, never beyond the largest message.
    fn on_compressed_part(&mut self, slot: u32, kind: Kind, is_whole: bool, is_last: bool, bytes: &[u8]) -> Flow {
        if is_whole {
            return self.on_compressed(slot, kind, bytes, None);
        }
        if !self.assemble(slot, bytes) {
            return self.has_no_memory(slot);
        }
        match self.clients.take_message_if(slot, is_last) {
            Some(parts) if parts.len() == parts.front().len() && parts.len() <= INFLATED_AT_ONCE => {
                // A short one stands in one piece.
                match parts.into_one() {
                    Ok(claim) => self.on_compressed(slot, kind, &claim, None),
                    Err(parts) => self.on_compressed(slot, kind, &[], Some(parts)),
                }
            }
            Some(parts) => self.on_compressed(slot, kind, &[], Some(parts)),
            None => Flow::Go,
        }
    }

    /// A compressed message, in one piece or, if it is long, in `parts`.
    fn on_compressed(&mut self, slot: u32, kind: Kind, bytes: &[u8], parts: Option<Segments>) -> Flow {
        let max = self.message_bytes_max(slot);
        if parts.is_none() {
            let mut inflated = std::mem::take(&mut self.desk.inflated);
            inflated.clear();
            let at_once = max.min(INFLATED_AT_ONCE);
            let fault = match self.desk.inflater.inflate(bytes, at_once, &mut inflated) {
                Ok(_) if kind == Kind::Text && simdutf8::basic::from_utf8(&inflated).is_err() => {
                    Some((CloseCode::INVALID_PAYLOAD, "text is not UTF-8"))
                }
                Ok(_) => None,
                Err(error) => Some(fault_of(error)),
            };
            self.pace.work.input.spend((inflated.len() / 128) as u32);
            let flow = match fault {
                None => Some(self.on_client_message(slot, kind, Inbound::Lent(&inflated))),
                Some((CloseCode::TOO_BIG, _)) if at_once < max => None,
                Some((code, reason)) => {
                    self.on_violation(slot, code, reason);
                    Some(Flow::Stop)
                }
            };
            self.desk.inflated = inflated;
            if let Some(flow) = flow {
                return flow;
            }
        }
        let mut parts = parts.unwrap_or_default();
        if !parts.append(bytes, &self.shared.payloads) {
            return self.has_no_memory(slot);
        }
        self.run_arrived(slot, Box::new(Arrived::compressed(kind, parts, max)))
    }

    pub(super) fn has_no_memory(&mut self, slot: u32) -> Flow {
        self.evict(slot, "no memory for this message");
        Flow::Stop
    }

    /// Adds to the message that is arriving.
    fn assemble(&mut self, slot: u32, bytes: &[u8]) -> bool {
        let has_room = self.clients.add_to_message(slot, bytes, &self.shared.payloads, self.pace.now_ns);
        self.share_memory(slot);
        has_room
    }

    /// Where unfinished messages take more than their share, the oldest of others goes.
    fn share_memory(&mut self, slot: u32) {
        let config = &self.rules;
        let share =
            (config.memory.payload_bytes / 4 / self.shared.mailboxes.len()).max(config.limits.message_bytes_max);
        while let Some(other) = self.clients.over_share(slot, share) {
            self.clients.take_message(other);
            self.clients.take_held(other);
            self.evict(other, "its message takes memory and does not end");
        }
    }

    pub(super) fn on_client_message(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        self.pace.work.input.spend(8);
        self.stats.received += 1;
        self.clients[slot].message = Moment::at(self.pace.now_ns);
        self.look_at(slot, kind, message)
    }

    fn look_at(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        match self.clients[slot].protocol {
            Protocol::Raw => self.on_raw_message(slot, kind, message),
            _ => self.on_control_message(slot, kind, message),
        }
    }

    /// Sets something aside and stops reading from its client until `cause` is gone; `None`: until it has read its answers.
    pub(super) fn hold(&mut self, slot: u32, held: Held, cause: Option<Cause>) -> Flow {
        if self.clients[slot].is_live() {
            self.clients.hold(slot, held, cause.is_none(), self.pace.now_ns);
            self.share_memory(slot);
            if cause.is_none() {
                self.arm_liveness(slot);
            }
            self.hold_input(slot, cause);
            self.check_held_bytes(slot);
        }
        Flow::Stop
    }

    /// Takes no more input from the connection until [`Shard::release_input`].
    pub(super) fn hold_input(&mut self, slot: u32, cause: Option<Cause>) {
        let conn = &mut self.clients[slot];
        if !conn.flags.is_paused {
            conn.flags.is_paused = true;
            self.ears.driver.pause_recv(Slot(slot));
        }
        if let Some(cause) = cause {
            self.wait_for(slot, cause);
        }
    }

    pub(super) fn wait_for(&mut self, slot: u32, cause: Cause) {
        let conn = &mut self.clients[slot];
        if std::mem::replace(&mut conn.flags.is_waiting, true) {
            return;
        }
        self.waiters.push(cause, Waiter { slot, generation: conn.generation, deficit: 0, goes_on: false });
        let clients = &self.clients;
        self.waiters.prune(2 * self.ears.slots as usize, |w| {
            clients[w.slot].generation == w.generation && clients[w.slot].flags.is_waiting
        });
    }

    /// Undoes [`Shard::hold_input`].
    pub(super) fn release_input(&mut self, slot: u32) {
        let conn = &mut self.clients[slot];
        if conn.flags.is_paused {
            conn.flags.is_paused = false;
            self.ears.driver.resume_recv(Slot(slot));
        }
    }

    /// Goes on with what was set aside, and with what arrived behind it.
    pub(super) fn retry_input(&mut self, slot: u32) {
        if self.clients[slot].phase == Phase::Handshake {
            self.try_upgrade(slot);
            return;
        }
        if !self.clients[slot].is_live() {
            return;
        }
        if let Some(held) = self.clients.take_held(slot) {
            let flow = match held {
                Held::Message { kind, payload } => self.look_at(slot, kind, Inbound::Own(payload)),
                Held::Publish(publication, payload) => self.publish_held(slot, publication, payload),
                Held::Open(topic, publication, payload) => self.publish_to_name(slot, topic, publication, payload),
                Held::Request(request) => self.run_request(slot, request),
                Held::Sweep(sweep) => self.run_sweep(slot, sweep),
                Held::Arrived(arrived) => self.run_arrived(slot, arrived),
                Held::Long(long) => self.run_long(slot, long),
            };
            if flow == Flow::Stop {
                return;
            }
        }
        if let Some(answered) = self.admission.asked.take_answer(slot)
            && self.apply_answer(slot, answered) == Flow::Stop
        {
            return;
        }
        let mut inbox = std::mem::take(&mut self.clients.extra(slot).inbox);
        self.on_frames(slot, &mut inbox);
        inbox.clear();
        let extra = self.clients.extra(slot);
        if extra.inbox.is_empty() {
            // Keep the memory.
            extra.inbox = inbox;
        }
        if extra.held.is_none() && self.clients[slot].is_live() && !self.clients[slot].flags.is_waiting {
            self.release_input(slot);
        }
        self.end_if_read(slot);
        self.refresh(slot);
    }

    /// Memory that what waits of this shard's clients may take.
    pub(super) fn client_bytes_max(&self) -> usize {
        self.rules.memory.client_bytes / self.shared.mailboxes.len()
    }

    /// Input and answers that wait have a share of memory. Where it is used up, who holds most has to go, be it this one or another:
    /// nobody who wants little pays for those.
    pub(super) fn check_held_bytes(&mut self, slot: u32) {
        self.clients.tidy(slot);
        if self.clients.held_bytes() + self.subscriptions.asked.bytes() <= self.client_bytes_max() {
            return;
        }
        self.pace.work.input.spend(STEPS_A_LOOK);
        if let Some(other) = self.clients.holds_more_than(slot) {
            self.evict(other, "no memory for this input");
        } else if self.clients[slot].phase == Phase::Handshake {
            self.cut(slot, CloseCode::ABNORMAL.to_u16());
        } else {
            self.evict(slot, "no memory for this input");
        }
    }
}
