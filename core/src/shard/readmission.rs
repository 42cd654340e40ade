//! How a shard comes back that the ring has passed over, and how it lets another one come back.
//!
//! The ring's side is described in `fanwire_ring::readers`. What was missed is unknown, but for what another shard takes down at the
//! place from which both read on: every topic, and the next number of each lane. Whatever was published in between is lost here, and
//! cursors find that out as they find out that a log has forgotten something: `gap`, or 1013 in a critical lane.
//!
//! Taking down and catching up go in pieces, and neither shard reads the ring meanwhile: so the place holds. Knows topics and lanes.

use std::sync::Arc;

use super::lanes::Lanes;
use super::table::NONE;
use super::topics::Topics;
use crate::ingest::Standing;
use crate::types::TopicId;

/// Topics taken down, or compared, in one turn.
pub const TOPICS_PER_TURN: u32 = 512;
/// When the next shard is asked, if the one that was asked has not answered.
pub const ASK_AGAIN_NS: u64 = 20_000_000;

/// What one shard knows at its place in the ring.
#[derive(Debug)]
pub struct Notes {
    /// The place.
    pub at: Standing,
    /// Topics ever made.
    pub created: u64,
    /// The topics there are, by their places.
    pub topics: Vec<TopicNotes>,
}

/// A topic in [`Notes`].
#[derive(Debug)]
pub struct TopicNotes {
    /// Its number.
    pub id: TopicId,
    /// How many were made before it.
    pub number: u64,
    /// Its name.
    pub name: Arc<str>,
    /// The next number of each lane; 0: it has had no message.
    pub next: [u64; 4],
}

/// Where a shard is on its way back.
#[derive(Debug, Default)]
pub enum Absence {
    /// It reads the ring.
    #[default]
    None,
    /// It was passed over: it asks another shard at this time.
    Asks {
        /// When.
        at_ns: u64,
    },
    /// It is in again, at this place, and looks for what was taken down there: that is in its mailbox.
    Awaits {
        /// The place.
        at: Standing,
    },
    /// It compares what it knows with what was taken down.
    CatchesUp {
        /// What was taken down.
        notes: Notes,
        /// Its own topics have been looked at up to this place, whether they are gone…
        gone: u32,
        /// …and then so many of those that were taken down.
        known: u32,
    },
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Readmission {
    /// This shard's own way back.
    pub absence: Absence,
    /// What others have taken down for it.
    pub received: Vec<Notes>,
    /// Shards asked so far.
    pub asked: usize,
    /// Taking down for another shard: which, so far, and the topics looked at.
    pub helps: Option<(u8, Notes, u32)>,
}

impl Readmission {
    /// True where the ring is not to be read just now.
    pub fn holds_reader(&self) -> bool {
        self.helps.is_some() || matches!(self.absence, Absence::Awaits { .. } | Absence::CatchesUp { .. })
    }

    /// When this shard has something to do, if it sleeps.
    pub fn due_ns(&self) -> Option<u64> {
        match self.absence {
            Absence::Asks { at_ns } => Some(at_ns),
            _ => None,
        }
    }
}

impl Notes {
    /// Nothing yet, at a place.
    pub fn new(at: Standing, created: u64) -> Self {
        Self { at, created, topics: Vec::new() }
    }

    /// Takes down the topics whose places are in `range`.
    pub fn take(&mut self, range: std::ops::Range<u32>, topics: &Topics, lanes: &Lanes) {
        for topic in range.filter_map(|index| topics.get(index)) {
            let next = topic.lanes.map(|lane| if lane == NONE { 0 } else { lanes.source(lane).log.next_seq() });
            self.topics.push(TopicNotes { id: topic.id, number: topic.number, name: topic.name.clone(), next });
        }
    }

    /// Whether a topic is in the notes.
    pub fn has(&self, id: TopicId) -> bool {
        let index = crate::registry::topic_index(id);
        let by_index = |topic: &TopicNotes| crate::registry::topic_index(topic.id);
        self.topics.binary_search_by_key(&index, by_index).is_ok_and(|place| self.topics[place].id == id)
    }
}
