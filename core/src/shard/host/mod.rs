//! The host's side: events that it has not taken yet, and the topics that it watches.
//!
//! Knows mailboxes. Nothing of the host's runs here.

pub mod gauges;
pub mod outlets;
mod shared;
mod tracer;

use std::collections::VecDeque;
use std::sync::Arc;

pub use gauges::Watch;
pub use outlets::{Outlets, Wanted};
pub use shared::{Command, Mailbox, ShardStats, Shared};
pub use tracer::Tracer;

use crate::event::Event;
use crate::ingest::Record;
use crate::traces::{TraceFlow, is_chosen};

/// See the module's head.
#[derive(Debug, Default)]
pub struct Host {
    /// Events that found no room in the mailbox, in order.
    waiting: VecDeque<Event>,
    /// Something was put into the mailbox since the bell rang.
    rang: bool,
    /// Topics that somebody asked about.
    pub watch: Watch,
    /// Where messages go beside the subscribers.
    pub outlets: Outlets,
    /// Who hears what befalls a sample of them.
    pub tracer: Option<Box<Tracer>>,
    /// There is an outlet, or a tracer.
    listens: bool,
    has_outlets: bool,
    /// The tracer's part of all messages, as chance is asked for it; 0 without one.
    chosen_below: u64,
}

impl Host {
    /// Whether messages go anywhere beside the subscribers.
    #[inline]
    pub fn listens(&self) -> bool {
        self.listens
    }

    /// Whether this message may go anywhere beside them, where anybody [`Host::listens`]. What its publisher says decides later.
    #[inline(always)]
    pub fn may_want(&self, record: &Record<'_>) -> bool {
        self.has_outlets || !record.attributes.is_empty() || is_chosen(record.position.0, self.chosen_below)
    }

    /// One more outlet.
    pub fn add_outlet(&mut self, wanted: Wanted) {
        self.outlets.add(wanted);
        self.note_listeners();
    }

    /// From now on a sample is told of.
    pub fn trace(&mut self, shard: u8, flow: Arc<TraceFlow>) {
        self.chosen_below = flow.chosen_below();
        self.tracer = Some(Box::new(Tracer::new(shard, flow)));
        self.note_listeners();
    }

    fn note_listeners(&mut self) {
        self.has_outlets = !self.outlets.is_empty();
        self.listens = self.has_outlets || self.tracer.is_some();
    }

    /// True while messages of the sample are not sent everywhere.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.tracer.as_ref().is_some_and(|tracer| tracer.has_unsent())
    }

    /// Rings where something goes beside the subscribers, and forgets what nobody takes any more.
    pub fn flush_listeners(&mut self) {
        self.outlets.flush();
        if self.tracer.take_if(|tracer| !tracer.flush()).is_some() {
            self.chosen_below = 0;
        }
        self.note_listeners();
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True while the host takes its events. While it does not, nobody new comes in and no request is looked at, for each
    /// would add events: so what waits stays bounded by what the open connections have still to say.
    pub fn keeps_up(&self, capacity: usize) -> bool {
        self.waiting.len() <= capacity
    }

    /// True if nothing waits, and the host has taken everything.
    pub fn has_taken_all(&self, mailbox: &Mailbox) -> bool {
        self.waiting.is_empty() && mailbox.events.is_empty()
    }

    /// Tells the host something, in order.
    pub fn tell(&mut self, mailbox: &Mailbox, event: Event) {
        self.rang = true;
        if !self.waiting.is_empty() {
            self.waiting.push_back(event);
        } else if let Err(event) = mailbox.events.push(event) {
            self.waiting.push_back(event);
        }
    }

    /// Hands over a message, if there is room for it behind everything else.
    ///
    /// # Errors
    /// The event comes back.
    pub fn hand_over(&mut self, mailbox: &Mailbox, event: Event) -> Result<(), Event> {
        if !self.waiting.is_empty() {
            return Err(event);
        }
        mailbox.events.push(event)?;
        self.rang = true;
        Ok(())
    }

    /// Moves what waits into the mailbox, as far as there is room; true if the bell is to ring.
    pub fn flush(&mut self, mailbox: &Mailbox) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(event) = mailbox.events.push(event) {
                self.waiting.push_front(event);
                break;
            }
            self.rang = true;
        }
        std::mem::take(&mut self.rang)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ConnectionId;

    fn event(n: u32) -> Event {
        Event::Closed { connection: ConnectionId::new(0, 0, n), code: 1000 }
    }

    #[test]
    fn events_keep_their_order_through_a_full_mailbox() {
        let (mailbox, mut host) = (Mailbox::new(1, 2), Host::default());
        (0..4).for_each(|n| host.tell(&mailbox, event(n)));
        assert_eq!((host.waiting(), host.keeps_up(1), host.keeps_up(2)), (2, false, true));
        assert!(host.hand_over(&mailbox, event(9)).is_err());
        let mut heard = Vec::new();
        while let Some(Event::Closed { connection, .. }) = mailbox.events.pop() {
            heard.push(connection.slot());
            let waits = host.waiting() > 0;
            assert_eq!(host.flush(&mailbox), waits || heard.len() == 1);
        }
        assert_eq!(heard, [0, 1, 2, 3]);
        assert!(host.has_taken_all(&mailbox) && !host.flush(&mailbox));
        assert!(host.hand_over(&mailbox, event(5)).is_ok() && !host.has_taken_all(&mailbox));
    }
}
