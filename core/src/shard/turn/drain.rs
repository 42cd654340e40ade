//! An orderly end: everybody gets what is due, then a close frame.

use crate::driver::Driver;
use crate::event::Protocol;
use crate::proto::close::CloseCode;
use crate::proto::handshake::Refusal;
use crate::proto::server_message::{Migrate, ServerMessage};
use crate::shard::clients::Phase;
use crate::shard::{Ending, Shard};

/// How exactly the closes of a shutdown keep to their moments.
pub(super) const CLOSE_TICK_NS: u64 = 5_000_000;
/// Connections that are told in one turn when theirs ends.
const TOLD_PER_TURN: u32 = 256;
/// One part in so many of a hand-over's window is for those that publish: they go before the others.
const PUBLISHERS_PART: u64 = 4;
/// Said before that.
const MIGRATE_REASON: &str = "the server restarts";
/// Said with 1012.
pub(super) const RESTART_REASON: &str = "the server restarts: connect again in a second";

impl<D: Driver> Shard<D> {
    /// Stops accepting; everybody gets what is due, then 1001, or 1012 where the closes are spread over a window.
    pub(super) fn begin_drain(&mut self, within_ns: u64, window_ns: u64) {
        if self.pace.ending != Ending::No {
            return;
        }
        let began_ns = self.pace.now_ns;
        let window_ns = window_ns.min(within_ns);
        let deadline_ns = began_ns.saturating_add(within_ns);
        let untold = if window_ns == 0 { self.clients.slots() } else { 0 };
        self.pace.ending =
            Ending::Draining { began_ns, deadline_ns, window_ns, look_ns: began_ns, untold, handover: None };
        self.ears.driver.stop_listening();
        for slot in 0..self.clients.slots() {
            match self.clients[slot].phase {
                Phase::Open => {
                    self.clients[slot].phase = Phase::Draining;
                    self.sender.look_at_all(&mut self.clients[slot], slot);
                    self.refresh(slot);
                    self.clients.mark_dirty(slot);
                }
                Phase::Handshake => self.refuse(slot, &Refusal::unavailable("the server is shutting down", 1)),
                _ => {}
            }
        }
    }

    /// Whether somebody is still to be told when its connection ends.
    pub(super) fn has_to_tell_of_ends(&self) -> bool {
        matches!(self.pace.ending, Ending::Draining { untold, .. } if untold < self.clients.slots())
    }

    /// While draining over a window: tells those that speak a subprotocol when to connect anew, some in each turn. Each of them has to be
    /// served for that, which takes memory that an idle connection has none of.
    pub(super) fn tell_of_ends(&mut self) {
        let slots = self.clients.slots();
        let Ending::Draining { untold, .. } = &mut self.pace.ending else { return };
        let from = *untold;
        let until = slots.min(from.saturating_add(TOLD_PER_TURN));
        *untold = until;
        for slot in from..until {
            self.tell_of_end(slot);
        }
    }

    fn tell_of_end(&mut self, slot: u32) {
        let conn = &self.clients[slot];
        if !conn.is_live() || conn.protocol == Protocol::Raw {
            return;
        }
        let after_ns = self.moment_of(slot).saturating_sub(self.pace.now_ns);
        let migrate = Migrate { after_ms: after_ns.div_ceil(1_000_000), url: None, reason: MIGRATE_REASON.into() };
        self.answer(slot, &ServerMessage::Migrate(migrate));
    }

    /// Tells one that was upgraded during a hand-over, if its turn to be told has passed.
    pub(super) fn tell_newcomer_of_end(&mut self, slot: u32) {
        if matches!(self.pace.ending, Ending::Draining { handover: Some(_), untold, .. } if slot < untold) {
            self.tell_of_end(slot);
        }
    }

    /// When a connection is closed, of those that are open while this shard ends.
    pub(super) fn moment_of(&self, slot: u32) -> u64 {
        let Ending::Draining { began_ns, window_ns, handover, .. } = self.pace.ending else { return 0 };
        let conn = &self.clients[slot];
        let generation = u64::from(conn.generation);
        let seed = began_ns ^ u64::from(self.number) << 56 ^ u64::from(slot) << 24 ^ generation;
        let publishers_ns = window_ns / PUBLISHERS_PART;
        began_ns
            + match (handover.is_some(), conn.flags.has_published) {
                (false, _) => share_of(window_ns, seed),
                (true, true) => share_of(publishers_ns, seed),
                (true, false) => publishers_ns + share_of(window_ns - publishers_ns, seed),
            }
    }

    /// While draining: closes those that have everything and whose moment has come, and ends when nobody is left or the time is up.
    pub(super) fn end_if_drained(&mut self) {
        let now_ns = self.pace.now_ns;
        let has_more = self.ears.reader.as_ref().is_some_and(|r| r.backlog_bytes() > 0);
        let is_spread = self.subscriptions.spread.is_empty();
        let Ending::Draining { deadline_ns, window_ns, look_ns, untold, handover, .. } = &mut self.pace.ending else {
            return;
        };
        if handover.is_some() {
            return self.hand_over_some();
        }
        let (deadline_ns, window_ns, told) = (*deadline_ns, *window_ns, *untold);
        let (code, reason) = match window_ns {
            0 => (CloseCode::GOING_AWAY, "the server is shutting down"),
            _ => (CloseCode::SERVICE_RESTART, RESTART_REASON),
        };
        let is_time = now_ns >= *look_ns;
        if is_time && window_ns > 0 {
            *look_ns = now_ns + CLOSE_TICK_NS;
        }
        if is_time && !has_more && is_spread {
            for slot in 0..told {
                if self.clients[slot].phase == Phase::Draining
                    && self.has_everything(slot)
                    && now_ns >= self.moment_of(slot)
                {
                    self.stats.drained += 1;
                    self.mark_close(slot, code.to_u16(), reason);
                }
            }
        }
        if self.clients.open_count() == 0 || now_ns >= deadline_ns {
            self.stop();
        }
    }

    /// Whether everything that this shard has read and answered is with the kernel; if not, it is seen to.
    pub(super) fn has_everything(&mut self, slot: u32) -> bool {
        let conn = &self.clients[slot];
        if conn.flags.is_blocked || conn.flags.is_dirty || self.has_output(slot) {
            return false;
        }
        let is_caught_up = self.is_caught_up(slot);
        if !is_caught_up {
            self.sender.look_at_all(&mut self.clients[slot], slot);
            self.clients.mark_dirty(slot);
        }
        is_caught_up
    }

    fn is_caught_up(&self, slot: u32) -> bool {
        self.subscriptions.memberships_of(slot).flat_map(|m| self.subscriptions.links_of(m)).all(|link| {
            let link = self.subscriptions.link(link);
            let stream = self.lanes.stream(link.stream);
            stream.cursors.all[link.index as usize].position >= self.lanes.source(stream.lane).log.next()
        })
    }

    /// Closes everything at once.
    pub(super) fn stop(&mut self) {
        if self.pace.ending == Ending::No {
            self.ears.driver.stop_listening();
        } else {
            self.stats.cut_off += u64::from(self.clients.open_count());
        }
        self.pace.ending = Ending::Ended;
        for slot in 0..self.clients.slots() {
            self.free_at_once(slot);
        }
    }
}

/// A part of `window_ns`, evenly drawn by `seed` (the finaliser of SplitMix64; Steele, Lea and Flood 2014).
pub(super) fn share_of(window_ns: u64, seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    ((u128::from(x) * u128::from(window_ns)) >> 64) as u64
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
