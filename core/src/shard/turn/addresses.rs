//! What is counted for a client's address, and what it is told where that is too much.

use crate::driver::Driver;
use crate::origin;
use crate::proto::handshake::Refusal;
use crate::proto::request::Request;
use crate::shard::Shard;
use crate::shard::admission::{Site, TurnedAway};
use crate::shard::turn::upgrade::RETRY_AFTER_S;

impl<D: Driver> Shard<D> {
    /// Counts a connection for its client's address: the one place where that is said. Whoever learns the address later than at accept,
    /// as behind a proxy, calls this then and not before, so that nothing is ever counted for a proxy.
    ///
    /// # Errors
    /// The address has all that it may have: the answer.
    pub(super) fn count_address(&mut self, slot: u32, site: Site) -> Result<(), Refusal> {
        match self.shared.counted.addresses.enter(site, self.pace.now_ns) {
            Ok(place) => {
                self.admission.keep_place(slot, place);
                Ok(())
            }
            Err(TurnedAway::Full) => {
                self.stats.refused_for_address += 1;
                Err(Refusal::too_many("too many connections from this address", RETRY_AFTER_S))
            }
            Err(TurnedAway::TooOften { wait_ns }) => {
                self.stats.refused_too_often += 1;
                Err(Refusal::too_many("this address comes too often", seconds(wait_ns)))
            }
            Err(TurnedAway::Failing { wait_ns }) => {
                self.stats.refused_failing += 1;
                Err(Refusal::too_many("too many requests from this address have failed", seconds(wait_ns)))
            }
        }
    }

    /// A connection is counted for its address no more.
    pub(super) fn uncount_address(&mut self, slot: u32) {
        self.shared.counted.addresses.leave(self.admission.take_place(slot), self.pace.now_ns);
    }

    /// Answers an upgrade request with a refusal and closes. Where the client is to blame, its address has failed once more.
    pub(super) fn refuse_upgrade(&mut self, slot: u32, refusal: &Refusal) {
        self.stats.upgrades_refused += 1;
        if (400..500).contains(&refusal.status) && refusal.status != 429 {
            self.note_failed_upgrade(slot);
        }
        self.refuse(slot, refusal);
    }

    /// The same for what a page of another site has had its reader's browser ask for: its reader is not to blame, and is not to be
    /// locked out by whatever page comes along.
    pub(super) fn refuse_page(&mut self, slot: u32, refusal: &Refusal) {
        self.stats.upgrades_refused += 1;
        self.refuse(slot, refusal);
    }

    /// Whether that is so. A page cannot choose these headers; whoever else sends them is refused before any token is looked at.
    pub(super) fn is_of_a_page(&self, head: &[u8], refusal: &Refusal) -> bool {
        let Ok(request) = Request::parse(head) else { return false };
        let origins = &self.rules.access.allowed_origins;
        match request.origin() {
            Some(origin) => !origins.is_empty() && !origin::is_allowed(origin, origins),
            // What is no WebSocket: an image, a script.
            None => matches!(refusal.status, 404 | 405 | 426) && request.lines("Sec-Fetch-Site").next().is_some(),
        }
    }

    /// A client did not bring its upgrade about.
    pub(super) fn note_failed_upgrade(&mut self, slot: u32) {
        if self.shared.counted.addresses.on_failure(self.admission.place(slot), self.pace.now_ns) {
            self.stats.addresses_failing += 1;
        }
    }
}

/// Whole seconds, rounded up, for `Retry-After`.
fn seconds(wait_ns: u64) -> u32 {
    u32::try_from(wait_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_to_wait_is_never_told_too_short_a_time() {
        for (wait_ns, told) in [(1, 1), (999_999_999, 1), (1_000_000_000, 1), (1_000_000_001, 2), (60_000_000_000, 60)]
        {
            assert_eq!(seconds(wait_ns), told, "{wait_ns}");
        }
        assert_eq!(seconds(u64::MAX), u32::MAX);
    }
}
