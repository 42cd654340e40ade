//! What must hold of everything a client receives.
//!
//! [`Truth`] is what went through the ring, read by an auditor of its own: it knows each lane's messages in their order,
//! hence their sequence numbers. [`JsonView`] and [`RawView`] follow one connection and hold it against the truth. A broken
//! rule panics: the run's seed is printed by who runs it.

use std::collections::{BTreeMap, BTreeSet};

use super::payload::Stamp;
use crate::types::{Kind, Priority, TopicId};

/// Topics that begin with this keep nothing for new subscribers.
pub const UNRETAINED: &str = "deep/";

/// The topic in the stamps of messages between the host and one connection, past all topics.
pub const DIRECT: &str = "$direct";

/// A message's identity, whatever its number in the lane: publisher and its own count.
type Message = (u32, u64);

/// What went through the ring.
#[derive(Default)]
pub struct Truth {
    /// Each lane's messages in order: the first has sequence number 1.
    lanes: BTreeMap<(TopicId, Priority), Vec<Message>>,
    /// Where a message stands.
    places: BTreeMap<(String, Priority, Message), (TopicId, u64)>,
    /// Topics that exist, by name.
    pub topics: BTreeMap<String, TopicId>,
    names: BTreeMap<TopicId, String>,
    /// Which topic an epoch was told for.
    epochs: BTreeMap<(String, u64), TopicId>,
    /// Records of messages, topics created and topics removed.
    pub messages: u64,
    /// Messages by publisher.
    pub by_publisher: BTreeMap<u32, u64>,
    /// Messages that gap notices announced as lost.
    pub announced: [u64; 4],
    /// Messages that raw clients found missing.
    pub raw_holes: [u64; 4],
    /// Messages received, over all clients.
    pub deliveries: u64,
}

impl Truth {
    /// A topic begins.
    pub fn on_created(&mut self, id: TopicId, name: &str) {
        assert!(self.names.insert(id, name.to_owned()).is_none(), "topic number {id:?} given twice");
        assert!(self.topics.insert(name.to_owned(), id).is_none(), "topic {name} made twice");
    }

    /// A topic ends.
    pub fn on_removed(&mut self, id: TopicId) {
        let name = self.names.get(&id).expect("a topic was made before it is removed");
        assert_eq!(self.topics.remove(name), Some(id), "topic {name} is not there to be removed");
    }

    /// A message is accepted.
    pub fn on_message(&mut self, id: TopicId, priority: Priority, kind: Kind, payload: &[u8]) {
        let stamp = Stamp::parse(payload).unwrap_or_else(|error| panic!("corrupt in the ring: {error}"));
        let name = self.names.get(&id).expect("a topic's record comes before its messages");
        if self.topics.get(name) != Some(&id) {
            // Too late: the topic was removed just before. Nobody gets this.
            return;
        }
        assert_eq!(
            (&stamp.topic, stamp.priority, stamp.kind()),
            (name, priority, kind),
            "{stamp:?} is in the wrong lane"
        );
        let lane = self.lanes.entry((id, priority)).or_default();
        let message = (stamp.publisher, stamp.number);
        lane.push(message);
        let place = (id, lane.len() as u64);
        let before = self.places.insert((stamp.topic, priority, message), place);
        assert_eq!(before, None, "message {message:?} went through the ring twice");
        self.messages += 1;
        *self.by_publisher.entry(message.0).or_default() += 1;
    }

    fn count(&self, id: TopicId, priority: Priority) -> u64 {
        self.lanes.get(&(id, priority)).map_or(0, |lane| lane.len() as u64)
    }

    fn place(&self, stamp: &Stamp) -> (TopicId, u64) {
        let key = (stamp.topic.clone(), stamp.priority, (stamp.publisher, stamp.number));
        *self.places.get(&key).unwrap_or_else(|| panic!("{stamp:?} was never published"))
    }
}

#[derive(Clone, Debug)]
struct TopicView {
    id: TopicId,
    /// By priority: the sequence number that comes next.
    next: [u64; 4],
    /// By priority: something came, or was announced as lost.
    has_begun: [bool; 4],
}

/// One JSON connection's account.
#[derive(Default)]
pub struct JsonView {
    /// Names and patterns that the client asked for and did not hear the end of.
    pub asked: BTreeSet<String>,
    /// A request was refused half-way: from then on the client cannot know which of its subscriptions stand.
    pub was_refused: bool,
    topics: BTreeMap<String, TopicView>,
}

impl JsonView {
    /// `subscribed`.
    pub fn on_subscribed(&mut self, topic: &str, id: u32, epoch: u64, seqs: [Option<u64>; 4], truth: &mut Truth) {
        let id = TopicId(id);
        assert!(
            self.asked.iter().any(|pattern| matches(pattern, topic)),
            "`subscribed` for {topic}, which was not asked for: {:?}",
            self.asked
        );
        assert_eq!(truth.names.get(&id).map(|n| &**n), Some(topic), "`subscribed` with a wrong topic_id");
        let told = *truth.epochs.entry((topic.to_owned(), epoch)).or_insert(id);
        assert_eq!(told, id, "{topic}: numbering began anew in the same epoch {epoch}");
        let next: [u64; 4] = std::array::from_fn(|p| seqs[p].unwrap_or(0) + 1);
        for (priority, next) in Priority::ALL.into_iter().zip(next) {
            let count = truth.count(id, priority);
            assert!(next <= count + 1, "{topic} {priority}: `subscribed` tells of seq {} of {count}", next - 1);
        }
        let mut has_begun = [false; 4];
        if let Some(before) = self.topics.remove(topic).filter(|view| view.id == id) {
            let goes_on = next == before.next || self.was_refused;
            assert!(
                goes_on,
                "{topic}: `subscribed` again, and the lanes go on at {next:?} instead of {:?}",
                before.next
            );
            has_begun = before.has_begun;
        }
        self.topics.insert(topic.to_owned(), TopicView { id, next, has_begun });
    }

    /// `unsubscribed`: what only this pattern brought comes no more.
    pub fn on_unsubscribed(&mut self, pattern: &str) {
        self.asked.remove(pattern);
        let asked = &self.asked;
        self.topics.retain(|topic, _| !matches(pattern, topic) || asked.iter().any(|other| matches(other, topic)));
    }

    /// `message`.
    pub fn on_message(&mut self, topic: &str, priority: Priority, seq: u64, stamp: &Stamp, truth: &mut Truth) {
        assert_eq!((topic, priority), (&*stamp.topic, stamp.priority), "a message came in the wrong lane: {stamp:?}");
        let view = self.topics.get_mut(topic).unwrap_or_else(|| panic!("data of {topic} before its `subscribed`"));
        assert_eq!(truth.place(stamp), (view.id, seq), "{stamp:?} came with seq {seq}");
        let next = view.next[priority as usize];
        assert_eq!(seq, next, "{topic} {priority}: seq {seq} came instead of {next}");
        view.next[priority as usize] = seq + 1;
        view.has_begun[priority as usize] = true;
        truth.deliveries += 1;
    }

    /// `gap`.
    pub fn on_gap(&mut self, topic: &str, priority: Priority, from: u64, to: u64, truth: &mut Truth) {
        assert!(priority != Priority::Critical, "{topic}: a gap of critical messages {from} to {to}");
        let view = self.topics.get_mut(topic).unwrap_or_else(|| panic!("a gap of {topic} before its `subscribed`"));
        let count = truth.count(view.id, priority);
        assert!(from <= to && to <= count, "{topic} {priority}: a gap from {from} to {to} of {count}");
        let next = view.next[priority as usize];
        assert_eq!(from, next, "{topic} {priority}: a gap from {from} to {to}, and {next} is next");
        view.next[priority as usize] = to + 1;
        view.has_begun[priority as usize] = true;
        truth.announced[priority as usize] += to - from + 1;
    }

    /// After everything has been delivered: the client has every topic it asked for and stands at the end of every lane. Where
    /// log memory did not suffice, even the last value may be missing.
    pub fn check_complete(&self, truth: &Truth, memory_sufficed: bool) {
        for (topic, &id) in &truth.topics {
            if self.was_refused || !self.asked.iter().any(|pattern| matches(pattern, topic)) {
                continue;
            }
            let Some(view) = self.topics.get(topic) else { panic!("{topic} was asked for and never `subscribed`") };
            assert_eq!(view.id, id, "{topic} began anew, and the client was not told");
            for priority in Priority::ALL {
                let count = truth.count(id, priority);
                let next = view.next[priority as usize];
                assert_eq!(next, count + 1, "{topic} {priority}: {count} messages, and the client waits for {next}");
                // At least the last value was due.
                let nothing_due = count == 0 || !memory_sufficed || topic.starts_with(UNRETAINED);
                assert!(
                    nothing_due || view.has_begun[priority as usize],
                    "{topic} {priority}: not even the last value"
                );
            }
        }
    }
}

/// One raw connection's account. The truth alone says what is missing.
pub struct RawView {
    /// What the connection subscribed to.
    pub topics: Vec<String>,
    /// The last message by topic and priority.
    last: BTreeMap<(String, Priority), (TopicId, u64)>,
    /// Messages to this connection alone.
    direct: u64,
}

impl RawView {
    /// The account of a connection to `topics`.
    pub fn new(topics: Vec<String>) -> Self {
        RawView { topics, last: BTreeMap::new(), direct: 0 }
    }

    /// A message.
    pub fn on_message(&mut self, stamp: &Stamp, truth: &mut Truth) {
        if stamp.topic == DIRECT {
            self.direct += 1;
            assert_eq!(stamp.number, self.direct, "messages to one connection come in order and all of them");
            return;
        }
        let asked = self.topics.iter().any(|pattern| matches(pattern, &stamp.topic));
        assert!(asked, "a message of another topic: {stamp:?}, asked for {:?}", self.topics);
        let (id, seq) = truth.place(stamp);
        truth.deliveries += 1;
        let last = self.last.insert((stamp.topic.clone(), stamp.priority), (id, seq));
        let Some((last_id, last_seq)) = last.filter(|last| last.0 == id) else { return };
        assert!(last_seq < seq, "{stamp:?}, seq {seq} of {last_id:?}, came after seq {last_seq}");
        if seq > last_seq + 1 {
            assert!(
                stamp.priority != Priority::Critical,
                "critical messages {} to {} are missing",
                last_seq + 1,
                seq - 1
            );
            truth.raw_holes[stamp.priority as usize] += seq - last_seq - 1;
        }
    }

    /// After everything has been delivered: the newest message of each lane has come (unless there was no log memory for it).
    pub fn check_complete(&self, truth: &Truth, memory_sufficed: bool) {
        if !memory_sufficed {
            return;
        }
        for (topic, &id) in &truth.topics {
            if !self.topics.iter().any(|pattern| matches(pattern, topic)) {
                continue;
            }
            for priority in Priority::ALL {
                let last = self.last.get(&(topic.clone(), priority)).filter(|last| last.0 == id);
                let count = truth.count(id, priority);
                if last.is_none() && topic.starts_with(UNRETAINED) {
                    continue;
                }
                assert_eq!(last.map_or(0, |last| last.1), count, "{topic} {priority}: the last message");
            }
        }
    }
}

/// Whether a topic name matches a subscription: `*` is one level, a final `**` the rest. Written apart from the
/// engine's own, to check it.
pub fn matches(pattern: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    let mut wanted = pattern.split('/').peekable();
    if topic.starts_with('$') && !pattern.starts_with('$') {
        return false;
    }
    while let Some(want) = wanted.next() {
        if want == "**" && wanted.peek().is_none() {
            return levels.next().is_some();
        }
        match levels.next() {
            Some(level) if want == "*" || want == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const ID: TopicId = TopicId(3);

    fn stamp(number: u64) -> Stamp {
        Stamp { topic: "t".into(), priority: Priority::Normal, publisher: 0, number, kind: 0, filling: 0 }
    }

    /// Topic `t` with `count` messages.
    fn truth(count: u64) -> Truth {
        let mut truth = Truth::default();
        truth.on_created(ID, "t");
        for number in 1..=count {
            truth.on_message(ID, Priority::Normal, Kind::Text, &stamp(number).render());
        }
        truth
    }

    fn subscribed(newest: Option<u64>, count: u64) -> (JsonView, Truth) {
        let mut view = JsonView::default();
        let mut truth = truth(count);
        view.asked.insert("*".into());
        view.on_subscribed("t", ID.0, 1, [None, None, newest, None], &mut truth);
        (view, truth)
    }

    fn gets(view: &mut JsonView, truth: &mut Truth, seq: u64) {
        view.on_message("t", Priority::Normal, seq, &stamp(seq), truth);
    }

    fn panics(what: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(what)).is_err()
    }

    #[test]
    fn a_lane_goes_on_one_by_one_from_where_subscribed_says() {
        let (mut view, mut truth) = subscribed(Some(41), 50);
        gets(&mut view, &mut truth, 42);
        gets(&mut view, &mut truth, 43);
        assert!(panics(|| gets(&mut view, &mut truth, 43)), "a duplicate");
        assert!(panics(|| gets(&mut view, &mut truth, 45)), "a hole");
        let (mut view, mut truth) = subscribed(None, 5);
        assert!(panics(|| gets(&mut view, &mut truth, 2)), "a lane begins with 1");
    }

    #[test]
    fn a_wrong_number_shows() {
        let (mut view, mut truth) = subscribed(Some(1), 5);
        assert!(panics(|| view.on_message("t", Priority::Normal, 2, &stamp(3), &mut truth)));
        assert!(panics(|| view.on_message("t", Priority::Normal, 6, &stamp(6), &mut truth)), "never published");
        assert!(panics(|| view.on_subscribed("t", ID.0, 1, [None, None, Some(6), None], &mut truth)));
        assert!(panics(|| view.on_subscribed("t", ID.0, 1, [None, None, Some(4), None], &mut truth)), "a jump");
    }

    #[test]
    fn a_gap_is_announced_before_what_follows_and_never_twice() {
        let (mut view, mut truth) = subscribed(None, 20);
        gets(&mut view, &mut truth, 1);
        view.on_gap("t", Priority::Normal, 2, 9, &mut truth);
        assert!(panics(|| view.on_gap("t", Priority::Normal, 9, 10, &mut truth)));
        gets(&mut view, &mut truth, 10);
        assert!(panics(|| view.on_gap("t", Priority::Normal, 11, 21, &mut truth)), "beyond what there is");
        assert_eq!(truth.announced, [0, 0, 8, 0]);
        assert!(panics(|| view.on_gap("t", Priority::Critical, 1, 1, &mut truth)));
    }

    #[test]
    fn nothing_comes_without_a_subscription() {
        let (mut view, mut truth) = subscribed(None, 5);
        view.on_unsubscribed("*");
        assert!(panics(|| gets(&mut view, &mut truth, 1)));
        assert!(panics(|| view.on_subscribed("t", ID.0, 1, [None; 4], &mut truth)));
    }

    #[test]
    fn a_topic_stays_while_another_pattern_covers_it() {
        let (mut view, mut truth) = subscribed(None, 5);
        view.asked.insert("t".into());
        view.on_unsubscribed("*");
        gets(&mut view, &mut truth, 1);
    }

    #[test]
    fn a_topic_that_began_anew_has_a_new_epoch() {
        let (mut view, mut truth) = subscribed(None, 5);
        truth.on_removed(ID);
        truth.on_created(TopicId(4), "t");
        assert!(panics(|| view.on_subscribed("t", 4, 1, [None; 4], &mut truth)));
        view.on_subscribed("t", 4, 2, [None; 4], &mut truth);
    }

    #[test]
    fn an_incomplete_lane_shows_at_the_end() {
        let (mut view, mut truth) = subscribed(None, 2);
        gets(&mut view, &mut truth, 1);
        assert!(panics(|| view.check_complete(&truth, true)));
        gets(&mut view, &mut truth, 2);
        view.check_complete(&truth, true);
        truth.on_created(TopicId(9), "u");
        assert!(panics(|| view.check_complete(&truth, true)), "a topic it should have");
    }

    #[test]
    fn raw_numbers_only_grow_and_holes_are_counted() {
        let mut view = RawView::new(vec!["t".into()]);
        let mut truth = truth(7);
        view.on_message(&stamp(3), &mut truth);
        view.on_message(&stamp(6), &mut truth);
        assert_eq!(truth.raw_holes, [0, 0, 2, 0]);
        assert!(panics(|| view.on_message(&stamp(6), &mut truth)));
        assert!(panics(|| view.check_complete(&truth, true)));
        view.on_message(&stamp(7), &mut truth);
        view.check_complete(&truth, true);
        assert!(panics(|| view.on_message(&Stamp { topic: "u".into(), ..stamp(1) }, &mut truth)));
    }

    #[test]
    fn patterns_match_by_level() {
        for (pattern, topic, expected) in [
            ("a", "a", true),
            ("a", "a/b", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "a/b", true),
            ("**", "$x", false),
            ("*/b", "a/b", true),
        ] {
            assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
        }
    }
}
