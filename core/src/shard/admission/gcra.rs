//! The generic cell rate algorithm (ITU-T I.371, annex A): one number for each who is counted, and no timer.
//!
//! Knows units and time that it is told. Must never know whom it counts.

/// So many units in a span; a whole span's worth may come at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    units: u64,
    span_ns: u64,
}

impl Rate {
    /// `units` in `span_ns`; 0 units: no limit.
    pub const fn new(units: u64, span_ns: u64) -> Self {
        Self { units, span_ns }
    }

    /// True if there is a limit.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.units > 0
    }

    /// Counts `units` that have come, however many there were before. Returns by how much they came too early; 0: they
    /// conform. `due_ns` is the theoretical arrival time, 0 for who has sent nothing yet.
    pub fn count(&self, due_ns: &mut u64, units: u64, now_ns: u64) -> u64 {
        let after_ns = self.after(*due_ns, units, now_ns);
        *due_ns = after_ns;
        (after_ns - now_ns).saturating_sub(self.span_ns)
    }

    /// Counts one unit if it conforms.
    ///
    /// # Errors
    /// It does not, and is not counted: by how much it came too early.
    pub fn take(&self, due_ns: &mut u64, now_ns: u64) -> Result<(), u64> {
        let mut after_ns = *due_ns;
        match self.count(&mut after_ns, 1, now_ns) {
            0 => {
                *due_ns = after_ns;
                Ok(())
            }
            early_ns => Err(early_ns),
        }
    }

    fn after(&self, due_ns: u64, units: u64, now_ns: u64) -> u64 {
        let cost_ns = u128::from(units) * u128::from(self.span_ns) / u128::from(self.units.max(1));
        due_ns.max(now_ns).saturating_add(u64::try_from(cost_ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_span_s_worth_may_come_at_once_and_one_more_comes_too_early_by_one_s_time() {
        for units in [1, 2, 3, 7, 1_000, 31_000] {
            let rate = Rate::new(units, SECOND_NS);
            let (mut due, now) = (0, 5 * SECOND_NS);
            assert!((0..units).all(|_| rate.count(&mut due, 1, now) == 0), "{units}");
            let early = rate.count(&mut due, 1, now);
            assert!(early > 0 && early <= SECOND_NS / units, "{units}: {early}");
            // As it goes on, each has its time.
            assert_eq!(rate.count(&mut due, 1, now + early + SECOND_NS / units), 0, "{units}");
        }
    }

    #[test]
    fn what_comes_at_once_is_counted_as_what_comes_one_by_one() {
        let rate = Rate::new(1_000, SECOND_NS);
        let (mut one_by_one, mut at_once) = (0, 0);
        (0..1_500).for_each(|_| _ = rate.count(&mut one_by_one, 1, 77));
        assert_eq!(rate.count(&mut at_once, 1_500, 77), SECOND_NS / 2);
        assert_eq!(one_by_one, at_once);
    }

    #[test]
    fn what_is_turned_away_is_not_counted() {
        let rate = Rate::new(2, 60 * SECOND_NS);
        let mut due = 0;
        assert_eq!((rate.take(&mut due, 9), rate.take(&mut due, 9)), (Ok(()), Ok(())));
        for _ in 0..100 {
            assert_eq!(rate.take(&mut due, 9), Err(30 * SECOND_NS));
        }
        assert_eq!(rate.take(&mut due, 9 + 30 * SECOND_NS), Ok(()));
        assert_eq!(rate.take(&mut due, 9 + 30 * SECOND_NS), Err(30 * SECOND_NS));
    }

    #[test]
    fn silence_saves_up_no_more_than_one_span_s_worth_and_no_number_overflows() {
        let rate = Rate::new(10, SECOND_NS);
        let mut due = 0;
        let late = 1_000 * SECOND_NS;
        assert!((0..10).all(|_| rate.count(&mut due, 1, late) == 0) && rate.count(&mut due, 1, late) > 0);
        assert!(rate.count(&mut due, u64::MAX, late) > 0 && rate.count(&mut due, u64::MAX, u64::MAX - 5) <= 5);
    }
}
