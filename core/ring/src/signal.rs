//! Who sleeps and how they are woken: shards that found nothing to read, producers that found no room.
//!
//! Both are the same race, decided the same way. The sleeper writes "I sleep", passes a full fence and looks once more;
//! the other side makes its change, passes a full fence and looks for sleepers. Of two full fences one is first in the
//! single order they all have: if the sleeper's, then the other side's look comes after "I sleep" and wakes it; if the
//! other side's, then the sleeper's second look sees the change and it does not sleep. Without the fences both could
//! read the old values (a store may wait in the processor's store buffer while a later load is done), and the sleeper
//! would sleep on news.
//!
//! Knows no records and no positions; what "look once more" means is its callers'.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::sync::{AtomicU32, AtomicU64, Bell, Deadline, Ordering, deadline_after, fence};

/// Makes one shard's blocking wait return. Must be cheap to call twice, and a wake before the wait must not be lost.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// The shards that sleep, one bit each, so that a publisher looks at one word however many shards there are.
pub(super) struct Sleepers {
    asleep: CachePadded<AtomicU64>,
    wakers: Box<[OnceLock<Waker>]>,
}

impl Sleepers {
    pub(super) fn new(readers: usize) -> Self {
        Self { asleep: CachePadded::new(AtomicU64::new(0)), wakers: (0..readers).map(|_| OnceLock::new()).collect() }
    }

    /// Registers how to wake `reader`; the first one stays.
    pub(super) fn set_waker(&self, reader: usize, waker: Waker) {
        let _ = self.wakers[reader].set(waker);
    }

    /// Says that `reader` is about to sleep; it must look once more after this. False if nobody could wake it.
    pub(super) fn announce(&self, reader: usize) -> bool {
        if self.wakers[reader].get().is_none() {
            return false;
        }
        self.asleep.fetch_or(1 << reader, Ordering::Relaxed);
        // Orders "I sleep" before the second look. See the module's first paragraph.
        fence(Ordering::SeqCst);
        true
    }

    /// Takes back [`Sleepers::announce`]. Harmless without one.
    pub(super) fn cancel(&self, reader: usize) {
        // The plain load keeps the line shared while the shard never sleeps.
        if self.asleep.load(Ordering::Relaxed) & 1 << reader != 0 {
            self.asleep.fetch_and(!(1 << reader), Ordering::Relaxed);
        }
    }

    /// Wakes all that sleep. Call it after a full fence after the change they wait for.
    #[inline]
    pub(super) fn wake_after_fence(&self) {
        if self.asleep.load(Ordering::Relaxed) != 0 {
            self.wake(u64::MAX);
        }
    }

    /// Wakes those of `readers` that sleep; whoever clears the bit calls the waker, so one sleep costs one wake.
    #[cold]
    pub(super) fn wake(&self, readers: u64) {
        let mut woken = self.asleep.fetch_and(!readers, Ordering::AcqRel) & readers;
        while woken != 0 {
            let reader = woken.trailing_zeros() as usize;
            woken &= woken - 1;
            if let Some(waker) = self.wakers[reader].get() {
                waker();
            }
        }
    }
}

/// The producers that wait for room: an event count. Readers pay one load for it when nobody waits.
pub(super) struct Room {
    waiting: CachePadded<AtomicU32>,
    bell: Bell,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { waiting: CachePadded::new(AtomicU32::new(0)), bell: Bell::new() }
    }

    /// True if somebody waits for room. Call it after a full fence after making room.
    #[inline]
    pub(super) fn is_awaited_after_fence(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Makes all that wait try again.
    #[cold]
    pub(super) fn announce(&self) {
        self.bell.strike();
    }

    /// Repeats `attempt` after each [`Room::announce`] (and each `recheck`, if given) until it gives something or
    /// `wait` is over.
    #[cold]
    pub(super) fn wait_for<T>(
        &self,
        wait: Duration,
        recheck: Option<Duration>,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadline = deadline_after(wait);
        let _waiting = Waiting::new(&self.waiting);
        loop {
            // Read before the attempt: a strike after a failed attempt then ends the wait below at once.
            let seen = self.bell.strikes();
            // Orders "I wait" before the attempt's look at the readers' positions. See the module's first paragraph.
            fence(Ordering::SeqCst);
            if let Some(got) = attempt() {
                return Some(got);
            }
            if !self.wait_once(seen, deadline, recheck) {
                return attempt();
            }
        }
    }

    /// False: the deadline has passed.
    fn wait_once(&self, seen: u32, deadline: Deadline, recheck: Option<Duration>) -> bool {
        match recheck {
            None => self.bell.wait(seen, deadline),
            Some(pause) => {
                let next = deadline_after(pause);
                if next < deadline {
                    self.bell.wait(seen, next);
                    return true;
                }
                self.bell.wait(seen, deadline)
            }
        }
    }
}

/// One waiting producer, counted for as long as it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
