//! Topics and lanes that have just come to be: those who asked for them get them one after another, as far as a turn's budget goes.

use std::collections::VecDeque;

use super::asked::Asked;
use super::matching::Matching;
use crate::shard::budget::Budget;
use crate::shard::table::NONE;
use crate::types::{Priority, TopicId};

/// A cursor that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpreadTo {
    /// This subscription gets this topic; it asked for the name itself, or for a pattern.
    Subscription {
        /// The topic.
        topic: TopicId,
        /// The subscription.
        subscription: u32,
        /// By its name.
        is_literal: bool,
    },
    /// The member in this place of the topic's list gets a cursor in this lane.
    Member {
        /// The topic.
        topic: TopicId,
        /// The lane's priority.
        priority: Priority,
        /// The place.
        index: u32,
    },
}

#[derive(Debug)]
enum Job {
    /// `next`: the subscription that is next, of the text in hand; none before the job is begun.
    Topic { topic: TopicId, number: u64, name: Box<str>, matching: Option<Matching>, next: Option<u32> },
    /// Members below this place are still to be served.
    Lane { topic: TopicId, priority: Priority, below: u32 },
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Spread {
    jobs: VecDeque<Job>,
}

impl Spread {
    /// A topic has come to be.
    pub fn on_topic(&mut self, topic: TopicId, number: u64, name: &str) {
        self.jobs.push_back(Job::Topic { topic, number, name: name.into(), matching: None, next: None });
    }

    /// A lane has come to be, of a topic with so many members.
    pub fn on_lane(&mut self, topic: TopicId, priority: Priority, members: u32) {
        if members > 0 {
            self.jobs.push_back(Job::Lane { topic, priority, below: members });
        }
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether a topic with this number has been brought to all who asked: `None` while it is in hand.
    pub fn has_reached_all(&self, number: u64) -> Option<bool> {
        let front = self.jobs.iter().find_map(|job| match job {
            Job::Topic { number, .. } => Some(*number),
            Job::Lane { .. } => None,
        });
        match front {
            None => Some(true),
            Some(front) if number < front => Some(true),
            Some(front) if number > front => Some(false),
            Some(_) => {
                let is_in_hand = matches!(self.jobs.front(), Some(Job::Topic { next: Some(_), .. }));
                if is_in_hand { None } else { Some(false) }
            }
        }
    }

    /// A subscription is gone; `next_of_text` stood behind it.
    pub fn on_removed(&mut self, subscription: u32, next_of_text: u32) {
        if let Some(Job::Topic { next, .. }) = self.jobs.front_mut()
            && *next == Some(subscription)
        {
            *next = Some(next_of_text);
        }
    }

    /// The next cursor that is due. `None`: nobody waits, or the budget is spent.
    pub fn next(&mut self, asked: &Asked, budget: &mut Budget) -> Option<SpreadTo> {
        loop {
            if budget.is_spent() {
                return None;
            }
            match self.jobs.front_mut()? {
                Job::Lane { topic, priority, below } if *below > 0 => {
                    *below -= 1;
                    budget.spend(5);
                    return Some(SpreadTo::Member { topic: *topic, priority: *priority, index: *below });
                }
                Job::Topic { topic, number, name, matching, next } => {
                    let subscription = *next.get_or_insert_with(|| asked.first_by_name(name));
                    if subscription != NONE {
                        *next = Some(asked.next_of_text(subscription));
                        budget.spend(1);
                        if asked.get(subscription).since_number <= *number {
                            budget.spend(4);
                            let is_literal = matching.is_none();
                            return Some(SpreadTo::Subscription { topic: *topic, subscription, is_literal });
                        }
                        continue;
                    }
                    let matching = matching.get_or_insert_with(|| Matching::new(name));
                    match asked.first_by_pattern(matching, budget) {
                        Some(first) if first != NONE => *next = Some(first),
                        Some(_) => drop(self.jobs.pop_front()),
                        None => return None,
                    }
                }
                Job::Lane { .. } => drop(self.jobs.pop_front()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::List;
    use super::*;
    use crate::shard::options::Options;

    fn asked(texts: &[&str], since_number: u64) -> (Asked, Vec<List>) {
        let mut asked = Asked::default();
        let mut lists = vec![List::default(); texts.len()];
        for ((slot, list), text) in (0..).zip(&mut lists).zip(texts) {
            asked.insert(list, slot, text, since_number, None, Options::default());
        }
        (asked, lists)
    }

    fn all(spread: &mut Spread, asked: &Asked, steps: u32) -> Vec<u32> {
        let mut found = Vec::new();
        while !spread.is_empty() {
            let mut budget = Budget::new(steps);
            while let Some(to) = spread.next(asked, &mut budget) {
                let SpreadTo::Subscription { subscription, .. } = to else { panic!("{to:?}") };
                found.push(asked.get(subscription).slot);
            }
        }
        found
    }

    #[test]
    fn who_asked_before_a_topic_was_made_gets_it_once_whatever_the_budget() {
        let (asked, _lists) = asked(&["a/b", "a/*", "**", "b/*", "a/*", "*/b"], 5);
        for (number, expected) in [(4, vec![]), (5, vec![0, 1, 2, 4, 5]), (9, vec![0, 1, 2, 4, 5])] {
            for steps in [1, 3, 1_000] {
                let mut spread = Spread::default();
                spread.on_topic(TopicId(1), number, "a/b");
                let mut found = all(&mut spread, &asked, steps);
                found.sort_unstable();
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn who_leaves_while_a_topic_is_brought_round_is_passed_over() {
        let (mut asked, mut lists) = asked(&["a/*", "a/*", "a/*"], 0);
        let mut spread = Spread::default();
        spread.on_topic(TopicId(1), 0, "a/b");
        assert_eq!(spread.has_reached_all(0), Some(false), "not begun");
        let mut budget = Budget::new(1_000);
        assert!(matches!(spread.next(&asked, &mut budget), Some(SpreadTo::Subscription { subscription: 2, .. })));
        assert_eq!(spread.has_reached_all(0), None, "in hand");
        let next = asked.remove(&mut lists[1], 1);
        spread.on_removed(1, next);
        assert!(matches!(spread.next(&asked, &mut budget), Some(SpreadTo::Subscription { subscription: 0, .. })));
        assert_eq!(spread.next(&asked, &mut budget), None);
        assert_eq!((spread.is_empty(), spread.has_reached_all(0)), (true, Some(true)));
    }

    #[test]
    fn members_get_a_new_lane_from_the_last_to_the_first() {
        let mut spread = Spread::default();
        spread.on_lane(TopicId(3), Priority::High, 2);
        spread.on_lane(TopicId(4), Priority::High, 0);
        let asked = Asked::default();
        let mut places = Vec::new();
        let mut budget = Budget::new(1_000);
        while let Some(SpreadTo::Member { index, .. }) = spread.next(&asked, &mut budget) {
            places.push(index);
        }
        assert_eq!(places, [1, 0]);
        assert!(spread.is_empty());
    }
}
