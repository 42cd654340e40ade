//! What one connection alone is sent: answers, and messages of the host.

use crate::driver::Driver;
use crate::event::Event;
use crate::ingest::Payload;
use crate::proto::encoder;
use crate::proto::header::{HEADER_BYTES_MAX, Opcode};
use crate::proto::server_message::{Limits, ServerMessage, Welcome};
use crate::proto::subscribe;
use crate::shard::clients::{Awaits, Direct, Phase};
use crate::shard::{Shard, dialect};
use crate::types::{ConnectionId, Kind};

/// Messages to one connection alone that may wait for it.
const DIRECT_MAX: usize = 4_096;

impl<D: Driver> Shard<D> {
    /// Queues a control object in the connection's own protocol.
    pub(super) fn tell(&mut self, slot: u32, object: &ServerMessage<'_>) {
        let protocol = self.clients[slot].protocol;
        let mut body = std::mem::take(&mut self.desk.answer);
        body.clear();
        let opcode = dialect::render(&mut body, protocol, object);
        let mut header = [0; HEADER_BYTES_MAX];
        let len = encoder::header(&mut header, opcode, body.len() as u64, false);
        let extra = self.clients.extra(slot);
        extra.control.extend_from_slice(&header[..len]);
        extra.control.extend_from_slice(&body);
        self.desk.answer = body;
    }

    pub(super) fn answer(&mut self, slot: u32, object: &ServerMessage<'_>) {
        self.tell(slot, object);
        self.refresh(slot);
        self.clients.mark_dirty(slot);
    }

    pub(super) fn welcome(&mut self, slot: u32) {
        let config = self.rules.clone();
        let welcome = Welcome {
            session: self.clients.id(slot).to_string().into(),
            server: config.server_name.as_str().into(),
            protocol: self.clients[slot].protocol.name().into(),
            time_us: (self.shared.wall_ns)() / 1_000,
            limits: Limits {
                message_bytes_max: config.limits.message_bytes_max as u64,
                topics_max: subscribe::TOPICS_MAX as u32,
                subscriptions_max: config.limits.subscriptions_per_connection_max,
                topics_per_connection_max: config.limits.topics_per_connection_max,
            },
        };
        self.tell(slot, &ServerMessage::Welcome(welcome));
    }

    /// Whether the host is told which topics this connection gets: to its end in good order, but not once it is cut off.
    pub(super) fn hears_of_topics(&self, slot: u32) -> bool {
        let conn = &self.clients[slot];
        let is_told = conn.phase != Phase::Broken || conn.flags.closes_in_order;
        self.rules.events.capacity > 0 && conn.flags.was_announced && is_told
    }

    pub(super) fn tell_host(&mut self, event: Event) {
        if self.rules.events.capacity > 0 {
            self.host.tell(&self.shared.mailboxes[self.number as usize], event);
        }
    }

    /// Queues a message of the host's to one connection.
    pub(super) fn on_send(&mut self, connection: ConnectionId, kind: Kind, payload: Payload) {
        let Some(slot) = self.clients.find(connection) else { return };
        if self.clients[slot].phase != Phase::Open {
            return;
        }
        let extra = self.clients.extra(slot);
        if extra.closing.as_ref().is_some_and(|c| c.awaits == Awaits::Nothing) {
            // The host has closed it.
            return;
        }
        if extra.direct.len() >= DIRECT_MAX {
            self.evict(slot, "too slow for messages to it alone");
            return;
        }
        let opcode = if kind == Kind::Binary { Opcode::Binary } else { Opcode::Text };
        let mut header = [0; HEADER_BYTES_MAX];
        let len = encoder::header(&mut header, opcode, payload.len() as u64, false);
        let header = header[..len].iter().copied().collect();
        extra.direct.push_back(Direct { header, payload });
        self.refresh(slot);
        self.clients.mark_dirty(slot);
    }

    /// Something about the connection has changed: keep its cursor out of the hot pass or let it back, and count what it holds.
    pub(super) fn refresh(&mut self, slot: u32) {
        self.clients.tidy(slot);
        let subscriber = self.subscriptions.of(slot);
        if let Some(link) = subscriber.only_link() {
            let is_plain = subscriber.is_plain() && self.clients[slot].is_plain();
            let link = self.subscriptions.link(link);
            let cursors = &mut self.lanes.stream_mut(link.stream).cursors;
            cursors.all[link.index as usize].set_gathered(!is_plain);
        }
    }
}
