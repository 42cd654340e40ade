//! What a subscription may ask for beyond the messages.

/// See the module's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// At least so many microseconds between two messages of a lane; 0: no limit.
    pub interval_us: u32,
    /// What the connection published itself is to be passed over.
    pub skips_own: bool,
}

impl Options {
    /// `max_hz` as an interval; nothing for what is no rate.
    pub fn new(max_hz: Option<f64>, echo: Option<bool>) -> Self {
        let interval_us = match max_hz {
            Some(hz) if hz > 0.0 => (1_000_000.0 / hz).min(3_600_000_000.0) as u32,
            _ => 0,
        };
        Self { interval_us, skips_own: echo == Some(false) }
    }

    /// True if there are any.
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_change_something_count() {
        for (max_hz, echo, is_any) in [
            (None, None, false),
            (None, Some(true), false),
            (None, Some(false), true),
            (Some(2.0), None, true),
            (Some(0.0), None, false),
        ] {
            assert_eq!(Options::new(max_hz, echo).is_any(), is_any, "{max_hz:?} {echo:?}");
        }
        let of = |hz| Options::new(Some(hz), None).interval_us;
        assert_eq!([of(2.0), of(1_000_000.0), of(f64::NAN), of(-1.0)], [500_000, 1, 0, 0]);
        assert_eq!(of(1e-12), 3_600_000_000, "an hour at most");
    }
}
