//! An eventfd: a counter that wakes whoever waits for its descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A non-blocking, close-on-exec eventfd.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// A new one with count 0.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Ok(EventFd { fd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)? })
    }

    /// Adds one and wakes waiters. A counter at its maximum is signalled already, so that error is no error.
    pub fn signal(&self) {
        // 8 bytes in host order is the eventfd protocol; EINTR cannot happen on a non-blocking eventfd.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Waits up to `timeout` for the count to be above 0; leaves it as it is. False if it was not.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        // A wait too long for the kernel's clock type ends at its last instant.
        let secs = timeout.as_secs().min(i64::MAX as u64 / 1_000_000_000 - 1);
        let limit = Timespec { tv_sec: secs as i64, tv_nsec: timeout.subsec_nanos().into() };
        matches!(poll(&mut fds, Some(&limit)), Ok(1..))
    }

    /// Takes the count back to 0. True if it was above.
    pub fn drain(&self) -> bool {
        let mut count = [0u8; 8];
        matches!(rustix::io::read(&self.fd, &mut count), Ok(8))
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_add_up_to_one_drain() {
        let event = EventFd::new().unwrap();
        assert!(!event.drain());
        event.signal();
        event.signal();
        assert!(event.drain());
        assert!(!event.drain());
    }
}
