//! What befell cursors while logs changed, handed on to those whom it concerns.

use crate::driver::Driver;
use crate::proto::close::CloseCode;
use crate::shard::Shard;
use crate::shard::clients::Phase;
use crate::shard::lanes::Effect;
use crate::usdt::{self, DropReason};

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
                Effect::LostCritical { slot } => self.evict(slot, "too slow for critical messages"),
                Effect::Asleep { slot } => {
                    self.sender.look_at_all(&mut self.clients[slot], slot);
                    self.clients.mark_dirty(slot);
                }
                Effect::Unlogged { stream, messages } => {
                    self.probe_drop(usdt::NOBODY, stream, messages.into(), DropReason::NoMemory);
                }
            }
        }
    }
}
