//! Requests of clients that speak a subprotocol: parsed once, done in pieces.

use std::borrow::Cow;

use crate::driver::Driver;
use crate::proto::server_message::{ErrorMessage, Pong, ServerMessage, Unsubscribed};
use crate::proto::subscribe::{self, ClientMessage, ControlError, Id};
use crate::proto::topic::Pattern;
use crate::shard::Shard;
use crate::shard::budget::Budget;
use crate::shard::dialect;
use crate::shard::options::Options;
use crate::shard::request::{Action, Held, Request};
use crate::shard::turn::receive::{Flow, Inbound};
use crate::shard::turn::subscribe::{Asking, SubscribeError};
use crate::shard::waiters::Cause;
use crate::types::Kind;

/// Steps of one request in one turn: others' come after it.
pub(super) const STEPS_A_ROUND: u32 = 1_000;

/// A longer request is parsed in pieces.
const AT_ONCE: usize = 32 << 10;

/// Topics of a request, to be kept.
pub(super) fn owned(topics: &[Cow<'_, str>]) -> Vec<Box<str>> {
    topics.iter().map(|topic| topic.as_ref().into()).collect()
}

/// The id of a request, to be kept.
pub(super) fn owned_id(id: Option<Id<'_>>) -> Option<Box<[u8]>> {
    id.map(|id| id.as_bytes().into())
}

/// How far a request has come.
pub(super) enum Stage {
    Done,
    /// It goes on when this is gone; `None`: when the client has read its answers.
    Waits(Option<Cause>),
}

impl<D: Driver> Shard<D> {
    /// A message of a client that speaks a subprotocol.
    pub(super) fn on_control_message(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        let keeps_up = self.host.keeps_up(self.rules.events.capacity);
        if !self.clients.extra(slot).has_control_room() || !keeps_up {
            // It does not read its answers, or the host does not hear of them: then neither do we read its questions.
            let cause = (!keeps_up).then_some(Cause::Host);
            let Some(payload) = self.owned(slot, message) else { return Flow::Stop };
            return self.hold(slot, Held::Message { kind, payload }, cause);
        }
        if message.bytes().len() > AT_ONCE {
            return self.on_long_message(slot, kind, message);
        }
        let protocol = self.clients[slot].protocol;
        let others = match dialect::parse(protocol, kind, message.bytes()) {
            Ok(ClientMessage::Subscribe { id, topics, since, max_hz, max_delay_ms, echo }) => {
                let action = Action::Subscribe { options: Options::new(max_hz, max_delay_ms, echo), since };
                return self.run_request(slot, Box::new(Request::new(owned_id(id), action, owned(&topics))));
            }
            Ok(ClientMessage::Publish(publish)) => match self.on_publish(slot, &publish) {
                Ok(flow) => return flow,
                Err(error) => Err(error),
            },
            other => other,
        };
        self.on_short_request(slot, others)
    }

    /// A request that brings no payload and no topics to go on from.
    pub(super) fn on_short_request(&mut self, slot: u32, request: Result<ClientMessage<'_>, ControlError<'_>>) -> Flow {
        match request {
            Ok(ClientMessage::Unsubscribe { id, topics }) => {
                let request = Request::new(owned_id(id), Action::Unsubscribe, owned(&topics));
                return self.run_request(slot, Box::new(request));
            }
            Ok(ClientMessage::Ping { id }) => self.answer(slot, &ServerMessage::Pong(Pong { id })),
            Ok(ClientMessage::Auth { id, token }) => {
                if let Err(error) = self.on_auth(slot, id, &token) {
                    self.refuse_request(slot, &error);
                }
            }
            Ok(_) => {}
            Err(error) => self.refuse_request(slot, &error),
        }
        if self.clients[slot].is_live() { Flow::Go } else { Flow::Stop }
    }

    /// Goes on with a request; what is not done of it waits.
    pub(super) fn run_request(&mut self, slot: u32, mut request: Box<Request>) -> Flow {
        let mut budget = self.pace.work.requests.share(STEPS_A_ROUND);
        let stage = self.advance(slot, &mut request, &mut budget);
        self.pace.work.requests.return_share(budget);
        self.refresh(slot);
        match stage {
            _ if !self.clients[slot].is_live() => Flow::Stop,
            Stage::Done => Flow::Go,
            Stage::Waits(cause) => self.hold(slot, Held::Request(request), cause),
        }
    }

    fn advance(&mut self, slot: u32, request: &mut Request, budget: &mut Budget) -> Stage {
        budget.spend(self.leave_ended(slot));
        while self.clients[slot].is_live() {
            let Some(topic) = request.topics.get_mut(request.next).map(std::mem::take) else { return Stage::Done };
            if budget.is_spent() {
                request.topics[request.next] = topic;
                return Stage::Waits(Some(Cause::Turn));
            }
            if !self.clients.extra(slot).has_control_room() {
                request.topics[request.next] = topic;
                return Stage::Waits(None);
            }
            if !self.host.keeps_up(self.rules.events.capacity) {
                request.topics[request.next] = topic;
                return Stage::Waits(Some(Cause::Host));
            }
            let done = match &request.action {
                Action::Subscribe { options, since } => {
                    let asking = Asking { id: request.id.as_deref(), options: *options, since };
                    self.clients[slot].flags.skips_own |= options.skips_own;
                    budget.spend(7);
                    match Pattern::parse(&topic) {
                        Err(_) => Err(SubscribeError::Malformed),
                        Ok(pattern) if !self.may_subscribe(slot, &pattern, budget) => Err(SubscribeError::NotAllowed),
                        Ok(pattern) if pattern.is_literal() => {
                            self.subscribe_to_name(slot, &topic, None, &asking).map(drop)
                        }
                        Ok(_) => self.subscribe_to_pattern(slot, &topic, &asking, &mut request.scan, budget),
                    }
                }
                Action::Unsubscribe => {
                    let ended = self.unsubscribe(slot, &topic, &mut request.scan, budget);
                    ended.map(|was_there| self.answer_unsubscribe(slot, request.id.as_deref(), &topic, was_there))
                }
            };
            self.settle_subject(slot);
            match done {
                Ok(()) => {
                    request.next += 1;
                    request.scan = None;
                }
                Err(error @ (SubscribeError::Busy | SubscribeError::Later)) => {
                    request.topics[request.next] = topic;
                    let cause = if error == SubscribeError::Busy { Cause::Names } else { Cause::Turn };
                    return Stage::Waits(Some(cause));
                }
                Err(error) => {
                    // What was asked for behind it is not looked at.
                    let protocol = self.clients[slot].protocol;
                    let id = request.id.as_deref().and_then(|raw| dialect::id_of(protocol, raw));
                    if let Some(refusal) = error.refusal() {
                        self.refuse_request(slot, &ControlError { id, ..refusal });
                    }
                    return Stage::Done;
                }
            }
        }
        Stage::Done
    }

    fn answer_unsubscribe(&mut self, slot: u32, id: Option<&[u8]>, topic: &str, was_there: bool) {
        let id: Option<Id<'_>> = id.and_then(|raw| dialect::id_of(self.clients[slot].protocol, raw));
        if was_there {
            self.answer(slot, &ServerMessage::Unsubscribed(Unsubscribed { id, topic: topic.into() }));
            return;
        }
        let message = format!("there is no subscription to {topic:?}").into();
        self.refuse_request(slot, &ControlError { code: subscribe::code::NOT_SUBSCRIBED, message, id });
    }

    pub(super) fn refuse_request(&mut self, slot: u32, error: &ControlError<'_>) {
        let ControlError { code, message, id } = error;
        self.stats.subscriptions_refused += u64::from(*code == subscribe::code::TOO_MANY_SUBSCRIPTIONS);
        self.stats.topics_refused += u64::from(*code == subscribe::code::TOO_MANY_TOPICS);
        let message = ErrorMessage { code: (*code).into(), message: message.as_ref().into(), id: *id };
        self.answer(slot, &ServerMessage::Error(message));
    }
}
