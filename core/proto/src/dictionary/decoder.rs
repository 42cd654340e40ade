//! Reads the frames of a connection. Nothing in them is trusted.

use std::collections::HashMap;

use libdeflater::adler32;

use super::number::{NUMBER_MAX, Reader, unzigzag};
use super::pack::{Codec, Unpacker};
use super::tail::Tail;
use super::{
    BEGINS, COMPRESSED, DictionaryError, KIND, KIND_CONTROL, KIND_DATA, KIND_EARLIER, Lane, Message, PAYLOAD_SHIFT,
    SEVERAL, TAIL_BYTES_MAX, TAIL_MESSAGES_MAX, WITH,
};
use crate::Kind;

/// What a reader takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a block when it is decompressed.
    pub block_bytes_max: usize,
    /// Lanes, each of which takes up to some 80 KiB.
    pub lanes_max: usize,
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Messages of a lane, at least one, their numbers growing.
    Data {
        /// The lane.
        lane: Lane,
        /// What the payloads are.
        kind: Kind,
        /// The messages.
        messages: Vec<Message<'a>>,
    },
    /// One JSON object, for [`crate::json::server::parse`].
    Control(&'a str),
    /// Nothing to deliver: earlier messages of a lane, or a kind that this version does not know.
    Nothing,
}

/// What a connection's reader keeps: a tail and a dictionary for each lane, within [`Limits`].
pub struct Decoder {
    unpacker: Unpacker,
    limits: Limits,
    lanes: HashMap<u64, Kept>,
    /// The block of the last frame.
    block: Vec<u8>,
}

/// What is kept of a lane.
#[derive(Default)]
struct Kept {
    tail: Tail,
    dictionary: Option<(u8, Tail)>,
}

impl Decoder {
    /// A reader that has had nothing.
    pub fn new(codec: Codec, limits: Limits) -> Self {
        Self { unpacker: Unpacker::new(codec), limits, lanes: HashMap::new(), block: Vec::new() }
    }

    /// Forgets a lane, for instance when its topic was unsubscribed.
    pub fn forget(&mut self, lane: Lane) {
        self.lanes.remove(&lane.to_wire());
    }

    /// Lanes of which something is kept.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Reads a frame. Costs O(frame, its block, and 16 KiB where a dictionary is used).
    ///
    /// # Errors
    /// What is wrong with it. Nothing but a new connection makes sense then.
    pub fn frame<'a>(&'a mut self, frame: &'a [u8]) -> Result<Frame<'a>, DictionaryError> {
        let mut reader = Reader(frame);
        let head = reader.byte()?;
        match head & KIND {
            KIND_CONTROL if head != KIND_CONTROL => return Err(DictionaryError::Head(head)),
            KIND_CONTROL => {
                return std::str::from_utf8(reader.0).map(Frame::Control).map_err(|_| DictionaryError::Control);
            }
            KIND_DATA | KIND_EARLIER => {}
            _ => return Ok(Frame::Nothing),
        }
        let is_data = head & KIND == KIND_DATA;
        let kind = Kind::from_u8(head >> PAYLOAD_SHIFT & 3).ok_or(DictionaryError::Head(head))?;
        let (with, begins) = (head & WITH != 0, head & BEGINS != 0);
        if (is_data && begins && !with) || (!is_data && with) {
            return Err(DictionaryError::Head(head));
        }
        let id = reader.number()?;
        let lane = Lane::of_wire(id).ok_or(DictionaryError::Lane(id))?;
        let number = if with || begins { Some(reader.byte()?) } else { None };
        if self.lanes.len() >= self.limits.lanes_max && !self.lanes.contains_key(&id) {
            return Err(DictionaryError::Lanes(self.limits.lanes_max));
        }
        let kept = self.lanes.entry(id).or_default();
        if is_data && let Some(number) = number {
            if begins {
                kept.dictionary = Some((number, defined(&mut reader, &kept.tail)?));
            }
            if kept.dictionary.as_ref().is_none_or(|(known, _)| *known != number) {
                return Err(DictionaryError::Unknown(number));
            }
        }
        let dictionary = kept.dictionary.as_ref().filter(|_| with).map(|(_, dictionary)| dictionary);
        let first = first_of(&mut reader, dictionary)?;
        let max = self.limits.block_bytes_max;
        let block = if head & COMPRESSED != 0 {
            if !self.unpacker.decompress(dictionary.map_or(&[], Tail::bytes), reader.0, max, &mut self.block) {
                return Err(DictionaryError::Block);
            }
            &self.block[..]
        } else if reader.0.len() > max {
            return Err(DictionaryError::Block);
        } else {
            reader.0
        };
        let messages = messages_of(block, first, head & SEVERAL != 0)?;
        if is_data {
            messages.iter().for_each(|message| kept.tail.push(*message));
            return Ok(Frame::Data { lane, kind, messages });
        }
        let size: usize = messages.iter().map(|message| message.payload.len()).sum();
        if messages.len() > TAIL_MESSAGES_MAX || size > TAIL_BYTES_MAX || (begins && size == 0) {
            return Err(DictionaryError::Size);
        }
        kept.tail.clear();
        messages.iter().for_each(|message| kept.tail.push(*message));
        if let Some(number) = number {
            kept.dictionary = Some((number, kept.tail.clone()));
        }
        Ok(Frame::Nothing)
    }
}

/// The dictionary that a data frame defines.
fn defined(reader: &mut Reader<'_>, tail: &Tail) -> Result<Tail, DictionaryError> {
    let mut end = reader.number()?;
    let count = reader.number()?;
    if count == 0 || count > TAIL_MESSAGES_MAX as u64 {
        return Err(DictionaryError::Size);
    }
    let (mut ranges, mut messages) = (Vec::with_capacity(count as usize), 0);
    for n in 0..count {
        let (skip, length) = (reader.number()?, reader.number()?);
        // Each is below 2^53, and there are 64 at most.
        messages += length;
        if length == 0 || messages > TAIL_MESSAGES_MAX as u64 {
            return Err(DictionaryError::Size);
        }
        if (n == 0) != (skip == 0) || end + skip + length > NUMBER_MAX + 1 {
            return Err(DictionaryError::Sequence);
        }
        ranges.push((end + skip, length));
        end += skip + length;
    }
    let check = reader.u32()?;
    let made = tail.of_ranges(&ranges)?;
    if made.bytes().is_empty() {
        return Err(DictionaryError::Size);
    }
    if adler32(made.bytes()) == check { Ok(made) } else { Err(DictionaryError::Check) }
}

/// Number and time of a frame's first message.
fn first_of(reader: &mut Reader<'_>, dictionary: Option<&Tail>) -> Result<(u64, u64), DictionaryError> {
    let (seq, time) = (reader.number()?, reader.number()?);
    let Some((last_seq, last_time_us)) = dictionary.and_then(Tail::last) else { return Ok((seq, time)) };
    let seq = Some(last_seq + seq).filter(|&seq| seq <= NUMBER_MAX);
    seq.zip(unzigzag(last_time_us, time)).ok_or(DictionaryError::Sequence)
}

/// The messages of a block, of which the first has this number and time.
fn messages_of(
    block: &[u8],
    (mut seq, mut time_us): (u64, u64),
    several: bool,
) -> Result<Vec<Message<'_>>, DictionaryError> {
    if !several {
        return Ok(vec![Message { seq, time_us, payload: block }]);
    }
    let mut reader = Reader(block);
    let mut messages = vec![Message { seq, time_us, payload: reader.sized()? }];
    while !reader.0.is_empty() {
        seq = Some(seq + 1 + reader.number()?).filter(|&seq| seq <= NUMBER_MAX).ok_or(DictionaryError::Sequence)?;
        time_us = unzigzag(time_us, reader.number()?).ok_or(DictionaryError::Sequence)?;
        messages.push(Message { seq, time_us, payload: reader.sized()? });
    }
    Ok(messages)
}
