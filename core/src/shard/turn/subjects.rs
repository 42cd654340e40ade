//! What a connection takes of what its subject may have.

use crate::access::Grants;
use crate::driver::Driver;
use crate::proto::handshake::Refusal;
use crate::registry::{Opened, User};
use crate::shard::Shard;
use crate::shard::admission::What;
use crate::shard::clients::NO_TOPIC;
use crate::shard::turn::subscribe::SubscribeError;
use crate::shard::turn::upgrade::{RETRY_AFTER_S, Verdict};
use crate::types::TopicId;

impl<D: Driver> Shard<D> {
    /// Counts a connection for its subject, once.
    ///
    /// # Errors
    /// The subject has as many as it may have.
    pub(super) fn enter_subject(&mut self, slot: u32, grants: Option<&Grants>) -> Result<(), Verdict> {
        let Some(subject) = grants.and_then(|grants| grants.subject.as_deref()) else { return Ok(()) };
        if self.admission.seated.enter(slot, subject, &self.shared.counted.subjects) {
            return Ok(());
        }
        self.stats.refused_for_subject += 1;
        Err(Verdict::Refused(Refusal::too_many("this subject has too many connections", RETRY_AFTER_S)))
    }

    /// One more of something.
    ///
    /// # Errors
    /// The subject has as many as it may have.
    pub(super) fn take_of_subject(&mut self, slot: u32, what: What) -> Result<(), SubscribeError> {
        if self.admission.seated.take(slot, what, &self.shared.counted.subjects) {
            return Ok(());
        }
        self.stats.refused_for_subject += 1;
        Err(SubscribeError::TooMany)
    }

    /// What was taken and did not come about, or is not there any more, goes back.
    pub(super) fn settle_subject(&mut self, slot: u32) {
        let counted = self.subscriptions.of(slot).asked.counted;
        self.admission.seated.settle(slot, What::Subscriptions, counted, &self.shared.counted.subjects);
    }

    /// Opens a topic for a message of a client, whose subject may make so many. A topic that is published to stays, so it counts for
    /// as long as its subject has connections.
    pub(super) fn open_within_subject(&mut self, slot: u32, name: &str) -> Result<Opened, SubscribeError> {
        let to = self.shared.to_ring();
        if !self.shared.counted.subjects.limits(What::Topics) {
            return Ok(self.shared.registry.open(name, User::Publisher, to, false)?);
        }
        // It was counted when this connection made it by subscribing.
        let own = self.topic_made_for(slot, name);
        let has_taken = own.is_none() && self.admission.seated.take(slot, What::Topics, &self.shared.counted.subjects);
        let user = if has_taken || own.is_some() { User::Publisher } else { User::NextPublisher };
        let opened = self.shared.registry.open(name, user, to, false).map_err(SubscribeError::from);
        match &opened {
            Ok(opened) if !opened.was_published => {
                // Its own may be an earlier life of the name, whose end is still to be read: then this one is counted only now.
                let is_own = own == Some(opened.id);
                let is_taken =
                    |shard: &mut Self| shard.admission.seated.take(slot, What::Topics, &shard.shared.counted.subjects);
                if has_taken || is_own || is_taken(self) {
                    self.admission.seated.leave_behind(slot, What::Topics);
                }
                if is_own {
                    self.topics.life_mut(opened.id).made_for = None;
                    let subscriber = self.subscriptions.of_mut(slot);
                    subscriber.made = subscriber.made.saturating_sub(1);
                }
            }
            _ if has_taken => self.admission.seated.give_back(slot, What::Topics, &self.shared.counted.subjects),
            Err(SubscribeError::TooManyTopics) => self.stats.refused_for_subject += 1,
            _ => {}
        }
        opened
    }

    /// The topic of this name, if it is there for this connection alone.
    fn topic_made_for(&self, slot: u32, name: &str) -> Option<TopicId> {
        let known = self.topics.names().find(name).and_then(|index| self.topics.get(index)).map(|topic| topic.id);
        // Of a raw connection's, the record may still be to be read.
        let id = known.unwrap_or(self.clients[slot].publishes_to);
        let life = if id == NO_TOPIC { None } else { self.topics.life(id) };
        life.and_then(|life| life.made_for).filter(|&maker| maker == self.clients.id(slot)).map(|_| id)
    }
}
