//! Topic names to numbers, once for the whole engine.
//!
//! A lock of the engine (the other counts connections by address). Hosts wait for it; shards only ever try it. A new
//! topic's record enters the ring under the lock, so no message of a topic can come before the record that makes it.
//!
//! A topic lives while a handle of the host's is there, a shard has subscribers by its name, or a message was published. Whoever is
//! about to publish says so here first, so a topic that ends by itself never had one, and nobody holds its number.

use std::collections::{HashMap, VecDeque};
#[allow(clippy::disallowed_types, reason = "the one place: names, off the hot path; shards use try_lock")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::epoch::Epochs;
use crate::ingest::{Head, RecordKind, Refused, Ring};
use crate::interest::Interests;
use crate::numbering::Given;
use crate::proto::topic::{NAME_BYTES_MAX, TopicName, TopicNameError};
use crate::shard::Gauges;
use crate::sys::wake::EventFd;
use crate::types::{Kind, Priority, TopicId};
pub use crate::types::{TOPIC_INDEX_BITS, topic_index};

/// What a topic costs here: its name is as long as one may be, in a map that may be half empty, and it may wait to be given back.
pub const ENTRY_BYTES: usize =
    2 * NAME_BYTES_MAX + 2 * size_of::<(Box<str>, Entry)>() + size_of::<Retired>() + FLAG_BYTES;
/// The flag, and what stands for the gauges of a topic that nobody watches.
const FLAG_BYTES: usize = 2 * (2 * size_of::<usize>() + 16);

/// Why there is no such topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The name breaks the rules.
    #[error("{0}")]
    Name(#[from] TopicNameError),
    /// The name is `$sys`, or below it.
    #[error("what is below `$sys` is the engine's own: nobody else publishes there")]
    Reserved,
    /// [`crate::Config::topics_max`] is reached.
    #[error("there are as many topics as the configuration allows (topics_max)")]
    TooMany,
    /// The ring (or the lock) had no room just now: try again.
    #[error("the ingest ring is full: try again")]
    WouldBlock,
    /// The topic is there, and its numbers count in another epoch than the one asked for.
    #[error("the topic is there already, in epoch {0}")]
    OtherEpoch(u64),
    /// An epoch is a number from 1 to 2^53 − 1.
    #[error("{0} is no epoch: it must be from 1 to 9007199254740991")]
    NoEpoch(u64),
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Who needs a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// A handle of the host's, until [`Registry::release`].
    Handle,
    /// Somebody who publishes now: the topic stays until the host removes it.
    Publisher,
    /// The same, where somebody has published before: else it is refused.
    NextPublisher,
    /// Subscribers by name on a shard, until [`Registry::give_back`].
    Shard {
        /// Which shard.
        number: u8,
        /// Whether the topic is made if there is none of its name.
        may_make: MayMake,
    },
}

/// Which topics are made for subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayMake {
    /// None: it must be there already.
    Nothing,
    /// While there are fewer than seven eighths of all that there may be: the last eighth is for those that publish.
    WithinShare,
    /// As many as there may be: this subscriber may publish to it, and connects for that.
    Any,
}

/// Topics that nobody needs are looked at so many at a time.
const IDLE_PER_LOOK: usize = 16;
/// Lives of one index; the last number of each is never followed by the first, but for [`Entry::is_spotless`].
const REUSES_MAX: u32 = u32::MAX >> TOPIC_INDEX_BITS;
/// Indexes are below this; the last one stands for none.
const INDEXES_MAX: u32 = (1 << TOPIC_INDEX_BITS) - 1;

#[derive(Debug)]
struct Entry {
    opened: Opened,
    /// Handles of the host's.
    handles: u64,
    /// Shards with subscribers by name, a bit each.
    shards: u64,
    /// Messages came, or may come.
    is_published: bool,
    /// It stands in [`Names::idle`].
    is_queued: bool,
    /// Nobody can still hold a number of this index's earlier lives.
    is_spotless: bool,
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.handles == 0 && self.shards == 0 && !self.is_published
    }

    /// Returns whether it is the first shard that has subscribers.
    fn note(&mut self, user: User) -> bool {
        let had_none = self.shards == 0;
        match user {
            User::Handle => self.handles += 1,
            User::Publisher | User::NextPublisher => self.is_published = true,
            User::Shard { number, .. } => self.shards |= 1 << number,
        }
        had_none && self.shards != 0
    }
}

/// An index whose topic is gone.
#[derive(Debug)]
struct Retired {
    id: TopicId,
    /// Free for reuse once every shard has read past this position of the ring.
    position: u64,
    is_spotless: bool,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<Box<str>, Entry>,
    /// Topics ever made.
    created: u64,
    /// Index count ever used.
    used: u32,
    /// Indexes whose numbers are used up.
    worn_out: u32,
    /// Indexes to be used again.
    retired: VecDeque<Retired>,
    /// Topics that nobody needed when somebody looked, and for whose end the ring had no room.
    idle: VecDeque<Box<str>>,
    /// Where a host hears which of them have subscribers.
    interest: Option<Interests>,
}

const _: () = assert!(crate::plan::SHARDS_MAX <= u64::BITS as usize);

/// A topic that exists.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its number, used again after its end.
    pub id: TopicId,
    /// In which its numbers count: it tells this life of the name from any other.
    pub epoch: u64,
    /// Set when it is removed.
    pub is_removed: Arc<AtomicBool>,
    /// What shards say of its subscribers, once somebody has asked.
    pub gauges: Arc<OnceLock<Arc<Gauges>>>,
    /// The numbers that its messages were given.
    pub given: Arc<Given>,
    /// It was made just now.
    pub is_new: bool,
    /// Messages came, or might have come, before.
    pub was_published: bool,
}

/// See the module's head.
pub struct Registry {
    #[allow(clippy::disallowed_types, reason = "see above")]
    names: Mutex<Names>,
    topics_max: u32,
    /// [`Names::idle`] is not empty.
    has_idle: AtomicBool,
    /// Topics that are gone, and whose subscribers some shard is still taking down: meanwhile no index is used again.
    laying_down: AtomicU32,
}

/// The ring and the time of a record.
#[derive(Clone, Copy)]
pub struct To<'a> {
    /// Where the record goes.
    pub ring: &'a Ring,
    /// Wall clock.
    pub time_ns: u64,
    /// Those of topics for which none is given.
    pub epochs: Epochs,
}

impl Registry {
    /// An empty registry for at most `topics_max` topics.
    pub fn new(topics_max: u32) -> Self {
        Self {
            names: Default::default(),
            topics_max: topics_max.min(INDEXES_MAX),
            has_idle: AtomicBool::new(false),
            laying_down: AtomicU32::new(0),
        }
    }

    /// The topic called `name`, made if need be, for `user`. Shards do not wait for the lock; nobody waits for the ring.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub fn open(&self, name: &str, user: User, to: To<'_>, may_wait: bool) -> Result<Opened, TopicError> {
        self.open_in(name, None, user, to, may_wait)
    }

    /// The same, of a topic whose numbers count in this epoch.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub fn open_in(
        &self,
        name: &str,
        epoch: Option<u64>,
        user: User,
        to: To<'_>,
        may_wait: bool,
    ) -> Result<Opened, TopicError> {
        TopicName::check(name)?;
        if let Some(wrong) = epoch.filter(|&epoch| !Epochs::has(epoch)) {
            return Err(TopicError::NoEpoch(wrong));
        }
        let mut names = if may_wait { self.lock() } else { self.try_lock()? };
        if let Some(entry) = names.by_name.get_mut(name) {
            if user == User::NextPublisher && !entry.is_published {
                return Err(TopicError::TooMany);
            }
            if epoch.is_some_and(|epoch| epoch != entry.opened.epoch) {
                return Err(TopicError::OtherEpoch(entry.opened.epoch));
            }
            let was_published = entry.is_published;
            let is_first = entry.note(user);
            let opened = Opened { was_published, ..entry.opened.clone() };
            if is_first {
                names.note_interest(name);
            }
            return Ok(opened);
        }
        let most = match user {
            User::NextPublisher | User::Shard { may_make: MayMake::Nothing, .. } => return Err(TopicError::TooMany),
            User::Shard { may_make: MayMake::WithinShare, .. } => self.topics_max - self.topics_max / 8,
            _ => self.topics_max,
        };
        self.look_at_idle(&mut names, to);
        if names.by_name.len() >= most as usize {
            return Err(TopicError::TooMany);
        }
        let (id, is_spotless, is_reused) = names.next_number(self.topics_max, to.ring, &self.laying_down)?;
        // Under the lock, hence in the order of the records: shards count the same.
        let number = names.created;
        let epoch = epoch.unwrap_or_else(|| to.epochs.of(number));
        let made = Head { seq: epoch, ..head(RecordKind::TopicCreated, id, to.time_ns) };
        to.ring.try_publish(&made, name.as_bytes()).map_err(to_topic_error)?;
        if is_reused {
            names.retired.pop_front();
        } else {
            names.used += 1;
        }
        let opened = Opened {
            id,
            epoch,
            is_removed: Arc::default(),
            gauges: Arc::default(),
            given: Arc::default(),
            is_new: false,
            was_published: false,
        };
        names.created += 1;
        let mut entry =
            Entry { opened: opened.clone(), handles: 0, shards: 0, is_published: false, is_queued: false, is_spotless };
        let is_first = entry.note(user);
        names.by_name.insert(name.into(), entry);
        if is_first {
            names.note_interest(name);
        }
        Ok(Opened { is_new: true, ..opened })
    }

    /// A handle of the host's is gone; `has_published`: messages came by it.
    pub fn release(&self, name: &str, id: TopicId, has_published: bool, to: To<'_>) {
        let mut names = self.lock();
        let Some(entry) = names.by_name.get_mut(name).filter(|entry| entry.opened.id == id) else { return };
        entry.handles -= 1;
        entry.is_published |= has_published;
        self.end_if_idle(&mut names, name, to);
    }

    /// A shard has no subscriber by this name any more. False: the lock is busy, so the same again later.
    pub fn give_back(&self, name: &str, id: TopicId, shard: u8, to: To<'_>) -> bool {
        let Ok(mut names) = self.try_lock() else { return false };
        if let Some(entry) = names.by_name.get_mut(name).filter(|entry| entry.opened.id == id) {
            let had_some = entry.shards != 0;
            entry.shards &= !(1 << shard);
            if had_some && entry.shards == 0 {
                names.note_interest(name);
            }
            self.end_if_idle(&mut names, name, to);
        }
        true
    }

    /// From now on a host hears which names and patterns have subscribers; `bell` rings for it. False: another one does already.
    pub fn begin_interest(&self, bell: Arc<EventFd>) -> bool {
        let mut names = self.lock();
        if names.interest.is_some() {
            return false;
        }
        let mut interest = Interests::new(bell);
        let named = names.by_name.iter().filter(|(_, entry)| entry.shards != 0);
        named.for_each(|(name, _)| interest.note(name));
        names.interest = Some(interest);
        true
    }

    /// Nobody hears of it any more.
    pub fn end_interest(&self) {
        self.lock().interest = None;
    }

    /// A shard has subscribers by this pattern, or none any more. False: the lock is busy, so the same again later.
    pub fn note_pattern(&self, text: &str, shard: u8, is_wanted: bool) -> bool {
        let Ok(mut names) = self.try_lock() else { return false };
        if let Some(interest) = &mut names.interest {
            interest.note_pattern(text, shard, is_wanted);
        }
        true
    }

    /// A name or a pattern that the host has to look at, and whether it has subscribers now.
    pub fn next_interest(&self) -> Option<(Box<str>, bool)> {
        let mut names = self.lock();
        let text = names.interest.as_mut()?.next()?;
        let is_name_wanted = names.by_name.get(&text).is_some_and(|entry| entry.shards != 0);
        let is_wanted = is_name_wanted || names.interest.as_ref().is_some_and(|interest| interest.has_pattern(&text));
        Some((text, is_wanted))
    }

    /// True if [`Registry::end_idle`] has something to do.
    #[inline]
    pub fn has_idle(&self) -> bool {
        self.has_idle.load(Relaxed)
    }

    /// Ends a few of the topics that nobody needs and for whose end the ring had no room. Never waits.
    pub fn end_idle(&self, to: To<'_>) {
        if let Ok(mut names) = self.try_lock() {
            self.look_at_idle(&mut names, to);
        }
    }

    /// A shard begins to take down the subscribers of a topic that is gone. To be called before it has read past the topic's end.
    pub fn begins_laying_down(&self) {
        self.laying_down.fetch_add(1, Relaxed);
    }

    /// It has done so.
    pub fn has_laid_down(&self) {
        self.laying_down.fetch_sub(1, Relaxed);
    }

    /// Forgets a topic: its logs go, its subscribers get no more, publishing to it does nothing. `Ok(false)`: no such topic.
    ///
    /// # Errors
    /// The ring is full, or the engine has stopped.
    pub fn remove(&self, name: &str, to: To<'_>) -> Result<bool, TopicError> {
        let mut names = self.lock();
        let Some(entry) = names.by_name.get_mut(name) else { return Ok(false) };
        // Who published may still hold its number.
        let (was_spotless, was_queued) = (entry.is_spotless, entry.is_queued);
        entry.is_spotless = false;
        if let Err(error) = names.end(name, to) {
            if let Some(entry) = names.by_name.get_mut(name) {
                entry.is_spotless = was_spotless;
            }
            return Err(error);
        }
        if was_queued {
            names.idle.retain(|idle| **idle != *name);
            self.has_idle.store(!names.idle.is_empty(), Relaxed);
        }
        Ok(true)
    }

    fn end_if_idle(&self, names: &mut Names, name: &str, to: To<'_>) {
        let Some(entry) = names.by_name.get(name).filter(|entry| entry.is_idle()) else { return };
        if entry.is_queued || names.end(name, to).is_ok() {
            return;
        }
        if let Some(entry) = names.by_name.get_mut(name) {
            entry.is_queued = true;
        }
        names.idle.push_back(name.into());
        self.has_idle.store(true, Relaxed);
    }

    fn look_at_idle(&self, names: &mut Names, to: To<'_>) {
        for _ in 0..IDLE_PER_LOOK {
            let Some(name) = names.idle.pop_front() else { break };
            let Some(entry) = names.by_name.get_mut(&name) else { continue };
            if !entry.is_idle() {
                entry.is_queued = false;
            } else if names.end(&name, to).is_err() {
                names.idle.push_front(name);
                break;
            }
        }
        self.has_idle.store(!names.idle.is_empty(), Relaxed);
    }

    #[allow(clippy::disallowed_types, reason = "see above")]
    fn lock(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    #[allow(clippy::disallowed_types, reason = "see above")]
    fn try_lock(&self) -> Result<std::sync::MutexGuard<'_, Names>, TopicError> {
        self.names.try_lock().map_err(|_| TopicError::WouldBlock)
    }
}

impl Names {
    /// The number of the next topic, whether nobody can hold an earlier one of its index, and whether it is the first of the retired.
    fn next_number(
        &self,
        topics_max: u32,
        ring: &Ring,
        laying_down: &AtomicU32,
    ) -> Result<(TopicId, bool, bool), TopicError> {
        // In this order: a shard says that it lays down before it says how far it has read.
        let is_read = |retired: &&Retired| ring.slowest_reader().0 > retired.position && laying_down.load(Relaxed) == 0;
        if let Some(retired) = self.retired.front().filter(is_read) {
            return Ok((TopicId(retired.id.0.wrapping_add(1 << TOPIC_INDEX_BITS)), retired.is_spotless, true));
        }
        if self.used < topics_max.saturating_add(self.worn_out).min(INDEXES_MAX) {
            return Ok((TopicId(self.used), true, false));
        }
        Err(if self.retired.is_empty() { TopicError::TooMany } else { TopicError::WouldBlock })
    }

    fn note_interest(&mut self, name: &str) {
        if let Some(interest) = &mut self.interest {
            interest.note(name);
        }
    }

    fn end(&mut self, name: &str, to: To<'_>) -> Result<(), TopicError> {
        let Some(entry) = self.by_name.get(name) else { return Ok(()) };
        let (id, is_spotless) = (entry.opened.id, entry.is_spotless);
        let ended = to.ring.try_publish(&head(RecordKind::TopicRemoved, id, to.time_ns), &[]);
        let position = ended.map_err(to_topic_error)?.0;
        entry.opened.is_removed.store(true, Relaxed);
        let had_subscribers = entry.shards != 0;
        self.by_name.remove(name);
        if had_subscribers {
            self.note_interest(name);
        }
        if id.0 >> TOPIC_INDEX_BITS == REUSES_MAX && !is_spotless {
            // Its first number may still be in somebody's hand: the index is never used again.
            self.worn_out += 1;
        } else {
            self.retired.push_back(Retired { id, position, is_spotless });
        }
        Ok(())
    }
}

fn head(kind: RecordKind, topic: TopicId, time_ns: u64) -> Head {
    Head { kind, time_ns, ..Head::message(topic, Priority::Normal, Kind::Text) }
}

fn to_topic_error(refused: Refused) -> TopicError {
    match refused {
        Refused::Stopped => TopicError::Stopped,
        // A name is never too large for the ring.
        Refused::Full | Refused::TooLarge => TopicError::WouldBlock,
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
