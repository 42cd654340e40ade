//! Which connections keep their expanded key: those that send again and again. Others make it anew for each send.
//!
//! Knows slots and times. Must never know what is sealed.

use std::collections::VecDeque;

use super::session::Session;
use super::session_of;
use crate::driver::Slot;

/// Who sends twice within this time keeps the key, and loses it when it has not sent for as long.
pub(super) const KEPT_NS: u64 = 2_000_000_000;
/// Times are rounded up to this, so that many are looked at in one turn.
const GRAIN_NS: u64 = 1 << 28;
/// Connections looked at in one turn at most.
pub(super) const LOOKED_AT_PER_TURN: usize = 256;

/// Connections with a key that is kept, by the time at which they are looked at.
#[derive(Debug, Default)]
pub(super) struct HotKeys {
    due: VecDeque<(u64, Slot)>,
}

impl HotKeys {
    /// This connection is about to send.
    pub fn on_seal(&mut self, slot: Slot, session: &mut Session, now_ns: u64) {
        let sent_before = session.sealed_ns;
        session.sealed_ns = now_ns;
        let Some(connection) = session.connection() else { return };
        if connection.keeps_key() || sent_before == 0 || now_ns >= sent_before + KEPT_NS {
            return;
        }
        connection.keep_key();
        session.looked_at_ns = due(now_ns);
        self.due.push_back((session.looked_at_ns, slot));
    }

    /// Takes the keys from those that have not sent for long.
    pub fn forget_idle(&mut self, sessions: &mut [Option<Box<Session>>], now_ns: u64) {
        for _ in 0..LOOKED_AT_PER_TURN {
            let Some((at_ns, slot)) = self.due.pop_front_if(|(at_ns, _)| *at_ns <= now_ns) else { return };
            // Else it is another connection's slot now.
            let Some(session) = session_of(sessions, slot).filter(|session| session.looked_at_ns == at_ns) else {
                continue;
            };
            if session.sealed_ns + KEPT_NS > now_ns {
                session.looked_at_ns = due(session.sealed_ns.max(now_ns - KEPT_NS / 2));
                self.due.push_back((session.looked_at_ns, slot));
            } else if let Some(connection) = session.connection() {
                connection.forget_key();
            }
        }
    }

    /// So many of which nobody has a key are looked at then.
    #[cfg(test)]
    pub fn wait_for(&mut self, at_ns: u64, count: usize) {
        self.due.extend((0..count as u32).map(|slot| (at_ns, Slot(slot))));
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// When the next one is looked at.
    pub fn next_ns(&self) -> Option<u64> {
        self.due.front().map(|(at_ns, _)| *at_ns)
    }
}

fn due(sealed_ns: u64) -> u64 {
    (sealed_ns + KEPT_NS).next_multiple_of(GRAIN_NS)
}
