//! Job: the engine's events as spans: which trace each belongs to, whose child it is, what it is called.
//! Knows: W3C Trace Context, OpenTelemetry's conventions for messaging. Must never know: where spans go.
//!
//! All shards tell of one message by one number, and the names of its trace and spans follow from that number and a secret of this
//! process: so nobody has to tell anybody anything for a trace to be whole.

use std::hash::{BuildHasher, RandomState};

use fanwire::proto::traceparent::TraceParent;
use fanwire::{TraceEvent, Traced, TracedConnection, TracedMessage};

/// What a span is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It serves somebody.
    Server,
    /// It hands something to others.
    Producer,
    /// It takes what somebody has handed over.
    Consumer,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

/// A span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: u128,
    /// Its own name.
    pub id: u64,
    /// Whose child it is.
    pub parent: Option<u64>,
    /// What it is called.
    pub name: String,
    /// What it is to others.
    pub role: Role,
    /// Since the Unix epoch.
    pub begin_ns: u64,
    /// The same.
    pub end_ns: u64,
    /// What is said of it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// Names of traces and spans.
#[derive(Debug, Default)]
pub struct Ids {
    /// The secret of this process.
    secret: RandomState,
}

/// What a number is made a name of.
#[derive(Clone, Copy, Hash)]
enum Of {
    Instance,
    TraceHigh,
    TraceLow,
    Publish,
    Delivery(u8),
    Connection,
}

impl Ids {
    /// The name of this process among others.
    pub fn instance(&self) -> u64 {
        self.name(Of::Instance, 0)
    }

    /// The span of an event.
    pub fn span_of(&self, event: &TraceEvent) -> Span {
        let &TraceEvent { shard, begin_ns, end_ns, ref what } = event;
        let (shard_is, text) =
            (("fanwire.shard", Value::Number(shard.into())), |text: &str| Value::Text(text.to_owned()));
        match what {
            Traced::Published(message) => {
                let mut attributes = of_message(message);
                attributes.push(("messaging.operation.type", text("send")));
                Span {
                    trace: self.trace_of(message),
                    id: self.name(Of::Publish, message.id),
                    parent: message.parent.map(|TraceParent { span, .. }| u64::from_be_bytes(span)),
                    name: format!("send {}", message.topic),
                    role: Role::Producer,
                    begin_ns,
                    end_ns,
                    attributes,
                }
            }
            Traced::Delivered(message, subscribers) => {
                let mut attributes = of_message(message);
                attributes.push(("messaging.operation.type", text("process")));
                attributes.push(("fanwire.subscribers", Value::Number((*subscribers).into())));
                attributes.push(shard_is);
                Span {
                    trace: self.trace_of(message),
                    id: self.name(Of::Delivery(shard), message.id),
                    parent: Some(self.name(Of::Publish, message.id)),
                    name: format!("deliver {}", message.topic),
                    role: Role::Consumer,
                    begin_ns,
                    end_ns,
                    attributes,
                }
            }
            Traced::Connected(TracedConnection { id, peer, protocol, code }) => {
                let number = id.to_u64();
                let mut attributes = vec![
                    ("fanwire.connection", text(&id.to_string())),
                    ("fanwire.subprotocol", text(if protocol.name().is_empty() { "raw" } else { protocol.name() })),
                    ("fanwire.close_code", Value::Number((*code).into())),
                    shard_is,
                ];
                if let Some(peer) = peer {
                    attributes.push(("network.peer.address", text(&peer.ip().to_string())));
                    attributes.push(("network.peer.port", Value::Number(peer.port().into())));
                }
                Span {
                    trace: self.trace(Of::Connection, number),
                    id: self.name(Of::Connection, number),
                    parent: None,
                    name: "connection".to_owned(),
                    role: Role::Server,
                    begin_ns,
                    end_ns,
                    attributes,
                }
            }
        }
    }

    /// The trace that a publisher names, or one of its own.
    fn trace_of(&self, message: &TracedMessage) -> u128 {
        match message.parent {
            Some(TraceParent { trace, .. }) => u128::from_be_bytes(trace),
            None => self.trace(Of::Publish, message.id),
        }
    }

    fn trace(&self, of: Of, number: u64) -> u128 {
        let half = |half: Of| self.secret.hash_one((half, of, number));
        u128::from(half(Of::TraceHigh)) << 64 | u128::from(half(Of::TraceLow).max(1))
    }

    /// Never 0, which names nothing.
    fn name(&self, of: Of, number: u64) -> u64 {
        self.secret.hash_one((of, number)).max(1)
    }
}

fn of_message(message: &TracedMessage) -> Vec<(&'static str, Value)> {
    let TracedMessage { topic, priority, seq, kind, bytes, from, .. } = message;
    let mut attributes = vec![
        ("messaging.system", Value::Text("fanwire".to_owned())),
        ("messaging.destination.name", Value::Text(topic.to_string())),
        ("messaging.message.id", Value::Text(format!("{priority}/{seq}"))),
        ("messaging.message.body.size", Value::Number(*bytes as u64)),
        ("fanwire.priority", Value::Text(priority.to_string())),
        ("fanwire.kind", Value::Text(format!("{kind:?}").to_lowercase())),
    ];
    if let Some(from) = from {
        attributes.push(("fanwire.connection", Value::Text(from.to_string())));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use fanwire::{Kind, Priority};

    use super::*;

    fn event(shard: u8, id: u64, parent: Option<TraceParent>, delivered: bool) -> TraceEvent {
        let (topic, priority, kind) = ("a/b".into(), Priority::High, Kind::Json);
        let message = TracedMessage { id, topic, priority, seq: 7, kind, bytes: 9, from: None, parent };
        let what = if delivered { Traced::Delivered(message, 3) } else { Traced::Published(message) };
        TraceEvent { shard, begin_ns: 1, end_ns: 2, what }
    }

    #[test]
    fn what_shards_tell_of_one_message_is_one_trace() {
        let ids = Ids::default();
        let published = ids.span_of(&event(0, 64, None, false));
        let delivered = [0, 1].map(|shard| ids.span_of(&event(shard, 64, None, true)));
        assert!(delivered.iter().all(|span| (span.trace, span.parent) == (published.trace, Some(published.id))));
        assert_ne!(delivered[0].id, delivered[1].id);
        assert_eq!((published.parent, published.name.as_str()), (None, "send a/b"));
        assert!(delivered[0].attributes.contains(&("fanwire.subscribers", Value::Number(3))));
        let other = ids.span_of(&event(0, 128, None, false));
        assert!(other.trace != published.trace && other.id != published.id);
        // Another process has other names.
        assert_ne!(Ids::default().span_of(&event(0, 64, None, false)).trace, published.trace);
    }

    #[test]
    fn a_publisher_s_trace_goes_on() {
        let ids = Ids::default();
        let parent = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let published = ids.span_of(&event(0, 64, parent, false));
        assert_eq!(published.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(published.parent, Some(0x00f0_67aa_0ba9_02b7));
        let delivered = ids.span_of(&event(1, 64, parent, true));
        assert_eq!((delivered.trace, delivered.parent), (published.trace, Some(published.id)));
    }
}
