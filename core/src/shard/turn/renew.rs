//! An open connection brings another token: the host is asked, while the connection goes on as it was. What it says holds from the
//! moment on that nothing of the client's is half done, and what the client may not have any more is ended, in pieces.

use crate::access::{Allowed, Decision, Grants};
use crate::driver::Driver;
use crate::event::Event;
use crate::proto::server_message::{Authorized, ServerMessage, Unsubscribed};
use crate::proto::subscribe::{self, ControlError, Id};
use crate::proto::topic::Pattern;
use crate::shard::Shard;
use crate::shard::admission::Answered;
use crate::shard::budget::Budget;
use crate::shard::dialect;
use crate::shard::request::{Held, Sweep};
use crate::shard::subscriptions::AskedFor;
use crate::shard::turn::receive::Flow;
use crate::shard::turn::requests::{STEPS_A_ROUND, Stage};
use crate::shard::waiters::Cause;

/// Between two tokens of one connection: each costs the host a signature.
const EVERY_NS: u64 = 1_000_000_000;

fn refused<'a>(code: &'static str, message: &'static str, id: Option<Id<'a>>) -> ControlError<'a> {
    ControlError { code, message: message.into(), id }
}

impl<D: Driver> Shard<D> {
    /// A client brings a token: the host is asked.
    ///
    /// # Errors
    /// The host decides on nobody here, or has been asked a moment ago.
    pub(super) fn on_auth<'a>(&mut self, slot: u32, id: Option<Id<'a>>, token: &str) -> Result<(), ControlError<'a>> {
        if self.rules.access.ask_host.is_none() || self.admission.granted.of(slot).is_none() {
            return Err(refused(subscribe::code::NOT_AUTHORIZED, "no token is taken here", id));
        }
        if self.admission.asked.is_asked(slot) {
            return Err(refused(subscribe::code::TOO_OFTEN, "the token before is not decided on yet", id));
        }
        if !self.admission.granted.may_renew(slot, self.pace.now_ns, EVERY_NS) {
            return Err(refused(subscribe::code::TOO_OFTEN, "at most one token a second", id));
        }
        self.admission.asked.ask(slot, id.map(|id| id.as_bytes().into()));
        let connection = self.clients.id(slot);
        self.tell_host(Event::Reauthorize { connection, token: token.to_owned() });
        Ok(())
    }

    /// The host has decided on an open connection's token. That holds when nothing of the client's is half done: as soon as its
    /// input goes on.
    pub(super) fn on_renewed(&mut self, slot: u32, decision: Decision) {
        if !self.clients[slot].is_listening() || !self.admission.asked.answer(slot, decision, self.pace.now_ns) {
            return;
        }
        if self.clients.extra(slot).held.is_none() {
            self.hold_input(slot, Some(Cause::Turn));
        }
    }

    /// What the host has said holds from now on.
    pub(super) fn apply_answer(&mut self, slot: u32, answered: Answered) -> Flow {
        let Answered { id, decision, at_ns } = answered;
        let told = id.as_deref().and_then(|raw| dialect::id_of(self.clients[slot].protocol, raw));
        let refusal = match decision {
            Decision::Allow(grants) if self.is_same_subject(slot, &grants) => {
                return self.apply_grants(slot, id, grants, at_ns);
            }
            Decision::Allow(_) | Decision::Unauthorized => (subscribe::code::NOT_AUTHORIZED, "not authorized"),
            Decision::Forbidden => (subscribe::code::NOT_ALLOWED, "not allowed"),
            Decision::Unavailable => (subscribe::code::UNAVAILABLE, "this cannot be decided now"),
        };
        self.stats.renewals_refused += 1;
        self.refuse_request(slot, &refused(refusal.0, refusal.1, told));
        Flow::Go
    }

    /// What it has is counted for its subject: it stays who it is.
    fn is_same_subject(&self, slot: u32, grants: &Grants) -> bool {
        self.admission.granted.of(slot).is_some_and(|now| now.subject == grants.subject)
    }

    fn apply_grants(&mut self, slot: u32, id: Option<Box<[u8]>>, grants: Grants, at_ns: u64) -> Flow {
        self.stats.renewed += 1;
        let is_as_before = self.admission.granted.of(slot).is_some_and(|now| now.subscribe == grants.subscribe);
        self.clients[slot].flags.may_publish = grants.publish != Allowed::Nothing;
        self.admission.granted.give(slot, grants, at_ns);
        let sweep = Box::new(Sweep::new(id));
        // Everything is not all that it may have had: what is below `$sys` is no part of it.
        if is_as_before {
            self.answer_authorized(slot, &sweep);
            return Flow::Go;
        }
        self.subscriptions.begin_walk(slot);
        self.run_sweep(slot, sweep)
    }

    fn answer_authorized(&mut self, slot: u32, sweep: &Sweep) {
        let expires_in_ms = self.admission.granted.left_ns(slot, self.pace.now_ns).map(|left| left / 1_000_000);
        let id = sweep.id.as_deref().and_then(|raw| dialect::id_of(self.clients[slot].protocol, raw));
        self.answer(slot, &ServerMessage::Authorized(Authorized { id, expires_in_ms }));
    }

    /// Goes on with ending what a client may not have any more; what is left of it waits.
    pub(super) fn run_sweep(&mut self, slot: u32, mut sweep: Box<Sweep>) -> Flow {
        let mut budget = self.pace.work.requests.share(STEPS_A_ROUND);
        let stage = self.sweep(slot, &mut sweep, &mut budget);
        self.pace.work.requests.return_share(budget);
        self.refresh(slot);
        match stage {
            _ if !self.clients[slot].is_live() => {
                self.subscriptions.end_walk(slot);
                Flow::Stop
            }
            Stage::Done => {
                self.answer_authorized(slot, &sweep);
                Flow::Go
            }
            Stage::Waits(cause) => self.hold(slot, Held::Sweep(sweep), cause),
        }
    }

    fn sweep(&mut self, slot: u32, sweep: &mut Sweep, budget: &mut Budget) -> Stage {
        while self.clients[slot].is_live() {
            if budget.is_spent() {
                return Stage::Waits(Some(Cause::Turn));
            }
            if !self.clients.extra(slot).has_control_room() {
                return Stage::Waits(None);
            }
            if !self.host.keeps_up(self.rules.events.capacity) {
                return Stage::Waits(Some(Cause::Host));
            }
            sweep.steps += 1;
            let Some((words, scan)) = &mut sweep.ends else {
                budget.spend(1);
                let Some(asked_for) = self.subscriptions.next_in_walk(slot) else { return Stage::Done };
                sweep.ends = self.not_covered(slot, asked_for, budget).map(|words| (words, None));
                continue;
            };
            match self.unsubscribe(slot, words, scan, budget) {
                Err(_) => return Stage::Waits(Some(Cause::Turn)),
                Ok(was_there) => {
                    let topic = std::mem::take(words);
                    sweep.ends = None;
                    self.settle_subject(slot);
                    if was_there {
                        let id = sweep.id.as_deref().and_then(|raw| dialect::id_of(self.clients[slot].protocol, raw));
                        let ended = Unsubscribed { id, topic: topic.as_ref().into() };
                        self.answer(slot, &ServerMessage::Unsubscribed(ended));
                    }
                }
            }
        }
        Stage::Done
    }

    /// The words of a subscription that is not allowed any more.
    fn not_covered(&self, slot: u32, asked_for: AskedFor, budget: &mut Budget) -> Option<Box<str>> {
        let words = match asked_for {
            AskedFor::Topic(topic) => &*self.topics.get(topic)?.name,
            AskedFor::Words(record) => self.subscriptions.asked.text(record),
            AskedFor::Nothing => return None,
        };
        let pattern = Pattern::parse(words).ok()?;
        (!self.may_subscribe(slot, &pattern, budget)).then(|| words.into())
    }
}
