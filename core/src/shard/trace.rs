//! What the simulator may know of a shard beyond its wire, and may do to it: compiled for tests alone.
//!
//! Every beginning of a cursor and every loss is noted where it is accounted for, so that each client's account can be held
//! against the engine's own. Every message is seen to be rendered at most once in the life of a derived log.

use std::collections::HashMap;

use super::budget::Work;
use super::lanes::{Cursor, Form, Stream};
pub use super::subscriptions::{Lost, Start};
use super::waiters::Cause;
use super::{Shard, turn_steps_max};
use crate::driver::Driver;
use crate::log::Position;
use crate::shard::table::NONE;
use crate::types::{ConnectionId, Priority, TopicId};

/// What a connection may hold beyond the memory that is refused to all: an answer, and the close frame.
const HELD_SPARE: usize = 16 << 10;
/// The largest block of log memory.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// A cursor's beginning.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Where it begins.
    pub start: Start,
    /// The position that the lane's next message will have.
    pub head: u64,
    /// That of the oldest message that the lane's source still holds.
    pub log_floor: u64,
    /// That of the newest.
    pub last: Option<u64>,
    /// Wall clock.
    pub wall_ns: u64,
    /// The subscriber was there before the lane was: it gets everything.
    pub is_first: bool,
}

/// Something that a shard did.
#[derive(Clone, Debug)]
pub enum Note {
    /// Took a connection.
    Accepted(ConnectionId),
    /// Gave a connection a cursor in a lane.
    Linked(ConnectionId, TopicId, Priority, Linked),
    /// Accounted for messages that a connection does not get.
    Lost(ConnectionId, TopicId, Priority, Lost),
    /// Read a message that expires, at this position.
    ReadExpiring(TopicId, Priority, u64),
}

/// What was noted since somebody last looked.
#[derive(Default)]
pub struct Trace {
    /// In order.
    pub notes: Vec<Note>,
}

/// What derived logs have rendered and compressed.
#[derive(Default)]
pub struct Rendered {
    /// The newest message rendered into each derived log.
    rendered: HashMap<u32, Position>,
    /// The newest frame compressed into each derived log.
    compressed: HashMap<u32, Position>,
}

impl Rendered {
    /// A derived log begins, or is built again.
    pub fn on_begun(&mut self, stream: u32) {
        self.rendered.remove(&stream);
        self.compressed.remove(&stream);
    }

    /// What comes before `next` stays in a derived log; what comes from there on found no room, and is to be rendered again.
    pub fn on_paused(&mut self, stream: u32, next: Position) {
        for newest in [&mut self.rendered, &mut self.compressed] {
            newest.entry(stream).and_modify(|last| *last = (*last).min(next.back(1)));
        }
    }

    /// A message is rendered into a derived log.
    pub fn on_rendered(&mut self, stream: u32, at: Position) {
        let before = self.rendered.insert(stream, at);
        assert!(before < Some(at), "message {at:?} is rendered again: {before:?} was rendered already");
    }

    /// A frame is compressed into a derived log.
    pub fn on_compressed(&mut self, stream: u32, at: Position) {
        let before = self.compressed.insert(stream, at);
        assert!(before < Some(at), "frame {at:?} is compressed again: {before:?} was compressed already");
    }
}

impl<D: Driver> Shard<D> {
    /// Takes the notes.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.trace.notes)
    }

    pub(super) fn trace_accepted(&mut self, slot: u32) {
        let connection = self.clients.id(slot);
        self.trace.notes.push(Note::Accepted(connection));
    }

    pub(super) fn trace_linked(
        &self,
        slot: u32,
        topic: u32,
        priority: Priority,
        start: Start,
        is_first: bool,
    ) -> Option<Note> {
        let state = self.topics.get(topic)?;
        let log = &self.lanes.source(state.lanes[priority as usize]).log;
        let linked = Linked {
            start,
            head: log.next().0,
            log_floor: log.floor().0,
            last: log.last().map(|e| e.position.0),
            wall_ns: (self.shared.wall_ns)(),
            is_first,
        };
        Some(Note::Linked(self.clients.id(slot), state.id, priority, linked))
    }

    pub(super) fn trace_lost(&mut self, slot: u32, topic: u32, priority: Priority, lost: Lost) {
        let Some(state) = self.topics.get(topic) else { return };
        self.trace.notes.push(Note::Lost(self.clients.id(slot), state.id, priority, lost));
    }

    /// Drops the derived logs that `chooses` names; they are built again as far as their source reaches: at once, or
    /// when somebody looks.
    pub fn drop_derived(&mut self, at_once: bool, mut chooses: impl FnMut() -> bool) {
        let derived: Vec<u32> =
            self.lanes.streams().filter(|(_, stream)| stream.form != Form::Raw).map(|(id, _)| id).collect();
        for id in derived {
            if chooses() {
                if at_once { self.lanes.rebuild(id) } else { self.lanes.put_to_sleep(id) }
            }
        }
        self.apply_effects();
    }

    /// Entries in the queue of cursors that wait for their time.
    pub fn paced_cursors(&self) -> usize {
        self.subscriptions.paced.len()
    }

    /// Panics if the shard would sleep although a derived log is behind its source, or a cursor that is not held up is behind its log.
    pub fn check_nothing_is_forgotten(&self) {
        if !self.has_no_work() {
            return;
        }
        if self.subscriptions.unsettled() == 0 {
            for (index, topic) in self.topics.all().filter(|(_, topic)| topic.life.is_held) {
                let is_waited_for = self.subscriptions.asked.first_by_name(&topic.name) != NONE;
                let literal = self.subscriptions.literal_members(index);
                assert!(literal > 0 || is_waited_for, "{} is kept for nobody", topic.name);
            }
        }
        for (id, stream) in self.lanes.streams() {
            let source = self.lanes.source(stream.lane).log.next();
            let is_wanted = !stream.cursors.all.is_empty();
            let is_current = stream.is_asleep || stream.taken() >= source;
            assert!(!is_wanted || is_current, "stream {id} ({:?}) is behind its source", stream.form);
            for (cursor, &link) in stream.cursors.all.iter().zip(&stream.cursors.links) {
                let conn = &self.clients[cursor.slot];
                let is_held_up = conn.flags.is_blocked
                    || !conn.is_live()
                    || self.is_in_time(cursor, link)
                    || self.subscriptions.terms(link).is_some_and(|terms| terms.interval_ns > 0);
                let head = if stream.is_asleep { source } else { stream.log.next() };
                assert!(
                    is_held_up || cursor.position >= head,
                    "{cursor:?} is forgotten, the head is {head:?}: {conn:?}"
                );
            }
        }
    }

    /// True if a cursor waits for the moment of its latency budget, and that comes in time.
    fn is_in_time(&self, cursor: &Cursor, link: u32) -> bool {
        let left_ms = self.subscriptions.clock.left_ms(link, self.pace.now_ns);
        assert_eq!(cursor.is_waiting(), left_ms.is_some(), "{cursor:?}");
        left_ms.is_some_and(|left| left <= self.subscriptions.link(link).budget_ms.into())
    }

    /// Panics if somebody stands before what a critical lane has forgotten, and was not sent away for it.
    fn check_critical(&self, stream: &Stream) {
        // A derived log that is built again begins where its source does: who was before that is told when it is looked at.
        if self.lanes.lane(stream.lane).priority != Priority::Critical || stream.form != Form::Raw {
            return;
        }
        let floor = stream.log.floor();
        for cursor in &stream.cursors.all {
            let is_lost = cursor.position < floor && self.clients[cursor.slot].is_live();
            assert!(
                !is_lost,
                "{cursor:?} has lost critical messages, the oldest is {floor:?}: {:?}",
                self.clients[cursor.slot]
            );
        }
    }

    /// What the last turn did.
    pub fn last_work(&self) -> Work {
        self.pace.work
    }

    /// Panics if a table holds more than the printed sum of memory has for it.
    fn check_tables(&self) {
        let (config, shards) = (&self.shared.config, self.shared.mailboxes.len());
        let slots = self.ears.slots as usize;
        for cause in Cause::ALL {
            let waiters = self.waiters.len(cause);
            assert!(waiters <= 2 * slots + 64, "{waiters} entries of {slots} connections wait for {cause:?}");
        }
        let held = self.clients.held_bytes() + self.subscriptions.asked.bytes();
        let share = config.memory.client_bytes / shards + slots * HELD_SPARE;
        assert!(held <= share, "{held} bytes are held for clients, allowed {share}");
        let cursors = config.cursors_max.div_ceil(shards as u32) as usize;
        let (links, memberships) = (self.subscriptions.cursors(), self.subscriptions.len());
        assert!(links <= cursors && memberships <= cursors, "{links} cursors, {memberships} memberships of {cursors}");
        assert!(
            self.subscriptions.paced.len() <= cursors + slots,
            "{} wait for their time",
            self.subscriptions.paced.len()
        );
        let topics = self.topics.names().len();
        assert!(topics <= config.topics_max as usize, "{topics} topics of {}", config.topics_max);
    }

    /// Panics if a source log has not just the attributes that were said of each message in it.
    pub fn check_attributes(&self, said: impl Fn((TopicId, Priority), u64) -> Vec<u8>) {
        let mut scratch = Vec::new();
        for (_, topic) in self.topics.all() {
            for (priority, &lane) in Priority::ALL.into_iter().zip(&topic.lanes).filter(|(_, lane)| **lane != NONE) {
                let log = &self.lanes.source(lane).log;
                for entry in log.entries_from(Position::FIRST) {
                    let held = log.attributes(entry.position, &mut scratch);
                    assert_eq!(held, said((topic.id, priority), entry.position.0), "{} {priority}", topic.name);
                }
            }
        }
    }

    /// Panics if a log holds more than it may, or the last turn did more than it may.
    pub fn check_budgets(&self) {
        let (steps, most) = (self.pace.work.steps(), turn_steps_max(self.shared.config.limits.message_bytes_max));
        assert!(steps <= most, "a turn of {steps} steps, allowed {most}: {:?}", self.pace.work);
        self.check_tables();
        for (_, stream) in self.lanes.streams() {
            // One frame above the budget is kept alone, with the blocks that its ends lie in.
            let log = &stream.log;
            let newest = log.last().map_or(0, |e| e.len as usize);
            let most = log.budget_bytes().max(newest + 2 * BLOCK_BYTES_MAX + 1_024);
            assert!(log.charged_bytes() <= most, "a log of {} bytes, allowed {most}", log.charged_bytes());
            self.check_critical(stream);
        }
    }
}
