//! The circuit breaker of one address: after too many failed upgrades it is refused for a while, then one may try.
//!
//! Closed, open, half-open, as in Nygard's *Release It!* (2007). Knows time that it is told. Must never know whose it is.

use super::gcra::Rate;

const SECOND_NS: u64 = 1_000_000_000;
/// How long an address is refused the first time; twice as long each time that its trial fails.
const OPEN_LEAST_NS: u64 = 30 * SECOND_NS;
/// The longest that it is refused.
const OPEN_MOST_NS: u64 = 600 * SECOND_NS;
/// A trial that has come to nothing in this time makes room for another one.
const TRIAL_NS: u64 = 15 * SECOND_NS;

/// See the module's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures_due_ns: u64,
    /// 0: closed. Else who comes before is refused.
    until_ns: u64,
    /// How often it has opened without a success since.
    trips: u8,
    /// One is trying.
    is_trying: bool,
}

impl Breaker {
    /// For how long who comes now is refused; 0: not at all.
    pub fn refuses_for_ns(&self, now_ns: u64) -> u64 {
        self.until_ns.saturating_sub(now_ns)
    }

    /// One is let in. If the breaker was open until now, this is the one that tries.
    pub fn on_entry(&mut self, now_ns: u64) {
        if self.until_ns > 0 {
            self.until_ns = now_ns.saturating_add(TRIAL_NS);
            self.is_trying = true;
        }
    }

    /// An upgrade has failed. True if the breaker opens.
    pub fn on_failure(&mut self, failures: &Rate, now_ns: u64) -> bool {
        let is_tripped = match self.until_ns {
            0 => failures.count(&mut self.failures_due_ns, 1, now_ns) > 0,
            // Of those that were let in before it opened, none counts.
            _ => self.is_trying,
        };
        if is_tripped {
            let open_ns = (OPEN_LEAST_NS << self.trips.min(10)).min(OPEN_MOST_NS);
            *self = Self {
                failures_due_ns: 0,
                until_ns: now_ns.saturating_add(open_ns),
                trips: self.trips.saturating_add(1),
                is_trying: false,
            };
        }
        is_tripped
    }

    /// An upgrade has been done. Only one that tried closes the breaker.
    pub fn on_success(&mut self) {
        if self.is_trying {
            *self = Self::default();
        }
    }

    /// True if there is nothing to be remembered.
    pub fn is_quiet(&self, now_ns: u64) -> bool {
        let is_over = self.until_ns == 0 || self.until_ns.saturating_add(OPEN_MOST_NS) <= now_ns;
        is_over && self.failures_due_ns <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURES: Rate = Rate::new(20, 60 * SECOND_NS);

    /// Opened at this time.
    fn open(now_ns: u64) -> Breaker {
        let mut breaker = Breaker::default();
        assert!((0..20).all(|_| !breaker.on_failure(&FAILURES, now_ns)), "at the limit");
        assert!(breaker.on_failure(&FAILURES, now_ns), "one past it");
        breaker
    }

    #[test]
    fn so_many_failures_and_one_more_open_it_for_half_a_minute() {
        let breaker = open(7);
        assert_eq!(breaker.refuses_for_ns(7), 30 * SECOND_NS);
        assert_eq!(breaker.refuses_for_ns(6 + 30 * SECOND_NS), 1);
        assert_eq!(breaker.refuses_for_ns(7 + 30 * SECOND_NS), 0);
        let mut slow = Breaker::default();
        assert!((0..1_000).all(|n| !slow.on_failure(&FAILURES, 1 + n * 3 * SECOND_NS)), "20 a minute, for ever");
    }

    #[test]
    fn one_tries_at_a_time_and_each_failure_doubles_the_time_up_to_ten_minutes() {
        let (mut breaker, mut now, mut spans) = (open(0), 0, Vec::new());
        for _ in 0..8 {
            let span = breaker.refuses_for_ns(now);
            spans.push(span / SECOND_NS);
            now += span;
            breaker.on_entry(now);
            assert_eq!(breaker.refuses_for_ns(now), TRIAL_NS, "another one waits");
            assert!(breaker.on_failure(&FAILURES, now));
            assert!(!breaker.on_failure(&FAILURES, now), "an older one's failure changes nothing");
        }
        assert_eq!(spans, [30, 60, 120, 240, 480, 600, 600, 600]);
    }

    #[test]
    fn a_success_of_the_one_that_tries_closes_it_and_no_other_does() {
        let mut breaker = open(0);
        breaker.on_success();
        assert_eq!(breaker.refuses_for_ns(0), 30 * SECOND_NS);
        breaker.on_entry(30 * SECOND_NS);
        breaker.on_success();
        assert_eq!(breaker, Breaker::default());
        breaker.on_entry(0);
        assert_eq!(breaker, Breaker::default(), "while it is closed nobody tries");
    }

    #[test]
    fn a_trial_that_comes_to_nothing_makes_room_for_the_next() {
        let mut breaker = open(0);
        breaker.on_entry(30 * SECOND_NS);
        assert_eq!(breaker.refuses_for_ns(30 * SECOND_NS + TRIAL_NS), 0);
        breaker.on_entry(30 * SECOND_NS + TRIAL_NS);
        assert!(breaker.on_failure(&FAILURES, 50 * SECOND_NS));
        assert_eq!(breaker.refuses_for_ns(50 * SECOND_NS), 60 * SECOND_NS);
    }

    #[test]
    fn what_is_long_over_is_quiet() {
        let breaker = open(0);
        assert!(!breaker.is_quiet(31 * SECOND_NS) && breaker.is_quiet(631 * SECOND_NS));
        let mut one = Breaker::default();
        assert!(one.is_quiet(0));
        one.on_failure(&FAILURES, 9);
        assert!(!one.is_quiet(9) && one.is_quiet(OPEN_MOST_NS));
    }
}
