//! What the simulator may know of a shard beyond its wire, and may do to it: compiled for tests alone.
//!
//! Every beginning of a cursor and every loss is noted where it is accounted for, so that each client's account can be held
//! against the engine's own. Every message is seen to be rendered at most once in the life of a derived log.

use std::collections::HashMap;

use super::Shard;
use super::conn::connection_id;
pub use super::interest::Start;
use super::topics::Form;
use crate::driver::Driver;
use crate::proto::server_message::GapReason;
use crate::types::{ConnectionId, Priority, TopicId};

/// The largest block of log memory.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// A cursor's beginning.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Where it begins.
    pub start: Start,
    /// The number that the lane's next message will have.
    pub head: u64,
    /// The oldest message that the lane's source still holds.
    pub log_floor: u64,
    /// The newest.
    pub last: Option<u64>,
    /// Wall clock.
    pub wall_ns: u64,
}

/// Something that a shard did.
#[derive(Clone, Debug)]
pub enum Note {
    /// Took a connection.
    Accepted(ConnectionId),
    /// Gave a connection a cursor in a lane.
    Linked(ConnectionId, TopicId, Priority, Linked),
    /// Accounted for messages that a connection does not get: first, last, why.
    Lost(ConnectionId, TopicId, Priority, (u64, u64, GapReason)),
    /// Read a message that expires.
    ReadExpiring(TopicId, Priority, u64),
}

/// What was noted since somebody last looked.
#[derive(Default)]
pub struct Trace {
    /// In order.
    pub notes: Vec<Note>,
    /// The newest message rendered into each derived log.
    rendered: HashMap<u32, u64>,
    /// The newest frame compressed into each derived log.
    compressed: HashMap<u32, u64>,
}

impl Trace {
    /// A derived log begins, or is built again.
    pub fn on_begun(&mut self, stream: u32) {
        self.rendered.remove(&stream);
        self.compressed.remove(&stream);
    }

    /// A message is rendered into a derived log.
    pub fn on_rendered(&mut self, stream: u32, seq: u64) {
        let before = self.rendered.insert(stream, seq);
        assert!(before < Some(seq), "message {seq} is rendered again: {before:?} was rendered already");
    }

    /// A frame is compressed into a derived log.
    pub fn on_compressed(&mut self, stream: u32, seq: u64) {
        let before = self.compressed.insert(stream, seq);
        assert!(before < Some(seq), "frame {seq} is compressed again: {before:?} was compressed already");
    }
}

impl<D: Driver> Shard<D> {
    /// Takes the notes.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.trace.notes)
    }

    pub(super) fn trace_accepted(&mut self, slot: u32) {
        let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
        self.trace.notes.push(Note::Accepted(connection));
    }

    pub(super) fn trace_linked(&self, slot: u32, topic: u32, priority: Priority, start: Start) -> Option<Note> {
        let state = self.topics[topic as usize].as_ref()?;
        let source = self.lanes[state.lanes[priority as usize]].streams[Form::Raw as usize];
        let log = &self.streams[source].log;
        let linked = Linked {
            start,
            head: log.next_seq(),
            log_floor: log.floor_seq(),
            last: log.last().map(|e| e.seq),
            wall_ns: (self.shared.wall_ns)(),
        };
        let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
        Some(Note::Linked(connection, state.id, priority, linked))
    }

    pub(super) fn trace_lost(&mut self, slot: u32, topic: u32, priority: Priority, lost: (u64, u64, GapReason)) {
        let Some(state) = &self.topics[topic as usize] else { return };
        let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
        self.trace.notes.push(Note::Lost(connection, state.id, priority, lost));
    }

    /// Drops the derived logs that `chooses` names; they are built again as far as their source reaches.
    pub fn drop_derived(&mut self, mut chooses: impl FnMut() -> bool) {
        for id in 0..self.streams.end() {
            if self.streams[id].is_in_use() && self.streams[id].form != Form::Raw && chooses() {
                self.rebuild(id);
            }
        }
    }

    /// Entries in the queue of cursors that wait for their time.
    pub fn paced_cursors(&self) -> usize {
        self.paced.len()
    }

    /// Panics if a log holds more than it may.
    pub fn check_budgets(&self) {
        for id in 0..self.streams.end() {
            let log = &self.streams[id].log;
            if !self.streams[id].is_in_use() {
                continue;
            }
            // One frame above the budget is kept alone, with the blocks that its ends lie in.
            let newest = log.last().map_or(0, |e| e.len as usize);
            let most = log.budget_bytes().max(newest + 2 * BLOCK_BYTES_MAX + 1_024);
            assert!(log.charged_bytes() <= most, "a log of {} bytes, allowed {most}", log.charged_bytes());
        }
    }
}
