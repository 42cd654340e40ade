//! TLS, between a shard and its driver: `Tls<D>` is a [`Driver`] over another one.
//!
//! What a shard sends on a connection of a TLS listener is sealed here, what comes is opened; connections of other
//! listeners pass through. A shard does not know which are which.
//!
//! - `Accepted` passes at once: limits and deadlines hold from there, the handshake is within them.
//! - [`Sent::Bytes`] counts *content* that is taken. A record of which the socket took a part is kept until the socket
//!   takes the rest ([`Session::rest`]); records of which it took nothing are taken back and sealed again later.
//! - Before the handshake is done nothing can be sent ([`Sent::Failed`]): nobody is answered in plain text.
//! - Greetings cost much, so few are answered a turn, in the order in which they came.
//!
//! Knows slots, records, budgets. Must never know what is said.

mod acceptors;
mod hot_keys;
mod receive;
mod send;
mod session;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use fanwire_tls::{Acceptor, Alert, Progress};

pub use self::acceptors::Acceptors;
use self::hot_keys::HotKeys;
use self::session::{Held, Session};
use super::{Driver, DriverCounters, Event, RecvBuf, SendBatch, SendResults, Slot, SocketState, Wait, Wake, passes_on};
use crate::driver::EPROTO;
use crate::driver::slots::SlotQueue;

/// Greetings answered in one turn at most: each takes about 200 µs.
const HANDSHAKES_PER_TURN: usize = 2;
/// What opening may cost in one turn: a record 4, a KiB 2 (about 0.1 µs each).
const OPENING_PER_TURN: usize = 4_096;
/// How long a connection that the shard has closed may still take the rest of its last record.
const LINGER_NS: u64 = 5_000_000_000;

/// The errno of a connection whose input needs more memory than there is.
const ENOBUFS: i32 = 105;
/// The errno of a connection that is not there yet.
const ENOTCONN: i32 = 107;
/// The errno of a connection that its peer has given up.
const ECONNRESET: i32 = 104;

/// What a [`Tls`] is made with.
#[derive(Debug)]
pub struct TlsOptions {
    /// Which listeners speak TLS, by number.
    pub is_tls: Vec<bool>,
    /// What handshakes are done with.
    pub acceptors: Arc<Acceptors>,
    /// Slots of the driver below.
    pub slots: u32,
    /// Events of one turn at most.
    pub events_per_turn: usize,
    /// Memory for handshakes, records that are not whole, and rests of records.
    pub held_bytes_max: usize,
}

/// A connection's session, for whoever needs another part of [`Tls`] beside it.
fn session_of(sessions: &mut [Option<Box<Session>>], slot: Slot) -> Option<&mut Session> {
    sessions.get_mut(slot.0 as usize)?.as_deref_mut()
}

/// See the module's head.
pub struct Tls<D> {
    driver: D,
    is_tls: Vec<bool>,
    acceptors: Arc<Acceptors>,
    /// The acceptor as of this generation.
    acceptor: Option<(u64, Acceptor)>,
    events_per_turn: usize,
    /// By slot; `None`: a connection without TLS, or none.
    sessions: Vec<Option<Box<Session>>>,
    held: Held,
    /// What the driver has said, and was not looked at yet.
    inbox: VecDeque<Event>,
    fresh: Vec<Event>,
    /// What is to be said of what happened between turns.
    told: Vec<Event>,
    /// Connections whose handshake has input.
    greeting: SlotQueue,
    /// Connections that the shard has closed, with a rest to send, and until when they may.
    lingering: VecDeque<(u64, Slot)>,
    hot_keys: HotKeys,
    /// Sealed bytes of a batch.
    sealed: Vec<u8>,
    /// Handshakes completed, and connections given up.
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    handshakes: u64,
    failed: u64,
    /// What opening has cost in one turn, at most.
    opened_most: usize,
}

impl<D: Driver> Tls<D> {
    /// Nobody is there yet.
    pub fn new(driver: D, options: TlsOptions) -> Self {
        let TlsOptions { is_tls, acceptors, slots, events_per_turn, held_bytes_max } = options;
        Self {
            driver,
            is_tls,
            acceptors,
            acceptor: None,
            events_per_turn,
            sessions: Vec::new(),
            held: Held::new(held_bytes_max),
            inbox: VecDeque::new(),
            fresh: Vec::new(),
            told: Vec::new(),
            greeting: SlotQueue::new(slots),
            lingering: VecDeque::new(),
            hot_keys: HotKeys::default(),
            sealed: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn session(&mut self, slot: Slot) -> Option<&mut Session> {
        session_of(&mut self.sessions, slot)
    }

    fn on_accepted(&mut self, slot: Slot, listener: u16) {
        if !self.is_tls.get(listener as usize).copied().unwrap_or(false) {
            return;
        }
        if self.sessions.len() <= slot.0 as usize {
            self.sessions.resize_with(slot.0 as usize + 1, || None);
        }
        self.sessions[slot.0 as usize] = Some(Box::new(Session::new()));
    }

    /// Looks at what the driver has said, as far as the budgets go.
    fn look(&mut self, events: &mut Vec<Event>) {
        let (mut left, mut opened) = (OPENING_PER_TURN, 0);
        // One event of the driver becomes three at most.
        while left > 0 && events.len() + 3 <= self.events_per_turn {
            let Some(event) = self.inbox.pop_front() else { break };
            match event {
                Event::Accepted { listener, slot, .. } => {
                    self.on_accepted(slot, listener);
                    events.push(event);
                }
                Event::Received { slot, buf } => {
                    let cost = self.on_received(slot, buf, events);
                    (left, opened) = (left.saturating_sub(cost), opened + cost);
                }
                Event::End { slot, error } => self.on_end(slot, error, events),
                Event::Writable { slot } => self.on_writable(slot, events),
                Event::Woken | Event::Worn { .. } => events.push(event),
            }
        }
        self.counts.opened_most = self.counts.opened_most.max(opened);
    }

    /// Answers greetings, in the order in which they came.
    fn greet(&mut self, events: &mut Vec<Event>) {
        for _ in 0..HANDSHAKES_PER_TURN {
            if events.len() + 3 > self.events_per_turn {
                return;
            }
            let Some(slot) = self.greeting.pop() else { return };
            self.advance(Slot(slot), events);
        }
    }

    fn advance(&mut self, slot: Slot, events: &mut Vec<Event>) {
        let Some(session) = session_of(&mut self.sessions, slot) else { return };
        let Some(handshake) = session.take_handshake() else { return };
        session.hold(&mut self.held, 0);
        match handshake.advance(&mut session.rest) {
            Progress::Waits(handshake) => {
                let is_held = session.keep_handshake(handshake, &mut self.held);
                self.flush_greeting(slot);
                if is_held {
                    self.release(slot);
                } else {
                    self.fail(slot, ENOBUFS, None, events);
                }
            }
            Progress::Failed(error) => {
                tracing::debug!("connection in slot {}: the TLS handshake has failed: {error}", slot.0);
                self.fail(slot, EPROTO, None, events);
            }
            Progress::Done(established) => {
                if !session.open(established.connection, established.subject, &mut self.held) {
                    return self.fail(slot, ENOBUFS, Some(Alert::INTERNAL_ERROR), events);
                }
                self.counts.handshakes += 1;
                self.flush_greeting(slot);
                self.release(slot);
                self.lend(slot, &established.received, events);
                self.gather(slot, &established.rest, events);
                if established.has_ended {
                    self.tell_end(slot, None, events);
                }
            }
        }
    }

    /// Input is taken again, unless the shard wants none.
    fn release(&mut self, slot: Slot) {
        if let Some(session) = session_of(&mut self.sessions, slot)
            && std::mem::replace(&mut session.flags.is_held, false)
            && !session.flags.is_paused
        {
            self.driver.resume_recv(slot);
        }
    }

    fn end_lingering(&mut self) {
        let now_ns = self.driver.now_ns();
        while let Some(&(until_ns, slot)) = self.lingering.front()
            && until_ns <= now_ns
        {
            self.lingering.pop_front();
            if self.session(slot).is_some_and(|session| session.lingers_until == until_ns) {
                self.drop_now(slot);
            }
        }
    }

    /// Forgets the connection, and closes it below.
    fn drop_now(&mut self, slot: Slot) {
        if let Some(mut session) = self.sessions.get_mut(slot.0 as usize).and_then(Option::take) {
            session.fail(&mut self.held);
        }
        self.driver.close(slot);
    }

    fn has_work(&self) -> bool {
        !self.inbox.is_empty() || !self.greeting.is_empty() || !self.told.is_empty()
    }

    fn wait_of(&self, wait: Wait) -> Wait {
        let lingers = self.lingering.front().map(|(until_ns, _)| *until_ns);
        match (wait, lingers.into_iter().chain(self.hot_keys.next_ns()).min()) {
            _ if self.has_work() => Wait::No,
            (Wait::Until(ns), Some(own_ns)) => Wait::Until(ns.min(own_ns)),
            (wait, _) => wait,
        }
    }
}

impl<D: Driver> Driver for Tls<D> {
    passes_on!(driver);

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        let wait = self.wait_of(wait);
        let begin = events.len();
        let mut own = std::mem::take(&mut self.fresh);
        if self.inbox.is_empty() {
            // Also where greetings wait: others are served between them.
            let turned = self.driver.turn(wait, &mut own);
            self.inbox.extend(own.drain(..));
            if turned.is_err() {
                self.fresh = own;
                return turned;
            }
        }
        own.append(&mut self.told);
        self.greet(&mut own);
        self.look(&mut own);
        self.end_lingering();
        self.hot_keys.forget_idle(&mut self.sessions, self.driver.now_ns());
        events.append(&mut own);
        self.fresh = own;
        debug_assert!(events.len() - begin <= self.events_per_turn + 64);
        Ok(())
    }

    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        self.send_sealed(batch, results);
    }

    fn want_writable(&mut self, slot: Slot) {
        if let Some(session) = self.session(slot) {
            session.flags.is_wanted = true;
        }
        self.driver.want_writable(slot);
    }

    fn pause_recv(&mut self, slot: Slot) {
        let is_held = self.session(slot).is_some_and(|session| {
            session.flags.is_paused = true;
            session.flags.is_held
        });
        if !is_held {
            self.driver.pause_recv(slot);
        }
    }

    fn resume_recv(&mut self, slot: Slot) {
        let is_held = self.session(slot).is_some_and(|session| {
            session.flags.is_paused = false;
            session.flags.is_held
        });
        if !is_held {
            self.driver.resume_recv(slot);
        }
    }

    fn give_back(&mut self, buf: RecvBuf) {
        if buf.id == session::OWN_BUFFER {
            self.held.give_back(buf.bytes);
        } else {
            self.driver.give_back(buf);
        }
    }

    fn shutdown_write(&mut self, slot: Slot) {
        match self.session(slot) {
            Some(_) => self.say_close(slot),
            None => self.driver.shutdown_write(slot),
        }
    }

    fn take_subject(&mut self, slot: Slot) -> Option<Box<str>> {
        session_of(&mut self.sessions, slot)?.take_subject(&mut self.held)
    }

    fn close(&mut self, slot: Slot) {
        let until_ns = self.driver.now_ns() + LINGER_NS;
        match self.session(slot) {
            // What the shard has sent arrives, as it would from a socket's own memory.
            Some(session) if session.has_rest() && session.is_open() => {
                session.lingers_until = until_ns;
                self.lingering.push_back((until_ns, slot));
                self.driver.want_writable(slot);
            }
            _ => self.drop_now(slot),
        }
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters {
            tls_handshakes: self.counts.handshakes,
            tls_failed: self.counts.failed,
            tls_bytes: self.held.bytes() as u64,
            tls_bytes_max: self.held.most() as u64,
            ..self.driver.counters()
        }
    }
}
