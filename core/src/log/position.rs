//! Where a message stands in its lane, and what it is called: two numbers that the compiler keeps apart.
//!
//! A *position* counts the messages of a lane, on every shard alike: cursors and logs go by it, and only differences of
//! positions are counts of messages. A *sequence number* is what clients are told. It is the message's position unless the host
//! gave it another one, so numbers may jump; they only grow along positions.

use std::fmt;
use std::ops::{Add, Sub};

/// A message's place among all of its lane, from 1 on: dense, the same on every shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Position(pub u64);

impl Position {
    /// That of a lane's first message.
    pub const FIRST: Self = Self(1);
    /// Beyond all.
    pub const END: Self = Self(u64::MAX);

    /// So many messages before this one.
    pub const fn back(self, messages: u64) -> Self {
        Self(self.0.saturating_sub(messages))
    }
}

impl Add<u64> for Position {
    type Output = Self;

    #[inline]
    fn add(self, messages: u64) -> Self {
        Self(self.0 + messages)
    }
}

/// How many messages lie between two positions.
impl Sub for Position {
    type Output = u64;

    #[inline]
    fn sub(self, before: Self) -> u64 {
        self.0 - before.0
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A sequence number: what a message is called. Numbers grow along a lane; how far they are apart says nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Of no message: before all.
    pub const NONE: Self = Self(0);

    /// The number of a message that was given none, behind this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The highest number below this one.
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place between two messages of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The position of the message behind it.
    pub next: Position,
    /// The number of the message before it; [`Seq::NONE`]: there is none.
    pub last: Seq,
}

impl Edge {
    /// Before a lane's first message.
    pub const START: Self = Self::counted(Position::FIRST);

    /// Before the message at `next`, where every number so far is its position.
    pub const fn counted(next: Position) -> Self {
        Self { next, last: Seq(next.0 - 1) }
    }

    /// Whether the number before it is that message's position.
    pub const fn is_counted(self) -> bool {
        self.last.0 + 1 == self.next.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_positions_counts_messages_and_numbers_only_follow_each_other() {
        assert_eq!((Position(12) - Position(5), Position(5) + 7, Position(5).back(7)), (7, Position(12), Position(0)));
        assert_eq!((Seq(9).next(), Seq(9).before(), Seq::NONE.before()), (Seq(10), Seq(8), Seq::NONE));
        assert_eq!(format!("{:?} {:?} {}", Position(3), Seq(4), Seq(4)), "@3 #4 4");
        assert_eq!(Seq(u64::MAX).next(), Seq(u64::MAX));
    }

    #[test]
    fn an_edge_is_counted_where_the_number_before_it_is_a_position() {
        assert_eq!(Edge::START, Edge { next: Position(1), last: Seq::NONE });
        assert!(Edge::counted(Position(8)).is_counted());
        assert!(!Edge { next: Position(8), last: Seq(8) }.is_counted());
    }
}
