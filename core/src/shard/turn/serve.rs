//! Gathered sends: the dirty connections in groups, what was sent of each, and what that ends.

use crate::driver::{Driver, SendBatch, Sent, Slot};
use crate::proto::close::CloseCode;
use crate::shard::Shard;
use crate::shard::clients::{HalfSent, Phase};
use crate::shard::lanes::Stream;
use crate::shard::request::Held;
use crate::shard::sender::{BATCH_BYTES, Item, Plan, fill};
use crate::shard::table::NONE;
use crate::shard::waiters::Cause;
use crate::usdt;

/// Connections planned at a time.
const GROUP: usize = 32;

impl<D: Driver> Shard<D> {
    /// Serves the dirty connections, one gathered send each, as far as the budget goes; who has more left goes on the next turn's list.
    pub(super) fn serve_dirty(&mut self) {
        let spare = std::mem::take(&mut self.sender.serving);
        let mut dirty = std::mem::replace(&mut self.clients.dirty, spare);
        let mut served = 0;
        while served < dirty.len() && (served == 0 || self.may_send()) {
            let end = dirty.len().min(served + GROUP);
            self.serve_group(&dirty[served..end]);
            served = end;
        }
        if served < dirty.len() {
            // This turn's list of news ends with it: the others are looked at in full.
            for &slot in &dirty[served..] {
                let conn = &mut self.clients[slot];
                if std::mem::replace(&mut conn.news, NONE) != NONE {
                    self.sender.look_at_all(conn, slot);
                }
            }
            dirty.drain(..served);
            dirty.append(&mut self.clients.dirty);
            std::mem::swap(&mut dirty, &mut self.clients.dirty);
        }
        dirty.clear();
        self.sender.serving = dirty;
    }

    pub(super) fn serve_group(&mut self, group: &[u32]) {
        let mut plans = std::mem::take(&mut self.sender.plans);
        plans.clear();
        for &slot in group {
            self.clients[slot].flags.is_dirty = false;
            let steps = self.steps_to_here();
            match self.plan(slot) {
                Some(plan) => plans.push(plan),
                None => self.after_service(slot),
            }
            self.note_cost(slot, steps);
        }
        let mut first = 0;
        while first < plans.len() {
            let mut next = first;
            let mut results = std::mem::take(&mut self.sender.results);
            let mut batch = SendBatch::new();
            let mut bytes = 0;
            while next < plans.len() && !batch.is_full() && bytes < BATCH_BYTES {
                let plan = &mut plans[next];
                fill(&mut batch, plan, &self.clients[plan.slot], &self.subscriptions, &self.lanes);
                bytes += plan.offered();
                next += 1;
            }
            self.ears.driver.send(&batch, &mut results);
            self.instruments().batch_sends.note(results.len() as u64);
            drop(batch);
            // A plan without a byte took no place in the batch.
            for (plan, &result) in plans[first..next].iter().filter(|p| p.offered() > 0).zip(results.iter()) {
                self.apply(plan, result);
                self.after_service(plan.slot);
            }
            self.sender.results = results;
            first = next;
        }
        self.sender.plans = plans;
    }

    /// Notes what was sent, and how it leaves the connection.
    fn apply(&mut self, plan: &Plan, result: Sent) {
        let slot = plan.slot;
        let mut n = match result {
            Sent::Bytes(n) => n,
            Sent::Blocked => 0,
            Sent::Failed(_) => {
                self.cut(slot, CloseCode::ABNORMAL.to_u16());
                return;
            }
        };
        let (sent, offered) = (n as u64, plan.offered());
        let is_short = n < offered;
        self.pace.work.sends.spend(8 + (n >> 10) as u32);
        self.census.tallies.note(slot, 8 + (n >> 10) as u32, n);
        self.stats.sent_bytes += sent;
        let deliveries_before = self.stats.deliveries;
        let mut last_run = None;
        for (item, &len) in plan.items.iter().zip(&plan.lens) {
            let k = n.min(len);
            n -= k;
            if k > 0 {
                last_run = self.apply_item(slot, item, k).or(last_run);
            }
        }
        let messages = self.stats.deliveries - deliveries_before;
        usdt::send(self.number.into(), slot, sent, offered as u64, messages);
        if is_short && let Some(link) = last_run {
            // Lanes of one priority take turns in being first: the next send begins behind the last lane that got something.
            let priority = self.lanes.lane_of(self.subscriptions.link(link).stream).priority;
            self.subscriptions.of_mut(slot).rings[priority as usize] = link;
        }
        let conn = &mut self.clients[slot];
        if is_short {
            conn.flags.is_blocked = true;
            self.sender.look_at_all(conn, slot);
            self.ears.driver.want_writable(Slot(slot));
        } else if !plan.is_whole {
            // Lanes that were looked at did not all fit.
            self.sender.look_at_all(conn, slot);
            self.clients.mark_dirty(slot);
        } else if conn.flags.must_look || self.has_output(slot) {
            self.clients[slot].flags.must_look = true;
            self.clients.mark_dirty(slot);
        }
    }

    /// Notes that `k` bytes of one piece were sent; returns the link that it belongs to.
    fn apply_item(&mut self, slot: u32, item: &Item, k: usize) -> Option<u32> {
        match *item {
            Item::Rest => self.clients.rest_was_sent(slot, k, &mut self.lanes.rests),
            Item::Control => {
                if let Some(extra) = &mut self.clients[slot].extra {
                    extra.control_was_sent(k);
                }
            }
            Item::Direct | Item::DirectRest => self.clients.direct_was_sent(slot, k),
            Item::Run { link, skips, from, .. } => {
                let (stream, index) = {
                    let link = self.subscriptions.link(link);
                    (link.stream, link.index as usize)
                };
                self.note_passed_over(slot, stream, skips.into());
                let Stream { log, cursors, .. } = self.lanes.stream_mut(stream);
                let is_new = cursors.all[index].sent_bytes() == 0;
                let moved = cursors.place_at(log, index, from + k as u64);
                let is_half_sent = cursors.all[index].sent_bytes() != 0;
                self.stats.deliveries += moved.saturating_sub(skips.into());
                let conn = &mut self.clients[slot];
                if is_half_sent {
                    conn.set_half_sent(HalfSent::Cursor(link));
                } else if conn.half_sent() == HalfSent::Cursor(link) {
                    conn.set_half_sent(HalfSent::Nothing);
                }
                if is_new {
                    self.note_paced(link);
                }
                return Some(link);
            }
        }
        None
    }

    /// True if something waits to be sent apart from what cursors show.
    pub(super) fn has_output(&self, slot: u32) -> bool {
        self.clients[slot].has_output() || self.subscriptions.of(slot).announce_from != NONE
    }

    /// After a connection was served: is anything over?
    fn after_service(&mut self, slot: u32) {
        let conn = &self.clients[slot];
        if conn.phase == Phase::Closing {
            if !conn.has_output() && !conn.flags.is_blocked {
                self.end_closing(slot);
            }
            return;
        }
        if self.end_planned_close(slot) {
            return;
        }
        self.refresh(slot);
        let conn = &self.clients[slot];
        if conn.is_live()
            && !conn.flags.is_waiting
            && let Some(extra) = &conn.extra
            && matches!(extra.held, Some(Held::Message { .. } | Held::Request(_) | Held::Sweep(_)))
            && extra.has_control_room()
        {
            // It has read its answers.
            self.wait_for(slot, Cause::Turn);
        }
    }
}
