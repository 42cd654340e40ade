//! Job: when a connection is to be pinged, and when its silence means that nobody is there any more.
//! Knows: spans and instants (time is an argument). Must never know: sockets, frames.

use std::time::{Duration, Instant};

use crate::clock;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Send a ping: nothing has been heard for long.
    Ping,
    /// Send a pong that nobody asked for: the server must hear something, but its answer could not be read now.
    Pong,
    /// Give up: the ping was not answered.
    Dead,
}

/// The silence of the other side. What this side did not read, or the other had no room to be sent, is no silence.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    /// `None`: nothing is ever pinged.
    every: Option<Duration>,
    /// When the other side last gave a sign of life, or this side began to wait for one.
    heard: Instant,
    /// When it was pinged since.
    pinged: Option<Instant>,
    /// The last pong without a ping.
    spoke: Instant,
    was_reading: bool,
}

impl Liveness {
    /// A connection that was heard at `now`. `every`: silence after which it is pinged, and again as long for the answer; zero
    /// never pings.
    pub fn new(every: Duration, now: Instant) -> Self {
        let every = (!every.is_zero()).then_some(every);
        Liveness { every, heard: now, pinged: None, spoke: now, was_reading: true }
    }

    /// Something came, or a full socket took bytes again.
    pub fn on_sign(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// When there is next something to do, as far as can be known now.
    pub fn next(&self) -> Option<Instant> {
        let from = if self.was_reading { self.pinged.unwrap_or(self.heard) } else { self.spoke };
        self.every.map(|every| clock::after(from, every))
    }

    /// What is due. To be asked after what has arrived was read, so that nobody is given up whose answer waits.
    pub fn look(&mut self, now: Instant, is_reading: bool) -> Due {
        if is_reading != self.was_reading {
            self.was_reading = is_reading;
            self.spoke = now;
            self.on_sign(now);
        }
        if self.next().is_none_or(|next| now < next) {
            return Due::Nothing;
        }
        if !is_reading {
            self.spoke = now;
            return Due::Pong;
        }
        if self.pinged.is_some() {
            return Due::Dead;
        }
        self.pinged = Some(now);
        Due::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(15);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_is_pinged_and_silence_after_that_is_the_end() {
        let t0 = clock::now();
        let mut link = Liveness::new(EVERY, t0);
        assert_eq!(link.look(after(t0, 14), true), Due::Nothing);
        assert_eq!(link.next(), Some(after(t0, 15)));
        assert_eq!(link.look(after(t0, 15), true), Due::Ping);
        assert_eq!(link.look(after(t0, 29), true), Due::Nothing);
        assert_eq!(link.look(after(t0, 30), true), Due::Dead);
    }

    #[test]
    fn an_answer_begins_anew() {
        let t0 = clock::now();
        let mut link = Liveness::new(EVERY, t0);
        assert_eq!(link.look(after(t0, 15), true), Due::Ping);
        link.on_sign(after(t0, 20));
        assert_eq!(link.look(after(t0, 34), true), Due::Nothing);
        assert_eq!(link.look(after(t0, 35), true), Due::Ping);
    }

    #[test]
    fn who_does_not_read_calls_nobody_silent_but_says_that_it_lives() {
        let t0 = clock::now();
        let mut link = Liveness::new(EVERY, t0);
        assert_eq!(link.look(after(t0, 15), true), Due::Ping);
        assert_eq!(link.look(after(t0, 16), false), Due::Nothing);
        for round in 1..10 {
            assert_eq!(link.look(after(t0, 16 + 15 * round), false), Due::Pong);
            assert_eq!(link.look(after(t0, 16 + 15 * round), false), Due::Nothing);
        }
        // Reading again: from here on it can be judged.
        assert_eq!(link.look(after(t0, 200), true), Due::Nothing);
        assert_eq!(link.look(after(t0, 215), true), Due::Ping);
        assert_eq!(link.look(after(t0, 230), true), Due::Dead);
    }

    #[test]
    fn zero_never_pings() {
        let t0 = clock::now();
        let mut link = Liveness::new(Duration::ZERO, t0);
        assert_eq!((link.next(), link.look(after(t0, 1 << 30), true)), (None, Due::Nothing));
    }
}
