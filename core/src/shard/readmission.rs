//! How a shard comes back that the ring has passed over, and how it lets another one come back.
//!
//! The ring's side is described in `fanwire_ring::readers`. What was missed is unknown, but for what another shard takes down at the
//! place from which both read on: every topic, and where each lane goes on. Whatever was published in between is lost here, and
//! cursors find that out as they find out that a log has forgotten something: `gap`, or 1013 in a critical lane.
//!
//! Taking down and catching up go in pieces, and neither shard reads the ring meanwhile: so the place holds. Knows topics and lanes.

use std::sync::Arc;

use super::lanes::Lanes;
use super::table::NONE;
use super::topics::{Topic, Topics};
use crate::ingest::Standing;
use crate::log::Edge;
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
    /// The epoch in which its numbers count.
    pub epoch: u64,
    /// Its name.
    pub name: Arc<str>,
    /// Where each lane goes on.
    pub ends: [Edge; 4],
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
        for topic in range.filter_map(|index| topics.get(index)).filter(|topic| !topic.is_gone()) {
            let end_of = |lane| if lane == NONE { Edge::START } else { lanes.source(lane).log.end() };
            let ends = topic.lanes.map(end_of);
            let Topic { id, number, epoch, ref name, .. } = *topic;
            self.topics.push(TopicNotes { id, number, epoch, name: name.clone(), ends });
        }
    }

    /// Whether a topic is in the notes.
    pub fn has(&self, id: TopicId) -> bool {
        let index = crate::registry::topic_index(id);
        let by_index = |topic: &TopicNotes| crate::registry::topic_index(topic.id);
        self.topics.binary_search_by_key(&index, by_index).is_ok_and(|place| self.topics[place].id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::ingest::{PayloadPool, Position};
    use crate::log::{self, Seq};
    use crate::types::Priority;

    const AT: Standing = Standing { main: Position(640), critical: Position(64) };

    #[test]
    fn each_topic_is_taken_down_with_the_next_number_of_each_lane_in_any_number_of_pieces() {
        let config = Config::default();
        let (mut topics, mut lanes) = (Topics::default(), Lanes::new(&config, Arc::new(PayloadPool::new(1 << 20)), 1));
        for number in [0, 1, 2, 4] {
            let index = topics.create(TopicId(number), format!("t/{number}").as_bytes(), 7, &config).unwrap();
            if number != 1 {
                let lane = lanes.create(index, Priority::High, topics.get(index).unwrap().keeps).unwrap();
                lanes.skip_to(lane, Edge { next: log::Position(10 + u64::from(number)), last: Seq(99) });
                topics.get_mut(index).unwrap().lanes[Priority::High as usize] = lane;
            }
        }
        topics.end(2);
        assert!(topics.remove().is_some());
        for step in [1, 2, 100] {
            let mut notes = Notes::new(AT, topics.created());
            let end = topics.places();
            (0..end).step_by(step).for_each(|from| notes.take(from..end.min(from + step as u32), &topics, &lanes));
            let all: Vec<_> =
                notes.topics.iter().map(|t| (t.id.0, &*t.name, t.ends[Priority::High as usize].next.0)).collect();
            assert_eq!(all, [(0, "t/0", 10), (1, "t/1", 1), (4, "t/4", 14)]);
            assert_eq!((notes.created, notes.topics[2].number), (4, 3));
            for (id, is_there) in [(0, true), (1, true), (2, false), (3, false), (4, true), (5, false)] {
                assert_eq!(notes.has(TopicId(id)), is_there, "{id}");
            }
            let next_life = TopicId(4 | 1 << crate::registry::TOPIC_INDEX_BITS);
            assert!(!notes.has(next_life), "a number's next topic is another");
        }
    }

    #[test]
    fn the_ring_is_not_read_while_a_place_must_hold() {
        let mut readmission = Readmission::default();
        assert!(!readmission.holds_reader() && readmission.due_ns().is_none());
        readmission.absence = Absence::Asks { at_ns: 5 };
        assert_eq!((readmission.holds_reader(), readmission.due_ns()), (false, Some(5)), "there is nothing to read");
        for absence in [Absence::Awaits { at: AT }, Absence::CatchesUp { notes: Notes::new(AT, 0), gone: 0, known: 0 }]
        {
            readmission.absence = absence;
            assert_eq!((readmission.holds_reader(), readmission.due_ns()), (true, None));
        }
        readmission.absence = Absence::None;
        readmission.helps = Some((1, Notes::new(AT, 0), 0));
        assert!(readmission.holds_reader());
    }
}
