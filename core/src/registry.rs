//! Topic names to numbers, once for the whole engine.
//!
//! The one lock of the engine. Hosts wait for it; shards only ever try it. A new topic's record enters the ring under the
//! lock, so no message of a topic can come before the record that makes it.

use std::collections::{HashMap, VecDeque};
#[allow(clippy::disallowed_types, reason = "the one place: names, off the hot path; shards use try_lock")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::ingest::{Head, RecordKind, Refused, Ring};
use crate::proto::topic::{TopicName, TopicNameError};
use crate::shard::Gauges;
use crate::types::{Kind, Priority, TopicId};
pub use crate::types::{TOPIC_INDEX_BITS, topic_index};

/// Why there is no such topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The name breaks the rules.
    #[error("{0}")]
    Name(#[from] TopicNameError),
    /// [`crate::Config::topics_max`] is reached.
    #[error("there are as many topics as the configuration allows (topics_max)")]
    TooMany,
    /// The ring (or the lock) had no room just now: try again.
    #[error("the ingest ring is full: try again")]
    WouldBlock,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<Box<str>, Opened>,
    /// Topics ever made.
    created: u64,
    /// Index count ever used.
    used: u32,
    /// Indexes free for reuse once every shard has read past the position.
    retired: VecDeque<(u32, u64)>,
}

/// A topic that exists.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its number, used again after its end.
    pub id: TopicId,
    /// How many topics were made before it: from it the engine derives the epoch, which tells this life of the name from any other.
    pub number: u64,
    /// Set when it is removed.
    pub is_removed: Arc<AtomicBool>,
    /// What shards say of its subscribers, once somebody has asked.
    pub gauges: Arc<OnceLock<Arc<Gauges>>>,
}

/// See the module's head.
pub struct Registry {
    #[allow(clippy::disallowed_types, reason = "see above")]
    names: Mutex<Names>,
    topics_max: u32,
}

impl Registry {
    /// An empty registry for at most `topics_max` topics.
    pub fn new(topics_max: u32) -> Self {
        Self { names: Default::default(), topics_max: topics_max.min((1 << TOPIC_INDEX_BITS) - 1) }
    }

    /// The topic called `name`, made if need be. `may_wait`: for the lock (never for the ring).
    ///
    /// # Errors
    /// See [`TopicError`].
    pub fn open(&self, name: &str, ring: &Ring, time_ns: u64, may_wait: bool) -> Result<TopicId, TopicError> {
        self.open_watched(name, ring, time_ns, may_wait).map(|opened| opened.id)
    }

    /// [`Registry::open`], and the mark that is set when the topic is removed.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub fn open_watched(&self, name: &str, ring: &Ring, time_ns: u64, may_wait: bool) -> Result<Opened, TopicError> {
        TopicName::check(name)?;
        let mut names = if may_wait {
            self.names.lock().unwrap_or_else(|poison| poison.into_inner())
        } else {
            self.names.try_lock().map_err(|_| TopicError::WouldBlock)?
        };
        if let Some(named) = names.by_name.get(name) {
            return Ok(named.clone());
        }
        if names.by_name.len() >= self.topics_max as usize {
            return Err(TopicError::TooMany);
        }
        let reusable = names.retired.front().is_some_and(|&(_, position)| ring.slowest_reader().0 > position);
        let id = match names.retired.front() {
            Some(&(old, _)) if reusable => old.wrapping_add(1 << TOPIC_INDEX_BITS),
            _ if names.used < self.topics_max => names.used,
            _ => return Err(TopicError::WouldBlock),
        };
        let id = TopicId(id);
        ring.try_publish(&Self::head(RecordKind::TopicCreated, id, time_ns), name.as_bytes())
            .map_err(to_topic_error)?;
        if reusable {
            names.retired.pop_front();
        } else {
            names.used += 1;
        }
        // Under the lock, hence in the order of the records: shards count the same.
        let opened = Opened { id, number: names.created, is_removed: Arc::default(), gauges: Arc::default() };
        names.created += 1;
        names.by_name.insert(name.into(), opened.clone());
        Ok(opened)
    }

    /// Forgets a topic: its logs go, its subscribers get no more, publishing to it does nothing. `Ok(false)`: no such topic.
    ///
    /// # Errors
    /// The ring is full, or the engine has stopped.
    pub fn remove(&self, name: &str, ring: &Ring, time_ns: u64) -> Result<bool, TopicError> {
        let mut names = self.names.lock().unwrap_or_else(|poison| poison.into_inner());
        let Some(id) = names.by_name.get(name).map(|named| named.id) else { return Ok(false) };
        let position =
            ring.try_publish(&Self::head(RecordKind::TopicRemoved, id, time_ns), &[]).map_err(to_topic_error)?;
        if let Some(named) = names.by_name.remove(name) {
            named.is_removed.store(true, Relaxed);
        }
        names.retired.push_back((id.0, position.0));
        Ok(true)
    }

    fn head(kind: RecordKind, topic: TopicId, time_ns: u64) -> Head {
        Head { kind, time_ns, ..Head::message(topic, Priority::Normal, Kind::Text) }
    }
}

fn to_topic_error(refused: Refused) -> TopicError {
    match refused {
        Refused::Stopped => TopicError::Stopped,
        // A name is never too large for the ring.
        Refused::Full | Refused::TooLarge => TopicError::WouldBlock,
    }
}
