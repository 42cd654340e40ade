//! Job: SIGINT, SIGTERM and, for tools in a pipe, SIGHUP: the first is a request to stop, the second ends the process at once.
//! Knows: signals, and that a request can come in another way. Must never know: what a command does when it is asked to stop.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock;

/// Stands for a signal where the request was none.
const DRAIN: i32 = -1;
/// The same where another process goes on.
const HANDOVER: i32 = -2;

/// Whether the process was asked to stop. Clones see the same.
#[derive(Clone, Debug)]
pub struct StopRequests {
    /// The first signal's number, or [`DRAIN`]; 0 before it.
    signal: Arc<AtomicI32>,
    /// Who waits for it.
    asked: Thread,
    /// Can be read from the first signal on: for who waits in a poll.
    wake: Arc<OwnedFd>,
}

impl StopRequests {
    /// Takes over SIGINT and SIGTERM. The calling thread is the one that [`StopRequests::wait`] wakes.
    ///
    /// # Errors
    /// Where the kernel refuses a handler or the thread that waits for signals cannot be started.
    pub fn listen() -> io::Result<Self> {
        Self::listen_for(&[SIGINT, SIGTERM])
    }

    /// The same and SIGHUP, unless that is ignored from the start, as under nohup: for tools that end with their terminal and
    /// have something to leave in order.
    ///
    /// # Errors
    /// As [`StopRequests::listen`].
    pub fn listen_on_terminal() -> io::Result<Self> {
        match is_hangup_ignored() {
            true => Self::listen(),
            false => Self::listen_for(&[SIGINT, SIGTERM, SIGHUP]),
        }
    }

    /// One that no signal asks.
    #[cfg(test)]
    pub fn listen_for_tests() -> Self {
        Self::listen_for(&[]).unwrap()
    }

    fn listen_for(wanted: &[i32]) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stop = StopRequests { signal: Arc::new(AtomicI32::new(0)), asked: thread::current(), wake };
        let mut signals = Signals::new(wanted)?;
        let first = stop.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in &mut signals {
                if first.signal.swap(signal, Ordering::AcqRel) != 0 {
                    // Whatever the first request has started may hang: nothing is waited for any more.
                    std::process::exit(128 + signal);
                }
                first.wake();
            }
        })?;
        Ok(stop)
    }

    /// Asks as a signal does; false if somebody has asked before. A signal that comes then is the second request.
    pub fn ask_for_drain(&self) -> bool {
        self.ask(DRAIN)
    }

    /// [`StopRequests::ask_for_drain`], for another process goes on.
    pub fn ask_for_handover(&self) -> bool {
        self.ask(HANDOVER)
    }

    fn ask(&self, reason: i32) -> bool {
        let is_first = self.signal.compare_exchange(0, reason, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_first {
            self.wake();
        }
        is_first
    }

    /// Wakes whoever waits for the request, to look again.
    pub fn wake(&self) {
        // Nobody reads it: it stays readable.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        self.asked.unpark();
    }

    /// True once the process was asked to stop.
    pub fn is_asked(&self) -> bool {
        self.signal.load(Ordering::Acquire) != 0
    }

    /// True if another process goes on.
    pub fn is_handover(&self) -> bool {
        self.signal.load(Ordering::Acquire) == HANDOVER
    }

    /// [`StopRequests::is_asked`], or once the process ends by itself ([`StopRequests::wake`]).
    pub fn is_over(&self) -> bool {
        let now = Timespec::default();
        matches!(poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&now)), Ok(1..))
    }

    /// Waits for the request, but not beyond `until`. True if there was one.
    pub fn wait_until(&self, until: Instant) -> bool {
        loop {
            let left = until.saturating_duration_since(clock::now());
            if self.is_asked() || left == Duration::ZERO {
                return self.is_asked();
            }
            thread::park_timeout(left);
        }
    }

    /// The signal's name.
    pub fn name(&self) -> &'static str {
        match self.signal.load(Ordering::Acquire) {
            SIGINT => "SIGINT",
            SIGHUP => "SIGHUP",
            DRAIN => "fanwire drain",
            HANDOVER => "another process goes on",
            _ => "SIGTERM",
        }
    }

    /// The exit code of a process that was interrupted half-way: 128 and the signal's number.
    pub fn exit_code(&self) -> u8 {
        128 + self.signal.load(Ordering::Acquire) as u8
    }
}

impl AsFd for StopRequests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// What the kernel says of signals that this process was started with as ignored.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}
