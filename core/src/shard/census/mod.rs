//! What a shard finds out of its clients and topics while somebody wants to know: a round a second, walked in pieces.
//!
//! Holds how far the round in hand has come and what it has found; the files of `turn` walk. Knows slots, places and texts. Must never
//! know who is told. While nobody wants to know, it holds the latest losses and nothing else.

mod digest;
mod losses;
mod tally;
mod top;

use std::collections::HashMap;
use std::sync::Arc;

pub use digest::{Digest, Writing};
pub use losses::{LOSER_BYTES, Loss, Losses};
pub use tally::{FULL, TALLY_BYTES, Tallies, Tally};
pub use top::Top;

use crate::shard::table::NONE;
use crate::telemetry::{SysTopic, Wanted};
use crate::types::{ConnectionId, TopicId};

/// From the beginning of one round to that of the next, at least…
pub const EVERY_NS: u64 = 1_000_000_000;
/// …and so many times as long as the round took, where that is more: a walk over very many takes a tenth of the shard.
const REST: u64 = 10;
/// Memory for each topic that there may be.
pub const COUNTED_BYTES: usize = size_of::<Counted>();

/// A client that is among the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chosen {
    /// What it is ranked by.
    pub key: u64,
    /// Who.
    pub slot: u32,
    /// Tells the slot's lives apart.
    pub generation: u32,
    /// What is known of it.
    pub tally: Tally,
}

/// A topic that is among the highest: by its messages in this round, then by all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Busy {
    /// Messages since the round before.
    pub messages: u64,
    /// Messages so far.
    pub published: u64,
    /// Bytes since the round before.
    pub bytes: u64,
    /// Its place.
    pub place: u32,
}

/// A client's text with what it is ranked by.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// The higher, the further ahead.
    pub key: u64,
    /// A JSON object.
    pub text: Arc<str>,
}

/// One lane of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneRow {
    /// Messages that are kept.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes at most.
    pub capacity: u64,
    /// How far the slowest subscriber is behind, in parts of [`FULL`].
    pub behind: u32,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    /// Its name.
    pub name: Arc<str>,
    /// Subscribers.
    pub subscribers: u64,
    /// What it is ranked by, and more.
    pub busy: Busy,
    /// Messages lost by subscribers.
    pub dropped: u64,
    /// Lanes by priority, as far as there are.
    pub lanes: [Option<LaneRow>; 4],
}

/// What one round has found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Time since the round before; 0: there was none.
    pub interval_ns: u64,
    /// Clients.
    pub clients: u64,
    /// Clients that have something to get.
    pub behind: u64,
    /// Those nearest to losing something.
    pub by_lag: Vec<Ranked>,
    /// Those that cost most.
    pub by_work: Vec<Ranked>,
    /// Topics.
    pub topics_total: u64,
    /// The busiest of them.
    pub topics: Vec<TopicRow>,
}

/// How far a round has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// None is in hand.
    Rests,
    /// Cursors are walked: the stream, the cursor in it, the highest lag in it so far.
    Cursors(u32, usize, u32),
    /// Slots are walked.
    Slots(u32),
    /// Clients that are among the highest are described.
    Clients(usize),
    /// Places of topics are walked.
    Topics(u32),
    /// Topics that are among the highest are described.
    Rows(usize),
}

/// The round in hand.
#[derive(Debug)]
pub struct Round {
    /// How far it has come.
    pub stage: Stage,
    /// What it is for.
    pub wanted: Wanted,
    /// When it began, in the driver's time.
    pub began_ns: u64,
    /// When the next one begins.
    pub next_ns: u64,
    /// The clients furthest behind…
    pub by_lag: Top<Chosen>,
    /// …and those that cost most.
    pub by_work: Top<Chosen>,
    /// All of them, to be described: for `by_lag`, for `by_work`.
    pub chosen: Vec<(Chosen, bool, bool)>,
    /// The busiest topics…
    pub busiest: Top<Busy>,
    /// …in order.
    pub busy: Vec<Busy>,
    /// What it has found so far.
    pub found: Found,
}

/// What a topic had when it was looked at last.
#[derive(Clone, Copy, Debug)]
struct Counted {
    topic: TopicId,
    messages: u64,
    bytes: u64,
}

/// See the module's head.
#[derive(Debug)]
pub struct Census {
    /// What each client costs and lacks.
    pub tallies: Tallies,
    /// What clients have lost.
    pub losses: Losses,
    /// The round in hand.
    pub round: Round,
    /// Of the first shard: what all of them have found.
    pub digest: Digest,
    /// Places of the `$sys` topics here; [`NONE`]: there is no such topic.
    pub places: [u32; SysTopic::ALL.len()],
    /// The topics of those that have subscribers here, as was told.
    pub told: Wanted,
    /// Losses are told at this moment at the earliest.
    pub next_losses_ns: u64,
    /// How far clients were behind that were described in the round before.
    lags: HashMap<ConnectionId, u32>,
    /// The same of this round.
    lags_now: HashMap<ConnectionId, u32>,
    /// What topics had in the round before, by place.
    counted: Vec<Counted>,
}

impl Default for Census {
    fn default() -> Self {
        Self {
            tallies: Tallies::default(),
            losses: Losses::default(),
            round: Round::new(0, Wanted::default(), 0),
            digest: Digest::default(),
            places: [NONE; SysTopic::ALL.len()],
            told: Wanted::default(),
            next_losses_ns: 0,
            lags: HashMap::new(),
            lags_now: HashMap::new(),
            counted: Vec::new(),
        }
    }
}

impl Round {
    fn new(most: usize, wanted: Wanted, began_ns: u64) -> Self {
        Self {
            stage: Stage::Rests,
            wanted,
            began_ns,
            next_ns: 0,
            by_lag: Top::new(most),
            by_work: Top::new(most),
            chosen: Vec::new(),
            busiest: Top::new(most),
            busy: Vec::new(),
            found: Found::default(),
        }
    }

    /// Seconds since the round before, for rates; `None`: there was none.
    pub fn interval_s(&self) -> Option<f64> {
        (self.found.interval_ns > 0).then(|| self.found.interval_ns as f64 / 1e9)
    }

    /// The clients that are to be described, each once.
    pub fn choose(&mut self) {
        self.chosen = self.by_lag.take().into_iter().map(|chosen| (chosen, true, false)).collect();
        for chosen in self.by_work.take() {
            match self.chosen.iter_mut().find(|(other, ..)| other.slot == chosen.slot) {
                Some((_, _, is_for_work)) => *is_for_work = true,
                None => self.chosen.push((chosen, false, true)),
            }
        }
    }
}

impl Census {
    /// Whether a walk is in hand, so that the shard does not sleep.
    pub fn is_busy(&self) -> bool {
        self.round.stage != Stage::Rests || self.digest.is_busy()
    }

    /// When the shard should be awake. `wanted`: what somebody wants to know; nothing: never.
    pub fn due_ns(&self, wanted: Wanted) -> u64 {
        let mut due = u64::MAX;
        if wanted.has(SysTopic::Clients) || wanted.has(SysTopic::Topics) {
            due = due.min(self.round.next_ns);
        }
        if wanted.has(SysTopic::Gaps) && self.losses.has_untold() {
            due = due.min(self.next_losses_ns);
        }
        due
    }

    /// Begins a round.
    pub fn begin_round(&mut self, wanted: Wanted, most: usize, now_ns: u64) {
        let before_ns = self.round.began_ns;
        self.round = Round::new(most, wanted, now_ns);
        self.round.found.interval_ns = if before_ns == 0 { 0 } else { now_ns - before_ns };
        self.round.stage = Stage::Cursors(0, 0, 0);
        std::mem::swap(&mut self.lags, &mut self.lags_now);
        self.lags_now.clear();
    }

    /// Ends the round in hand: what it has found.
    pub fn end_round(&mut self, now_ns: u64) -> Found {
        let took_ns = now_ns.saturating_sub(self.round.began_ns);
        self.round.next_ns = self.round.began_ns + EVERY_NS.max(REST * took_ns);
        self.round.stage = Stage::Rests;
        std::mem::take(&mut self.round.found)
    }

    /// Nobody wants to know any more: gives back what it takes.
    pub fn rest(&mut self) {
        self.losses.forget_untold();
        if self.round.began_ns == 0 && !self.digest.has_begun() && !self.tallies.are_on() {
            return;
        }
        self.tallies.end();
        self.round = Round::new(0, Wanted::default(), 0);
        self.digest = Digest::default();
        (self.lags, self.lags_now, self.counted) = Default::default();
    }

    /// How far a client was behind in the round before, where it was among the highest; keeps how far it is now.
    pub fn lag_before(&mut self, client: ConnectionId, now: u32) -> Option<u32> {
        self.lags_now.insert(client, now);
        self.lags.get(&client).copied()
    }

    /// What has been added to a topic since the round before, of which this is what it has: messages and bytes. Nothing where it was
    /// not known.
    pub fn count_topic(&mut self, place: u32, topic: TopicId, messages: u64, bytes: u64) -> (u64, u64) {
        let counted = Counted { topic, messages, bytes };
        if self.counted.len() <= place as usize {
            // Of a place that was never looked at.
            let none = Counted { topic: TopicId(NONE), messages: 0, bytes: 0 };
            self.counted.resize(place as usize + 1, none);
        }
        let before = std::mem::replace(&mut self.counted[place as usize], counted);
        if before.topic != topic {
            return (0, 0);
        }
        (messages.saturating_sub(before.messages), bytes.saturating_sub(before.bytes))
    }

    /// A client is gone.
    pub fn forget(&mut self, slot: u32) {
        self.losses.forget(slot);
        self.tallies.forget(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_come_once_a_second_or_rest_ten_times_as_long_as_they_took() {
        let (mut census, all) = (Census::default(), Wanted::of(SysTopic::ALL));
        census.begin_round(all, 4, 5_000_000_000);
        assert!(census.is_busy());
        assert_eq!((census.round.interval_s(), census.end_round(5_000_000_000 + 1_000).clients), (None, 0));
        assert_eq!((census.due_ns(all), census.due_ns(Wanted::default())), (6_000_000_000, u64::MAX));
        census.begin_round(all, 4, 6_000_000_000);
        assert_eq!(census.round.interval_s(), Some(1.0));
        census.end_round(6_500_000_000);
        assert_eq!((census.due_ns(all), census.is_busy()), (11_000_000_000, false));
        census.rest();
        assert_eq!((census.round.began_ns, census.due_ns(all)), (0, 0));
    }

    #[test]
    fn a_client_that_is_high_in_both_lists_is_described_once() {
        let mut census = Census::default();
        census.begin_round(Wanted::of([SysTopic::Clients]), 2, 1);
        let chosen = |key, slot| Chosen { key, slot, generation: 0, tally: Tally::default() };
        [(3, 1), (2, 2), (1, 3)].into_iter().for_each(|(key, slot)| census.round.by_lag.offer(chosen(key, slot)));
        [(9, 2), (8, 4)].into_iter().for_each(|(key, slot)| census.round.by_work.offer(chosen(key, slot)));
        census.round.choose();
        let slots: Vec<_> = census.round.chosen.iter().map(|&(c, lag, work)| (c.slot, lag, work)).collect();
        assert_eq!(slots, [(1, true, false), (2, true, true), (4, false, true)]);
    }

    #[test]
    fn what_is_new_has_no_rate_and_the_place_of_one_that_is_gone_neither() {
        let mut census = Census::default();
        assert_eq!(census.count_topic(2, TopicId(2), 100, 1_000), (0, 0));
        assert_eq!(census.count_topic(2, TopicId(2), 103, 1_500), (3, 500));
        assert_eq!(census.count_topic(2, TopicId(2 | 1 << 20), 7, 70), (0, 0));
        let client = ConnectionId::new(0, 1, 5);
        census.begin_round(Wanted::default(), 1, 1);
        assert_eq!(census.lag_before(client, 10), None);
        census.begin_round(Wanted::default(), 1, 2);
        assert_eq!(census.lag_before(client, 20), Some(10));
        census.begin_round(Wanted::default(), 1, 3);
        census.begin_round(Wanted::default(), 1, 4);
        assert_eq!(census.lag_before(client, 20), None, "it was not among the highest meanwhile");
    }
}
