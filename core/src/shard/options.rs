//! What a subscription may ask for beyond the messages.

/// See the module's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// At least so many microseconds between two messages of a lane; 0: no limit.
    pub interval_us: u32,
    /// Its messages may wait so many milliseconds, to be sent together; 0: not at all.
    pub max_delay_ms: u16,
    /// What the connection published itself is to be passed over.
    pub skips_own: bool,
}

impl Options {
    /// `max_hz` as an interval; nothing for what is no rate.
    pub fn new(max_hz: Option<f64>, max_delay_ms: Option<u16>, echo: Option<bool>) -> Self {
        let interval_us = match max_hz {
            Some(hz) if hz > 0.0 => (1_000_000.0 / hz).min(3_600_000_000.0) as u32,
            _ => 0,
        };
        Self { interval_us, max_delay_ms: max_delay_ms.unwrap_or(0), skips_own: echo == Some(false) }
    }

    /// True if cursors with them look at each frame before it is sent.
    pub fn is_picking(self) -> bool {
        self.interval_us > 0 || self.skips_own
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
        for (max_hz, delay, echo, is_any, is_picking) in [
            (None, None, None, false, false),
            (None, Some(0), Some(true), false, false),
            (None, None, Some(false), true, true),
            (Some(2.0), None, None, true, true),
            (None, Some(20), None, true, false),
            (Some(0.0), None, None, false, false),
        ] {
            let options = Options::new(max_hz, delay, echo);
            assert_eq!((options.is_any(), options.is_picking()), (is_any, is_picking), "{options:?}");
        }
        let of = |hz| Options::new(Some(hz), None, None).interval_us;
        assert_eq!([of(2.0), of(1_000_000.0), of(f64::NAN), of(-1.0)], [500_000, 1, 0, 0]);
        assert_eq!(of(1e-12), 3_600_000_000, "an hour at most");
    }
}
