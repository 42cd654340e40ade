//! Closing one connection: marked by anybody, begun and ended here.

use std::borrow::Cow;

use crate::config::nanoseconds;
use crate::driver::{Driver, EPROTO, Slot};
use crate::event::Event;
use crate::proto::close::CloseCode;
use crate::proto::encoder;
use crate::proto::handshake::Refusal;
use crate::shard::Shard;
use crate::shard::admission::By;
use crate::shard::budget::{Budget, Progress};
use crate::shard::clients::{Awaits, CONTROL_MAX, Phase, PlannedClose};
use crate::shard::closes::How;
use crate::usdt;

/// Said with 1012.
const WORN_REASON: &str = "the keys of this TLS 1.2 connection are used up";
/// How long the host has to answer a message that it has taken, if the client has broken the protocol right after it.
const ANSWER_NS: u64 = 50_000_000;
/// A message that came longer ago than this is taken to have been answered.
const UNANSWERED_NS: u64 = 1_000_000_000;
/// Steps of one connection's taking down in one turn: others' come after it.
const STEPS_A_ROUND: u32 = 1_000;

impl<D: Driver> Shard<D> {
    /// Marks a connection to be closed in good order: the frame that is half sent is finished, a close frame follows, nothing after it.
    pub(super) fn mark_close(&mut self, slot: u32, code: u16, reason: impl Into<Cow<'static, str>>) {
        if !self.subscriptions.clock.is_empty() {
            self.send_what_waits(slot);
        }
        self.mark_close_at_once(slot, code, reason.into());
    }

    fn mark_close_at_once(&mut self, slot: u32, code: u16, reason: Cow<'static, str>) {
        if self.clients[slot].phase == Phase::Handshake {
            self.cut(slot, CloseCode::ABNORMAL.to_u16());
        } else if self.closes.mark(&mut self.clients[slot], slot, code, reason) {
            self.refresh(slot);
        }
    }

    /// Marks a connection to be cut off: nothing more can be sent to it.
    pub(super) fn cut(&mut self, slot: u32, code: u16) {
        if self.closes.cut(&mut self.clients[slot], slot, code) {
            self.refresh(slot);
        }
    }

    /// Closes with 1013 a client that is too slow for what must not be lost, or that there is no memory for.
    pub(super) fn evict(&mut self, slot: u32, reason: &'static str) {
        if !self.clients[slot].is_live() {
            return;
        }
        self.stats.evicted += 1;
        if self.clients[slot].flags.was_announced {
            let connection = self.clients.id(slot);
            self.tell_host(Event::Evicted { connection, reason });
        }
        self.mark_close_at_once(slot, CloseCode::TRY_AGAIN_LATER.to_u16(), reason.into());
    }

    /// Begins the ends that were marked.
    #[inline]
    pub(super) fn close_marked(&mut self) {
        if self.closes.has_marked() {
            self.close_each_marked();
        }
    }

    #[cold]
    fn close_each_marked(&mut self) {
        loop {
            let mut marked = self.closes.take();
            if marked.is_empty() {
                return;
            }
            for (slot, how) in marked.drain(..) {
                match how {
                    How::Frame { code, reason } => self.begin_close(slot, code, &reason),
                    How::Cut => self.begin_leaving(slot),
                }
            }
            self.closes.give_back(marked);
        }
    }

    fn begin_close(&mut self, slot: u32, code: u16, reason: &str) {
        if self.clients[slot].phase != Phase::Marked {
            // Cut off meanwhile.
            return;
        }
        self.clients[slot].close_code = code;
        self.clients[slot].flags.closes_in_order = true;
        let frame = encoder::close(Some(CloseCode::new(code)), reason);
        self.clients.take_message(slot);
        self.clients.take_held(slot);
        let extra = self.clients.extra(slot);
        extra.pong = None;
        extra.inbox.clear();
        extra.closing = None;
        extra.publishes_to = None;
        // A message to it alone that is half sent must be finished; the others are given up.
        let keep = usize::from(extra.direct_sent > 0);
        extra.direct.truncate(keep);
        extra.control.extend_from_slice(&frame);
        self.clients.tidy(slot);
        self.enter_closing(slot);
        self.begin_leaving(slot);
    }

    /// The last bytes are queued; they get so much time and no more.
    fn enter_closing(&mut self, slot: u32) {
        self.clients[slot].phase = Phase::Closing;
        self.clients[slot].flags.must_look = true;
        self.release_input(slot);
        let by = self.pace.now_ns + nanoseconds(self.rules.limits.close_timeout);
        self.clients.wheel.arm(slot, by);
        self.clients.mark_dirty(slot);
    }

    /// Answers an upgrade request with a refusal and closes.
    pub(super) fn refuse(&mut self, slot: u32, refusal: &Refusal) {
        let extra = self.clients.extra(slot);
        extra.inbox.clear();
        extra.handshake = None;
        refusal.write(&mut extra.control);
        debug_assert!(extra.control.len() <= CONTROL_MAX);
        self.enter_closing(slot);
    }

    /// Everything of a closing connection is with the kernel: what is left is the peer's part.
    pub(super) fn end_closing(&mut self, slot: u32) {
        let conn = &mut self.clients[slot];
        if conn.flags.has_ended || conn.flags.has_said_close {
            let code = conn.close_code;
            self.cut(slot, code);
            return;
        }
        conn.phase = Phase::Lingering;
        self.ears.driver.shutdown_write(Slot(slot));
    }

    /// The peer sends no more, or the connection failed.
    pub(super) fn on_end(&mut self, slot: u32, error: Option<i32>) {
        let conn = &mut self.clients[slot];
        conn.flags.has_ended = true;
        match self.clients[slot].phase {
            Phase::Free => {}
            // The rest of what we owe may still arrive: a half-closed peer reads on.
            Phase::Closing | Phase::Marked if error.is_none() => {}
            Phase::Lingering | Phase::Closing => self.cut(slot, self.clients[slot].close_code),
            Phase::Handshake if error == Some(EPROTO) => {
                self.note_failed_upgrade(slot, By::Client);
                self.cut(slot, CloseCode::ABNORMAL.to_u16());
            }
            // What it sent before is looked at first.
            Phase::Open | Phase::Draining if error.is_none() && self.has_unread_input(slot) => self.end_pause(slot),
            _ => self.cut(slot, CloseCode::ABNORMAL.to_u16()),
        }
    }

    /// True if something of a client waits here that was received and not looked at.
    fn has_unread_input(&self, slot: u32) -> bool {
        let conn = &self.clients[slot];
        conn.extra.as_ref().is_some_and(|e| e.held.is_some() || (conn.flags.is_waiting && !e.inbox.is_empty()))
    }

    /// A client whose end is known, and whose input has all been looked at, goes.
    pub(super) fn end_if_read(&mut self, slot: u32) {
        let conn = &self.clients[slot];
        if conn.flags.has_ended && conn.is_live() && !conn.flags.is_waiting && !self.has_unread_input(slot) {
            self.cut(slot, CloseCode::ABNORMAL.to_u16());
        }
    }

    fn begin_leaving(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.clients[slot].flags.is_leaving, true) {
            self.closes.leaving.push_back(slot);
        }
    }

    /// Takes down what closed connections had subscribed to, as far as the budget goes, and frees those that are cut off.
    pub(super) fn take_down(&mut self) {
        for _ in 0..self.closes.leaving.len() {
            if self.pace.work.leaving.is_spent() {
                return;
            }
            let Some(slot) = self.closes.leaving.pop_front() else { return };
            let mut budget = self.pace.work.leaving.share(STEPS_A_ROUND);
            budget.spend(1);
            let progress = self.leave_all(slot, &mut budget);
            self.pace.work.leaving.return_share(budget);
            if progress == Progress::More {
                self.closes.leaving.push_back(slot);
                continue;
            }
            self.clients[slot].flags.is_leaving = false;
            if self.clients[slot].phase == Phase::Broken {
                self.free(slot);
            }
        }
    }

    fn leave_all(&mut self, slot: u32, budget: &mut Budget) -> Progress {
        let keeps_rest = self.clients[slot].phase != Phase::Broken;
        let told = self.hears_of_topics(slot).then(|| self.clients.id(slot));
        let Self { subscriptions, lanes, topics, host, shared, number, .. } = self;
        let progress = subscriptions.leave(slot, lanes, keeps_rest, budget, |topic| {
            if let (Some(connection), Some(topic)) = (told, topics.get(topic)) {
                let event = Event::Unsubscribed { connection, topic: topic.name.to_string() };
                host.tell(&shared.mailboxes[*number as usize], event);
            }
        });
        self.apply_effects();
        progress
    }

    /// Frees a slot whatever is left of its connection: the engine ends.
    pub(super) fn free_at_once(&mut self, slot: u32) {
        if self.clients[slot].phase == Phase::Free {
            return;
        }
        self.clients[slot].phase = Phase::Broken;
        while self.leave_all(slot, &mut Budget::new(u32::MAX)) == Progress::More {}
        self.free(slot);
    }

    /// Frees the slot and everything that the connection held.
    fn free(&mut self, slot: u32) {
        let connection = self.clients.id(slot);
        let (code, was_announced) = (self.clients[slot].close_code, self.clients[slot].flags.was_announced);
        self.admission.leave(slot);
        self.admission.senders.leave(slot);
        self.admission.seated.leave(slot, &self.shared.counted.subjects);
        self.uncount_address(slot);
        self.clients.vacate(slot, &mut self.lanes.rests);
        self.sender.forget(slot);
        self.census.forget(slot);
        self.ears.driver.close(Slot(slot));
        self.shared.leave();
        self.stats.closed += 1;
        usdt::close(self.number.into(), slot, connection.generation(), code.into());
        self.trace_closed(connection, code);
        if was_announced {
            self.tell_host(Event::Closed { connection, code });
        }
    }

    /// Closes a connection as [`Shard::mark_close`] does, but not before the messages to it alone that are queued are sent.
    pub(super) fn close_after_messages(&mut self, slot: u32, code: u16, reason: String) {
        if !self.clients[slot].is_listening() || self.clients.extra(slot).direct.is_empty() {
            self.mark_close(slot, code, reason);
            return;
        }
        self.plan_close(slot, code, reason.into(), Awaits::Nothing);
    }

    /// The client broke the protocol. What it sent before that was well-formed: if the host may be about to answer, it gets
    /// [`ANSWER_NS`] for that once it has taken all events, and nothing more is heard of the client meanwhile.
    pub(super) fn on_violation(&mut self, slot: u32, code: CloseCode, reason: &'static str) {
        let conn = &self.clients[slot];
        if !conn.is_listening() {
            return;
        }
        let may_be_answered = conn.flags.has_spoken && conn.message.elapsed_ns(self.pace.now_ns) < UNANSWERED_NS;
        self.stats.violations += 1;
        self.stats.messages_too_large += u64::from(code == CloseCode::TOO_BIG);
        if may_be_answered {
            self.plan_close(slot, code.to_u16(), reason.into(), Awaits::Taking);
        } else {
            self.mark_close(slot, code.to_u16(), reason);
        }
    }

    /// The connection's keys have protected nearly as much as they may: its client comes back with new ones.
    pub(super) fn on_worn(&mut self, slot: u32) {
        self.close_after_messages(slot, CloseCode::SERVICE_RESTART.to_u16(), WORN_REASON.into());
    }

    fn plan_close(&mut self, slot: u32, code: u16, reason: Cow<'static, str>, awaits: Awaits) {
        let until_ns = self.pace.now_ns + nanoseconds(self.rules.limits.close_timeout);
        self.clients.extra(slot).closing = Some(PlannedClose { code, reason, awaits, until_ns });
        self.arm_planned_close(slot);
        self.refresh(slot);
    }

    fn arm_planned_close(&mut self, slot: u32) {
        let now_ns = self.pace.now_ns;
        let Some(&PlannedClose { awaits, until_ns, .. }) = self.clients.extra(slot).closing.as_ref() else { return };
        let look_ns = if awaits == Awaits::Nothing { until_ns } else { until_ns.min(now_ns + ANSWER_NS) };
        self.clients.wheel.arm(slot, look_ns);
    }

    /// True if nothing has to be sent before a close that was decided: it is marked.
    pub(super) fn end_planned_close(&mut self, slot: u32) -> bool {
        let now_ns = self.pace.now_ns;
        let Some(extra) = &mut self.clients[slot].extra else { return false };
        let has_messages = !extra.direct.is_empty();
        let Some(PlannedClose { code, reason, .. }) =
            extra.closing.take_if(|c| c.until_ns <= now_ns || (c.awaits == Awaits::Nothing && !has_messages))
        else {
            return false;
        };
        self.mark_close(slot, code, reason);
        true
    }

    /// A decided close's time to look at it again.
    pub(super) fn on_planned_close_deadline(&mut self, slot: u32) {
        let has_taken_all = self.host.has_taken_all(self.mailbox());
        let Some(planned) = self.clients.extra(slot).closing.as_mut() else { return };
        planned.awaits = match planned.awaits {
            Awaits::Taking if !has_taken_all => Awaits::Taking,
            Awaits::Taking => Awaits::Answer,
            Awaits::Answer | Awaits::Nothing => Awaits::Nothing,
        };
        if !self.end_planned_close(slot) {
            self.arm_planned_close(slot);
        }
    }
}
