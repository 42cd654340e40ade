//! Intake: ring records become frames in logs.

use super::Shard;
use super::interest::Start;
use std::collections::HashMap;
use std::time::Duration;

use super::table::NONE;
use super::topics::{FORMS, Form, Lane, Membership, Stream, TopicState};
use super::{RECORD_BYTES_PER_TURN, RECORDS_PER_TURN};
use crate::config::{SlowPolicy, TopicConfig, nanoseconds};
use crate::driver::Driver;
use crate::ingest::{Body, Head, Record, RecordKind};
use crate::log::{Frame, FramePayload, Log, Referrer};
use crate::proto::encoder;
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::proto::topic::Pattern;
use crate::proto::{json, msgpack};
use crate::registry::topic_index;
use crate::types::{Kind, Priority, TopicId};
use crate::usdt::{self, DropReason};

/// How long a batch may stay open where the topic's configuration does not say.
const BATCH_WINDOW: Duration = Duration::from_millis(5);
/// In a record's flags: its publisher does not want it back.
pub const FLAG_SENDER_EXCLUDED: u8 = 1;

impl<D: Driver> Shard<D> {
    /// Reads a bounded number of records.
    pub(super) fn read_ring(&mut self) {
        let Some(mut reader) = self.reader.take() else { return };
        let mut bytes = 0;
        for _ in 0..RECORDS_PER_TURN {
            let Some(record) = reader.next() else { break };
            bytes += record.body.bytes().len();
            self.on_record(&record);
            if bytes >= RECORD_BYTES_PER_TURN {
                break;
            }
        }
        self.reader = Some(reader);
    }

    fn on_record(&mut self, record: &Record<'_>) {
        match record.head.kind {
            RecordKind::Message => self.on_message(&record.head, &record.body),
            RecordKind::TopicCreated => self.on_topic_created(record.head.topic, record.body.bytes()),
            RecordKind::TopicRemoved => self.on_topic_removed(record.head.topic),
            // Not written by this version of the engine.
            RecordKind::TopicPolicy | RecordKind::Epoch => {}
        }
    }

    fn on_message(&mut self, head: &Head, body: &Body<'_>) {
        let topic = topic_index(head.topic);
        let is_known = self.topics.get(topic as usize).and_then(Option::as_ref).is_some_and(|t| t.id == head.topic);
        if !is_known {
            return;
        }
        let Some(lane) = self.lane(topic, head.priority) else {
            self.stats.unlogged += 1;
            return;
        };
        self.stats.messages += 1;
        self.stats.message_bytes += body.bytes().len() as u64;
        let opcode = if head.payload_kind == Kind::Binary { Opcode::Binary } else { Opcode::Text };
        let mut header = [0; HEADER_BYTES_MAX];
        let header_len = encoder::header(&mut header, opcode, body.bytes().len() as u64, false);
        let source = self.lanes[lane].streams[Form::Raw as usize];
        let seq = self.streams[source].log.next_seq();
        let is_latest = self.topics[topic as usize].as_ref().is_some_and(|t| t.policy == SlowPolicy::Latest);
        #[cfg(any(test, fuzzing))]
        if head.ttl_ms != 0 {
            self.trace.notes.push(super::trace::Note::ReadExpiring(head.topic, head.priority, seq));
        }
        self.lanes[lane].is_picky |= head.ttl_ms != 0 || is_latest;
        if is_latest {
            self.note_latest(lane, source, head.key, seq);
        }
        let frame = Frame {
            seq,
            count: 1,
            time_ns: head.time_ns,
            expiry_ns: if head.ttl_ms == 0 {
                0
            } else {
                head.time_ns.saturating_add(u64::from(head.ttl_ms) * 1_000_000)
            },
            key: head.key,
            origin: head.origin,
            is_sender_excluded: head.flags & FLAG_SENDER_EXCLUDED != 0,
            kind: head.payload_kind,
            header: &header[..header_len],
            payload: match body {
                Body::Inline(bytes) => FramePayload::Copied(bytes),
                Body::Shared(payload) => FramePayload::Shared(payload),
            },
            tail: &[],
        };
        self.append(source, &frame);
        if !std::mem::replace(&mut self.lanes[lane].has_grown, true) {
            self.grown.push(lane);
        }
        self.activate(source);
    }

    /// Remembers which message is the newest of its key, and forgets keys that have left the log.
    fn note_latest(&mut self, lane: u32, source: u32, key: u64, seq: u64) {
        let log = &self.streams[source].log;
        let Lane { latest, latest_forgotten, .. } = &mut self.lanes[lane];
        latest.insert(key, seq);
        if latest.len() > 2 * log.frames() + 64 {
            let floor = log.floor_seq();
            latest.retain(|_, seq| {
                if *seq < floor {
                    *latest_forgotten = (*latest_forgotten).max(*seq);
                }
                *seq >= floor
            });
        }
    }

    /// Gives up what a derived log could have had between its head and `target`.
    pub(super) fn lose_until(&mut self, id: u32, target: u64) {
        self.forget_all(id);
        self.streams[id].log.skip(target - 1);
    }

    /// Puts a stream on the list of those with news, if anyone listens.
    pub(super) fn activate(&mut self, id: u32) {
        let stream = &mut self.streams[id];
        if !stream.is_active && !stream.cursors.subs.is_empty() {
            stream.is_active = true;
            let priority = self.lanes[stream.lane].priority;
            self.active[priority as usize].push(id);
        }
    }

    /// Appends to a stream's log: makes room within its budget first, and takes from less important lanes when the pool is
    /// dry, or when the logs refer to so many payloads that there is no room to publish more: if that does not help, a payload is
    /// copied instead. If there is no memory at all, the frame is left out, and whoever has not had it is told so.
    pub(super) fn append(&mut self, id: u32, frame: &Frame<'_>) {
        if frame.seq != self.streams[id].log.next_seq() {
            // A derived log whose source has lost frames already. A log has no holes: a cursor runs from its place to the head
            // without looking at numbers.
            self.forget_all(id);
        }
        while self.streams[id].log.is_over_budget_with(frame) && self.forget_oldest(id) {}
        let mut frame = *frame;
        loop {
            let Self { streams, pool, .. } = self;
            if let FramePayload::Shared(payload) = frame.payload
                && pool.lacks_references(streams[id].log.referrer(), payload.held_bytes())
            {
                if !self.make_reference_room(id) {
                    frame.payload = FramePayload::Copied(payload);
                }
                continue;
            }
            if streams[id].log.append(&frame, pool) {
                // A frame that was too large to make room for goes as soon as it is not the newest any more.
                while self.streams[id].log.is_over_budget() && self.forget_oldest(id) {}
                return;
            }
            if !self.make_room_for(id) {
                self.forget_all(id);
                self.streams[id].log.skip(frame.seq + u64::from(frame.count) - 1);
                self.stats.unlogged += 1;
                self.probe_drop(usdt::NOBODY, id, frame.count.into(), DropReason::NoMemory);
                return;
            }
        }
    }

    /// Frees the oldest segment of some log: of the least important lane that has more than its newest frame, the one that
    /// holds most. False: there is nothing left to free at or below the priority of stream `id`.
    fn make_room_for(&mut self, id: u32) -> bool {
        let own = self.lanes[self.streams[id].lane].priority;
        let victim = (0..self.streams.end())
            .filter(|&s| self.streams[s].is_in_use() && self.streams[s].log.survivor_of_forgetting().is_some())
            .filter(|&s| self.lanes[self.streams[s].lane].priority >= own)
            .max_by_key(|&s| (self.lanes[self.streams[s].lane].priority, self.streams[s].log.charged_bytes()));
        victim.is_some_and(|victim| self.forget_oldest(victim))
    }

    /// As [`Shard::make_room_for`], of the logs that are counted together with this one, by what they refer to.
    fn make_reference_room(&mut self, id: u32) -> bool {
        let own = self.lanes[self.streams[id].lane].priority;
        let referrer = self.streams[id].log.referrer();
        let victim = (0..self.streams.end())
            .filter(|&s| self.streams[s].is_in_use() && self.streams[s].log.referrer() == referrer)
            .filter(|&s| self.streams[s].log.referred_bytes() > 0)
            .filter(|&s| self.streams[s].log.survivor_of_forgetting().is_some())
            .filter(|&s| self.lanes[self.streams[s].lane].priority >= own)
            .max_by_key(|&s| (self.lanes[self.streams[s].lane].priority, self.streams[s].log.referred_bytes()));
        victim.is_some_and(|victim| self.forget_oldest(victim))
    }

    /// Forgets the oldest segment of a log, whatever cursors stand in it: half-sent frames move out first, and those who would
    /// lose a critical message are evicted.
    fn forget_oldest(&mut self, id: u32) -> bool {
        let Some(survivor) = self.streams[id].log.survivor_of_forgetting() else { return false };
        let is_critical = self.lanes[self.streams[id].lane].priority == Priority::Critical;
        if self.streams[id].cursors.partials > 0 {
            for index in 0..self.streams[id].cursors.subs.len() {
                let sub = self.streams[id].cursors.subs[index];
                if sub.seq >= survivor {
                    continue;
                }
                if sub.partial() != 0 {
                    self.move_rest_out(id, index);
                }
            }
        }
        let Self { streams, pool, .. } = self;
        streams[id].log.forget_oldest(pool);
        if is_critical {
            let mut index = 0;
            while let Some(sub) = self.streams[id].cursors.subs.get(index).copied() {
                let links = self.streams[id].cursors.links.len();
                if sub.seq < survivor {
                    self.evict(sub.slot, "too slow for critical messages");
                }
                // An evicted connection's cursor is gone, and another stands in its place.
                index += usize::from(self.streams[id].cursors.links.len() == links);
            }
        }
        true
    }

    /// Forgets all that a log holds, so that a frame may be missing after it.
    pub(super) fn forget_all(&mut self, id: u32) {
        while self.forget_oldest(id) {}
        for index in 0..self.streams[id].cursors.subs.len() {
            if self.streams[id].cursors.subs[index].partial() != 0 {
                self.move_rest_out(id, index);
            }
        }
        let Self { streams, pool, .. } = self;
        streams[id].log.clear(pool);
    }

    /// The lane of a topic and priority, made at its first message.
    fn lane(&mut self, topic: u32, priority: Priority) -> Option<u32> {
        let state = self.topics[topic as usize].as_ref()?;
        let lane = state.lanes[priority as usize];
        if lane != NONE {
            return Some(lane);
        }
        let lane_bytes = state.lane_bytes;
        let lane = self.lanes.insert(Lane {
            topic,
            priority,
            streams: [NONE; FORMS],
            has_grown: false,
            is_picky: false,
            latest: HashMap::new(),
            latest_forgotten: 0,
        })?;
        let threshold = self.shared.config.compression.threshold_bytes;
        let source =
            self.streams.insert(Stream::new(Log::new(1, lane_bytes, Referrer::Source), lane, Form::Raw, threshold))?;
        self.lanes[lane].streams[Form::Raw as usize] = source;
        let state = self.topics[topic as usize].as_mut()?;
        state.lanes[priority as usize] = lane;
        let mut i = 0;
        while let Some(membership) = self.member(topic, i) {
            self.link_lane(membership, priority, Start::FIRST);
            // For want of a cursor it may have been evicted; then another stands in its place.
            i += usize::from(self.member(topic, i) == Some(membership));
        }
        Some(lane)
    }

    fn member(&self, topic: u32, index: usize) -> Option<u32> {
        self.topics[topic as usize].as_ref()?.members.get(index).copied()
    }

    fn on_topic_created(&mut self, id: TopicId, name: &[u8]) {
        let epoch = self.shared.epochs.of(self.topics_created);
        self.topics_created += 1;
        let Ok(name) = std::str::from_utf8(name) else { return };
        let index = topic_index(id);
        let settings = self.settings(name);
        let mut escaped = Vec::new();
        json::escape_topic(name, &mut escaped);
        let mut packed = Vec::new();
        msgpack::pack_topic(name, &mut packed);
        while self.topics.len() <= index as usize {
            self.topics.push(None);
        }
        self.topics[index as usize] = Some(TopicState {
            id,
            name: name.into(),
            epoch,
            escaped: escaped.into(),
            packed: packed.into(),
            lanes: [NONE; 4],
            members: Vec::new(),
            retention: settings.retention,
            policy: settings.policy,
            batch_window_ns: nanoseconds(settings.batch_window.unwrap_or(BATCH_WINDOW)),
            lane_bytes: settings.lane_bytes.unwrap_or(self.shared.config.memory.lane_bytes),
            dropped: [0; 4],
        });
        self.topic_names.insert(name.into(), index);
        self.on_new_topic(index);
    }

    fn settings(&self, name: &str) -> TopicConfig {
        let config = &self.shared.config;
        let matching = config.topics.iter().find(|t| Pattern::parse(&t.pattern).is_ok_and(|p| p.matches(name)));
        matching.cloned().unwrap_or_default()
    }

    fn on_topic_removed(&mut self, id: TopicId) {
        let index = topic_index(id);
        if self.topics.get(index as usize).and_then(Option::as_ref).is_none_or(|t| t.id != id) {
            return;
        }
        while let Some(&membership) = self.topics[index as usize].as_ref().and_then(|t| t.members.last()) {
            let Membership { slot, is_literal, .. } = self.memberships[membership];
            let wishes = self.wishes_of(membership);
            self.leave(membership);
            if is_literal {
                self.await_topic(slot, index, wishes);
            }
        }
        let Some(state) = self.topics[index as usize].take() else { return };
        self.topic_names.remove(&state.name);
        for lane in state.lanes.into_iter().filter(|&l| l != NONE) {
            for stream in self.lanes[lane].streams.into_iter().filter(|&s| s != NONE) {
                self.free_stream(stream);
            }
            self.grown.retain(|&l| l != lane);
            self.still_growing.retain(|&l| l != lane);
            self.lanes.remove(lane);
        }
    }

    /// Gives a stream's memory back. It must have no cursors.
    pub(super) fn free_stream(&mut self, id: u32) {
        let Self { streams, pool, active, .. } = self;
        let stream = &mut streams[id];
        debug_assert!(stream.cursors.subs.is_empty());
        stream.log.clear(pool);
        stream.retire();
        for list in active {
            list.retain(|&s| s != id);
        }
        streams.remove(id);
    }
}
