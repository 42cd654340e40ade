//! One raw connection's account. It is told nothing but payloads: the [`Truth`] and the shards' notes say what is missing.

use std::collections::BTreeMap;

use super::matches::matches;
use super::payload::{Stamp, TINY};
use super::truth::{DIRECT, Lane, Truth};
use super::view::{Moment, Subscriber, check_is_wanted};
use crate::types::Priority;

/// See the module's head.
pub struct RawView {
    /// Whose it is.
    pub subscriber: Subscriber,
    /// What the connection subscribed to.
    pub topics: Vec<String>,
    /// By lane: the position that comes next if none is lost or passed over.
    next: BTreeMap<Lane, u64>,
    /// Messages to this connection alone.
    direct: u64,
}

impl RawView {
    /// The account of a connection to `topics`.
    pub fn new(subscriber: Subscriber, topics: Vec<String>) -> Self {
        RawView { subscriber, topics, next: BTreeMap::new(), direct: 0 }
    }

    /// A message.
    pub fn on_message(&mut self, payload: &[u8], is_text: bool, sent: Moment, truth: &mut Truth) {
        if self.topics.iter().any(|t| t == TINY) && !payload.starts_with(b"{\"t\":") {
            return self.on_tiny(payload, is_text, sent, truth);
        }
        let stamp = Stamp::parse_claim(payload).unwrap_or_else(|error| panic!("corrupt: {error}"));
        assert_eq!(super::truth::is_text(stamp.kind()), is_text, "{stamp:?} came as the wrong kind of message");
        if stamp.topic == DIRECT {
            assert_eq!(Stamp::parse(payload).as_ref(), Ok(&stamp));
            self.direct += 1;
            assert_eq!(stamp.number, self.direct, "messages to one connection come in order and all of them");
            return;
        }
        let asked = self.topics.iter().any(|pattern| matches(pattern, &stamp.topic));
        assert!(asked, "a message of another topic: {stamp:?}, asked for {:?}", self.topics);
        let (id, seq) = truth.place(&stamp);
        let lane = (id, stamp.priority);
        truth.check_payload(lane, seq, payload);
        self.take(&stamp.topic, lane, seq, sent, truth);
    }

    /// Too short to say what it is: it is the next that is due.
    fn on_tiny(&mut self, payload: &[u8], is_text: bool, sent: Moment, truth: &mut Truth) {
        // Messages of a topic's earlier life may still be on their way when it is made again.
        for id in truth.lives(TINY) {
            let lane = (id, Priority::Normal);
            let Some(seq) = self.next_due(lane, truth).filter(|seq| *seq <= truth.count(lane)) else { continue };
            let message = truth.sent(lane, seq);
            if *message.payload == *payload && super::truth::is_text(message.stamp.kind()) == is_text {
                return self.take(TINY, lane, seq, sent, truth);
            }
        }
        panic!("not the tiny message that is due: {payload:?}, {:?}", self.next);
    }

    /// The number that comes next in a lane: what was accounted for as lost does not.
    fn next_due(&self, lane: Lane, truth: &Truth) -> Option<u64> {
        let page = truth.ledger.pages(self.subscriber.socket, lane).last()?;
        let mut next = self.next.get(&lane).copied().unwrap_or(page.floor);
        for &(from, to, _) in &page.lost {
            if (from..=to).contains(&next) {
                next = to + 1;
            }
        }
        Some(next)
    }

    fn take(&mut self, topic: &str, lane: Lane, seq: u64, sent: Moment, truth: &mut Truth) {
        let priority = lane.1;
        let Subscriber { socket, shard, wishes, is_derived } = self.subscriber;
        let pages = truth.ledger.pages(socket, lane);
        let [page] = pages else { panic!("{topic} {priority}: {} cursors for one subscription", pages.len()) };
        let linked = &page.linked;
        let next = *self.next.entry(lane).or_insert_with(|| {
            let expected = truth.expected_start(lane, linked, None);
            assert_eq!((page.first, page.floor), (expected.0, expected.1), "{topic} {priority}");
            page.floor
        });
        assert!(seq >= next, "{topic} {priority}: {seq} comes, and {next} is next");
        let lost = |seq: u64| page.lost.iter().any(|(from, to, _)| (*from..=*to).contains(&seq));
        assert!(!lost(seq), "{topic} {priority} {seq} was accounted for as lost, and comes");
        let mut holes = 0;
        let mut passed_over = 0;
        for hole in next..seq {
            if lost(hole) {
                assert!(priority != Priority::Critical, "critical message {hole} of {topic} is missing");
                holes += 1;
            } else {
                let excused = truth.may_be_passed_over(lane, hole, wishes, sent.wall_ns, false);
                assert!(excused, "{topic} {priority}: {seq} comes, and {hole} is missing without an account");
                passed_over += 1;
            }
        }
        check_is_wanted(truth, topic, lane, seq, wishes, sent, shard, is_derived);
        truth.raw_holes[priority as usize] += holes;
        truth.passed_over += passed_over;
        truth.deliveries += 1;
        self.next.insert(lane, seq + 1);
    }

    /// After everything has been delivered: every lane's messages have come up to its end, but for those accounted for.
    pub fn check_complete(&self, truth: &Truth, wall_ns: u64) {
        for (topic, &id) in &truth.topics {
            if !self.topics.iter().any(|pattern| matches(pattern, topic)) {
                continue;
            }
            for priority in Priority::ALL {
                let lane = (id, priority);
                let count = truth.count(lane);
                if count == 0 {
                    continue;
                }
                let page = truth.ledger.pages(self.subscriber.socket, lane).last();
                let page = page.unwrap_or_else(|| panic!("{topic} {priority}: there never was a cursor"));
                let next = self.next.get(&lane).copied().unwrap_or(page.floor);
                for seq in next..=count {
                    let is_lost = page.lost.iter().any(|(from, to, _)| (*from..=*to).contains(&seq));
                    let wishes = self.subscriber.wishes;
                    let excused = is_lost || truth.may_be_passed_over(lane, seq, wishes, wall_ns, true);
                    assert!(excused, "{topic} {priority}: {count} messages, and {seq} never came");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::ingest::Head;
    use crate::log::{Position, Seq};
    use crate::proto::server_message::GapReason;
    use crate::shard::trace::{Linked, Lost, Note, Start};
    use crate::types::{ConnectionId, TopicId};

    #[test]
    fn raw_numbers_only_grow_and_holes_have_an_account() {
        let (id, me) = (TopicId(1), ConnectionId::new(0, 1, 0));
        let mut truth = Truth::new(Vec::new(), 1);
        truth.on_created(id, "t", 1);
        let stamp = |number| Stamp::new("t", Priority::Low, 0, number, 1, 9);
        for number in 1..=7 {
            let stamp = stamp(number);
            let head = Head::message(id, Priority::Low, stamp.kind());
            truth.on_message(&head, &stamp.attributes(), &stamp.render());
        }
        let start = Start { floor: Position(3), lost: None };
        let linked = Linked { start, head: 4, log_floor: 1, last: Some(3), wall_ns: 0, is_first: false };
        let lost = Lost { from: Seq(4), to: Seq(5), count: Some(2), reason: GapReason::Lag };
        let lost = Note::Lost(me, id, Priority::Low, lost);
        let notes = vec![Note::Accepted(me), Note::Linked(me, id, Priority::Low, linked), lost];
        truth.on_notes(0, 1, notes, vec![0]);
        let mut view = RawView::new(Subscriber::default(), vec!["t".into()]);
        let mut comes = |number: u64, is_text| {
            let payload = stamp(number).render();
            let take = || view.on_message(&payload, is_text, Moment::default(), &mut truth);
            catch_unwind(AssertUnwindSafe(take)).is_ok()
        };
        assert!(!comes(2, false), "before the beginning");
        assert!(!comes(3, true), "as text");
        assert!(comes(3, false));
        assert!(!comes(5, false), "accounted for as lost");
        assert!(!comes(7, false), "6 is missing");
        assert!(comes(6, false));
        assert!(!comes(6, false), "again");
        assert_eq!(truth.raw_holes, [0, 0, 0, 2]);
        assert!(catch_unwind(AssertUnwindSafe(|| view.check_complete(&truth, 0))).is_err(), "7 never came");
    }
}
