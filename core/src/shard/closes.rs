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
