//! Job: which messages of which lane have come, so that a subscription can go on where it ended.
//! Knows: epochs, sequence numbers, the `since` of a subscribe request. Must never know: connections, what messages hold.

use std::collections::{BTreeMap, BTreeSet};

use fanwire::Priority;
use fanwire::proto::json;
use fanwire::proto::server_message::Subscribed;
use fanwire::proto::subscribe::REQUEST_BYTES_MAX;
use fanwire::proto::topic::Pattern;
use serde::{Deserialize, Serialize};

/// Room in a request for everything that is not its `since`: as many topics as a request may have, by their usual length.
const REST_BYTES: usize = 64 << 10;

/// One topic's numbers: its epoch and, by priority, the last number that came or was said to be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Numbers {
    /// Which numbering.
    pub epoch: u64,
    /// `None`: nothing of that lane.
    pub seq: [Option<u64>; Priority::ALL.len()],
}

/// The same as it is written.
#[derive(Deserialize, Serialize)]
struct Written {
    epoch: u64,
    #[serde(default)]
    seq: BTreeMap<String, u64>,
}

impl TryFrom<Written> for Numbers {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let mut numbers = Numbers { epoch: written.epoch, ..Numbers::default() };
        for (lane, seq) in written.seq {
            let priority = Priority::from_name(&lane).ok_or_else(|| format!("`{lane}` is no priority"))?;
            numbers.seq[priority as usize] = Some(seq);
        }
        Ok(numbers)
    }
}

impl From<Numbers> for Written {
    fn from(numbers: Numbers) -> Self {
        let lanes = Priority::ALL.into_iter().zip(numbers.seq);
        let seq = lanes.filter_map(|(priority, seq)| Some((priority.name().to_owned(), seq?))).collect();
        Written { epoch: numbers.epoch, seq }
    }
}

impl Numbers {
    /// Sets a lane's number. False, and nothing is changed, if it is not higher than what was there.
    pub fn advance(&mut self, priority: Priority, seq: u64) -> bool {
        let last = &mut self.seq[priority as usize];
        let is_new = last.is_none_or(|last| seq > last);
        if is_new {
            *last = Some(seq);
        }
        is_new
    }

    /// Bytes that an entry of a `since` takes with these lanes, however large their numbers grow.
    fn entry_bytes_max(&self, topic: &str) -> usize {
        const AROUND: usize = r#":{"epoch":18446744073709551615,"seq":{}},"#.len();
        const NUMBER: usize = r#""":18446744073709551615,"#.len();
        let mut name = Vec::with_capacity(topic.len() + 2);
        json::string(&mut name, topic);
        let lanes = Priority::ALL.into_iter().zip(self.seq).filter(|(_, seq)| seq.is_some());
        name.len() + AROUND + lanes.map(|(priority, _)| priority.name().len() + NUMBER).sum::<usize>()
    }
}

/// One topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Topic {
    numbers: Numbers,
    /// By priority, the number up to which nothing is due on this connection.
    due_after: [u64; Priority::ALL.len()],
}

/// What a `subscribed` means for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// It is a topic that is not known yet.
    Begins,
    /// It goes on.
    Goes,
    /// It began anew: what was published meanwhile may be missing.
    BeganAnew,
}

/// The numbers of all topics, and what was ever subscribed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    topics: BTreeMap<String, Topic>,
    asked: BTreeSet<String>,
    /// See [`Numbers::entry_bytes_max`].
    since_bytes_max: usize,
}

impl Ledger {
    /// What an earlier run has left: its numbers, and what it was subscribed to.
    pub fn resumed(topics: BTreeMap<String, Numbers>, asked: BTreeSet<String>) -> Self {
        let mut ledger = Ledger { asked, ..Ledger::default() };
        for (topic, numbers) in topics {
            ledger.since_bytes_max += numbers.entry_bytes_max(&topic);
            ledger.topics.insert(topic, Topic { numbers, due_after: [0; 4] });
        }
        ledger
    }

    /// Leaves out topics that none of these names and patterns brings: they are not gone on with.
    pub fn keep_only(&mut self, topics: &[String]) {
        let patterns: Vec<Pattern> = topics.iter().filter_map(|topic| Pattern::parse(topic).ok()).collect();
        let is_wanted = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        self.topics.retain(|name, _| is_wanted(name));
        self.since_bytes_max = self.topics.iter().map(|(name, topic)| topic.numbers.entry_bytes_max(name)).sum();
    }

    /// True where this name or pattern was subscribed to before: topics that it brings and that are not known are new.
    pub fn was_asked(&self, topic: &str) -> bool {
        self.asked.contains(topic)
    }

    /// True before any subscription was in force.
    pub fn is_new(&self) -> bool {
        self.asked.is_empty() && self.topics.is_empty()
    }

    /// Notes that a subscription to these is in force.
    pub fn on_in_force(&mut self, topics: &[String]) {
        self.asked.extend(topics.iter().cloned());
    }

    /// Topics known.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// True while one request can say where all topics go on.
    pub fn fits_in_a_request(&self) -> bool {
        self.since_bytes_max + REST_BYTES <= REQUEST_BYTES_MAX
    }

    /// The `since` object.
    pub fn to_json(&self) -> String {
        let named: BTreeMap<_, _> = self.topics.iter().map(|(name, topic)| (name, topic.numbers)).collect();
        // Maps with text keys and numbers: nothing of it can fail.
        serde_json::to_string(&named).unwrap_or_default()
    }

    /// Notes where a topic stands. `has_gap_to_come`: of a topic that is not known, what was before that is announced by a gap.
    pub fn on_subscribed(&mut self, subscribed: &Subscribed<'_>, has_gap_to_come: bool) -> (Numbering, Numbers) {
        let due_after = subscribed.seq.map(Option::unwrap_or_default);
        if let Some(topic) = self.topics.get_mut(&*subscribed.topic) {
            // What lies between is announced by a gap: until that has come, it counts as neither come nor lost.
            topic.due_after = due_after;
            if topic.numbers.epoch == subscribed.epoch {
                return (Numbering::Goes, topic.numbers);
            }
            topic.numbers = Numbers { epoch: subscribed.epoch, ..Numbers::default() };
            return (Numbering::BeganAnew, topic.numbers);
        }
        let seq = if has_gap_to_come { [None; 4] } else { subscribed.seq };
        let numbers = Numbers { epoch: subscribed.epoch, seq };
        self.since_bytes_max += numbers.entry_bytes_max(&subscribed.topic);
        self.topics.insert(subscribed.topic.to_string(), Topic { numbers, due_after });
        (Numbering::Begins, numbers)
    }

    /// Notes a message. False: it had come before, or is not due, and is to be discarded.
    pub fn on_message(&mut self, topic: &str, priority: Priority, seq: u64) -> bool {
        self.note(topic, priority, seq, true)
    }

    /// Notes that messages up to `to` will not come.
    pub fn on_gap(&mut self, topic: &str, priority: Priority, to: u64) {
        self.note(topic, priority, to, false);
    }

    fn note(&mut self, name: &str, priority: Priority, seq: u64, must_be_due: bool) -> bool {
        let Some(topic) = self.topics.get_mut(name) else { return true };
        if must_be_due && seq <= topic.due_after[priority as usize] {
            return false;
        }
        if topic.numbers.seq[priority as usize].is_none() {
            let before = topic.numbers.entry_bytes_max(name);
            topic.numbers.advance(priority, seq);
            self.since_bytes_max += topic.numbers.entry_bytes_max(name) - before;
            return true;
        }
        topic.numbers.advance(priority, seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed(epoch: u64, normal: Option<u64>) -> Subscribed<'static> {
        let seq = [None, None, normal, None];
        Subscribed { id: None, topic: "a".into(), topic_id: 0, epoch, seq }
    }

    #[test]
    fn a_second_run_asks_for_what_comes_after_the_first() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.on_subscribed(&subscribed(7, Some(4)), false).0, Numbering::Begins);
        assert!(ledger.on_message("a", Priority::Normal, 5));
        assert!(!ledger.on_message("a", Priority::Normal, 5), "twice");
        assert!(!ledger.on_message("a", Priority::Normal, 3), "not due");
        assert!(ledger.on_message("a", Priority::Low, 1), "of a new lane");
        ledger.on_gap("a", Priority::Low, 9);
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{"low":9,"normal":5}}}"#);
        let topics = serde_json::from_str(&ledger.to_json()).unwrap();
        assert_eq!(Ledger::resumed(topics, BTreeSet::new()).to_json(), ledger.to_json());
    }

    #[test]
    fn what_a_gap_has_yet_to_announce_is_asked_for_again() {
        let mut ledger = Ledger::default();
        ledger.on_subscribed(&subscribed(7, Some(4)), false);
        // The resume reached too far back; the connection breaks before the gap arrives.
        assert_eq!(ledger.on_subscribed(&subscribed(7, Some(10)), true).0, Numbering::Goes);
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{"normal":4}}}"#);
        assert!(!ledger.on_message("a", Priority::Normal, 10), "in a batch with those that are due");
        ledger.on_gap("a", Priority::Normal, 10);
        assert!(ledger.on_message("a", Priority::Normal, 11));
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{"normal":11}}}"#);
    }

    #[test]
    fn a_topic_born_meanwhile_has_nothing_until_its_gap_has_come() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.on_subscribed(&subscribed(7, Some(10)), true).0, Numbering::Begins);
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{}}}"#);
        assert!(!ledger.on_message("a", Priority::Normal, 10), "not due");
        ledger.on_gap("a", Priority::Normal, 10);
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{"normal":10}}}"#);
    }

    #[test]
    fn another_epoch_makes_all_numbers_void() {
        let mut ledger = Ledger::default();
        ledger.on_subscribed(&subscribed(7, Some(400)), false);
        assert_eq!(ledger.on_subscribed(&subscribed(8, Some(0)), true).0, Numbering::BeganAnew);
        assert!(ledger.on_message("a", Priority::Normal, 1));
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":8,"seq":{"normal":1}}}"#);
    }

    #[test]
    fn what_is_said_to_fit_in_a_request_does() {
        let mut ledger = Ledger::default();
        let mut topics = 0;
        while ledger.fits_in_a_request() {
            let topic = format!("some/\"topic\"/{topics}");
            let seq = [Some(u64::MAX), None, Some(7), None];
            ledger
                .on_subscribed(&Subscribed { id: None, topic: topic.into(), topic_id: 0, epoch: 1 << 52, seq }, false);
            topics += 1;
        }
        let length = ledger.to_json().len();
        assert!(length <= REQUEST_BYTES_MAX - REST_BYTES + 200, "{length}");
        assert!(topics > 3_000, "{topics}");
        ledger.keep_only(&["some/*/7".to_owned(), "none/**".to_owned()]);
        assert!(ledger.fits_in_a_request() && ledger.topic_count() == 1);
    }
}
