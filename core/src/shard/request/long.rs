//! A long request that is being parsed: in pieces, between which others are served.

use super::{Publication, Unopened};
use crate::ingest::{ClaimBuf, Payload, PayloadPool};
use crate::proto::long::data::LongData;
use crate::proto::long::since::LongSince;
use crate::proto::long::{Encoding, LongRequest};
use crate::proto::subscribe::ControlError;
use crate::proto::utf8::Utf8;
use crate::shard::options::Options;

/// Bytes of a piece.
const PIECE_BYTES: usize = 64 << 10;
/// Topics of a `since` in a piece.
const PIECE_TOPICS: u32 = 128;

/// See the module's head.
#[derive(Debug)]
pub struct Long {
    /// The message.
    pub message: Payload,
    /// Where the request begins in it.
    begins: usize,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a long request has come.
#[derive(Debug)]
pub enum Stage {
    /// Its text is to be looked at for being UTF-8: so far of it.
    Utf8(Utf8, usize),
    /// It is read past.
    Reads(Box<LongRequest>),
    /// Its `since` is read.
    Since(Box<Resuming>),
    /// Its payload is decoded.
    Decodes(Box<Decoding>),
}

/// A `subscribe` whose `since` is long.
#[derive(Debug)]
pub struct Resuming {
    /// To be echoed, as it was written.
    pub id: Option<Box<[u8]>>,
    /// Beyond the messages.
    pub options: Options,
    /// Names and patterns.
    pub topics: Vec<Box<str>>,
    /// What the client has already, as far as it is read.
    pub since: LongSince,
}

/// A `publish` whose payload is long.
#[derive(Debug)]
pub struct Decoding {
    /// Where to, and the request's `id`.
    pub topic: Box<Unopened>,
    /// The message's head.
    pub publication: Publication,
    /// The payload as it stands in the request.
    pub data: LongData,
    /// The payload as far as it is decoded.
    pub payload: ClaimBuf,
}

/// What a piece of work has come to.
#[derive(Debug)]
pub enum Parsed {
    /// There is more to do.
    Nearer,
    /// A stage has ended.
    Stage,
    /// It is refused.
    Refused(ControlError<'static>),
    /// There is no memory for it.
    NoMemory,
}

impl Long {
    /// A request that begins so far into a message. `is_text`: all of it is known to be UTF-8, where it has to be.
    pub fn new(message: Payload, begins: usize, encoding: Encoding, is_text: bool) -> Self {
        let stage = match is_text || encoding == Encoding::Msgpack {
            true => Stage::Reads(Box::new(LongRequest::new(encoding))),
            false => Stage::Utf8(Utf8::new(), 0),
        };
        Long { message, begins, stage }
    }

    /// The request's bytes.
    pub fn request(&self) -> &[u8] {
        self.message.get(self.begins..).unwrap_or_default()
    }

    /// Changes with each piece.
    pub fn mark(&self) -> usize {
        match &self.stage {
            Stage::Utf8(_, at) => *at,
            Stage::Reads(request) => request.at(),
            Stage::Since(resuming) => resuming.since.at(),
            Stage::Decodes(decoding) => decoding.payload.len(),
        }
    }

    /// Memory that no pool counts.
    pub fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Utf8(..) | Stage::Reads(_) => size_of::<Self>(),
            Stage::Since(resuming) => {
                let topics: usize = resuming.topics.iter().map(|topic| size_of::<Box<str>>() + topic.len()).sum();
                size_of::<Self>() + size_of::<Resuming>() + topics + resuming.since.held_bytes()
            }
            Stage::Decodes(decoding) => size_of::<Self>() + size_of::<Decoding>() + decoding.topic.name.len(),
        }
    }

    /// Does a piece of the work, and returns its steps. `scratch`: any memory.
    pub fn advance(&mut self, scratch: &mut Vec<u8>) -> (u32, Parsed) {
        let request = self.message.get(self.begins..).unwrap_or_default();
        let (steps, done) = match &mut self.stage {
            Stage::Utf8(utf8, at) => {
                let end = request.len().min(*at + PIECE_BYTES);
                let checked = utf8.push(&request[*at..end]);
                let steps = 1 + ((end - *at) / 1_024) as u32;
                *at = end;
                if checked.is_err() || (end == request.len() && !utf8.is_complete()) {
                    return (steps, Parsed::Refused(not_control()));
                }
                (steps, Ok(end == request.len()))
            }
            Stage::Reads(long) => {
                let before = long.at();
                let done = long.advance(request, PIECE_BYTES);
                (1 + ((long.at() - before) / 128) as u32, done)
            }
            Stage::Since(resuming) => (3 * PIECE_TOPICS, resuming.since.advance(PIECE_TOPICS)),
            Stage::Decodes(decoding) => {
                scratch.clear();
                let done = decoding.data.advance(request, PIECE_BYTES, scratch);
                if !decoding.payload.append(scratch) {
                    return (1, Parsed::NoMemory);
                }
                (1 + (PIECE_BYTES / 128) as u32, done)
            }
        };
        match done {
            Ok(true) => (steps, Parsed::Stage),
            Ok(false) => (steps, Parsed::Nearer),
            Err(error) => (steps, Parsed::Refused(error)),
        }
    }
}

impl Decoding {
    /// A payload that is still to be decoded. `None`: there is no memory for it.
    pub fn new(topic: Box<Unopened>, publication: Publication, data: LongData, pool: &PayloadPool) -> Option<Self> {
        let payload = pool.claim_empty(data.bytes_max())?;
        Some(Decoding { topic, publication, data, payload })
    }
}

/// The refusal of a binary message that is no control frame.
fn not_control() -> ControlError<'static> {
    use crate::proto::subscribe::code;
    let message = "not a control frame of fanwire.batch.v1".into();
    ControlError { code: code::BAD_MESSAGE, message, id: None }
}
