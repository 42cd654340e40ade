//! One connection's account of what it gets in a subprotocol, held against the [`Truth`] and the shards' own notes.

use std::collections::{BTreeMap, BTreeSet};

use super::matches::matches;
use super::truth::{Lane, Page, Truth, Wishes};
use crate::config::SlowPolicy;
use crate::proto::server_message::{GapReason, Missing};
use crate::types::{Kind, Priority, TopicId};

/// When something was sent to the client: the first byte of its frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Virtual time.
    pub now_ns: u64,
    /// Wall clock.
    pub wall_ns: u64,
    /// The shard's turn.
    pub turn: u64,
}

/// What an account needs to know of its client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscriber {
    /// Its socket's number.
    pub socket: usize,
    /// Its shard.
    pub shard: usize,
    /// What it asked for beyond the messages.
    pub wishes: Wishes,
    /// It is served from derived logs.
    pub is_derived: bool,
}

/// What a client knows of a topic from an earlier connection: epoch, and the newest number by priority.
pub type Since = (u64, [Option<u64>; 4]);

#[derive(Clone, Debug, Default)]
struct LaneView {
    /// The position of the message that comes next, if none is passed over.
    next: u64,
    /// The page of the ledger that this is, once anything is known of it.
    page: Option<usize>,
    /// The gap that the subscription began with and that is still to be told.
    owed: Option<(u64, u64, GapReason)>,
    /// Gaps told.
    told: usize,
    /// The next batch may begin with what is not due.
    may_overlap: bool,
    /// When the last frame was sent.
    sent_ns: Option<u64>,
}

#[derive(Clone, Debug)]
struct TopicView {
    id: TopicId,
    epoch: u64,
    lanes: [LaneView; 4],
}

/// See the module's head.
#[derive(Default)]
pub struct View {
    /// Whose it is.
    pub subscriber: Subscriber,
    /// Names and patterns that the client asked for and did not hear the end of.
    pub asked: BTreeSet<String>,
    /// A request was refused half-way: from then on the client cannot know which of its subscriptions stand.
    pub was_refused: bool,
    /// It has made another request than the first, which said what it had.
    pub has_asked_again: bool,
    /// What it asked to go on from.
    pub since: BTreeMap<String, Since>,
    /// It asked for everything kept of the topics that its `since` does not name.
    pub from_oldest: bool,
    /// Names whose newest request has not been answered yet, by its `id`.
    pub unanswered: BTreeMap<String, u64>,
    topics: BTreeMap<String, TopicView>,
}

impl View {
    /// An account for this client.
    pub fn new(subscriber: Subscriber) -> Self {
        View { subscriber, ..View::default() }
    }

    /// What it would go on from, should it come back.
    pub fn legacy(&self, truth: &Truth) -> BTreeMap<String, Since> {
        let last = |view: &TopicView, priority: Priority| {
            truth.seq_before((view.id, priority), view.lanes[priority as usize].next)
        };
        let since = |view: &TopicView| {
            (view.epoch, Priority::ALL.map(|priority| Some(last(view, priority)).filter(|seq| *seq > 0)))
        };
        self.topics.iter().map(|(name, view)| (name.clone(), since(view))).collect()
    }

    /// It asks for these names and patterns.
    pub fn on_asks(&mut self, id: u64, topics: &[String]) {
        self.has_asked_again |= !self.asked.is_empty();
        self.asked.extend(topics.iter().cloned());
        let (patterns, names): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| topic.contains('*'));
        // A pattern asks for the topic again: its `id`, or that of an earlier request that brings the topic, is told.
        self.unanswered.retain(|name, _| !patterns.iter().any(|pattern| matches(pattern, name)));
        let brought = |name: &str| patterns.iter().any(|pattern| matches(pattern, name));
        self.unanswered.extend(names.into_iter().filter(|name| !brought(name)).map(|name| (name.clone(), id)));
    }

    /// An answer to a request.
    pub fn on_answer(&mut self, topic: &str, id: Option<u64>) {
        if id.is_some() && self.unanswered.get(topic) == id.as_ref() {
            self.unanswered.remove(topic);
        }
    }

    /// `subscribed`.
    pub fn on_subscribed(&mut self, topic: &str, id: u32, epoch: u64, seqs: [Option<u64>; 4], truth: &mut Truth) {
        let id = TopicId(id);
        assert!(
            self.asked.iter().any(|pattern| matches(pattern, topic)),
            "`subscribed` for {topic}, which was not asked for: {:?}",
            self.asked
        );
        assert_eq!(truth.name(id), Some(topic), "`subscribed` with a wrong topic_id");
        assert_eq!(truth.epoch_by_id.get(&id), Some(&epoch), "{topic}: another epoch than its record has");
        let told = Priority::ALL.map(|priority| ((id, priority), seqs[priority as usize].unwrap_or(0)));
        for (lane, seq) in told {
            let last = truth.seq_before(lane, truth.count(lane) + 1);
            assert!(seq <= last, "{topic} {}: `subscribed` tells of seq {seq}, the last is {last}", lane.1);
        }
        let next = told.map(|(lane, seq)| truth.behind(lane, seq));
        let before = self.topics.remove(topic).filter(|view| view.id == id);
        if let Some(mut view) = before {
            for priority in Priority::ALL {
                let lane = &mut view.lanes[priority as usize];
                let next = next[priority as usize];
                if self.was_refused {
                    // It may be a new subscription.
                    let pages = truth.ledger.pages(self.subscriber.socket, (id, priority));
                    let page = pages.iter().rposition(|page| page.floor == next);
                    if page.is_some() && page != lane.page {
                        *lane = LaneView { next, page, may_overlap: true, ..LaneView::default() };
                    }
                }
                if next == lane.next {
                    continue;
                }
                if lane.page.is_none() {
                    let pages = truth.ledger.pages(self.subscriber.socket, (id, priority));
                    lane.page = pages.iter().rposition(|page| page.floor == lane.next);
                }
                // What was passed over may be behind the cursor already.
                let wishes = self.subscriber.wishes;
                let goes_on = next > lane.next
                    && (lane.next..next).all(|s| truth.may_be_passed_over((id, priority), s, wishes, u64::MAX, false));
                assert!(
                    goes_on || self.was_refused,
                    "{topic} {priority}: `subscribed` again, and the lane goes on at {next} instead of {}",
                    lane.next
                );
                lane.next = next;
                lane.may_overlap = true;
            }
            view.epoch = epoch;
            self.topics.insert(topic.to_owned(), view);
            return;
        }
        let socket = self.subscriber.socket;
        let lanes = Priority::ALL.map(|priority| {
            let lane = (id, priority);
            let next = next[priority as usize];
            let mut view = LaneView { next, may_overlap: true, ..LaneView::default() };
            if seqs[priority as usize].is_some() {
                let pages = truth.ledger.pages(socket, lane);
                // Earlier subscriptions to this topic have pages of their own, also those that were given up unannounced.
                let at = pages.iter().rposition(|page| page.floor == next);
                let at = at.unwrap_or_else(|| panic!("{topic} {priority}: no cursor ever began at {next}: {pages:?}"));
                view.page = Some(at);
                view.owed = self.check_start(topic, lane, epoch, &pages[at], truth);
                if self.since.contains_key(topic) || self.from_oldest {
                    truth.resumed += 1;
                }
            }
            view
        });
        self.topics.insert(topic.to_owned(), TopicView { id, epoch, lanes });
    }

    /// Where the cursor begins is what the rules say.
    fn check_start(
        &self,
        topic: &str,
        lane: Lane,
        epoch: u64,
        page: &Page,
        truth: &Truth,
    ) -> Option<(u64, u64, GapReason)> {
        let said = self.since.get(topic).map(|(e, seqs)| (*e == epoch, seqs[lane.1 as usize].unwrap_or(0)));
        let said = said.or(self.from_oldest.then_some((true, 0)));
        let expect = |since| {
            let (first, floor, reason) = truth.expected_start(lane, &page.linked, since);
            ((page.first, page.floor) == (first, floor)).then_some(reason)
        };
        // Of two requests that bring a topic it may be either that did.
        let reason = expect(said).or_else(|| if self.has_asked_again { expect(None) } else { None });
        let reason = reason
            .unwrap_or_else(|| panic!("{topic} {}: {:?}, since {said:?} (true: the same epoch)", lane.1, page.linked));
        page.linked.start.lost.map(|lost| {
            assert_eq!(lost.reason, reason);
            (page.first, page.floor - 1, reason)
        })
    }

    /// `unsubscribed`: what only this pattern brought comes no more.
    pub fn on_unsubscribed(&mut self, pattern: &str, truth: &Truth) {
        self.asked.remove(pattern);
        self.unanswered.remove(pattern);
        let asked = &self.asked;
        let mut gone = Vec::new();
        self.topics.retain(|topic, view| {
            let stays = !matches(pattern, topic) || asked.iter().any(|other| matches(other, topic));
            if !stays {
                gone.push((topic.clone(), view.clone()));
            }
            stays
        });
        for (topic, view) in gone {
            self.check_gaps_were_told(&topic, &view, truth);
        }
    }

    /// Every loss that the shard accounted for was told, exactly.
    fn check_gaps_were_told(&self, topic: &str, view: &TopicView, truth: &Truth) {
        for priority in Priority::ALL {
            let lane = &view.lanes[priority as usize];
            let pages = truth.ledger.pages(self.subscriber.socket, (view.id, priority));
            let page = lane.page.or_else(|| pages.iter().rposition(|page| page.floor == lane.next));
            let Some(page) = page else { continue };
            let lost = &pages[page].lost;
            assert_eq!(lane.told, lost.len(), "{topic} {priority}: of these gaps only so many were told: {lost:?}");
        }
    }

    /// The lane of a message or gap; says where its page in the ledger is if that was not known yet.
    fn lane(&mut self, topic: &str, priority: Priority, truth: &Truth) -> (Lane, &mut LaneView) {
        let view = self.topics.get_mut(topic).unwrap_or_else(|| panic!("data of {topic} before its `subscribed`"));
        let id = view.id;
        let lane = &mut view.lanes[priority as usize];
        if lane.page.is_none() {
            let pages = truth.ledger.pages(self.subscriber.socket, (id, priority));
            lane.page = pages.iter().rposition(|page| page.floor == lane.next);
        }
        ((id, priority), lane)
    }

    /// One message, or the messages of one batch: first number, payloads, their kind and time.
    pub fn on_frame(
        &mut self,
        topic: &str,
        priority: Priority,
        messages: &[(u64, Kind, u64, &[u8])],
        is_batch: bool,
        sent: Moment,
        truth: &mut Truth,
    ) {
        let Subscriber { wishes, shard, socket, is_derived } = self.subscriber;
        let (lane, view) = self.lane(topic, priority, truth);
        let (first, last) = (truth.at(lane, messages[0].0), truth.at(lane, messages[messages.len() - 1].0));
        assert_eq!(view.owed, None, "{topic} {priority}: a message comes before the gap that it begins with");
        let next = view.next;
        assert!(last >= next, "{topic} {priority}: {first} to {last} come, and {next} is next");
        if first < next {
            // Batches end elsewhere after a log was built again, and where a subscription begins.
            let may_overlap = is_batch && (view.may_overlap || truth.rebuilt[shard] > 0);
            assert!(may_overlap, "{topic} {priority}: {first} comes again, and {next} is next");
        }
        view.may_overlap = false;
        if first > next {
            for seq in next..first {
                let excused = truth.may_be_passed_over(lane, seq, wishes, sent.wall_ns, false);
                assert!(
                    excused,
                    "{topic} {priority}: {first} comes, and {seq} was neither told lost nor to be passed over"
                );
                truth.passed_over += 1;
            }
        }
        view.next = last + 1;
        if wishes.interval_ns > 0 && priority != Priority::Critical && !truth.is_ending {
            let after = view.sent_ns.map(|before| sent.now_ns - before);
            let is_due = after.is_none_or(|after| after >= wishes.interval_ns);
            assert!(is_due, "{topic} {priority}: {first} comes {after:?} ns after the last, asked for {wishes:?}");
        }
        view.sent_ns = Some(sent.now_ns);
        let page = view.page;
        let lost_it = |seq: u64| {
            let page = &truth.ledger.pages(socket, lane)[page?];
            page.lost.iter().find(|(from, to, _)| (*from..=*to).contains(&seq)).copied()
        };
        for &(seq, kind, time_ns, payload) in messages {
            let seq = truth.at(lane, seq);
            let sent_as = truth.check_payload(lane, seq, payload);
            let expected = if is_batch { sent_as.stamp.kind() } else { sent_as.stamp.shown_kind() };
            assert_eq!(kind, expected, "{topic} {priority} {seq}: came as another kind");
            let time = if is_batch { sent_as.time_ns } else { sent_as.time_ns / 1_000 };
            assert_eq!(time_ns, time, "{topic} {priority} {seq}: came with another time");
            let is_alone = messages.len() == 1;
            assert!(is_alone || !sent_as.travels_alone, "{topic} {priority} {seq} shares a batch");
            if seq >= next {
                assert_eq!(lost_it(seq), None, "{topic} {priority} {seq} was accounted for as lost, and comes");
                check_is_wanted(truth, topic, lane, seq, wishes, sent, shard, is_derived);
                truth.deliveries += 1;
            }
        }
        truth.batches += u64::from(messages.len() > 1);
    }

    /// `gap`.
    pub fn on_gap(
        &mut self,
        topic: &str,
        priority: Priority,
        (from, to, missing, reason): (u64, u64, Missing, GapReason),
        sent: Moment,
        truth: &mut Truth,
    ) {
        let Subscriber { wishes, socket, .. } = self.subscriber;
        let (lane, view) = self.lane(topic, priority, truth);
        let last = truth.seq_before(lane, truth.count(lane) + 1);
        assert!(from <= to && to <= last, "{topic} {priority}: a gap from {from} to {to} of {last}");
        let numbers = to - from + 1;
        let (from, to) = (truth.behind(lane, from - 1), truth.behind(lane, to) - 1);
        let is_true = match missing {
            Missing::All => to + 1 - from == numbers,
            Missing::Some(count) => to + 1 - from == count && count < numbers,
            // What a client says that it has may be long gone.
            Missing::Unknown => view.owed.is_some() && from <= to,
        };
        assert!(is_true, "{topic} {priority}: {missing:?} in a gap of {numbers} numbers, positions {from} to {to}");
        match view.owed.take() {
            Some(owed) => assert_eq!((from, to, reason), owed, "{topic} {priority}: the gap that it begins with"),
            None => {
                assert_eq!(reason, GapReason::Lag, "{topic} {priority}: a gap from {from} to {to} in the middle");
                assert!(priority != Priority::Critical, "{topic}: a gap of critical messages {from} to {to}");
                let policy = truth.settings_of(lane.0).policy;
                assert!(policy != SlowPolicy::Disconnect, "{topic} {priority}: a gap in spite of its policy");
                let next = view.next;
                assert!(from >= next, "{topic} {priority}: a gap from {from} to {to}, and {next} is next");
                let excused = (next..from).all(|s| truth.may_be_passed_over(lane, s, wishes, sent.wall_ns, false));
                assert!(excused, "{topic} {priority}: a gap from {from}, and {next} is next");
                view.next = to + 1;
                truth.announced[priority as usize] += to - from + 1;
            }
        }
        let page = view.page.unwrap_or_else(|| panic!("{topic} {priority}: a gap, and no cursor is known"));
        let lost = &truth.ledger.pages(socket, lane)[page].lost;
        let accounted = lost.get(view.told);
        assert_eq!(accounted, Some(&(from, to, reason)), "{topic} {priority}: the shard accounted for {lost:?}");
        view.told += 1;
    }

    /// After everything has been delivered: the client has every topic it asked for, stands at the end of every lane, and was told
    /// of every loss.
    pub fn check_complete(&self, truth: &Truth, wall_ns: u64) {
        let wishes = self.subscriber.wishes;
        for (topic, &id) in &truth.topics {
            if self.was_refused || !self.asked.iter().any(|pattern| matches(pattern, topic)) {
                continue;
            }
            let Some(view) = self.topics.get(topic) else { panic!("{topic} was asked for and never `subscribed`") };
            assert_eq!(view.id, id, "{topic} began anew, and the client was not told");
            let unanswered = self.unanswered.get(topic);
            assert_eq!(unanswered, None, "`subscribed` for {topic} came without the `id` of the newest request");
            for priority in Priority::ALL {
                let lane = (id, priority);
                let view = &view.lanes[priority as usize];
                let count = truth.count(lane);
                for seq in view.next..=count {
                    let excused = truth.may_be_passed_over(lane, seq, wishes, wall_ns, true);
                    let (sent, last) = (&truth.sent(lane, seq).stamp, &truth.sent(lane, count).stamp);
                    assert!(excused, "{topic} {priority}: {count} messages, and {seq} never came: {sent:?} … {last:?}");
                }
                assert_eq!(view.owed, None, "{topic} {priority}: the gap that it begins with was never told");
            }
            self.check_gaps_were_told(topic, view, truth);
        }
    }
}

/// A message that is sent was not to be left out.
#[expect(clippy::too_many_arguments, reason = "one message, looked at from every side")]
pub fn check_is_wanted(
    truth: &Truth,
    topic: &str,
    lane: Lane,
    seq: u64,
    wishes: Wishes,
    sent: Moment,
    shard: usize,
    is_derived: bool,
) {
    if lane.1 == Priority::Critical {
        return;
    }
    let message = truth.sent(lane, seq);
    assert!(wishes.not_from != Some(message.stamp.publisher), "{topic} {} {seq}: its own message comes back", lane.1);
    if message.expiry_ns != 0 && message.expiry_ns <= sent.wall_ns {
        // Who does not lag gets it in the turn in which it was read, late as it may be; a log that is being built takes a few.
        let slack = if is_derived { if truth.rebuilt[shard] > 0 { u64::MAX / 2 } else { 3 } } else { 0 };
        let read = truth.ledger.read_in_turn(shard, lane, seq).expect("what is sent was read");
        let late_ns = sent.wall_ns - message.expiry_ns;
        assert!(
            sent.turn <= read + slack,
            "{topic} {} {seq}: read in turn {read}, sent in turn {}, {late_ns} ns after its end",
            lane.1,
            sent.turn
        );
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
