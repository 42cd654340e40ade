//! Interest: which names and patterns have subscribers, for a host that fetches what is wanted from elsewhere.
//!
//! What changes is noted under the lock of the names (`registry`), each name once, so nothing is lost however seldom the host looks.
//! While no host hears of it, a subscribe pays one look at a flag.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::proto::topic::Pattern;
use crate::shard::{Command, Shared};
use crate::sys::wake::EventFd;

/// A name or a pattern has its first subscriber, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterestChange {
    /// The name or the pattern, as it was subscribed to.
    pub topics: Pattern,
    /// Whether somebody has subscribed to it now.
    pub is_wanted: bool,
}

/// Why a host does not hear of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterestError {
    /// Somebody hears of it already.
    #[error("one host at a time can hear of interest")]
    Taken,
    /// A shard's queue is full: try again.
    #[error("a shard's queue is full: try again")]
    WouldBlock,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// The system gives no descriptor.
    #[error("there is no descriptor to be had (ulimit -n)")]
    NoDescriptor,
}

/// The host's end: see the module's head, and [`crate::Engine::interest`]. Dropping it ends it.
///
/// Its descriptor is readable whenever there may be changes: put it into any poll loop, then call [`Interest::next`] until it gives
/// `None`.
pub struct Interest {
    shared: Arc<Shared>,
    bell: Arc<EventFd>,
}

impl std::fmt::Debug for Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interest").finish_non_exhaustive()
    }
}

impl Interest {
    /// See [`crate::Engine::interest`].
    pub(crate) fn begin(shared: &Arc<Shared>) -> Result<Self, InterestError> {
        let bell = Arc::new(EventFd::new().map_err(|_| InterestError::NoDescriptor)?);
        if !shared.registry.begin_interest(bell.clone()) {
            return Err(InterestError::Taken);
        }
        // Dropped, it ends what has begun.
        let interest = Self { shared: shared.clone(), bell };
        for (number, mailbox) in shared.mailboxes.iter().enumerate() {
            if mailbox.is_stopped.load(Relaxed) {
                return Err(InterestError::Stopped);
            }
            mailbox.commands.push(Command::Interest(true)).map_err(|_| InterestError::WouldBlock)?;
            shared.ring.wake_reader(number);
        }
        Ok(interest)
    }

    /// The next change, if there is one. What came and went meanwhile is told once, as it is now; so the same may be told twice.
    #[expect(clippy::should_implement_trait, reason = "None means not now, not the end")]
    pub fn next(&mut self) -> Option<InterestChange> {
        // Silence the bell, then look once more: what comes after rings again.
        self.pop().or_else(|| {
            self.bell.drain();
            self.pop()
        })
    }

    fn pop(&self) -> Option<InterestChange> {
        loop {
            let (text, is_wanted) = self.shared.registry.next_interest()?;
            // What is subscribed to has been looked at before.
            if let Ok(topics) = Pattern::parse(&text) {
                return Some(InterestChange { topics, is_wanted });
            }
        }
    }

    /// Waits up to `timeout` for a change.
    pub fn wait(&mut self, timeout: Duration) -> Option<InterestChange> {
        if let Some(change) = self.next() {
            return Some(change);
        }
        self.bell.wait(timeout);
        self.next()
    }
}

impl AsFd for Interest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.shared.registry.end_interest();
        for (number, mailbox) in self.shared.mailboxes.iter().enumerate() {
            // Where there is no room, the shard goes on noting, and the names leave that out.
            if mailbox.commands.push(Command::Interest(false)).is_ok() {
                self.shared.ring.wake_reader(number);
            }
        }
    }
}

/// What the names keep for a host that hears of interest.
#[derive(Debug)]
pub(crate) struct Interests {
    /// Shards with subscribers by each pattern, a bit each.
    patterns: HashMap<Box<str>, u64>,
    /// Names and patterns that the host has to look at.
    changed: BTreeSet<Box<str>>,
    bell: Arc<EventFd>,
}

impl Interests {
    /// Nothing yet.
    pub fn new(bell: Arc<EventFd>) -> Self {
        Self { patterns: HashMap::new(), changed: BTreeSet::new(), bell }
    }

    /// A name may have its first subscribers, or none any more.
    pub fn note(&mut self, text: &str) {
        if self.changed.is_empty() {
            self.bell.signal();
        }
        if !self.changed.contains(text) {
            self.changed.insert(text.into());
        }
    }

    /// A shard has subscribers by a pattern, or none any more.
    pub fn note_pattern(&mut self, text: &str, shard: u8, is_wanted: bool) {
        let before = self.patterns.get(text).copied().unwrap_or(0);
        let bit = 1 << shard;
        let now = if is_wanted { before | bit } else { before & !bit };
        if now == 0 {
            self.patterns.remove(text);
        } else if now != before {
            self.patterns.insert(text.into(), now);
        }
        if (now == 0) != (before == 0) {
            self.note(text);
        }
    }

    /// Something to look at.
    pub fn next(&mut self) -> Option<Box<str>> {
        self.changed.pop_first()
    }

    /// Whether any shard has subscribers by this pattern.
    pub fn has_pattern(&self, text: &str) -> bool {
        self.patterns.contains_key(text)
    }
}
