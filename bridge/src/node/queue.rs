//! A queue that is bounded by bytes: the most important first, and where there is no room, the oldest of the least important goes.

use std::collections::VecDeque;

use fanwire::Priority;

const PRIORITIES: usize = Priority::ALL.len();

/// See the module's head. `T` says how many bytes it counts for.
#[derive(Debug)]
pub struct Bounded<T> {
    lanes: [VecDeque<(usize, T)>; PRIORITIES],
    bytes: usize,
    bytes_max: usize,
}

impl<T> Bounded<T> {
    /// An empty one.
    pub fn new(bytes_max: usize) -> Self {
        Self { lanes: Default::default(), bytes: 0, bytes_max }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds one. What has to go for it is given to `on_lost`; that may be itself.
    pub fn push(&mut self, priority: Priority, bytes: usize, item: T, mut on_lost: impl FnMut(T)) {
        if bytes > self.bytes_max {
            return on_lost(item);
        }
        while self.bytes + bytes > self.bytes_max {
            let least = (priority as usize..PRIORITIES).rev().find(|&lane| !self.lanes[lane].is_empty());
            // Nothing is left that is less important.
            let Some(oldest) = least.and_then(|lane| self.take(lane)) else { return on_lost(item) };
            on_lost(oldest);
        }
        self.bytes += bytes;
        self.lanes[priority as usize].push_back((bytes, item));
    }

    /// Puts back what was taken last.
    pub fn put_back(&mut self, priority: Priority, bytes: usize, item: T) {
        self.bytes += bytes;
        self.lanes[priority as usize].push_front((bytes, item));
    }

    /// The oldest of the most important, of these priorities.
    pub fn pop(&mut self, priorities: std::ops::RangeInclusive<Priority>) -> Option<T> {
        let (first, last) = (*priorities.start() as usize, *priorities.end() as usize);
        (first..=last).find_map(|lane| self.take(lane))
    }

    fn take(&mut self, lane: usize) -> Option<T> {
        let (bytes, item) = self.lanes[lane].pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: std::ops::RangeInclusive<Priority> = Priority::Critical..=Priority::Low;

    const NONE: [u32; 0] = [];

    fn push(queue: &mut Bounded<u32>, priority: Priority, bytes: usize, item: u32) -> Vec<u32> {
        let mut lost = Vec::new();
        queue.push(priority, bytes, item, |item| lost.push(item));
        lost
    }

    #[test]
    fn the_most_important_comes_first_and_lanes_keep_their_order() {
        let mut queue = Bounded::new(100);
        for (item, priority) in [(1, Priority::Low), (2, Priority::Critical), (3, Priority::Low), (4, Priority::High)] {
            assert_eq!(push(&mut queue, priority, 1, item), NONE);
        }
        assert_eq!(queue.pop(Priority::High..=Priority::Low), Some(4));
        queue.put_back(Priority::High, 1, 4);
        let all: Vec<u32> = std::iter::from_fn(|| queue.pop(ALL)).collect();
        assert_eq!((all, queue.bytes()), (vec![2, 4, 1, 3], 0));
    }

    #[test]
    fn a_full_queue_holds_its_limit_and_one_more_costs_the_oldest_of_the_least_important() {
        let mut queue = Bounded::new(10);
        assert_eq!(push(&mut queue, Priority::Low, 4, 1), NONE);
        assert_eq!(push(&mut queue, Priority::Normal, 3, 2), NONE);
        assert_eq!(push(&mut queue, Priority::Low, 3, 3), NONE, "at the limit");
        assert_eq!(push(&mut queue, Priority::Critical, 1, 4), [1]);
        assert_eq!(push(&mut queue, Priority::Normal, 7, 5), [3, 2]);
        assert_eq!((push(&mut queue, Priority::Low, 3, 6), queue.bytes()), (vec![6], 8), "all else is more important");
        assert_eq!(push(&mut queue, Priority::Critical, 9, 7), [5]);
        assert_eq!(push(&mut queue, Priority::Critical, 10, 8), [4, 7]);
        assert_eq!(push(&mut queue, Priority::Critical, 11, 9), [9], "larger than all of the room");
        assert_eq!((queue.bytes(), queue.pop(ALL), queue.pop(ALL)), (10, Some(8), None));
    }
}
