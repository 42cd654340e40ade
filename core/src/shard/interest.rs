//! Who gets what: subscriptions become memberships, memberships get a cursor in every lane.

use super::Shard;
use super::conn::{Interest, Phase, connection_id};
use super::table::NONE;
use super::topics::{Form, Link, Membership, Special, Sub, Wishes};
use crate::config::{Retention, nanoseconds};
use crate::driver::Driver;
use crate::event::{Event, Protocol};
use crate::proto::server_message::GapReason;
use crate::proto::subscribe::SinceList;
use crate::proto::topic::Pattern;
use crate::registry::TopicError;
use crate::types::{Priority, TopicId};

/// Where a new cursor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first message that it should get.
    pub seq: u64,
    /// The first that there is for it: what lies between is announced as lost.
    pub floor: u64,
    /// Why it is lost.
    pub reason: GapReason,
}

impl Start {
    /// At the first message of a lane that has just come to be.
    pub const FIRST: Start = Start { seq: 1, floor: 1, reason: GapReason::Lag };
}

/// Why a subscription did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeError {
    /// The ring or the name registry is busy: the same again later.
    Busy,
    /// One of the maxima is reached.
    TooMany,
    /// The engine is ending.
    Stopped,
    /// The name or pattern is malformed.
    Malformed,
}

impl<D: Driver> Shard<D> {
    /// Subscribes a connection to a name or pattern. Returns the topic's number for a name; `opened` is that number, where the name
    /// has been opened already.
    pub(super) fn subscribe(
        &mut self,
        slot: u32,
        text: &str,
        opened: Option<TopicId>,
        id: Option<&[u8]>,
        wishes: Wishes,
        since: &SinceList<'_>,
    ) -> Result<Option<TopicId>, SubscribeError> {
        self.conns[slot as usize].flags.skips_own |= wishes.skips_own;
        let pattern = Pattern::parse(text).map_err(|_| SubscribeError::Malformed)?;
        let is_raw = self.conns[slot as usize].protocol == Protocol::Raw;
        let limit = self.shared.config.limits.subscriptions_per_connection_max as usize;
        if !pattern.is_literal() {
            let number = self.add_interest(slot, pattern, id, wishes, limit)?;
            // In the order of their numbers, so that equal shards do equal things.
            let pattern = &self.conns[slot as usize].interests[number as usize].pattern;
            let matching: Vec<u32> = (0..)
                .zip(&self.topics)
                .filter_map(|(index, topic)| topic.as_ref().is_some_and(|t| pattern.matches(&t.name)).then_some(index))
                .collect();
            for topic in matching {
                self.join(slot, topic, number, false, wishes, since)?;
            }
            return Ok(None);
        }
        let known = self.topic_names.get(text).copied();
        let topic = match (known, opened) {
            (Some(topic), _) => self.topics[topic as usize].as_ref().map_or(TopicId(topic), |t| t.id),
            // Opening it again could find the registry busy.
            (None, Some(opened)) => opened,
            (None, None) => {
                self.shared.registry.open(text, &self.shared.ring, (self.shared.wall_ns)(), false).map_err(|error| {
                    match error {
                        TopicError::WouldBlock => SubscribeError::Busy,
                        TopicError::TooMany => SubscribeError::TooMany,
                        TopicError::Stopped => SubscribeError::Stopped,
                        TopicError::Name(_) => SubscribeError::Malformed,
                    }
                })?
            }
        };
        if let Some(topic) = known
            && is_raw
        {
            self.join(slot, topic, u16::MAX, true, wishes, since)?;
        } else {
            let number = self.add_interest(slot, pattern, id, wishes, limit)?;
            if let Some(topic) = known {
                self.join(slot, topic, number, true, wishes, since)?;
                // Joining may have evicted it, and its interests are gone.
                if let Some(interest) = self.conns[slot as usize].interests.get_mut(number as usize) {
                    interest.is_joined = true;
                }
            }
        }
        Ok(Some(topic))
    }

    fn add_interest(
        &mut self,
        slot: u32,
        pattern: Pattern,
        id: Option<&[u8]>,
        wishes: Wishes,
        limit: usize,
    ) -> Result<u16, SubscribeError> {
        let conn = &mut self.conns[slot as usize];
        let id: Option<Box<[u8]>> = id.map(Into::into);
        if let Some(known) = conn.interests.iter().position(|i| !i.is_gone && i.pattern.as_str() == pattern.as_str()) {
            // The same again: its topics are announced again, under the new id.
            conn.interests[known].id = id;
            conn.interests[known].wishes = wishes;
            return Ok(known as u16);
        }
        let live = conn.interests.iter().filter(|i| !i.is_gone && !i.is_joined).count();
        let conn_is_full = conn.interests.len() >= usize::from(u16::MAX);
        if live + self.literal_members(slot) >= limit || conn_is_full {
            return Err(SubscribeError::TooMany);
        }
        let conn = &mut self.conns[slot as usize];
        let was_interested = !conn.interests.is_empty();
        let interest = Interest { pattern, id, wishes, is_gone: false, is_joined: false };
        // Records that nothing names any more are used again.
        let number = if conn.announce_count == 0 { conn.interests.iter().position(|i| i.is_gone) } else { None };
        let number = match number {
            Some(number) => {
                conn.interests[number] = interest;
                number
            }
            None => {
                conn.interests.push(interest);
                conn.interests.len() - 1
            }
        };
        if !was_interested {
            let generation = conn.generation;
            self.interested_count += 1;
            self.interested.push((slot, generation));
            if self.interested.len() > 2 * self.interested_count + 64 {
                self.interested.sort_unstable();
                self.interested.dedup();
                let conns = &self.conns;
                self.interested.retain(|&(s, g)| is_interested(conns, s, g));
            }
        }
        Ok(number as u16)
    }

    /// A topic goes that the connection asked for by its name: it gets the topic again should that be made again.
    pub(super) fn await_topic(&mut self, slot: u32, topic: u32, wishes: Wishes) {
        let name = self.topics[topic as usize].as_ref().map(|t| Pattern::parse(&t.name));
        if let Some(Ok(pattern)) = name {
            // It was counted as a subscription before, so no limit is looked at.
            if let Ok(number) = self.add_interest(slot, pattern, None, wishes, usize::MAX / 2) {
                self.conns[slot as usize].interests[number as usize].is_joined = false;
            }
        }
    }

    /// Memberships that were asked for by name. Those that exist only through a pattern do not count against the connection's
    /// limit.
    fn literal_members(&self, slot: u32) -> usize {
        let mut count = 0;
        let mut membership = self.conns[slot as usize].memberships;
        while membership != NONE {
            count += usize::from(self.memberships[membership].is_literal);
            membership = self.memberships[membership].next;
        }
        count
    }

    /// Makes the connection a member of a topic (again), with a cursor in each of its lanes.
    fn join(
        &mut self,
        slot: u32,
        topic: u32,
        interest: u16,
        is_literal: bool,
        wishes: Wishes,
        since: &SinceList<'_>,
    ) -> Result<(), SubscribeError> {
        if !self.conns[slot as usize].is_live() {
            return Ok(());
        }
        let must_announce = self.conns[slot as usize].protocol != Protocol::Raw;
        if let Some(known) = self.membership_of(slot, topic) {
            let membership = &mut self.memberships[known];
            membership.is_literal |= is_literal;
            membership.interest = interest;
            if must_announce && !membership.must_announce {
                membership.must_announce = true;
                self.conns[slot as usize].announce_count += 1;
            }
        } else {
            let Some(state) = &self.topics[topic as usize] else { return Ok(()) };
            let lanes = state.lanes.iter().filter(|&&l| l != NONE).count();
            if self.links.room() < lanes {
                return Err(SubscribeError::TooMany);
            }
            let index = state.members.len() as u32;
            let conn = &mut self.conns[slot as usize];
            let record = Membership {
                next: conn.memberships,
                interest,
                must_announce,
                is_literal,
                ..Membership::new(slot, topic, index)
            };
            let membership = self.memberships.insert(record).ok_or(SubscribeError::TooMany)?;
            if wishes.is_any() {
                self.wishes.insert(membership, wishes);
            }
            conn.memberships = membership;
            conn.announce_count += u32::from(must_announce);
            let Some(state) = &mut self.topics[topic as usize] else { return Ok(()) };
            state.members.push(membership);
            let retention = state.retention;
            let lanes = state.lanes;
            let since = match since.is_empty() {
                true => None,
                false => since.find(&state.name).cloned(),
            };
            for priority in Priority::ALL {
                let lane = lanes[priority as usize];
                if lane == NONE {
                    continue;
                }
                let start = self.start(lane, retention, since.as_ref().map(|s| (s.epoch, s.seq[priority as usize])));
                self.link_lane(membership, priority, start);
                if !self.conns[slot as usize].is_live() {
                    return Ok(());
                }
            }
            if self.conns[slot as usize].flags.was_announced && self.shared.config.events.capacity > 0 {
                let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
                let name = self.topics[topic as usize].as_ref().map_or(String::new(), |t| t.name.to_string());
                self.tell_host(Event::Subscribed { connection, topic: name });
            }
        }
        self.conns[slot as usize].flags.has_leftover = true;
        self.settle(slot);
        self.mark_dirty(slot);
        Ok(())
    }

    /// Where a new cursor in a lane begins. `since`: the epoch and the last number that the client has.
    fn start(&self, lane: u32, retention: Retention, since: Option<(u64, Option<u64>)>) -> Start {
        let log = &self.streams[self.lanes[lane].streams[Form::Raw as usize]].log;
        let head = log.next_seq();
        let last_value = match (retention, log.last()) {
            (Retention::None, _) | (_, None) => head,
            (_, Some(last)) => last.seq,
        };
        let floor = match retention {
            Retention::None => head,
            Retention::LastValue => log.floor_seq(),
            Retention::Last { messages, bytes, age } => {
                let by_count = messages.map_or(0, |n| head.saturating_sub(n));
                let by_bytes = bytes.map_or(0, |n| log.seq_at_lag(n));
                let by_age =
                    age.map_or(0, |age| log.seq_at_time((self.shared.wall_ns)().saturating_sub(nanoseconds(age))));
                log.floor_seq().max(by_count).max(by_bytes).max(by_age).min(head)
            }
        };
        match since {
            // It knows the topic, but had nothing of this lane yet: everything is news to it.
            Some((epoch, seq)) if epoch == self.epoch_of(lane) => {
                let wanted = seq.unwrap_or(0).saturating_add(1).min(head);
                Start { seq: wanted, floor: floor.max(wanted), reason: GapReason::Retention }
            }
            // Numbering began anew: what it had says nothing about what there is.
            Some(_) => Start { seq: 1, floor, reason: GapReason::Epoch },
            None => Start { seq: last_value, floor: last_value, reason: GapReason::Lag },
        }
    }

    fn epoch_of(&self, lane: u32) -> u64 {
        self.topics[self.lanes[lane].topic as usize].as_ref().map_or(0, |t| t.epoch)
    }

    /// What a membership's cursors are to do beyond the usual.
    pub(super) fn wishes_of(&self, membership: u32) -> Wishes {
        // Where nobody has any, as is usual, there is nothing to look for.
        if self.wishes.is_empty() {
            return Wishes::default();
        }
        self.wishes.get(&membership).copied().unwrap_or_default()
    }

    /// Gives a membership its cursor in the lane of `priority`.
    pub(super) fn link_lane(&mut self, membership: u32, priority: Priority, start: Start) {
        let wishes = self.wishes_of(membership);
        let Membership { slot, topic, links: sibling, .. } = self.memberships[membership];
        let Some(lane) = self.topics[topic as usize].as_ref().map(|t| t.lanes[priority as usize]) else { return };
        #[cfg(any(test, fuzzing))]
        let note = self.trace_linked(slot, topic, priority, start);
        let Some(id) = self.stream(lane, self.conns[slot as usize].form) else { return };
        self.cover(id, start.floor);
        if !self.conns[slot as usize].is_live() {
            // The room for that log was taken from it: it was evicted, and its memberships are gone.
            return;
        }
        // Critical messages are neither paced nor passed over.
        let is_picking = wishes.is_any() && priority != Priority::Critical;
        let mut special = NONE;
        if is_picking || start.seq < start.floor {
            let Some(number) = self.specials.insert(Special {
                owed: (start.seq < start.floor).then(|| (start.seq, start.floor - 1, start.reason)),
                interval_ns: if is_picking { u64::from(wishes.interval_us) * 1_000 } else { 0 },
                next_ns: 0,
                queued_ns: 0,
                skips_own: is_picking && wishes.skips_own,
            }) else {
                self.evict(slot, "no cursor left");
                return;
            };
            special = number;
            self.conns[slot as usize].flags.is_picking |= is_picking;
        }
        let tail = self.conns[slot as usize].links[priority as usize];
        let index = self.streams[id].cursors.subs.len() as u32;
        let next = if tail == NONE { NONE } else { self.links[tail].next };
        let record = Link { stream: id, index, membership, next, sibling, special, was_warned: false };
        let Some(link) = self.links.insert(record) else {
            // No cursor to be had: the client gets nothing of this lane, and is told so by being sent away.
            self.stats.unlogged += 1;
            self.evict(slot, "no cursor left");
            return;
        };
        if tail == NONE {
            self.links[link].next = link;
        } else {
            self.links[tail].next = link;
        }
        let cursors = &mut self.streams[id].cursors;
        cursors.subs.push(Sub::new(slot, start.floor, true));
        cursors.links.push(link);
        self.memberships[membership].links = link;
        #[cfg(any(test, fuzzing))]
        self.trace.notes.extend(note);
        let conn = &mut self.conns[slot as usize];
        conn.links[priority as usize] = link;
        conn.link_count += 1;
        if conn.link_count == 2 {
            self.set_all_aside(slot);
        }
        self.settle(slot);
    }

    fn set_all_aside(&mut self, slot: u32) {
        for tail in self.conns[slot as usize].links.into_iter().filter(|&l| l != NONE) {
            let mut link = tail;
            loop {
                let Link { stream, index, next, .. } = self.links[link];
                self.streams[stream].cursors.subs[index as usize].set_aside(true);
                link = next;
                if link == tail {
                    break;
                }
            }
        }
    }

    /// A topic has come to be: whoever asked for its name or for a pattern that it matches gets it.
    pub(super) fn on_new_topic(&mut self, topic: u32) {
        let Some(name) = self.topics[topic as usize].as_ref().map(|t| t.name.clone()) else { return };
        let mut interested = std::mem::take(&mut self.interested);
        interested.retain(|&(slot, generation)| {
            if !is_interested(&self.conns, slot, generation) {
                return false;
            }
            let conn = &self.conns[slot as usize];
            let is_raw = conn.protocol == Protocol::Raw;
            let found = conn.interests.iter().position(|i| !i.is_gone && i.pattern.matches(&name));
            if let Some(number) = found {
                // A pattern may be found first, and the name have been asked for all the same.
                let wishes = conn.interests[number].wishes;
                let is_literal =
                    conn.interests.iter().any(|i| !i.is_gone && i.pattern.is_literal() && i.pattern.matches(&name));
                let joined = self.join(slot, topic, number as u16, is_literal, wishes, &SinceList::default());
                for interest in self.conns[slot as usize].interests.iter_mut() {
                    interest.is_joined |= interest.pattern.as_str() == &*name;
                }
                if joined.is_err() {
                    self.evict(slot, "no cursor left");
                } else if is_raw && is_literal {
                    // Joining may have evicted it, and its interests are gone.
                    if let Some(interest) = self.conns[slot as usize].interests.get_mut(number) {
                        interest.is_gone = true;
                    }
                    self.forget_interests(slot);
                }
            }
            !self.conns[slot as usize].interests.is_empty()
        });
        interested.append(&mut self.interested);
        self.interested = interested;
    }

    /// Drops interest records that nothing needs: names whose topic exists and has been announced.
    pub(super) fn forget_interests(&mut self, slot: u32) {
        let conn = &self.conns[slot as usize];
        if conn.announce_count == 0 && conn.interests.iter().all(|i| i.is_gone) {
            self.drop_interests(slot);
        }
    }

    fn drop_interests(&mut self, slot: u32) {
        let interests = std::mem::take(&mut self.conns[slot as usize].interests);
        self.interested_count -= usize::from(!interests.is_empty());
    }

    /// Ends a subscription by the name or pattern it was made with. False: there was none.
    pub(super) fn unsubscribe(&mut self, slot: u32, text: &str) -> bool {
        let mut was_there = false;
        if let Some(interest) =
            self.conns[slot as usize].interests.iter_mut().find(|i| !i.is_gone && i.pattern.as_str() == text)
        {
            interest.is_gone = true;
            was_there = true;
        }
        let mut membership = self.conns[slot as usize].memberships;
        while membership != NONE {
            let Membership { topic, next, is_literal, .. } = self.memberships[membership];
            let name: &str = self.topics[topic as usize].as_ref().map_or("", |t| &t.name);
            let mut keeps_literal = is_literal;
            if is_literal && name == text {
                keeps_literal = false;
                was_there = true;
            }
            let by_pattern = self.conns[slot as usize].interests.iter().any(|i| !i.is_gone && i.pattern.matches(name));
            self.memberships[membership].is_literal = keeps_literal;
            if !keeps_literal && !by_pattern {
                self.leave(membership);
            }
            membership = next;
        }
        self.forget_interests(slot);
        was_there
    }

    fn membership_of(&self, slot: u32, topic: u32) -> Option<u32> {
        let mut membership = self.conns[slot as usize].memberships;
        while membership != NONE {
            if self.memberships[membership].topic == topic {
                return Some(membership);
            }
            membership = self.memberships[membership].next;
        }
        None
    }

    /// Ends every membership of a connection.
    pub(super) fn leave_all(&mut self, slot: u32) {
        loop {
            let membership = self.conns[slot as usize].memberships;
            if membership == NONE {
                break;
            }
            self.leave(membership);
        }
        self.drop_interests(slot);
    }

    /// Ends one membership: its cursors go; a frame that one of them is in the middle of moves out first.
    pub(super) fn leave(&mut self, membership: u32) {
        let Membership { slot, topic, index, next, mut links, must_announce, .. } = self.memberships[membership];
        while links != NONE {
            let Link { sibling, .. } = self.links[links];
            self.unlink(slot, links);
            links = sibling;
        }
        if !self.wishes.is_empty() {
            self.wishes.remove(&membership);
        }
        let conn = &mut self.conns[slot as usize];
        conn.announce_count -= u32::from(must_announce);
        if conn.memberships == membership {
            conn.memberships = next;
        } else {
            let mut before = conn.memberships;
            while self.memberships[before].next != membership {
                before = self.memberships[before].next;
            }
            self.memberships[before].next = next;
        }
        if let Some(state) = &mut self.topics[topic as usize] {
            state.members.swap_remove(index as usize);
            if let Some(&moved) = state.members.get(index as usize) {
                self.memberships[moved].index = index;
            }
            let conn = &self.conns[slot as usize];
            if conn.flags.was_announced && conn.phase == Phase::Open && self.shared.config.events.capacity > 0 {
                let connection = connection_id(self.number, slot, conn);
                let name = self.topics[topic as usize].as_ref().map_or(String::new(), |t| t.name.to_string());
                self.tell_host(Event::Unsubscribed { connection, topic: name });
            }
        }
        self.memberships.remove(membership);
        self.settle(slot);
    }

    fn unlink(&mut self, slot: u32, link: u32) {
        let Link { stream: id, index, next, special, .. } = self.links[link];
        let priority = self.lanes[self.streams[id].lane].priority as usize;
        let is_half_sent = self.streams[id].cursors.subs[index as usize].partial() != 0;
        if is_half_sent && self.conns[slot as usize].phase != Phase::Broken {
            self.move_rest_out(id, index as usize);
        }
        let cursors = &mut self.streams[id].cursors;
        // Keeps the count of half-sent frames where nothing was moved out.
        let seq = cursors.subs[index as usize].seq;
        cursors.place(index as usize, seq, 0);
        cursors.subs.swap_remove(index as usize);
        cursors.links.swap_remove(index as usize);
        if let Some(&moved) = cursors.links.get(index as usize) {
            self.links[moved].index = index;
        }
        let conn = &mut self.conns[slot as usize];
        conn.link_count -= 1;
        if next == link {
            conn.links[priority] = NONE;
        } else {
            let mut before = next;
            while self.links[before].next != link {
                before = self.links[before].next;
            }
            self.links[before].next = next;
            if conn.links[priority] == link {
                conn.links[priority] = before;
            }
        }
        if special != NONE {
            self.specials.remove(special);
        }
        self.links.remove(link);
    }
}

fn is_interested(conns: &[super::conn::Conn], slot: u32, generation: u32) -> bool {
    conns.get(slot as usize).is_some_and(|c| c.generation == generation && !c.interests.is_empty() && c.is_live())
}
