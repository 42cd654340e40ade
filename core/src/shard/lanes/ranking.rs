//! Which logs hold most, so that memory is taken from the right one without looking at all of them.
//!
//! Logs stand in lists by priority and by size to within a quarter of an octave; moving from one list to another is O(1).

use crate::shard::table::NONE;
use crate::types::Priority;

const BUCKETS: usize = 128;
/// Sizes are told apart in units of 4 KiB, the smallest block.
const UNIT_BITS: u32 = 12;

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u32,
    next: u32,
    /// Its list, or [`NONE`].
    list: u32,
}

const ABSENT: Node = Node { prev: NONE, next: NONE, list: NONE };

/// See the module's head.
#[derive(Debug)]
pub struct Ranking {
    nodes: Vec<Node>,
    /// First and last of each list, four times [`BUCKETS`].
    lists: Vec<(u32, u32)>,
    /// Which lists of a priority have members.
    occupied: [u128; 4],
}

impl Default for Ranking {
    fn default() -> Self {
        Self { nodes: Vec::new(), lists: vec![(NONE, NONE); 4 * BUCKETS], occupied: [0; 4] }
    }
}

impl Ranking {
    /// Notes that log `id` holds so many bytes; 0: it is not in question.
    pub fn set(&mut self, id: u32, priority: Priority, bytes: usize) {
        let list = if bytes == 0 { NONE } else { (priority as usize * BUCKETS + bucket(bytes)) as u32 };
        if self.nodes.get(id as usize).map_or(NONE, |n| n.list) == list {
            return;
        }
        self.remove(id);
        if list == NONE {
            return;
        }
        while self.nodes.len() <= id as usize {
            self.nodes.push(ABSENT);
        }
        let (first, last) = self.lists[list as usize];
        self.nodes[id as usize] = Node { prev: last, next: NONE, list };
        if last == NONE {
            self.occupied[priority as usize] |= 1 << (list as usize % BUCKETS);
        } else {
            self.nodes[last as usize].next = id;
        }
        self.lists[list as usize] = (if first == NONE { id } else { first }, id);
    }

    /// Forgets a log.
    pub fn remove(&mut self, id: u32) {
        let Some(&Node { prev, next, list }) = self.nodes.get(id as usize) else { return };
        if list == NONE {
            return;
        }
        let ends = &mut self.lists[list as usize];
        if prev == NONE {
            ends.0 = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next == NONE {
            ends.1 = prev;
        } else {
            self.nodes[next as usize].prev = prev;
        }
        if *ends == (NONE, NONE) {
            self.occupied[list as usize / BUCKETS] &= !(1 << (list as usize % BUCKETS));
        }
        self.nodes[id as usize] = ABSENT;
    }

    /// Of the least important logs that are not above `most_important`, one that holds most.
    pub fn largest(&self, most_important: Priority) -> Option<u32> {
        (most_important as usize..4).rev().find_map(|priority| {
            let top = self.occupied[priority].checked_ilog2()?;
            Some(self.lists[priority * BUCKETS + top as usize].0)
        })
    }
}

/// Four lists an octave.
fn bucket(bytes: usize) -> usize {
    let units = bytes.div_ceil(1 << UNIT_BITS);
    let octave = units.max(1).ilog2() as usize;
    let at = if octave < 2 { units } else { 4 * (octave - 1) + ((units >> (octave - 2)) & 3) };
    at.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn larger_sizes_stand_in_higher_lists_four_an_octave() {
        let sizes = [1, 4_096, 4_097, 8_193, 12_289, 16_385, 20_481, 24_577, 28_673, 36_865, 45_057, 1 << 20, 1 << 33];
        let places: Vec<usize> = sizes.iter().map(|&bytes| bucket(bytes)).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(places[0], places[1]);
        assert!(places[2..].windows(2).all(|w| w[0] < w[1]), "{places:?}");
    }

    proptest! {
        #[test]
        fn the_largest_of_the_least_important_is_named(
            acts in proptest::collection::vec((0u32..12, 0usize..4, 0usize..40), 1..200),
        ) {
            let mut ranking = Ranking::default();
            let mut truth = std::collections::HashMap::new();
            for (id, priority, kib) in acts {
                let priority = Priority::ALL[priority];
                ranking.set(id, priority, kib << 10);
                if kib == 0 {
                    truth.remove(&id);
                } else {
                    truth.insert(id, (priority, bucket(kib << 10)));
                }
                for own in Priority::ALL {
                    let found = ranking.largest(own).map(|id| truth[&id]);
                    let expected = truth.values().copied().filter(|(p, _)| *p >= own).max();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
