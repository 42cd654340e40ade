//! What befell cursors while logs changed, handed on to those whom it concerns.

use crate::driver::Driver;
use crate::proto::close::CloseCode;
use crate::shard::Shard;
use crate::shard::clients::Phase;
use crate::shard::lanes::Effect;
use crate::shard::subscriptions::Link;
use crate::types::Priority;
use crate::usdt::{self, DropReason};

/// Why who is closed for being too slow does not get what it had still to get.
const EVICTED: &str = "evicted";

impl<D: Driver> Shard<D> {
    /// Hands on what has befallen cursors. Nothing is sent to their connections before.
    #[inline]
    pub(in crate::shard) fn apply_effects(&mut self) {
        if self.lanes.has_effects() {
            self.apply_each_effect();
        }
    }

    #[cold]
    fn apply_each_effect(&mut self) {
        for effect in self.lanes.take_effects() {
            match effect {
                Effect::Rest { slot, rest } => {
                    self.stats.deliveries += 1;
                    if matches!(self.clients[slot].phase, Phase::Free | Phase::Broken) {
                        rest.pieces.iter().for_each(|piece| self.lanes.rests.give_back(piece));
                    } else {
                        self.clients.take_rest(slot, rest);
                    }
                }
                Effect::Cut { slot } => {
                    self.stats.evicted += u64::from(self.clients[slot].phase != Phase::Broken);
                    self.cut(slot, CloseCode::ABNORMAL.to_u16());
                }
                Effect::Lost { slot, link } => self.on_lost(slot, link),
                Effect::Asleep { slot } => {
                    self.sender.look_at_all(&mut self.clients[slot], slot);
                    self.clients.mark_dirty(slot);
                }
                Effect::Unlogged { stream, messages } => {
                    self.note_drop(usdt::NOBODY, stream, messages.into(), DropReason::NoMemory);
                }
            }
        }
    }

    /// A cursor has lost what its log has forgotten. It may be one that takes nothing more, which nobody looks at.
    fn on_lost(&mut self, slot: u32, link: u32) {
        let &Link { stream, index, .. } = self.subscriptions.link(link);
        let cursors = &self.lanes.stream(stream).cursors;
        let is_in_use = cursors.links.get(index as usize) == Some(&link) && cursors.all[index as usize].slot == slot;
        if !is_in_use {
            return;
        }
        let is_paced = self.subscriptions.terms(link).is_some_and(|terms| terms.interval_ns > 0);
        if self.is_picking(link) && is_paced {
            // Who gets only the newest loses nothing by lagging.
            return;
        }
        self.evict_too_slow(slot, link);
    }

    /// Closes with 1013 a client that has lost what the lane of its cursor `link` must not lose.
    pub(super) fn evict_too_slow(&mut self, slot: u32, link: u32) {
        let &Link { stream: id, index, .. } = self.subscriptions.link(link);
        let stream = self.lanes.stream(id);
        let is_critical = self.lanes.lane(stream.lane).priority == Priority::Critical;
        let (from, end) = (stream.cursors.all[index as usize].position, stream.log.next());
        if from < end && self.clients[slot].is_live() {
            let lost = self.lost_by_lag(id, from, end);
            self.note_loss(slot, id, &lost, EVICTED);
        }
        self.evict(slot, if is_critical { "too slow for critical messages" } else { "too slow" });
    }
}
