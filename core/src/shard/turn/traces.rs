//! What is told of messages and connections of the sample, while the host wants to hear of them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::driver::Driver;
use crate::event::Protocol;
use crate::ingest::Record;
use crate::log::Seq;
use crate::proto::traceparent::TraceParent;
use crate::shard::Shard;
use crate::traces::{TraceFlow, TracedMessage};
use crate::types::ConnectionId;

impl<D: Driver> Shard<D> {
    /// The host wants to hear.
    pub(super) fn begin_tracing(&mut self, flow: Arc<TraceFlow>) {
        self.host.trace(self.number, flow);
    }

    /// A message of the sample was read.
    #[cold]
    #[inline(never)]
    pub(super) fn trace_message(&mut self, lane: u32, seq: Seq, parent: Option<TraceParent>, record: &Record<'_>) {
        let head = &record.head;
        let (Some(topic), Some(tracer)) = (self.topics.by_id(head.topic), &mut self.host.tracer) else { return };
        let message = TracedMessage {
            id: record.position.0,
            topic: topic.name.clone(),
            priority: head.priority,
            seq: seq.0,
            kind: head.payload_kind,
            bytes: record.body.bytes().len(),
            from: (head.origin != ConnectionId::HOST).then_some(head.origin),
            parent,
        };
        let now_ns = (self.shared.wall_ns)();
        tracer.on_message(message, self.lanes.cursors_in(lane), head.time_ns, now_ns);
    }

    /// Sending begins.
    #[cold]
    pub(super) fn trace_sending(&mut self) {
        let now_ns = (self.shared.wall_ns)();
        if let Some(tracer) = &mut self.host.tracer {
            tracer.on_sending(now_ns);
        }
    }

    /// Everything is sent that can be.
    #[cold]
    pub(super) fn trace_sent(&mut self) {
        let now_ns = (self.shared.wall_ns)();
        if let Some(tracer) = &mut self.host.tracer {
            tracer.on_all_sent(now_ns);
        }
    }

    /// A connection has opened.
    pub(super) fn trace_opened(&mut self, slot: u32, peer: Option<SocketAddr>, protocol: Protocol) {
        if let Some(tracer) = &mut self.host.tracer {
            tracer.on_opened(self.clients.id(slot), peer, protocol, || (self.shared.wall_ns)());
        }
    }

    /// A connection is gone.
    pub(super) fn trace_closed(&mut self, connection: ConnectionId, code: u16) {
        if let Some(tracer) = &mut self.host.tracer {
            tracer.on_closed(connection, code, || (self.shared.wall_ns)());
        }
    }
}
