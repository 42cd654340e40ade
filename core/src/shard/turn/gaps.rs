//! Messages that a cursor has lost: accounted for once, and told where the protocol can.

use crate::driver::Driver;
use crate::event::Protocol;
use crate::log::Position;
use crate::proto::server_message::{Gap, GapReason, Missing, ServerMessage};
use crate::shard::Shard;
use crate::shard::subscriptions::Lost;
use crate::shard::topics::Topic;
use crate::telemetry::{PatternNumber, Reason};
use crate::types::Priority;
use crate::usdt::{self, DropReason};

impl<D: Driver> Shard<D> {
    /// As [`Shard::announce_gap`], of the messages from the cursor's on to before `next`, which its logs do not have any more.
    pub(super) fn announce_lag(&mut self, slot: u32, stream: u32, from: Position, next: Position) -> bool {
        let lost = self.lost_by_lag(stream, from, next);
        self.announce_gap(slot, stream, &lost)
    }

    /// What a cursor that stands at `from` loses where it goes on at `next`.
    pub(super) fn lost_by_lag(&self, stream: u32, from: Position, next: Position) -> Lost {
        let (first, last) = (self.lanes.seq_at(stream, from), self.lanes.seq_before(stream, next));
        Lost { from: first, to: last, count: Some(next - from), reason: GapReason::Lag }
    }

    /// Accounts for messages that a cursor has lost, and tells its client where the protocol can. False: no room to tell it
    /// now, so the cursor must stay where it is.
    pub(super) fn announce_gap(&mut self, slot: u32, stream: u32, lost: &Lost) -> bool {
        let &Lost { from, to, count, reason } = lost;
        let lane = self.lanes.lane_of(stream);
        let (topic, priority) = (lane.topic, lane.priority);
        if self.topics.get(topic).is_none_or(Topic::is_gone) {
            return true;
        }
        if self.clients[slot].protocol != Protocol::Raw {
            if !self.clients.extra(slot).has_control_room() {
                return false;
            }
            let Some(state) = self.topics.get(topic) else { return true };
            let name = state.name.clone();
            let missing = match count {
                None => Missing::Unknown,
                Some(count) if count == to.0 - from.0 + 1 => Missing::All,
                Some(count) => Missing::Some(count),
            };
            let gap = Gap { topic: name.as_ref().into(), priority, from: from.0, to: to.0, missing, reason };
            self.tell(slot, &ServerMessage::Gap(gap));
        }
        self.stats.gaps += 1;
        let lost_count = lost.count_at_most();
        self.note_loss(slot, stream, lost, reason.name());
        self.note_drop(slot, stream, lost_count, drop_reason(reason));
        #[cfg(any(test, fuzzing))]
        self.trace_lost(slot, topic, priority, *lost);
        if reason != GapReason::Lag {
            // Lost before this cursor was there.
            return true;
        }
        if let Some(state) = self.topics.get_mut(topic) {
            state.dropped[priority as usize] += lost_count;
        }
        match priority {
            Priority::Critical => self.stats.dropped_critical += lost_count,
            Priority::High => self.stats.dropped_high += lost_count,
            Priority::Normal => self.stats.dropped_normal += lost_count,
            Priority::Low => self.stats.dropped_low += lost_count,
        }
        true
    }

    pub(super) fn note_passed_over(&mut self, slot: u32, stream: u32, count: u64) {
        if count > 0 {
            self.stats.passed_over += count;
            self.note_drop(slot, stream, count, DropReason::PassedOver);
        }
    }

    /// Counts, and tells tracers of, messages that a connection does not get, or ([`usdt::NOBODY`]) no one gets.
    pub(super) fn note_drop(&self, slot: u32, stream: u32, count: u64, reason: DropReason) {
        let lane = self.lanes.lane_of(stream);
        let topic = self.topics.get(lane.topic);
        let pattern = topic.map_or_else(PatternNumber::default, |topic| topic.pattern);
        self.instruments().drops.note(pattern, lane.priority, reason_of(reason), count);
        let topic = topic.map_or(lane.topic, |t| t.id.0);
        usdt::drop(self.number.into(), slot, topic, lane.priority as u32, count, reason as u32);
    }
}

/// What it is counted by.
fn reason_of(reason: DropReason) -> Reason {
    match reason {
        DropReason::Lag => Reason::Lag,
        DropReason::Retention => Reason::Retention,
        // Both tell numbers that are not this engine's.
        DropReason::Epoch | DropReason::NodeChanged => Reason::Epoch,
        DropReason::PassedOver => Reason::PassedOver,
        DropReason::NoMemory => Reason::NoMemory,
    }
}

fn drop_reason(reason: GapReason) -> DropReason {
    match reason {
        GapReason::Lag => DropReason::Lag,
        GapReason::Retention => DropReason::Retention,
        GapReason::Epoch => DropReason::Epoch,
        GapReason::NodeChanged => DropReason::NodeChanged,
    }
}
