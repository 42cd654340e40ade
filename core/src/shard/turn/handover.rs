//! A hand-over: the listeners are another process's, and who is connected goes on as before until its own moment.

use crate::driver::Driver;
use crate::proto::close::CloseCode;
use crate::proto::handshake::Refusal;
use crate::shard::clients::Phase;
use crate::shard::turn::drain::{CLOSE_TICK_NS, RESTART_REASON};
use crate::shard::{Ending, Handover, Shard};

/// How long those that are being upgraded when it begins have for that, however short the window is.
const UPGRADE_NS: u64 = 1_000_000_000;

impl<D: Driver> Shard<D> {
    /// Accepts nobody any more, but for those that wait at a listener that nobody else has.
    pub(super) fn begin_handover(&mut self, within_ns: u64, window_ns: u64, left: &[u16]) {
        if self.pace.ending != Ending::No {
            return;
        }
        let began_ns = self.pace.now_ns;
        self.pace.ending = Ending::Draining {
            began_ns,
            deadline_ns: began_ns.saturating_add(within_ns),
            window_ns: window_ns.min(within_ns),
            look_ns: began_ns,
            untold: 0,
            handover: Some(Handover::default()),
        };
        left.iter().for_each(|&listener| self.ears.driver.leave_listener(listener));
        self.ears.driver.stop_listening();
    }

    /// Closes those whose moment has come and that have everything; ends when nobody is left on any shard, for until then
    /// somebody may publish.
    pub(super) fn hand_over_some(&mut self) {
        let now_ns = self.pace.now_ns;
        let Ending::Draining { began_ns, deadline_ns, window_ns, look_ns, untold, .. } = &mut self.pace.ending else {
            return;
        };
        let (began_ns, deadline_ns, window_ns, told) = (*began_ns, *deadline_ns, *window_ns, *untold);
        if now_ns >= *look_ns {
            *look_ns = now_ns + CLOSE_TICK_NS;
            if now_ns - began_ns >= window_ns {
                // Who publishes has gone; what those who lag still have to get must come to an end.
                self.shared.ring.close();
            }
            let until_ns = self.served_until();
            let is_late = now_ns - began_ns >= window_ns.max(UPGRADE_NS);
            (0..told).for_each(|slot| self.move_on(slot, until_ns, is_late));
        }
        let is_alone = self.clients.open_count() == 0 && (self.shared.is_deserted() || self.shared.ring.is_closed());
        // What was published last is for the host's outlets still.
        let has_more = self.ears.reader.as_ref().is_some_and(|reader| reader.backlog_bytes() > 0);
        if is_alone && !has_more || now_ns >= deadline_ns {
            self.stop();
        }
    }

    /// The latest moment for which everything is read that was published before it.
    fn served_until(&mut self) -> Option<u64> {
        if !self.subscriptions.spread.is_empty() {
            return None;
        }
        let now_ns = self.pace.now_ns;
        let Some(reader) = &self.ears.reader else { return Some(now_ns) };
        let (stands, ends) = (reader.standing(), reader.ahead());
        let is_out = reader.is_passed_over();
        let Ending::Draining { handover: Some(Handover { looked }), .. } = &mut self.pace.ending else { return None };
        if is_out || stands.has_reached(ends) {
            *looked = None;
            return Some(now_ns);
        }
        // It never comes to the end of a busy ring, but it does come by what was the end a while ago.
        match *looked {
            Some((at_ns, ended)) if stands.has_reached(ended) => {
                *looked = Some((now_ns, ends));
                Some(at_ns)
            }
            Some(_) => None,
            None => {
                *looked = Some((now_ns, ends));
                None
            }
        }
    }

    fn move_on(&mut self, slot: u32, until_ns: Option<u64>, is_late: bool) {
        let (phase, is_waiting) = (self.clients[slot].phase, self.clients[slot].flags.is_waiting);
        match phase {
            Phase::Open if !is_waiting && until_ns.is_some_and(|until| self.moment_of(slot) <= until) => {
                self.clients[slot].phase = Phase::Draining;
                self.sender.look_at_all(&mut self.clients[slot], slot);
                self.refresh(slot);
                self.clients.mark_dirty(slot);
            }
            Phase::Draining if self.has_everything(slot) => {
                self.stats.drained += 1;
                self.mark_close(slot, CloseCode::SERVICE_RESTART.to_u16(), RESTART_REASON);
            }
            Phase::Handshake if is_late => self.refuse(slot, &Refusal::unavailable("the server restarts", 1)),
            _ => {}
        }
    }
}
