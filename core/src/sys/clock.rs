//! The two clocks of the engine.
//!
//! Deadlines and intervals use [`monotonic_ns`]; [`realtime_ns`] only ever goes into messages. Must never be called
//! by protocol or log code, which take the time as an argument.

use rustix::time::{ClockId, clock_gettime};

fn read_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Both clocks are past their zero on every machine that runs; a wall clock set before 1970 reads as 0.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Nanoseconds of `CLOCK_MONOTONIC`: never steps. About 25 ns (vDSO).
pub fn monotonic_ns() -> u64 {
    read_ns(ClockId::Monotonic)
}

/// Nanoseconds since 1970 (UTC), as the machine's wall clock has it: may step. About 25 ns (vDSO).
pub fn realtime_ns() -> u64 {
    read_ns(ClockId::Realtime)
}

/// Nanoseconds of CPU that the calling thread has used. A system call: 100 ns and more.
pub fn thread_cpu_ns() -> u64 {
    read_ns(ClockId::ThreadCPUTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_never_goes_back() {
        let first = monotonic_ns();
        assert!(first > 0);
        assert!(
            (0..1000).fold(first, |last, _| {
                let now = monotonic_ns();
                assert!(now >= last);
                now
            }) >= first
        );
    }

    #[test]
    fn realtime_is_this_century() {
        assert!(realtime_ns() > 1_600_000_000_000_000_000);
    }
}
