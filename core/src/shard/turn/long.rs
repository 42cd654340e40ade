//! Long messages: what takes long of them is done in pieces, so much of each in a turn, and others are served between.

use crate::driver::Driver;
use crate::proto::long::data::LongData;
use crate::proto::long::since::LongSince;
use crate::proto::long::{Brief, Encoding, LongRequest};
use crate::proto::subscribe::{ClientMessage, ControlError, Publish};
use crate::shard::Shard;
use crate::shard::budget::INPUT_UNTIL_NS;
use crate::shard::clients::NO_TOPIC;
use crate::shard::dialect;
use crate::shard::message::{Arrived, Came};
use crate::shard::options::Options;
use crate::shard::request::{
    Action, Decoding, Extras, Held, Long, Parsed, Publication, Request, Resuming, Stage, Unopened,
};
use crate::shard::turn::receive::{Flow, Inbound};
use crate::shard::turn::requests::{owned, owned_id};
use crate::shard::waiters::Cause;
use crate::types::Kind;

/// Steps of one message in one turn, and a piece: others' come after it.
const STEPS_A_ROUND: u32 = 1_000;

/// What comes after a stage of a long request.
enum Next {
    Stage(Stage),
    Done(Flow),
}

impl<D: Driver> Shard<D> {
    /// Goes on with a message that is there, but not whole.
    pub(super) fn run_arrived(&mut self, slot: u32, mut arrived: Box<Arrived>) -> Flow {
        let mut spent = 0;
        loop {
            let (steps, came) = arrived.advance(&self.desk.seats, &mut self.desk.piece, &self.shared.payloads);
            self.pace.work.input.spend(steps);
            spent += steps;
            match came {
                Came::Nearer if self.may_go_on(spent) => {}
                Came::Nearer | Came::Waiting => return self.hold(slot, Held::Arrived(arrived), Some(Cause::Turn)),
                Came::Whole(whole) => {
                    let kind = arrived.kind;
                    drop(arrived);
                    return self.on_client_message(slot, kind, Inbound::Own(whole.freeze()));
                }
                Came::Wrong(code, reason) => {
                    self.on_violation(slot, code, reason);
                    return Flow::Stop;
                }
                Came::NoMemory => return self.has_no_memory(slot),
            }
        }
    }

    /// True if a message that has taken so many steps of this turn may take more.
    fn may_go_on(&self, spent: u32) -> bool {
        spent < STEPS_A_ROUND && !self.has_had_its_share() && self.has_time_until(INPUT_UNTIL_NS)
    }

    /// A message that is too long to be parsed at once.
    #[cold]
    pub(super) fn on_long_message(&mut self, slot: u32, kind: Kind, message: Inbound<'_>) -> Flow {
        match dialect::long(self.clients[slot].protocol, kind, message.bytes()) {
            Ok(Some((encoding, begins, is_text))) => {
                let Some(payload) = self.owned(slot, message) else { return Flow::Stop };
                self.run_long(slot, Box::new(Long::new(payload, begins, encoding, is_text)))
            }
            Ok(None) => Flow::Go,
            Err(error) => self.on_short_request(slot, Err(error)),
        }
    }

    /// Goes on with a request that is parsed in part.
    pub(super) fn run_long(&mut self, slot: u32, mut long: Box<Long>) -> Flow {
        let mut spent = 0;
        loop {
            let (steps, parsed) = long.advance(&mut self.desk.piece);
            self.pace.work.input.spend(steps);
            spent += steps;
            match parsed {
                Parsed::Nearer => {}
                Parsed::NoMemory => return self.has_no_memory(slot),
                Parsed::Refused(error) => return self.refuse_long(slot, &long, error),
                Parsed::Stage => match self.after_stage(slot, long) {
                    Ok((next, Next::Stage(stage))) => {
                        long = next;
                        long.stage = stage;
                    }
                    Ok((_, Next::Done(flow))) => return flow,
                    Err(flow) => return flow,
                },
            }
            if !self.may_go_on(spent) {
                return self.hold(slot, Held::Long(long), Some(Cause::Turn));
            }
        }
    }

    /// A stage of a long request has ended.
    fn after_stage(&mut self, slot: u32, mut long: Box<Long>) -> Result<(Box<Long>, Next), Flow> {
        let stage = std::mem::replace(&mut long.stage, Stage::Utf8(Default::default(), 0));
        let next = match stage {
            // A control frame of the batch protocol holds JSON.
            Stage::Utf8(..) => Next::Stage(Stage::Reads(Box::new(LongRequest::new(Encoding::Json)))),
            Stage::Reads(request) => {
                let brief = request.brief(long.request());
                // What stands for the request is parsed at once.
                self.pace.work.input.spend(16 + (brief.size() / 128) as u32);
                self.on_brief(slot, &long, &brief)
            }
            Stage::Since(resuming) => {
                let Resuming { id, options, topics, since } = *resuming;
                drop(long);
                let action = Action::Subscribe { options, since: since.into_list() };
                return Err(self.run_request(slot, Box::new(Request::new(id, action, topics))));
            }
            Stage::Decodes(decoding) => {
                drop(long);
                let Decoding { topic, publication, payload, .. } = *decoding;
                return Err(self.publish_to_name(slot, topic, publication, payload.freeze()));
            }
        };
        Ok((long, next))
    }

    fn on_brief(&mut self, slot: u32, long: &Long, brief: &Brief) -> Next {
        let parsed = brief.parse();
        match (parsed, &brief.since, &brief.data) {
            (Ok(ClientMessage::Subscribe { id, topics, since, max_hz, max_delay_ms, echo }), resumes, _) => {
                let (id, topics) = (owned_id(id), owned(&topics));
                let options = Options::new(max_hz, max_delay_ms, echo);
                let Some(raw) = resumes.clone() else {
                    let action = Action::Subscribe { options, since };
                    return Next::Done(self.run_request(slot, Box::new(Request::new(id, action, topics))));
                };
                let raw = long.request().get(raw).unwrap_or_default();
                let since = LongSince::new(brief.encoding(), raw, since.unnamed());
                Next::Stage(Stage::Since(Box::new(Resuming { id, options, topics, since })))
            }
            (Ok(ClientMessage::Publish(publish)), _, None) => Next::Done(match self.on_publish(slot, &publish) {
                Ok(flow) => flow,
                Err(error) => self.on_short_request(slot, Err(error)),
            }),
            (Ok(ClientMessage::Publish(publish)), _, Some(raw)) => {
                match self.check_publisher(slot, &publish) {
                    Ok(()) => {}
                    Err(error) => return Next::Done(self.on_short_request(slot, Err(error))),
                }
                let data = LongData::new(long.request(), brief.encoding(), raw.clone(), &publish.content);
                match Decoding::new(unopened(&publish), publication_of(&publish), data, &self.shared.payloads) {
                    Some(decoding) => Next::Stage(Stage::Decodes(Box::new(decoding))),
                    None => Next::Done(self.has_no_memory(slot)),
                }
            }
            (other, ..) => Next::Done(self.on_short_request(slot, other)),
        }
    }

    /// Says what is wrong with a long request; its id is known once it was read past.
    fn refuse_long(&mut self, slot: u32, long: &Long, error: ControlError<'static>) -> Flow {
        let raw = match &long.stage {
            Stage::Since(resuming) => resuming.id.as_deref(),
            Stage::Decodes(decoding) => decoding.topic.id.as_deref(),
            Stage::Utf8(..) | Stage::Reads(_) => None,
        };
        let id = raw.and_then(|raw| dialect::id_of(self.clients[slot].protocol, raw));
        self.on_short_request(slot, Err(ControlError { id, ..error }))
    }
}

/// The topic of a publish, and whom to tell if it cannot be made.
pub(super) fn unopened(publish: &Publish<'_>) -> Box<Unopened> {
    Box::new(Unopened { name: publish.topic.as_ref().into(), id: owned_id(publish.id) })
}

/// The head of a message that a publish brings.
pub(super) fn publication_of(publish: &Publish<'_>) -> Publication {
    let extras = Extras {
        key: publish.key.as_deref().map_or(0, crate::topic::key_number),
        ttl_ms: publish.ttl_ms.map_or(0, |ms| ms.clamp(1, u32::MAX.into()) as u32),
        parent: publish.parent,
    };
    Publication { topic: NO_TOPIC, priority: publish.priority, kind: publish.content.kind(), extras }
}
