//! Connections whose input waits for something: a queue for each cause, first in, first out.
//!
//! Nobody looks at them until their cause is gone. Those that wait for the ring share it by bytes: each round gives each of them
//! [`QUANTUM`] (deficit round robin; Shreedhar and Varghese, SIGCOMM 1995), so large messages do not take what small ones wait for.

use std::collections::VecDeque;

/// Bytes that each connection may put into the ring in a round.
pub const QUANTUM: usize = 64 << 10;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Room in the ring: its slowest reader makes it.
    Ring,
    /// The names of topics: another thread holds them, or the ring has no room for a new one.
    Names,
    /// The host, who takes its events.
    Host,
    /// The next turn: this one's budget is spent.
    Turn,
}

impl Cause {
    /// All causes.
    pub const ALL: [Cause; 4] = [Cause::Ring, Cause::Names, Cause::Host, Cause::Turn];
}

/// One connection in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Its slot.
    pub slot: u32,
    /// Its life.
    pub generation: u32,
    /// Bytes that it may still put into the ring in this round.
    pub deficit: usize,
    /// It was interrupted in its round, and goes on with it.
    pub goes_on: bool,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Waiters {
    queues: [VecDeque<Waiter>; Cause::ALL.len()],
}

impl Waiters {
    /// A connection waits.
    pub fn push(&mut self, cause: Cause, waiter: Waiter) {
        self.queues[cause as usize].push_back(waiter);
    }

    /// It is still its turn.
    pub fn push_front(&mut self, cause: Cause, waiter: Waiter) {
        self.queues[cause as usize].push_front(waiter);
    }

    /// The connection whose turn it is.
    pub fn pop(&mut self, cause: Cause) -> Option<Waiter> {
        self.queues[cause as usize].pop_front()
    }

    /// Takes the last of a queue out again, if it is this connection.
    pub fn take_last(&mut self, cause: Cause, slot: u32) -> bool {
        self.queues[cause as usize].pop_back_if(|w| w.slot == slot).is_some()
    }

    /// Number of those that wait.
    pub fn len(&self, cause: Cause) -> usize {
        self.queues[cause as usize].len()
    }

    /// True if nobody waits for this.
    pub fn is_empty(&self, cause: Cause) -> bool {
        self.queues[cause as usize].is_empty()
    }

    /// True if the first in a queue was interrupted in its round: nothing keeps it from going on.
    pub fn goes_on(&self, cause: Cause) -> bool {
        self.queues[cause as usize].front().is_some_and(|waiter| waiter.goes_on)
    }

    /// Forgets those that do not wait any more, once they may be as many as the others.
    pub fn prune(&mut self, slots: usize, waits: impl Fn(&Waiter) -> bool) {
        for queue in &mut self.queues {
            if queue.len() > slots + 64 {
                queue.retain(|waiter| waits(waiter));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(slot: u32) -> Waiter {
        Waiter { slot, generation: 0, deficit: 0, goes_on: false }
    }

    #[test]
    fn each_cause_has_its_own_order() {
        let mut waiters = Waiters::default();
        for slot in 0..4 {
            waiters.push(if slot % 2 == 0 { Cause::Ring } else { Cause::Turn }, waiter(slot));
        }
        assert_eq!(waiters.pop(Cause::Ring).map(|w| w.slot), Some(0));
        waiters.push(Cause::Ring, waiter(0));
        assert_eq!(waiters.pop(Cause::Ring).map(|w| w.slot), Some(2));
        waiters.push_front(Cause::Ring, waiter(2));
        assert_eq!(waiters.pop(Cause::Ring).map(|w| w.slot), Some(2));
        assert_eq!((waiters.len(Cause::Ring), waiters.len(Cause::Turn)), (1, 2));
        assert!(waiters.is_empty(Cause::Host) && waiters.pop(Cause::Names).is_none());
    }

    #[test]
    fn those_that_are_gone_do_not_pile_up() {
        let mut waiters = Waiters::default();
        for slot in 0..1_000 {
            waiters.push(Cause::Ring, waiter(slot));
            waiters.prune(10, |w| w.slot % 100 == 0);
        }
        assert!(waiters.len(Cause::Ring) <= 84);
    }
}
