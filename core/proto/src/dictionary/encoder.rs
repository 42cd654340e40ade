//! Writes the frames of a lane, and keeps what its readers keep.

use libdeflater::adler32;

use super::number::{NUMBER_MAX, put, zigzag};
use super::pack::Packer;
use super::renewal::{Advice, MESSAGES, READY, Renewal};
use super::tail::Tail;
use super::{
    BEGINS, COMPRESSED, DictionaryError, KIND_DATA, KIND_EARLIER, Lane, Message, SEVERAL, TAIL_BYTES_MAX, WITH, head_of,
};
use crate::Kind;

/// Without a dictionary smaller blocks are not worth compressing.
const ALONE_BYTES_MIN: usize = 512;
/// A tail of so many bytes makes a dictionary, however few its messages are.
const READY_BYTES: usize = TAIL_BYTES_MAX / 2;

/// A lane's writer: at most some 100 KiB, of which 32 are payloads.
#[derive(Clone, Debug)]
pub struct LaneEncoder {
    lane: Lane,
    tail: Tail,
    dictionary: Option<Tail>,
    number: u8,
    renewal: Renewal,
    /// The block before it is compressed.
    block: Vec<u8>,
}

impl LaneEncoder {
    /// A lane of which nothing was sent.
    pub fn new(lane: Lane) -> Self {
        Self {
            lane,
            tail: Tail::default(),
            dictionary: None,
            number: 0,
            renewal: Renewal::default(),
            block: Vec::new(),
        }
    }

    /// The number of the dictionary in use.
    pub fn dictionary(&self) -> Option<u8> {
        self.dictionary.as_ref().map(|_| self.number)
    }

    /// Appends the frame of `messages`, at least one, whose numbers grow and whose payloads are of one kind.
    ///
    /// Cost: some 5 µs a message with LZ4, 20 with deflate (16 KiB of dictionary); linear in the block.
    ///
    /// # Errors
    /// [`DictionaryError::Sequence`]; nothing is then written, and the lane is as it was.
    pub fn data(
        &mut self,
        packer: &mut Packer,
        kind: Kind,
        messages: &[Message<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), DictionaryError> {
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        let written = write_block(messages, &mut block);
        if let Ok(first) = written {
            self.write(packer, kind, (first, messages), &block, out);
        }
        self.block = block;
        if self.block.capacity() > 4 * TAIL_BYTES_MAX {
            self.block = Vec::new();
        }
        written.map(|_| ())
    }

    fn write(
        &mut self,
        packer: &mut Packer,
        kind: Kind,
        (first, messages): ((u64, u64), &[Message<'_>]),
        block: &[u8],
        out: &mut Vec<u8>,
    ) {
        let count = messages.len() as u32;
        let is_ready = self.tail.len() >= READY || self.tail.bytes().len() >= READY_BYTES;
        let mut advice = self.renewal.advise(count, is_ready, self.dictionary.is_some());
        if advice == Advice::Begin {
            let made = self.tail.last_messages(MESSAGES);
            if made.bytes().is_empty() {
                advice = Advice::Use;
            } else {
                self.number = self.number.wrapping_add(1);
                self.dictionary = Some(made);
            }
        }
        let base = self.dictionary.as_ref().and_then(|dictionary| differences(dictionary, first));
        let several = if messages.len() > 1 { SEVERAL } else { 0 };
        let start = out.len();
        out.push(head_of(KIND_DATA, kind) | several);
        put(out, self.lane.to_wire());
        let dictionary = match (base, &self.dictionary) {
            (Some((seq, time)), Some(dictionary)) => {
                out[start] |= WITH;
                out.push(self.number);
                if advice == Advice::Begin {
                    out[start] |= BEGINS;
                    put_definition(out, dictionary);
                }
                put(out, seq);
                put(out, time);
                dictionary.bytes()
            }
            _ => {
                if advice == Advice::Begin {
                    // It was not told of.
                    self.dictionary = None;
                }
                put(out, first.0);
                put(out, first.1);
                &[]
            }
        };
        let may_pay = advice != Advice::Rest && (base.is_some() || block.len() >= ALONE_BYTES_MIN);
        let at = out.len();
        if may_pay && packer.compress(dictionary, block, out) {
            out[start] |= COMPRESSED;
        } else {
            out.extend_from_slice(block);
        }
        if may_pay && base.is_some() {
            self.renewal.record(count, block.len(), out.len() - at);
        }
        messages.iter().for_each(|message| self.tail.push(*message));
    }

    /// Appends the frames, each behind the others, that somebody needs who has had nothing of the lane, and calls `frame` behind
    /// each with where it began: the dictionary in use and the tail. Costs as much as compressing some 32 KiB.
    pub fn history(&self, packer: &mut Packer, out: &mut Vec<u8>, mut frame: impl FnMut(&mut Vec<u8>, usize)) {
        let tail = self.dictionary.as_ref() != Some(&self.tail);
        for (messages, begins) in
            self.dictionary.iter().map(|dictionary| (dictionary, true)).chain(tail.then_some((&self.tail, false)))
        {
            let all: Vec<Message<'_>> = messages.messages().collect();
            let mut block = Vec::new();
            // A tail's numbers grow, and it may be empty.
            let Ok((seq, time_us)) = write_block(&all, &mut block) else { continue };
            let start = out.len();
            out.push(head_of(KIND_EARLIER, Kind::Binary));
            put(out, self.lane.to_wire());
            if begins {
                out[start] |= BEGINS;
                out.push(self.number);
            }
            if all.len() > 1 {
                out[start] |= SEVERAL;
            }
            put(out, seq);
            put(out, time_us);
            if packer.compress(&[], &block, out) {
                out[start] |= COMPRESSED;
            } else {
                out.extend_from_slice(&block);
            }
            frame(out, start);
        }
    }
}

/// Number and time of a message, as differences to the dictionary's last one.
fn differences(dictionary: &Tail, (seq, time_us): (u64, u64)) -> Option<(u64, u64)> {
    let (last_seq, last_time_us) = dictionary.last()?;
    Some((seq.checked_sub(last_seq)?, zigzag(last_time_us, time_us)?))
}

fn put_definition(out: &mut Vec<u8>, dictionary: &Tail) {
    let ranges = dictionary.ranges();
    put(out, ranges.first().map_or(0, |range| range.0));
    put(out, ranges.len() as u64);
    let mut end = ranges.first().map_or(0, |range| range.0);
    for (first, count) in ranges {
        put(out, first - end);
        put(out, count);
        end = first + count;
    }
    out.extend_from_slice(&adler32(dictionary.bytes()).to_le_bytes());
}

/// Writes the block of these messages; returns number and time of the first.
fn write_block(messages: &[Message<'_>], block: &mut Vec<u8>) -> Result<(u64, u64), DictionaryError> {
    let [first, rest @ ..] = messages else { return Err(DictionaryError::Sequence) };
    if messages.iter().any(|message| message.seq.max(message.time_us) > NUMBER_MAX) {
        return Err(DictionaryError::Sequence);
    }
    if rest.is_empty() {
        block.extend_from_slice(first.payload);
        return Ok((first.seq, first.time_us));
    }
    put(block, first.payload.len() as u64);
    block.extend_from_slice(first.payload);
    let mut last = first;
    for message in rest {
        let skip = message.seq.checked_sub(last.seq).and_then(|more| more.checked_sub(1));
        let time = zigzag(last.time_us, message.time_us);
        let (Some(skip), Some(time)) = (skip, time) else { return Err(DictionaryError::Sequence) };
        put(block, skip);
        put(block, time);
        put(block, message.payload.len() as u64);
        block.extend_from_slice(message.payload);
        last = message;
    }
    Ok((first.seq, first.time_us))
}
