//! The numbers of messages by their positions, also of those that the logs have forgotten and at which a cursor still stands.
//!
//! Where every number is a position there is nothing to remember. Else each cursor that falls below its logs has the number of its
//! message remembered, so that its gap notice can name it. That takes one comparison for each of the lane's cursors each time a log
//! forgets, and a step more for each number that is new: those that fell earlier cost nothing again. What nobody stands at any more
//! goes when there is twice as much as at the last look.

use std::collections::HashMap;

use super::derive::CURSORS_A_STEP;
use super::form::Form;
use super::{Lanes, NONE, Stream};
use crate::log::{Position, Seq};

/// What is remembered beyond twice as much as at the last look, before there is another one.
const SPARE: usize = 64;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    numbers: HashMap<Position, Seq>,
    /// How many were left when those were sorted out at which nobody stands.
    left: usize,
}

impl Remembered {
    fn get(&self, position: Position) -> Option<Seq> {
        self.numbers.get(&position).copied()
    }

    fn is_due(&self) -> bool {
        self.numbers.len() > 2 * self.left + SPARE
    }
}

impl Lanes {
    /// The number of the message at which a cursor of this stream stands; of one that this shard never had, the first that it may have.
    pub fn seq_at(&self, id: u32, position: Position) -> Seq {
        let stream = &self.streams[id];
        let source = self.source(stream.lane);
        if source.log.is_counted() {
            return Seq(position.0);
        }
        let held = stream.log.seq_of(position).or_else(|| source.log.seq_of(position));
        let known = held.or_else(|| self.lanes[stream.lane].remembered.get(position));
        // A derived log may end at what its source has forgotten before it could take it.
        let ends_there = if position == stream.log.next() { stream } else { source };
        known.unwrap_or_else(|| ends_there.log.least_seq_of(position))
    }

    /// The number behind which a cursor of this stream that stands at `position` gets all there is.
    pub fn seq_before(&self, id: u32, position: Position) -> Seq {
        let stream = &self.streams[id];
        let source = self.source(stream.lane);
        if source.log.is_counted() {
            return Seq(position.0).before();
        }
        let knows = |stream: &Stream| (stream.log.floor()..=stream.log.next()).contains(&position);
        match [stream, source].into_iter().find(|stream| knows(stream)) {
            Some(stream) => stream.log.edge_before(position).last,
            None => self.seq_at(id, position).before(),
        }
    }

    /// A log is about to forget what lies before `until`: the numbers at which cursors of its lane stand are remembered.
    pub(super) fn remember_numbers(&mut self, id: u32, until: Position) {
        let lane = self.streams[id].lane;
        if !self.source(lane).log.is_counted() {
            self.remember_each(id, lane, until);
        }
    }

    #[cold]
    fn remember_each(&mut self, id: u32, lane: u32, until: Position) {
        let Stream { log, form, .. } = &self.streams[id];
        let (floor, is_source) = (log.floor(), *form == Form::Raw);
        // What lies below the floor was remembered when that was forgotten.
        let falls = |position: Position| floor <= position && position < until;
        let mut found = Vec::new();
        for form in self.lanes[lane].streams.into_iter().filter(|&form| form != NONE && (is_source || form == id)) {
            let all = &self.streams[form].cursors.all;
            self.rank.steps += all.len() as u32 / CURSORS_A_STEP;
            found.extend(all.iter().filter(|cursor| falls(cursor.position)).map(|cursor| (form, cursor.position)));
        }
        // Of many that stand at one message one is looked up.
        found.dedup();
        self.rank.steps += found.len() as u32;
        for (form, position) in found {
            let seq = self.seq_at(form, position);
            self.lanes[lane].remembered.numbers.entry(position).or_insert(seq);
        }
        if self.lanes[lane].remembered.is_due() {
            self.sort_out(lane);
        }
    }

    /// Forgets the numbers at which no cursor stands any more.
    fn sort_out(&mut self, lane: u32) {
        let Remembered { mut numbers, .. } = std::mem::take(&mut self.lanes[lane].remembered);
        let last = numbers.keys().copied().max().unwrap_or(Position::FIRST);
        let mut kept = HashMap::new();
        for form in self.lanes[lane].streams.into_iter().filter(|&form| form != NONE) {
            let all = &self.streams[form].cursors.all;
            self.rank.steps += all.len() as u32 / CURSORS_A_STEP;
            for cursor in all.iter().filter(|cursor| cursor.position <= last) {
                self.rank.steps += 1;
                kept.extend(numbers.remove_entry(&cursor.position));
            }
        }
        self.lanes[lane].remembered = Remembered { left: kept.len(), numbers: kept };
    }
}
