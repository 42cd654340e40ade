//! Job: tokens that are refused from now on, and the end of those who came in by them.
//! Knows: who decides on tokens. Must never know: who asks.

use std::sync::mpsc::sync_channel;

use fanwire_access::{Attendant, Meant, Order, Revoked};

use super::Server;
use crate::exit::{Exit, Failure};

impl Server<'_> {
    /// Refuses these tokens from now on, and closes with 4401 who came in by them.
    ///
    /// # Errors
    /// 2: no token is meant, or nobody decides on tokens. Else as [`fanwire_access::Revocations::revoke`] says.
    pub fn revoke(&self, meant: Meant) -> Result<Revoked, Failure> {
        meant.check()?;
        let Some(Attendant { orders, .. }) = &self.attendant else {
            let what = "this server asks for no tokens (token.keys_file, token.jwks_url)";
            return Err(Failure::message(Exit::Usage, what));
        };
        let (done, is_done) = sync_channel(1);
        let _ = orders.send(Order::Revoke { meant, done });
        let ends = |_| Failure::message(Exit::Unavailable, "the server ends already");
        Ok(is_done.recv().map_err(ends)??)
    }
}
