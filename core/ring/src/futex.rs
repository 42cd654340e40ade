//! Sleeping on a 32-bit word: `FUTEX_WAIT_BITSET` with an absolute monotonic deadline, and waking all that sleep on it.
//!
//! Knows the kernel's futex and nothing of who waits for what. No unsafe of its own: rustix takes the word by
//! reference, so it outlives the call.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};
use rustix::time::{ClockId, clock_gettime};

/// An instant of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    secs: i64,
    nanos: i64,
}

impl Deadline {
    /// `wait` from now; a wait too long for the clock's type ends at its last instant.
    pub fn after(wait: Duration) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let nanos = now.tv_nsec + i64::from(wait.subsec_nanos());
        let (carry, nanos) = if nanos >= 1_000_000_000 { (1, nanos - 1_000_000_000) } else { (0, nanos) };
        let secs = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        // The kernel's own clock type holds seconds up to 2^63 / 10^9; beyond that it refuses the call.
        let secs = now.tv_sec.saturating_add(secs).saturating_add(carry).min(i64::MAX / 1_000_000_000 - 1);
        Self { secs, nanos }
    }

    /// True from this instant on. One clock read.
    pub fn has_passed(self) -> bool {
        self <= Self::after(Duration::ZERO)
    }
}

/// Sleeps while `word` holds `seen`, until a wake or `deadline`. Returns false once the deadline has passed.
///
/// True says nothing more than "look again": wakes may be spurious, and a word that has already changed returns at once.
pub fn wait_until(word: &AtomicU32, seen: u32, deadline: Deadline) -> bool {
    let until = Timespec { tv_sec: deadline.secs, tv_nsec: deadline.nanos };
    match futex::wait_bitset(word, Flags::PRIVATE, seen, Some(&until), NonZeroU32::MAX) {
        Err(rustix::io::Errno::TIMEDOUT) => false,
        // EAGAIN (the word has changed) and EINTR: look again. Anything else is unknown to futex(2) for these
        // arguments; the deadline then bounds a busy wait.
        Ok(()) | Err(_) => !deadline.has_passed(),
    }
}

/// Wakes all threads that sleep on `word`. About 12 µs for the first one on a halted core, 80 ns if nobody sleeps.
pub fn wake_all(word: &AtomicU32) {
    // The only error for a valid, aligned word is none at all.
    let _ = futex::wake(word, Flags::PRIVATE, i32::MAX as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_changed_word_returns_at_once_and_an_unchanged_one_at_the_deadline() {
        let word = AtomicU32::new(1);
        assert!(wait_until(&word, 0, Deadline::after(Duration::from_secs(3600))));
        assert!(!wait_until(&word, 1, Deadline::after(Duration::from_millis(1))));
    }

    #[test]
    fn a_wake_ends_the_wait() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 0 {
                    assert!(wait_until(&word, 0, Deadline::after(Duration::from_secs(3600))));
                }
            });
            word.store(1, Ordering::Release);
            wake_all(&word);
        });
    }

    #[test]
    fn the_longest_wait_is_accepted_by_the_kernel() {
        let word = AtomicU32::new(0);
        let deadline = Deadline::after(Duration::MAX);
        assert!(!deadline.has_passed());
        assert!(wait_until(&word, 1, deadline));
    }
}
