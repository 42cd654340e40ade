//! Job: the engine's events on their way to a host, past who decides on tokens.
//! Knows: a queue, a bell. Must never know: tokens, which events those are.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanwire::binding::Bell;
use fanwire::{Decider, Event, Events};

/// How often it is looked whether the last events have come.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Between the thread that decides and the host.
#[derive(Debug)]
pub struct Relay {
    queue: Mutex<VecDeque<Event>>,
    /// Events that may wait.
    most: usize,
    bell: Bell,
    /// The host was told that a shard has failed.
    has_told_failure: AtomicBool,
    /// Nothing comes any more.
    is_done: AtomicBool,
}

impl Relay {
    /// An empty one for at most so many.
    ///
    /// # Errors
    /// That of `eventfd`.
    pub fn new(most: usize) -> io::Result<Self> {
        Ok(Relay {
            queue: Mutex::default(),
            most,
            bell: Bell::new()?,
            has_told_failure: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
        })
    }

    /// One more for the host. It comes back where there is no room.
    pub fn give(&self, event: Event) -> Option<Event> {
        let mut queue = self.queue();
        if queue.len() >= self.most {
            return Some(event);
        }
        if matches!(event, Event::Failed { .. }) {
            self.has_told_failure.store(true, Ordering::Release);
        }
        queue.push_back(event);
        drop(queue);
        self.bell.ring();
        None
    }

    /// Nothing comes any more.
    pub fn finish(&self) {
        self.is_done.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn pop(&self) -> Option<Event> {
        self.queue().pop_front()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens to an engine's connections, as far as its host is to hear of it: [`Events`] where nobody decides on tokens, else what
/// is left of them.
#[derive(Debug)]
pub enum HostEvents {
    /// All of it.
    Direct(Events),
    /// What is no token's affair.
    Left(Left),
}

/// See [`HostEvents::Left`].
#[derive(Debug)]
pub struct Left {
    pub(crate) relay: Arc<Relay>,
    pub(crate) decider: Decider,
    /// Wakes the thread that decides.
    pub(crate) waker: Bell,
}

impl HostEvents {
    /// The next event, if there is one. The events of one connection come in order.
    #[expect(clippy::should_implement_trait, reason = "None means not now, not the end")]
    pub fn next(&mut self) -> Option<Event> {
        match self {
            HostEvents::Direct(events) => events.next(),
            HostEvents::Left(left) => left.next(),
        }
    }

    /// What rings when there are some.
    pub fn bell(&self) -> Bell {
        match self {
            HostEvents::Direct(events) => Bell::of(events),
            HostEvents::Left(left) => left.relay.bell.clone(),
        }
    }
}

impl Left {
    fn next(&mut self) -> Option<Event> {
        let relay = &self.relay;
        loop {
            if let Some(event) = relay.pop() {
                return Some(event);
            }
            // Silence the bell, then look once more: what comes after rings again.
            relay.bell.silence();
            let is_more_to_come = self.is_more_to_come();
            match relay.pop() {
                // The last ones of an engine that has ended are on the way: nobody is to think that there are none.
                None if is_more_to_come => {
                    self.waker.ring();
                    std::thread::park_timeout(LOOK_EVERY);
                }
                other => return other,
            }
        }
    }

    /// Whether something comes for certain, and soon.
    fn is_more_to_come(&self) -> bool {
        let Left { relay, decider, .. } = self;
        let owes_failure = || decider.failure().is_some() && !relay.has_told_failure.load(Ordering::Acquire);
        !relay.is_done.load(Ordering::Acquire) && (decider.has_ended() || owes_failure())
    }
}

#[cfg(test)]
mod tests {
    use fanwire::ConnectionId;

    use super::*;

    fn event(n: u32) -> Event {
        Event::Closed { connection: ConnectionId::new(0, 0, n), code: 1000 }
    }

    #[test]
    fn it_takes_as_many_as_it_says_in_order_and_gives_the_next_one_back() {
        let relay = Relay::new(2).unwrap();
        assert!(relay.give(event(1)).is_none() && relay.give(event(2)).is_none());
        assert!(matches!(relay.give(event(3)), Some(Event::Closed { connection, .. }) if connection.slot() == 3));
        let taken = std::iter::from_fn(|| relay.pop());
        let slots =
            taken.filter_map(
                |event| if let Event::Closed { connection, .. } = event { Some(connection.slot()) } else { None },
            );
        assert_eq!(slots.collect::<Vec<_>>(), [1, 2]);
        assert!(relay.give(event(3)).is_none());
    }
}
