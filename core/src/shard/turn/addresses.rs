//! What is counted for a client's address, and what it is told where that is too much.

use crate::driver::Driver;
use crate::origin;
use crate::proto::handshake::Refusal;
use crate::proto::request::Request;
use crate::shard::Shard;
use crate::shard::admission::{By, Site, TurnedAway};
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
        self.refuse_by(slot, refusal, Some(By::Client));
    }

    /// The same for who is to blame; `None`: nobody.
    pub(super) fn refuse_by(&mut self, slot: u32, refusal: &Refusal, blame: Option<By>) {
        self.stats.upgrades_refused += 1;
        if let Some(by) = blame
            && (400..500).contains(&refusal.status)
            && refusal.status != 429
        {
            self.note_failed_upgrade(slot, by);
        }
        self.refuse(slot, refusal);
    }

    /// Who is to blame if this request fails. No reader is to be locked out by whatever page comes along: a page has a browser ask
    /// for images, which are no WebSockets, and for WebSockets, with an origin that it cannot choose. Where there is a list of
    /// origins, what others ask for is refused before any token is looked at. Else it may be anything, so it is counted by itself.
    pub(super) fn blame(&self, head: &[u8]) -> Option<By> {
        if !self.shared.counted.addresses.counts_failures() {
            return Some(By::Client);
        }
        let Ok(request) = Request::parse(head) else { return Some(By::Client) };
        let origins = &self.rules.access.allowed_origins;
        match request.origin() {
            Some(origin) if !origins.is_empty() => origin::is_allowed(origin, origins).then_some(By::Client),
            Some(origin) if origin::is_of_host(origin, request.host().unwrap_or_default()) => Some(By::Client),
            Some(_) => Some(By::Page),
            None => request.header("Sec-WebSocket-Key").is_some().then_some(By::Client),
        }
    }

    /// Lets a whole request in that a page of another site may have brought about, or answers it. False: it was answered.
    pub(super) fn admit_page(&mut self, slot: u32) -> bool {
        let extra = self.clients.extra(slot);
        let len = extra.handshake.as_ref().map_or(0, |handshake| handshake.request_len);
        let inbox = std::mem::take(&mut extra.inbox);
        let blame = self.blame(&inbox[..len]);
        self.clients.extra(slot).inbox = inbox;
        if blame != Some(By::Page) {
            return true;
        }
        match self.shared.counted.addresses.enter_page(self.admission.place(slot), self.pace.now_ns) {
            Ok(()) => true,
            Err(wait_ns) => {
                self.stats.refused_failing += 1;
                let what = "too many requests of pages from this address have failed";
                self.refuse_by(slot, &Refusal::too_many(what, seconds(wait_ns)), blame);
                false
            }
        }
    }

    /// A client did not bring its upgrade about.
    pub(super) fn note_failed_upgrade(&mut self, slot: u32, by: By) {
        if self.shared.counted.addresses.on_failure(self.admission.place(slot), by, self.pace.now_ns) {
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
