//! From positions to numbers and back: by looking up or by a search over the index, never by a walk.

use super::Log;
use super::position::{Edge, Position, Seq};

impl Log {
    /// Whether every number so far is its message's position.
    #[inline]
    pub fn is_counted(&self) -> bool {
        self.labels.is_none()
    }

    /// Where it goes on.
    #[inline]
    pub fn end(&self) -> Edge {
        Edge { next: self.next, last: self.last_seq() }
    }

    /// The number of the newest message, held or not.
    #[inline]
    pub fn last_seq(&self) -> Seq {
        match &self.labels {
            None => Edge::counted(self.next).last,
            Some(labels) => labels.last(),
        }
    }

    /// The number of the message at `position`, if the log holds it or every number so far was a position.
    #[inline]
    pub fn seq_of(&self, position: Position) -> Option<Seq> {
        if self.labels.is_some() {
            return self.label_of(position);
        }
        (position < self.next).then_some(Seq(position.0))
    }

    #[cold]
    fn label_of(&self, position: Position) -> Option<Seq> {
        let labels = self.labels.as_deref()?;
        let frame = self.frame_of(position);
        let held = frame.and_then(|i| Some(Seq(labels.first_of(i)?.0 + (position - self.index[i].position))));
        held.or_else(|| labels.counted(position))
    }

    /// A number that the message at `position` has at least, of one that the log never had.
    pub fn least_seq_of(&self, position: Position) -> Seq {
        match &self.labels {
            Some(labels) if !labels.is_counted_to(position) => labels.last().next(),
            _ => Seq(position.0),
        }
    }

    /// Which frame holds the message at `position`.
    fn frame_of(&self, position: Position) -> Option<usize> {
        let i = self.index.partition_point(|e| e.end() <= position);
        self.index.get(i).is_some_and(|e| e.position <= position).then_some(i)
    }

    /// The place before the message at `position`, from the floor to the head: the number before that is always known.
    pub fn edge_before(&self, position: Position) -> Edge {
        let last = match &self.labels {
            None => Edge::counted(position).last,
            Some(labels) if position <= self.floor() => labels.before(),
            Some(_) => self.label_of(position.back(1)).unwrap_or(self.last_seq()),
        };
        Edge { next: position, last }
    }

    /// The first message behind number `seq`. `None`: more than one that the log has forgotten may be.
    pub fn behind(&self, seq: Seq) -> Option<Position> {
        let Some(labels) = self.labels.as_deref() else { return Some(Position(seq.next().0).min(self.next)) };
        if let Some(counted) = labels.behind_counted(seq) {
            return Some(counted);
        }
        if seq < labels.before() {
            return None;
        }
        if seq >= labels.last() {
            return Some(self.next);
        }
        let frames = labels.frames_to(seq);
        let Some(last) = frames.checked_sub(1) else { return Some(self.floor()) };
        let (entry, first) = (&self.index[last], labels.first_of(last)?);
        Some((entry.position + (seq.0 - first.0) + 1).min(entry.end()))
    }
}
