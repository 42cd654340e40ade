//! A bounded queue from shards to a thread of the host, with a bell: nobody waits for who takes from it, and what finds no room is
//! counted.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use crate::sys::wake::EventFd;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Flow<T> {
    queue: ArrayQueue<T>,
    lost: AtomicU64,
    is_closed: AtomicBool,
    bell: EventFd,
}

impl<T> Flow<T> {
    /// An empty one for at most so many.
    ///
    /// # Errors
    /// That of `eventfd`.
    pub fn new(most: usize) -> std::io::Result<Self> {
        Ok(Self {
            queue: ArrayQueue::new(most),
            lost: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            bell: EventFd::new()?,
        })
    }

    /// True if there is no room.
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Adds one, or counts it as lost and gives it back.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.queue.push(item).inspect_err(|_| self.lose())
    }

    /// Something found no room.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// How much that was so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// There is something new.
    pub fn ring(&self) {
        self.bell.signal();
    }

    /// The host takes no more.
    pub fn close(&self) {
        self.is_closed.store(true, Relaxed);
    }

    /// Whether that is so.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Relaxed)
    }

    /// The next one, if there is one; the bell stays as it is.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// The same. Where there is none, the bell is silent until something comes.
    pub fn next(&self) -> Option<T> {
        // Silence the bell, then look once more: what comes after rings again.
        self.pop().or_else(|| {
            self.bell.drain();
            self.pop()
        })
    }

    /// Waits up to `timeout` for the bell. False if it has not rung.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.bell.wait(timeout)
    }
}

impl<T> AsFd for Flow<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
