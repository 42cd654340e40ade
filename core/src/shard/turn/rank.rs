//! Topics of those that are busiest, found and written down.

use crate::driver::Driver;
use crate::log::Position;
use crate::shard::Shard;
use crate::shard::budget::Budget;
use crate::shard::census::{Busy, LaneRow, Stage, TopicRow};
use crate::shard::lanes::Form;
use crate::shard::table::NONE;
use crate::telemetry::{SysTopic, is_sys};

/// Places looked at in one piece.
const PLACES_A_PIECE: u32 = 64;
/// What one row counts for.
const STEPS: u32 = 40;

impl<D: Driver> Shard<D> {
    /// A piece of the topics: the busiest.
    pub(super) fn walk_topics(&mut self, from: u32, budget: &mut Budget) {
        let end = if self.census.round.wanted.has(SysTopic::Topics) { self.topics.places() } else { 0 };
        let to = end.min(from + PLACES_A_PIECE);
        budget.spend(1 + 3 * to.saturating_sub(from));
        for place in from..to {
            let Some(topic) = self.topics.get(place).filter(|topic| !is_sys(&topic.name)) else { continue };
            let (mut published, mut bytes) = (0, 0);
            for &lane in topic.lanes.iter().filter(|&&lane| lane != NONE) {
                let log = &self.lanes.source(lane).log;
                published += log.next() - Position::FIRST;
                bytes += log.head();
            }
            let (messages, bytes) = self.census.count_topic(place, topic.id, published, bytes);
            self.census.round.found.topics_total += 1;
            self.census.round.busiest.offer(Busy { messages, published, bytes, place });
        }
        if to < end {
            self.census.round.stage = Stage::Topics(to);
            return;
        }
        self.census.round.busy = self.census.round.busiest.take();
        self.census.round.stage = Stage::Rows(0);
    }

    /// The next of the topics that are busiest.
    pub(super) fn describe_topic(&mut self, next: usize, budget: &mut Budget) {
        let Some(&busy) = self.census.round.busy.get(next) else {
            self.end_round();
            return;
        };
        self.census.round.stage = Stage::Rows(next + 1);
        budget.spend(STEPS);
        let Some(topic) = self.topics.get(busy.place) else { return };
        let lanes = topic.lanes.map(|lane| (lane != NONE).then(|| self.lane_row(lane)));
        self.census.round.found.topics.push(TopicRow {
            name: topic.name.clone(),
            subscribers: self.subscriptions.members(busy.place).len() as u64,
            busy,
            dropped: topic.dropped.iter().sum(),
            lanes,
        });
    }

    fn lane_row(&self, lane: u32) -> LaneRow {
        let log = &self.lanes.source(lane).log;
        let streams = self.lanes.lane(lane).streams;
        let behind = streams.iter().filter(|&&id| id != NONE).map(|&id| self.lanes.stream(id).behind);
        debug_assert!(streams[Form::Raw as usize] != NONE);
        LaneRow {
            messages: log.next() - log.floor(),
            bytes: log.lag_bytes(log.floor()),
            capacity: log.budget_bytes() as u64,
            behind: behind.max().unwrap_or(0),
        }
    }
}
