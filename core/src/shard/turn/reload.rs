//! The host has given the engine other settings: from this turn on they hold here.

use crate::config::LimitsConfig;
use crate::driver::Driver;
use crate::shard::Shard;
use crate::shard::clients::Phase;

impl<D: Driver> Shard<D> {
    /// Takes the settings that hold now, if they are others.
    #[inline]
    pub(super) fn look_at_rules(&mut self) {
        if !self.shared.rules.are(&self.rules) {
            self.take_rules();
        }
    }

    /// Most are looked up whenever they matter; what was made out of the others is made anew: one look at each connection, or log.
    #[cold]
    fn take_rules(&mut self) {
        let before = std::mem::replace(&mut self.rules, self.shared.rules.take());
        let (old, new) = (&before.limits, &self.rules.limits);
        let silence = |limits: &LimitsConfig| (limits.ping_every, limits.idle_timeout, limits.message_timeout);
        let is_other_silence = silence(old) != silence(new);
        if before.compression.threshold_bytes != self.rules.compression.threshold_bytes {
            self.lanes.compress_from(self.rules.compression.threshold_bytes);
        }
        self.admission.senders.take_rules(new);
        // All shards say the same.
        self.shared.counted.addresses.take_rules(new);
        self.shared.counted.subjects.take_rules(new);
        if is_other_silence {
            for slot in 0..self.clients.slots() {
                let conn = &self.clients[slot];
                if conn.phase == Phase::Open && conn.is_listening() {
                    self.clients.wheel.disarm(slot);
                    self.arm_liveness(slot);
                }
            }
        }
    }
}
