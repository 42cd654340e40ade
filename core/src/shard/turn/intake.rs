//! Intake: records of the ring become frames in logs; topics and lanes that come to be are brought to those who asked.

use crate::driver::Driver;
use crate::ingest::{Record, RecordKind};
use crate::shard::Shard;
use crate::shard::budget::{RECORDS_LEAST, RECORDS_UNTIL_NS};
use crate::shard::host::outlets::Named;
use crate::shard::lanes::Appended;
use crate::shard::subscriptions::{Has, SpreadTo};
use crate::shard::table::NONE;
use crate::shard::turn::ends::ENDED_MAX;
use crate::telemetry::SysTopic;
use crate::types::{Priority, TopicId};

impl<D: Driver> Shard<D> {
    /// Reads records, as far as the budget goes.
    pub(super) fn read_ring(&mut self) {
        let Some(mut reader) = self.ears.reader.take() else { return };
        let may_read = self.may_read(&mut reader) && self.ears.held_end.is_none();
        let mut seen = 0u32;
        while may_read && !self.pace.work.records.is_spent() && self.topics.leaving().len() < ENDED_MAX {
            if self.lanes.is_in_haste() {
                break;
            }
            if seen != 0 && seen.is_multiple_of(RECORDS_LEAST) && !self.has_time_until(RECORDS_UNTIL_NS) {
                break;
            }
            // By reference: moved out, it would be copied.
            let next = reader.next();
            let Some(record) = &next else { break };
            seen += 1;
            if seen == 1 && record.head.kind == RecordKind::Message {
                let shared = &self.shared;
                self.pace.stopwatch.compare(self.pace.now_ns, || (shared.wall_ns)());
                self.pace.stopwatch.on_message(record.head.time_ns);
            }
            self.pace.work.records.spend(4 + (record.body.bytes().len() >> 10) as u32);
            self.on_record(record);
        }
        self.ears.reader = Some(reader);
    }

    /// A topic comes or goes: tables and indexes change.
    #[cold]
    fn on_topic_record(&mut self, record: &Record<'_>) {
        self.pace.work.records.spend(20);
        match record.head.kind {
            RecordKind::TopicCreated => self.on_topic_created(record.head.topic, record.body.bytes(), record.head.seq),
            _ if self.has_to_visit(record.head.topic) => self.hold_end(record.head.topic),
            _ => self.on_topic_removed(record.head.topic),
        }
    }

    #[inline(always)]
    fn on_record(&mut self, record: &Record<'_>) {
        match record.head.kind {
            RecordKind::Message => self.on_message(record),
            RecordKind::TopicCreated | RecordKind::TopicRemoved => self.on_topic_record(record),
            // Not written by this version of the engine.
            RecordKind::TopicPolicy | RecordKind::Epoch => {}
        }
    }

    #[inline(always)]
    fn on_message(&mut self, record: &Record<'_>) {
        let Record { head, body, .. } = record;
        let Some(topic) = self.topics.by_id(head.topic) else { return };
        let policy = topic.keeps.policy;
        let mut lane = topic.lanes[head.priority as usize];
        if lane == NONE {
            let Some(made) = self.make_lane(head.topic, head.priority) else {
                self.stats.unlogged += 1;
                return;
            };
            lane = made;
        }
        let Some(appended) = self.lanes.append_message(lane, policy, record) else {
            self.stats.out_of_order += 1;
            return;
        };
        self.stats.messages += 1;
        self.stats.message_bytes += body.bytes().len() as u64;
        if self.lanes.has_room_steps() {
            self.pace.work.records.spend(self.lanes.take_room_steps());
        }
        if self.host.listens() && self.host.may_want(record) {
            self.hand_on(lane, appended, record);
        }
        #[cfg(any(test, fuzzing))]
        if head.ttl_ms != 0 {
            let position = appended.position.0;
            self.trace.notes.push(crate::shard::trace::Note::ReadExpiring(head.topic, head.priority, position));
        }
        self.apply_effects();
    }

    /// To whom hears of messages beside the subscribers.
    #[cold]
    fn hand_on(&mut self, lane: u32, appended: Appended, record: &Record<'_>) {
        if let Some(tracer) = &self.host.tracer
            && let Some(parent) = tracer.chooses(record)
        {
            self.trace_message(lane, appended.seq, parent, record);
        }
        if !self.host.outlets.is_empty() {
            self.hand_to_outlets(appended, record);
        }
    }

    #[cold]
    fn hand_to_outlets(&mut self, appended: Appended, record: &Record<'_>) {
        let Some(topic) = self.topics.by_id(record.head.topic) else { return };
        let named = Named { name: &topic.name, epoch: topic.epoch };
        let at = (appended.position, appended.seq);
        let looks = self.host.outlets.hand_over(named, at, record, &self.shared.payloads);
        self.pace.work.records.spend(2 + looks as u32 / 8);
    }

    /// The lane of a topic's first message of this priority.
    #[cold]
    pub(super) fn make_lane(&mut self, id: TopicId, priority: Priority) -> Option<u32> {
        let index = self.topics.find(id)?;
        let topic = self.topics.get_mut(index)?;
        let lane = self.lanes.create(index, priority, topic.keeps)?;
        topic.lanes[priority as usize] = lane;
        self.is_for_more(index);
        let members = self.subscriptions.members(index).len() as u32;
        self.subscriptions.spread.on_lane(id, priority, members);
        // Before the message is there, if the budget allows.
        self.spread();
        Some(lane)
    }

    pub(super) fn on_topic_created(&mut self, id: TopicId, name: &[u8], epoch: u64) {
        // The host may have changed them since this turn began, and then made the topic.
        self.look_at_rules();
        let Some(index) = self.topics.create(id, name, epoch, &self.rules) else { return };
        let Some(topic) = self.topics.get_mut(index) else { return };
        if let Some(matching) = self.rules.topics.get(usize::from(topic.keeps.row)) {
            topic.pattern = self.shared.telemetry.patterns.number(&matching.pattern);
        }
        if let Some(sys) = SysTopic::from_name(&topic.name) {
            self.census.places[sys as usize] = index;
        }
        self.subscriptions.spread.on_topic(id, topic.number, &topic.name);
        self.subscriptions.look_at_use_of(index);
        self.spread();
    }

    /// Brings new topics and lanes to those who asked for them, as far as the budget goes.
    pub(super) fn spread(&mut self) {
        if self.subscriptions.spread.is_empty() {
            return;
        }
        let mut budget = self.pace.work.new_topics;
        while let Some(to) = self.subscriptions.spread.next(&self.subscriptions.asked, &mut budget) {
            match to {
                SpreadTo::Subscription { topic, subscription, is_literal } => {
                    if let Some(index) = self.topics.find(topic) {
                        self.join_new_topic(index, subscription, is_literal);
                    }
                }
                SpreadTo::Member { topic, priority, index } => {
                    let Some(place) = self.topics.find(topic) else { continue };
                    let Some(&membership) = self.subscriptions.members(place).get(index as usize) else { continue };
                    self.link_lane(membership, priority, Has::BeforeFirst);
                }
            }
        }
        self.pace.work.new_topics = budget;
    }
}
