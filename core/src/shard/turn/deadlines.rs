//! Deadlines: handshakes that take too long, peers that are silent, closes that do not end.
//!
//! What this shard has not read is not the client's silence: nobody is judged right after the shard stood still, while it is behind with
//! its input, or while it takes none from the client.

use crate::config::nanoseconds;
use crate::driver::Driver;
use crate::proto::close::CloseCode;
use crate::proto::encoder;
use crate::proto::handshake::Refusal;
use crate::shard::Shard;
use crate::shard::admission::By;
use crate::shard::clients::{Moment, Phase};
use crate::shard::turn::upgrade::RETRY_AFTER_S;

/// Deadlines looked at in one turn at most.
const DEADLINES_PER_TURN: usize = 256;
/// A turn that begins so much later than it should have: the shard stood still.
const STANDSTILL_NS: u64 = 250_000_000;
/// After having been behind, a shard needs so long to hear what came meanwhile.
const CATCH_UP_NS: u64 = 1_000_000_000;

impl<D: Driver> Shard<D> {
    /// Notes whether the shard has heard everything that was said. `expected_ns`: when this turn should have begun.
    pub(super) fn note_lateness(&mut self, expected_ns: u64) {
        let is_late = self.pace.now_ns.saturating_sub(expected_ns) >= STANDSTILL_NS;
        let exhausted = self.ears.driver.counters().recv_buffers_exhausted;
        if is_late || !self.ears.events.is_empty() || exhausted != self.stats.recv_buffers_exhausted {
            self.pace.heard_all_from_ns = self.pace.now_ns + CATCH_UP_NS;
        }
    }

    pub(super) fn expire_deadlines(&mut self) {
        let mut due = std::mem::take(&mut self.pace.due);
        self.clients.wheel.expire(self.pace.now_ns, DEADLINES_PER_TURN, &mut due);
        for slot in due.drain(..) {
            self.on_deadline(slot);
        }
        self.pace.due = due;
    }

    fn on_deadline(&mut self, slot: u32) {
        let conn = &self.clients[slot];
        if conn.is_live() && !conn.is_listening() {
            self.on_planned_close_deadline(slot);
            return;
        }
        match conn.phase {
            Phase::Free | Phase::Broken | Phase::Marked => {}
            Phase::Draining => self.resume_sender(slot),
            Phase::Handshake => self.on_late_handshake(slot),
            Phase::Closing | Phase::Lingering => {
                let code = conn.close_code;
                self.cut(slot, code);
            }
            Phase::Open => {
                self.resume_sender(slot);
                self.on_silence(slot);
            }
        }
    }

    /// Closes those whose grants have ended.
    pub(super) fn expire_grants(&mut self) {
        for _ in 0..DEADLINES_PER_TURN {
            let Some(slot) = self.admission.granted.pop_expired(self.pace.now_ns) else { return };
            if self.clients[slot].is_live() {
                self.mark_close(slot, CloseCode::EXPIRED.to_u16(), "the permission has expired");
            }
        }
    }

    fn on_late_handshake(&mut self, slot: u32) {
        if self.admission.asked.waits(slot) {
            self.refuse_upgrade(slot, &Refusal::unavailable("no decision in time", RETRY_AFTER_S));
        } else if self.is_behind() || self.clients[slot].flags.is_paused {
            let again = self.pace.now_ns + CATCH_UP_NS;
            self.clients.wheel.arm(slot, again);
        } else if self.clients[slot].extra.as_ref().is_some_and(|e| !e.inbox.is_empty()) {
            self.stats.handshakes_late += 1;
            self.refuse_upgrade(slot, &Refusal::timeout());
        } else {
            self.stats.handshakes_late += 1;
            self.note_failed_upgrade(slot, By::Client);
            self.cut(slot, CloseCode::ABNORMAL.to_u16());
        }
    }

    /// True while something that was said may not have been heard.
    fn is_behind(&self) -> bool {
        self.pace.now_ns < self.pace.heard_all_from_ns
    }

    fn on_silence(&mut self, slot: u32) {
        let now = self.pace.now_ns;
        let limits = &self.rules.limits;
        let (idle, every) = (nanoseconds(limits.idle_timeout), nanoseconds(limits.ping_every));
        if self.is_behind() {
            let again = self.pace.heard_all_from_ns;
            self.clients.wheel.arm(slot, again);
            return;
        }
        let conn = &mut self.clients[slot];
        if conn.flags.is_paused {
            // It may speak, and is not heard. Whether there is anybody still, its kernel says of itself.
            let asks = every > 0 && conn.heard.elapsed_ns(now) >= every && !conn.flags.is_blocked;
            conn.heard = Moment::at(now);
            conn.message = conn.heard;
            if asks && self.clients.extra(slot).has_control_room() {
                self.send_ping(slot);
            }
        }
        let conn = &mut self.clients[slot];
        if idle > 0 && conn.message.elapsed_ns(now) >= idle {
            self.stats.closed_idle += 1;
            self.mark_close(slot, CloseCode::GOING_AWAY.to_u16(), "idle for too long");
            return;
        }
        if self.is_overdue(slot) {
            match self.clients[slot].flags.is_paused {
                true => self.evict(slot, "it does not read its answers"),
                false => self.on_violation(slot, CloseCode::POLICY, "a message that does not end"),
            }
            return;
        }
        let conn = &mut self.clients[slot];
        if every > 0 {
            // Liveness is judged only while the socket takes what we send: a ping behind a backlog proves nothing.
            if conn.flags.is_blocked {
                conn.heard = Moment::at(now);
            }
            let silent = conn.heard.elapsed_ns(now);
            if conn.flags.awaits_pong && silent >= 2 * every {
                self.stats.pongs_missed += 1;
                self.mark_close(slot, CloseCode::INTERNAL_ERROR.to_u16(), "keepalive ping timeout");
                return;
            }
            if silent >= every && !conn.flags.awaits_pong {
                conn.flags.awaits_pong = true;
                // It has as long again from now on, however late this ping is.
                conn.heard = Moment::at(now.saturating_sub(every));
                self.send_ping(slot);
            }
        }
        self.arm_liveness(slot);
    }

    fn send_ping(&mut self, slot: u32) {
        let frame = encoder::ping(&[]);
        self.clients.extra(slot).control.extend_from_slice(&frame);
        self.refresh(slot);
        self.clients.mark_dirty(slot);
    }

    /// More of a message, or of a frame, is to come of a client, which began then, or just now (0); or everything of it has come.
    #[cold]
    pub(super) fn note_unfinished(&mut self, slot: u32, is_unfinished: bool, began_ns: u64) {
        let now_ns = self.pace.now_ns;
        let Some(extra) = &mut self.clients[slot].extra else { return };
        if !is_unfinished {
            extra.began_ns = 0;
            return;
        }
        if extra.began_ns == 0 {
            extra.began_ns = if began_ns == 0 { now_ns } else { began_ns };
        }
        if self.clients[slot].phase == Phase::Open {
            self.arm_liveness(slot);
        }
    }

    /// True if a message has taken longer than one may. What is not read now is not late.
    fn is_overdue(&mut self, slot: u32) -> bool {
        let (now_ns, most) = (self.pace.now_ns, nanoseconds(self.rules.limits.message_timeout));
        let conn = &mut self.clients[slot];
        // But for a client that does not read what it is answered: that is its own pause.
        let is_paused =
            conn.flags.is_paused && (conn.flags.is_waiting || conn.extra.as_ref().is_none_or(|e| e.held.is_none()));
        let Some(extra) = conn.extra.as_mut().filter(|extra| extra.began_ns != 0 && most > 0) else { return false };
        let is_late = now_ns.saturating_sub(extra.began_ns) >= most;
        if is_late && is_paused {
            extra.began_ns = now_ns;
        }
        is_late && !is_paused
    }

    /// Sets the deadline at which silence is looked at next, or a pause ends.
    pub(super) fn arm_liveness(&mut self, slot: u32) {
        let limits = &self.rules.limits;
        let conn = &self.clients[slot];
        if !conn.is_listening() {
            // A close that has been decided has its own deadline, and comes sooner.
            return;
        }
        let every = nanoseconds(limits.ping_every);
        let idle = nanoseconds(limits.idle_timeout);
        let mut at = u64::MAX;
        if every > 0 {
            let rounds = 1 + u64::from(conn.flags.awaits_pong);
            at = at.min(conn.heard.later_ns(self.pace.now_ns, rounds.saturating_mul(every)));
        }
        if idle > 0 {
            at = at.min(conn.message.later_ns(self.pace.now_ns, idle));
        }
        if let Some(until) = self.admission.senders.paused_until(slot) {
            at = at.min(until);
        }
        let began_ns = conn.extra.as_ref().map_or(0, |extra| extra.began_ns);
        let most = nanoseconds(limits.message_timeout);
        if began_ns > 0 && most > 0 {
            at = at.min(began_ns.saturating_add(most));
        }
        if at != u64::MAX {
            self.clients.wheel.arm(slot, at);
        }
    }
}
