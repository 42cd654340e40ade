//! Job: SIGINT and SIGTERM as numbers to look at and a descriptor to wait on.
//! Knows: signals. Must never know: what a command does when it is asked to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Counts the requests to stop. Clones share the count.
#[derive(Clone, Debug)]
pub struct StopRequests {
    count: Arc<AtomicUsize>,
    latest: Arc<AtomicUsize>,
}

impl StopRequests {
    /// Takes over SIGINT and SIGTERM: from now on they are counted and no longer end the process.
    ///
    /// # Errors
    /// Where the kernel refuses a handler or the thread that waits for signals cannot be started.
    pub fn listen() -> io::Result<Self> {
        let stop = StopRequests { count: Arc::new(AtomicUsize::new(0)), latest: Arc::new(AtomicUsize::new(0)) };
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let counted = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in &mut signals {
                counted.latest.store(signal as usize, Ordering::Relaxed);
                // Release: who sees the count sees which signal it was.
                counted.count.fetch_add(1, Ordering::Release);
            }
        })?;
        Ok(stop)
    }

    /// How often the process was asked to stop.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// True once it was asked.
    pub fn is_asked(&self) -> bool {
        self.count() > 0
    }

    /// The latest signal's name.
    pub fn name(&self) -> &'static str {
        if self.latest.load(Ordering::Relaxed) == SIGINT as usize { "SIGINT" } else { "SIGTERM" }
    }

    /// The exit code of a process that was interrupted half-way: 128 and the signal's number.
    pub fn exit_code(&self) -> u8 {
        128 + self.latest.load(Ordering::Relaxed) as u8
    }
}
