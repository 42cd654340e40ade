//! What publishers said of a log's messages beyond the payloads, of those of which anything was said.
//!
//! Knows bytes by position; must never know what they mean. A log without any has none of this.

use std::collections::VecDeque;

use super::position::Position;

/// What a message's attributes cost in the index, beyond their bytes.
pub(super) const ATTRIBUTED_BYTES: usize = size_of::<(Position, u64)>();

/// What so many bytes are charged as. Most messages have none, and nobody asks.
#[cold]
pub(super) fn charge(len: usize) -> usize {
    if len == 0 { 0 } else { ATTRIBUTED_BYTES + len }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// Those of all messages, oldest first.
    bytes: VecDeque<u8>,
    /// Which message's begin where, counted from the first byte that there ever was.
    begins: VecDeque<(Position, u64)>,
    /// Bytes that were forgotten.
    gone: u64,
}

impl Attributes {
    /// Those of a message behind all others.
    pub fn push(&mut self, position: Position, bytes: &[u8]) {
        self.begins.push_back((position, self.gone + self.bytes.len() as u64));
        self.bytes.extend(bytes);
    }

    /// Forgets those of messages before `floor`. Returns what they were charged as.
    pub fn forget_before(&mut self, floor: Position) -> usize {
        let mut messages = 0;
        while self.begins.pop_front_if(|(position, _)| *position < floor).is_some() {
            messages += 1;
        }
        let end = self.gone + self.bytes.len() as u64;
        let from = self.begins.front().map_or(end, |(_, begin)| *begin);
        let forgotten = (from - self.gone) as usize;
        self.bytes.drain(..forgotten);
        self.gone = from;
        messages * ATTRIBUTED_BYTES + forgotten
    }

    /// Those of one message, copied to `scratch` where they do not lie in one piece.
    #[cfg(any(test, fuzzing))]
    pub fn of<'a>(&'a self, position: Position, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Ok(place) = self.begins.binary_search_by_key(&position, |(position, _)| *position) else { return &[] };
        let from = (self.begins[place].1 - self.gone) as usize;
        let to = self.begins.get(place + 1).map_or(self.bytes.len(), |(_, begin)| (begin - self.gone) as usize);
        let (front, back) = self.bytes.as_slices();
        if to <= front.len() {
            return &front[from..to];
        }
        if from >= front.len() {
            return &back[from - front.len()..to - front.len()];
        }
        scratch.clear();
        scratch.extend_from_slice(&front[from..]);
        scratch.extend_from_slice(&back[..to - front.len()]);
        scratch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_its_own_wherever_the_bytes_lie() {
        let (mut attributes, mut scratch) = (Attributes::default(), Vec::new());
        let of = |n: u64| vec![n as u8; 1 + n as usize % 23];
        for n in 1..=2_000 {
            // Every third has none.
            if n % 3 > 0 {
                attributes.push(Position(n), &of(n));
            }
            let floor = n.saturating_sub(40);
            let gone: usize =
                (floor.saturating_sub(1)..floor).filter(|n| *n > 0 && n % 3 > 0).map(|n| charge(of(n).len())).sum();
            assert_eq!(attributes.forget_before(Position(floor)), gone, "{n}");
            for position in floor.max(1)..=n + 1 {
                let expected = if position % 3 > 0 && position <= n { of(position) } else { Vec::new() };
                assert_eq!(attributes.of(Position(position), &mut scratch), expected, "{position} of {n}");
            }
        }
        attributes.forget_before(Position::END);
        assert!(attributes.bytes.is_empty() && attributes.begins.is_empty());
        assert_eq!((charge(0), charge(1)), (0, 17));
    }
}
