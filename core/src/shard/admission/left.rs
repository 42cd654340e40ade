//! Records in the order in which they were left, each found by its number.

use crate::shard::table::NONE;

#[derive(Clone, Copy, Debug)]
struct Node {
    older: u32,
    newer: u32,
    is_in: bool,
}

impl Node {
    const OUT: Node = Node { older: NONE, newer: NONE, is_in: false };
}

/// A doubly linked list by number, oldest first.
#[derive(Debug)]
pub struct Left {
    nodes: Vec<Node>,
    oldest: u32,
    newest: u32,
    len: usize,
}

/// Bytes for each number.
pub const LEFT_BYTES: usize = size_of::<Node>();

impl Left {
    /// An empty list, with room for so many numbers.
    pub fn reserved(numbers: u32) -> Self {
        Self { nodes: Vec::with_capacity(numbers as usize), oldest: NONE, newest: NONE, len: 0 }
    }

    /// How many there are.
    #[cfg(any(test, fuzzing))]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends a number. It must not be there.
    pub fn push(&mut self, number: u32) {
        if self.nodes.len() <= number as usize {
            self.nodes.resize(number as usize + 1, Node::OUT);
        }
        debug_assert!(!self.nodes[number as usize].is_in);
        self.nodes[number as usize] = Node { older: self.newest, newer: NONE, is_in: true };
        match self.newest {
            NONE => self.oldest = number,
            newest => self.nodes[newest as usize].newer = number,
        }
        self.newest = number;
        self.len += 1;
    }

    /// Removes a number, if it is there.
    pub fn remove(&mut self, number: u32) {
        let Some(&Node { older, newer, is_in: true }) = self.nodes.get(number as usize) else { return };
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        self.nodes[number as usize] = Node::OUT;
        self.len -= 1;
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let known = |number: u32| Some(number).filter(|&number| number != NONE);
        std::iter::successors(known(self.oldest), move |&number| known(self.nodes[number as usize].newer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_list_says_the_same() {
        let mut left = Left::reserved(16);
        let mut list: Vec<u32> = Vec::new();
        let mut chance = 3u64;
        for _ in 0..5_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (chance >> 33) as u32 % 16;
            if list.contains(&number) {
                left.remove(number);
                list.retain(|other| *other != number);
            } else {
                left.remove(number);
                left.push(number);
                list.push(number);
            }
            assert_eq!((left.iter().collect::<Vec<_>>(), left.len()), (list.clone(), list.len()));
        }
    }
}
