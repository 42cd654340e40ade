//! What has been heard of each sender's lanes, so that copies are known and losses counted.

use std::collections::HashMap;

use fanwire::Priority;

use super::envelope::{Envelope, Origin};
use super::planted::{self, Defect};

/// A sender's lane, and the number of its last message.
#[derive(Clone, Copy, Debug)]
struct Last {
    origin: Origin,
    priority: Priority,
    seq: u64,
    /// Nobody asked for it meanwhile: what is missing before the next is not lost.
    is_interrupted: bool,
}

impl Last {
    fn is_lane_of(&self, envelope: &Envelope) -> bool {
        let Origin { node, run, .. } = self.origin;
        (node, run, self.priority) == (envelope.origin.node, envelope.origin.run, envelope.priority)
    }
}

/// What a message is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It comes after them; so many of its sender's lane are missing in between.
    Next {
        /// How many.
        lost: u64,
    },
    /// It has come before.
    Copy,
}

/// See the module's head. At most so many lanes as it is made for: where there is one more, those that nobody asks for are
/// forgotten, or all.
#[derive(Debug)]
pub struct Heard {
    topics: HashMap<Box<str>, Vec<Last>>,
    lanes: usize,
    lanes_max: usize,
    forgotten: u64,
}

impl Heard {
    /// Nothing yet.
    pub fn new(lanes_max: usize) -> Self {
        Self { topics: HashMap::new(), lanes: 0, lanes_max, forgotten: 0 }
    }

    /// How many messages are missing before this one, as far as is known now.
    pub fn missing_before(&self, topic: &str, envelope: &Envelope) -> u64 {
        let last = self.topics.get(topic).and_then(|lasts| find(lasts, envelope));
        let last = last.filter(|last| last.origin == envelope.origin);
        last.map_or(0, |last| if last.is_interrupted { 0 } else { envelope.seq.saturating_sub(last.seq + 1) })
    }

    /// A message has come.
    pub fn hear(&mut self, topic: &str, envelope: &Envelope) -> News {
        let Envelope { origin, priority, seq, .. } = *envelope;
        if let Some(last) = self.topics.get_mut(topic).and_then(|lasts| find_mut(lasts, envelope)) {
            if origin.incarnation < last.origin.incarnation || origin == last.origin && seq <= last.seq {
                let is_heard = planted::has(Defect::HearsCopies);
                return if is_heard { News::Next { lost: 0 } } else { News::Copy };
            }
            let is_known = origin == last.origin && !last.is_interrupted;
            let lost = if is_known { seq - last.seq - 1 } else { 0 };
            *last = Last { origin, priority, seq, is_interrupted: false };
            return News::Next { lost };
        }
        if self.lanes >= self.lanes_max {
            self.make_room();
        }
        self.lanes += 1;
        self.topics.entry(topic.into()).or_default().push(Last { origin, priority, seq, is_interrupted: false });
        News::Next { lost: 0 }
    }

    /// How often all lanes were forgotten, for there was one too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Nobody asks for the other topics any more: what is missing before their next message is not lost. What has come of them is known
    /// still, for an old subscription may bring it once more.
    pub fn interrupt_others(&mut self, mut is_asked: impl FnMut(&str) -> bool) {
        let others = self.topics.iter_mut().filter(|(topic, _)| !is_asked(topic));
        others.flat_map(|(_, lasts)| lasts).for_each(|last| last.is_interrupted = true);
    }

    /// Forgets what nobody asks for; where that is nothing, everything.
    fn make_room(&mut self) {
        self.topics.retain(|_, lasts| {
            lasts.retain(|last| !last.is_interrupted);
            !lasts.is_empty()
        });
        self.lanes = self.topics.values().map(Vec::len).sum();
        if self.lanes >= self.lanes_max {
            self.forgotten += 1;
            self.lanes = 0;
            self.topics.clear();
        }
    }
}

fn find<'a>(lasts: &'a [Last], envelope: &Envelope) -> Option<&'a Last> {
    lasts.iter().find(|last| last.is_lane_of(envelope))
}

fn find_mut<'a>(lasts: &'a mut [Last], envelope: &Envelope) -> Option<&'a mut Last> {
    lasts.iter_mut().find(|last| last.is_lane_of(envelope))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanwire::Kind;

    fn envelope(node: u64, incarnation: u32, seq: u64) -> Envelope {
        let origin = Origin { node, run: 9, incarnation };
        Envelope { origin, seq, kind: Kind::Text, priority: Priority::Low, ttl_ms: 0, key: 0 }
    }

    #[test]
    fn what_is_missing_between_two_of_one_sender_is_counted_to_the_message() {
        let mut heard = Heard::new(10);
        let mut hear = |node, incarnation, seq| heard.hear("a", &envelope(node, incarnation, seq));
        assert_eq!(hear(1, 0, 40), News::Next { lost: 0 }, "what was before is not provable");
        assert_eq!(hear(1, 0, 41), News::Next { lost: 0 });
        assert_eq!(hear(2, 0, 7), News::Next { lost: 0 }, "another sender");
        assert_eq!(hear(1, 0, 45), News::Next { lost: 3 });
        assert_eq!((hear(1, 0, 45), hear(1, 0, 44)), (News::Copy, News::Copy));
        assert_eq!(hear(1, 1, 1), News::Next { lost: 0 }, "its numbers have begun anew");
        assert_eq!((hear(1, 0, 46), hear(1, 1, 3)), (News::Copy, News::Next { lost: 1 }));
        assert_eq!(heard.missing_before("a", &envelope(1, 1, 9)), 5);
        assert_eq!(heard.missing_before("a", &envelope(1, 1, u64::MAX)), u64::MAX - 4);
        assert_eq!(heard.missing_before("a", &envelope(1, 2, 9)), 0);
        assert_eq!(heard.missing_before("b", &envelope(1, 1, 9)), 0);
    }

    #[test]
    fn lanes_have_a_limit_and_one_more_forgets_them_all() {
        let mut heard = Heard::new(2);
        assert_eq!(heard.hear("a", &envelope(1, 0, 5)), News::Next { lost: 0 });
        assert_eq!(heard.hear("b", &envelope(1, 0, 5)), News::Next { lost: 0 });
        assert_eq!((heard.hear("b", &envelope(1, 0, 7)), heard.forgotten()), (News::Next { lost: 1 }, 0));
        assert_eq!((heard.hear("a", &envelope(2, 0, 5)), heard.forgotten()), (News::Next { lost: 0 }, 1));
        assert_eq!(heard.hear("b", &envelope(1, 0, 9)), News::Next { lost: 0 }, "it was forgotten");
        heard.interrupt_others(|topic| topic == "b");
        assert_eq!(heard.hear("c", &envelope(1, 0, 12)), News::Next { lost: 0 }, "nobody asked for the other one");
        assert_eq!((heard.hear("b", &envelope(1, 0, 11)), heard.forgotten()), (News::Next { lost: 1 }, 1));
    }

    #[test]
    fn what_nobody_asked_for_is_not_lost_and_what_has_come_is_known_still() {
        let mut heard = Heard::new(2);
        assert_eq!(heard.hear("a", &envelope(1, 0, 5)), News::Next { lost: 0 });
        heard.interrupt_others(|_| false);
        assert_eq!(
            (heard.hear("a", &envelope(1, 0, 5)), heard.missing_before("a", &envelope(1, 0, 9))),
            (News::Copy, 0)
        );
        assert_eq!(heard.hear("a", &envelope(1, 0, 9)), News::Next { lost: 0 });
        assert_eq!(heard.hear("a", &envelope(1, 0, 11)), News::Next { lost: 1 });
    }
}
