//! A large message is rendered in pieces: judged, and written where it cannot be kept as it is, so much of it a turn.
//!
//! Its frame is the payload by reference, or what is written of it, between a head and a tail. It is not compressed.

use super::form::{Encoding, Form};
use super::stream::Stream;
use super::{Effect, Lanes};
use crate::ingest::{ClaimBuf, Payload, PayloadPool};
use crate::log::{Edge, Entry, FramePayload, Position};
use crate::proto::batch::{self, BatchHead};
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::proto::json::{self, JsonPieces};
use crate::proto::msgpack;
use crate::proto::utf8::Utf8;
use crate::shard::budget::Budget;
use crate::shard::lanes::derive::{Meta, write_header};
use crate::shard::lanes::encoder::Scratch;
use crate::shard::topics::Topic;
use crate::types::Kind;

/// A message that is longer is rendered in pieces.
pub const LARGE_BYTES: usize = 256 << 10;
/// Bytes of a piece: a multiple of three, for base64.
const PIECE_BYTES: usize = 48 << 10;
/// Bytes of a piece that take a step.
const BYTES_A_STEP: usize = 64;

/// See the module's head.
#[derive(Debug)]
pub struct Rendering {
    position: Position,
    payload: Payload,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Is it UTF-8, so far?
    Text { utf8: Utf8, at: usize },
    /// It is; is it JSON?
    Json(JsonPieces),
    /// How long is it when written as a string, so far?
    Measure { at: usize, bytes: usize },
    /// It is written as a string, or in base64.
    Write { kind: Kind, at: usize, into: ClaimBuf },
    /// It is all there: what the payload is, and what is written of it.
    Ready { kind: Kind, written: Option<Payload> },
}

/// There is no memory for what is written.
struct NoMemory;

impl Rendering {
    fn new(entry: &Entry, payload: Payload, encoding: Encoding) -> Self {
        let is_judged = matches!(encoding, Encoding::Json | Encoding::Msgpack);
        let stage = match entry.kind {
            kind if !is_judged => Stage::Ready { kind, written: None },
            Kind::Binary => Stage::Ready { kind: Kind::Binary, written: None },
            Kind::Text | Kind::Json => Stage::Text { utf8: Utf8::new(), at: 0 },
        };
        Rendering { position: entry.position, payload, stage }
    }

    /// Does a piece of the work. `published`: what its publisher said that it is.
    fn advance(
        &mut self,
        published: Kind,
        encoding: Encoding,
        scratch: &mut Vec<u8>,
        pool: &PayloadPool,
    ) -> Result<(), NoMemory> {
        let Rendering { payload, stage, .. } = self;
        let piece = |at: usize| &payload[at..payload.len().min(at + PIECE_BYTES)];
        match stage {
            Stage::Text { utf8, at } => {
                let bytes = piece(*at);
                let is_text = utf8.push(bytes).is_ok();
                *at += bytes.len();
                if !is_text || (*at == payload.len() && !utf8.is_complete()) {
                    *stage = Stage::Ready { kind: Kind::Binary, written: None };
                } else if *at == payload.len() {
                    *stage = match published {
                        Kind::Json => Stage::Json(JsonPieces::new()),
                        _ => Stage::Ready { kind: Kind::Text, written: None },
                    };
                }
            }
            Stage::Json(judge) => match judge.advance(payload, PIECE_BYTES) {
                None => {}
                Some(true) => *stage = Stage::Ready { kind: Kind::Json, written: None },
                Some(false) => *stage = Stage::Ready { kind: Kind::Text, written: None },
            },
            Stage::Measure { at, bytes } => {
                let now = piece(*at);
                *bytes += json::escaped_len(now);
                *at += now.len();
                if *at == payload.len() {
                    let into = pool.claim_empty(*bytes).ok_or(NoMemory)?;
                    *stage = Stage::Write { kind: Kind::Text, at: 0, into };
                }
            }
            Stage::Write { kind, at, into } => {
                let now = piece(*at);
                scratch.clear();
                match kind {
                    Kind::Binary => json::base64_piece(scratch, now),
                    _ => json::escape_piece(scratch, now),
                }
                if !into.append(scratch) {
                    return Err(NoMemory);
                }
                *at += now.len();
                if *at == payload.len() {
                    let (kind, into) = (*kind, std::mem::replace(into, pool.claim_empty(0).ok_or(NoMemory)?));
                    *stage = Stage::Ready { kind, written: Some(into.freeze()) };
                    return Ok(());
                }
            }
            Stage::Ready { .. } => {}
        }
        // Text and bytes are written as strings in JSON.
        if let (Stage::Ready { kind: kind @ (Kind::Text | Kind::Binary), written: None }, Encoding::Json) =
            (&self.stage, encoding)
        {
            self.stage = match kind {
                Kind::Binary => {
                    let bytes = self.payload.len().div_ceil(3) * 4;
                    Stage::Write { kind: Kind::Binary, at: 0, into: pool.claim_empty(bytes).ok_or(NoMemory)? }
                }
                _ => Stage::Measure { at: 0, bytes: 0 },
            };
        }
        Ok(())
    }
}

impl Lanes {
    /// Brings a large message nearer to a derived log, as far as the budget goes. False: the rest is for another turn, or there is nothing
    /// to be done. `None`: it has to be rendered at once, for it is not kept by reference.
    pub(super) fn derive_large(
        &mut self,
        id: u32,
        topic: &Topic,
        entry: &Entry,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Option<bool> {
        let encoding = self.streams[id].form.encoding();
        let mut rendering =
            match self.streams[id].rendering.take().filter(|rendering| rendering.position == entry.position) {
                Some(rendering) => rendering,
                None => {
                    let source = self.lanes[self.streams[id].lane].streams[Form::Raw as usize];
                    // Looked for before the batch that is open is closed, which may take room from it.
                    let payload = self.streams[source].log.payload(entry, &mut scratch.payload).1?.clone();
                    if encoding == Encoding::Batch {
                        self.close_batch(id, scratch);
                    }
                    if self.streams[id].is_asleep {
                        return Some(false);
                    }
                    Box::new(Rendering::new(entry, payload, encoding))
                }
            };
        loop {
            if let (Stage::Ready { kind, written }, true) = (&rendering.stage, rendering.is_ready(encoding)) {
                let payload = written.as_ref().unwrap_or(&rendering.payload);
                self.append_large(id, topic, entry, *kind, payload, scratch);
                self.counts.encoded += 1;
                #[cfg(any(test, fuzzing))]
                self.trace.on_rendered(id, entry.position);
                return Some(!self.streams[id].is_asleep);
            }
            if budget.is_spent() {
                self.streams[id].rendering = Some(rendering);
                return Some(false);
            }
            budget.spend((PIECE_BYTES / BYTES_A_STEP) as u32);
            if rendering.advance(entry.kind, encoding, &mut scratch.packed, &self.payloads).is_err() {
                self.leave_out(id, entry);
                return Some(true);
            }
        }
    }

    /// Appends what is rendered of a large message.
    fn append_large(
        &mut self,
        id: u32,
        topic: &Topic,
        entry: &Entry,
        kind: Kind,
        payload: &Payload,
        scratch: &mut Scratch,
    ) {
        let Stream { form, lane, .. } = &self.streams[id];
        let (encoding, priority) = (form.encoding(), self.lanes[*lane].priority);
        let seq = self.source(*lane).log.seq_of(entry.position).unwrap_or_default();
        let head = &mut scratch.rendered;
        head.clear();
        head.resize(HEADER_BYTES_MAX, 0);
        let time_us = entry.time_ns / 1_000;
        let (opcode, tail) = match encoding {
            Encoding::Raw => (if entry.kind == Kind::Binary { Opcode::Binary } else { Opcode::Text }, &b""[..]),
            Encoding::Json => {
                json::message_prefix_of(head, (&*topic.name, topic.is_plain), priority, seq.0, time_us);
                if kind != Kind::Json {
                    head.push(b'"');
                }
                (Opcode::Text, large_suffix(kind))
            }
            Encoding::Msgpack => {
                let size = (kind, payload.len());
                msgpack::message_prefix_of(head, &topic.name, priority, seq.0, time_us, size);
                (Opcode::Binary, &b""[..])
            }
            Encoding::Batch => {
                let about = BatchHead { topic_id: topic.id, priority, kind: entry.kind, first_seq: seq.0 };
                batch::alone(head, about, entry.time_ns, payload.len());
                (Opcode::Binary, &b""[..])
            }
        };
        let len = head.len() - HEADER_BYTES_MAX + payload.len() + tail.len();
        let start = write_header(head, opcode, len, false);
        let meta = Meta { seq, count: 1, entry: *entry };
        let frame = meta.frame(&head[start..], FramePayload::Shared(payload), tail);
        self.append(id, &frame);
    }

    /// There is no memory for a message in this form: it is lost to those who have it.
    fn leave_out(&mut self, id: u32, entry: &Entry) {
        let last = self.source(self.streams[id].lane).log.seq_of(entry.position).unwrap_or_default();
        self.lose_until(id, Edge { next: entry.end(), last });
        self.counts.unlogged += 1;
        self.effects.push(Effect::Unlogged { stream: id, messages: 1 });
    }
}

impl Rendering {
    /// True if nothing of it is left to be written.
    fn is_ready(&self, encoding: Encoding) -> bool {
        match &self.stage {
            Stage::Ready { kind, written } => encoding != Encoding::Json || *kind == Kind::Json || written.is_some(),
            _ => false,
        }
    }
}

/// What stands behind a payload in JSON, with the quote that ends a string.
fn large_suffix(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Json => json::message_suffix(Kind::Json),
        Kind::Text => br#"","encoding":"text"}"#,
        Kind::Binary => br#"","encoding":"base64"}"#,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::json::{Body, JsonCheck};
    use crate::types::ConnectionId;

    fn entry(kind: Kind, bytes: usize) -> Entry {
        Entry {
            position: Position(3),
            offset: 0,
            time_ns: 7_000,
            expiry_ns: 0,
            key: 0,
            origin: ConnectionId::HOST,
            count: 1,
            len: bytes as u32,
            header_len: 0,
            kind,
            is_sender_excluded: false,
        }
    }

    /// What is rendered of a payload, its kind, and the pieces that it took.
    fn rendered(kind: Kind, bytes: &[u8], encoding: Encoding, pool: &PayloadPool) -> (Kind, Vec<u8>, usize) {
        let payload = pool.copy_from(bytes).expect("room");
        let mut rendering = Rendering::new(&entry(kind, bytes.len()), payload, encoding);
        let (mut scratch, mut pieces) = (Vec::new(), 0);
        while !rendering.is_ready(encoding) {
            assert!(rendering.advance(kind, encoding, &mut scratch, pool).is_ok());
            assert!(scratch.len() <= 6 * PIECE_BYTES, "a piece is a piece");
            pieces += 1;
        }
        let Stage::Ready { kind, written } = &rendering.stage else { unreachable!("just asked") };
        (*kind, written.as_ref().unwrap_or(&rendering.payload).to_vec(), pieces)
    }

    #[test]
    fn a_large_message_is_judged_and_written_as_at_once() {
        let pool = PayloadPool::new(64 << 20);
        let text = "é\"\\\n\u{1}plain ".repeat(40_000);
        let json = format!("[{}1]", "1,".repeat(300_000));
        let cut = &text.as_bytes()[..text.len() - text.len() % PIECE_BYTES + 1];
        for (kind, bytes) in [
            (Kind::Text, text.as_bytes()),
            (Kind::Json, json.as_bytes()),
            (Kind::Json, text.as_bytes()),
            (Kind::Json, &json.as_bytes()[..400_000]),
            (Kind::Text, &[text.as_bytes(), &b"\xff"[..]].concat()),
            (Kind::Text, cut),
            (Kind::Binary, text.as_bytes()),
        ] {
            let mut check = JsonCheck::new();
            let body = Body::of(kind, bytes, &mut check);
            let mut expected = Vec::new();
            json::message_data(&mut expected, &body);
            let (as_kind, written, pieces) = rendered(kind, bytes, Encoding::Json, &pool);
            assert_eq!(as_kind, body.kind());
            let quoted = if as_kind == Kind::Json { written } else { [b"\"", &written[..], b"\""].concat() };
            assert!(quoted == expected, "{kind:?} as {as_kind:?}");
            assert!(pieces >= bytes.len() / PIECE_BYTES);
            let suffix = [if as_kind == Kind::Json { &b""[..] } else { b"\"" }, json::message_suffix(as_kind)].concat();
            assert_eq!(large_suffix(as_kind), suffix);
            let (as_kind, written, _) = rendered(kind, bytes, Encoding::Msgpack, &pool);
            assert!(as_kind == body.kind() && written == bytes, "in MessagePack it stands as it is");
        }
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn where_there_is_no_memory_to_write_it_that_is_said() {
        let pool = PayloadPool::new(1 << 20);
        let payload = pool.copy_from(&[1; 400_000]).expect("room");
        let _taken = pool.copy_from(&[1; 200_000]).expect("room");
        let mut rendering = Rendering::new(&entry(Kind::Binary, 400_000), payload, Encoding::Json);
        assert!(rendering.advance(Kind::Binary, Encoding::Json, &mut Vec::new(), &pool).is_err());
    }
}
