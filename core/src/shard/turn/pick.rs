//! Picking cursors: those that look at each frame before it is sent.
//!
//! `max_hz`, `echo: false`, expiry and the policy `latest` pass messages over. Only cursors that ask for that, and cursors that
//! lag in a lane that has such messages, come here; what is passed over shows as a jump of the sequence number. Critical
//! messages are never passed over.

use std::cmp::Reverse;

use crate::config::SlowPolicy;
use crate::driver::Driver;
use crate::event::Event;
use crate::log::{Entry, Place, Position};
use crate::shard::Shard;
use crate::shard::clients::Phase;
use crate::shard::sender::{Item, Plan};
use crate::shard::turn::plan::Next;
use crate::types::Priority;

/// Frames looked at for one cursor in one turn at most.
const LOOKS_PER_TURN: usize = 256;
/// Frames looked at to find the newest that a cursor with a rate wants; where none of so many is, all are passed over.
const PACED_LOOKS_MAX: usize = 4_096;
/// Lag, as a share of the lane's budget, at which the host is warned…
const WARN_PERCENT: u64 = 70;
/// …and at which it may be warned again.
const CALM_PERCENT: u64 = 50;

impl<D: Driver> Shard<D> {
    /// True if the cursor must look at frames one by one.
    pub(super) fn is_picking(&self, link: u32) -> bool {
        let lane = self.lanes.lane_of(self.subscriptions.link(link).stream);
        lane.priority != Priority::Critical
            && (lane.is_picky || self.subscriptions.terms(link).is_some_and(|terms| terms.is_picking()))
    }

    /// Warns the host, once, of a cursor that falls behind.
    pub(super) fn note_lag(&mut self, slot: u32, link: u32, lag: u64) {
        let (stream, was_warned) = {
            let link = self.subscriptions.link(link);
            (link.stream, link.was_warned)
        };
        let budget = self.lanes.stream(stream).log.budget_bytes() as u64;
        if was_warned {
            self.subscriptions.link_mut(link).was_warned = lag > budget * CALM_PERCENT / 100;
            return;
        }
        if lag <= budget * WARN_PERCENT / 100 {
            return;
        }
        self.subscriptions.link_mut(link).was_warned = true;
        self.stats.lagging += 1;
        if self.clients[slot].flags.was_announced {
            let lane = self.lanes.lane_of(stream);
            let (topic, priority) = (lane.topic, lane.priority);
            let topic = self.topics.get(topic).map_or(String::new(), |t| t.name.to_string());
            let connection = self.clients.id(slot);
            self.tell_host(Event::Lagging { connection, topic, priority });
        }
    }

    /// Adds the frames of a lane that the cursor picks. `false`: not everything was looked at, the rest is for another turn.
    pub(super) fn plan_picked(&mut self, slot: u32, link: u32, plan: &mut Plan, room: &mut usize) -> bool {
        let (id, index) = {
            let link = self.subscriptions.link(link);
            (link.stream, link.index as usize)
        };
        let policy = self.policy_of(id);
        let (interval_ns, skips_own) =
            self.subscriptions.terms(link).map_or((0, false), |terms| (terms.interval_ns, terms.skips_own));
        // Who gets only the newest loses nothing by lagging; all others are subject to the usual limits first.
        let conflates = interval_ns > 0 || policy == SlowPolicy::Latest;
        let start = if conflates { self.next_of_newest(slot, link) } else { self.next_of(slot, link) };
        match start {
            Next::AtHead => return true,
            Next::Waits => return false,
            Next::Lost => {
                self.evict_too_slow(slot, link);
                return true;
            }
            Next::At(_) => {}
        }
        if interval_ns > 0 {
            return self.plan_paced(slot, link, plan, room);
        }
        let me = self.clients.id(slot);
        let wall_ns = (self.shared.wall_ns)();
        let stream = self.lanes.stream(id);
        let lane = self.lanes.lane(stream.lane);
        let cursor = stream.cursors.all[index];
        let first = stream.next_boundary(&cursor);
        let mut next = first;
        // Messages passed over before the first picked frame, and since the last one.
        let (mut before, mut since) = (0, 0);
        let mut has_planned = cursor.sent_bytes() != 0;
        let mut is_done = true;
        for (looks, entry) in stream.log.entries_from(first).enumerate() {
            if looks >= LOOKS_PER_TURN {
                is_done = false;
                break;
            }
            let is_superseded =
                policy == SlowPolicy::Latest && entry.count == 1 && lane.keys.is_superseded(entry.key, entry.position);
            let is_own = skips_own && entry.origin == me && entry.is_sender_excluded;
            let is_expired = entry.expiry_ns != 0 && entry.expiry_ns <= wall_ns;
            if is_superseded || is_own || is_expired {
                if has_planned {
                    since += entry.count;
                } else {
                    before += u64::from(entry.count);
                    next = entry.end();
                }
                continue;
            }
            if *room == 0 || plan.items.is_full() {
                is_done = false;
                break;
            }
            let len = u64::from(entry.len).min(*room as u64);
            let skips = std::mem::take(&mut since);
            plan.items.push(Item::Run { link, skips, from: entry.offset, to: entry.offset + len });
            *room -= len as usize;
            has_planned = true;
            if len < u64::from(entry.len) {
                is_done = false;
                break;
            }
        }
        if !has_planned || next != first {
            // What stands before the first picked frame is behind this cursor.
            self.lanes.stream_mut(id).cursors.place(index, next, 0);
            self.note_passed_over(slot, id, before);
        }
        if since > 0 {
            // What stands behind the last picked frame is passed over as soon as that is sent.
            self.clients[slot].flags.must_look = true;
        }
        is_done
    }

    /// Adds the newest frame, if the cursor's time has come; else sees to it that it is served then.
    fn plan_paced(&mut self, slot: u32, link: u32, plan: &mut Plan, room: &mut usize) -> bool {
        let (id, index) = {
            let link = self.subscriptions.link(link);
            (link.stream, link.index as usize)
        };
        let (now_ns, is_ending) = (self.pace.now_ns, self.is_ending() || self.clients[slot].phase == Phase::Draining);
        let generation = self.clients[slot].generation;
        let Some(terms) = self.subscriptions.terms_mut(link) else { return true };
        if now_ns < terms.next_ns && !is_ending {
            // Once for each moment: every message of a fast lane comes here.
            if terms.queued_ns != terms.next_ns {
                terms.queued_ns = terms.next_ns;
                let next_ns = terms.next_ns;
                self.subscriptions.paced.push(Reverse((next_ns, slot, generation)));
            }
            return true;
        }
        let skips_own = terms.skips_own;
        let me = self.clients.id(slot);
        let wall_ns = (self.shared.wall_ns)();
        let stream = self.lanes.stream(id);
        let cursor = stream.cursors.all[index];
        if cursor.sent_bytes() != 0 {
            return false;
        }
        let is_wanted = |e: &&Entry| {
            !(skips_own && e.origin == me && e.is_sender_excluded) && (e.expiry_ns == 0 || e.expiry_ns > wall_ns)
        };
        // The newest is nearly always wanted.
        let from = stream.log.entries_from(cursor.position);
        let newest = from.rev().take(PACED_LOOKS_MAX).find(is_wanted).copied();
        let Some(entry) = newest else {
            let head = stream.log.next();
            self.note_passed_over(slot, id, head - cursor.position);
            self.lanes.stream_mut(id).cursors.place(index, head, 0);
            return true;
        };
        if *room == 0 || plan.items.is_full() {
            return false;
        }
        let first = entry.position.max(cursor.position);
        self.note_passed_over(slot, id, first - cursor.position);
        // A batch may hold messages that the client has.
        self.lanes.stream_mut(id).cursors.place(index, first, 0);
        let len = u64::from(entry.len).min(*room as u64);
        plan.items.push(Item::Run { link, skips: 0, from: entry.offset, to: entry.offset + len });
        *room -= len as usize;
        len == u64::from(entry.len)
    }

    /// A frame of the cursor's lane has begun to go out: the next one waits for its time.
    pub(super) fn note_paced(&mut self, link: u32) {
        let now_ns = self.pace.now_ns;
        if let Some(terms) = self.subscriptions.terms_mut(link)
            && terms.interval_ns > 0
        {
            terms.next_ns = now_ns + terms.interval_ns;
        }
    }

    /// What a cursor sends next that gets only the newest: it loses what it owed from the start, and nothing else.
    fn next_of_newest(&mut self, slot: u32, link: u32) -> Next {
        let (id, index) = {
            let link = self.subscriptions.link(link);
            (link.stream, link.index as usize)
        };
        if !self.tell_owed(slot, link) {
            return Next::Waits;
        }
        let stream = self.lanes.stream(id);
        let cursor = stream.cursors.all[index];
        let next = match stream.log.place(cursor.position) {
            Place::At(entry) => return Next::At(entry.offset),
            Place::Before(entry) => entry.position,
            Place::End if cursor.position < stream.log.next() => stream.log.next(),
            Place::End => return Next::AtHead,
        };
        if self.has_lost_latest(link, cursor.position, next) {
            if !self.announce_lag(slot, id, cursor.position, next) {
                return Next::Waits;
            }
        } else {
            self.note_passed_over(slot, id, next - cursor.position);
        }
        self.move_forward(id, index, next)
    }

    /// Whether the log has forgotten the newest message of some key between a cursor and `next`: nobody asked for that to be
    /// passed over. (Who gets only the newest message of all asked for just that.)
    fn has_lost_latest(&self, link: u32, from: Position, next: Position) -> bool {
        if self.subscriptions.terms(link).is_some_and(|terms| terms.interval_ns > 0) {
            return false;
        }
        let lane = self.lanes.stream(self.subscriptions.link(link).stream).lane;
        self.lanes.lane(lane).keys.has_lost(&self.lanes.source(lane).log, from, next)
    }
}
