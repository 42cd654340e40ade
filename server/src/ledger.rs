//! Job: which messages of which lane have come, so that a subscription can go on where it ended.
//! Knows: epochs, sequence numbers, the `since` of a subscribe request. Must never know: connections, what messages hold.

use std::collections::BTreeMap;
use std::path::Path;

use fanwire::Priority;
use fanwire::proto::server_message::Subscribed;
use fanwire::proto::subscribe::TOPICS_MAX;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, OrExit};

/// One topic's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Topic {
    epoch: u64,
    /// By priority, the last number that came or was said to be lost.
    seq: BTreeMap<String, u64>,
    /// By priority, the number up to which nothing is due on this connection.
    #[serde(skip)]
    due_after: [u64; 4],
}

/// What a `subscribed` means for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// It begins here, or goes on.
    Goes,
    /// It began anew: what was published meanwhile may be missing.
    BeganAnew,
}

/// The numbers of all topics. As text it is the `since` of a subscribe request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    topics: BTreeMap<String, Topic>,
}

impl Ledger {
    /// What an earlier run left in a file; nothing if there is no such file.
    ///
    /// # Errors
    /// Where it cannot be read, or is no ledger.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        match std::fs::read(path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(topics) => Ok(Ledger { topics }),
                Err(error) => Err(Failure::message(
                    Exit::Data,
                    format!("{} holds no state of a subscription: {error}", path.display()),
                )),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ledger::default()),
            Err(error) => Err(error).or_exit(Exit::NoInput, || format!("cannot read {}", path.display())),
        }
    }

    /// Leaves it in a file, whole or not at all; an empty one is not left.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let text = serde_json::to_string(&self.topics).unwrap_or_default() + "\n";
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
        written.or_exit(Exit::Io, || format!("cannot write {}", path.display()))
    }

    /// True before anything was noted.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// More topics than one request can name: those that do not fit begin anew.
    pub fn is_too_large(&self) -> bool {
        self.topics.len() > TOPICS_MAX
    }

    /// The `since` object, of as many topics as a request may name.
    pub fn to_json(&self) -> String {
        let named: BTreeMap<_, _> = self.topics.iter().take(TOPICS_MAX).collect();
        // Maps with text keys and numbers: nothing of it can fail.
        serde_json::to_string(&named).unwrap_or_default()
    }

    /// Notes where a topic stands. `was_asked`: the request said where to go on.
    pub fn on_subscribed(&mut self, subscribed: &Subscribed<'_>, was_asked: bool) -> Numbering {
        let due_after = subscribed.seq.map(Option::unwrap_or_default);
        let known = self.topics.get_mut(&*subscribed.topic).filter(|_| was_asked);
        if let Some(topic) = known {
            // What lies between is announced by a gap: until that has come, it counts as neither come nor lost.
            topic.due_after = due_after;
            if topic.epoch == subscribed.epoch {
                return Numbering::Goes;
            }
            topic.epoch = subscribed.epoch;
            topic.seq.clear();
            return Numbering::BeganAnew;
        }
        let seq = Priority::ALL.into_iter().zip(subscribed.seq);
        let seq = seq.filter_map(|(priority, seq)| Some((priority.name().to_owned(), seq?))).collect();
        self.topics.insert(subscribed.topic.to_string(), Topic { epoch: subscribed.epoch, seq, due_after });
        Numbering::Goes
    }

    /// Notes a message. False: it had come before, or is not due, and is to be discarded.
    pub fn on_message(&mut self, topic: &str, priority: Priority, seq: u64) -> bool {
        let Some(topic) = self.topics.get_mut(topic) else { return true };
        if seq <= topic.due_after[priority as usize] {
            return false;
        }
        topic.note(priority, seq)
    }

    /// Notes that messages up to `to` will not come.
    pub fn on_gap(&mut self, topic: &str, priority: Priority, to: u64) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.note(priority, to);
        }
    }
}

impl Topic {
    /// False if the number is not higher than what was noted.
    fn note(&mut self, priority: Priority, seq: u64) -> bool {
        match self.seq.get_mut(priority.name()) {
            Some(last) if *last >= seq => false,
            Some(last) => {
                *last = seq;
                true
            }
            None => {
                self.seq.insert(priority.name().to_owned(), seq);
                true
            }
        }
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
        assert_eq!(ledger.on_subscribed(&subscribed(7, Some(4)), false), Numbering::Goes);
        assert!(ledger.on_message("a", Priority::Normal, 5));
        assert!(!ledger.on_message("a", Priority::Normal, 5), "twice");
        assert!(!ledger.on_message("a", Priority::Normal, 3), "not due");
        assert!(ledger.on_message("a", Priority::Low, 1), "of a new lane");
        ledger.on_gap("a", Priority::Low, 9);
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{"low":9,"normal":5}}}"#);
        let file = tempfile::tempdir().unwrap();
        let path = file.path().join("state");
        assert!(Ledger::read(&path).unwrap().is_empty());
        ledger.write(&path).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().to_json(), ledger.to_json());
        std::fs::write(&path, "[]").unwrap();
        assert_eq!(Ledger::read(&path).unwrap_err().code, 65);
    }

    #[test]
    fn what_a_gap_has_yet_to_announce_is_asked_for_again() {
        let mut ledger = Ledger::default();
        ledger.on_subscribed(&subscribed(7, Some(4)), false);
        // The resume reached too far back; the connection breaks before the gap arrives.
        assert_eq!(ledger.on_subscribed(&subscribed(7, Some(10)), true), Numbering::Goes);
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{"normal":4}}}"#);
        assert!(!ledger.on_message("a", Priority::Normal, 10), "in a batch with those that are due");
        ledger.on_gap("a", Priority::Normal, 10);
        assert!(ledger.on_message("a", Priority::Normal, 11));
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":7,"seq":{"normal":11}}}"#);
    }

    #[test]
    fn another_epoch_makes_all_numbers_void() {
        let mut ledger = Ledger::default();
        ledger.on_subscribed(&subscribed(7, Some(400)), false);
        assert_eq!(ledger.on_subscribed(&subscribed(8, Some(0)), true), Numbering::BeganAnew);
        assert!(ledger.on_message("a", Priority::Normal, 1));
        assert_eq!(ledger.to_json(), r#"{"a":{"epoch":8,"seq":{"normal":1}}}"#);
    }
}
