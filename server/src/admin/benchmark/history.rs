//! Job: the runs so far, and whether the newest is out of the ordinary.
//! Knows: numbers. Must never know: how they were measured.

use std::collections::VecDeque;

use super::{Measured, Report};

/// Runs that are remembered.
const RUNS_MAX: usize = 32;
/// Fewer say nothing of what is usual.
const RUNS_MIN: usize = 5;
/// So many times as long as usual is no chance any more,
const TIMES: u64 = 2;
/// if it is also so much longer.
const LONGER_US: u64 = 1_000;

/// See the module's head.
#[derive(Debug, Default)]
pub struct History {
    past: VecDeque<Measured>,
    pub runs: u64,
    pub regressions: u64,
}

impl History {
    /// Takes the newest, and says how it compares.
    pub fn take(&mut self, measured: Measured, at_ms: u64) -> Report {
        let usual_p99_us = self.usual_p99_us();
        let is_slow = usual_p99_us.is_some_and(|usual| {
            let p99 = measured.latency_us.p99;
            p99 > TIMES * usual && p99 > usual + LONGER_US
        });
        let is_regression = is_slow || measured.delivered < measured.expected;
        self.runs += 1;
        self.regressions += u64::from(is_regression);
        if self.past.len() == RUNS_MAX {
            self.past.pop_front();
        }
        self.past.push_back(measured.clone());
        Report { at_ms, measured, usual_p99_us, is_regression }
    }

    pub fn newest(&self) -> Option<&Measured> {
        self.past.back()
    }

    /// The median.
    fn usual_p99_us(&self) -> Option<u64> {
        let mut all: Vec<u64> = self.past.iter().map(|run| run.latency_us.p99).collect();
        all.sort_unstable();
        if all.len() < RUNS_MIN { None } else { all.get(all.len() / 2).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Latency;
    use super::*;

    fn run(p99: u64, delivered: u64) -> Measured {
        let latency_us = Latency { p50: 1, p95: 2, p99, max: p99 };
        Measured { seconds: 1.0, subscribers: 8, messages: 1_000, expected: 8_000, delivered, latency_us }
    }

    #[test]
    fn what_is_far_slower_than_usual_is_told_once_there_is_a_usual() {
        let mut history = History::default();
        assert!(!history.take(run(90_000, 8_000), 1).is_regression, "the first compares with nothing");
        for p99 in [500, 510, 490, 505] {
            let report = history.take(run(p99, 8_000), 2);
            assert_eq!((report.usual_p99_us, report.is_regression), (None, false));
        }
        for (p99, expected) in [(1_000, false), (1_505, false), (1_506, true), (505, false)] {
            let report = history.take(run(p99, 8_000), 3);
            assert_eq!((report.usual_p99_us, report.is_regression), (Some(505), expected), "{p99}");
            history.past.pop_back();
        }
        assert!(history.take(run(1, 7_999), 4).is_regression, "one is lost");
        assert_eq!((history.runs, history.regressions), (10, 2));
    }

    #[test]
    fn the_past_has_an_end() {
        let mut history = History::default();
        for p99 in 0..100 {
            history.take(run(p99, 8_000), 1);
        }
        assert_eq!((history.past.len(), history.runs, history.newest().unwrap().latency_us.p99), (RUNS_MAX, 100, 99));
    }
}
