//! Publishing that waits for room, at most so long: the ring's own attempts, repeated when readers have released.
//!
//! Knows attempts and time; must never know where records lie.

use std::time::Duration;

use super::error::Refused;
use super::payload::Payload;
use super::readers::LOOK_WAIT_NS;
use super::record::{Head, Position};
use super::ring::Ring;

impl Ring {
    /// As [`Ring::try_publish`], but waits for room, at most `wait`.
    ///
    /// # Errors
    /// [`Refused`]; `Full` once the time is over.
    pub fn publish_timeout(&self, head: &Head, payload: &[u8], wait: Duration) -> Result<Position, Refused> {
        match self.try_publish(head, payload) {
            Err(Refused::Full) if !wait.is_zero() => self.wait_full(head, wait, || self.try_publish(head, payload)),
            done => done,
        }
    }

    /// As [`Ring::try_publish_with`], but waits for room, at most `wait`.
    ///
    /// # Errors
    /// [`Refused`]; `Full` once the time is over.
    pub fn publish_with_timeout(
        &self,
        head: &Head,
        attributes: &[u8],
        payload: &[u8],
        wait: Duration,
    ) -> Result<Position, Refused> {
        match self.try_publish_with(head, attributes, payload) {
            Err(Refused::Full) if !wait.is_zero() => {
                self.wait_full(head, wait, || self.try_publish_with(head, attributes, payload))
            }
            done => done,
        }
    }

    /// As [`Ring::try_publish_many`], but waits for room until all are accepted, at most `wait`. Returns how many were.
    ///
    /// # Errors
    /// [`Refused`] if not even the first was taken.
    pub fn publish_many_timeout(&self, head: &Head, payloads: &[&[u8]], wait: Duration) -> Result<usize, Refused> {
        let mut done = 0;
        let mut attempt = || -> Result<usize, Refused> {
            match self.try_publish_many(head, &payloads[done..]) {
                Ok(more) => done += more,
                Err(Refused::Full) => return Err(Refused::Full),
                Err(refused) if done == 0 => return Err(refused),
                // The next one can never be taken: what was accepted before is the answer.
                Err(_) => return Ok(done),
            }
            if done == payloads.len() { Ok(done) } else { Err(Refused::Full) }
        };
        match attempt() {
            Err(Refused::Full) if !wait.is_zero() => {
                let waited = self.wait_full(head, wait, &mut attempt);
                if done > 0 { Ok(done) } else { waited }
            }
            Err(Refused::Full) if done > 0 => Ok(done),
            first => first,
        }
    }

    /// As [`Ring::try_publish_shared_with`], but waits for room, at most `wait`.
    ///
    /// # Errors
    /// [`Refused`], and the payload back; `Full` once the time is over.
    pub fn publish_shared_timeout(
        &self,
        head: &Head,
        attributes: &[u8],
        payload: Payload,
        wait: Duration,
    ) -> Result<Position, (Refused, Payload)> {
        let payload = match self.try_publish_shared_with(head, attributes, payload) {
            Err((Refused::Full, payload)) if !wait.is_zero() => payload,
            done => return done,
        };
        let mut payload = Some(payload);
        let result = self.wait_full(head, wait, || {
            let taken = payload.take().ok_or(Refused::Stopped)?;
            self.try_publish_shared_with(head, attributes, taken).map_err(|(refused, back)| {
                payload = Some(back);
                refused
            })
        });
        match (result, payload) {
            (Ok(position), _) => Ok(position),
            (Err(refused), Some(payload)) => Err((refused, payload)),
            (Err(_), None) => unreachable!("a refused payload comes back"),
        }
    }

    /// Repeats `attempt` after each release of a reader that makes room, and every millisecond, until it gives something
    /// or `wait` is over: for what depends on more than the ring, such as the payload pool.
    pub fn retry_timeout<T>(&self, wait: Duration, attempt: impl FnMut() -> Option<T>) -> Option<T> {
        self.main.room.wait_for(wait, Some(Duration::from_millis(1)), attempt)
    }

    fn wait_full<T>(
        &self,
        head: &Head,
        wait: Duration,
        mut attempt: impl FnMut() -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        // Nobody makes room while a reader stands still: who waits looks from time to time.
        let look = self.watches_standstill().then_some(Duration::from_nanos(LOOK_WAIT_NS));
        let attempt = || match attempt() {
            Err(Refused::Full) => None,
            other => Some(other),
        };
        self.room_for(head).wait_for(wait, look, attempt).unwrap_or(Err(Refused::Full))
    }
}
