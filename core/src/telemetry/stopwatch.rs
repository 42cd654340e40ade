//! How old messages are when a shard sends them: one sample a turn, out of clocks that are read anyway.
//!
//! A turn's sample is the first message that it reads of the ring. Its age is measured where the shard begins to send, and at the end of
//! the turn in which everything was sent. Messages carry wall-clock times and a shard has a monotonic clock, so the difference of the two
//! is looked up once a second. Must never read a clock.

/// How often the difference of the clocks is looked up.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

/// See the module's head. All times in nanoseconds.
#[derive(Debug, Default)]
pub struct Stopwatch {
    /// Wall clock less monotonic clock.
    ahead_ns: u64,
    look_ns: u64,
    /// When the sample was published, by the wall clock; 0: there is none.
    published_ns: u64,
    /// Sending has begun.
    has_begun: bool,
}

impl Stopwatch {
    /// Compares the clocks, if it is time to.
    #[inline]
    pub fn compare(&mut self, now_ns: u64, wall_ns: impl FnOnce() -> u64) {
        if now_ns >= self.look_ns {
            self.ahead_ns = wall_ns().wrapping_sub(now_ns);
            self.look_ns = now_ns + LOOK_EVERY_NS;
        }
    }

    /// A turn's first message. An older one that is not sent everywhere yet stays the sample.
    #[inline]
    pub fn on_message(&mut self, published_ns: u64) {
        if self.published_ns == 0 {
            self.published_ns = published_ns;
        }
    }

    /// Whether somebody waits for [`Stopwatch::begin`].
    #[inline]
    pub fn is_to_begin(&self) -> bool {
        self.published_ns != 0 && !self.has_begun
    }

    /// Sending begins: the sample's age.
    pub fn begin(&mut self, now_ns: u64) -> u64 {
        self.has_begun = true;
        self.age_ns(now_ns)
    }

    /// A turn ends: the sample's age, if it was sent and `is_all_sent`.
    #[inline]
    pub fn end(&mut self, now_ns: u64, is_all_sent: bool) -> Option<u64> {
        if self.published_ns == 0 || !is_all_sent {
            return None;
        }
        // Where nobody wanted the message, nothing was begun.
        let age = self.has_begun.then(|| self.age_ns(now_ns));
        self.published_ns = 0;
        self.has_begun = false;
        age
    }

    fn age_ns(&self, now_ns: u64) -> u64 {
        // A message of a clock that was set back since is of now.
        now_ns.wrapping_add(self.ahead_ns).saturating_sub(self.published_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn the_oldest_message_is_measured_at_the_first_send_and_when_all_is_sent() {
        let mut watch = Stopwatch::default();
        watch.compare(1_000, || WALL + 1_000);
        assert!(!watch.is_to_begin());
        watch.on_message(WALL + 500);
        watch.on_message(WALL + 900);
        assert!(watch.is_to_begin());
        assert_eq!(watch.begin(1_000), 500);
        assert!(!watch.is_to_begin());
        assert_eq!(watch.end(2_000, false), None, "the rest goes out in the next turn");
        watch.on_message(WALL + 2_500);
        assert!(!watch.is_to_begin());
        assert_eq!(watch.end(3_000, true), Some(2_500));
        assert_eq!(watch.end(4_000, true), None);
    }

    #[test]
    fn what_nobody_wanted_is_not_measured_and_a_clock_set_back_counts_nothing() {
        let mut watch = Stopwatch::default();
        watch.compare(0, || WALL);
        watch.on_message(WALL);
        assert_eq!(watch.end(10, true), None);
        watch.on_message(WALL + 70);
        assert_eq!((watch.begin(50), watch.end(60, true)), (0, Some(0)));
        watch.compare(LOOK_EVERY_NS - 1, || unreachable!("not yet"));
        watch.compare(LOOK_EVERY_NS, || WALL + LOOK_EVERY_NS + 5);
        watch.on_message(WALL + LOOK_EVERY_NS);
        assert_eq!(watch.begin(LOOK_EVERY_NS), 5);
    }
}
