//! Job: tokens that are refused from now on, and the end of those who came in by them.
//! Knows: who decides on tokens. Must never know: who asks.

use std::sync::mpsc::sync_channel;

use serde::{Deserialize, Serialize};

use super::Server;
use crate::access::{Attendant, Meant, NAME_BYTES_MAX, Order};
use crate::exit::{Exit, Failure};

/// What a revocation has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Connections that are closed.
    pub closed: usize,
    /// Revocations that there are now.
    pub entries: usize,
    /// They outlive the process.
    pub are_kept: bool,
}

impl Server<'_> {
    /// Refuses these tokens from now on, and closes with 4401 who came in by them.
    ///
    /// # Errors
    /// 2: no token is meant, or nobody decides on tokens. Else as [`crate::access::Revocations::revoke`] says.
    pub fn revoke(&self, meant: Meant) -> Result<Revoked, Failure> {
        let usage = |what: String| Err(Failure::message(Exit::Usage, what));
        if meant == Meant::default() {
            return usage("every token is meant: say of whom, which, or made before when".into());
        }
        if [&meant.sub, &meant.jti].into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX) {
            return usage(format!("a name has at most {NAME_BYTES_MAX} bytes here"));
        }
        let Some(Attendant { orders, .. }) = &self.attendant else {
            return usage("this server asks for no tokens (token.keys_file, token.jwks_url)".into());
        };
        let (done, is_done) = sync_channel(1);
        let _ = orders.send(Order::Revoke { meant, done });
        let ends = |_| Failure::message(Exit::Unavailable, "the server ends already");
        is_done.recv().map_err(ends)?
    }
}

impl Revoked {
    /// All of it for a person.
    pub fn lines(&self) -> Vec<String> {
        let Revoked { closed, entries, are_kept } = self;
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let kept = if *are_kept { "" } else { ", until the server ends: token.revocations_file keeps them" };
        vec![format!("{closed} connection{} closed; {entries} revocation{}{kept}", s(*closed), s(*entries))]
    }
}
