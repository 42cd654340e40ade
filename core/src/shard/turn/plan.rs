//! What one connection is sent now, in this order: the rest of a half-sent frame, control frames, messages to it alone, then its lanes,
//! critical first.

use crate::config::SlowPolicy;
use crate::driver::Driver;
use crate::log::{Place, Position};
use crate::shard::Shard;
use crate::shard::clients::{HalfSent, Phase};
use crate::shard::sender::{Item, LOOKS_PER_TURN, Looks, Plan, SEND_BYTES_MAX};
use crate::shard::table::NONE;
use crate::types::Priority;

/// Above this share of a lane's budget a cursor is moved forward…
const LAG_HIGH_PERCENT: u64 = 90;
/// …to this share.
const LAG_LOW_PERCENT: u64 = 50;

/// What a cursor sends next, after its losses have been accounted for.
pub(super) enum Next {
    /// Nothing: it has caught up.
    AtHead,
    /// What stands at this stream offset.
    At(u64),
    /// It cannot go on before its gap notice finds room.
    Waits,
    /// It lost critical messages: its connection must go.
    Lost,
}

/// A walk round the lanes of one connection.
struct Walk {
    /// Lanes of each priority that are still to be looked at.
    left: [u32; 4],
    /// Lanes that may be looked at in this turn.
    looks: u32,
    /// From here on a plan's items may be of news of the priority in hand.
    news_from: usize,
}

impl<D: Driver> Shard<D> {
    /// Decides what the connection is sent now. Renders what is due of its state (pong, announcements, gap notices) into its
    /// control queue and moves overtaken cursors forward.
    pub(super) fn plan(&mut self, slot: u32) -> Option<Plan> {
        self.pace.work.sends.spend(1);
        let conn = &mut self.clients[slot];
        let news = std::mem::replace(&mut conn.news, NONE);
        let is_silent = matches!(conn.phase, Phase::Free | Phase::Lingering | Phase::Broken | Phase::Marked);
        if conn.flags.is_blocked || is_silent {
            return None;
        }
        let phase = conn.phase;
        let half_sent = conn.half_sent();
        let mut must_look = std::mem::take(&mut conn.flags.must_look);
        if !self.subscriptions.clock.is_empty() && self.subscriptions.of(slot).doing.wait() {
            // What waits there goes along.
            self.subscriptions.of_mut(slot).doing.set_wait(false);
            must_look = true;
        }
        let mut plan = Plan::new(slot);
        let mut room = SEND_BYTES_MAX;
        match half_sent {
            HalfSent::Nothing => {}
            HalfSent::Rest => plan.items.push(Item::Rest),
            HalfSent::Direct => plan.items.push(Item::DirectRest),
            HalfSent::Cursor(link) => {
                let (from, to) = self.rest_of_frame(link)?;
                plan.items.push(Item::Run { link, skips: 0, from, to });
                room = room.saturating_sub((to - from) as usize);
            }
        }
        if phase != Phase::Closing {
            self.render_due(slot);
        }
        plan.items.push(Item::Control);
        if matches!(phase, Phase::Open | Phase::Draining) {
            if self.clients[slot].extra.as_ref().is_some_and(|e| !e.direct.is_empty()) {
                plan.items.push(Item::Direct);
            }
            if must_look || phase == Phase::Draining {
                self.plan_all_lanes(slot, news, &mut plan, room);
            } else {
                self.plan_news(slot, None, news, &mut plan, &mut room);
            }
        }
        if !matches!(self.clients[slot].phase, Phase::Open | Phase::Draining | Phase::Closing) {
            // Marked just now: it is served again when its close frame is there.
            return None;
        }
        // A plan of nothing but an empty control queue is no plan.
        let has_control = self.clients[slot].extra.as_ref().is_some_and(|e| !e.control.is_empty());
        if plan.items.len() > 1 || has_control {
            return Some(plan);
        }
        if self.clients[slot].flags.must_look {
            // All that was looked at was passed over, and more is to be looked at.
            self.clients.mark_dirty(slot);
        }
        None
    }

    /// The unsent rest of the frame under a cursor. `None` never happens while the invariant holds that a frame's log memory
    /// stays until its half-sent copies have moved out.
    fn rest_of_frame(&self, link: u32) -> Option<(u64, u64)> {
        let link = self.subscriptions.link(link);
        let stream = self.lanes.stream(link.stream);
        let cursor = stream.cursors.all[link.index as usize];
        match stream.log.place(cursor.position) {
            Place::At(entry) => {
                Some((entry.offset + u64::from(cursor.sent_bytes()), entry.offset + u64::from(entry.len)))
            }
            _ => {
                debug_assert!(false, "a half-sent frame lost its log memory");
                None
            }
        }
    }

    /// Adds what this turn's news brought, of all priorities or of one. `last`: see [`crate::shard::clients::Conn::news`]. `false`: not
    /// everything fits.
    fn plan_news(&mut self, slot: u32, only: Option<Priority>, last: u32, plan: &mut Plan, room: &mut usize) -> bool {
        let mut before = last;
        while before != NONE && self.clients[slot].is_live() {
            let (link, next) = self.sender.news_behind(before, last);
            before = next;
            let of = |link: u32| self.lanes.lane_of(self.subscriptions.link(link).stream).priority;
            if only.is_some_and(|only| of(link) != only) {
                continue;
            }
            if !self.plan_lane(slot, link, plan, room) {
                self.clients[slot].flags.must_look = true;
                return false;
            }
        }
        self.clients[slot].is_live()
    }

    /// Adds what the lanes have, critical first, and of each priority those with news first. Of a connection with many lanes a part is
    /// looked at in each turn, round after round, so each lane comes.
    fn plan_all_lanes(&mut self, slot: u32, news: u32, plan: &mut Plan, mut room: usize) {
        let links = self.subscriptions.of(slot).links;
        if links <= LOOKS_PER_TURN {
            let mut walk = Walk { left: [u32::MAX; 4], looks: u32::MAX, news_from: usize::MAX };
            for priority in Priority::ALL {
                if !self.plan_ring(slot, priority, plan, &mut room, &mut walk) {
                    return;
                }
            }
            return;
        }
        let mut round = self.sender.looks.remove(&slot).unwrap_or(Looks::round(links));
        let mut walk = Walk { left: round.left, looks: LOOKS_PER_TURN, news_from: 0 };
        for priority in Priority::ALL {
            walk.news_from = plan.items.len();
            if !self.plan_news(slot, Some(priority), news, plan, &mut room)
                || !self.plan_ring(slot, priority, plan, &mut room, &mut walk)
            {
                // News of lower priorities are not looked at by themselves any more.
                round.again |= news != NONE;
                break;
            }
        }
        round.left = walk.left;
        if !self.clients[slot].is_live() {
            return;
        }
        if round.left == [0; 4] && round.again {
            round = Looks::round(links);
        }
        if round.left != [0; 4] {
            self.clients[slot].flags.must_look = true;
            self.sender.looks.insert(slot, round);
        }
    }

    /// Goes round the lanes of one priority, as far as `looks` go. `false`: nothing more is to be added now.
    fn plan_ring(&mut self, slot: u32, priority: Priority, plan: &mut Plan, room: &mut usize, walk: &mut Walk) -> bool {
        let Walk { left, looks, news_from } = walk;
        let left = &mut left[priority as usize];
        let last = self.subscriptions.of(slot).rings[priority as usize];
        if last == NONE {
            *left = 0;
            return true;
        }
        let links = self.subscriptions.of(slot).links;
        let mut link = self.subscriptions.link(last).next;
        // What is passed over behind a picked frame is looked at again when that is sent.
        let mut again = 0;
        loop {
            if *left == 0 {
                *left = again;
                return true;
            }
            if *looks == 0 {
                // The next turn goes on here.
                self.subscriptions.of_mut(slot).rings[priority as usize] = self.subscriptions.link(link).prev;
                return false;
            }
            (*looks, *left) = (*looks - 1, *left - 1);
            self.pace.work.sends.spend(1);
            // What is new was planned by itself.
            let is_planned = plan.has_run_from(*news_from, link);
            if !is_planned && !self.plan_lane(slot, link, plan, room) {
                self.clients[slot].flags.must_look = true;
                // Lanes of one priority take turns in being first.
                if self.subscriptions.of(slot).rings[priority as usize] != NONE {
                    self.subscriptions.of_mut(slot).rings[priority as usize] = link;
                    *left = self.subscriptions.of(slot).links;
                }
                return false;
            }
            if self.clients[slot].flags.must_look {
                again = links;
            }
            if link == last {
                *left = again;
                return true;
            }
            if !self.clients[slot].is_live() {
                return false;
            }
            link = self.subscriptions.link(link).next;
        }
    }

    /// Adds what a lane has for the connection. `false`: not everything fits, the rest is for another turn.
    fn plan_lane(&mut self, slot: u32, link: u32, plan: &mut Plan, room: &mut usize) -> bool {
        let (stream, membership, index) = {
            let link = self.subscriptions.link(link);
            (link.stream, link.membership, link.index as usize)
        };
        self.lanes.wake(stream, index);
        if self.subscriptions.membership(membership).must_announce {
            return false;
        }
        if self.is_picking(link) {
            return self.plan_picked(slot, link, plan, room);
        }
        let from = match self.next_of(slot, link) {
            Next::AtHead => return true,
            Next::At(from) => from,
            Next::Waits => return false,
            Next::Lost => {
                self.evict_too_slow(slot, link);
                return true;
            }
        };
        if *room == 0 || plan.items.is_full() {
            return false;
        }
        let head = self.lanes.stream(stream).log.head();
        let to = head.min(from + *room as u64);
        plan.items.push(Item::Run { link, skips: 0, from, to });
        *room -= (to - from) as usize;
        to == head
    }

    /// What the cursor of `link` sends next, past the frame it is in. Accounts for (and announces) what it has lost.
    pub(super) fn next_of(&mut self, slot: u32, link: u32) -> Next {
        let (id, index) = {
            let link = self.subscriptions.link(link);
            (link.stream, link.index as usize)
        };
        let stream = self.lanes.stream(id);
        let log = &stream.log;
        let cursor = stream.cursors.all[index];
        if cursor.sent_bytes() != 0 {
            // Its rest leads the plan; losses behind it are looked at when it is out.
            return match log.place(cursor.position) {
                Place::At(entry) if entry.offset + u64::from(entry.len) < log.head() => {
                    Next::At(entry.offset + u64::from(entry.len))
                }
                _ => Next::AtHead,
            };
        }
        if !self.tell_owed(slot, link) {
            return Next::Waits;
        }
        let log = &self.lanes.stream(id).log;
        if cursor.position >= log.next() {
            return Next::AtHead;
        }
        let high = log.budget_bytes() as u64 * LAG_HIGH_PERCENT / 100;
        let low = log.budget_bytes() as u64 * LAG_LOW_PERCENT / 100;
        let lag = log.lag_bytes(cursor.position);
        self.note_lag(slot, link, lag);
        let log = &self.lanes.stream(id).log;
        let next = match log.place(cursor.position) {
            Place::At(entry) if lag <= high => return Next::At(entry.offset),
            Place::At(entry) => {
                let next = log.at_lag(low).max(entry.position);
                if next == entry.position {
                    return Next::At(entry.offset);
                }
                next
            }
            Place::Before(entry) => log.at_lag(low).max(entry.position),
            Place::End => log.next(),
        };
        if self.lanes.lane_of(id).is_lossless {
            return Next::Lost;
        }
        if !self.announce_lag(slot, id, cursor.position, next) {
            return Next::Waits;
        }
        self.move_forward(id, index, next)
    }

    /// The gap notice that a cursor owes. False: there is no room for it now.
    pub(super) fn tell_owed(&mut self, slot: u32, link: u32) -> bool {
        let Some(owed) = self.subscriptions.terms(link).and_then(|terms| terms.owed) else { return true };
        let stream = self.subscriptions.link(link).stream;
        if !self.announce_gap(slot, stream, &owed) {
            return false;
        }
        self.subscriptions.clear_owed(link);
        true
    }

    /// Moves a cursor past what it does not get.
    pub(super) fn move_forward(&mut self, stream: u32, index: usize, position: Position) -> Next {
        let stream = self.lanes.stream_mut(stream);
        stream.cursors.place(index, position, 0);
        match stream.log.place(position) {
            Place::At(entry) => Next::At(entry.offset),
            _ => Next::AtHead,
        }
    }

    pub(super) fn policy_of(&self, stream: u32) -> SlowPolicy {
        let topic = self.lanes.lane_of(stream).topic;
        self.topics.get(topic).map_or(SlowPolicy::DropOldest, |t| t.keeps.policy)
    }
}
