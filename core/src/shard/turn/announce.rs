//! What is due of a connection's state, rendered when there is room: the newest pong, and `subscribed`.

use crate::driver::Driver;
use crate::proto::encoder;
use crate::proto::server_message::{ServerMessage, Subscribed};
use crate::shard::table::NONE;
use crate::shard::{Shard, dialect};

impl<D: Driver> Shard<D> {
    /// Renders what is due of a connection's state, as far as there is room.
    pub(super) fn render_due(&mut self, slot: u32) {
        if let Some(extra) = &mut self.clients[slot].extra
            && let Some(pong) = extra.pong.take()
        {
            extra.control.extend_from_slice(&encoder::pong(&pong));
        }
        if self.subscriptions.of(slot).announce_from == NONE {
            return;
        }
        while self.clients.extra(slot).has_control_room()
            && let Some(membership) = self.subscriptions.next_announced(slot)
        {
            self.announce(slot, membership);
        }
    }

    fn announce(&mut self, slot: u32, membership: u32) {
        let m = *self.subscriptions.membership(membership);
        let mut seq = [None; 4];
        for link in self.subscriptions.links_of(membership) {
            let link = self.subscriptions.link(link);
            // The newest message that this cursor will not bring from here on: the rest of a half-sent one goes out
            // before this announcement.
            let stream = self.lanes.stream(link.stream);
            let next = stream.next_boundary(&stream.cursors.all[link.index as usize]);
            let last = self.lanes.seq_before(link.stream, next);
            seq[self.lanes.lane(stream.lane).priority as usize] = Some(last.0);
        }
        let Some(topic) = self.topics.get(m.topic).filter(|topic| !topic.is_gone()) else { return };
        let (name, topic_id, epoch) = (topic.name.clone(), topic.id.0, topic.epoch);
        let id = match m.subscription {
            NONE => None,
            subscription => self.subscriptions.asked.get(subscription).id.clone(),
        };
        let id = id.as_deref().and_then(|raw| dialect::id_of(self.clients[slot].protocol, raw));
        let subscribed = Subscribed { id, topic: name.as_ref().into(), topic_id, epoch, seq };
        self.tell(slot, &ServerMessage::Subscribed(subscribed));
        if m.subscription != NONE && self.subscriptions.asked.get(m.subscription).is_id_only {
            self.subscriptions.membership_mut(membership).subscription = NONE;
            self.subscriptions.drop_told(slot, m.subscription);
        }
    }
}
