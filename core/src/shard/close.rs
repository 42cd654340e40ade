//! Ends: closing one connection, draining all of them, and the deadlines that lead there.

use std::borrow::Cow;

use super::conn::{Awaits, CONTROL_MAX, Extra, Farewell, Phase, connection_id};
use super::table::NONE;
use super::timer::Moment;
use super::topics::{Form, Link};
use super::{Ending, Shard};
use crate::config::nanoseconds;
use crate::driver::{Driver, Slot};
use crate::event::Event;
use crate::proto::close::CloseCode;
use crate::proto::encoder;
use crate::proto::handshake::Refusal;
use crate::usdt;

/// How long the host has to answer a message that it has taken, if the client has broken the protocol right after it.
const ANSWER_NS: u64 = 50_000_000;
/// How exactly the closes of a shutdown keep to their moments.
const CLOSE_TICK_NS: u64 = 5_000_000;
/// Said with 1012.
const RESTART_REASON: &str = "the server restarts: connect again in a second";
/// A message that came longer ago than this is taken to have been answered.
const UNANSWERED_NS: u64 = 1_000_000_000;

impl<D: Driver> Shard<D> {
    /// Closes a connection in good order: the frame that is half sent is finished, a close frame follows, nothing after it.
    pub(super) fn begin_close(&mut self, slot: u32, code: u16, reason: &str) {
        let conn = &mut self.conns[slot as usize];
        match conn.phase {
            Phase::Free | Phase::Closing | Phase::Lingering | Phase::Broken => return,
            Phase::Handshake => {
                self.doom(slot, CloseCode::ABNORMAL.to_u16());
                return;
            }
            Phase::Open | Phase::Draining => {}
        }
        conn.close_code = code;
        self.leave_all(slot);
        if self.conns[slot as usize].phase == Phase::Broken {
            // The rest of its half-sent frame could not be kept: there is no frame boundary to close at.
            return;
        }
        let frame = encoder::close(Some(CloseCode::new(code)), reason);
        let extra = self.extra(slot);
        extra.pong = None;
        extra.held = None;
        extra.assembly = None;
        extra.inbox.clear();
        extra.farewell = None;
        // A message to it alone that is half sent must be finished; the others are given up.
        let keep = usize::from(extra.direct_sent > 0);
        extra.direct.truncate(keep);
        extra.control.extend_from_slice(&frame);
        self.enter_closing(slot);
    }

    /// Closes a connection as [`Shard::begin_close`] does, but not before the messages to it alone that are queued are sent.
    pub(super) fn close_after_messages(&mut self, slot: u32, code: u16, reason: String) {
        if !self.conns[slot as usize].is_listening() || self.extra(slot).direct.is_empty() {
            self.begin_close(slot, code, &reason);
            self.settle(slot);
            return;
        }
        self.begin_farewell(slot, code, reason.into(), Awaits::Nothing);
    }

    /// The client broke the protocol. What it sent before that was well-formed: if the host may be about to answer, it gets
    /// [`ANSWER_NS`] for that once it has taken all events, and nothing more is heard of the client meanwhile.
    pub(super) fn on_violation(&mut self, slot: u32, code: CloseCode, reason: &'static str) {
        let now_ns = self.now_ns;
        let conn = &self.conns[slot as usize];
        if !conn.is_listening() {
            return;
        }
        let may_be_answered = conn.flags.has_spoken && conn.message.elapsed_ns(now_ns) < UNANSWERED_NS;
        self.stats.violations += 1;
        if may_be_answered {
            self.begin_farewell(slot, code.to_u16(), reason.into(), Awaits::Taking);
        } else {
            self.begin_close(slot, code.to_u16(), reason);
        }
    }

    fn begin_farewell(&mut self, slot: u32, code: u16, reason: Cow<'static, str>, awaits: Awaits) {
        let until_ns = self.now_ns + nanoseconds(self.shared.config.limits.close_timeout);
        self.extra(slot).farewell = Some(Farewell { code, reason, awaits, until_ns });
        self.arm_farewell(slot);
        self.settle(slot);
    }

    fn arm_farewell(&mut self, slot: u32) {
        let now_ns = self.now_ns;
        let Some(&Farewell { awaits, until_ns, .. }) = self.extra(slot).farewell.as_ref() else { return };
        let look_ns = if awaits == Awaits::Nothing { until_ns } else { until_ns.min(now_ns + ANSWER_NS) };
        self.wheel.arm(slot, look_ns);
    }

    /// True if nothing has to be sent before a close that was decided: it begins.
    fn end_farewell(&mut self, slot: u32) -> bool {
        let Some(extra) = &mut self.conns[slot as usize].extra else { return false };
        let has_work = !extra.direct.is_empty();
        let now_ns = self.now_ns;
        let Some(Farewell { code, reason, .. }) =
            extra.farewell.take_if(|f| f.until_ns <= now_ns || (f.awaits == Awaits::Nothing && !has_work))
        else {
            return false;
        };
        self.begin_close(slot, code, &reason);
        true
    }

    /// A decided close's time to look at it again.
    fn on_farewell_deadline(&mut self, slot: u32) {
        let has_taken_all =
            self.host_events.is_empty() && self.shared.mailboxes[self.number as usize].events.is_empty();
        let Some(farewell) = self.extra(slot).farewell.as_mut() else { return };
        farewell.awaits = match farewell.awaits {
            Awaits::Taking if !has_taken_all => Awaits::Taking,
            Awaits::Taking => Awaits::Answer,
            Awaits::Answer | Awaits::Nothing => Awaits::Nothing,
        };
        if !self.end_farewell(slot) {
            self.arm_farewell(slot);
        }
    }

    /// The last bytes are queued; they get so much time and no more.
    fn enter_closing(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        conn.phase = Phase::Closing;
        conn.flags.has_leftover = true;
        if conn.flags.is_paused {
            conn.flags.is_paused = false;
            self.driver.resume_recv(Slot(slot));
        }
        let by = self.now_ns + nanoseconds(self.shared.config.limits.close_timeout);
        self.wheel.arm(slot, by);
        self.mark_dirty(slot);
    }

    /// Answers an upgrade request with a refusal and closes.
    pub(super) fn refuse(&mut self, slot: u32, refusal: &Refusal) {
        let extra = self.extra(slot);
        extra.inbox.clear();
        extra.scanner = None;
        extra.peer = None;
        refusal.write(&mut extra.control);
        debug_assert!(extra.control.len() <= CONTROL_MAX);
        self.enter_closing(slot);
    }

    /// Closes with 1013 a client that is too slow for what must not be lost, or that there is no memory for.
    pub(super) fn evict(&mut self, slot: u32, reason: &'static str) {
        if !self.conns[slot as usize].is_live() {
            return;
        }
        self.stats.evicted += 1;
        let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
        if self.conns[slot as usize].flags.was_announced {
            self.tell_host(Event::Evicted { connection, reason });
        }
        self.begin_close(slot, CloseCode::TRY_AGAIN_LATER.to_u16(), reason);
    }

    /// Nothing more can be sent to this connection: it is closed at the end of the turn.
    pub(super) fn doom(&mut self, slot: u32, code: u16) {
        let conn = &mut self.conns[slot as usize];
        if !matches!(conn.phase, Phase::Free | Phase::Broken) {
            conn.phase = Phase::Broken;
            self.doomed.push((slot, code));
        }
    }

    pub(super) fn close_doomed(&mut self) {
        while let Some((slot, code)) = self.doomed.pop() {
            self.close_now(slot, code);
        }
    }

    /// Frees the slot and everything that the connection held.
    pub(super) fn close_now(&mut self, slot: u32, code: u16) {
        if self.conns[slot as usize].phase == Phase::Free {
            return;
        }
        self.conns[slot as usize].phase = Phase::Broken;
        self.drop_remainder(slot);
        self.leave_all(slot);
        let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
        let conn = &mut self.conns[slot as usize];
        let was_announced = conn.flags.was_announced;
        let extra = conn.extra.take();
        conn.vacate();
        if let Some(mut extra) = extra
            && self.stock.len() < super::STOCK_MAX
        {
            extra.reset();
            self.stock.push(extra);
        }
        self.pending.leave(slot);
        self.wheel.disarm(slot);
        self.driver.close(Slot(slot));
        self.open_count -= 1;
        self.shared.leave();
        self.stats.closed += 1;
        usdt::close(self.number.into(), slot, connection.generation(), code.into());
        if was_announced {
            self.tell_host(Event::Closed { connection, code });
        }
    }

    /// The peer sends no more, or the connection failed.
    pub(super) fn on_end(&mut self, slot: u32, error: Option<i32>) {
        let conn = &mut self.conns[slot as usize];
        conn.flags.has_ended = true;
        match conn.phase {
            Phase::Free => {}
            // The rest of what we owe may still arrive: a half-closed peer reads on.
            Phase::Closing if error.is_none() => {}
            Phase::Lingering | Phase::Closing => self.close_now(slot, self.conns[slot as usize].close_code),
            _ => self.close_now(slot, CloseCode::ABNORMAL.to_u16()),
        }
    }

    /// After a connection was served: is anything over?
    pub(super) fn after_service(&mut self, slot: u32) {
        let conn = &self.conns[slot as usize];
        if conn.phase == Phase::Closing && !conn.has_output() && !conn.flags.is_blocked {
            if conn.flags.has_ended || conn.flags.has_said_close {
                let code = conn.close_code;
                self.close_now(slot, code);
                return;
            }
            self.conns[slot as usize].phase = Phase::Lingering;
            self.driver.shutdown_write(Slot(slot));
            return;
        }
        if self.end_farewell(slot) {
            return;
        }
        self.settle(slot);
        let conn = &self.conns[slot as usize];
        if conn.is_live()
            && !conn.flags.is_stuck
            && let Some(extra) = &conn.extra
            && extra.held.is_some()
            && extra.has_control_room()
        {
            self.retry_input(slot);
        }
    }

    pub(super) fn on_deadline(&mut self, slot: u32) {
        let limits = self.shared.config.limits;
        let conn = &mut self.conns[slot as usize];
        if conn.is_live() && !conn.is_listening() {
            self.on_farewell_deadline(slot);
            return;
        }
        match conn.phase {
            Phase::Free | Phase::Broken => {}
            Phase::Handshake => {
                if conn.extra.as_ref().is_some_and(|e| !e.inbox.is_empty()) {
                    self.stats.upgrades_refused += 1;
                    self.refuse(slot, &Refusal::timeout());
                } else {
                    self.close_now(slot, CloseCode::ABNORMAL.to_u16());
                }
            }
            Phase::Closing | Phase::Lingering => {
                let code = conn.close_code;
                self.close_now(slot, code);
            }
            Phase::Draining => {}
            Phase::Open => {
                let now = self.now_ns;
                let idle = nanoseconds(limits.idle_timeout);
                if idle > 0 && conn.message.elapsed_ns(now) >= idle {
                    self.begin_close(slot, CloseCode::GOING_AWAY.to_u16(), "idle for too long");
                    return;
                }
                let every = nanoseconds(limits.ping_every);
                if every > 0 {
                    // Liveness is judged only while the socket takes what we send: a ping behind a backlog proves nothing.
                    if conn.flags.is_blocked {
                        conn.heard = Moment::at(now);
                    }
                    let silent = conn.heard.elapsed_ns(now);
                    if conn.flags.awaits_pong && silent >= 2 * every {
                        self.stats.pongs_missed += 1;
                        self.begin_close(slot, CloseCode::INTERNAL_ERROR.to_u16(), "keepalive ping timeout");
                        return;
                    }
                    if silent >= every && !conn.flags.awaits_pong {
                        conn.flags.awaits_pong = true;
                        let frame = encoder::ping(&[]);
                        self.extra(slot).control.extend_from_slice(&frame);
                        self.settle(slot);
                        self.mark_dirty(slot);
                    }
                }
                self.arm_liveness(slot);
            }
        }
    }

    /// Sets the deadline at which silence is looked at next.
    pub(super) fn arm_liveness(&mut self, slot: u32) {
        let limits = &self.shared.config.limits;
        let conn = &self.conns[slot as usize];
        let every = nanoseconds(limits.ping_every);
        let idle = nanoseconds(limits.idle_timeout);
        let mut at = u64::MAX;
        if every > 0 {
            let rounds = 1 + u64::from(conn.flags.awaits_pong);
            at = at.min(conn.heard.later_ns(self.now_ns, rounds.saturating_mul(every)));
        }
        if idle > 0 {
            at = at.min(conn.message.later_ns(self.now_ns, idle));
        }
        if at != u64::MAX {
            self.wheel.arm(slot, at);
        }
    }

    /// Stops accepting; everybody gets what is due, then 1001, or 1012 where the closes are spread over a window.
    pub(super) fn begin_drain(&mut self, within_ns: u64) {
        if self.ending != Ending::No {
            return;
        }
        let began_ns = self.now_ns;
        let window_ns = nanoseconds(self.shared.config.limits.close_window).min(within_ns / 2);
        let deadline_ns = began_ns.saturating_add(within_ns);
        self.ending = Ending::Draining { began_ns, deadline_ns, window_ns, look_ns: began_ns };
        self.driver.stop_listening();
        for slot in 0..self.conns.len() as u32 {
            match self.conns[slot as usize].phase {
                Phase::Open => {
                    self.conns[slot as usize].phase = Phase::Draining;
                    self.conns[slot as usize].flags.has_leftover = true;
                    self.settle(slot);
                    self.mark_dirty(slot);
                }
                Phase::Handshake => self.refuse(slot, &Refusal::unavailable("the server is shutting down", 1)),
                _ => {}
            }
        }
    }

    /// While draining: closes whoever has everything and whose moment has come, and ends when nobody is left or the time is up.
    pub(super) fn end_if_drained(&mut self) {
        let Ending::Draining { began_ns, deadline_ns, window_ns, look_ns } = &mut self.ending else { return };
        let (began_ns, deadline_ns, window_ns) = (*began_ns, *deadline_ns, *window_ns);
        let (code, reason) = match window_ns {
            0 => (CloseCode::GOING_AWAY, "the server is shutting down"),
            _ => (CloseCode::SERVICE_RESTART, RESTART_REASON),
        };
        let is_time = self.now_ns >= *look_ns;
        if is_time && window_ns > 0 {
            *look_ns = self.now_ns + CLOSE_TICK_NS;
        }
        if is_time && self.reader.as_ref().is_none_or(|r| r.backlog_bytes() == 0) {
            for slot in 0..self.conns.len() as u32 {
                let conn = &self.conns[slot as usize];
                if conn.phase != Phase::Draining || conn.flags.is_blocked || conn.flags.is_dirty || conn.has_output() {
                    continue;
                }
                let seed = began_ns ^ u64::from(self.number) << 56 ^ u64::from(slot) << 24 ^ u64::from(conn.generation);
                if !self.is_caught_up(slot) {
                    self.conns[slot as usize].flags.has_leftover = true;
                    self.mark_dirty(slot);
                } else if self.now_ns >= began_ns + share_of(window_ns, seed) {
                    self.begin_close(slot, code.to_u16(), reason);
                }
            }
        }
        if self.open_count == 0 || self.now_ns >= deadline_ns {
            self.stop();
        }
    }

    fn is_caught_up(&self, slot: u32) -> bool {
        let mut membership = self.conns[slot as usize].memberships;
        while membership != NONE {
            let m = &self.memberships[membership];
            let mut link = m.links;
            while link != NONE {
                let Link { stream, index, sibling, .. } = self.links[link];
                link = sibling;
                let stream = &self.streams[stream];
                let source = self.lanes[stream.lane].streams[Form::Raw as usize];
                let end = self.streams[source].log.next_seq();
                if stream.cursors.subs[index as usize].seq < end || stream.log.next_seq() < end {
                    return false;
                }
            }
            membership = m.next;
        }
        true
    }

    /// Closes everything at once.
    pub(super) fn stop(&mut self) {
        if self.ending == Ending::No {
            self.driver.stop_listening();
        } else {
            self.stats.cut_off += u64::from(self.open_count);
        }
        self.ending = Ending::Ended;
        for slot in 0..self.conns.len() as u32 {
            let code = self.conns[slot as usize].close_code;
            self.close_now(slot, code);
        }
    }
}

/// A part of `window_ns`, evenly drawn by `seed` (the finaliser of SplitMix64; Steele, Lea and Flood 2014).
fn share_of(window_ns: u64, seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    ((u128::from(x) * u128::from(window_ns)) >> 64) as u64
}

impl Extra {
    /// Makes it as good as new, keeping its memory unless that is large.
    fn reset(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut control = std::mem::take(&mut self.control);
        *self = Extra::default();
        if inbox.capacity() <= CONTROL_MAX && control.capacity() <= CONTROL_MAX {
            inbox.clear();
            control.clear();
            self.inbox = inbox;
            self.control = control;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_closing_are_spread_evenly() {
        const WINDOW_NS: u64 = 30_000_000_000;
        const BINS: usize = 20;
        // As they are made: neighbouring slots, mostly of one generation, on a few shards, at some time.
        for began_ns in [0, 1, 77_123_456_789, u64::MAX / 3] {
            let mut bins = [0u32; BINS];
            let count = 4 * 2_500;
            for shard in 0..4u64 {
                for slot in 0..2_500u64 {
                    let share = share_of(WINDOW_NS, began_ns ^ shard << 56 ^ slot << 24 ^ (slot % 3));
                    assert!(share < WINDOW_NS);
                    bins[(share / (WINDOW_NS / BINS as u64)) as usize] += 1;
                }
            }
            let expected = f64::from(count) / BINS as f64;
            let chi2: f64 = bins.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
            // The 99 % point of chi-squared with 19 degrees of freedom.
            assert!(chi2 < 36.19, "chi-squared {chi2} at {began_ns}: {bins:?}");
        }
        assert_eq!(share_of(0, 5), 0);
        assert!(share_of(u64::MAX, 5) < u64::MAX);
    }
}
