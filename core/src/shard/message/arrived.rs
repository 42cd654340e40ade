//! A message that is there, but still to be inflated or put together: done in pieces, between which others are served.

use std::borrow::Cow;
use std::sync::Arc;

use super::segments::Segments;
use crate::ingest::{ClaimBuf, PayloadPool};
use crate::proto::close::CloseCode;
use crate::proto::inflate::{InflateError, Inflater, WINDOW};
use crate::proto::utf8::Utf8;
use crate::types::Kind;

/// Messages of a shard that are inflated in pieces at once; the others wait for them.
pub const INFLATING_MAX: usize = 32;
/// What inflating one of them takes (zlib-rs: a window of 64 KiB at most, and tables).
pub const INFLATING_BYTES: usize = 96 << 10;

/// Compressed bytes of a piece: each may cost 100 ns.
const IN_BYTES: usize = 4 << 10;
/// Bytes of a piece.
const PIECE_BYTES: usize = 64 << 10;

/// See the module's head.
#[derive(Debug)]
pub struct Arrived {
    /// Text or binary.
    pub kind: Kind,
    stage: Stage,
    /// Bytes that were worked on.
    done: usize,
}

#[derive(Debug)]
enum Stage {
    /// For a place among those that are inflated.
    Waits {
        compressed: Segments,
        max: usize,
    },
    Inflates(Box<Inflating>),
    Joins {
        from: Segments,
        into: ClaimBuf,
    },
}

struct Inflating {
    inflater: Inflater,
    /// Its place among those that are inflated.
    _seat: Arc<()>,
    compressed: Segments,
    /// Bytes of the first segment that were read.
    read: usize,
    inflated: Segments,
    utf8: Option<Utf8>,
}

impl std::fmt::Debug for Inflating {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflating").field("left", &self.compressed.len()).finish_non_exhaustive()
    }
}

/// What a piece of work has come to.
#[derive(Debug)]
pub enum Came {
    /// There is more to do.
    Nearer,
    /// It waits for others.
    Waiting,
    /// The message.
    Whole(ClaimBuf),
    /// It is none: what to close its client with.
    Wrong(CloseCode, &'static str),
    /// There is no memory for it.
    NoMemory,
}

/// What to close a client with whose message cannot be inflated.
pub fn fault_of(error: InflateError) -> (CloseCode, &'static str) {
    match error {
        InflateError::TooBig => (CloseCode::TOO_BIG, "message too big when inflated"),
        InflateError::Invalid => (CloseCode::INVALID_PAYLOAD, "not a permessage-deflate payload"),
    }
}

impl Arrived {
    /// A compressed message, to be inflated to `max` bytes at most.
    pub fn compressed(kind: Kind, compressed: Segments, max: usize) -> Self {
        Arrived { kind, stage: Stage::Waits { compressed, max }, done: 0 }
    }

    /// A message in several segments, to be put together. `None`: there is no memory for it.
    pub fn plain(kind: Kind, from: Segments, pool: &PayloadPool) -> Option<Self> {
        let into = pool.claim_empty(from.len())?;
        Some(Arrived { kind, stage: Stage::Joins { from, into }, done: 0 })
    }

    /// Bytes that were worked on so far: more after each piece.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Does a piece of the work, and returns its steps. `seats`: who inflates has a clone of it. `scratch`: any memory.
    pub fn advance(&mut self, seats: &Arc<()>, scratch: &mut Vec<u8>, pool: &PayloadPool) -> (u32, Came) {
        let stage = std::mem::replace(&mut self.stage, Stage::Waits { compressed: Segments::default(), max: 0 });
        let (stage, steps, came) = match stage {
            Stage::Waits { compressed, max } if Arc::strong_count(seats) > INFLATING_MAX => {
                (Stage::Waits { compressed, max }, 1, Came::Waiting)
            }
            Stage::Waits { compressed, max } => {
                let inflating = Inflating::begin(compressed, max, self.kind, seats.clone());
                (Stage::Inflates(inflating), 64, Came::Nearer)
            }
            Stage::Inflates(mut inflating) => {
                let (read, written, end) = inflating.advance(scratch, pool);
                self.done += read + written + 1;
                let steps = 1 + (read / 8 + written / 128) as u32;
                match end {
                    None => (Stage::Inflates(inflating), steps, Came::Nearer),
                    Some(Came::Whole(whole)) => return (steps, Came::Whole(whole)),
                    // In several segments.
                    Some(Came::Nearer) => match Arrived::plain(self.kind, inflating.inflated, pool) {
                        Some(plain) => (plain.stage, steps, Came::Nearer),
                        None => return (steps, Came::NoMemory),
                    },
                    Some(came) => return (steps, came),
                }
            }
            Stage::Joins { mut from, mut into } => {
                let at = into.len() % super::segments::SEGMENT_BYTES;
                let part = from.front();
                let end = part.len().min(at + PIECE_BYTES);
                if !into.append(part.get(at..end).unwrap_or_default()) {
                    return (1, Came::NoMemory);
                }
                if end == part.len() {
                    from.pop_front();
                }
                self.done += end - at + 1;
                let steps = 1 + ((end - at) / 1_024) as u32;
                if from.len() == 0 {
                    return (steps, Came::Whole(into));
                }
                (Stage::Joins { from, into }, steps, Came::Nearer)
            }
        };
        self.stage = stage;
        (steps, came)
    }
}

impl Inflating {
    fn begin(compressed: Segments, max: usize, kind: Kind, seat: Arc<()>) -> Box<Self> {
        let mut inflater = Inflater::new();
        inflater.begin(max, &[]);
        let utf8 = (kind != Kind::Binary).then(Utf8::new);
        Box::new(Self { inflater, _seat: seat, compressed, read: 0, inflated: Segments::default(), utf8 })
    }

    /// Inflates a piece: bytes read, bytes that came out, and what it came to, if that was the end.
    fn advance(&mut self, scratch: &mut Vec<u8>, pool: &PayloadPool) -> (usize, usize, Option<Came>) {
        scratch.resize(PIECE_BYTES, 0);
        let wrong = |(code, reason)| Some(Came::Wrong(code, reason));
        let front = self.compressed.front();
        let input = &front[self.read..front.len().min(self.read + IN_BYTES)];
        let inflated = &self.inflated;
        let step = match self.inflater.step(input, scratch, || Cow::Owned(inflated.tail(WINDOW))) {
            Ok(step) => step,
            Err(error) => return (input.len(), 0, wrong(fault_of(error))),
        };
        let fresh = &scratch[..step.written];
        if self.utf8.as_mut().is_some_and(|utf8| utf8.push(fresh).is_err()) {
            return (step.read, step.written, wrong((CloseCode::INVALID_PAYLOAD, "text is not UTF-8")));
        }
        if !self.inflated.append(fresh, pool) {
            return (step.read, step.written, Some(Came::NoMemory));
        }
        let is_all_read = step.read == input.len();
        self.read += step.read;
        if self.read == self.compressed.front().len() {
            self.compressed.pop_front();
            self.read = 0;
        }
        let is_end = self.compressed.len() == 0 && is_all_read && step.is_hungry;
        (step.read, step.written, is_end.then(|| self.end()))
    }

    fn end(&mut self) -> Came {
        if let Err(error) = self.inflater.finish() {
            let (code, reason) = fault_of(error);
            return Came::Wrong(code, reason);
        }
        if self.utf8.is_some_and(|utf8| !utf8.is_complete()) {
            return Came::Wrong(CloseCode::INVALID_PAYLOAD, "text is not UTF-8");
        }
        match std::mem::take(&mut self.inflated).into_one() {
            Ok(whole) => Came::Whole(whole),
            Err(parts) => {
                self.inflated = parts;
                Came::Nearer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::compress::{Compressed, Deflater, Effort};

    /// No piece may take more steps than this.
    const PIECE_STEPS: u32 = 1_100;

    fn segments(bytes: &[u8], pool: &PayloadPool) -> Segments {
        let mut segments = Segments::default();
        assert!(segments.append(bytes, pool));
        segments
    }

    fn through(mut arrived: Arrived, pool: &PayloadPool) -> (Came, u32) {
        let (seats, mut scratch, mut pieces) = (Arc::new(()), Vec::new(), 0);
        loop {
            let done = arrived.done();
            let (steps, came) = arrived.advance(&seats, &mut scratch, pool);
            assert!(steps <= PIECE_STEPS, "a piece of {steps} steps");
            pieces += 1;
            match came {
                Came::Nearer => assert!(pieces == 1 || arrived.done() > done, "no way forward"),
                other => return (other, pieces),
            }
        }
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let packed = Deflater::default().compress(bytes, Effort::Fast, 15, &mut out);
        assert!(matches!(packed, Compressed::Deflated(_)), "it is compressible");
        out
    }

    /// Text that is long, and neither too easy nor too hard to compress.
    fn text(bytes: usize) -> Vec<u8> {
        let mut text = String::new();
        let mut number = 1u32;
        while text.len() < bytes {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(&format!("é{} ", number >> 20));
        }
        let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.into_bytes()
    }

    #[test]
    fn a_message_of_megabytes_is_inflated_and_put_together_in_pieces() {
        let pool = PayloadPool::new(64 << 20);
        for bytes in [2_000, 60_000, 300_000, 3 << 20] {
            let text = text(bytes);
            let arrived = Arrived::compressed(Kind::Text, segments(&deflated(&text), &pool), 16 << 20);
            let (came, pieces) = through(arrived, &pool);
            assert!(matches!(&came, Came::Whole(whole) if **whole == text[..]), "{bytes}: {came:?}");
            assert!(pieces as usize >= text.len() / PIECE_BYTES, "{pieces} pieces");
            drop(came);
            if text.len() > super::super::segments::SEGMENT_BYTES {
                let arrived = Arrived::plain(Kind::Text, segments(&text, &pool), &pool).expect("room");
                assert!(matches!(through(arrived, &pool).0, Came::Whole(whole) if *whole == text[..]));
            }
            assert_eq!(pool.used_bytes(), 0);
        }
    }

    #[test]
    fn what_is_wrong_with_a_message_is_found_and_nothing_of_it_is_kept() {
        let pool = PayloadPool::new(64 << 20);
        let text = text(1 << 20);
        let code = |bytes: &[u8], max: usize, pool: &PayloadPool| match through(
            Arrived::compressed(Kind::Text, segments(bytes, pool), max),
            pool,
        )
        .0
        {
            Came::Wrong(code, _) => code.to_u16(),
            other => panic!("{other:?}"),
        };
        let packed = deflated(&text);
        assert!(matches!(
            through(Arrived::compressed(Kind::Text, segments(&packed, &pool), text.len()), &pool).0,
            Came::Whole(_)
        ));
        assert_eq!(code(&packed, text.len() - 1, &pool), 1009, "one past the maximum");
        assert_eq!(code(&packed[..packed.len() - 9], 2 << 20, &pool), 1007, "its end is missing");
        let mut odd = text.clone();
        odd[800_000] = 0xff;
        assert_eq!(code(&deflated(&odd), 2 << 20, &pool), 1007, "not UTF-8");
        odd[800_000] = text[800_000];
        odd.push(0xc3);
        assert_eq!(code(&deflated(&odd), 2 << 20, &pool), 1007, "a character is cut");
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn so_many_are_inflated_at_once_and_the_next_waits() {
        let pool = PayloadPool::new(64 << 20);
        let packed = deflated(&text(200_000));
        let (seats, mut scratch) = (Arc::new(()), Vec::new());
        let mut all: Vec<Arrived> =
            (0..=INFLATING_MAX).map(|_| Arrived::compressed(Kind::Text, segments(&packed, &pool), 1 << 20)).collect();
        for (number, arrived) in all.iter_mut().enumerate() {
            let (_, came) = arrived.advance(&seats, &mut scratch, &pool);
            assert_eq!(matches!(came, Came::Waiting), number == INFLATING_MAX, "{number}: {came:?}");
        }
        all.remove(0);
        let last = all.last_mut().expect("many");
        assert!(matches!(last.advance(&seats, &mut scratch, &pool).1, Came::Nearer), "one has gone");
    }
}
