//! A hash map in pieces, so that no insertion moves more than one of them: a map of a million entries that grows would be moved as a
//! whole, which takes as long as tens of thousands of other steps.
//!
//! Each piece grows by itself. By chance they differ in size a little, so they do not all grow in one turn.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// Pieces of a map that has more than [`AT_ONCE`] entries.
const PIECES: usize = 1_024;
/// So many are in one piece.
const AT_ONCE: usize = 1_024;
/// What the pieces of one map take beside their entries.
pub const PIECES_BYTES: usize = PIECES * size_of::<HashMap<u32, u32>>();

/// See the module's head.
#[derive(Debug)]
pub struct Pieces<K, V> {
    hasher: RandomState,
    /// One, or [`PIECES`].
    pieces: Vec<HashMap<K, V>>,
    len: usize,
}

impl<K, V> Default for Pieces<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), pieces: vec![HashMap::new()], len: 0 }
    }
}

impl<K: Eq + Hash, V> Pieces<K, V> {
    /// What is kept under a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.pieces[self.piece_of(key)].get(key)
    }

    /// Whether there is such a key.
    pub fn contains_key<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// All keys, one after the other.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.pieces.iter().flat_map(HashMap::keys)
    }

    /// Keeps a value under a key; the one before comes back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.len == AT_ONCE && self.pieces.len() == 1 {
            self.divide();
        }
        let piece = self.piece_of(&key);
        let before = self.pieces[piece].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Forgets a key. The memory of all goes with the last one.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let piece = self.piece_of(key);
        let value = self.pieces[piece].remove(key)?;
        self.len -= 1;
        if self.pieces[piece].is_empty() {
            self.pieces[piece] = HashMap::new();
        }
        if self.len == 0 {
            *self = Self::default();
        }
        Some(value)
    }

    /// Entries.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    #[cold]
    fn divide(&mut self) {
        let whole = std::mem::take(&mut self.pieces);
        self.pieces.resize_with(PIECES, HashMap::new);
        for (key, value) in whole.into_iter().flatten() {
            let piece = self.piece_of(&key);
            self.pieces[piece].insert(key, value);
        }
    }

    fn piece_of<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        match self.pieces.len() {
            1 => 0,
            // The low bits: a map takes the high ones first.
            count => self.hasher.hash_one(key) as usize % count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_however_many_there_are() {
        for count in [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 5 * AT_ONCE] {
            let mut map = Pieces::default();
            for key in 0..count {
                assert_eq!(map.insert(key, key * 2), None);
                assert_eq!(map.insert(key, key * 3), Some(key * 2), "{key} of {count}");
            }
            assert_eq!((map.len(), map.get(&count)), (count, None));
            assert!((0..count).all(|key| map.get(&key) == Some(&(key * 3)) && map.contains_key(&key)));
            assert!(!map.contains_key(&count) && map.keys().sum::<usize>() == count * (count - 1) / 2);
            assert_eq!(map.remove(&count), None);
            for key in 0..count {
                assert_eq!((map.remove(&key), map.remove(&key)), (Some(key * 3), None));
            }
            assert_eq!((map.len(), map.pieces.len()), (0, 1), "its memory is given back");
        }
        let mut names: Pieces<Box<str>, u32> = Pieces::default();
        names.insert("a".into(), 1);
        assert_eq!((names.get("a").copied(), names.remove("a"), names.get("a")), (Some(1), Some(1), None));
    }

    /// What an insertion moves is what its piece holds, when that grows.
    #[test]
    fn no_insertion_moves_much_of_a_large_map() {
        const COUNT: u32 = 300_000;
        let mut map: Pieces<(u32, u32), u32> = Pieces::default();
        let (mut most, mut moved) = (0, 0);
        for key in 0..COUNT {
            let (key, before) = ((key / 20_000, key % 20_000), map.pieces.len());
            let piece = map.piece_of(&key);
            let (was, room) = (map.pieces[piece].len(), map.pieces[piece].capacity());
            map.insert(key, 0);
            let moves = if map.pieces.len() != before { AT_ONCE } else { was };
            if map.pieces.len() != before || map.pieces[map.piece_of(&key)].capacity() != room {
                most = most.max(moves);
                moved += moves;
            }
        }
        assert_eq!(map.len(), COUNT as usize);
        assert!(most <= AT_ONCE, "{most} at once");
        assert!(moved < 3 * COUNT as usize, "{moved} in all");
    }
}
