//! The topics that the host watches: how their subscribers stand.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::driver::Driver;
use crate::log::{Place, Position};
use crate::registry::topic_index;
use crate::shard::Shard;
use crate::shard::host::gauges::{FULL, Gauges};
use crate::shard::lanes::Stream;
use crate::shard::table::NONE;
use crate::types::TopicId;

/// At least so long between two looks…
const LOOK_EVERY_NS: u64 = 10_000_000;
/// …and so much longer for each cursor looked at.
const LOOK_EVERY_NS_PER_CURSOR: u64 = 1_000;

impl<D: Driver> Shard<D> {
    /// Looks after a topic from now on, if it is known here by now; else the host will ask again.
    pub(super) fn watch(&mut self, topic: TopicId, gauges: Arc<Gauges>) {
        let is_known = self.topics.find(topic).is_some();
        if !is_known {
            return;
        }
        self.look(topic, &gauges);
        gauges[self.number as usize].is_watched.store(true, Release);
        if !self.host.watch.topics.iter().any(|(id, _)| *id == topic) {
            self.host.watch.topics.push((topic, gauges));
        }
    }

    /// Brings what is said of watched topics up to date, if it is time.
    pub(super) fn look_over_watched(&mut self) {
        if self.host.watch.topics.is_empty() {
            return;
        }
        let stats = &self.stats;
        let now = [
            stats.messages,
            stats.deliveries,
            stats.gaps,
            stats.passed_over + stats.closed,
            self.subscriptions.cursors() as u64,
            self.subscriptions.len() as u64,
        ];
        self.host.watch.has_moved |= now != self.host.watch.seen;
        self.host.watch.seen = now;
        if !self.host.watch.has_moved || self.pace.now_ns < self.host.watch.next_ns {
            return;
        }
        let mut topics = std::mem::take(&mut self.host.watch.topics);
        let mut looked_at = 0;
        topics.retain(|(topic, gauges)| match self.look(*topic, gauges) {
            Some(cursors) => {
                looked_at += cursors;
                true
            }
            None => false,
        });
        self.host.watch.topics = topics;
        self.host.watch.has_moved = false;
        self.host.watch.next_ns = self.pace.now_ns + LOOK_EVERY_NS + looked_at * LOOK_EVERY_NS_PER_CURSOR;
    }

    /// Writes down how a topic's subscribers stand; returns the number of cursors looked at. `None`: the topic is gone.
    fn look(&self, topic: TopicId, gauges: &Gauges) -> Option<u64> {
        let gauge = &gauges[self.number as usize];
        let Some(state) = self.topics.find(topic).and_then(|index| self.topics.get(index)) else {
            gauge.subscribers.store(0, Relaxed);
            gauge.fullest.store(0, Relaxed);
            gauge.oldest_ns.store(0, Relaxed);
            return None;
        };
        let members = self.subscriptions.members(topic_index(topic)).len();
        let (mut fullest, mut oldest_ns, mut looked_at) = (0, u64::MAX, 0);
        let lanes = state.lanes.iter().filter(|&&lane| lane != NONE);
        for &id in lanes.flat_map(|&lane| &self.lanes.lane(lane).streams).filter(|&&id| id != NONE) {
            let stream = self.lanes.stream(id);
            looked_at += stream.cursors.all.len() as u64;
            let Some(position) = self.last_of(stream) else { continue };
            if let Place::At(entry) | Place::Before(entry) = stream.log.place(position) {
                let lag = stream.log.head() - entry.offset;
                fullest = fullest.max(lag.saturating_mul(FULL) / (stream.log.budget_bytes() as u64).max(1));
                oldest_ns = oldest_ns.min(entry.time_ns);
            }
        }
        gauge.subscribers.store(members as u64, Relaxed);
        gauge.fullest.store(fullest, Relaxed);
        gauge.oldest_ns.store(if oldest_ns == u64::MAX { 0 } else { oldest_ns }, Relaxed);
        for (shown, dropped) in gauge.dropped.iter().zip(state.dropped) {
            shown.store(dropped, Relaxed);
        }
        Some(looked_at)
    }

    /// The place of the cursor that is furthest behind, of those that are not behind because they asked for less.
    fn last_of(&self, stream: &Stream) -> Option<Position> {
        let mut last = stream.log.next();
        for (cursor, &link) in stream.cursors.all.iter().zip(&stream.cursors.links) {
            if cursor.position < last && self.subscriptions.terms(link).is_none_or(|terms| terms.interval_ns == 0) {
                last = cursor.position;
            }
        }
        (last < stream.log.next()).then_some(last)
    }
}
