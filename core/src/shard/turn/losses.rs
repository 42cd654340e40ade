//! Losses of clients: remembered, and told as they happen to who wants to hear of them.

use std::fmt::Write as _;

use crate::driver::{Driver, Slot};
use crate::shard::Shard;
use crate::shard::census::Loss;
use crate::shard::subscriptions::Lost;
use crate::shard::turn::describe::comma;
use crate::telemetry::SysTopic;
use crate::telemetry::json::{OrNull, Quoted};

/// At least so long between two messages of one shard.
const EVERY_NS: u64 = 250_000_000;
/// What telling one loss counts for: its text, and the look at the socket.
const STEPS: u32 = 60;

impl<D: Driver> Shard<D> {
    /// A client has lost messages of a lane.
    pub(super) fn note_loss(&mut self, slot: u32, stream: u32, lost: &Lost, reason: &'static str) {
        if self.rules.sys.top == 0 {
            return;
        }
        let lane = self.lanes.lane_of(stream);
        let Some(topic) = self.topics.get(lane.topic).map(|topic| topic.name.clone()) else { return };
        let (at_ms, client) = (self.wall_ms(), self.clients.id(slot));
        let (from, to, count) = (lost.from.0, lost.to.0, lost.count_at_most());
        let loss = Loss { at_ms, client, topic, priority: lane.priority, from, to, count, reason };
        let watchers = &self.shared.telemetry.watchers;
        let is_told = watchers.is_any() && watchers.wanted(self.pace.now_ns).has(SysTopic::Gaps);
        self.census.losses.note(loss, is_told);
    }

    /// Tells what was lost lately, if it is time.
    pub(super) fn tell_of_losses(&mut self) {
        if !self.census.losses.has_untold() || self.pace.now_ns < self.census.next_losses_ns {
            return;
        }
        self.census.next_losses_ns = self.pace.now_ns + EVERY_NS;
        let (losses, left_out) = self.census.losses.take_untold();
        let mut text = String::with_capacity(256 * losses.len());
        let _ = write!(text, "{{\"at_ms\":{},\"shard\":{},\"gaps\":[", self.wall_ms(), self.number);
        for (place, loss) in losses.iter().enumerate() {
            self.pace.work.census.spend(STEPS);
            // Who has gone since has no address any more.
            let slot = self.clients.find(loss.client);
            let state = slot.and_then(|slot| self.ears.driver.socket_state(Slot(slot)));
            let peer = state.and_then(|state| state.peer).map(|peer| peer.to_string());
            let grants = slot.and_then(|slot| self.admission.granted.of(slot));
            let subject = grants.and_then(|grants| grants.subject.as_deref());
            let _ = write!(
                text,
                "{}{{\"at_ms\":{},\"client\":\"{}\",\"peer\":{},\"subject\":{},\"topic\":{},\"priority\":\"{}\",\
                 \"from\":{},\"to\":{},\"reason\":\"{}\"}}",
                comma(place),
                loss.at_ms,
                loss.client,
                OrNull(peer.as_deref().map(Quoted)),
                OrNull(subject.map(Quoted)),
                Quoted(&loss.topic),
                loss.priority,
                loss.from,
                loss.to,
                loss.reason
            );
        }
        let _ = write!(text, "],\"left_out\":{left_out}}}");
        self.publish_sys(SysTopic::Gaps, &text);
    }
}
