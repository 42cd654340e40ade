//! A topic ends: its subscribers leave it, as many a turn as the budget allows.
//!
//! From the moment at which its end is read, nothing of it is there for anybody: no name, no message, no notice. What is left is
//! bookkeeping, and whoever does something that this could matter for has it done first ([`Shard::leave_ended`]).

use crate::driver::Driver;
use crate::shard::Shard;
use crate::shard::budget::Budget;
use crate::shard::table::NONE;
use crate::telemetry::SysTopic;
use crate::types::TopicId;

/// Topics that have ended and still have subscribers, at most: the ring is not read meanwhile.
pub(super) const ENDED_MAX: usize = 64;
/// Steps of a member that leaves.
const STEPS: u32 = 5;
/// How long the end of a topic is held at most, for messages that wait for their moment.
const HELD_END_NS: u64 = 100_000_000;
/// Cursors looked at for half-sent frames, for a step.
const CURSORS_A_STEP: usize = 64;

impl<D: Driver> Shard<D> {
    /// The end of a topic is read.
    pub(super) fn on_topic_removed(&mut self, id: TopicId) {
        let Some(index) = self.topics.find(id) else { return };
        self.is_for_more(index);
        self.host.outlets.forget(id);
        if let Some(sys) = self.topics.get(index).and_then(|topic| SysTopic::from_name(&topic.name)) {
            self.census.places[sys as usize] = NONE;
        }
        self.topics.end(index);
        let lanes = self.topics.get(index).map(|topic| topic.lanes).unwrap_or_default();
        for lane in lanes.into_iter().filter(|&lane| lane != NONE) {
            let cursors = self.lanes.silence(lane);
            self.pace.work.leaving.spend((cursors / CURSORS_A_STEP) as u32);
        }
        self.apply_effects();
        self.shared.registry.begins_laying_down();
        self.leave_ended_topics();
    }

    /// True if messages of a topic that has ended wait for the moment of a latency budget: they are to be sent now.
    #[cold]
    pub(super) fn has_to_visit(&mut self, id: TopicId) -> bool {
        if self.subscriptions.clock.is_empty() || self.ears.held_end.is_some() {
            return false;
        }
        let Some(topic) = self.topics.find(id).and_then(|index| self.topics.get(index)) else { return false };
        let mut waits = false;
        for lane in topic.lanes.into_iter().filter(|&lane| lane != NONE) {
            waits |= self.lanes.visit_all(lane);
        }
        waits
    }

    /// Nothing more of the ring is read before the topic is ended.
    pub(super) fn hold_end(&mut self, id: TopicId) {
        self.ears.held_end = Some((id, self.pace.now_ns + HELD_END_NS));
        self.lanes.make_haste();
        // Its number must not be given away meanwhile.
        self.shared.registry.begins_laying_down();
    }

    /// Ends the topic whose end was held, once its messages are sent, or have had time for that. Behind the sends of a turn: whatever
    /// else others are sent then holds it no longer.
    pub(super) fn end_held(&mut self) {
        let Some((id, until_ns)) = self.ears.held_end else { return };
        let now_ns = self.pace.now_ns;
        let is_visited = self.lanes.active.iter().all(Vec::is_empty)
            && self.clients.dirty.is_empty()
            && self.subscriptions.clock.due_ns().is_none_or(|due_ns| due_ns > now_ns);
        if !is_visited && now_ns < until_ns {
            return;
        }
        self.ears.held_end = None;
        self.on_topic_removed(id);
        self.shared.registry.has_laid_down();
    }

    /// Goes on with topics that have ended, as far as the budget goes.
    pub(super) fn leave_ended_topics(&mut self) {
        let mut budget = self.pace.work.leaving;
        while let Some(&(index, id)) = self.topics.leaving().front() {
            if !self.leave_ended_topic(index, id, &mut budget) {
                break;
            }
            let Some((_, topic)) = self.topics.remove() else { break };
            debug_assert!(topic.is_gone());
            for lane in topic.lanes.into_iter().filter(|&lane| lane != NONE) {
                self.lanes.remove(lane);
            }
            self.shared.registry.has_laid_down();
        }
        self.pace.work.leaving = budget;
    }

    /// Takes members out of a topic that has ended. True: those were all.
    fn leave_ended_topic(&mut self, index: u32, id: TopicId, budget: &mut Budget) -> bool {
        while let Some(&membership) = self.subscriptions.members(index).last() {
            if budget.is_spent() {
                return false;
            }
            budget.spend(STEPS);
            self.lose_topic(membership, id);
        }
        true
    }

    /// Takes one connection out of all topics that have ended, before something is done for which that matters. Returns its steps.
    #[inline]
    pub(super) fn leave_ended(&mut self, slot: u32) -> u32 {
        if self.topics.leaving().is_empty() { 0 } else { self.leave_each_ended(slot) }
    }

    #[cold]
    fn leave_each_ended(&mut self, slot: u32) -> u32 {
        let ended: Vec<(u32, TopicId)> = self.topics.leaving().iter().copied().collect();
        let mut steps = ended.len() as u32;
        for (index, id) in ended {
            if let Some(membership) = self.subscriptions.find(slot, index) {
                steps += STEPS;
                self.lose_topic(membership, id);
            }
        }
        steps
    }
}
