//! The one door to a connection's end: marked by any part, opened at the end of the turn, in the order marked.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::clients::{Conn, Phase};

/// How a connection is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// In good order: what is half sent is finished, a close frame follows.
    Frame {
        /// Close code.
        code: u16,
        /// Its reason.
        reason: Cow<'static, str>,
    },
    /// At once: nothing more can be sent.
    Cut,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Closes {
    marked: Vec<(u32, How)>,
    /// Connections whose subscriptions are being taken down.
    pub leaving: VecDeque<u32>,
}

/// What the ends of a connection take here at most, marked and cut off at once; lists grow by doubling.
pub const CLOSING_BYTES: usize = 2 * (2 * size_of::<(u32, How)>() + size_of::<u32>());

impl Closes {
    /// Marks a connection to be closed with a close frame. False: it is ending already, or was never open.
    pub fn mark(&mut self, conn: &mut Conn, slot: u32, code: u16, reason: Cow<'static, str>) -> bool {
        if !conn.is_live() {
            return false;
        }
        conn.phase = Phase::Marked;
        self.marked.push((slot, How::Frame { code, reason }));
        true
    }

    /// Marks a connection to be cut off; the host is told `code`. False: it is gone already.
    pub fn cut(&mut self, conn: &mut Conn, slot: u32, code: u16) -> bool {
        if matches!(conn.phase, Phase::Free | Phase::Broken) {
            return false;
        }
        conn.phase = Phase::Broken;
        conn.close_code = code;
        self.marked.push((slot, How::Cut));
        true
    }

    /// Those that are marked, in order.
    pub fn take(&mut self) -> Vec<(u32, How)> {
        std::mem::take(&mut self.marked)
    }

    /// Gives the list's memory back.
    pub fn give_back(&mut self, mut list: Vec<(u32, How)>) {
        if self.marked.is_empty() {
            list.clear();
            self.marked = list;
        }
    }

    /// True if some are marked.
    pub fn has_marked(&self) -> bool {
        !self.marked.is_empty()
    }

    /// True if nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.marked.is_empty() && self.leaving.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::clients::Clients;
    use super::*;

    fn open(phase: Phase) -> Clients {
        let mut clients = Clients::new(0, 1, 0);
        clients.open(0, 0);
        clients[0].phase = phase;
        clients
    }

    #[test]
    fn a_connection_ends_once_and_may_still_be_cut_off_before_its_end_has_begun() {
        let (mut clients, mut closes) = (open(Phase::Open), Closes::default());
        assert!(closes.is_empty() && !closes.has_marked());
        assert!(closes.mark(&mut clients[0], 0, 1000, "bye".into()));
        assert!(!closes.mark(&mut clients[0], 0, 1013, "later".into()), "the first word holds");
        assert!(closes.cut(&mut clients[0], 0, 1006));
        assert!(!closes.cut(&mut clients[0], 0, 1011));
        assert!(!closes.mark(&mut clients[0], 0, 1000, "".into()));
        assert_eq!((clients[0].phase, clients[0].close_code), (Phase::Broken, 1006));
        let marked = closes.take();
        assert_eq!(marked, [(0, How::Frame { code: 1000, reason: "bye".into() }), (0, How::Cut)]);
        assert!(closes.is_empty());
        let room = marked.capacity();
        closes.give_back(marked);
        assert!(closes.is_empty() && closes.marked.capacity() == room, "the memory is used again");
    }

    #[test]
    fn only_who_is_upgraded_gets_a_close_frame_and_who_is_gone_gets_nothing() {
        for (phase, may_mark, may_cut) in [
            (Phase::Free, false, false),
            (Phase::Handshake, false, true),
            (Phase::Open, true, true),
            (Phase::Draining, true, true),
            (Phase::Marked, false, true),
            (Phase::Closing, false, true),
            (Phase::Lingering, false, true),
            (Phase::Broken, false, false),
        ] {
            let mut closes = Closes::default();
            assert_eq!(closes.mark(&mut open(phase)[0], 0, 1000, "".into()), may_mark, "{phase:?}");
            assert_eq!(closes.cut(&mut open(phase)[0], 0, 1006), may_cut, "{phase:?}");
            closes.leaving.push_back(0);
            assert!(!closes.is_empty());
        }
    }
}
