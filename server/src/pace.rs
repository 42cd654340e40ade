//! Job: when the next recorded message is due, and when the next of N a second is.
//! Knows: time stamps and a speed. Must never know: clocks (time is an argument), files, sockets.

use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::clock;

/// Speeds beyond these are typing errors: a second would be twelve days, or a day less than a tenth of a millisecond.
const SPEED_MIN: f64 = 0.000_001;
const SPEED_MAX: f64 = 1_000_000_000.0;
/// Rates beyond these are typing errors: one message in twelve days, or one a nanosecond.
const RATE_MIN: f64 = 0.000_001;
const RATE_MAX: f64 = 1_000_000_000.0;

/// Messages a second, as people write them.
///
/// # Errors
/// Where it is no number, or not within [`RATE_MIN`] and [`RATE_MAX`].
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("`{text}` is no rate: write messages a second, from {RATE_MIN} to {RATE_MAX}")),
    }
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as it was recorded.
    Times(f64),
    /// As fast as the engine takes it.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(times) if (SPEED_MIN..=SPEED_MAX).contains(&times) => Ok(Speed::Times(times)),
            _ => Err(format!("`{text}` is no speed: write max, 1, 10 or any number from {SPEED_MIN} to {SPEED_MAX}")),
        }
    }
}

/// A silence of the recording that was shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// How long it was, in microseconds of the recording.
    pub silence_us: u64,
}

/// Turns time stamps of a recording into instants. Stamps that run backwards are due at once.
#[derive(Debug)]
pub struct Pace {
    speed: Speed,
    silence_us_max: u64,
    start: Instant,
    /// Microseconds of the recording, shortened silences taken out, between the first message and the latest.
    played_us: u64,
    latest_us: Option<u64>,
}

impl Pace {
    /// A pace that begins at `start` with the first stamp it is given. Silences longer than `silence_max` of
    /// the recording are cut to it; zero keeps them.
    pub fn new(speed: Speed, silence_max: Duration, start: Instant) -> Self {
        let silence_us_max = match u64::try_from(silence_max.as_micros()) {
            Ok(0) | Err(_) => u64::MAX,
            Ok(us) => us,
        };
        Pace { speed, silence_us_max, start, played_us: 0, latest_us: None }
    }

    /// When the message stamped `t_us` is due, and whether a silence was shortened for it. `None`: at once.
    pub fn due(&mut self, t_us: u64) -> (Option<Instant>, Option<Shortened>) {
        let Speed::Times(times) = self.speed else { return (None, None) };
        let step = t_us.saturating_sub(self.latest_us.unwrap_or(t_us));
        self.latest_us = Some(self.latest_us.map_or(t_us, |latest| latest.max(t_us)));
        self.played_us = self.played_us.saturating_add(step.min(self.silence_us_max));
        let due = clock::after_seconds(self.start, self.played_us as f64 / 1e6 / times);
        (Some(due), (step > self.silence_us_max).then_some(Shortened { silence_us: step }))
    }

    /// Lets the next message begin anew at the present position: a recording that starts again from its first line.
    pub fn restart(&mut self) {
        self.latest_us = None;
    }
}

/// N messages a second, evenly.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    start: Instant,
    sent: u64,
}

impl Rate {
    /// A rate whose first message is due at `start`.
    pub fn new(per_second: f64, start: Instant) -> Self {
        Rate { per_second, start, sent: 0 }
    }

    /// When the next message is due.
    pub fn next_due(&self) -> Instant {
        clock::after_seconds(self.start, self.sent as f64 / self.per_second)
    }

    /// Counts one message as sent at `now`. Who fell more than a second behind is not made to catch up in a burst.
    pub fn on_sent(&mut self, now: Instant) {
        if now.saturating_duration_since(self.next_due()) > Duration::from_secs(1) {
            self.start = now;
            self.sent = 0;
        }
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        crate::clock::now()
    }

    #[test]
    fn speeds_are_read() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("1".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for bad in ["", "0", "-1", "inf", "nan", "fast", "x", "1e-300", "9e-7", "1.1e9", "1e300"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
            assert!(rate(bad).is_err(), "{bad}");
        }
        for good in ["1e-6", "0.000001", "1", "1e9"] {
            assert!(good.parse::<Speed>().is_ok() && rate(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn messages_are_due_by_their_stamps_over_the_speed() {
        let t0 = start();
        let mut pace = Pace::new(Speed::Times(10.0), Duration::ZERO, t0);
        assert_eq!(pace.due(5_000_000), (Some(t0), None), "the first stamp is the origin");
        assert_eq!(pace.due(6_000_000).0, Some(t0 + Duration::from_millis(100)));
        assert_eq!(pace.due(15_000_000).0, Some(t0 + Duration::from_secs(1)));
    }

    #[test]
    fn stamps_that_run_backwards_neither_wait_nor_shift_the_rest() {
        let t0 = start();
        let mut pace = Pace::new(Speed::Times(1.0), Duration::ZERO, t0);
        pace.due(0);
        pace.due(2_000_000);
        assert_eq!(pace.due(1_000_000).0, Some(t0 + Duration::from_secs(2)));
        assert_eq!(pace.due(3_000_000).0, Some(t0 + Duration::from_secs(3)));
    }

    #[test]
    fn long_silences_are_shortened_and_reported() {
        let t0 = start();
        let mut pace = Pace::new(Speed::Times(1.0), Duration::from_secs(5), t0);
        pace.due(0);
        let (due, shortened) = pace.due(110_000_000);
        assert_eq!(due, Some(t0 + Duration::from_secs(5)));
        assert_eq!(shortened, Some(Shortened { silence_us: 110_000_000 }));
        assert_eq!(pace.due(111_000_000), (Some(t0 + Duration::from_secs(6)), None));
    }

    #[test]
    fn no_stamp_is_too_far_away() {
        let t0 = start();
        let mut pace = Pace::new(Speed::Times(SPEED_MIN), Duration::ZERO, t0);
        pace.due(0);
        assert!(pace.due(u64::MAX).0 > Some(t0 + Duration::from_secs(1 << 30)));
        assert!(pace.due(u64::MAX).0.is_some());
        pace.restart();
        pace.due(0);
        assert!(pace.due(u64::MAX).0.is_some());
        let mut rate = Rate::new(RATE_MIN, t0);
        (0..10_000).for_each(|_| rate.on_sent(t0));
        assert!(rate.next_due() > t0 + Duration::from_secs(1 << 30));
    }

    #[test]
    fn a_second_round_goes_on_where_the_first_ended() {
        let t0 = start();
        let mut pace = Pace::new(Speed::Times(1.0), Duration::ZERO, t0);
        pace.due(0);
        pace.due(1_000_000);
        pace.restart();
        assert_eq!(pace.due(0).0, Some(t0 + Duration::from_secs(1)));
        assert_eq!(pace.due(1_000_000).0, Some(t0 + Duration::from_secs(2)));
    }

    #[test]
    fn at_full_speed_nothing_waits() {
        let mut pace = Pace::new(Speed::Max, Duration::ZERO, start());
        assert_eq!(pace.due(0), (None, None));
        assert_eq!(pace.due(u64::MAX), (None, None));
    }

    #[test]
    fn a_rate_is_even_and_forgives_a_long_stall() {
        let t0 = start();
        let mut rate = Rate::new(4.0, t0);
        assert_eq!(rate.next_due(), t0);
        rate.on_sent(t0);
        assert_eq!(rate.next_due(), t0 + Duration::from_millis(250));
        let late = t0 + Duration::from_secs(60);
        rate.on_sent(late);
        assert_eq!(rate.next_due(), late + Duration::from_millis(250));
    }
}
