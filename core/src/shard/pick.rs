//! Picking cursors: those that look at each frame before it is sent.
//!
//! `max_hz`, `echo: false`, expiry and the policy `latest` pass messages over. Only cursors that ask for that, and cursors that
//! lag in a lane that has such messages, come here; what is passed over shows as a jump of the sequence number. Critical
//! messages are never passed over.

use super::Shard;
use super::conn::connection_id;
use super::send::{Item, Plan, Standing};
use super::table::NONE;
use super::topics::Link;
use crate::config::SlowPolicy;
use crate::driver::Driver;
use crate::event::Event;
use crate::log::{Entry, Place};
use crate::proto::server_message::GapReason;
use crate::types::Priority;
use crate::usdt::DropReason;

/// Frames looked at for one cursor in one turn at most.
const LOOKS_PER_TURN: usize = 256;
/// Lag, as a share of the lane's budget, at which the host is warned…
const WARN_PERCENT: u64 = 70;
/// …and at which it may be warned again.
const CALM_PERCENT: u64 = 50;

impl<D: Driver> Shard<D> {
    /// True if the cursor must look at frames one by one.
    pub(super) fn is_picking(&self, link: u32) -> bool {
        let link = &self.links[link];
        let lane = &self.lanes[self.streams[link.stream].lane];
        lane.priority != Priority::Critical
            && (lane.is_picky || (link.special != NONE && self.specials[link.special].is_picking()))
    }

    /// The gap notice that a cursor owes.
    pub(super) fn owed(&self, link: u32) -> Option<(u64, u64, GapReason)> {
        let special = self.links[link].special;
        if special == NONE { None } else { self.specials[special].owed }
    }

    pub(super) fn clear_owed(&mut self, link: u32) {
        let special = self.links[link].special;
        if special == NONE {
            return;
        }
        self.specials[special].owed = None;
        if !self.specials[special].is_picking() {
            self.specials.remove(special);
            self.links[link].special = NONE;
        }
    }

    /// Warns the host, once, of a cursor that falls behind.
    pub(super) fn note_lag(&mut self, slot: u32, link: u32, lag: u64) {
        let Link { stream, was_warned, .. } = self.links[link];
        let stream = &self.streams[stream];
        let budget = stream.log.budget_bytes() as u64;
        if was_warned {
            self.links[link].was_warned = lag > budget * CALM_PERCENT / 100;
            return;
        }
        if lag <= budget * WARN_PERCENT / 100 {
            return;
        }
        self.links[link].was_warned = true;
        self.stats.lagging += 1;
        if self.conns[slot as usize].flags.was_announced {
            let lane = &self.lanes[stream.lane];
            let (topic, priority) = (lane.topic, lane.priority);
            let name = self.topics[topic as usize].as_ref().map_or(String::new(), |t| t.name.to_string());
            let connection = connection_id(self.number, slot, &self.conns[slot as usize]);
            self.tell_host(Event::Lagging { connection, topic: name, priority });
        }
    }

    /// Adds the frames of a lane that the cursor picks. `false`: not everything was looked at, the rest is for another turn.
    pub(super) fn plan_picked(&mut self, slot: u32, link: u32, plan: &mut Plan, room: &mut usize) -> bool {
        let Link { stream: id, index, special, .. } = self.links[link];
        let policy = self.policy_of(id);
        let interval_ns = if special == NONE { 0 } else { self.specials[special].interval_ns };
        // Who gets only the newest loses nothing by lagging; all others are subject to the usual limits first.
        let conflates = interval_ns > 0 || policy == SlowPolicy::Latest;
        let start = if conflates { self.owed_only(slot, link) } else { self.standing(slot, link) };
        match start {
            Standing::AtHead => return true,
            Standing::Waits => return false,
            Standing::Lost => {
                self.evict(slot, "too slow");
                return true;
            }
            Standing::At(_) => {}
        }
        if interval_ns > 0 {
            return self.plan_paced(slot, link, plan, room);
        }
        let skips_own = special != NONE && self.specials[special].skips_own;
        let me = connection_id(self.number, slot, &self.conns[slot as usize]);
        let wall_ns = (self.shared.wall_ns)();
        let stream = &self.streams[id];
        let lane = &self.lanes[stream.lane];
        let sub = stream.cursors.subs[index as usize];
        let first = stream.next_boundary(&sub);
        let mut next = first;
        // Messages passed over before the first picked frame, and since the last one.
        let (mut before, mut since) = (0, 0);
        let mut has_planned = sub.partial() != 0;
        let mut is_done = true;
        for (looks, entry) in stream.log.entries_from(first).enumerate() {
            if looks >= LOOKS_PER_TURN {
                is_done = false;
                break;
            }
            let is_superseded = policy == SlowPolicy::Latest
                && entry.count == 1
                && lane.latest.get(&entry.key).is_some_and(|&newest| newest > entry.seq);
            let is_own = skips_own && entry.origin == me && entry.is_sender_excluded;
            let is_expired = entry.expiry_ns != 0 && entry.expiry_ns <= wall_ns;
            if is_superseded || is_own || is_expired {
                if has_planned {
                    since += entry.count;
                } else {
                    before += u64::from(entry.count);
                    next = entry.end_seq();
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
            self.streams[id].cursors.place(index as usize, next, 0);
            self.note_passed_over(slot, id, before);
        }
        if since > 0 {
            // What stands behind the last picked frame is passed over as soon as that is sent.
            self.conns[slot as usize].flags.has_leftover = true;
        }
        is_done
    }

    /// Adds the newest frame, if the cursor's time has come; else sees to it that it is served then.
    fn plan_paced(&mut self, slot: u32, link: u32, plan: &mut Plan, room: &mut usize) -> bool {
        let Link { stream: id, index, special, .. } = self.links[link];
        let wishes = self.specials[special];
        let generation = self.conns[slot as usize].generation;
        if self.now_ns < wishes.next_ns && !self.is_ending() {
            // Once for each moment: every message of a fast lane comes here.
            if wishes.queued_ns != wishes.next_ns {
                self.specials[special].queued_ns = wishes.next_ns;
                self.paced.push(std::cmp::Reverse((wishes.next_ns, slot, generation)));
            }
            return true;
        }
        let me = connection_id(self.number, slot, &self.conns[slot as usize]);
        let wall_ns = (self.shared.wall_ns)();
        let stream = &self.streams[id];
        let sub = stream.cursors.subs[index as usize];
        if sub.partial() != 0 {
            return false;
        }
        let is_wanted = |e: &&Entry| {
            !(wishes.skips_own && e.origin == me && e.is_sender_excluded) && (e.expiry_ns == 0 || e.expiry_ns > wall_ns)
        };
        let newest = stream.log.entries_from(sub.seq).filter(is_wanted).last().copied();
        let Some(entry) = newest else {
            let head = stream.log.next_seq();
            self.note_passed_over(slot, id, head - sub.seq);
            self.streams[id].cursors.place(index as usize, head, 0);
            return true;
        };
        if *room == 0 || plan.items.is_full() {
            return false;
        }
        self.note_passed_over(slot, id, entry.seq.saturating_sub(sub.seq));
        // A batch may hold messages that the client has.
        self.streams[id].cursors.place(index as usize, entry.seq.max(sub.seq), 0);
        let len = u64::from(entry.len).min(*room as u64);
        plan.items.push(Item::Run { link, skips: 0, from: entry.offset, to: entry.offset + len });
        *room -= len as usize;
        len == u64::from(entry.len)
    }

    pub(super) fn note_passed_over(&mut self, slot: u32, stream: u32, count: u64) {
        if count > 0 {
            self.stats.passed_over += count;
            self.probe_drop(slot, stream, count, DropReason::PassedOver);
        }
    }

    /// A frame of the cursor's lane has begun to go out: the next one waits for its time.
    pub(super) fn note_paced(&mut self, link: u32) {
        let special = self.links[link].special;
        if special != NONE && self.specials[special].interval_ns > 0 {
            self.specials[special].next_ns = self.now_ns + self.specials[special].interval_ns;
        }
    }

    /// The standing of a cursor that conflates: it owes what it owed from the start, and nothing else.
    fn owed_only(&mut self, slot: u32, link: u32) -> Standing {
        let Link { stream: id, index, .. } = self.links[link];
        if let Some((from, to, reason)) = self.owed(link) {
            if !self.announce_gap(slot, id, from, to, reason) {
                return Standing::Waits;
            }
            self.clear_owed(link);
        }
        let stream = &self.streams[id];
        let sub = stream.cursors.subs[index as usize];
        let next = match stream.log.place(sub.seq) {
            Place::At(entry) => return Standing::At(entry.offset),
            Place::Before(entry) => entry.seq,
            Place::End if sub.seq < stream.log.next_seq() => stream.log.next_seq(),
            Place::End => return Standing::AtHead,
        };
        if self.has_lost_latest(link, sub.seq, next) {
            if !self.announce_gap(slot, id, sub.seq, next - 1, GapReason::Lag) {
                return Standing::Waits;
            }
        } else {
            self.note_passed_over(slot, id, next - sub.seq);
        }
        let stream = &mut self.streams[id];
        stream.cursors.place(index as usize, next, 0);
        match stream.log.place(next) {
            Place::At(entry) => Standing::At(entry.offset),
            _ => Standing::AtHead,
        }
    }

    /// Whether the log has forgotten the newest message of some key between a cursor and `next`: nobody asked for that to be
    /// passed over. (Who gets only the newest message of all asked for just that.)
    fn has_lost_latest(&self, link: u32, seq: u64, next: u64) -> bool {
        let Link { stream, special, .. } = self.links[link];
        if special != NONE && self.specials[special].interval_ns > 0 {
            return false;
        }
        let lane = &self.lanes[self.streams[stream].lane];
        lane.latest_forgotten >= seq || lane.latest.values().any(|newest| (seq..next).contains(newest))
    }

    fn policy_of(&self, stream: u32) -> SlowPolicy {
        let topic = self.lanes[self.streams[stream].lane].topic;
        self.topics[topic as usize].as_ref().map_or(SlowPolicy::DropOldest, |t| t.policy)
    }
}
