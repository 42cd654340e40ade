//! What goes out: a batch is sealed, sent, and its answers put into terms of content.

use std::io::IoSlice;
use std::ops::Range;

use arrayvec::ArrayVec;
use fanwire_tls::{Alert, PLAINTEXT_BYTES_MAX, Sealed};

use super::session::Session;
use super::{ENOTCONN, EPROTO, Tls, session_of};
use crate::driver::{Driver, Event, SEND_BATCH_OPS, SendBatch, SendResults, Sent, Slot};

/// Content sealed for one connection in one send at most.
pub(super) const CONTENT_PER_SEND: usize = 256 << 10;
/// What is sealed before it is sent, of a whole batch: the last one may exceed it.
const SEALED_AT_ONCE: usize = 256 << 10;
/// Content of a record for a connection that takes little: so much is kept of it at most.
pub(super) const SLOW_RECORD: usize = 4 << 10;
/// Content sealed for such a connection in one send.
pub(super) const SLOW_CONTENT: usize = 64 << 10;

/// One send of a batch.
enum Plan {
    /// As it is.
    Plain,
    /// Where its records are, what is in them, and how much was asked for.
    Sealed { at: Range<usize>, sealed: Sealed, asked: usize },
    /// Answered already.
    Answered(Sent),
}

/// How sending a rest has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushed {
    /// All of it is sent.
    All,
    /// The socket takes no more.
    Blocked,
    Failed(i32),
}

impl<D: Driver> Tls<D> {
    pub(super) fn send_sealed(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        if !batch.iter().any(|(slot, _)| self.session(slot).is_some()) {
            self.driver.send(batch, results);
            return;
        }
        results.clear();
        let ops: ArrayVec<_, SEND_BATCH_OPS> = batch.iter().collect();
        let mut left = &ops[..];
        while !left.is_empty() {
            let mut plans = ArrayVec::<Plan, SEND_BATCH_OPS>::new();
            self.sealed.clear();
            while plans.len() < left.len() && self.sealed.len() < SEALED_AT_ONCE {
                let (slot, parts) = left[plans.len()];
                plans.push(self.plan(slot, parts));
            }
            let (now, later) = left.split_at(plans.len());
            self.send_plans(now, &plans, results);
            left = later;
        }
    }

    fn plan(&mut self, slot: Slot, parts: &[IoSlice<'_>]) -> Plan {
        match self.session(slot) {
            None => return Plan::Plain,
            Some(session) if !session.is_open() => return Plan::Answered(Sent::Failed(ENOTCONN)),
            Some(session) => {
                let mut rest = std::mem::take(&mut session.rest);
                let renewed = session.connection().map(|connection| connection.renew(&mut rest));
                session.rest = rest;
                if let Some(Err(_)) = renewed {
                    return Plan::Answered(Sent::Failed(EPROTO));
                }
            }
        }
        match self.flush(slot) {
            Flushed::All => {}
            Flushed::Blocked => return Plan::Answered(Sent::Blocked),
            Flushed::Failed(errno) => return Plan::Answered(Sent::Failed(errno)),
        }
        let now_ns = self.driver.now_ns();
        let Some(session) = session_of(&mut self.sessions, slot) else {
            return Plan::Plain;
        };
        self.hot_keys.on_seal(slot, session, now_ns);
        let is_slow = session.flags.is_slow;
        let (most, record) =
            if is_slow { (SLOW_CONTENT, SLOW_RECORD) } else { (CONTENT_PER_SEND, PLAINTEXT_BYTES_MAX) };
        let Some(connection) = session.connection() else { return Plan::Answered(Sent::Failed(ENOTCONN)) };
        let begin = self.sealed.len();
        let sealed = connection.seal(parts.iter().map(|part| &**part), most, record, &mut self.sealed);
        if connection.is_worn() && !std::mem::replace(&mut session.flags.was_called_worn, true) {
            self.told.push(Event::Worn { slot });
        }
        if sealed.content == 0 {
            return Plan::Answered(Sent::Failed(EPROTO));
        }
        Plan::Sealed { at: begin..self.sealed.len(), sealed, asked: parts.iter().map(|part| part.len()).sum() }
    }

    fn send_plans(&mut self, ops: &[(Slot, &[IoSlice<'_>])], plans: &[Plan], results: &mut SendResults) {
        let mut below = SendBatch::new();
        for ((slot, parts), plan) in ops.iter().zip(plans) {
            match plan {
                Plan::Plain => below.push(*slot, parts),
                Plan::Sealed { at, .. } => below.push_one(*slot, &self.sealed[at.clone()]),
                Plan::Answered(_) => {}
            }
        }
        let mut answers = SendResults::new();
        if !below.is_empty() {
            self.driver.send(&below, &mut answers);
        }
        drop(below);
        let mut answers = answers.into_iter();
        for ((slot, _), plan) in ops.iter().zip(plans) {
            results.push(match plan {
                Plan::Answered(sent) => *sent,
                Plan::Plain => answers.next().unwrap_or(Sent::Blocked),
                Plan::Sealed { at, sealed, asked } => {
                    let sent = answers.next().unwrap_or(Sent::Blocked);
                    self.on_sent(*slot, at.clone(), *sealed, *asked, sent)
                }
            });
        }
    }

    /// What an answer means in content. What the socket has begun to take has to follow; all else is taken back.
    fn on_sent(&mut self, slot: Slot, at: Range<usize>, sealed: Sealed, asked: usize, sent: Sent) -> Sent {
        let Some(session) = session_of(&mut self.sessions, slot) else { return sent };
        let Some(connection) = session.connection() else { return sent };
        let taken = match sent {
            Sent::Bytes(taken) if taken == at.len() => {
                session.flags.is_slow &= sealed.content < asked;
                return Sent::Bytes(sealed.content);
            }
            Sent::Bytes(taken) => taken,
            Sent::Blocked => {
                connection.take_back(sealed.records);
                session.flags.is_slow = true;
                return Sent::Blocked;
            }
            Sent::Failed(errno) => return Sent::Failed(errno),
        };
        let record = sealed.record_content + connection.overhead();
        let begun = taken.div_ceil(record);
        connection.take_back(sealed.records - begun);
        let end = (begun * record).min(at.len());
        session.flags.is_slow = true;
        if taken < end {
            if !session.keep_rest(&self.sealed[at.start + taken..at.start + end], &mut self.held) {
                // As where the budget for half-sent frames is spent: who takes so little has to go.
                session.fail(&mut self.held);
                return Sent::Failed(super::ENOBUFS);
            }
            self.driver.want_writable(slot);
        }
        Sent::Bytes((begun * sealed.record_content).min(sealed.content))
    }

    /// Sends what is left of a record.
    fn flush(&mut self, slot: Slot) -> Flushed {
        let Some(session) = session_of(&mut self.sessions, slot) else {
            return Flushed::All;
        };
        if !session.has_rest() || session.flags.is_shut {
            return Flushed::All;
        }
        let mut results = SendResults::new();
        {
            let mut batch = SendBatch::new();
            batch.push_one(slot, &session.rest[session.rest_at..]);
            self.driver.send(&batch, &mut results);
        }
        match results.first() {
            Some(Sent::Bytes(taken)) if session.on_rest_sent(*taken, &mut self.held) => Flushed::All,
            Some(Sent::Failed(errno)) => Flushed::Failed(*errno),
            _ => {
                self.driver.want_writable(slot);
                Flushed::Blocked
            }
        }
    }

    /// Sends what the handshake has to say.
    pub(super) fn flush_greeting(&mut self, slot: Slot) {
        if self.flush(slot) == Flushed::Blocked
            && let Some(session) = session_of(&mut self.sessions, slot)
        {
            // What does not fit is little, and soon sent or given up.
            session.hold_handshake(&mut self.held);
        }
    }

    pub(super) fn on_writable(&mut self, slot: Slot, events: &mut Vec<Event>) {
        if self.session(slot).is_none() {
            events.push(Event::Writable { slot });
            return;
        }
        let flushed = self.flush(slot);
        let Some(session) = self.session(slot) else { return };
        if session.lingers_until > 0 {
            if flushed != Flushed::Blocked {
                self.drop_now(slot);
            }
            return;
        }
        if flushed == Flushed::Blocked {
            return;
        }
        let is_wanted = std::mem::take(&mut session.flags.is_wanted);
        if std::mem::take(&mut session.flags.shuts_down) {
            session.flags.is_shut = true;
            self.driver.shutdown_write(slot);
        }
        // Where the socket has failed, the next send says so.
        if is_wanted {
            events.push(Event::Writable { slot });
        }
    }

    /// `close_notify`, behind what is left of a record; then FIN.
    pub(super) fn say_close(&mut self, slot: Slot) {
        if let Some(session) = self.session(slot) {
            append_alert(session, Alert::CLOSE_NOTIFY);
        }
        match self.flush(slot) {
            Flushed::Blocked => {
                if let Some(session) = self.session(slot) {
                    session.flags.shuts_down = true;
                }
            }
            _ => {
                if let Some(session) = self.session(slot) {
                    session.flags.is_shut = true;
                }
                self.driver.shutdown_write(slot);
            }
        }
    }

    /// The alert, if the socket takes it at once: nobody waits for a peer that has failed.
    pub(super) fn say_failure(&mut self, slot: Slot, alert: Option<Alert>) {
        let Some(session) = self.session(slot) else { return };
        if session.flags.is_shut {
            return;
        }
        if let Some(alert) = alert {
            append_alert(session, alert);
        }
        self.flush(slot);
    }
}

fn append_alert(session: &mut Session, alert: Alert) {
    let mut rest = std::mem::take(&mut session.rest);
    if let Some(connection) = session.connection() {
        connection.seal_alert(alert, &mut rest);
    }
    session.rest = rest;
}
