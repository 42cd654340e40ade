//! Bytes that come one after another, in segments of pool memory: none of them is moved while they become more.

use std::collections::VecDeque;

use crate::ingest::{ClaimBuf, PayloadPool};

/// Bytes of a segment. The first is as large as what it holds.
pub const SEGMENT_BYTES: usize = 256 << 10;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Segments {
    parts: VecDeque<ClaimBuf>,
    len: usize,
    capacity: usize,
}

impl Segments {
    /// Adds bytes. Memory grows with what has come, never with what was declared. False: there is none.
    pub fn append(&mut self, mut bytes: &[u8], pool: &PayloadPool) -> bool {
        loop {
            let room = self.parts.back().map_or(0, |last| SEGMENT_BYTES.saturating_sub(last.len()));
            if room == 0 && (!bytes.is_empty() || self.parts.is_empty()) {
                let wanted = if self.parts.is_empty() { bytes.len().min(SEGMENT_BYTES) } else { SEGMENT_BYTES };
                let Some(part) = pool.claim_empty(wanted) else { return false };
                self.capacity += part.capacity();
                self.parts.push_back(part);
                continue;
            }
            if bytes.is_empty() {
                return true;
            }
            let Some(last) = self.parts.back_mut() else { return false };
            let (now, later) = bytes.split_at(bytes.len().min(room));
            let before = last.capacity();
            if !last.append(now) {
                return false;
            }
            self.capacity += last.capacity() - before;
            self.len += now.len();
            bytes = later;
        }
    }

    /// Bytes that have come.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Memory that they take.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The first segment that is left.
    pub fn front(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    /// Gives the first segment back.
    pub fn pop_front(&mut self) {
        if let Some(part) = self.parts.pop_front() {
            self.len -= part.len();
            self.capacity -= part.capacity();
        }
    }

    /// The last bytes, so many at most.
    pub fn tail(&self, most: usize) -> Vec<u8> {
        let mut left = most.min(self.len);
        let mut tails = Vec::new();
        for part in self.parts.iter().rev() {
            let tail = &part[part.len() - left.min(part.len())..];
            left -= tail.len();
            tails.push(tail);
        }
        tails.into_iter().rev().flatten().copied().collect()
    }

    /// All of them, if they stand in one piece.
    ///
    /// # Errors
    /// Themselves, if they do not.
    pub fn into_one(mut self) -> Result<ClaimBuf, Self> {
        match (self.parts.pop_front(), self.parts.is_empty()) {
            (Some(part), true) => Ok(part),
            (Some(part), false) => {
                self.parts.push_front(part);
                Err(self)
            }
            (None, _) => Err(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_there_in_order_and_nothing_of_it_has_moved() {
        let pool = PayloadPool::new(8 << 20);
        let mut segments = Segments::default();
        let bytes: Vec<u8> = (0..3 * SEGMENT_BYTES as u32 / 2 + 7).map(|n| (n % 251) as u8).collect();
        let mut first = None;
        for piece in bytes.chunks(10_000) {
            assert!(segments.append(piece, &pool));
            if segments.len() > SEGMENT_BYTES {
                let place = segments.front().as_ptr();
                assert_eq!(*first.get_or_insert(place), place, "a full segment stays where it is");
            }
        }
        assert_eq!(segments.len(), bytes.len());
        assert!(segments.capacity() >= bytes.len() && segments.capacity() <= bytes.len() + SEGMENT_BYTES);
        for most in [0, 1, 7, 8, 40_000, SEGMENT_BYTES + 9, bytes.len() + 5] {
            assert!(segments.tail(most) == bytes[bytes.len() - most.min(bytes.len())..], "{most}");
        }
        let mut segments = segments.into_one().expect_err("two segments");
        let mut read = Vec::new();
        while segments.len() > 0 {
            read.extend_from_slice(segments.front());
            segments.pop_front();
        }
        assert!(read == bytes && segments.capacity() == 0);
    }

    #[test]
    fn an_empty_message_is_one_too_and_a_full_pool_takes_nothing() {
        let pool = PayloadPool::new(2 * SEGMENT_BYTES);
        let mut segments = Segments::default();
        assert!(segments.append(&[], &pool));
        assert!(segments.into_one().is_ok_and(|one| one.is_empty()));
        let mut segments = Segments::default();
        assert!(segments.append(&[1; SEGMENT_BYTES], &pool));
        assert!(!segments.append(&[1], &pool), "a segment is taken whole");
        drop(segments);
        assert_eq!(pool.used_bytes(), 0);
    }
}
