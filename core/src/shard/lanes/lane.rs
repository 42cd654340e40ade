//! A topic's messages of one priority, and which of them is the newest of its key.

use std::collections::HashMap;

use super::form::FORMS;
use super::numbers::Remembered;
use crate::config::SlowPolicy;
use crate::log::{Log, Position};
use crate::shard::table::NONE;
use crate::types::Priority;

/// See the module's head.
#[derive(Debug)]
pub struct Lane {
    /// The topic's place.
    pub topic: u32,
    /// The priority.
    pub priority: Priority,
    /// Streams by [`super::Form`]; [`NONE`] where nobody wants that form.
    pub streams: [u32; FORMS],
    /// Its source has frames that its derived logs may not have yet.
    pub has_grown: bool,
    /// Some of its messages expire, or have keys: cursors that lag look at each frame.
    pub is_picky: bool,
    /// Who loses one of its messages by lagging is sent away: it is critical, or its topic's policy is to disconnect.
    pub is_lossless: bool,
    /// Latency budget of its topic in milliseconds; 0: none, as for critical lanes.
    pub deliver_within_ms: u16,
    /// Largest latency budget that a cursor in it has had.
    pub budget_ms_max: u16,
    /// Cursors before this message are visited at once, whatever their budgets: it expires soon.
    pub visit_before: Position,
    /// Which message is the newest of its key, where the topic's policy is to keep only that.
    pub keys: Keys,
    /// Numbers at which cursors stand below the logs, where numbers are not positions.
    pub(super) remembered: Remembered,
}

impl Lane {
    /// A lane without logs.
    pub fn new(topic: u32, priority: Priority, policy: SlowPolicy) -> Self {
        Self {
            topic,
            priority,
            streams: [NONE; FORMS],
            has_grown: false,
            is_picky: false,
            is_lossless: priority == Priority::Critical || policy == SlowPolicy::Disconnect,
            deliver_within_ms: 0,
            budget_ms_max: 0,
            visit_before: Position::FIRST,
            keys: Keys::default(),
            remembered: Remembered::default(),
        }
    }
}

impl Lane {
    /// A message is there for so many milliseconds only: no latency budget may use half of that.
    #[cold]
    pub fn note_ttl(&mut self, ttl_ms: u32, position: Position) {
        if ttl_ms / 2 < self.budget_ms_max.into() {
            self.visit_before = position + 1;
        }
    }
}

/// The newest message of each key that the source log holds.
#[derive(Debug, Default)]
pub struct Keys {
    newest: HashMap<u64, Position>,
    /// The last message that was the newest of its key when the log forgot it; 0: none was.
    forgotten: Position,
}

/// Messages looked at, of one lane and cursor, to find out whether the newest of some key is lost.
const LOOKS_MAX: usize = 256;

impl Keys {
    /// A message arrives.
    pub fn note(&mut self, key: u64, position: Position) {
        self.newest.insert(key, position);
    }

    /// The log forgets a message, or never had room for it.
    pub fn forget(&mut self, key: u64, position: Position) {
        if self.newest.get(&key) == Some(&position) {
            self.newest.remove(&key);
            self.forgotten = self.forgotten.max(position);
        }
    }

    /// Messages before `next` are missing, whatever their keys.
    pub fn skip_to(&mut self, next: Position) {
        self.forgotten = self.forgotten.max(next.back(1));
    }

    /// True if a newer message has the same key.
    pub fn is_superseded(&self, key: u64, position: Position) -> bool {
        self.newest.get(&key).is_some_and(|&newest| newest > position)
    }

    /// Whether the newest message of some key is among those from `from` to before `next`, which a log does not have any more. `source`:
    /// the lane's source log, which may still have them. A range that is too long to be looked through counts as a loss.
    pub fn has_lost(&self, source: &Log, from: Position, next: Position) -> bool {
        if self.forgotten >= from {
            return true;
        }
        let held = source.entries_from(from).take_while(|e| e.position < next);
        for (looks, entry) in held.enumerate() {
            if looks >= LOOKS_MAX || self.newest.get(&entry.key) == Some(&entry.position) {
                return true;
            }
        }
        false
    }

    /// True if no key is remembered, as where the policy is another.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Keys remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.newest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{BlockPool, Edge, Entry, Frame, FramePayload, Referrer};
    use crate::types::{ConnectionId, Kind};

    fn push(log: &mut Log, pool: &mut BlockPool, keys: &mut Keys, key: u64) {
        let frame = Frame {
            position: log.next(),
            seq: log.last_seq().next(),
            count: 1,
            time_ns: 0,
            expiry_ns: 0,
            key,
            origin: ConnectionId::HOST,
            is_sender_excluded: false,
            kind: Kind::Binary,
            header: &[],
            payload: FramePayload::Copied(&[7; 1_000]),
            tail: &[],
            attributes: &[],
        };
        keys.note(key, frame.position);
        assert!(log.append(&frame, pool));
    }

    #[test]
    fn only_the_newest_of_a_key_is_missed() {
        let (mut log, mut pool) = (Log::new(Edge::START, 1 << 20, Referrer::Source), BlockPool::new(1 << 20));
        let mut keys = Keys::default();
        for key in [1, 2, 1, 2, 3] {
            push(&mut log, &mut pool, &mut keys, key);
        }
        let at = Position;
        assert!(keys.is_superseded(1, at(1)) && !keys.is_superseded(1, at(3)) && !keys.is_superseded(9, at(1)));
        assert!(!keys.has_lost(&log, at(1), at(3)), "1 and 2 have newer ones of their keys");
        assert!(keys.has_lost(&log, at(1), at(4)), "3 is the newest of key 1");
        assert!(!keys.has_lost(&log, at(6), at(6)));
    }

    #[test]
    fn what_the_log_forgets_is_remembered_as_lost_only_if_it_was_the_newest() {
        let (mut log, mut pool) = (Log::new(Edge::START, 1 << 20, Referrer::Source), BlockPool::new(1 << 20));
        let mut keys = Keys::default();
        for key in [1, 2, 1] {
            push(&mut log, &mut pool, &mut keys, key);
        }
        let entries: Vec<Entry> = log.entries_from(Position::FIRST).copied().collect();
        keys.forget(entries[0].key, entries[0].position);
        let has_lost = |keys: &Keys, from, next| keys.has_lost(&log, Position(from), Position(next));
        assert!(!has_lost(&keys, 1, 2));
        keys.forget(entries[1].key, entries[1].position);
        assert!(has_lost(&keys, 1, 2) && has_lost(&keys, 2, 3) && !has_lost(&keys, 3, 3));
        assert_eq!(keys.len(), 1, "no more keys than messages");
    }
}
