//! An epoll descriptor whose timeouts are exact to the clock's resolution.
//!
//! Safety: two calls, which write to a slice that is borrowed for them, no further than its length.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::epoll;

pub use rustix::event::epoll::EventFlags;

/// One reported readiness.
pub use libc::epoll_event as RawEvent;

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    /// False once the kernel (or a filter in front of it) refused `epoll_pwait2`.
    exact: bool,
}

impl Epoll {
    /// A new, close-on-exec instance.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Ok(Epoll { fd: epoll::create(epoll::CreateFlags::CLOEXEC)?, exact: true })
    }

    /// Watches `source`; its events carry `key`.
    ///
    /// # Errors
    /// `ENOMEM` or `ENOSPC` (`fs.epoll.max_user_watches`).
    pub fn add(&self, source: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.fd, source, epoll::EventData::new_u64(key), flags)?)
    }

    /// Changes what is watched of `source`. The kernel looks at once, so that a condition that holds already is
    /// reported also under [`EventFlags::ET`].
    ///
    /// # Errors
    /// `ENOENT` where it is not watched.
    pub fn modify(&self, source: impl AsFd, key: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, source, epoll::EventData::new_u64(key), flags)?)
    }

    /// Watches `source` no more. Needed only where somebody else has the same socket: its last close ends that by itself.
    ///
    /// # Errors
    /// `ENOENT` where it is not watched.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, source)?)
    }

    /// Waits until something is ready, at most `timeout_ns` (0: only looks), and fills the front of `events`. Returns
    /// how many; 0 after the time or an interruption by a signal.
    ///
    /// # Errors
    /// `EBADF` and `EINVAL` only: the instance itself is unusable.
    pub fn wait(&mut self, events: &mut [RawEvent], timeout_ns: u64) -> io::Result<usize> {
        if self.exact && timeout_ns > 0 {
            match self.wait_exact(events, timeout_ns) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => self.exact = false,
                result => return interrupted_is_none(result),
            }
        }
        interrupted_is_none(self.wait_ms(events, timeout_ns.div_ceil(1_000_000)))
    }

    fn wait_exact(&self, events: &mut [RawEvent], timeout_ns: u64) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: i64::try_from(timeout_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `room` events into the exclusively borrowed slice, reads the timespec, which
        // is a live local, and takes a null signal mask as none.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.as_mut_ptr(),
                room,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                size_of::<u64>(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn wait_ms(&self, events: &mut [RawEvent], timeout_ms: u64) -> io::Result<usize> {
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        let timeout = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `room` events into the exclusively borrowed slice.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), room, timeout) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

fn interrupted_is_none(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wake::EventFd;
    use super::*;

    #[test]
    fn an_edge_is_reported_once_and_again_after_modify() {
        let mut poll = Epoll::new().unwrap();
        let event = EventFd::new().unwrap();
        poll.add(&event, 7, EventFlags::IN | EventFlags::ET).unwrap();
        let mut events = [RawEvent { events: 0, u64: 0 }; 4];
        assert_eq!(poll.wait(&mut events, 0).unwrap(), 0);
        event.signal();
        assert_eq!(poll.wait(&mut events, 1_000_000_000).unwrap(), 1);
        assert_eq!({ events[0].u64 }, 7);
        assert_eq!(poll.wait(&mut events, 0).unwrap(), 0);
        poll.modify(&event, 8, EventFlags::IN | EventFlags::ET).unwrap();
        assert_eq!(poll.wait(&mut events, 0).unwrap(), 1);
        assert_eq!({ events[0].u64 }, 8);
    }

    #[test]
    fn a_short_wait_ends_without_an_event() {
        let mut poll = Epoll::new().unwrap();
        let mut events = [RawEvent { events: 0, u64: 0 }; 4];
        assert_eq!(poll.wait(&mut events, 1000).unwrap(), 0);
        poll.exact = false;
        assert_eq!(poll.wait(&mut events, 1000).unwrap(), 0);
    }
}
