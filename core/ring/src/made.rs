//! Where in the main area each topic was made, so that no critical record is read before the record that makes its topic.
//!
//! A table by the topic number's index, in pieces that come to be with the topics. Knows positions by topic; must never know names.

use super::sync::{AtomicU64, Ordering, Pieces};
use super::types::{TOPIC_INDEX_BITS, TopicId, topic_index};

const PIECE_BITS: u32 = 10;
const PIECE: usize = 1 << PIECE_BITS;
const PIECES: usize = 1 << (TOPIC_INDEX_BITS - PIECE_BITS);

/// The end of the record that made the topic of each index last; 0: none.
pub(crate) struct Made {
    pieces: Pieces<AtomicU64>,
}

impl Made {
    pub(crate) fn new() -> Self {
        Self { pieces: Pieces::new(PIECES) }
    }

    /// What it takes from the system for so many topics.
    pub(crate) const fn footprint(topics: usize) -> usize {
        PIECES * 24 + topics.next_multiple_of(PIECE) * size_of::<AtomicU64>()
    }

    /// Notes that the record which makes `topic` ends at `end`. Called before that record is committed: who knows the topic
    /// by that record, or by whoever published it, knows this too.
    pub(crate) fn note(&self, topic: TopicId, end: u64) {
        let (piece, place) = split(topic);
        let piece = self.pieces.get_or_make(piece, || (0..PIECE).map(|_| AtomicU64::new(0)).collect());
        piece[place % piece.len()].store(end, Ordering::Relaxed);
    }

    /// How far the main area must have been read before a record of `topic` may be.
    #[inline]
    pub(crate) fn end_of(&self, topic: TopicId) -> u64 {
        let (piece, place) = split(topic);
        self.pieces.get(piece).map_or(0, |piece| piece[place % piece.len()].load(Ordering::Relaxed))
    }
}

fn split(topic: TopicId) -> (usize, usize) {
    let index = topic_index(topic) as usize;
    (index >> PIECE_BITS, index & (PIECE - 1))
}
