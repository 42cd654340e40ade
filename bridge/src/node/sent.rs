//! What was sent of each lane: its subject, and the number of its last message.

use std::collections::HashMap;
use std::sync::Arc;

use fanwire::Priority;

use super::envelope::Origin;

/// Topics whose numbers are known at once. One more, and all begin anew, as another incarnation.
pub const TOPICS_MAX: usize = 131_072;

#[derive(Debug, Default)]
struct Lanes {
    seqs: [u64; Priority::ALL.len()],
    subjects: [Option<Arc<str>>; Priority::ALL.len()],
}

/// See the module's head.
#[derive(Debug)]
pub struct Sent {
    origin: Origin,
    topics: HashMap<Box<str>, Lanes>,
    topics_max: usize,
}

impl Sent {
    /// Nothing, by this node.
    pub fn new(node: u64, run: u32, topics_max: usize) -> Self {
        Self { origin: Origin { node, run, incarnation: 0 }, topics: HashMap::new(), topics_max }
    }

    /// This node.
    pub fn node(&self) -> u64 {
        self.origin.node
    }

    /// The next message of a lane, behind so many that are missing: whose it is, its number, its subject.
    pub fn next(
        &mut self,
        topic: &str,
        priority: Priority,
        missing: u64,
        subject: impl FnOnce() -> String,
    ) -> (Origin, u64, Arc<str>) {
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= self.topics_max {
                self.topics.clear();
                self.origin.incarnation += 1;
            }
            self.topics.insert(topic.into(), Lanes::default());
        }
        let lanes = self.topics.entry(topic.into()).or_default();
        let seq = &mut lanes.seqs[priority as usize];
        *seq += missing + 1;
        let subject = lanes.subjects[priority as usize].get_or_insert_with(|| subject().into());
        (self.origin, *seq, subject.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_anew_where_there_are_too_many_topics_and_not_at_the_limit() {
        let mut sent = Sent::new(7, 1, 2);
        let mut next = |topic: &str, priority, missing| {
            let (origin, seq, subject) = sent.next(topic, priority, missing, || topic.to_uppercase());
            (origin.incarnation, seq, subject.to_string())
        };
        assert_eq!(next("a", Priority::Low, 0), (0, 1, "A".into()));
        assert_eq!(next("a", Priority::Low, 3), (0, 5, "A".into()));
        assert_eq!(next("b", Priority::Low, 0), (0, 1, "B".into()));
        assert_eq!(next("a", Priority::High, 0), (0, 1, "A".into()));
        assert_eq!(next("c", Priority::Low, 0), (1, 1, "C".into()));
        assert_eq!(next("a", Priority::Low, 0), (1, 1, "A".into()));
    }
}
