//! Sending: the hot pass over a stream's cursors, and the gathered sends of everybody else.
//!
//! A connection with exactly one cursor and nothing unusual pending is served while walking its stream's dense array: one
//! contiguous run from its cursor to the head, 64 connections to a batch. Every other connection with news goes on the
//! dirty list and gets one gathered send, in this order: the rest of a half-sent frame, control frames, messages to it
//! alone, then its lanes, critical first.

use std::io::IoSlice;

use arrayvec::ArrayVec;

use super::Shard;
use super::conn::{Conn, Mid, Phase};
use super::table::{NONE, Table};
use super::topics::{Link, Stream};
use crate::config::SlowPolicy;
use crate::driver::{Driver, SEND_BATCH_OPS, SEND_PARTS_MAX, SendBatch, Sent, Slot};
use crate::log::{Log, Place};
use crate::proto::close::CloseCode;
use crate::proto::server_message::GapReason;
use crate::types::Priority;
use crate::usdt;

/// Bytes of one send at most: what arrives meanwhile rides the next.
pub const SEND_BYTES_MAX: usize = 64 << 10;
/// Above this share of a lane's budget a cursor is moved forward…
const LAG_HIGH_PERCENT: u64 = 90;
/// …to this share.
const LAG_LOW_PERCENT: u64 = 50;
/// Connections planned at a time.
const GROUP: usize = 32;

/// One piece of a connection's gathered send, by reference to where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Remainder,
    Control,
    /// Messages to it alone, from the first on.
    Direct,
    /// Only the rest of the first of them.
    DirectRest,
    /// A run of its cursor's stream, and how many messages are passed over before it.
    Run {
        link: u32,
        skips: u32,
        from: u64,
        to: u64,
    },
}

/// What one connection is to be sent.
#[derive(Debug)]
pub struct Plan {
    slot: u32,
    pub(super) items: ArrayVec<Item, SEND_PARTS_MAX>,
    /// Bytes of each item that went into the batch.
    lens: ArrayVec<usize, SEND_PARTS_MAX>,
    /// Nothing of the items had to be left out of the batch.
    is_whole: bool,
}

impl Plan {
    fn new(slot: u32) -> Self {
        Self { slot, items: ArrayVec::new(), lens: ArrayVec::new(), is_whole: false }
    }

    fn offered(&self) -> usize {
        self.lens.iter().sum()
    }
}

/// Where a cursor stands, after its losses have been accounted for.
pub(super) enum Standing {
    /// Caught up.
    AtHead,
    /// At this stream offset.
    At(u64),
    /// It cannot go on before its gap notice finds room.
    Waits,
    /// It lost critical messages: its connection must go.
    Lost,
}

impl<D: Driver> Shard<D> {
    /// Sends what this turn brought: hot passes by priority, then the dirty connections.
    pub(super) fn send_news(&mut self) {
        for priority in Priority::ALL {
            let mut active = std::mem::take(&mut self.active[priority as usize]);
            for &id in &active {
                self.walk(id);
            }
            active.clear();
            self.active[priority as usize] = active;
        }
        self.serve_dirty();
        self.news.clear();
    }

    /// The hot pass.
    fn walk(&mut self, id: u32) {
        let Self { number, streams, conns, driver, results, news, dirty, doomed, stats, .. } = self;
        let shard = u32::from(*number);
        let Stream { log, cursors, is_active, .. } = &mut streams[id];
        *is_active = false;
        let (head, head_seq) = (log.head(), log.next_seq());
        let mut batch = SendBatch::new();
        // For each send of the batch: the cursor's index, its position, and how much was offered.
        let mut sent: ArrayVec<(usize, u64, usize), SEND_BATCH_OPS> = ArrayVec::new();
        // Nearly all cursors stand at the same place: look it up once.
        let mut known: (u64, u64) = (u64::MAX, 0);
        let count = cursors.subs.len();
        for i in 0..count {
            let sub = cursors.subs[i];
            // A derived log that is being built again may be behind its cursors.
            if sub.seq < head_seq {
                let position = if !sub.is_plain() {
                    None
                } else if sub.seq == known.0 {
                    Some(known.1)
                } else if let Place::At(entry) = log.place(sub.seq) {
                    known = (sub.seq, entry.offset);
                    Some(entry.offset)
                } else {
                    None
                };
                if let Some(from) = position {
                    sent.push((i, from, offer(log, &mut batch, sub.slot, from, head)));
                } else {
                    note_news(conns, dirty, news, sub.slot, cursors.links[i]);
                }
            }
            if batch.is_full() || (i + 1 == count && !batch.is_empty()) {
                driver.send(&batch, results);
                for (&(index, from, offered), &result) in sent.iter().zip(results.iter()) {
                    let slot = cursors.subs[index].slot;
                    let n = match result {
                        Sent::Bytes(n) => n,
                        Sent::Blocked => 0,
                        Sent::Failed(_) => {
                            conns[slot as usize].phase = Phase::Broken;
                            cursors.subs[index].set_aside(true);
                            doomed.push((slot, CloseCode::ABNORMAL.to_u16()));
                            continue;
                        }
                    };
                    stats.sent_bytes += n as u64;
                    if from + n as u64 == head {
                        let messages = head_seq - cursors.subs[index].seq;
                        stats.deliveries += messages;
                        cursors.subs[index].seq = head_seq;
                        usdt::send(shard, slot, n as u64, offered as u64, messages);
                        continue;
                    }
                    // Short, or more than one send's worth: out of the hot pass until it has caught up.
                    let messages = cursors.place_at(log, index, from + n as u64);
                    stats.deliveries += messages;
                    usdt::send(shard, slot, n as u64, offered as u64, messages);
                    cursors.subs[index].set_aside(true);
                    let conn = &mut conns[slot as usize];
                    if cursors.subs[index].partial() != 0 {
                        conn.set_mid(Mid::Link(cursors.links[index]));
                    }
                    conn.flags.has_leftover = true;
                    if n < offered {
                        conn.flags.is_blocked = true;
                        driver.want_writable(Slot(slot));
                    } else if !conn.flags.is_dirty {
                        conn.flags.is_dirty = true;
                        dirty.push(slot);
                    }
                }
                batch.clear();
                sent.clear();
            }
        }
    }

    /// Serves the dirty connections, one gathered send each; who has more left goes on the next turn's list.
    fn serve_dirty(&mut self) {
        let next = std::mem::take(&mut self.next_dirty);
        let mut dirty = std::mem::replace(&mut self.dirty, next);
        for group in dirty.chunks(GROUP) {
            self.serve_group(group);
        }
        dirty.clear();
        self.next_dirty = dirty;
    }

    fn serve_group(&mut self, group: &[u32]) {
        let mut plans = std::mem::take(&mut self.plans);
        plans.clear();
        for &slot in group {
            self.conns[slot as usize].flags.is_dirty = false;
            match self.plan(slot) {
                Some(plan) => plans.push(plan),
                None => self.after_service(slot),
            }
        }
        let mut first = 0;
        while first < plans.len() {
            let mut next = first;
            let mut results = std::mem::take(&mut self.results);
            let mut batch = SendBatch::new();
            while next < plans.len() && !batch.is_full() {
                fill(&mut batch, &mut plans[next], &self.conns, &self.links, &self.streams);
                next += 1;
            }
            self.driver.send(&batch, &mut results);
            drop(batch);
            // A plan without a byte took no place in the batch.
            for (plan, &result) in plans[first..next].iter().filter(|p| p.offered() > 0).zip(results.iter()) {
                self.apply(plan, result);
                self.after_service(plan.slot);
            }
            self.results = results;
            first = next;
        }
        self.plans = plans;
    }

    /// Decides what the connection is sent now. Renders what is due of its state (pong, announcements, gap notices) into its
    /// control queue and moves overtaken cursors forward.
    fn plan(&mut self, slot: u32) -> Option<Plan> {
        let conn = &mut self.conns[slot as usize];
        let news = std::mem::replace(&mut conn.news, NONE);
        if conn.flags.is_blocked || matches!(conn.phase, Phase::Free | Phase::Lingering | Phase::Broken) {
            return None;
        }
        let phase = conn.phase;
        let mid = conn.mid();
        let serve_all = std::mem::take(&mut conn.flags.has_leftover);
        let mut plan = Plan::new(slot);
        let mut room = SEND_BYTES_MAX;
        match mid {
            Mid::Boundary => {}
            Mid::Remainder => plan.items.push(Item::Remainder),
            Mid::Direct => plan.items.push(Item::DirectRest),
            Mid::Link(link) => {
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
            if self.conns[slot as usize].extra.as_ref().is_some_and(|e| !e.direct.is_empty()) {
                plan.items.push(Item::Direct);
            }
            if serve_all || phase == Phase::Draining {
                self.plan_all_lanes(slot, &mut plan, room);
            } else {
                self.plan_news(slot, news, &mut plan, room);
            }
        }
        if phase != Phase::Closing && self.conns[slot as usize].phase == Phase::Closing {
            // Evicted just now: its cursors are gone, the rest of a frame has moved, and nothing follows the close frame.
            return self.plan(slot);
        }
        if self.conns[slot as usize].phase == Phase::Broken {
            return None;
        }
        // A plan of nothing but an empty control queue is no plan.
        let has_control = self.conns[slot as usize].extra.as_ref().is_some_and(|e| !e.control.is_empty());
        if plan.items.len() > 1 || has_control {
            return Some(plan);
        }
        if self.conns[slot as usize].flags.has_leftover {
            // All that was looked at was passed over, and more is to be looked at.
            self.mark_dirty(slot);
        }
        None
    }

    /// The unsent rest of the frame under a cursor. `None` never happens while the invariant holds that a frame's log memory
    /// stays until its half-sent copies have moved out.
    fn rest_of_frame(&self, link: u32) -> Option<(u64, u64)> {
        let link = self.links[link];
        let stream = &self.streams[link.stream];
        let sub = stream.cursors.subs[link.index as usize];
        match stream.log.place(sub.seq) {
            Place::At(entry) => Some((entry.offset + u64::from(sub.partial()), entry.offset + u64::from(entry.len))),
            _ => {
                debug_assert!(false, "a half-sent frame lost its log memory");
                None
            }
        }
    }

    /// Adds what this turn's news brought. `last`: see [`Conn::news`].
    fn plan_news(&mut self, slot: u32, last: u32, plan: &mut Plan, mut room: usize) {
        let mut before = last;
        while before != NONE && self.conns[slot as usize].is_live() {
            let position = self.news[before as usize].1;
            let link = self.news[position as usize].0;
            before = if position == last { NONE } else { position };
            if !self.plan_lane(slot, link, plan, &mut room) {
                self.conns[slot as usize].flags.has_leftover = true;
                return;
            }
        }
    }

    fn plan_all_lanes(&mut self, slot: u32, plan: &mut Plan, mut room: usize) {
        for priority in Priority::ALL {
            let last = self.conns[slot as usize].links[priority as usize];
            if last == NONE {
                continue;
            }
            let mut link = self.links[last].next;
            loop {
                if !self.plan_lane(slot, link, plan, &mut room) {
                    let conn = &mut self.conns[slot as usize];
                    conn.flags.has_leftover = true;
                    // Lanes of one priority take turns in being first.
                    if conn.links[priority as usize] != NONE {
                        conn.links[priority as usize] = link;
                    }
                    return;
                }
                if link == last {
                    break;
                }
                if !self.conns[slot as usize].is_live() {
                    return;
                }
                link = self.links[link].next;
            }
        }
    }

    /// Adds what a lane has for the connection. `false`: not everything fits, the rest is for another turn.
    fn plan_lane(&mut self, slot: u32, link: u32, plan: &mut Plan, room: &mut usize) -> bool {
        let Link { stream, membership, .. } = self.links[link];
        if self.memberships[membership].must_announce {
            return false;
        }
        let is_picky = self.is_picking(link);
        if is_picky {
            return self.plan_picked(slot, link, plan, room);
        }
        let from = match self.standing(slot, link) {
            Standing::AtHead => return true,
            Standing::At(from) => from,
            Standing::Waits => return false,
            Standing::Lost => {
                self.evict(slot, "too slow for critical messages");
                return true;
            }
        };
        if *room == 0 || plan.items.is_full() {
            return false;
        }
        let head = self.streams[stream].log.head();
        let to = head.min(from + *room as u64);
        plan.items.push(Item::Run { link, skips: 0, from, to });
        *room -= (to - from) as usize;
        to == head
    }

    /// Where the cursor of `link` goes on, past the frame it is in. Accounts for (and announces) what it has lost.
    pub(super) fn standing(&mut self, slot: u32, link: u32) -> Standing {
        let Link { stream: id, index, .. } = self.links[link];
        let stream = &self.streams[id];
        let log = &stream.log;
        let sub = stream.cursors.subs[index as usize];
        if sub.partial() != 0 {
            // Its rest leads the plan; losses behind it are looked at when it is out.
            return match log.place(sub.seq) {
                Place::At(entry) if entry.offset + u64::from(entry.len) < log.head() => {
                    Standing::At(entry.offset + u64::from(entry.len))
                }
                _ => Standing::AtHead,
            };
        }
        if let Some(owed) = self.owed(link) {
            let (from, to, reason) = owed;
            if !self.announce_gap(slot, id, from, to, reason) {
                return Standing::Waits;
            }
            self.clear_owed(link);
        }
        let stream = &self.streams[id];
        let log = &stream.log;
        if sub.seq >= log.next_seq() {
            return Standing::AtHead;
        }
        let is_critical = self.lanes[stream.lane].priority == Priority::Critical;
        let policy =
            self.topics[self.lanes[stream.lane].topic as usize].as_ref().map_or(SlowPolicy::DropOldest, |t| t.policy);
        let high = log.budget_bytes() as u64 * LAG_HIGH_PERCENT / 100;
        let low = log.budget_bytes() as u64 * LAG_LOW_PERCENT / 100;
        let lag = log.lag_bytes(sub.seq);
        self.note_lag(slot, link, lag);
        let stream = &self.streams[id];
        let log = &stream.log;
        let next = match log.place(sub.seq) {
            Place::At(entry) if lag <= high => return Standing::At(entry.offset),
            Place::At(entry) => {
                let next = log.seq_at_lag(low).max(entry.seq);
                if next == entry.seq {
                    return Standing::At(entry.offset);
                }
                next
            }
            Place::Before(entry) => log.seq_at_lag(low).max(entry.seq),
            Place::End => log.next_seq(),
        };
        if is_critical || policy == SlowPolicy::Disconnect {
            return Standing::Lost;
        }
        if !self.announce_gap(slot, id, sub.seq, next - 1, GapReason::Lag) {
            return Standing::Waits;
        }
        let stream = &mut self.streams[id];
        stream.cursors.place(index as usize, next, 0);
        match stream.log.place(next) {
            Place::At(entry) => Standing::At(entry.offset),
            _ => Standing::AtHead,
        }
    }

    /// Notes what was sent, and how it leaves the connection.
    fn apply(&mut self, plan: &Plan, result: Sent) {
        let slot = plan.slot;
        let mut n = match result {
            Sent::Bytes(n) => n,
            Sent::Blocked => 0,
            Sent::Failed(_) => {
                self.doom(slot, CloseCode::ABNORMAL.to_u16());
                return;
            }
        };
        let (sent, offered) = (n as u64, plan.offered());
        let is_short = n < offered;
        self.stats.sent_bytes += sent;
        let deliveries_before = self.stats.deliveries;
        let mut last_run = None;
        for (item, &len) in plan.items.iter().zip(&plan.lens) {
            let k = n.min(len);
            n -= k;
            if k == 0 {
                continue;
            }
            match *item {
                Item::Remainder => self.remainder_was_sent(slot, k),
                Item::Control => {
                    if let Some(extra) = &mut self.conns[slot as usize].extra {
                        extra.control_was_sent(k);
                    }
                }
                Item::Direct | Item::DirectRest => self.direct_was_sent(slot, k),
                Item::Run { link, skips, from, .. } => {
                    last_run = Some(link);
                    let Link { stream, index, .. } = self.links[link];
                    self.note_passed_over(slot, stream, skips.into());
                    let Stream { log, cursors, .. } = &mut self.streams[stream];
                    let is_new = cursors.subs[index as usize].partial() == 0;
                    let moved = cursors.place_at(log, index as usize, from + k as u64);
                    self.stats.deliveries += moved.saturating_sub(skips.into());
                    let conn = &mut self.conns[slot as usize];
                    if cursors.subs[index as usize].partial() != 0 {
                        conn.set_mid(Mid::Link(link));
                    } else if conn.mid() == Mid::Link(link) {
                        conn.set_mid(Mid::Boundary);
                    }
                    if is_new {
                        self.note_paced(link);
                    }
                }
            }
        }
        let messages = self.stats.deliveries - deliveries_before;
        usdt::send(self.number.into(), slot, sent, offered as u64, messages);
        if is_short && let Some(link) = last_run {
            // Lanes of one priority take turns in being first: the next send begins behind the last lane that got something.
            let priority = self.lanes[self.streams[self.links[link].stream].lane].priority;
            self.conns[slot as usize].links[priority as usize] = link;
        }
        let conn = &mut self.conns[slot as usize];
        if is_short {
            conn.flags.is_blocked = true;
            conn.flags.has_leftover = true;
            self.driver.want_writable(Slot(slot));
        } else if !plan.is_whole || conn.flags.has_leftover || conn.has_output() {
            conn.flags.has_leftover = true;
            self.mark_dirty(slot);
        }
    }

    fn direct_was_sent(&mut self, slot: u32, n: usize) {
        let conn = &mut self.conns[slot as usize];
        let Some(extra) = &mut conn.extra else { return };
        extra.direct_sent += n;
        while let Some(first) = extra.direct.front()
            && extra.direct_sent >= first.len()
        {
            extra.direct_sent -= first.len();
            extra.direct.pop_front();
        }
        if extra.direct_sent > 0 {
            conn.set_mid(Mid::Direct);
        } else if conn.mid() == Mid::Direct {
            conn.set_mid(Mid::Boundary);
        }
    }
}

/// Adds the run from `from` to the head to the batch; returns its length.
#[inline]
fn offer<'a>(log: &'a Log, batch: &mut SendBatch<'a>, slot: u32, from: u64, head: u64) -> usize {
    let run = log.run(from, head, SEND_BYTES_MAX);
    if from + run.len() as u64 == head || run.len() == SEND_BYTES_MAX {
        batch.push_one(Slot(slot), run);
        return run.len();
    }
    // The news crosses a segment's end.
    let mut parts: ArrayVec<IoSlice<'_>, 8> = ArrayVec::new();
    let offered = log.gather(from, head, SEND_BYTES_MAX, &mut parts);
    batch.push(Slot(slot), &parts);
    offered
}

/// Puts a link with news on its connection's list of this turn.
fn note_news(conns: &mut [Conn], dirty: &mut Vec<u32>, news: &mut Vec<(u32, u32)>, slot: u32, link: u32) {
    let conn = &mut conns[slot as usize];
    if conn.flags.is_blocked || !conn.is_live() {
        conn.flags.has_leftover = true;
        return;
    }
    let position = news.len() as u32;
    let first = match conn.news {
        NONE => position,
        last => std::mem::replace(&mut news[last as usize].1, position),
    };
    news.push((link, first));
    conn.news = position;
    if !conn.flags.is_dirty {
        conn.flags.is_dirty = true;
        dirty.push(slot);
    }
}

/// Adds a plan's memory to the batch, as far as it fits.
fn fill<'a>(
    batch: &mut SendBatch<'a>,
    plan: &mut Plan,
    conns: &'a [Conn],
    links: &Table<Link>,
    streams: &'a Table<Stream>,
) {
    let mut parts: ArrayVec<IoSlice<'a>, SEND_PARTS_MAX> = ArrayVec::new();
    let extra = conns[plan.slot as usize].extra.as_deref();
    let mut room = 2 * SEND_BYTES_MAX;
    let mut is_whole = true;
    for item in &plan.items {
        if parts.is_full() || room == 0 {
            is_whole = false;
            break;
        }
        let mut len = 0;
        let mut want = 0;
        match *item {
            Item::Remainder => {
                for piece in extra.iter().flat_map(|e| &e.remainder) {
                    let bytes = piece.unsent();
                    want += bytes.len();
                    len += add(&mut parts, bytes, room - len);
                }
            }
            Item::Control => {
                if let Some(extra) = extra {
                    let bytes = &extra.control[extra.control_sent..];
                    want = bytes.len();
                    len = add(&mut parts, bytes, room);
                }
            }
            Item::DirectRest | Item::Direct => {
                let Some(extra) = extra else { continue };
                let is_rest = matches!(item, Item::DirectRest);
                // After its own rest the first message is done with.
                let skip_first = !is_rest && matches!(plan.items[0], Item::DirectRest);
                let mut sent = if skip_first { 0 } else { extra.direct_sent };
                let take = if is_rest { 1 } else { usize::MAX };
                for direct in extra.direct.iter().skip(usize::from(skip_first)).take(take) {
                    if sent < direct.header.len() {
                        let bytes = &direct.header[sent..];
                        want += bytes.len();
                        len += add(&mut parts, bytes, room - len);
                    }
                    let bytes = &direct.payload[sent.saturating_sub(direct.header.len())..];
                    want += bytes.len();
                    len += add(&mut parts, bytes, room - len);
                    sent = 0;
                    if len < want {
                        break;
                    }
                }
            }
            Item::Run { link, from, to, .. } => {
                want = (to - from) as usize;
                len = streams[links[link].stream].log.gather(from, to, room, &mut parts);
            }
        }
        room -= len;
        plan.lens.push(len);
        if len < want {
            is_whole = false;
            break;
        }
    }
    plan.is_whole = is_whole;
    if !parts.is_empty() {
        batch.push(Slot(plan.slot), &parts);
    }
}

/// Adds one part, cut to `room`; returns what was added.
fn add<'a>(parts: &mut ArrayVec<IoSlice<'a>, SEND_PARTS_MAX>, bytes: &'a [u8], room: usize) -> usize {
    let n = bytes.len().min(room);
    if n == 0 || parts.is_full() {
        return 0;
    }
    parts.push(IoSlice::new(&bytes[..n]));
    n
}
