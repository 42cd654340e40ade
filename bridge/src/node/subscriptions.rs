//! The subscriptions of one connection: which there are to be, and how it gets from those that there are to them without a loss.
//!
//! New ones are made first. The old ones end only when the server has confirmed that it knows the new ones: so each message comes by one of
//! them at least. What an old one has still brought is heard to its end. Until all that is done, a message may come by one before those
//! before it have come by another.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::planted::{self, Defect};

/// What is to be done at the connection, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Subscribe to a subject. The number tells this subscription from all others.
    Subscribe {
        /// Its number.
        number: u64,
        /// The subject.
        subject: Box<str>,
    },
    /// Ask the server something, wait for the answer, and hear all that has come before it: `Subscriptions::on_confirmed`.
    Confirm {
        /// Tells this question from all others.
        number: u64,
    },
    /// End a subscription, hear what it has brought, then `Subscriptions::on_ended`.
    Unsubscribe {
        /// Its number.
        number: u64,
    },
}

/// Whether the server knows of all subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    Confirmed,
    /// There are some that it may not know of.
    Unconfirmed,
    /// It was asked when there were so many.
    Asked(u64),
}

/// See the module's head.
#[derive(Debug)]
pub struct Subscriptions {
    to_make: BTreeSet<Box<str>>,
    to_end: BTreeSet<Box<str>>,
    active: BTreeMap<Box<str>, u64>,
    ending: HashSet<u64>,
    made: u64,
    knowledge: Knowledge,
}

impl Subscriptions {
    /// None, and those that there are to be always.
    pub fn new(always: impl IntoIterator<Item = String>) -> Self {
        Self {
            to_make: always.into_iter().map(Into::into).collect(),
            to_end: BTreeSet::new(),
            active: BTreeMap::new(),
            ending: HashSet::new(),
            made: 0,
            knowledge: Knowledge::Confirmed,
        }
    }

    /// Those that the server may know of.
    pub fn len(&self) -> usize {
        self.active.len() + self.ending.len()
    }

    /// There is to be one more.
    pub fn want(&mut self, subject: Box<str>) {
        if !self.to_end.remove(&subject) {
            self.to_make.insert(subject);
        }
    }

    /// There is to be one less.
    pub fn drop(&mut self, subject: Box<str>) {
        if !self.to_make.remove(&subject) && self.active.contains_key(&subject) {
            self.to_end.insert(subject);
        }
    }

    /// Whether a message may come before those before it.
    pub fn are_changing(&self) -> bool {
        self.knowledge != Knowledge::Confirmed || !self.to_end.is_empty() || !self.ending.is_empty()
    }

    /// What is to be done next, if there is anything now.
    pub fn next(&mut self) -> Option<Change> {
        if let Some(subject) = self.to_make.pop_first() {
            self.made += 1;
            self.active.insert(subject.clone(), self.made);
            // What was asked before this does not say anything of it.
            self.knowledge = Knowledge::Unconfirmed;
            return Some(Change::Subscribe { number: self.made, subject });
        }
        match self.knowledge {
            _ if planted::has(Defect::EndsEarly) && !self.to_end.is_empty() => self.end_one(),
            Knowledge::Asked(_) => None,
            Knowledge::Unconfirmed => {
                self.knowledge = Knowledge::Asked(self.made);
                Some(Change::Confirm { number: self.made })
            }
            Knowledge::Confirmed => self.end_one(),
        }
    }

    fn end_one(&mut self) -> Option<Change> {
        let number = self.active.remove(&self.to_end.pop_first()?)?;
        self.ending.insert(number);
        Some(Change::Unsubscribe { number })
    }

    /// The server has answered, or has not: then it is asked again.
    pub fn on_confirmed(&mut self, number: u64, has_answered: bool) {
        // An answer to an older question says nothing of those made since.
        if self.knowledge == Knowledge::Asked(number) {
            self.knowledge = if has_answered { Knowledge::Confirmed } else { Knowledge::Unconfirmed };
        }
    }

    /// All that a subscription has brought was heard.
    pub fn on_ended(&mut self, number: u64) {
        self.ending.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribe(number: u64, subject: &str) -> Option<Change> {
        Some(Change::Subscribe { number, subject: subject.into() })
    }

    fn confirm(number: u64) -> Option<Change> {
        Some(Change::Confirm { number })
    }

    #[test]
    fn old_ones_end_when_the_server_knows_the_new_ones() {
        let mut subscriptions = Subscriptions::new(["a".to_owned()]);
        assert_eq!((subscriptions.next(), subscriptions.next()), (subscribe(1, "a"), confirm(1)));
        subscriptions.on_confirmed(1, true);
        assert!(!subscriptions.are_changing() && subscriptions.next().is_none());
        subscriptions.want(">".into());
        subscriptions.drop("a".into());
        assert_eq!((subscriptions.next(), subscriptions.next()), (subscribe(2, ">"), confirm(2)));
        assert_eq!(subscriptions.next(), None, "it was asked");
        subscriptions.on_confirmed(2, false);
        assert_eq!(subscriptions.next(), confirm(2));
        subscriptions.want("b".into());
        assert_eq!((subscriptions.next(), subscriptions.next()), (subscribe(3, "b"), confirm(3)));
        subscriptions.on_confirmed(2, true);
        assert_eq!(subscriptions.next(), None, "the answer is older than the last");
        subscriptions.on_confirmed(3, true);
        assert_eq!((subscriptions.next(), subscriptions.len()), (Some(Change::Unsubscribe { number: 1 }), 3));
        assert!(subscriptions.are_changing() && subscriptions.next().is_none());
        subscriptions.on_ended(1);
        assert!(!subscriptions.are_changing() && subscriptions.len() == 2);
    }

    #[test]
    fn what_is_wanted_again_before_anything_is_done_changes_nothing() {
        let mut subscriptions = Subscriptions::new([]);
        subscriptions.want("a".into());
        subscriptions.drop("a".into());
        subscriptions.drop("never".into());
        assert_eq!(subscriptions.next(), None);
        subscriptions.want("a".into());
        assert_eq!((subscriptions.next(), subscriptions.next()), (subscribe(1, "a"), confirm(1)));
        subscriptions.on_confirmed(1, true);
        subscriptions.drop("a".into());
        subscriptions.want("a".into());
        assert_eq!((subscriptions.next(), subscriptions.are_changing()), (None, false));
    }
}
