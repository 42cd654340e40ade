//! What is to be sent: the plan of a connection's gathered send, and the lists of a turn.
//!
//! Knows pieces of memory by where they stand. Never knows why something is sent; the turn plans, and this fills batches.

mod plan;

use std::collections::HashMap;

pub use plan::{Item, Plan, fill};

use super::clients::Conn;
use crate::driver::SendResults;
use crate::shard::table::NONE;

/// Bytes of one send at most: what arrives meanwhile rides the next.
pub const SEND_BYTES_MAX: usize = 64 << 10;
/// Bytes of one batch of sends, from which on no more are added to it: the kernel takes some microseconds for each 16 KiB.
pub const BATCH_BYTES: usize = 256 << 10;
/// Lanes of one connection that are looked at in one turn at most, beyond those that have news.
pub const LOOKS_PER_TURN: u32 = 256;

/// See the module's head.
#[derive(Default)]
pub struct Sender {
    /// This turn's news, a ring for each connection: (link, next position).
    pub news: Vec<(u32, u32)>,
    /// Plans of the group that is being served.
    pub plans: Vec<Plan>,
    /// Results of its batch.
    pub results: SendResults,
    /// Connections that are being served.
    pub serving: Vec<u32>,
    /// Links whose moment has come, of the batch that is being served.
    pub due: Vec<u32>,
    /// Of connections with more lanes than are looked at in a turn: how far that has come.
    pub looks: HashMap<u32, Looks>,
}

/// A round over all lanes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Lanes of each priority that are still to be looked at in this round.
    pub left: [u32; 4],
    /// There is to be another round. It does not begin before this one has come to all: else lanes of a high priority, each looked at
    /// again and again, would keep those of a low one from their turn.
    pub again: bool,
}

impl Looks {
    /// A round over so many lanes.
    pub fn round(lanes: u32) -> Self {
        Self { left: [lanes; 4], again: false }
    }
}

impl Sender {
    /// Puts a link with news on its connection's list of this turn. True: the connection is to be put on the dirty list.
    pub fn note_news(&mut self, conn: &mut Conn, link: u32) -> bool {
        if conn.flags.is_blocked || !conn.is_live() {
            conn.flags.must_look = true;
            return false;
        }
        let position = self.news.len() as u32;
        let first = match conn.news {
            NONE => position,
            last => std::mem::replace(&mut self.news[last as usize].1, position),
        };
        self.news.push((link, first));
        conn.news = position;
        !std::mem::replace(&mut conn.flags.is_dirty, true)
    }

    /// The link behind a place in a connection's ring, and the place to go on from: none behind the last.
    pub fn news_behind(&self, before: u32, last: u32) -> (u32, u32) {
        let position = self.news[before as usize].1;
        (self.news[position as usize].0, if position == last { NONE } else { position })
    }

    /// All lanes of a connection are to be looked at.
    pub fn look_at_all(&mut self, conn: &mut Conn, slot: u32) {
        conn.flags.must_look = true;
        if !self.looks.is_empty()
            && let Some(looks) = self.looks.get_mut(&slot)
        {
            looks.again = true;
        }
    }

    /// Forgets how far the looking has come.
    pub fn forget(&mut self, slot: u32) {
        if !self.looks.is_empty() {
            self.looks.remove(&slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clients::{Clients, Phase};
    use super::*;

    #[test]
    fn each_connection_has_its_news_in_order_and_is_listed_once() {
        let (mut clients, mut sender) = (Clients::new(0, 4, 0), Sender::default());
        for slot in 0..2 {
            clients.open(slot, 0);
            clients[slot].phase = Phase::Open;
        }
        for (slot, link, is_first) in [(0, 7, true), (1, 8, true), (0, 9, false), (0, 3, false)] {
            assert_eq!(sender.note_news(&mut clients[slot], link), is_first);
        }
        let links = |last: u32| {
            let (mut found, mut before) = (Vec::new(), last);
            while before != NONE {
                let (link, next) = sender.news_behind(before, last);
                found.push(link);
                before = next;
            }
            found
        };
        assert_eq!((links(clients[0].news), links(clients[1].news)), (vec![7, 9, 3], vec![8]));
        clients[1].flags.is_blocked = true;
        assert!(!sender.note_news(&mut clients[1], 5) && clients[1].flags.must_look);
    }
}
