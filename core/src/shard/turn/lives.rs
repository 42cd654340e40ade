//! Topics are opened for those who name them, and given back when nobody here names them any more.

use crate::driver::Driver;
use crate::registry::{MayMake, Opened, TopicError, User};
use crate::shard::Shard;
use crate::shard::admission::What;
use crate::shard::clients::Phase;
use crate::shard::table::NONE;
use crate::shard::topics::Topic;
use crate::shard::turn::subscribe::SubscribeError;
use crate::telemetry::SysTopic;
use crate::types::TopicId;

/// Topics looked at in one turn, at most.
const LOOKED_AT_PER_TURN: usize = 64;
/// Steps that each of them counts for.
const STEPS: u32 = 4;

impl From<TopicError> for SubscribeError {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::WouldBlock => SubscribeError::Busy,
            TopicError::TooMany => SubscribeError::TooManyTopics,
            TopicError::Stopped => SubscribeError::Stopped,
            // No client asks for an epoch.
            TopicError::Name(_) | TopicError::Reserved | TopicError::OtherEpoch(_) | TopicError::NoEpoch(_) => {
                SubscribeError::Malformed
            }
        }
    }
}

impl<D: Driver> Shard<D> {
    /// A topic's number, for a connection that subscribes to it by its name. Until a subscription stands for it, it is kept to the end
    /// of the turn, or of the connection's handshake. `will_publish`: it connects to publish to it, too, and may.
    pub(super) fn open_for_subscriber(
        &mut self,
        slot: u32,
        name: &str,
        will_publish: bool,
    ) -> Result<TopicId, SubscribeError> {
        if SysTopic::from_name(name).is_some() {
            // The engine is about to publish there.
            self.shared.registry.open(name, User::Publisher, self.shared.to_ring(), false)?;
        }
        let made_max = self.rules.limits.topics_per_connection_max;
        let has_taken = self.admission.seated.take(slot, What::Topics, &self.shared.counted.subjects);
        let may_make = match has_taken && self.subscriptions.of(slot).made < made_max {
            false => MayMake::Nothing,
            true if will_publish => MayMake::Any,
            true => MayMake::WithinShare,
        };
        let user = User::Shard { number: self.number, may_make };
        let opened = self.shared.registry.open(name, user, self.shared.to_ring(), false);
        if has_taken && !matches!(opened, Ok(Opened { is_new: true, .. })) {
            self.admission.seated.give_back(slot, What::Topics, &self.shared.counted.subjects);
        } else if !has_taken && opened.is_err() {
            self.stats.refused_for_subject += 1;
        }
        let Opened { id, is_new, .. } = opened?;
        let life = self.topics.life_mut(id);
        life.is_held = true;
        life.opened_for = Some(self.clients.id(slot));
        if is_new {
            life.made_for = life.opened_for;
            self.subscriptions.of_mut(slot).made += 1;
        }
        if let Some(index) = self.topics.find(id) {
            self.subscriptions.look_at_use_of(index);
        }
        Ok(id)
    }

    /// A topic's number, for a message that a client is about to publish.
    pub(super) fn open_for_publisher(&mut self, slot: u32, name: &str) -> Result<TopicId, SubscribeError> {
        let known = self.topics.names().find(name).and_then(|index| self.topics.get(index));
        if let Some(topic) = known.filter(|topic| topic.is_published()) {
            return Ok(topic.id);
        }
        let id = self.open_within_subject(slot, name)?.id;
        if let Some(topic) = self.topics.find(id).and_then(|index| self.topics.get_mut(index)) {
            topic.life.is_published = true;
        }
        Ok(id)
    }

    /// A topic is not there for the connection alone that it was made for, or not any more.
    pub(super) fn is_for_more(&mut self, topic: u32) {
        let Some(maker) = self.topics.get_mut(topic).and_then(|topic| topic.life.made_for.take()) else { return };
        if let Some(slot) = self.clients.find(maker) {
            let subscriber = self.subscriptions.of_mut(slot);
            debug_assert!(subscriber.made > 0, "{maker} made it");
            subscriber.made = subscriber.made.saturating_sub(1);
            self.admission.seated.give_back(slot, What::Topics, &self.shared.counted.subjects);
        }
    }

    /// Tells the registry of topics that nobody here has subscribed to by name any more, or that somebody now has.
    pub(super) fn give_back_topics(&mut self) {
        if self.shared.registry.has_idle() {
            self.shared.registry.end_idle(self.shared.to_ring());
        }
        for _ in 0..self.subscriptions.unsettled().min(LOOKED_AT_PER_TURN) {
            if self.pace.work.leaving.is_spent() {
                return;
            }
            self.pace.work.leaving.spend(STEPS);
            let Some(topic) = self.subscriptions.next_to_settle() else { return };
            if !self.settle_use_of(topic) {
                self.subscriptions.look_at_use_of(topic);
            }
        }
    }

    /// Tells the registry whether a topic has subscribers by name here, if that is not what it knows. False: it cannot be told yet.
    fn settle_use_of(&mut self, index: u32) -> bool {
        let is_named = self.subscriptions.literal_members(index) > 0;
        let is_other = |topic: &&Topic| topic.life.is_held != is_named && !topic.is_gone();
        let Some(topic) = self.topics.get(index).filter(is_other) else { return true };
        let to = self.shared.to_ring();
        if is_named {
            // It was made anew by somebody else.
            let user = User::Shard { number: self.number, may_make: MayMake::Nothing };
            return match self.shared.registry.open(&topic.name, user, to, false) {
                Ok(opened) => {
                    self.topics.life_mut(opened.id).is_held = true;
                    true
                }
                Err(error) => error != TopicError::WouldBlock,
            };
        }
        let opener = topic.life.opened_for.and_then(|id| self.clients.find(id));
        let is_awaited = opener.is_some_and(|slot| self.clients[slot].phase == Phase::Handshake);
        let is_still_brought = self.subscriptions.asked.first_by_name(&topic.name) != NONE;
        if is_awaited || is_still_brought || !self.shared.registry.give_back(&topic.name, topic.id, self.number, to) {
            return false;
        }
        self.is_for_more(index);
        if let Some(topic) = self.topics.get_mut(index) {
            topic.life.is_held = false;
        }
        true
    }

    /// Tells the registry of patterns that have their first subscribers here, or none any more.
    pub(super) fn tell_interest(&mut self) {
        for _ in 0..LOOKED_AT_PER_TURN {
            if self.pace.work.leaving.is_spent() {
                return;
            }
            let Some((text, is_wanted)) = self.subscriptions.asked.next_changed() else { return };
            self.pace.work.leaving.spend(STEPS);
            if !self.shared.registry.note_pattern(&text, self.number, is_wanted) {
                self.subscriptions.asked.tell_again(text);
                return;
            }
        }
    }

    /// True if topics are left to be given back, or patterns to be told of.
    pub(super) fn has_topics_to_give_back(&self) -> bool {
        self.subscriptions.unsettled() > 0 || self.shared.registry.has_idle() || self.subscriptions.asked.has_changed()
    }
}
