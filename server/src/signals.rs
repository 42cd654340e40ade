//! Job: SIGINT and SIGTERM: the first is a request to stop, the second ends the process at once.
//! Knows: signals. Must never know: what a command does when it is asked to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock;

/// Whether the process was asked to stop. Clones see the same.
#[derive(Clone, Debug)]
pub struct StopRequests {
    /// The first signal's number; 0 before it.
    signal: Arc<AtomicI32>,
}

impl StopRequests {
    /// Takes over SIGINT and SIGTERM. The calling thread is the one that [`StopRequests::wait`] wakes.
    ///
    /// # Errors
    /// Where the kernel refuses a handler or the thread that waits for signals cannot be started.
    pub fn listen() -> io::Result<Self> {
        let stop = StopRequests { signal: Arc::new(AtomicI32::new(0)) };
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let first = stop.signal.clone();
        let asked = thread::current();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in &mut signals {
                if first.swap(signal, Ordering::AcqRel) != 0 {
                    // Whatever the first request has started may hang: nothing is waited for any more.
                    std::process::exit(128 + signal);
                }
                asked.unpark();
            }
        })?;
        Ok(stop)
    }

    /// True once the process was asked to stop.
    pub fn is_asked(&self) -> bool {
        self.signal.load(Ordering::Acquire) != 0
    }

    /// Waits for the request, or until `is_over`: whoever makes it so unparks the thread that asks.
    pub fn wait_or(&self, is_over: impl Fn() -> bool) {
        while !self.is_asked() && !is_over() {
            thread::park();
        }
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
        if self.signal.load(Ordering::Acquire) == SIGINT { "SIGINT" } else { "SIGTERM" }
    }

    /// The exit code of a process that was interrupted half-way: 128 and the signal's number.
    pub fn exit_code(&self) -> u8 {
        128 + self.signal.load(Ordering::Acquire) as u8
    }
}
