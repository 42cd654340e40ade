//! The receiving side of one connection, as both real drivers keep it, and the queue of those with work to do.
//!
//! Both kernels report readiness by edges: an edge that was reported and not acted upon must be remembered here, or
//! the connection falls silent. Must never know how readiness is learned or how bytes are read.

use std::collections::VecDeque;

/// What is known of a connection's receiving side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inlet {
    /// Bytes, end or error may wait in the socket.
    readable: bool,
    /// The peer has sent its FIN, or the connection failed: read until the kernel says so.
    hangup: bool,
    /// The shard wants no more for now.
    paused: bool,
    /// The end was reported: nothing more ever will be.
    ended: bool,
}

impl Inlet {
    /// Readiness was reported. True if there is reading to do now.
    pub fn on_ready(&mut self, hangup: bool) -> bool {
        self.readable = true;
        self.hangup |= hangup;
        self.wants_read()
    }

    /// True if a read should be tried.
    pub fn wants_read(&self) -> bool {
        self.readable && !self.paused && !self.ended
    }

    /// A read is about to be tried. What becomes ready from now on is new: it counts even if the kernel reports it while the
    /// read is under way.
    pub fn on_read_begin(&mut self) {
        self.readable = false;
    }

    /// A read returned bytes. `more` says that the kernel had more than the buffer took, or may have had. True if
    /// there is reading to do.
    pub fn on_bytes(&mut self, more: bool) -> bool {
        // After a hangup no further edge may come, so that only the end itself ends the reading.
        self.readable |= more || self.hangup;
        self.wants_read()
    }

    /// A read found nothing: the next edge will tell.
    pub fn on_nothing(&mut self) {
        // A hangup that has nothing to read was not one (or will be told again); not to spin matters more.
        self.hangup = false;
    }

    /// A read found the end or an error. True the first time, which is when it is to be reported.
    pub fn on_end(&mut self) -> bool {
        !std::mem::replace(&mut self.ended, true)
    }

    /// True once the end was reported.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Stops reading.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on reading. True if there is reading to do now.
    pub fn resume(&mut self) -> bool {
        self.paused = false;
        self.wants_read()
    }
}

/// Slots with something to do, first come first served, each at most once: so its memory is fixed.
#[derive(Debug)]
pub struct SlotQueue {
    queue: VecDeque<u32>,
    queued: Box<[bool]>,
}

impl SlotQueue {
    /// Room for `slots` slots.
    pub fn new(slots: u32) -> Self {
        SlotQueue {
            queue: VecDeque::with_capacity(slots as usize),
            queued: vec![false; slots as usize].into_boxed_slice(),
        }
    }

    /// Appends `slot` unless it is queued already.
    pub fn push(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.queued[slot as usize], true) {
            self.queue.push_back(slot);
        }
    }

    /// The slot that waited longest. It may have been closed, or closed and reused, since it was queued.
    pub fn pop(&mut self) -> Option<u32> {
        let slot = self.queue.pop_front()?;
        self.queued[slot as usize] = false;
        Some(slot)
    }

    /// Slots queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if none is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_during_a_read_is_not_lost() {
        let mut inlet = Inlet::default();
        assert!(inlet.on_ready(false));
        inlet.on_read_begin();
        assert!(!inlet.wants_read());
        assert!(inlet.on_ready(false));
        assert!(inlet.on_bytes(false));
    }

    #[test]
    fn a_short_read_ends_reading_unless_the_peer_hung_up() {
        let mut inlet = Inlet::default();
        inlet.on_ready(false);
        inlet.on_read_begin();
        assert!(!inlet.on_bytes(false));
        inlet.on_ready(true);
        inlet.on_read_begin();
        assert!(inlet.on_bytes(false));
        inlet.on_read_begin();
        assert!(inlet.on_end());
        assert!(!inlet.on_end());
        assert!(!inlet.on_ready(true));
    }

    #[test]
    fn what_arrives_while_paused_is_read_on_resume() {
        let mut inlet = Inlet::default();
        inlet.pause();
        assert!(!inlet.on_ready(false));
        assert!(inlet.resume());
        inlet.on_read_begin();
        inlet.on_nothing();
        inlet.pause();
        assert!(!inlet.resume());
    }

    #[test]
    fn a_slot_is_queued_once_and_served_in_order() {
        let mut queue = SlotQueue::new(3);
        for slot in [2, 0, 2, 1, 0] {
            queue.push(slot);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [Some(2), Some(0), Some(1), None]);
        queue.push(2);
        assert!(!queue.is_empty());
    }
}
