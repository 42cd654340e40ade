//! Room for what is appended: within a log's own budget first, then from less important lanes.

use super::derive::{CURSORS_A_STEP, TRIES_MAX};
use super::{Cursors, Effect, Form, Lanes, NONE, Rank, Stream};
use crate::log::{Edge, Frame, FramePayload, Position, Referrer, Seq};
use crate::types::Priority;

/// Derived logs looked at for one to give up, at most: all that one lane may have, and some more.
const LOOKS_FOR_DERIVED: usize = super::form::FORMS + 4;
/// Nobody loses anything where a derived log is given up, so that goes by their order alone.
const ANY: Priority = Priority::Low;
/// A derived log to which nothing has been added for so long is idle.
const IDLE_NS: u64 = 1_000_000_000;
/// Cursors asked whether they have still to get something, at most.
const ASKED_MAX: usize = 512;
/// Who loses what must not be lost is told, noted and closed.
const STEPS_A_LOSS: u32 = 8;
/// Derived logs that were asleep take old messages from others up to this part of the pool.
const WOKEN_PART: usize = 4;

impl Lanes {
    /// Appends to a stream's log: makes room within its budget first, and takes from less important lanes when the pool is
    /// dry, or when the logs refer to so many payloads that there is no room to publish more: if that does not help, a payload is
    /// copied instead. If there is no memory at all, the frame is left out, and who has not had it is told so.
    pub(super) fn append(&mut self, id: u32, frame: &Frame<'_>) {
        if !self.append_at_once(id, frame) {
            self.append_with_room(id, frame);
        }
    }

    /// Appends what its log takes as it is: see [`Log::append_plain`]. False: nothing has changed.
    #[inline(always)]
    pub(super) fn append_at_once(&mut self, id: u32, frame: &Frame<'_>) -> bool {
        let Self { streams, pool, .. } = self;
        let stream = &mut streams[id];
        if !stream.log.append_plain(frame, pool) {
            return false;
        }
        if stream.log.segments() as u32 != stream.ranked_segments {
            self.note_segments(id);
        }
        true
    }

    /// See [`Lanes::append`].
    #[cold]
    pub(super) fn append_with_room(&mut self, id: u32, frame: &Frame<'_>) {
        if frame.position != self.streams[id].log.next() {
            // A derived log whose source has lost frames already. A log has no holes: a cursor runs from its place to the head
            // without looking at numbers.
            self.forget_all(id);
            self.streams[id].log.skip_to(Edge { next: frame.position, last: frame.seq.before() });
        }
        let stream = &self.streams[id];
        self.rank.haste |= stream.walk.is_delaying && !stream.cursors.all.is_empty() && stream.has_grown_much();
        while self.streams[id].log.is_over_budget_with(frame) && self.forget_oldest(id) {}
        let copied;
        let mut frame = frame;
        if let FramePayload::Shared(payload) = frame.payload
            && self.pool.lacks_references(self.streams[id].log.referrer(), payload.held_bytes())
            && !self.may_refer_to(id, payload.held_bytes())
        {
            copied = Frame { payload: FramePayload::Copied(payload), ..*frame };
            frame = &copied;
        }
        loop {
            let Self { streams, pool, .. } = self;
            if streams[id].log.append(frame, pool) {
                // A frame that was too large to make room for goes as soon as it is not the newest any more.
                while self.streams[id].log.is_over_budget() && self.forget_oldest(id) {}
                self.rank(id);
                self.visit_in_time(id);
                return;
            }
            if !self.make_room_for(id) {
                if self.wait_for_room(id) {
                    return;
                }
                self.forget_all(id);
                let stream = &mut self.streams[id];
                let messages = u64::from(frame.count);
                stream.log.skip_to(Edge { next: frame.position + messages, last: Seq(frame.seq.0 + messages - 1) });
                if stream.form == Form::Raw {
                    self.lanes[stream.lane].keys.forget(frame.key, frame.position);
                }
                self.name_who_lost(id);
                self.counts.unlogged += 1;
                self.effects.push(Effect::Unlogged { stream: id, messages: frame.count });
                return;
            }
        }
    }

    /// A log of few segments will forget one of them soon: cursors with latency budgets are visited before that, and where half a segment
    /// was added since they were, before anything more is added.
    fn visit_in_time(&mut self, id: u32) {
        let stream = &self.streams[id];
        if stream.walk.is_delaying
            && !stream.cursors.all.is_empty()
            && let Some(segment) = stream.log.forgets_soon()
        {
            self.rank.haste |= stream.log.head() - stream.walk.head >= segment / 2;
            let next = stream.log.next();
            let lane = &mut self.lanes[stream.lane];
            lane.visit_before = lane.visit_before.max(next);
        }
    }

    /// Whether a log may refer to so many bytes more of the payload pool, once others have been made to forget what they refer to.
    #[cold]
    fn may_refer_to(&mut self, id: u32, bytes: usize) -> bool {
        let referrer = self.streams[id].log.referrer();
        while self.pool.lacks_references(referrer, bytes) {
            if !self.make_reference_room(id) {
                return false;
            }
        }
        true
    }

    /// Notes what a log holds, if it has got or lost a segment.
    #[inline(always)]
    pub(super) fn rank(&mut self, id: u32) {
        if self.streams[id].log.segments() as u32 != self.streams[id].ranked_segments {
            self.note_segments(id);
        }
    }

    #[cold]
    fn note_segments(&mut self, id: u32) {
        let stream = &mut self.streams[id];
        stream.ranked_segments = stream.log.segments() as u32;
        self.rank.note(id, stream, self.lanes[stream.lane].priority);
    }

    /// Frees memory: that of a derived log which is idle, for it can be built again. Else the oldest segment of some log: of the least
    /// important lane that has more than its newest frame, one that holds most, to within a quarter; if nobody has still to get it.
    /// Else a derived log that is in use. Else that segment, whoever loses it. False: there is nothing left to free at or below the
    /// priority of stream `id`, or not for one that was asleep.
    #[cold]
    pub(super) fn make_room_for(&mut self, id: u32) -> bool {
        if self.give_up_derived(id, true) {
            return true;
        }
        let own = self.lane_of(id).priority;
        let stream = &self.streams[id];
        let is_modest = stream.woken.is_some_and(|tries| tries < TRIES_MAX) && own != Priority::Critical;
        if is_modest && self.pool.lent_to(Referrer::Derived) >= self.pool.limit_bytes() / WOKEN_PART {
            return false;
        }
        if let Some(victim) = self.rank.blocks.largest(own)
            && !self.is_needed(victim)
            && self.forget_oldest(victim)
        {
            return true;
        }
        if is_modest {
            return false;
        }
        if self.give_up_derived(id, false) {
            return true;
        }
        while let Some(victim) = self.rank.blocks.largest(own) {
            if self.forget_oldest(victim) {
                return true;
            }
            self.unrank(victim);
        }
        false
    }

    /// Whether somebody has still to get some of the oldest segment of a log. Of many cursors only some are asked.
    fn is_needed(&mut self, id: u32) -> bool {
        let forms = self.lanes[self.streams[id].lane].streams.iter().filter(|&&form| form != NONE);
        let asked: usize = forms.map(|&form| self.streams[form].cursors.all.len().min(ASKED_MAX)).sum();
        self.rank.steps += 1 + asked as u32 / CURSORS_A_STEP;
        let stream = &self.streams[id];
        let Some(survivor) = stream.log.survivor_of_forgetting() else { return false };
        let is_behind = |stream: &Stream| stream.cursors.all.iter().take(ASKED_MAX).any(|c| c.position < survivor);
        if stream.form != Form::Raw || is_behind(stream) {
            return is_behind(stream);
        }
        // A derived log that has them already does without.
        let forms = self.lanes[stream.lane].streams.iter().skip(1).filter(|&&form| form != NONE);
        forms.map(|&form| &self.streams[form]).any(|form| form.taken() < survivor && is_behind(form))
    }

    /// Gives up a derived log of another lane than that of stream `id`, one that is idle or any, if one is soon found.
    fn give_up_derived(&mut self, id: u32, must_be_idle: bool) -> bool {
        let own_lane = self.streams[id].lane;
        for _ in 0..LOOKS_FOR_DERIVED {
            let Some(victim) = self.rank.first_derived() else { return false };
            let stream = &self.streams[victim];
            self.rank.steps += 1 + stream.cursors.all.len().min(ASKED_MAX) as u32 / CURSORS_A_STEP;
            let is_idle =
                stream.open.is_none() && (self.now_ns.saturating_sub(stream.filled_ns) >= IDLE_NS || stream.is_read());
            if stream.lane != own_lane && (is_idle || !must_be_idle) {
                self.put_to_sleep(victim);
                return true;
            }
            // Behind the others.
            self.rank.derived.remove(victim);
            self.rank.derived.set(victim, ANY, 1);
        }
        false
    }

    /// As [`Lanes::make_room_for`], of the logs that are counted together with this one, by what they refer to.
    fn make_reference_room(&mut self, id: u32) -> bool {
        let own = self.lane_of(id).priority;
        let referrer = self.streams[id].log.referrer();
        while let Some(victim) = self.rank.referred[referrer as usize].largest(own) {
            if self.forget_oldest(victim) {
                return true;
            }
            self.unrank(victim);
        }
        false
    }

    /// Only its newest frame is left: it is in question again after its next one.
    fn unrank(&mut self, id: u32) {
        self.rank.blocks.remove(id);
        self.rank.referred.iter_mut().for_each(|ranking| ranking.remove(id));
        self.streams[id].ranked_segments = 0;
    }

    /// Forgets the oldest segment of a log, whatever cursors stand in it: half-sent frames move out first, and who loses
    /// what must not be lost is named. False: it has but its newest frame.
    pub(super) fn forget_oldest(&mut self, id: u32) -> bool {
        let Some(survivor) = self.streams[id].log.survivor_of_forgetting() else { return false };
        let cursors = &self.streams[id].cursors;
        if cursors.half_sent > 0 {
            self.rank.steps += cursors.all.len() as u32 / CURSORS_A_STEP;
        }
        self.rank.steps += 1;
        self.move_rests_out(id, survivor);
        self.remember_numbers(id, survivor);
        let Self { streams, lanes, pool, effects, rank, .. } = self;
        let Stream { log, form, lane, .. } = &mut streams[id];
        let lane = &mut lanes[*lane];
        if *form == Form::Raw && !lane.keys.is_empty() {
            let gone = log.entries_from(Position::FIRST).take_while(|e| e.position < survivor);
            for entry in gone {
                lane.keys.forget(entry.key, entry.position);
                rank.steps += 1;
            }
        }
        log.forget_oldest(pool);
        if lane.is_lossless {
            rank.steps += name_laggards(&streams[id], survivor, effects);
            if streams[id].form == Form::Raw {
                // A derived log that has not taken them cannot be made of them any more.
                let derived = lane.streams.iter().skip(1).filter(|&&form| form != NONE).map(|&form| &streams[form]);
                let behind = derived.filter(|log| log.taken() < survivor);
                rank.steps += behind.map(|log| name_laggards(log, survivor, effects)).sum::<u32>();
            }
        }
        self.rank(id);
        true
    }

    /// Forgets all that a log holds, so that a frame may be missing after it.
    pub(super) fn forget_all(&mut self, id: u32) {
        while self.forget_oldest(id) {}
        self.move_rests_out(id, Position::END);
        self.remember_numbers(id, Position::END);
        let Self { streams, lanes, pool, .. } = self;
        let Stream { log, form, lane, .. } = &mut streams[id];
        if *form == Form::Raw {
            log.entries_from(Position::FIRST).for_each(|e| lanes[*lane].keys.forget(e.key, e.position));
        }
        log.clear(pool);
        self.rank(id);
        self.name_who_lost(id);
    }

    /// Names who has lost what must not be lost, where a source holds nothing of what was before its head. A derived log is made again from
    /// its source; who has lost something there is found when it is looked at.
    pub(super) fn name_who_lost(&mut self, id: u32) {
        let Self { streams, lanes, effects, rank, .. } = self;
        let stream = &streams[id];
        if stream.form == Form::Raw && lanes[stream.lane].is_lossless {
            rank.steps += name_laggards(stream, stream.log.next(), effects);
        }
    }

    /// Gives up what a lane was to have before `edge`, which this shard has not read.
    pub fn skip_to(&mut self, lane: u32, edge: Edge) {
        let source = self.lanes[lane].streams[Form::Raw as usize];
        if self.streams[source].log.next() >= edge.next {
            return;
        }
        self.lose_until(source, edge);
        self.lanes[lane].keys.skip_to(edge.next);
        self.note_grown(lane);
        self.activate(source);
    }

    /// Gives up what a log could have had between its head and `edge`.
    pub(super) fn lose_until(&mut self, id: u32, edge: Edge) {
        self.forget_all(id);
        self.streams[id].log.skip_to(edge);
        self.name_who_lost(id);
    }
}

/// Names those who stand before message `first`, where what was there is lost to them. Returns the steps.
fn name_laggards(stream: &Stream, first: Position, effects: &mut Vec<Effect>) -> u32 {
    let (Cursors { all, links, .. }, before) = (&stream.cursors, effects.len());
    let lost = all.iter().zip(links).filter(|(cursor, _)| cursor.position < first);
    effects.extend(lost.map(|(cursor, &link)| Effect::Lost { slot: cursor.slot, link }));
    all.len() as u32 / CURSORS_A_STEP + STEPS_A_LOSS * (effects.len() - before) as u32
}

impl Rank {
    fn note(&mut self, id: u32, stream: &Stream, priority: Priority) {
        let may_forget = stream.log.segments() > 1;
        let of = |bytes: usize| if may_forget { bytes } else { 0 };
        self.blocks.set(id, priority, of(stream.log.charged_bytes()));
        if stream.form != Form::Raw {
            self.derived.set(id, ANY, stream.log.segments().min(1));
        }
        for referrer in [Referrer::Source, Referrer::Derived] {
            let bytes = if stream.log.referrer() == referrer { stream.log.referred_bytes() } else { 0 };
            self.referred[referrer as usize].set(id, priority, of(bytes));
        }
    }

    /// The derived log that has held something for longest.
    pub(super) fn first_derived(&self) -> Option<u32> {
        self.derived.largest(ANY)
    }

    /// Forgets a log.
    pub(super) fn remove(&mut self, id: u32) {
        self.blocks.remove(id);
        self.derived.remove(id);
        self.referred.iter_mut().for_each(|ranking| ranking.remove(id));
    }
}
