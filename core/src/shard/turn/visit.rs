//! Visits: cursors with a latency budget whose moment has come get all that they have not had, in one send.
//!
//! Where nothing but its moment kept a cursor out of the hot pass, it is served as there: batches of single runs, here of whatever
//! streams. The others go on the dirty list, as there.

use arrayvec::ArrayVec;

use super::send::{News, fell_short, gather};
use crate::driver::{Driver, SEND_BATCH_OPS, SendBatch, Sent, Slot};
use crate::log::Position;
use crate::proto::close::CloseCode;
use crate::shard::Shard;
use crate::shard::lanes::Stream;
use crate::shard::table::NONE;
use crate::usdt;

/// One send of a batch.
struct Offer {
    stream: u32,
    /// The cursor's place there.
    index: u32,
    /// Where it stands.
    from: u64,
    /// How much was offered.
    bytes: usize,
}

type Offers = ArrayVec<Offer, SEND_BATCH_OPS>;

impl<D: Driver> Shard<D> {
    /// Visits the cursors whose moment has come, as far as the budget goes; those that are left come first in the next turn.
    /// `again`: that was done in this turn before, and cursors have been walked since.
    pub(super) fn visit_due(&mut self, again: bool) {
        while self.may_send() && self.take_due() {
            self.visit_batch(again);
        }
    }

    /// Chooses whom to visit next. False: nobody's moment has come.
    fn take_due(&mut self) -> bool {
        let Self { lanes, subscriptions, sender, pace, .. } = self;
        sender.due.clear();
        while sender.due.len() < SEND_BATCH_OPS
            && let Some(link) = subscriptions.clock.next_due(pace.now_ns)
        {
            let at = subscriptions.link(link);
            lanes.stream_mut(at.stream).cursors.all[at.index as usize].set_waiting(false);
            sender.due.push(link);
        }
        pace.work.sends.spend(sender.due.len() as u32);
        !sender.due.is_empty()
    }

    /// Before a connection is closed in good order: whatever of it waits for its moment is sent.
    #[cold]
    pub(super) fn send_what_waits(&mut self, slot: u32) {
        let conn = &self.clients[slot];
        if !conn.is_live() || conn.flags.is_blocked {
            return;
        }
        let mut has_waiting = self.subscriptions.of(slot).doing.wait();
        if let Some(link) = self.subscriptions.of(slot).only_link() {
            let at = self.subscriptions.link(link);
            let cursor = &mut self.lanes.stream_mut(at.stream).cursors.all[at.index as usize];
            has_waiting |= cursor.is_waiting();
            cursor.set_waiting(false);
            self.subscriptions.clock.cancel(link);
        }
        if !has_waiting {
            return;
        }
        let was_dirty = self.clients[slot].flags.is_dirty;
        self.sender.look_at_all(&mut self.clients[slot], slot);
        self.serve_group(&[slot]);
        if was_dirty {
            // It stands on the list already, and nobody stands there twice.
            if self.clients[slot].flags.is_dirty
                && let Some(place) = self.clients.dirty.iter().rposition(|&other| other == slot)
            {
                self.clients.dirty.remove(place);
            }
            self.clients[slot].flags.is_dirty = true;
        }
    }

    fn visit_batch(&mut self, again: bool) {
        let mut first = 0;
        while first < self.sender.due.len() {
            let offers;
            (offers, first) = self.offer(first, again);
            self.note_visits(&offers);
        }
    }

    /// Sends to as many of those that are due as fit one batch, from the `first` on. Returns what was offered, and who is next.
    fn offer(&mut self, first: usize, again: bool) -> (Offers, usize) {
        let Self { number, shared, lanes, subscriptions, sender, clients, ears, .. } = self;
        let due = std::mem::take(&mut sender.due);
        let (mut batch, mut offers) = (SendBatch::new(), Offers::new());
        // Nearly all cursors of a stream stand at the same place.
        let (mut of, mut known) = (NONE, News { position: Position::END, from: 0, run: None });
        let mut most = SEND_BATCH_OPS;
        let mut next = first;
        while next < due.len() && offers.len() < most {
            let link = due[next];
            next += 1;
            let (stream, index) = (subscriptions.link(link).stream, subscriptions.link(link).index);
            let Stream { log, cursors, lane, .. } = lanes.stream(stream);
            let cursor = cursors.all[index as usize];
            if cursor.position >= log.next() {
                // Something else took its news along.
                continue;
            }
            let is_known = stream == of && cursor.position == known.position;
            let (head, mut fit) = (log.head(), most);
            // Who may pass messages over looks at each.
            let is_plain = cursor.is_plain_but_delayed() && !lanes.lane(*lane).is_picky;
            if is_plain && (is_known || known.look_up(log, cursor.position, head, &mut fit)) {
                (of, most) = (stream, most.min(fit));
                let bytes = match known.run {
                    Some(run) => {
                        batch.push_one(Slot(cursor.slot), run);
                        run.len()
                    }
                    None => gather(log, &mut batch, cursor.slot, known.from, head),
                };
                offers.push(Offer { stream, index, from: known.from, bytes });
            } else {
                of = NONE;
                // What else waits has its own moment.
                subscriptions.of_mut(cursor.slot).doing.set_wait(false);
                if again && clients[cursor.slot].news != NONE {
                    // It may be among the news already.
                    clients[cursor.slot].news = NONE;
                    sender.look_at_all(&mut clients[cursor.slot], cursor.slot);
                } else if sender.note_news(&mut clients[cursor.slot], link) {
                    clients.dirty.push(cursor.slot);
                }
            }
        }
        if !offers.is_empty() {
            ears.driver.send(&batch, &mut sender.results);
            shared.mailboxes[*number as usize].instruments.batch_sends.note(offers.len() as u64);
        }
        drop(batch);
        sender.due = due;
        (offers, next)
    }

    /// Notes what was sent of each offer, and moves the cursors.
    fn note_visits(&mut self, offers: &Offers) {
        let Self { number, lanes, sender, clients, ears, pace, stats, closes, census, .. } = self;
        for (offer, &result) in offers.iter().zip(sender.results.iter()) {
            let index = offer.index as usize;
            let Stream { log, cursors, .. } = lanes.stream_mut(offer.stream);
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
            census.tallies.note(slot, 8 + (n >> 10) as u32, n);
            let messages = cursors.place_at(log, index, offer.from + n as u64);
            if offer.from + (n as u64) < log.head() {
                fell_short(cursors, index, clients, n == offer.bytes, &mut ears.driver);
            }
            stats.deliveries += messages;
            stats.sent_bytes += n as u64;
            pace.work.sends.spend(8 + (n >> 10) as u32);
            usdt::send((*number).into(), slot, n as u64, offer.bytes as u64, messages);
        }
    }
}
