//! Those whose input waits are served when what they wait for is there, each cause in the order of its queue.

use crate::driver::Driver;
use crate::shard::Shard;
use crate::shard::budget::INPUT_UNTIL_NS;
use crate::shard::waiters::{Cause, QUANTUM, Waiter};

/// Connections served of one queue in one turn at most.
const SERVED_PER_TURN: usize = 256;

impl<D: Driver> Shard<D> {
    /// Serves those whose input waits.
    pub(super) fn serve_waiting(&mut self) {
        for cause in Cause::ALL {
            if self.waiters.is_empty(cause) {
                continue;
            }
            self.pace.serves = Some(cause);
            self.serve_queue(cause);
            self.pace.serves = None;
        }
    }

    fn serve_queue(&mut self, cause: Cause) {
        self.begin_input_share();
        for served in 0..self.waiters.len(cause).min(SERVED_PER_TURN) {
            let is_late = served > 0 && !self.has_time_until(INPUT_UNTIL_NS);
            let is_spent = is_late || self.has_had_its_share() || self.pace.work.requests.is_spent();
            let is_blocked = cause == Cause::Host && !self.host.keeps_up(self.rules.events.capacity);
            if is_spent || is_blocked {
                return;
            }
            let Some(mut waiter) = self.waiters.pop(cause) else { return };
            let slot = waiter.slot;
            let conn = &mut self.clients[slot];
            if conn.generation != waiter.generation || !conn.flags.is_waiting {
                continue;
            }
            conn.flags.is_waiting = false;
            let (before, received) = (self.clients[slot].progress(), self.stats.received);
            if cause == Cause::Ring {
                waiter.deficit += if std::mem::take(&mut waiter.goes_on) { 0 } else { QUANTUM };
                if self.needs_bytes(slot) > waiter.deficit {
                    // Its next round.
                    self.clients[slot].flags.is_waiting = true;
                    self.waiters.push(cause, waiter);
                    continue;
                }
                self.pace.ring_credit = Some(waiter.deficit);
            }
            let steps = self.steps_to_here();
            self.retry_input(slot);
            self.note_cost(slot, steps);
            let credit = self.pace.ring_credit.take();
            if let Some(deficit) = credit
                && self.is_interrupted(slot)
                && self.waiters.take_last(cause, slot)
            {
                // The turn's share of input is spent, not its share of the ring.
                self.waiters.push_front(cause, Waiter { deficit, goes_on: true, ..waiter });
                return;
            }
            let has_moved = self.clients[slot].progress() != before || self.stats.received != received;
            if self.clients[slot].flags.is_waiting && !has_moved && matches!(cause, Cause::Ring | Cause::Names) {
                // Its cause is not gone: it keeps its place, and those behind it wait for the same.
                self.restore_place(cause, waiter);
                return;
            }
        }
    }

    /// True if its input waits, though no message of it does.
    fn is_interrupted(&self, slot: u32) -> bool {
        let conn = &self.clients[slot];
        conn.flags.is_waiting && conn.extra.as_ref().is_some_and(|extra| extra.held.is_none())
    }

    /// Bytes of the message that waits.
    fn needs_bytes(&self, slot: u32) -> usize {
        use crate::shard::request::Held;
        match self.clients[slot].extra.as_ref().and_then(|extra| extra.held.as_ref()) {
            Some(Held::Publish(_, payload)) => payload.len(),
            _ => 0,
        }
    }

    /// The waiter that went to the end of its queue just now goes to the front again.
    fn restore_place(&mut self, cause: Cause, mut waiter: crate::shard::waiters::Waiter) {
        if self.waiters.take_last(cause, waiter.slot) {
            if cause == Cause::Ring {
                waiter.deficit -= QUANTUM.min(waiter.deficit);
            }
            self.waiters.push_front(cause, waiter);
        }
    }
}
