//! What all shards have found, brought together on the first of them: merged as it comes, written piece by piece.

use std::collections::HashMap;
use std::sync::Arc;

use super::{EVERY_NS, Found, LaneRow, Ranked, TopicRow};
use crate::telemetry::{Reading, SysTopic};

/// How long it waits for a shard that does not answer, or whose walk takes long.
const PATIENCE_NS: u64 = 3 * EVERY_NS;

/// A message that is being written.
#[derive(Debug)]
pub struct Writing {
    /// Which.
    pub topic: SysTopic,
    /// The text so far.
    pub text: String,
    /// The part that comes next.
    pub next: usize,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Digest {
    /// When the one in hand began, in the driver's time; 0: none was begun.
    pub began_ns: u64,
    /// When the one before began; 0: there was none.
    pub before_ns: u64,
    /// It is not told yet.
    is_open: bool,
    /// Shards that have answered, a bit each.
    seen: u64,
    /// What they have found.
    pub found: Found,
    places: HashMap<Arc<str>, usize>,
    /// Messages that are still to be written, the last first.
    pub to_write: Vec<SysTopic>,
    /// The one that is being written.
    pub writing: Option<Writing>,
    /// What shards had counted of their busy time when the one before began.
    pub busy_before_ns: Vec<u64>,
    /// The same of latencies.
    pub latencies_before: [Reading; 3],
}

impl Digest {
    /// Whether it has ever begun.
    pub fn has_begun(&self) -> bool {
        self.began_ns != 0
    }

    /// Whether something is being written.
    pub fn is_busy(&self) -> bool {
        self.writing.is_some() || !self.to_write.is_empty()
    }

    /// Whether answers are waited for.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// When the shard should be awake for it.
    pub fn due_ns(&self) -> u64 {
        if self.is_open { self.began_ns + PATIENCE_NS } else { self.began_ns + EVERY_NS }
    }

    /// Whether this shard has still to answer. A shard whose rounds are quicker than another's finds something twice meanwhile: it would
    /// be counted twice.
    pub fn lacks(&self, shard: usize) -> bool {
        self.seen & 1 << shard == 0
    }

    /// Begins the next one, if it is time.
    pub fn begin_if_due(&mut self, now_ns: u64) {
        if self.is_open || self.is_busy() || self.has_begun() && now_ns < self.due_ns() {
            return;
        }
        self.before_ns = self.began_ns;
        self.began_ns = now_ns;
        self.is_open = true;
        self.seen = 0;
        self.found = Found::default();
        self.places.clear();
    }

    /// One shard's answer.
    pub fn merge(&mut self, shard: usize, found: Found, most: usize) {
        self.seen |= 1 << shard;
        let all = &mut self.found;
        all.interval_ns = all.interval_ns.max(found.interval_ns);
        all.clients += found.clients;
        all.behind += found.behind;
        // Every shard knows all of them.
        all.topics_total = all.topics_total.max(found.topics_total);
        keep_highest(&mut all.by_lag, found.by_lag, most);
        keep_highest(&mut all.by_work, found.by_work, most);
        for row in found.topics {
            match self.places.get(&row.name) {
                Some(&place) => add(&mut all.topics[place], &row),
                None => {
                    self.places.insert(row.name.clone(), all.topics.len());
                    all.topics.push(row);
                }
            }
        }
    }

    /// Closes it, if all of `awaited` (a bit each) have answered or have had their time. True: it is to be written.
    pub fn close(&mut self, awaited: u64, now_ns: u64, most: usize) -> bool {
        if !self.is_open || self.seen & awaited != awaited && now_ns < self.due_ns() {
            return false;
        }
        self.is_open = false;
        self.found.topics.sort_by(|a, b| {
            let key = |row: &TopicRow| (row.busy.messages, row.busy.published);
            key(b).cmp(&key(a)).then_with(|| a.name.cmp(&b.name))
        });
        self.found.topics.truncate(most);
        true
    }
}

fn keep_highest(all: &mut Vec<Ranked>, more: Vec<Ranked>, most: usize) {
    all.extend(more);
    all.sort_by_key(|one| std::cmp::Reverse(one.key));
    all.truncate(most);
}

/// What another shard has of the same topic: messages are the same, subscribers are not.
fn add(all: &mut TopicRow, more: &TopicRow) {
    all.subscribers += more.subscribers;
    all.dropped += more.dropped;
    all.busy = all.busy.max(more.busy);
    for (all, more) in all.lanes.iter_mut().zip(more.lanes) {
        *all = match (*all, more) {
            (Some(all), Some(more)) => {
                let fuller = if more.bytes > all.bytes { more } else { all };
                Some(LaneRow { behind: all.behind.max(more.behind), ..fuller })
            }
            (all, more) => all.or(more),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::Busy;
    use super::*;

    fn ranked(keys: &[u64]) -> Vec<Ranked> {
        keys.iter().map(|&key| Ranked { key, text: key.to_string().into() }).collect()
    }

    fn row(name: &str, messages: u64, subscribers: u64, behind: u32) -> TopicRow {
        let lane = LaneRow { messages: 1, bytes: 10 + messages, capacity: 100, behind };
        let busy = Busy { messages, published: messages, bytes: 1, place: 0 };
        TopicRow { name: name.into(), subscribers, busy, dropped: 1, lanes: [None, None, Some(lane), None] }
    }

    #[test]
    fn what_shards_found_is_summed_and_the_highest_of_all_are_kept() {
        let mut digest = Digest::default();
        digest.begin_if_due(1_000);
        let found = |keys: &[u64], topics: Vec<TopicRow>| Found {
            clients: 10,
            behind: 3,
            by_lag: ranked(keys),
            topics_total: 5,
            topics,
            interval_ns: 7,
            ..Found::default()
        };
        digest.merge(0, found(&[9, 4], vec![row("a", 3, 100, 5), row("b", 2, 1, 0)]), 3);
        assert!(!digest.close(0b11, 1_001, 1), "one has not answered");
        assert!(!digest.lacks(0) && digest.lacks(1));
        digest.merge(1, found(&[7, 6], vec![row("a", 4, 20, 2), row("c", 9, 2, 0)]), 3);
        assert!(digest.close(0b11, 1_001, 2) && !digest.is_open());
        let Found { clients, behind, by_lag, topics, topics_total, .. } = &digest.found;
        assert_eq!((*clients, *behind, *topics_total), (20, 6, 5));
        assert_eq!(by_lag.iter().map(|one| one.key).collect::<Vec<_>>(), [9, 7, 6]);
        assert_eq!(topics.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["c", "a"]);
        assert_eq!((topics[1].subscribers, topics[1].dropped, topics[1].busy.messages), (120, 2, 4));
        assert_eq!(topics[1].lanes[2].map(|lane| (lane.behind, lane.bytes)), Some((5, 14)));
    }

    #[test]
    fn a_shard_that_does_not_answer_is_not_waited_for() {
        let mut digest = Digest::default();
        digest.begin_if_due(1_000);
        digest.merge(0, Found::default(), 1);
        assert!(!digest.close(0b11, 1_000 + PATIENCE_NS - 1, 1));
        assert!(digest.close(0b11, 1_000 + PATIENCE_NS, 1));
        digest.begin_if_due(1_000 + EVERY_NS - 1);
        assert!(!digest.is_open());
        digest.begin_if_due(1_000 + EVERY_NS);
        assert_eq!((digest.is_open(), digest.before_ns), (true, 1_000));
        assert!(digest.lacks(0), "it is another one");
    }
}
