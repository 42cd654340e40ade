//! Connections become members of topics, and members get a cursor in every lane.

use crate::driver::Driver;
use crate::event::{Event, Protocol};
use crate::proto::subscribe::SinceList;
use crate::shard::Shard;
use crate::shard::options::Options;
use crate::shard::subscriptions::{Has, start};
use crate::shard::table::NONE;
use crate::types::{Priority, TopicId};

/// Why somebody is to get a topic.
pub(super) struct Reason<'a> {
    /// The subscription whose id `subscribed` carries; [`NONE`]: it carries none.
    pub subscription: u32,
    /// The topic was asked for by its name; else by one more pattern, or again by the same.
    pub is_literal: bool,
    /// The pattern was counted before.
    pub is_again: bool,
    /// Beyond the messages.
    pub options: Options,
    /// What the client has already.
    pub has: Known<'a>,
}

/// What a client has of a topic that it joins.
#[derive(Clone, Copy)]
pub(super) enum Known<'a> {
    /// It asked before the topic was there: it gets everything.
    Everything,
    /// What its request says.
    Said(&'a SinceList),
}

/// There is no room for another cursor, or none for this connection.
#[derive(Debug)]
pub(super) struct NoRoom;

impl<D: Driver> Shard<D> {
    /// Makes the connection a member of a topic (again), with a cursor in each of its lanes.
    pub(super) fn join(&mut self, slot: u32, topic: u32, reason: &Reason<'_>) -> Result<(), NoRoom> {
        if !self.clients[slot].is_live() {
            return Ok(());
        }
        let must_announce = self.clients[slot].protocol != Protocol::Raw;
        match self.subscriptions.find(slot, topic) {
            Some(known) => self.join_again(slot, known, must_announce, reason),
            None => {
                let Some(state) = self.topics.get(topic) else { return Ok(()) };
                let lanes = state.lanes;
                let has = |priority: Priority| match reason.has {
                    Known::Everything => Has::BeforeFirst,
                    Known::Said(since) => match since.place(&state.name, state.epoch) {
                        Some((epoch, seq)) => Has::Since(epoch, seq[priority as usize]),
                        None => Has::Unknown,
                    },
                };
                let has = Priority::ALL.map(has);
                let cursors = lanes.iter().filter(|&&l| l != NONE).count();
                if !self.subscriptions.has_room(slot, cursors as u32) {
                    return Err(NoRoom);
                }
                let membership = self.subscriptions.add(slot, topic, must_announce, reason.options).ok_or(NoRoom)?;
                for priority in Priority::ALL {
                    self.link_lane(membership, priority, has[priority as usize]);
                }
                if !self.clients[slot].is_live() {
                    return Ok(());
                }
                self.note_joined(slot, membership, reason, true);
                if self.clients[slot].flags.was_announced {
                    let topic = self.topics.get(topic).map_or(String::new(), |t| t.name.to_string());
                    let connection = self.clients.id(slot);
                    self.tell_host(Event::Subscribed { connection, topic });
                }
            }
        }
        self.sender.look_at_all(&mut self.clients[slot], slot);
        self.refresh(slot);
        self.clients.mark_dirty(slot);
        Ok(())
    }

    /// It is a member already: by one more reason, or to be told once more.
    fn join_again(&mut self, slot: u32, membership: u32, must_announce: bool, reason: &Reason<'_>) {
        // A new topic is told of by the first of its subscriptions.
        let is_told = matches!(reason.has, Known::Everything) && !reason.is_literal;
        self.note_joined(slot, membership, reason, !is_told);
        if must_announce && !is_told {
            self.subscriptions.announce(membership);
        }
    }

    fn note_joined(&mut self, slot: u32, membership: u32, reason: &Reason<'_>, carries_id: bool) {
        let m = self.subscriptions.membership_mut(membership);
        let before = m.subscription;
        if reason.is_literal {
            let topic = m.topic;
            let was_literal = self.subscriptions.set_literal(membership, true);
            self.subscriptions.of_mut(slot).asked.counted += u32::from(!was_literal);
            if self.topics.get(topic).and_then(|t| t.life.made_for).is_some_and(|id| id != self.clients.id(slot)) {
                self.is_for_more(topic);
            }
        } else if !reason.is_again {
            m.patterns += 1;
        }
        if before == reason.subscription || !carries_id {
            return;
        }
        self.subscriptions.membership_mut(membership).subscription = reason.subscription;
        if before != NONE {
            self.subscriptions.drop_told(slot, before);
        }
    }

    /// Gives a membership its cursor in the lane of `priority`, unless it has one.
    pub(super) fn link_lane(&mut self, membership: u32, priority: Priority, has: Has) {
        let (slot, topic) = {
            let m = self.subscriptions.membership(membership);
            (m.slot, m.topic)
        };
        let Some(state) = self.topics.get(topic) else { return };
        let lane = state.lanes[priority as usize];
        if !self.clients[slot].is_live() || lane == NONE || self.has_link(membership, lane) {
            return;
        }
        let begins =
            start(&self.lanes.source(lane).log, state.keeps.retention, state.epoch, has, &*self.shared.wall_ns);
        #[cfg(any(test, fuzzing))]
        let note = self.trace_linked(slot, topic, priority, begins, has == Has::BeforeFirst);
        let form = self.subscriptions.of(slot).form;
        let Some(stream) = self.lanes.want(lane, form) else { return };
        self.lanes.cover(stream, begins.floor);
        self.apply_effects();
        if !self.subscriptions.add_link(membership, &mut self.lanes, stream, begins) {
            // No cursor left: the client gets nothing of this lane, and is told so by being sent away.
            self.evict(slot, "no cursor left");
            return;
        }
        #[cfg(any(test, fuzzing))]
        self.trace.notes.extend(note);
        if begins.lost.is_some() || begins.floor < self.lanes.source(lane).log.next() {
            self.sender.look_at_all(&mut self.clients[slot], slot);
            self.clients.mark_dirty(slot);
        }
        self.refresh(slot);
    }

    fn has_link(&self, membership: u32, lane: u32) -> bool {
        self.subscriptions.links_of(membership).any(|link| {
            let stream = self.subscriptions.link(link).stream;
            self.lanes.stream(stream).lane == lane
        })
    }

    /// A topic has come to be that a subscription waited for.
    pub(super) fn join_new_topic(&mut self, topic: u32, subscription: u32, is_literal: bool) {
        let (slot, options) = {
            let asked = self.subscriptions.asked.get(subscription);
            (asked.slot, asked.options)
        };
        let is_raw = self.clients[slot].protocol == Protocol::Raw;
        let has = Known::Everything;
        let reason = Reason { subscription, is_literal, is_again: false, options, has };
        if self.join(slot, topic, &reason).is_err() {
            self.evict(slot, "no cursor left");
            return;
        }
        if is_literal {
            self.asked_by_name_is_there(slot, topic, subscription, is_raw);
        }
    }

    /// A name that was waited for is a topic now, so its membership tells all but the id.
    fn asked_by_name_is_there(&mut self, slot: u32, topic: u32, subscription: u32, is_raw: bool) {
        let mut list = self.subscriptions.of(slot).asked;
        let next = self.subscriptions.asked.close(&mut list, subscription);
        self.subscriptions.spread.on_removed(subscription, next);
        self.subscriptions.of_mut(slot).asked = list;
        self.subscriptions.asked.get_mut(subscription).is_id_only = true;
        let is_told = is_raw || self.subscriptions.asked.get(subscription).id.is_none();
        let membership = self.subscriptions.find(slot, topic);
        if is_told || membership.is_none() {
            if let Some(membership) = membership {
                self.subscriptions.membership_mut(membership).subscription = NONE;
            }
            self.subscriptions.drop_told(slot, subscription);
        }
        if is_raw
            && self.clients[slot].flags.awaits_topic
            && let Some(state) = self.topics.get(topic)
            && self.clients.extra(slot).publishes_to.as_deref() == Some(&*state.name)
        {
            let conn = &mut self.clients[slot];
            conn.flags.awaits_topic = false;
            conn.publishes_to = state.id;
            self.clients.extra(slot).publishes_to = None;
        }
    }

    /// A membership's topic, which had this number, is gone. Who asked for it by its name gets it again should it be made again, or have
    /// been made again meanwhile.
    pub(super) fn lose_topic(&mut self, membership: u32, ended: TopicId) {
        let (slot, topic, is_literal) = {
            let m = self.subscriptions.membership(membership);
            (m.slot, m.topic, m.is_literal)
        };
        let options = self.subscriptions.options_of(membership);
        let id = self.subscriptions.take_untold_id(membership);
        self.leave(membership);
        let Some(state) = self.topics.get(topic) else { return };
        if !is_literal || !self.clients[slot].is_live() {
            return;
        }
        let name = state.name.clone();
        if self.clients[slot].publishes_to == ended {
            // What it says reaches the topic's next life, once there is one.
            self.clients[slot].flags.awaits_topic = true;
            self.clients.extra(slot).publishes_to = Some((&*name).into());
        }
        // It was counted as a subscription before, so no limit is looked at.
        let mut list = self.subscriptions.of(slot).asked;
        let since_number = self.topics.created();
        let asked = self.subscriptions.asked.insert(&mut list, slot, &name, since_number, id, options);
        self.subscriptions.of_mut(slot).asked = list;
        if let (Some(subscription), Some(again)) = (asked, self.topics.names().find(&name)) {
            self.join_new_topic(again, subscription, true);
        }
    }

    /// Ends one membership; the host is told.
    pub(super) fn leave(&mut self, membership: u32) {
        let (slot, topic) = {
            let m = self.subscriptions.membership(membership);
            (m.slot, m.topic)
        };
        if self.topics.get(topic).and_then(|t| t.life.made_for) == Some(self.clients.id(slot)) {
            self.is_for_more(topic);
        }
        let keeps_rest = !matches!(self.clients[slot].phase, crate::shard::clients::Phase::Broken);
        self.subscriptions.remove(membership, &mut self.lanes, keeps_rest);
        self.apply_effects();
        if self.hears_of_topics(slot) {
            let topic = self.topics.get(topic).map_or(String::new(), |t| t.name.to_string());
            let connection = self.clients.id(slot);
            self.tell_host(Event::Unsubscribed { connection, topic });
        }
        self.refresh(slot);
    }
}
