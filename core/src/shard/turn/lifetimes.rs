//! Connections that have been open for as long as they may be are closed with 1012: they come back.

use crate::config::nanoseconds;
use crate::driver::Driver;
use crate::proto::close::CloseCode;
use crate::shard::Shard;
use crate::shard::turn::drain::share_of;

/// Connections that end so in one turn at most.
const ENDED_PER_TURN: usize = 256;

impl<D: Driver> Shard<D> {
    /// A connection is upgraded: its time runs. Each has up to a tenth more, or those that came together would come back together.
    pub(super) fn begin_lifetime(&mut self, slot: u32) {
        let lifetime_ns = nanoseconds(self.rules.limits.connection_lifetime);
        if lifetime_ns == 0 {
            return;
        }
        let (now_ns, generation) = (self.pace.now_ns, self.clients[slot].generation);
        let seed = now_ns ^ u64::from(self.number) << 56 ^ u64::from(slot) << 24 ^ u64::from(generation);
        let at_ns = now_ns + lifetime_ns + share_of(lifetime_ns / 10, seed);
        let (clients, open) = (&self.clients, self.clients.open_count() as usize);
        let is_there = |slot: u32, generation: u32| clients[slot].generation == generation && clients[slot].is_live();
        self.admission.lifetimes.begin((at_ns, slot, generation), open, is_there);
    }

    /// Closes those whose time is over.
    pub(super) fn end_lifetimes(&mut self) {
        for _ in 0..ENDED_PER_TURN {
            let Some((slot, generation)) = self.admission.lifetimes.pop(self.pace.now_ns) else { return };
            if self.clients[slot].generation == generation && self.clients[slot].is_listening() {
                self.stats.lifetimes_ended += 1;
                let reason = "open for as long as a connection may be: connect again".to_owned();
                self.close_after_messages(slot, CloseCode::SERVICE_RESTART.to_u16(), reason);
            }
        }
    }
}
