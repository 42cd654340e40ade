//! Derived logs: the same messages in another encoding, built from the source log, shared by all who speak it.

use super::Shard;
use super::table::NONE;
use super::topics::{Form, Stream};
use crate::driver::Driver;
use crate::log::{Frame, FramePayload, Log};
use crate::proto::encoder;
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::proto::json;

/// A rendered frame above this size is kept by reference in the payload pool instead of filling the log's blocks.
const RENDERED_BLOCK_MAX: usize = 64 << 10;
/// Scratch memory kept from turn to turn.
const SCRATCH_KEPT: usize = 256 << 10;

impl<D: Driver> Shard<D> {
    /// Brings the derived logs of all lanes that grew up to their sources.
    pub(super) fn derive_grown(&mut self) {
        let mut grown = std::mem::take(&mut self.grown);
        for &lane in &grown {
            self.lanes[lane].has_grown = false;
            let json = self.lanes[lane].streams[Form::Json as usize];
            if json != NONE {
                if self.streams[json].cursors.subs.is_empty() {
                    // Nobody listens any more, and it can be built again.
                    self.lanes[lane].streams[Form::Json as usize] = NONE;
                    self.free_stream(json);
                } else {
                    self.derive(json);
                    self.activate(json);
                }
            }
        }
        grown.clear();
        self.grown = grown;
    }

    /// The stream of `lane` in `form`; a derived one is begun at its source's newest frame if it is not there yet.
    pub(super) fn stream(&mut self, lane: u32, form: Form) -> Option<u32> {
        let known = self.lanes[lane].streams[form as usize];
        if known != NONE {
            if form != Form::Raw && self.streams[known].cursors.subs.is_empty() {
                self.derive(known);
            }
            return Some(known);
        }
        let source = &self.streams[self.lanes[lane].streams[Form::Raw as usize]];
        let first = source.log.last().map_or(source.log.next_seq(), |e| e.seq);
        let budget = source.log.budget_bytes();
        let id = self.streams.insert(Stream::new(Log::new(first, budget), lane, form))?;
        self.lanes[lane].streams[form as usize] = id;
        self.derive(id);
        Some(id)
    }

    /// Appends to a derived log what its source has beyond it.
    fn derive(&mut self, id: u32) {
        let lane = self.streams[id].lane;
        let source = self.lanes[lane].streams[Form::Raw as usize];
        let topic = self.lanes[lane].topic;
        let priority = self.lanes[lane].priority;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut payload_scratch = std::mem::take(&mut self.payload_scratch);
        let target = self.streams[source].log.next_seq();
        while self.streams[id].log.next_seq() < target {
            let next = self.streams[id].log.next_seq();
            let Some(entry) = self.streams[source].log.entries_from(next).next().copied() else {
                // The source has lost the rest; so has this log.
                self.streams[id].log.skip(target - 1);
                break;
            };
            // Room for the frame's header, which depends on what is rendered behind it.
            scratch.clear();
            scratch.resize(HEADER_BYTES_MAX, 0);
            let Some(state) = &self.topics[topic as usize] else { break };
            let (bytes, shared) = self.streams[source].log.payload(&entry, &mut payload_scratch);
            let body = json::Body::of(entry.kind, bytes, &mut self.json);
            json::message_prefix(&mut scratch, &state.escaped, priority, entry.seq, entry.time_ns / 1_000);
            let suffix = json::message_suffix(body.kind());
            let shared = match (&body, shared) {
                // A large JSON payload stands in the envelope as it is: keep it by reference.
                (json::Body::Json(_), Some(payload)) => Some(payload.clone()),
                _ => {
                    json::message_data(&mut scratch, &body);
                    None
                }
            };
            let payload_len = scratch.len() - HEADER_BYTES_MAX + shared.as_ref().map_or(0, |p| p.len()) + suffix.len();
            let mut header = [0; HEADER_BYTES_MAX];
            let header_len = encoder::header(&mut header, Opcode::Text, payload_len as u64, false);
            let start = HEADER_BYTES_MAX - header_len;
            scratch[start..HEADER_BYTES_MAX].copy_from_slice(&header[..header_len]);
            let rendered = match shared {
                None if scratch.len() > RENDERED_BLOCK_MAX => self.shared.payloads.copy_from(&scratch[HEADER_BYTES_MAX..]),
                _ => None,
            };
            let (head, payload) = match (&shared, &rendered) {
                (Some(payload), _) => (&scratch[start..], FramePayload::Shared(payload)),
                (None, Some(payload)) => (&header[..header_len], FramePayload::Shared(payload)),
                (None, None) => (&scratch[start..], FramePayload::Copied(&[])),
            };
            let frame = Frame {
                seq: entry.seq,
                time_ns: entry.time_ns,
                origin: entry.origin,
                kind: entry.kind,
                header: head,
                payload,
                tail: suffix,
            };
            self.append(id, &frame);
        }
        if scratch.capacity() > SCRATCH_KEPT {
            scratch = Vec::new();
        }
        if payload_scratch.capacity() > SCRATCH_KEPT {
            payload_scratch = Vec::new();
        }
        self.scratch = scratch;
        self.payload_scratch = payload_scratch;
    }
}
