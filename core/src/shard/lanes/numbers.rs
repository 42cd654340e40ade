//! The numbers of messages by their positions, also of those that the logs have forgotten and at which a cursor still stands.
//!
//! Where every number is a position there is nothing to remember. Else each cursor that falls below its logs has the number of its
//! message remembered, so that its gap notice can name it. That takes a look at the lane's cursors each time a log forgets.

use std::collections::HashMap;

use super::form::Form;
use super::{Lanes, NONE, Stream};
use crate::log::{Position, Seq};

/// See the module's head: by position, at most one for each cursor of the lane.
pub(super) type Remembered = HashMap<Position, Seq>;

impl Lanes {
    /// The number of the message at which a cursor of this stream stands; of one that this shard never had, the first that it may have.
    pub fn seq_at(&self, id: u32, position: Position) -> Seq {
        let stream = &self.streams[id];
        let source = self.source(stream.lane);
        if source.log.is_counted() {
            return Seq(position.0);
        }
        let held = stream.log.seq_of(position).or_else(|| source.log.seq_of(position));
        let known = held.or_else(|| self.lanes[stream.lane].remembered.get(&position).copied());
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

    /// A log is about to forget what lies before `until`: the numbers at which cursors of its lane stand are remembered, others no more.
    pub(super) fn remember_numbers(&mut self, id: u32, until: Position) {
        let lane = self.streams[id].lane;
        if !self.source(lane).log.is_counted() {
            self.remember_each(id, lane, until);
        }
    }

    #[cold]
    fn remember_each(&mut self, id: u32, lane: u32, until: Position) {
        let is_source = self.streams[id].form == Form::Raw;
        let before = std::mem::take(&mut self.lanes[lane].remembered);
        let mut remembered = Remembered::new();
        for form in self.lanes[lane].streams.into_iter().filter(|&form| form != NONE) {
            for cursor in &self.streams[form].cursors.all {
                let position = cursor.position;
                if let Some(&seq) = before.get(&position) {
                    remembered.insert(position, seq);
                } else if position < until && (is_source || form == id) {
                    remembered.entry(position).or_insert_with(|| self.seq_at(form, position));
                }
            }
        }
        self.lanes[lane].remembered = remembered;
    }
}
