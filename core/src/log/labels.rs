//! The numbers of a log's messages, where they are not their positions.
//!
//! Knows numbers and positions; must never know bytes. A log whose numbers are its positions has none of this.

use std::collections::VecDeque;

use super::position::{Edge, Position, Seq};

/// What the number of a frame costs in the index.
pub(super) const LABEL_BYTES: usize = size_of::<Seq>();

/// See the module's head. The messages of one frame have numbers that follow each other.
#[derive(Debug)]
pub(super) struct Labels {
    /// The number of the first message of each frame that is held, one by one as the log's index.
    firsts: VecDeque<Seq>,
    /// The number of the message before the oldest that is held.
    before: Seq,
    /// The number of the newest message, held or not.
    last: Seq,
    /// Below this position every number is its position.
    counted_below: Position,
}

impl Labels {
    /// Of a log that holds nothing and goes on at `edge`.
    pub fn at(edge: Edge) -> Self {
        let counted_below = if edge.is_counted() { edge.next } else { Position::FIRST };
        Self { firsts: VecDeque::new(), before: edge.last, last: edge.last, counted_below }
    }

    /// Of a log that goes on at `next`, whose numbers were its positions so far. `firsts`: of the frames that it holds.
    pub fn after_counting(floor: Position, next: Position, firsts: impl Iterator<Item = Position>) -> Self {
        Self {
            firsts: firsts.map(|position| Seq(position.0)).collect(),
            before: Edge::counted(floor).last,
            last: Edge::counted(next).last,
            counted_below: next,
        }
    }

    /// A frame of so many messages is appended.
    pub fn push(&mut self, first: Seq, count: u32) {
        self.firsts.push_back(first);
        self.last = Seq(first.0 + u64::from(count) - 1);
    }

    /// The oldest frame, of so many messages, is forgotten.
    pub fn pop(&mut self, count: u32) {
        if let Some(first) = self.firsts.pop_front() {
            self.before = Seq(first.0 + u64::from(count) - 1);
        }
    }

    /// All frames are forgotten.
    pub fn clear(&mut self) {
        self.firsts.clear();
        self.before = self.last;
    }

    /// What comes next is behind number `last`.
    pub fn skip(&mut self, last: Seq) {
        self.last = last;
        if self.firsts.is_empty() {
            self.before = last;
        }
    }

    /// The number of the message before the oldest that is held.
    pub fn before(&self) -> Seq {
        self.before
    }

    /// The number of the newest message.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// The number of the first message of a frame.
    pub fn first_of(&self, frame: usize) -> Option<Seq> {
        self.firsts.get(frame).copied()
    }

    /// Frames that begin at or below a number.
    pub fn frames_to(&self, seq: Seq) -> usize {
        self.firsts.partition_point(|first| *first <= seq)
    }

    /// Whether every number before this position is its message's position.
    pub fn is_counted_to(&self, position: Position) -> bool {
        position <= self.counted_below
    }

    /// The message behind a number from that time, or from before all.
    pub fn behind_counted(&self, seq: Seq) -> Option<Position> {
        (seq.0 < self.counted_below.0).then(|| Position(seq.0 + 1))
    }

    /// The number of a message from the time when numbers were positions.
    pub fn counted(&self, position: Position) -> Option<Seq> {
        (position < self.counted_below).then_some(Seq(position.0))
    }
}
