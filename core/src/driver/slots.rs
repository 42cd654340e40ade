//! Numbers of connections' slots: which are free, and which have work to do.
//!
//! Both cost what is in use and what waits, not what there could be. Must never know sockets.

use std::collections::VecDeque;

/// Slots of a queue for which there is room from the start.
const QUEUE_ROOM: u32 = 256;

/// The free ones of a fixed number of slots. What was given back last is used first, so that memory already touched is used again.
#[derive(Debug)]
pub struct FreeSlots {
    returned: Vec<u32>,
    /// The first that was never used: it and all above it are free.
    fresh: u32,
    slots: u32,
}

impl FreeSlots {
    /// Slots 0 to `slots` - 1, all free.
    pub fn new(slots: u32) -> Self {
        FreeSlots { returned: Vec::new(), fresh: 0, slots }
    }

    /// A free slot: the lowest that was never used, where none was given back.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(slot) = self.returned.pop() {
            return Some(slot);
        }
        (self.fresh < self.slots).then(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }

    /// Takes a slot back.
    pub fn put(&mut self, slot: u32) {
        self.returned.push(slot);
    }

    /// Slots not free.
    pub fn in_use(&self) -> u32 {
        self.fresh - self.returned.len() as u32
    }

    /// True if none is free.
    pub fn is_empty(&self) -> bool {
        self.in_use() == self.slots
    }
}

/// Slots with something to do, first come first served, each at most once: so its memory is bounded.
#[derive(Debug)]
pub struct SlotQueue {
    queue: VecDeque<u32>,
    /// One bit a slot.
    queued: Box<[u64]>,
}

impl SlotQueue {
    /// Room for `slots` slots.
    pub fn new(slots: u32) -> Self {
        SlotQueue {
            queue: VecDeque::with_capacity(slots.min(QUEUE_ROOM) as usize),
            queued: vec![0; slots.div_ceil(u64::BITS) as usize].into_boxed_slice(),
        }
    }

    /// Appends `slot` unless it is queued already.
    pub fn push(&mut self, slot: u32) {
        let (word, bit) = place(slot);
        if self.queued[word] & bit == 0 {
            self.queued[word] |= bit;
            self.queue.push_back(slot);
        }
    }

    /// The slot that waited longest. It may have been closed, or closed and reused, since it was queued.
    pub fn pop(&mut self) -> Option<u32> {
        let slot = self.queue.pop_front()?;
        let (word, bit) = place(slot);
        self.queued[word] &= !bit;
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

fn place(slot: u32) -> (usize, u64) {
    ((slot / u64::BITS) as usize, 1 << (slot % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_queued_slot_leaves_its_neighbours_alone() {
        let mut queue = SlotQueue::new(130);
        for slot in [0, 63, 64, 128, 129, 64] {
            queue.push(slot);
        }
        assert_eq!(queue.pop(), Some(0));
        queue.push(0);
        queue.push(63);
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [63, 64, 128, 129, 0]);
    }

    #[test]
    fn slots_are_used_from_the_lowest_on_and_again_as_soon_as_they_are_free() {
        let mut free = FreeSlots::new(3);
        assert_eq!([free.take(), free.take()], [Some(0), Some(1)]);
        free.put(0);
        assert_eq!((free.in_use(), free.is_empty()), (1, false));
        assert_eq!([free.take(), free.take(), free.take()], [Some(0), Some(2), None]);
        assert_eq!((free.in_use(), free.is_empty()), (3, true));
        for slot in [1, 0, 2] {
            free.put(slot);
        }
        assert_eq!([free.take(), free.take(), free.take(), free.take()], [Some(2), Some(0), Some(1), None]);
    }
}
