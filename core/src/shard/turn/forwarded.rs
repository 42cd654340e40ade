//! Whose a request is that a trusted proxy has brought.

use std::net::SocketAddr;

use crate::driver::Driver;
use crate::proto::forwarded;
use crate::proto::request::Request;
use crate::shard::Shard;
use crate::shard::admission::Site;

impl<D: Driver> Shard<D> {
    /// A request is complete. Where a trusted proxy has brought it, the connection is its client's from here on: what is
    /// counted for an address is counted for the client's, and the host is told of that. Nothing was counted for the proxy.
    ///
    /// False: the client's address has all that it may have, and the request is answered.
    pub(super) fn learn_client(&mut self, slot: u32) -> bool {
        let extra = self.clients.extra(slot);
        let Some(handshake) = &mut extra.handshake else { return false };
        if !handshake.is_brought {
            return true;
        }
        let rules = &self.rules;
        let head = &extra.inbox[..handshake.request_len];
        self.pace.work.input.spend((head.len() / 16 + rules.access.trusted_proxies.len()) as u32);
        // What cannot be parsed is refused later, and is the proxy's own.
        let client = Request::parse(head)
            .ok()
            .and_then(|request| forwarded::client(request.lines("X-Forwarded-For"), |address| rules.trusts(address)));
        if let Some(client) = client {
            // Its port is not told.
            handshake.peer = Some(SocketAddr::new(client, 0));
        }
        let peer = handshake.peer;
        if client.is_some()
            && let Some(goes) = self.admission.pending.admit(slot, peer, self.pace.now_ns)
        {
            self.displace(goes);
        }
        let counted = self.count_address(slot, Site::of(peer));
        if let Err(refusal) = &counted {
            self.stats.refused += 1;
            self.refuse(slot, refusal);
        }
        counted.is_ok()
    }
}
