//! The shard's end of traces: which messages and connections are in the sample, and what is to be told of them still.
//!
//! Bounded: so many messages that are not sent everywhere yet, so many connections that are open; what is beyond is not told, and
//! counted. Must never read a clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::event::Protocol;
use crate::ingest::Record;
use crate::proto::traceparent::TraceParent;
use crate::traces::{TraceEvent, TraceFlow, Traced, TracedConnection, TracedMessage};
use crate::types::ConnectionId;

/// Messages of the sample that a shard has read and not sent everywhere yet.
const UNSENT_MAX: usize = 64;
/// Connections of the sample that are open on a shard: 64 bytes or so each.
const CONNECTIONS_MAX: usize = 4_096;

/// A message that is not sent everywhere yet.
#[derive(Debug)]
struct Unsent {
    message: TracedMessage,
    subscribers: u32,
    /// When sending began; 0: not yet.
    begin_ns: u64,
}

/// A connection that is open.
#[derive(Debug)]
struct Open {
    begin_ns: u64,
    peer: Option<SocketAddr>,
    protocol: Protocol,
}

/// See the module's head. All times by the wall clock.
#[derive(Debug)]
pub struct Tracer {
    shard: u8,
    flow: Arc<TraceFlow>,
    unsent: Vec<Unsent>,
    open: HashMap<ConnectionId, Open>,
    rang: bool,
}

impl Tracer {
    /// For a shard whose host wants to hear.
    pub fn new(shard: u8, flow: Arc<TraceFlow>) -> Self {
        Self { shard, flow, unsent: Vec::new(), open: HashMap::new(), rang: false }
    }

    /// Whether a message is in the sample, and what it says of its trace.
    #[inline]
    pub fn chooses(&self, record: &Record<'_>) -> Option<Option<TraceParent>> {
        match record.attributes {
            [] => self.flow.chooses(record.position.0).then_some(None),
            attributes => match TraceParent::of_attributes(attributes) {
                None => self.flow.chooses(record.position.0).then_some(None),
                parent => parent.is_some_and(|parent| parent.is_sampled()).then_some(parent),
            },
        }
    }

    /// A message of the sample was read, published at `begin_ns`, for so many subscribers of this shard.
    pub fn on_message(&mut self, message: TracedMessage, subscribers: u32, begin_ns: u64, now_ns: u64) {
        // One shard tells for all: the first.
        if self.shard == 0 {
            self.tell(begin_ns, now_ns, Traced::Published(message.clone()));
        }
        if subscribers > 0 && self.unsent.len() < UNSENT_MAX {
            self.unsent.push(Unsent { message, subscribers, begin_ns: 0 });
        } else if subscribers > 0 {
            self.flow.lose();
        }
    }

    /// True while messages of the sample are not sent everywhere.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sending begins.
    pub fn on_sending(&mut self, now_ns: u64) {
        self.unsent.iter_mut().filter(|unsent| unsent.begin_ns == 0).for_each(|unsent| unsent.begin_ns = now_ns);
    }

    /// Everything is sent that can be.
    pub fn on_all_sent(&mut self, now_ns: u64) {
        let mut unsent = std::mem::take(&mut self.unsent);
        for Unsent { message, subscribers, begin_ns } in unsent.drain(..) {
            // Of a subscriber that wants few messages a second nothing is sent now.
            let begin_ns = if begin_ns == 0 { now_ns } else { begin_ns };
            self.tell(begin_ns, now_ns, Traced::Delivered(message, subscribers));
        }
        self.unsent = unsent;
    }

    /// A connection has opened. `now_ns` is asked for where it is in the sample.
    pub fn on_opened(
        &mut self,
        id: ConnectionId,
        peer: Option<SocketAddr>,
        protocol: Protocol,
        now_ns: impl FnOnce() -> u64,
    ) {
        if !self.flow.chooses(id.to_u64()) {
            return;
        }
        if self.open.len() >= CONNECTIONS_MAX {
            return self.flow.lose();
        }
        self.open.insert(id, Open { begin_ns: now_ns(), peer, protocol });
    }

    /// A connection is gone. `now_ns` is asked for where that is to be told.
    pub fn on_closed(&mut self, id: ConnectionId, code: u16, now_ns: impl FnOnce() -> u64) {
        if let Some(Open { begin_ns, peer, protocol }) = self.open.remove(&id) {
            self.tell(begin_ns, now_ns(), Traced::Connected(TracedConnection { id, peer, protocol, code }));
        }
    }

    fn tell(&mut self, begin_ns: u64, end_ns: u64, what: Traced) {
        self.rang = true;
        // A clock that was set back meanwhile makes nothing end before it began.
        self.flow.push(TraceEvent { shard: self.shard, begin_ns, end_ns: end_ns.max(begin_ns), what });
    }

    /// Rings if there is something new. False: the host does not want to hear any more.
    pub fn flush(&mut self) -> bool {
        if std::mem::take(&mut self.rang) {
            self.flow.ring();
        }
        !self.flow.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::{Traces, TracesConfig};
    use crate::types::{Kind, Priority};

    fn tracer(shard: u8) -> (Tracer, Traces) {
        let flow = Arc::new(TraceFlow::new(&TracesConfig { sample: 1.0, events_max: 10_000 }).expect("an eventfd"));
        let traces = Traces::new(flow.clone(), &Arc::default()).expect("the first");
        (Tracer::new(shard, flow), traces)
    }

    fn message(id: u64) -> TracedMessage {
        let (topic, priority, kind) = ("t".into(), Priority::Normal, Kind::Text);
        TracedMessage { id, topic, priority, seq: id, kind, bytes: 1, from: None, parent: None }
    }

    fn heard(traces: &mut Traces) -> Vec<TraceEvent> {
        std::iter::from_fn(|| traces.next()).collect()
    }

    #[test]
    fn messages_that_are_not_sent_have_a_limit_and_one_more_is_lost() {
        let (mut tracer, mut traces) = tracer(1);
        for id in 1..=UNSENT_MAX as u64 + 1 {
            tracer.on_message(message(id), 1, 10, 20);
        }
        // Whom nobody wants is not waited for.
        tracer.on_message(message(99), 0, 10, 20);
        assert_eq!((heard(&mut traces).len(), traces.lost(), tracer.has_unsent()), (0, 1, true));
        tracer.on_sending(30);
        tracer.on_all_sent(40);
        let events = heard(&mut traces);
        assert_eq!(events.len(), UNSENT_MAX);
        let what = Traced::Delivered(message(1), 1);
        assert_eq!(events[0], TraceEvent { shard: 1, begin_ns: 30, end_ns: 40, what });
        assert!(!tracer.has_unsent());
        tracer.on_message(message(100), 2, 10, 20);
        // Nothing is sent now, and the clock was set back.
        tracer.on_all_sent(15);
        let what = Traced::Delivered(message(100), 2);
        assert_eq!(heard(&mut traces), [TraceEvent { shard: 1, begin_ns: 15, end_ns: 15, what }]);
        assert!(tracer.flush());
        drop(traces);
        assert!(!tracer.flush(), "nobody hears any more");
    }

    #[test]
    fn the_first_shard_alone_tells_of_a_publication() {
        let (mut first, mut traces) = tracer(0);
        first.on_message(message(1), 0, 10, 20);
        let what = Traced::Published(message(1));
        assert_eq!(heard(&mut traces), [TraceEvent { shard: 0, begin_ns: 10, end_ns: 20, what }]);
    }

    #[test]
    fn connections_have_a_limit_and_one_more_is_lost() {
        let (mut tracer, mut traces) = tracer(0);
        let id = |slot: usize| ConnectionId::new(0, 1, slot as u32);
        for slot in 0..=CONNECTIONS_MAX {
            tracer.on_opened(id(slot), None, Protocol::Raw, || 10);
        }
        assert_eq!(traces.lost(), 1);
        tracer.on_closed(id(CONNECTIONS_MAX), 1000, || panic!("it is not told of"));
        tracer.on_closed(id(0), 1001, || 20);
        let connection = TracedConnection { id: id(0), peer: None, protocol: Protocol::Raw, code: 1001 };
        let what = Traced::Connected(connection);
        assert_eq!(heard(&mut traces), [TraceEvent { shard: 0, begin_ns: 10, end_ns: 20, what }]);
        tracer.on_opened(id(CONNECTIONS_MAX), None, Protocol::Raw, || 30);
        assert_eq!(traces.lost(), 1);
    }
}
