//! Clients and topics looked over while somebody wants to know, in pieces that others are served between.
//!
//! Begins rounds, walks cursors and slots. What is found of the highest is written in [`super::describe`] and [`super::rank`].

use crate::driver::Driver;
use crate::shard::Shard;
use crate::shard::budget::Budget;
use crate::shard::census::{Chosen, FULL, Found, Stage};
use crate::shard::table::NONE;
use crate::telemetry::{SysTopic, Wanted};

/// Cursors looked at in one piece.
const CURSORS_A_PIECE: usize = 256;
/// Slots looked at in one piece.
const SLOTS_A_PIECE: u32 = 256;

impl<D: Driver> Shard<D> {
    /// Goes on with the round in hand, or begins one, as far as the budget goes; tells what was found.
    pub(super) fn survey(&mut self) {
        self.tell_of_watchers();
        if !self.shared.telemetry.watchers.is_any() {
            return;
        }
        let wanted = self.wanted();
        if wanted.is_empty() || self.is_ending() {
            self.census.rest();
            return;
        }
        if wanted.has(SysTopic::Clients) {
            self.census.tallies.begin(self.ears.slots);
        } else {
            self.census.tallies.end();
        }
        self.walk_round(wanted);
        if self.number == 0 {
            self.digest(wanted);
        }
        if wanted.has(SysTopic::Gaps) {
            self.tell_of_losses();
        } else {
            self.census.losses.forget_untold();
        }
    }

    /// What somebody wants to know of.
    pub(super) fn wanted(&self) -> Wanted {
        match self.rules.sys.top {
            0 => Wanted::default(),
            _ => self.shared.telemetry.watchers.wanted(self.pace.now_ns),
        }
    }

    /// When the shard should be awake for this.
    pub(super) fn survey_due_ns(&self) -> u64 {
        let watchers = &self.shared.telemetry.watchers;
        if !watchers.is_any() || self.is_ending() {
            return u64::MAX;
        }
        let wanted = self.wanted();
        let due_ns = self.census.due_ns(wanted);
        let is_told_here = self.number == 0 && SysTopic::ALL.iter().any(|&t| t != SysTopic::Gaps && wanted.has(t));
        if is_told_here { due_ns.min(self.census.digest.due_ns()) } else { due_ns }
    }

    /// Tells all shards which `$sys` topics have subscribers here.
    fn tell_of_watchers(&mut self) {
        let places = self.census.places;
        if places.iter().all(|&place| place == NONE) {
            return;
        }
        let has_members = |place: u32| place != NONE && !self.subscriptions.members(place).is_empty();
        let now = Wanted::of(SysTopic::ALL.into_iter().filter(|&topic| has_members(places[topic as usize])));
        if now == self.census.told {
            return;
        }
        self.census.told = now;
        if self.shared.telemetry.watchers.set_subscribed(self.number, now) {
            (0..self.shared.mailboxes.len()).for_each(|shard| self.shared.ring.wake_reader(shard));
        }
    }

    fn walk_round(&mut self, wanted: Wanted) {
        let mut budget = self.pace.work.census;
        while !budget.is_spent() {
            match self.census.round.stage {
                Stage::Rests => {
                    let is_for_shards = wanted.has(SysTopic::Clients) || wanted.has(SysTopic::Topics);
                    if !is_for_shards || self.pace.now_ns < self.census.round.next_ns {
                        break;
                    }
                    self.census.begin_round(wanted, self.rules.sys.top as usize, self.pace.now_ns);
                }
                Stage::Cursors(stream, from, fullest) => self.walk_cursors(stream, from, fullest, &mut budget),
                Stage::Slots(from) => self.walk_slots(from, &mut budget),
                Stage::Clients(next) => self.describe_client(next, &mut budget),
                Stage::Topics(from) => self.walk_topics(from, &mut budget),
                Stage::Rows(next) => self.describe_topic(next, &mut budget),
            }
        }
        self.pace.work.census = budget;
    }

    /// A piece of one stream's cursors: who is behind, and by how much.
    fn walk_cursors(&mut self, id: u32, from: usize, mut fullest: u32, budget: &mut Budget) {
        if id >= self.lanes.stream_places() {
            self.census.round.stage = Stage::Slots(0);
            return;
        }
        budget.spend(1);
        let stream = self.lanes.stream(id);
        if !stream.is_in_use() {
            self.census.round.stage = Stage::Cursors(id + 1, 0, 0);
            return;
        }
        let (log, cursors) = (&stream.log, &stream.cursors);
        let (floor, next, capacity) = (log.floor(), log.next(), (log.budget_bytes() as u64).max(1));
        let to = cursors.all.len().min(from + CURSORS_A_PIECE);
        budget.spend(to.saturating_sub(from) as u32 / 8);
        for index in from..to {
            let cursor = &cursors.all[index];
            // Who asked for less is not behind for that.
            if cursor.position >= next
                || self.subscriptions.terms(cursors.links[index]).is_some_and(|terms| terms.interval_ns > 0)
            {
                continue;
            }
            budget.spend(2);
            let bytes = log.lag_bytes(cursor.position).saturating_sub(cursor.sent_bytes().into());
            let used = (bytes.saturating_mul(FULL) / capacity).min(FULL) as u32;
            fullest = fullest.max(used);
            // Behind is behind, however little that is of the budget.
            self.census.tallies.note_lag(cursor.slot, next - cursor.position.max(floor), bytes, used.max(1));
        }
        if to < cursors.all.len() {
            self.census.round.stage = Stage::Cursors(id, to, fullest);
            return;
        }
        self.lanes.stream_mut(id).behind = fullest;
        self.census.round.stage = Stage::Cursors(id + 1, 0, 0);
    }

    /// A piece of the slots: the highest clients.
    fn walk_slots(&mut self, from: u32, budget: &mut Budget) {
        let end = if self.census.round.wanted.has(SysTopic::Clients) { self.clients.slots() } else { 0 };
        let to = end.min(from + SLOTS_A_PIECE);
        budget.spend(1 + to.saturating_sub(from) / 2);
        for slot in from..to {
            let tally = self.census.tallies.take(slot);
            let conn = &self.clients[slot];
            if !conn.is_live() {
                continue;
            }
            let round = &mut self.census.round;
            round.found.clients += 1;
            let chosen = |key: u32| Chosen { key: key.into(), slot, generation: conn.generation, tally };
            if tally.used > 0 {
                round.found.behind += 1;
                round.by_lag.offer(chosen(tally.used));
            }
            if tally.steps > 0 {
                round.by_work.offer(chosen(tally.steps));
            }
        }
        if to < end {
            self.census.round.stage = Stage::Slots(to);
            return;
        }
        self.census.round.choose();
        self.census.round.stage = Stage::Clients(0);
    }

    /// Steps of this turn so far, where it is counted what each client costs.
    #[inline]
    pub(super) fn steps_to_here(&self) -> Option<u64> {
        self.census.tallies.are_on().then(|| self.pace.work.steps())
    }

    /// What was done since then was done for one client.
    #[inline]
    pub(super) fn note_cost(&mut self, slot: u32, before: Option<u64>) {
        if let Some(before) = before {
            let steps = self.pace.work.steps() - before;
            self.census.tallies.note(slot, steps.try_into().unwrap_or(u32::MAX), 0);
        }
    }

    /// Whether it holds anything of what somebody wanted to know.
    #[cfg(test)]
    pub fn is_surveying(&self) -> bool {
        self.census.is_busy() || self.census.tallies.are_on() || self.census.round.began_ns != 0
    }

    /// The round is over: the first shard gets what it has found.
    pub(super) fn end_round(&mut self) {
        let found: Found = self.census.end_round(self.ears.driver.fresh_ns());
        // One that was not taken is older.
        self.mailbox().found.force_push(Box::new(found));
        if self.number != 0 {
            self.shared.ring.wake_reader(0);
        }
    }
}
