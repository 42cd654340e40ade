//! Requests to subscribe and to unsubscribe, topic by topic, as far as a budget goes.

use crate::driver::Driver;
use crate::event::Protocol;
use crate::proto::subscribe::{self, ControlError, SinceList};
use crate::proto::topic::Pattern;
use crate::shard::Shard;
use crate::shard::admission::What;
use crate::shard::budget::Budget;
use crate::shard::options::Options;
use crate::shard::request::Scan;
use crate::shard::table::NONE;
use crate::shard::topics::Found;
use crate::shard::turn::join::{Known, Reason};
use crate::types::TopicId;

/// Why a subscription did not come about, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscribeError {
    /// The ring or the name registry is busy: the same again later.
    Busy,
    /// The budget is spent: the same again in another turn.
    Later,
    /// One of the maxima is reached.
    TooMany,
    /// No more topics can be made, or not for this connection.
    TooManyTopics,
    /// The engine is ending.
    Stopped,
    /// The name or pattern is malformed.
    Malformed,
    /// The connection may not subscribe to this.
    NotAllowed,
}

impl SubscribeError {
    /// What the client is told; `None`: nothing, for it is tried again.
    pub fn refusal(self) -> Option<ControlError<'static>> {
        let (code, message) = match self {
            SubscribeError::Busy | SubscribeError::Later => return None,
            SubscribeError::TooMany => {
                (subscribe::code::TOO_MANY_SUBSCRIPTIONS, "a maximum of topics, subscriptions or cursors is reached")
            }
            SubscribeError::TooManyTopics => {
                (subscribe::code::TOO_MANY_TOPICS, "no more topics can be made, or not for this connection alone")
            }
            SubscribeError::Stopped => (subscribe::code::STOPPED, "the server is shutting down"),
            SubscribeError::NotAllowed => (subscribe::code::NOT_ALLOWED, "subscribing to this is not allowed"),
            SubscribeError::Malformed => (subscribe::code::BAD_TOPIC, "malformed topic name or pattern"),
        };
        Some(ControlError { code, message: message.into(), id: None })
    }
}

/// Of the memory of clients, so much at most is of patterns: what clients send has the rest.
const PATTERNS_PART: usize = 2;
/// With the ids of requests that are still to be told it is so much at most.
const IDS_PARTS: (usize, usize) = (3, 4);
/// The last eighth of the patterns' part is for connections with fewer subscriptions.
const FEW_PATTERNS: u32 = 64;
/// A pattern that nobody else has: its text is noted three times.
const STEPS_A_PATTERN: u32 = 12;

/// What is asked for, apart from the topic.
pub(super) struct Asking<'a> {
    /// The `id` of the request.
    pub id: Option<&'a [u8]>,
    /// Beyond the messages.
    pub options: Options,
    /// What the client has.
    pub since: &'a SinceList,
}

impl<D: Driver> Shard<D> {
    /// Subscribes a connection to a name. `opened`: the topic's number, where the name has been opened already. Returns the number.
    pub(super) fn subscribe_to_name(
        &mut self,
        slot: u32,
        name: &str,
        opened: Option<TopicId>,
        asking: &Asking<'_>,
    ) -> Result<TopicId, SubscribeError> {
        let known = self.topics.names().find(name);
        let mut list = self.subscriptions.of(slot).asked;
        let waiting = self.subscriptions.asked.find(&list, slot, name);
        let is_known = match known {
            Some(topic) => {
                self.subscriptions.find(slot, topic).is_some_and(|m| self.subscriptions.membership(m).is_literal)
            }
            None => waiting.is_some(),
        };
        if !is_known && list.counted >= self.rules.limits.subscriptions_per_connection_max {
            return Err(SubscribeError::TooMany);
        }
        if !is_known {
            self.take_of_subject(slot, What::Subscriptions)?;
        }
        let number = match (known.and_then(|index| self.topics.get(index)), opened) {
            (Some(topic), _) if topic.life.is_held => topic.id,
            // Opening it again could find the registry busy.
            (_, Some(opened)) => opened,
            (_, None) => self.open_for_subscriber(slot, name, false)?,
        };
        let id: Option<Box<[u8]>> = asking.id.map(Into::into);
        if known.is_none()
            && let Some(record) = waiting
        {
            self.subscriptions.asked.set_id(record, id);
            self.subscriptions.asked.get_mut(record).options = asking.options;
            return Ok(number);
        }
        let Some(topic) = known else {
            let since_number = self.topics.created();
            let added = self.subscriptions.asked.insert(&mut list, slot, name, since_number, id, asking.options);
            self.subscriptions.of_mut(slot).asked = list;
            return added.map(|_| number).ok_or(SubscribeError::TooMany);
        };
        let mut subscription = NONE;
        if let Some(id) = id
            && self.clients[slot].protocol != Protocol::Raw
        {
            if !self.has_room_for_ids() {
                return Err(SubscribeError::TooMany);
            }
            let added = self.subscriptions.asked.insert_id(&mut list, slot, id, asking.options);
            subscription = added.unwrap_or(NONE);
            self.subscriptions.of_mut(slot).asked = list;
        }
        let has = Known::Said(asking.since);
        let reason = Reason { subscription, is_literal: true, is_again: false, options: asking.options, has };
        if self.join(slot, topic, &reason).is_err() {
            if subscription != NONE {
                self.subscriptions.drop_told(slot, subscription);
            }
            return Err(SubscribeError::TooMany);
        }
        Ok(number)
    }

    /// Subscribes a connection to a pattern: `scan` says how far this has come.
    pub(super) fn subscribe_to_pattern(
        &mut self,
        slot: u32,
        pattern: &str,
        asking: &Asking<'_>,
        scan: &mut Option<Scan>,
        budget: &mut Budget,
    ) -> Result<(), SubscribeError> {
        let scan = match scan {
            Some(scan) => scan,
            None => {
                budget.spend(STEPS_A_PATTERN + pattern.len() as u32 / 32);
                let begun = self.begin_pattern(slot, pattern, asking)?;
                scan.insert(begun)
            }
        };
        let subscription = scan.subscription;
        loop {
            let found = self.topics.names().next_match(pattern, &mut scan.after, budget);
            let topic = match found {
                Found::Topic(topic) => topic,
                Found::End => {
                    self.subscriptions.asked.get_mut(subscription).ended_at = None;
                    return Ok(());
                }
                Found::Spent => return Err(SubscribeError::Later),
            };
            budget.spend(5);
            let is_older = self.topics.get(topic).is_some_and(|t| t.number < scan.before_number);
            let asked = self.subscriptions.asked.get(subscription);
            // What an earlier walk did not come to is joined by this one.
            let is_again = scan.is_again && asked.ended_at.as_ref().is_none_or(|end| scan.after.as_ref() <= Some(end));
            if is_again && self.subscriptions.find(slot, topic).is_none() || !is_older && !is_again {
                // It is brought to it as a new topic.
                continue;
            }
            let has = Known::Said(asking.since);
            let reason = Reason { subscription, is_literal: false, is_again, options: asking.options, has };
            let before = self.last_name_before(&scan.after);
            if self.join(slot, topic, &reason).is_err() {
                self.subscriptions.asked.get_mut(subscription).ended_at = Some(before);
                return Err(SubscribeError::TooMany);
            }
            if !self.clients[slot].is_live() {
                return Ok(());
            }
        }
    }

    /// The name in hand was not joined: what comes before it was.
    fn last_name_before(&self, name: &Option<Box<[u8]>>) -> Box<[u8]> {
        // The key itself, shortened by its last byte, sorts before it and behind every other name before it but those that begin
        // with it: none of those is joined yet.
        let mut key = name.as_deref().unwrap_or_default().to_vec();
        if let Some(last) = key.last_mut() {
            *last -= 1;
            key.push(u8::MAX);
        }
        key.into()
    }

    /// A pattern's subscription, made or found again.
    fn begin_pattern(&mut self, slot: u32, pattern: &str, asking: &Asking<'_>) -> Result<Scan, SubscribeError> {
        let id: Option<Box<[u8]>> = asking.id.map(Into::into);
        let mut list = self.subscriptions.of(slot).asked;
        if let Some(subscription) = self.subscriptions.asked.find(&list, slot, pattern) {
            // The same again: its topics are announced again, under the new id.
            self.subscriptions.asked.set_id(subscription, id);
            let asked = self.subscriptions.asked.get_mut(subscription);
            asked.options = asking.options;
            let before_number = asked.since_number;
            return Ok(Scan { after: None, before_number, subscription, is_again: true });
        }
        if list.counted >= self.rules.limits.subscriptions_per_connection_max {
            return Err(SubscribeError::TooMany);
        }
        if !self.has_room_for_pattern(list.counted) {
            return Err(SubscribeError::TooMany);
        }
        self.take_of_subject(slot, What::Subscriptions)?;
        self.take_of_subject(slot, What::Patterns)?;
        let before_number = self.topics.created();
        let added = self.subscriptions.asked.insert(&mut list, slot, pattern, before_number, id, asking.options);
        self.subscriptions.of_mut(slot).asked = list;
        let Some(subscription) = added else {
            self.admission.seated.give_back(slot, What::Patterns, &self.shared.counted.subjects);
            return Err(SubscribeError::TooMany);
        };
        Ok(Scan { after: None, before_number, subscription, is_again: false })
    }

    /// Whether a connection with so many subscriptions may have a pattern more: nobody takes with patterns the memory that others need
    /// for what they send.
    fn has_room_for_pattern(&self, has: u32) -> bool {
        let share = self.client_bytes_max() / PATTERNS_PART;
        let most = if has < FEW_PATTERNS { share } else { share - share / 8 };
        self.subscriptions.asked.bytes() < most
    }

    /// The same for the id of a request, until it is told.
    fn has_room_for_ids(&self) -> bool {
        let (parts, of) = IDS_PARTS;
        self.subscriptions.asked.bytes() < self.client_bytes_max() / of * parts
    }

    /// Ends a subscription by the name or pattern it was made with. `Ok(false)`: there was none.
    pub(super) fn unsubscribe(
        &mut self,
        slot: u32,
        text: &str,
        scan: &mut Option<Scan>,
        budget: &mut Budget,
    ) -> Result<bool, SubscribeError> {
        budget.spend(2);
        if scan.is_none() {
            let mut list = self.subscriptions.of(slot).asked;
            match self.subscriptions.asked.find(&list, slot, text) {
                None => return Ok(self.unsubscribe_from_topic(slot, text)),
                Some(subscription) if Pattern::parse(text).is_ok_and(|p| p.is_literal()) => {
                    let next = self.subscriptions.asked.remove(&mut list, subscription);
                    self.subscriptions.spread.on_removed(subscription, next);
                    self.subscriptions.of_mut(slot).asked = list;
                    return Ok(true);
                }
                Some(subscription) => {
                    let before_number = self.subscriptions.asked.get(subscription).since_number;
                    let next = self.subscriptions.asked.close(&mut list, subscription);
                    self.subscriptions.spread.on_removed(subscription, next);
                    self.subscriptions.of_mut(slot).asked = list;
                    self.admission.seated.give_back(slot, What::Patterns, &self.shared.counted.subjects);
                    *scan = Some(Scan { after: None, before_number, subscription, is_again: false });
                }
            }
        }
        let Some(scan) = scan else { return Ok(false) };
        self.leave_pattern(slot, text, scan, budget)?;
        let mut list = self.subscriptions.of(slot).asked;
        self.subscriptions.asked.remove(&mut list, scan.subscription);
        self.subscriptions.of_mut(slot).asked = list;
        Ok(true)
    }

    /// Walks the topics that a pattern brought, and leaves those that nothing else brings.
    fn leave_pattern(
        &mut self,
        slot: u32,
        pattern: &str,
        scan: &mut Scan,
        budget: &mut Budget,
    ) -> Result<(), SubscribeError> {
        loop {
            let before = scan.after.clone();
            let topic = match self.topics.names().next_match(pattern, &mut scan.after, budget) {
                Found::Topic(topic) => topic,
                Found::End => return Ok(()),
                Found::Spent => return Err(SubscribeError::Later),
            };
            let Some(number) = self.topics.get(topic).map(|t| t.number) else { continue };
            let ended_at = &self.subscriptions.asked.get(scan.subscription).ended_at;
            let was_joined = match number < scan.before_number {
                true => ended_at.as_ref().is_none_or(|end| scan.after.as_ref() <= Some(end)),
                false => match self.subscriptions.spread.has_reached_all(number) {
                    Some(has) => has,
                    None => {
                        // Not known before the topic has been brought to all who asked.
                        scan.after = before;
                        return Err(SubscribeError::Later);
                    }
                },
            };
            let Some(membership) = self.subscriptions.find(slot, topic).filter(|_| was_joined) else { continue };
            budget.spend(3);
            let m = self.subscriptions.membership_mut(membership);
            debug_assert!(m.patterns > 0, "{pattern} brought it");
            m.patterns -= 1;
            if m.subscription == scan.subscription {
                m.subscription = NONE;
            }
            if m.patterns == 0 && !m.is_literal {
                self.leave(membership);
            }
        }
    }

    fn unsubscribe_from_topic(&mut self, slot: u32, name: &str) -> bool {
        let Some(topic) = self.topics.names().find(name) else { return false };
        let Some(membership) = self.subscriptions.find(slot, topic) else { return false };
        if !self.subscriptions.set_literal(membership, false) {
            return false;
        }
        self.subscriptions.of_mut(slot).asked.counted -= 1;
        if self.subscriptions.membership(membership).patterns == 0 {
            self.leave(membership);
        } else if self.topics.get(topic).and_then(|t| t.life.made_for) == Some(self.clients.id(slot)) {
            self.is_for_more(topic);
        }
        true
    }
}
