//! The host decides who comes in, and what each may do; what it grants is asked here.

use std::net::SocketAddr;

use crate::access::{Decision, Grants};
use crate::config::nanoseconds;
use crate::driver::{Driver, Slot};
use crate::event::Event;
use crate::proto::handshake::Refusal;
use crate::proto::request::Request;
use crate::proto::topic::Pattern;
use crate::shard::Shard;
use crate::shard::admission::Answer;
use crate::shard::budget::Budget;
use crate::shard::clients::Phase;
use crate::shard::turn::upgrade::{RETRY_AFTER_S, Verdict};
use crate::shard::waiters::Cause;
use crate::telemetry::is_sys;
use crate::types::ConnectionId;

impl<D: Driver> Shard<D> {
    /// What the host grants to a connection whose request is there; `None` where it is not to be asked.
    ///
    /// # Errors
    /// It has not decided, or against it.
    pub(super) fn ask_host(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        peer: Option<SocketAddr>,
    ) -> Result<Option<Grants>, Verdict> {
        let rules = self.rules.clone();
        let decision = match (self.admission.asked.of(slot), &rules.access.ask_host) {
            // Also where others are not asked any more.
            (Answer::Decided(decision), _) => decision,
            (Answer::Waits, _) => return Err(Verdict::Waits(None)),
            (Answer::NotAsked, None) => {
                // Nobody will ask for it.
                self.ears.driver.take_subject(Slot(slot));
                return Ok(None);
            }
            (Answer::NotAsked, Some(_)) if !self.host.keeps_up(rules.events.capacity) => {
                return Err(Verdict::Waits(Some(Cause::Host)));
            }
            (Answer::NotAsked, Some(asks)) => {
                let of =
                    |name: &String| request.lines(name).map(|value| (name.clone(), value.to_vec())).collect::<Vec<_>>();
                let headers = asks.headers.iter().flat_map(of).collect();
                let listener = self.clients.extra(slot).handshake.as_ref().map_or(0, |h| h.listener.into());
                let connection = self.clients.id(slot);
                let target = request.target().to_owned();
                let certificate = self.ears.driver.take_subject(Slot(slot)).map(String::from);
                self.admission.asked.ask(slot, None);
                self.tell_host(Event::Authorize { connection, peer, listener, target, headers, certificate });
                // Within the handshake's time, which goes on when the host has decided.
                self.clients.wheel.arm(slot, self.pace.now_ns + nanoseconds(asks.within));
                return Err(Verdict::Waits(None));
            }
        };
        match decision {
            Decision::Allow(grants) => Ok(Some(grants)),
            Decision::Unauthorized => Err(Verdict::Refused(Refusal::unauthorized("not authorized"))),
            Decision::Forbidden => Err(Verdict::Refused(Refusal::forbidden("not allowed"))),
            Decision::Unavailable => {
                Err(Verdict::Refused(Refusal::unavailable("this cannot be decided now", RETRY_AFTER_S)))
            }
        }
    }

    /// The host has decided. Too late, or for nobody: nothing happens.
    pub(super) fn on_decision(&mut self, connection: ConnectionId, decision: Decision) {
        let Some(slot) = self.clients.find(connection) else { return };
        if self.clients[slot].phase != Phase::Handshake {
            return self.on_renewed(slot, decision);
        }
        if !self.admission.asked.answer(slot, decision, self.pace.now_ns) {
            return;
        }
        self.clients.wheel.arm(slot, self.pace.now_ns + nanoseconds(self.rules.limits.handshake_timeout));
        self.wait_for(slot, Cause::Turn);
    }

    /// Whether a connection may subscribe to all that a pattern, or name, matches.
    pub(super) fn may_subscribe(&self, slot: u32, wanted: &Pattern, budget: &mut Budget) -> bool {
        if is_sys(wanted.as_str()) && !self.may_have_sys(self.admission.granted.of(slot)) {
            return false;
        }
        self.admission.granted.of(slot).is_none_or(|grants| {
            budget.spend(1 + grants.subscribe.patterns() as u32 / 4);
            grants.subscribe.covers(wanted)
        })
    }

    /// Whether `$sys` topics are for this connection at all: its grants say which, or, where it has none, they are for everybody.
    pub(super) fn may_have_sys(&self, grants: Option<&Grants>) -> bool {
        self.rules.sys.top > 0 && (self.rules.sys.public || grants.is_some())
    }

    /// Whether a connection may publish on a topic.
    pub(super) fn may_publish_to(&self, slot: u32, topic: &str) -> bool {
        self.admission.granted.of(slot).is_none_or(|grants| grants.publish.has(topic))
    }
}
