//! What comes: greetings, records that are opened where they lie, ends.

use fanwire_tls::{Alert, HEADER_BYTES, Opened, PLAINTEXT_BYTES_MAX, record_bytes};

use super::session::{Grown, OWN_BUFFER};
use super::{ECONNRESET, ENOBUFS, EPROTO, Tls, session_of};
use crate::driver::{Driver, Event, RECV_HEADROOM, RecvBuf, Slot};

/// Why nothing more is opened.
enum Stop {
    /// The peer sends no more.
    Closed,
    /// It is to be told this, if anything; the shard is told the errno.
    Failed(i32, Option<Alert>),
}

impl<D: Driver> Tls<D> {
    /// Returns what it has cost.
    pub(super) fn on_received(&mut self, slot: Slot, mut buf: RecvBuf, events: &mut Vec<Event>) -> usize {
        let Some(session) = session_of(&mut self.sessions, slot) else {
            events.push(Event::Received { slot, buf });
            return 0;
        };
        if session.lingers_until > 0 || session.flags.has_ended {
            self.driver.give_back(buf);
            return 1;
        }
        if session.is_handshaking() {
            // Who says nothing has none.
            session.begin(|| self.acceptors.greet(&mut self.acceptor));
            let kept = session.handshake().is_some_and(|handshake| handshake.receive(buf.filled()).is_ok());
            let is_held = session.hold_handshake(&mut self.held);
            self.driver.give_back(buf);
            if kept && is_held {
                self.queue_greeting(slot);
            } else {
                self.fail(slot, EPROTO, None, events);
            }
            return 1;
        }
        let (cost, stop) = self.open_records(slot, &mut buf, events);
        if buf.start < buf.end {
            events.push(Event::Received { slot, buf });
        } else {
            self.driver.give_back(buf);
        }
        match stop {
            None => {}
            Some(Stop::Closed) => self.tell_end(slot, None, events),
            Some(Stop::Failed(errno, alert)) => self.fail(slot, errno, alert, events),
        }
        cost
    }

    fn queue_greeting(&mut self, slot: Slot) {
        self.greeting.push(slot.0);
        let Some(session) = session_of(&mut self.sessions, slot) else { return };
        if !std::mem::replace(&mut session.flags.is_held, true) && !session.flags.is_paused {
            self.driver.pause_recv(slot);
        }
    }

    /// Opens the records in `buf`, which is left with their content, one behind the other. A record that began earlier is
    /// lent in a buffer of its own, before.
    fn open_records(&mut self, slot: Slot, buf: &mut RecvBuf, events: &mut Vec<Event>) -> (usize, Option<Stop>) {
        let (begin, end) = (buf.start, buf.end);
        buf.end = begin;
        let Some(session) = session_of(&mut self.sessions, slot) else {
            return (1, None);
        };
        let Some((partial, connection)) = session.opening() else { return (1, None) };
        let is_13 = connection.is_13();
        let mut reader = match connection.reader() {
            Ok(reader) => reader,
            Err(alert) => return (1, Some(Stop::Failed(EPROTO, Some(alert)))),
        };
        let (mut at, mut cost) = (begin, 4 + 2 * ((end - begin) >> 10));
        while !partial.is_empty() && at < end {
            let mut front = &buf.bytes[at..end];
            let grown = partial.grow(&mut front, is_13, &mut self.held);
            at = end - front.len();
            match grown {
                Grown::Waits => break,
                Grown::NoMemory => return (cost, Some(Stop::Failed(ENOBUFS, Some(Alert::INTERNAL_ERROR)))),
                Grown::Wrong(alert) => return (cost, Some(Stop::Failed(EPROTO, Some(alert)))),
                Grown::Whole(mut own, length) => {
                    cost += 4;
                    let opened = reader.open(&mut own[RECV_HEADROOM..RECV_HEADROOM + length]);
                    if let Ok(Opened::Data(content)) = &opened {
                        let (start, end) = (RECV_HEADROOM + content.start, RECV_HEADROOM + content.end);
                        let buf = RecvBuf { bytes: own, start, end, id: OWN_BUFFER };
                        events.push(Event::Received { slot, buf });
                    } else {
                        self.held.give_back(own);
                    }
                    if let Some(stop) = stop_of(opened) {
                        return (cost, Some(stop));
                    }
                }
            }
        }
        while let Some(&head) = buf.bytes[at..end].first_chunk::<HEADER_BYTES>() {
            let length = match record_bytes(head, is_13) {
                Ok(length) => length,
                Err(alert) => return (cost, Some(Stop::Failed(EPROTO, Some(alert)))),
            };
            if length > end - at {
                break;
            }
            cost += 4;
            let opened = reader.open(&mut buf.bytes[at..at + length]);
            if let Ok(Opened::Data(content)) = &opened {
                let (from, to) = (at + content.start, at + content.end);
                if buf.start == buf.end {
                    (buf.start, buf.end) = (from, to);
                } else {
                    buf.bytes.copy_within(from..to, buf.end);
                    buf.end += to - from;
                }
            }
            at += length;
            if let Some(stop) = stop_of(opened) {
                return (cost, Some(stop));
            }
        }
        let mut left = &buf.bytes[at..end];
        let stop = if left.is_empty() { None } else { keep(partial.grow(&mut left, is_13, &mut self.held)) };
        (cost, stop)
    }

    /// Content that has come with the handshake.
    pub(super) fn lend(&mut self, slot: Slot, content: &[u8], events: &mut Vec<Event>) {
        for piece in content.chunks(PLAINTEXT_BYTES_MAX) {
            match self.held.lend(piece) {
                Some(buf) => events.push(Event::Received { slot, buf }),
                None => return self.fail(slot, ENOBUFS, Some(Alert::INTERNAL_ERROR), events),
            }
        }
    }

    /// The beginning of a record that has come with the handshake.
    pub(super) fn gather(&mut self, slot: Slot, mut bytes: &[u8], events: &mut Vec<Event>) {
        let Some(session) = session_of(&mut self.sessions, slot) else { return };
        let Some((partial, connection)) = session.opening() else { return };
        let is_13 = connection.is_13();
        if bytes.is_empty() {
            return;
        }
        if let Some(Stop::Failed(errno, alert)) = keep(partial.grow(&mut bytes, is_13, &mut self.held)) {
            self.fail(slot, errno, alert, events);
        }
    }

    pub(super) fn on_end(&mut self, slot: Slot, error: Option<i32>, events: &mut Vec<Event>) {
        match self.session(slot) {
            None => events.push(Event::End { slot, error }),
            Some(session) if session.lingers_until > 0 => {
                // It may still read what is left, unless it is gone.
                if error.is_some() {
                    self.drop_now(slot);
                }
            }
            Some(_) => self.tell_end(slot, error, events),
        }
    }

    pub(super) fn tell_end(&mut self, slot: Slot, error: Option<i32>, events: &mut Vec<Event>) {
        if let Some(session) = self.session(slot)
            && !std::mem::replace(&mut session.flags.has_ended, true)
        {
            events.push(Event::End { slot, error });
        }
    }

    /// The connection cannot go on: its peer is told, if it can be, and the shard.
    pub(super) fn fail(&mut self, slot: Slot, errno: i32, alert: Option<Alert>, events: &mut Vec<Event>) {
        self.say_failure(slot, alert);
        self.counts.failed += 1;
        if let Some(session) = session_of(&mut self.sessions, slot) {
            session.fail(&mut self.held);
        }
        self.tell_end(slot, Some(errno), events);
    }
}

fn stop_of(opened: Result<Opened, Alert>) -> Option<Stop> {
    match opened {
        Ok(Opened::Data(_) | Opened::Nothing) => None,
        Ok(Opened::CloseNotify) => Some(Stop::Closed),
        Ok(Opened::Fatal(_)) => Some(Stop::Failed(ECONNRESET, None)),
        Err(alert) => Some(Stop::Failed(EPROTO, Some(alert))),
    }
}

/// The end of a buffer is never a whole record.
fn keep(grown: Grown) -> Option<Stop> {
    match grown {
        Grown::Waits => None,
        Grown::NoMemory | Grown::Whole(..) => Some(Stop::Failed(ENOBUFS, Some(Alert::INTERNAL_ERROR))),
        Grown::Wrong(alert) => Some(Stop::Failed(EPROTO, Some(alert))),
    }
}
