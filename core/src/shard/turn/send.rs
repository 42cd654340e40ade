//! The hot pass over a stream's cursors.
//!
//! A connection with exactly one cursor and nothing unusual pending is served while walking its stream's dense array: one
//! contiguous run from its cursor to the head, 64 connections to a batch. Every other connection with news goes on the
//! dirty list and gets a gathered send.

use std::io::IoSlice;
use std::ops::Range;

use arrayvec::ArrayVec;

use crate::driver::{Driver, SEND_BATCH_OPS, SEND_BATCH_PARTS, SEND_PARTS_MAX, SendBatch, Sent, Slot};
use crate::log::{Log, Place, Position};
use crate::proto::close::CloseCode;
use crate::shard::budget::SENDS_UNTIL_NS;
use crate::shard::clients::{Clients, HalfSent};
use crate::shard::lanes::{Cursors, Stream};
use crate::shard::sender::{BATCH_BYTES, SEND_BYTES_MAX};
use crate::shard::subscriptions::Subscriptions;
use crate::shard::{Ears, Shard};
use crate::types::Priority;
use crate::usdt;

/// Pieces of memory of one run: a batch of runs is full when it has as many as it takes, before the pieces are too many.
const RUN_PARTS_MAX: usize = 7;
const _: () = assert!((SEND_BATCH_OPS - 1) * RUN_PARTS_MAX + SEND_PARTS_MAX <= SEND_BATCH_PARTS);
/// Sends of one batch at least, however long the runs are.
const SENDS_LEAST: usize = 4;

/// One send of a batch: the cursor's index, where it stands, and how much was offered.
type Offer = (usize, u64, usize);

impl<D: Driver> Shard<D> {
    /// Sends what this turn brought: hot passes by priority, then the dirty connections; as far as the budget goes.
    pub(super) fn send_news(&mut self) {
        if self.pace.stopwatch.is_to_begin() && self.lanes.active.iter().any(|active| !active.is_empty()) {
            let now_ns = self.ears.driver.fresh_ns();
            let age_ns = self.pace.stopwatch.begin(now_ns);
            self.instruments().first_send_us.note_ns(age_ns);
        }
        if self.host.listens() && self.host.has_unsent() {
            self.trace_sending();
        }
        self.lanes.end_haste();
        for priority in Priority::ALL {
            if priority == Priority::High && !self.subscriptions.clock.is_empty() {
                self.visit_due(false);
            }
            if self.lanes.active[priority as usize].is_empty() {
                continue;
            }
            let mut active = std::mem::take(&mut self.lanes.active[priority as usize]);
            let mut walked = 0;
            while walked < active.len() && (walked % 8 != 0 || self.may_send()) {
                if !self.lanes.has_news(active[walked], priority) {
                    walked += 1;
                    continue;
                }
                self.walk(active[walked]);
                if self.lanes.stream(active[walked]).is_active {
                    break;
                }
                walked += 1;
            }
            active.drain(..walked);
            // What became active meanwhile stands behind what was not reached.
            active.append(&mut self.lanes.active[priority as usize]);
            self.lanes.active[priority as usize] = active;
        }
        if self.subscriptions.clock.has_hastened() {
            self.visit_due(true);
        }
        if !self.clients.dirty.is_empty() {
            self.serve_dirty();
        }
        self.sender.news.clear();
    }

    /// True while there is something left of this turn's share of sends.
    pub(super) fn may_send(&self) -> bool {
        !self.pace.work.sends.is_spent() && self.has_time_until(SENDS_UNTIL_NS)
    }

    /// The hot pass over one stream, from where the last one stopped. Where the budget does not reach round, it goes on in the next turn.
    fn walk(&mut self, id: u32) {
        let stream = self.lanes.stream_mut(id);
        stream.is_active = false;
        stream.walk.head = stream.log.head();
        let count = stream.cursors.all.len();
        let from = std::mem::take(&mut stream.walk.from).min(count);
        // Twice the same code, so that counting what each client costs takes nothing where nobody wants to know.
        let stopped = match self.census.tallies.are_on() {
            false => self.walk_range::<false>(id, from..count).or_else(|| self.walk_range::<false>(id, 0..from)),
            true => self.walk_range::<true>(id, from..count).or_else(|| self.walk_range::<true>(id, 0..from)),
        };
        if let Some(stopped) = stopped {
            let stream = self.lanes.stream_mut(id);
            stream.walk.from = stopped;
            stream.is_active = true;
        }
    }

    /// Returns the place of the first cursor that was not looked at, if the budget was spent before.
    fn walk_range<const COUNTS: bool>(&mut self, id: u32, range: Range<usize>) -> Option<usize> {
        let Self { number, shared, lanes, sender, clients, ears, pace, stats, closes, census, subscriptions, .. } =
            self;
        let at_once = if lanes.stream(id).walk.is_delaying { lanes.visit_before(id) } else { Position::FIRST };
        let batches = &shared.mailboxes[*number as usize].instruments.batch_sends;
        let Ears { driver, .. } = ears;
        let Stream { log, cursors, .. } = lanes.stream_mut(id);
        let (head, next) = (log.head(), log.next());
        let (mut batch, mut sent) = (SendBatch::new(), ArrayVec::<Offer, SEND_BATCH_OPS>::new());
        // Nearly all cursors stand at the same place: look it up once.
        let mut known = News { position: Position::END, from: 0, run: None };
        let mut most = SEND_BATCH_OPS;
        let end = range.end;
        for i in range {
            let cursor = cursors.all[i];
            // A derived log that is being built again may be behind its cursors.
            if cursor.position < next {
                let is_known = cursor.position == known.position;
                if cursor.is_plain() && (is_known || known.look_up(log, cursor.position, head, &mut most)) {
                    let offered = match known.run {
                        Some(run) => {
                            batch.push_one(Slot(cursor.slot), run);
                            run.len()
                        }
                        None => gather(log, &mut batch, cursor.slot, known.from, head),
                    };
                    sent.push((i, known.from, offered));
                } else if cursor.is_delayed() {
                    if cursor.position < at_once {
                        hasten(cursors, i, subscriptions, pace.now_ns);
                    } else if !cursor.is_waiting() {
                        await_moment(cursors, i, subscriptions, pace.now_ns);
                    }
                } else if sender.note_news(&mut clients[cursor.slot], cursors.links[i]) {
                    clients.dirty.push(cursor.slot);
                }
            }
            if sent.len() >= most || (i + 1 == end && !batch.is_empty()) {
                driver.send(&batch, &mut sender.results);
                batches.note(sent.len() as u64);
                let mut bytes = 0;
                for (&(index, from, offered), &result) in sent.iter().zip(sender.results.iter()) {
                    let slot = cursors.all[index].slot;
                    let n = match result {
                        Sent::Bytes(n) => n,
                        Sent::Blocked => 0,
                        Sent::Failed(_) => {
                            cursors.all[index].set_gathered(true);
                            closes.cut(&mut clients[slot], slot, CloseCode::ABNORMAL.to_u16());
                            continue;
                        }
                    };
                    bytes += n;
                    if COUNTS {
                        census.tallies.note(slot, 8 + (n >> 10) as u32, n);
                    }
                    let messages = if from + n as u64 == head {
                        next - std::mem::replace(&mut cursors.all[index].position, next)
                    } else {
                        // Short, or more than one send's worth: out of the hot pass until it has caught up.
                        let messages = cursors.place_at(log, index, from + n as u64);
                        fell_short(cursors, index, clients, n == offered, driver);
                        messages
                    };
                    stats.deliveries += messages;
                    usdt::send((*number).into(), slot, n as u64, offered as u64, messages);
                }
                stats.sent_bytes += bytes as u64;
                pace.work.sends.spend(8 * sent.len() as u32 + (bytes >> 10) as u32);
                batch.clear();
                sent.clear();
                if i + 1 < end && (pace.work.sends.is_spent() || driver.fresh_ns() >= pace.now_ns + SENDS_UNTIL_NS) {
                    return Some(i + 1);
                }
            }
        }
        None
    }
}

/// What is new for cursors in one place.
pub(super) struct News<'a> {
    /// Where they stand: the message, …
    pub position: Position,
    /// …and its offset.
    pub from: u64,
    /// The memory from there to the head, where it is one piece.
    pub run: Option<&'a [u8]>,
}

impl<'a> News<'a> {
    /// Finds them, and how many sends of them make a batch. False: nothing can be sent from there by the hot pass.
    pub fn look_up(&mut self, log: &'a Log, position: Position, head: u64, most: &mut usize) -> bool {
        let Place::At(entry) = log.place(position) else { return false };
        let from = entry.offset;
        let run = log.run(from, head, SEND_BYTES_MAX);
        let is_whole = from + run.len() as u64 == head || run.len() == SEND_BYTES_MAX;
        *self = News { position, from, run: is_whole.then_some(run) };
        *most = (BATCH_BYTES / (head - from) as usize).clamp(SENDS_LEAST, SEND_BATCH_OPS);
        true
    }
}

/// A cursor has news, and a latency budget: it is visited when its moment has come.
#[cold]
#[inline(never)]
fn await_moment(cursors: &mut Cursors, index: usize, to: &mut Subscriptions, now_ns: u64) {
    let (slot, link) = (cursors.all[index].slot, cursors.links[index]);
    cursors.all[index].set_waiting(true);
    to.clock.wait(link, slot, to.link(link).budget_ms, now_ns);
    if !cursors.all[index].is_plain_but_delayed() {
        // Whatever else is sent to it takes this along.
        to.of_mut(slot).doing.set_wait(true);
    }
}

/// A cursor would lose something by waiting longer: it is visited in the next turn.
#[cold]
#[inline(never)]
fn hasten(cursors: &mut Cursors, index: usize, to: &mut Subscriptions, now_ns: u64) {
    cursors.all[index].set_waiting(true);
    to.clock.hasten(cursors.links[index], now_ns);
}

/// Adds news that cross a segment's end to the batch; returns their length.
#[cold]
#[inline(never)]
pub(super) fn gather<'a>(log: &'a Log, batch: &mut SendBatch<'a>, slot: u32, from: u64, head: u64) -> usize {
    let mut parts: ArrayVec<IoSlice<'_>, RUN_PARTS_MAX> = ArrayVec::new();
    let offered = log.gather(from, head, SEND_BYTES_MAX, &mut parts);
    batch.push(Slot(slot), &parts);
    offered
}

/// A cursor has not caught up: its connection is looked at, now or when it takes more.
#[cold]
#[inline(never)]
pub(super) fn fell_short(
    cursors: &mut Cursors,
    index: usize,
    clients: &mut Clients,
    took_all: bool,
    driver: &mut impl Driver,
) {
    cursors.all[index].set_gathered(true);
    let slot = cursors.all[index].slot;
    let conn = &mut clients[slot];
    if cursors.all[index].sent_bytes() != 0 {
        conn.set_half_sent(HalfSent::Cursor(cursors.links[index]));
    }
    conn.flags.must_look = true;
    if took_all {
        clients.mark_dirty(slot);
    } else {
        conn.flags.is_blocked = true;
        driver.want_writable(Slot(slot));
    }
}
