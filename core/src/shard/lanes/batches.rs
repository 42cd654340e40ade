//! Batches that are open: when each is to be closed, and memory to write them in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::encoder::SCRATCH_KEPT;

/// Buffers kept.
const SPARE_MAX: usize = 1_024;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Batches {
    /// When, and which stream's. May name batches that are closed already.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    spare: Vec<Vec<u8>>,
}

impl Batches {
    /// Memory for a batch that opens and is to be closed then.
    pub fn open(&mut self, stream: u32, due_ns: u64) -> Vec<u8> {
        self.due.push(Reverse((due_ns, stream)));
        self.spare.pop().unwrap_or_default()
    }

    /// A batch is closed, and its memory free.
    pub fn close(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        if bytes.capacity() <= SCRATCH_KEPT && self.spare.len() < SPARE_MAX {
            self.spare.push(bytes);
        }
    }

    /// When the next open batch is to be closed.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// A batch whose time has come: when that was, and its stream.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<(u64, u32)> {
        let &Reverse((due, stream)) = self.due.peek()?;
        if due > now_ns {
            return None;
        }
        self.due.pop();
        Some((due, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_due_in_the_order_of_their_times() {
        let mut batches = Batches::default();
        for (stream, due) in [(1, 30), (2, 10), (3, 20)] {
            batches.open(stream, due);
        }
        assert_eq!(batches.next_due_ns(), Some(10));
        assert_eq!(batches.pop_due(20), Some((10, 2)));
        assert_eq!(batches.pop_due(20), Some((20, 3)));
        assert_eq!(batches.pop_due(29), None);
        assert_eq!(batches.next_due_ns(), Some(30));
    }

    #[test]
    fn memory_is_used_again_unless_it_is_large() {
        let mut batches = Batches::default();
        batches.close(vec![7; 100]);
        batches.close(Vec::with_capacity(SCRATCH_KEPT + 1));
        let bytes = batches.open(1, 1);
        assert!(bytes.is_empty() && bytes.capacity() >= 100);
        assert_eq!(batches.open(1, 1).capacity(), 0);
    }
}
