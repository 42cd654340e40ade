//! The [`Wake`] of both real drivers: an eventfd that is written only when nobody else has since the driver last looked.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Wake;
use crate::sys::wake::EventFd;

/// An eventfd with a flag in front, so that a second wake costs no system call.
#[derive(Debug)]
pub struct EventWaker {
    event: EventFd,
    pending: AtomicBool,
}

impl EventWaker {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Ok(EventWaker { event: EventFd::new()?, pending: AtomicBool::new(false) })
    }

    /// The driver saw the eventfd ready. Call before [`super::Event::Woken`] is reported: a wake after this signals anew, and
    /// what was written before an earlier wake is visible (acquire) to whoever handles the event.
    ///
    /// The count is not read: both drivers are told of every write, and the counter lasts for 2^64 of them.
    pub fn on_signal(&self) {
        self.pending.swap(false, Ordering::AcqRel);
    }
}

impl Wake for EventWaker {
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.event.signal();
        }
    }
}

impl AsFd for EventWaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl AsRawFd for EventWaker {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
