//! The few highest of many, found while they are walked: bounded, each looked at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The `most` highest that were offered.
#[derive(Debug)]
pub struct Top<T> {
    most: usize,
    /// The lowest of them is on top.
    heap: BinaryHeap<Reverse<T>>,
}

impl<T: Ord> Top<T> {
    /// None yet.
    pub fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    /// One more.
    pub fn offer(&mut self, one: T) {
        if self.heap.len() < self.most {
            self.heap.push(Reverse(one));
        } else if let Some(mut lowest) = self.heap.peek_mut()
            && lowest.0 < one
        {
            *lowest = Reverse(one);
        }
    }

    /// Takes all, the highest first.
    pub fn take(&mut self) -> Vec<T> {
        let mut all: Vec<_> = self.heap.drain().map(|Reverse(one)| one).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_kept_in_order() {
        let mut top = Top::new(3);
        for (of, key) in [5, 1, 9, 9, 2, 7, 0].into_iter().enumerate() {
            top.offer((key, of));
        }
        assert_eq!(top.take(), [(9, 3), (9, 2), (7, 5)]);
        assert!(top.take().is_empty());
        let mut none = Top::new(0);
        none.offer(1);
        assert!(none.take().is_empty());
    }
}
