//! The last messages of a lane, in one piece.

use std::collections::VecDeque;

use super::{DictionaryError, Message, TAIL_BYTES_MAX, TAIL_MESSAGES_MAX};

/// At most [`TAIL_MESSAGES_MAX`] messages and [`TAIL_BYTES_MAX`] bytes of payload, numbers growing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// The payloads, one after the other, behind what is forgotten.
    bytes: Vec<u8>,
    /// Bytes that are forgotten: given back when they are as many as may be kept.
    forgotten: usize,
    kept: VecDeque<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    seq: u64,
    time_us: u64,
    len: usize,
}

impl Tail {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The payloads, one after the other.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.forgotten..]
    }

    /// Number and time of the last message.
    pub(super) fn last(&self) -> Option<(u64, u64)> {
        self.kept.back().map(|kept| (kept.seq, kept.time_us))
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let mut at = self.forgotten;
        self.kept.iter().map(move |&Kept { seq, time_us, len }| {
            at += len;
            Message { seq, time_us, payload: &self.bytes[at - len..at] }
        })
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.kept.clear();
        self.forgotten = 0;
    }

    /// Adds a message, and forgets what does not fit beside it. Cost: its length, and at times that of the tail.
    pub(super) fn push(&mut self, message: Message<'_>) {
        let Message { seq, time_us, payload } = message;
        while let Some(&last) = self.kept.back()
            && last.seq >= seq
        {
            self.kept.pop_back();
            self.bytes.truncate(self.bytes.len() - last.len);
        }
        if payload.len() > TAIL_BYTES_MAX {
            return self.clear();
        }
        while self.kept.len() >= TAIL_MESSAGES_MAX || self.bytes().len() + payload.len() > TAIL_BYTES_MAX {
            let Some(first) = self.kept.pop_front() else { break };
            self.forgotten += first.len;
        }
        if self.forgotten >= TAIL_BYTES_MAX {
            self.bytes.drain(..self.forgotten);
            self.forgotten = 0;
        }
        self.bytes.extend_from_slice(payload);
        self.kept.push_back(Kept { seq, time_us, len: payload.len() });
    }

    /// The last `count` messages, or all if they are fewer.
    pub(super) fn last_messages(&self, count: usize) -> Tail {
        let mut last = Tail::default();
        self.messages().skip(self.len().saturating_sub(count)).for_each(|message| last.push(message));
        last
    }

    /// The messages of these ranges, in order: number of the first and how many.
    pub(super) fn of_ranges(&self, ranges: &[(u64, u64)]) -> Result<Tail, DictionaryError> {
        let mut made = Tail::default();
        let mut messages = self.messages();
        for &(first, count) in ranges {
            for seq in first..first + count {
                let found = messages.find(|message| message.seq >= seq);
                let message = found.filter(|message| message.seq == seq).ok_or(DictionaryError::Missing(seq))?;
                made.push(message);
            }
        }
        Ok(made)
    }

    /// The ranges that its numbers form.
    pub(super) fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for kept in &self.kept {
            match ranges.last_mut() {
                Some((first, count)) if *first + *count == kept.seq => *count += 1,
                _ => ranges.push((kept.seq, 1)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, payload: &[u8]) -> Message<'_> {
        Message { seq, time_us: seq * 10, payload }
    }

    #[test]
    fn as_many_messages_are_kept_as_may_be_and_not_one_more() {
        let mut tail = Tail::default();
        for seq in 1..=64 {
            tail.push(message(seq, b"ab"));
        }
        assert_eq!((tail.len(), tail.bytes().len(), tail.ranges()), (64, 128, vec![(1, 64)]));
        tail.push(message(65, b"c"));
        assert_eq!((tail.len(), tail.bytes().len(), tail.ranges()), (64, 127, vec![(2, 64)]));
        assert_eq!(tail.last(), Some((65, 650)));
    }

    #[test]
    fn as_many_bytes_are_kept_as_may_be_and_not_one_more() {
        let mut tail = Tail::default();
        tail.push(message(1, &[1; 384]));
        tail.push(message(2, &[2; 16_000]));
        assert_eq!((tail.len(), tail.bytes().len()), (2, TAIL_BYTES_MAX));
        tail.push(message(3, b"x"));
        assert_eq!((tail.len(), tail.bytes().len()), (2, 16_001));
        tail.push(message(4, &[4; TAIL_BYTES_MAX]));
        assert_eq!((tail.len(), tail.bytes()), (1, &[4; TAIL_BYTES_MAX][..]));
        tail.push(message(5, &[5; TAIL_BYTES_MAX + 1]));
        assert_eq!((tail.len(), tail.bytes().len()), (0, 0), "a longer message empties it");
    }

    #[test]
    fn it_takes_no_more_memory_than_twice_what_it_keeps() {
        let mut tail = Tail::default();
        for seq in 0..10_000 {
            tail.push(message(seq, &[7; 1_000]));
            assert!(tail.bytes.len() <= 3 * TAIL_BYTES_MAX);
        }
        assert!(tail.bytes.capacity() <= 4 * TAIL_BYTES_MAX);
        assert_eq!((tail.len(), tail.bytes().len()), (16, 16_000));
    }

    #[test]
    fn numbers_that_come_again_replace_what_is_not_lower() {
        let mut tail = Tail::default();
        for (seq, payload) in [(3, b"c3"), (4, b"d4"), (7, b"g7"), (4, b"D!")] {
            tail.push(message(seq, payload));
        }
        assert_eq!((tail.bytes(), tail.ranges()), (&b"c3D!"[..], vec![(3, 2)]));
    }

    #[test]
    fn a_dictionary_is_made_of_exactly_the_messages_that_are_named() {
        let mut tail = Tail::default();
        for seq in [3, 4, 7, 8, 9, 20] {
            tail.push(message(seq, &[seq as u8]));
        }
        assert_eq!(tail.last_messages(4).ranges(), [(7, 3), (20, 1)]);
        assert_eq!(tail.of_ranges(&[(4, 1), (8, 2)]).unwrap().bytes(), [4, 8, 9]);
        assert_eq!(tail.of_ranges(&[(3, 3)]), Err(DictionaryError::Missing(5)));
        assert_eq!(tail.of_ranges(&[(8, 1), (7, 1)]), Err(DictionaryError::Missing(7)), "backwards");
        assert_eq!(tail.of_ranges(&[(20, 2)]), Err(DictionaryError::Missing(21)));
        assert_eq!(tail.of_ranges(&tail.ranges()).unwrap(), tail);
    }
}
