//! The host's end of the event queues.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::event::Event;
use crate::failure::ShardFailure;
use crate::shard::Shared;
use crate::sys::wake::EventFd;

/// What happens to the engine's connections, for a host that asked for it ([`crate::EventsConfig::capacity`]).
///
/// Its descriptor is readable whenever there may be events: put it into any poll loop, then call [`Events::next`] until it
/// gives `None`.
pub struct Events {
    shared: Arc<Shared>,
    bell: Arc<EventFd>,
    turn: usize,
    /// The host was told that a shard has failed.
    has_told_failure: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>, bell: Arc<EventFd>) -> Self {
        Self { shared, bell, turn: 0, has_told_failure: false }
    }

    /// What rings when there are some.
    pub(crate) fn bell(&self) -> Arc<EventFd> {
        self.bell.clone()
    }

    /// The next event, if there is one. Shards take turns; the events of one connection come in order.
    #[expect(clippy::should_implement_trait, reason = "None means not now, not the end")]
    pub fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.pop() {
            return Some(event);
        }
        // Silence the bell, then look once more: what comes after rings again.
        self.bell.drain();
        self.pop()
    }

    fn pop(&mut self) -> Option<Event> {
        if !self.has_told_failure
            && let Some(ShardFailure { shard, reason }) = self.shared.failure.first()
        {
            self.has_told_failure = true;
            return Some(Event::Failed { shard: *shard, reason: reason.clone() });
        }
        let shards = self.shared.mailboxes.len();
        for _ in 0..shards {
            let shard = self.turn;
            self.turn = (self.turn + 1) % shards;
            if let Some(event) = self.shared.mailboxes[shard].events.pop() {
                return Some(event);
            }
        }
        None
    }

    /// Waits up to `timeout` for an event.
    pub fn wait(&mut self, timeout: Duration) -> Option<Event> {
        if let Some(event) = self.next() {
            return Some(event);
        }
        self.bell.wait(timeout);
        self.next()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
