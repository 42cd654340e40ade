//! Topics as this shard sees them: names, numbers, settings. What they hold stands in lanes.
//!
//! Never knows who subscribes, nor what a message looks like.

mod lives;
mod names;

pub use lives::{Life, Opening};
#[cfg(test)]
pub use names::tests::some_pattern;
pub use names::{Found, Names, level_order};

use crate::config::{Config, Retention, SlowPolicy, TopicConfig, nanoseconds};
use crate::proto::json;
use crate::proto::topic::{NAME_BYTES_MAX, Pattern};
use crate::registry::topic_index;
use crate::shard::table::NONE;
use crate::telemetry::{PatternNumber, is_sys};
use crate::types::TopicId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What a topic costs a shard, its lanes apart: its name is as long as one may be, twice in a map of names, each of which may be half empty.
pub const TOPIC_BYTES: usize =
    size_of::<Topic>() + size_of::<Option<Box<Topic>>>() + 2 * NAME_BYTES_MAX + 2 * NAMED_BYTES;
/// A place in each of two maps, with what they keep beside it, and a count in front of a name.
const NAMED_BYTES: usize = size_of::<(Arc<str>, u32)>() + size_of::<(Box<[u8]>, u32)>() + 2 * size_of::<usize>();

/// A topic without a message.
pub const NO_LANES: [u32; 4] = [NONE; 4];

/// What a lane of the engine's own holds at most, where the topic's configuration does not say: some messages.
const SYS_LANE_BYTES: usize = 1 << 20;
/// The number of a topic that has ended: none has it.
const GONE: TopicId = TopicId(NONE);

/// How long a batch may stay open where the topic's configuration does not say.
const BATCH_WINDOW: Duration = Duration::from_millis(5);

/// A topic as this shard sees it.
#[derive(Debug)]
pub struct Topic {
    /// Its number, with the count of reuses.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// How many topics were made before it.
    pub number: u64,
    /// The epoch of its numbering.
    pub epoch: u64,
    /// Its name stands in a JSON string as it is.
    pub is_plain: bool,
    /// Lanes by priority; none until the first message.
    pub lanes: [u32; 4],
    /// What is kept for its subscribers, and how.
    pub keeps: Keeps,
    /// Messages lost by slow subscribers, by priority.
    pub dropped: [u64; 4],
    /// The pattern of the configuration that its losses are counted by.
    pub pattern: PatternNumber,
    /// What the registry knows of it from here.
    pub life: Life,
}

impl Topic {
    /// Its end was read: its place is held for its members until they are gone.
    pub fn is_gone(&self) -> bool {
        self.id == GONE
    }

    /// A message was published, or the registry knows that one will be.
    pub fn is_published(&self) -> bool {
        self.life.is_published || self.lanes != NO_LANES
    }
}

/// No row of the configuration.
pub const NO_ROW: u16 = u16::MAX;

/// A topic's settings.
#[derive(Clone, Copy, Debug)]
pub struct Keeps {
    /// What new subscribers get first.
    pub retention: Retention,
    /// What happens to a subscriber that is too slow.
    pub policy: SlowPolicy,
    /// How long a batch may stay open, in nanoseconds.
    pub batch_window_ns: u64,
    /// Latency budget in milliseconds; 0: none.
    pub deliver_within_ms: u16,
    /// Budget of each of its logs.
    pub lane_bytes: usize,
    /// The configuration's row of topics that matches; [`NO_ROW`]: none.
    pub row: u16,
}

/// See the module's head.
#[derive(Default)]
pub struct Topics {
    /// In boxes, so that a table that grows copies no topics.
    topics: Vec<Option<Box<Topic>>>,
    names: Names,
    /// Topics ever made, the same on all shards at the same place in the ring.
    created: u64,
    /// Opened by this shard, and not yet there.
    opening: Opening,
    /// Topics that are gone, and still have members here: their places, and the numbers that they had.
    leaving: VecDeque<(u32, TopicId)>,
}

impl Topics {
    /// None yet; there may be so many.
    pub fn new(topics_max: u32) -> Self {
        Self { names: Names::with_room(topics_max), ..Self::default() }
    }

    /// Names to numbers.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Topics ever made.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The next topic that is made will be this one of all.
    pub fn set_created(&mut self, created: u64) {
        self.created = created;
    }

    /// Places that topics may be in.
    pub fn places(&self) -> u32 {
        self.topics.len() as u32
    }

    /// The topic in a place.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Topic> {
        self.topics.get(index as usize)?.as_deref()
    }

    /// All topics, with their places.
    #[cfg(any(test, fuzzing))]
    pub fn all(&self) -> impl Iterator<Item = (u32, &Topic)> {
        (0..).zip(&self.topics).filter_map(|(index, topic)| Some((index, topic.as_deref()?)))
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Topic> {
        self.topics.get_mut(index as usize)?.as_deref_mut()
    }

    /// The topic with this number, if it is still there.
    #[inline]
    pub fn by_id(&self, id: TopicId) -> Option<&Topic> {
        self.get(topic_index(id)).filter(|t| t.id == id)
    }

    /// The place of the topic with this number, if it is still there.
    #[inline]
    pub fn find(&self, id: TopicId) -> Option<u32> {
        self.by_id(id).map(|_| topic_index(id))
    }

    /// A topic comes to be; returns its place. `None`: its name is not one.
    pub fn create(&mut self, id: TopicId, name: &[u8], epoch: u64, config: &Config) -> Option<u32> {
        let number = self.created;
        self.created += 1;
        let name = std::str::from_utf8(name).ok()?;
        let index = topic_index(id);
        let is_plain = json::escaped_len(name.as_bytes()) == name.len();
        let shared: Arc<str> = name.into();
        while self.topics.len() <= index as usize {
            self.topics.push(None);
        }
        self.topics[index as usize] = Some(Box::new(Topic {
            id,
            name: shared.clone(),
            number,
            epoch,
            is_plain,
            lanes: NO_LANES,
            keeps: Keeps::of(name, config),
            dropped: [0; 4],
            pattern: PatternNumber::default(),
            life: self.opening.take(id),
        }));
        self.names.insert(shared, index);
        Some(index)
    }

    /// What the registry knows of a topic from here, whether its record has been read or not.
    pub fn life_mut(&mut self, id: TopicId) -> &mut Life {
        let index = topic_index(id) as usize;
        match self.topics.get_mut(index).and_then(Option::as_mut).filter(|topic| topic.id == id) {
            Some(topic) => &mut topic.life,
            None => self.opening.get_mut(id),
        }
    }

    /// The same, if there is anything to know.
    pub fn life(&self, id: TopicId) -> Option<&Life> {
        let topic = self.topics.get(topic_index(id) as usize).and_then(Option::as_ref).filter(|topic| topic.id == id);
        topic.map(|topic| &topic.life).or_else(|| self.opening.get(id))
    }

    /// A topic ends: its name and its number are nothing any more, its place is held until [`Topics::remove`].
    pub fn end(&mut self, index: u32) {
        let Some(topic) = self.topics.get_mut(index as usize).and_then(Option::as_mut) else { return };
        self.names.remove(&topic.name);
        topic.life = Life::default();
        self.leaving.push_back((index, std::mem::replace(&mut topic.id, GONE)));
    }

    /// Topics that have ended and still have members: their places, and the numbers that they had.
    pub fn leaving(&self) -> &VecDeque<(u32, TopicId)> {
        &self.leaving
    }

    /// The topic that has ended first has no members any more.
    pub fn remove(&mut self) -> Option<(u32, Box<Topic>)> {
        let (index, _) = self.leaving.pop_front()?;
        self.topics.get_mut(index as usize)?.take().map(|topic| (index, topic))
    }
}

impl Keeps {
    /// The settings of the first pattern in the configuration that matches.
    fn of(name: &str, config: &Config) -> Self {
        let matches = |t: &TopicConfig| Pattern::parse(&t.pattern).is_ok_and(|p| p.matches(name));
        let row = config.topics.iter().position(matches);
        let matching = row.map(|row| config.topics[row].clone());
        let TopicConfig { retention, policy, lane_bytes, batch_window, deliver_within, .. } =
            matching.unwrap_or_default();
        Self {
            retention,
            policy,
            batch_window_ns: nanoseconds(batch_window.unwrap_or(BATCH_WINDOW)),
            deliver_within_ms: deliver_within.min(TopicConfig::DELIVER_WITHIN_MAX).as_millis() as u16,
            lane_bytes: lane_bytes.unwrap_or(match is_sys(name) {
                true => config.memory.lane_bytes.min(SYS_LANE_BYTES),
                false => config.memory.lane_bytes,
            }),
            row: row.and_then(|row| u16::try_from(row).ok()).unwrap_or(NO_ROW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_s_next_topic_is_another_with_another_epoch() {
        let (mut topics, config) = (Topics::default(), Config::default());
        let id = TopicId(3);
        assert_eq!(topics.create(id, b"a/b", 100, &config), Some(3));
        assert_eq!((topics.find(id), topics.names().find("a/b")), (Some(3), Some(3)));
        assert_eq!(topics.get(3).map(|t| (t.number, t.epoch, t.is_plain)), Some((0, 100, true)));
        topics.end(3);
        assert_eq!((topics.find(id), topics.names().find("a/b")), (None, None));
        assert!(topics.get(3).is_some_and(Topic::is_gone), "its place is held for its members");
        assert_eq!(*topics.leaving(), [(3, id)]);
        assert!(topics.remove().is_some_and(|(place, _)| place == 3) && topics.remove().is_none());
        let again = TopicId(3 | 1 << crate::registry::TOPIC_INDEX_BITS);
        assert_eq!(topics.create(again, b"a/b", 101, &config), Some(3));
        assert_eq!((topics.find(id), topics.find(again)), (None, Some(3)));
        assert_eq!(topics.get(3).map(|t| t.epoch), Some(101));
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let topics = vec![
            TopicConfig { pattern: "a/*".into(), lane_bytes: Some(1 << 20), ..TopicConfig::default() },
            TopicConfig { pattern: "**".into(), policy: SlowPolicy::Latest, ..TopicConfig::default() },
        ];
        let config = Config { topics, ..Config::default() };
        let keeps = Keeps::of("a/b", &config);
        assert_eq!(
            (keeps.lane_bytes, keeps.policy, keeps.batch_window_ns),
            (1 << 20, SlowPolicy::DropOldest, 5_000_000)
        );
        let keeps = Keeps::of("b", &config);
        assert_eq!((keeps.lane_bytes, keeps.policy), (config.memory.lane_bytes, SlowPolicy::Latest));
    }
}
