//! Job: which ends of a connection are worth another one, and when it is made.
//! Knows: close codes. Must never know: sockets, clocks, what the connection is for.

use std::time::Duration;

use crate::bearer::Bearer;
use crate::client::Closed;

/// Pauses between attempts to connect again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Whether it makes sense to come back after this end: not where one side meant it, nor where one of the two is in the wrong.
pub fn is_passing(closed: &Closed) -> bool {
    !closed.is_violation && !closed.is_unauthorized() && !matches!(closed.code, 1000 | 1002 | 1003 | 1007..=1010)
}

/// Whether its token is over, and it has another one by now.
pub fn is_renewed(closed: &Closed, bearer: Option<&Bearer>) -> bool {
    !closed.is_violation && closed.is_unauthorized() && bearer.is_some_and(Bearer::has_another)
}

/// The pause before attempt number `attempt` (from 0) to connect again: it doubles, and chance keeps many clients apart.
pub fn pause_before(attempt: u32, chance: u64) -> Duration {
    let most = PAUSES.0.saturating_mul(1 << attempt.min(16)).min(PAUSES.1);
    most / 2 + most.mul_f64((chance % 1_000) as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ_by_chance() {
        let ms = |attempt, chance| pause_before(attempt, chance).as_millis();
        assert_eq!([ms(0, 0), ms(0, 999)], [250, 499]);
        assert_eq!([ms(1, 0), ms(2, 0), ms(3, 500)], [500, 1_000, 3_000]);
        assert_eq!([ms(20, 0), ms(u32::MAX, 0)], [15_000, 15_000]);
    }

    #[test]
    fn only_ends_that_pass_are_come_back_from() {
        let passing = |code, is_violation| is_passing(&Closed { code, reason: String::new(), is_violation });
        assert!([1001, 1005, 1006, 1011, 1012, 1013].into_iter().all(|code| passing(code, false)));
        assert!(![1000, 1002, 1007, 1008, 1009, 4401].into_iter().any(|code| passing(code, false)));
        assert!(!passing(1006, true), "a server that breaks the rules breaks them again");
    }
}
