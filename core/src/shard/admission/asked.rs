//! Connections that the host is asked about: before their upgrade, or because they bring another token.

use std::collections::HashMap;

use crate::access::Decision;
use crate::proto::subscribe::ID_BYTES_MAX;

/// Bytes that one connection takes here at most: the map grows by doubling.
pub const QUESTION_BYTES: usize = 2 * (size_of::<(u32, Question)>() + 1) + ID_BYTES_MAX;

/// What the host has said of a connection.
#[derive(Debug)]
pub enum Answer {
    /// It has not been asked.
    NotAsked,
    /// Nothing yet.
    Waits,
    /// This.
    Decided(Decision),
}

/// What the host has said of a token that an open connection brought.
#[derive(Debug)]
pub struct Answered {
    /// The `id` of the request, as it was written.
    pub id: Option<Box<[u8]>>,
    /// This.
    pub decision: Decision,
    /// When, in the driver's time.
    pub at_ns: u64,
}

#[derive(Debug)]
struct Question {
    id: Option<Box<[u8]>>,
    answer: Option<(Decision, u64)>,
}

/// See the module's head. One question for each connection, at most.
#[derive(Debug, Default)]
pub struct Asked {
    by_slot: HashMap<u32, Question>,
}

impl Asked {
    /// The host is asked about a connection; for a request with this id, if it is one.
    pub fn ask(&mut self, slot: u32, id: Option<Box<[u8]>>) {
        self.by_slot.insert(slot, Question { id, answer: None });
    }

    /// True while the host has not answered.
    pub fn waits(&self, slot: u32) -> bool {
        self.by_slot.get(&slot).is_some_and(|question| question.answer.is_none())
    }

    /// True from the question on, until its answer is taken or forgotten.
    pub fn is_asked(&self, slot: u32) -> bool {
        self.by_slot.contains_key(&slot)
    }

    /// The host answers. False: nobody has asked, or it has answered before.
    pub fn answer(&mut self, slot: u32, decision: Decision, now_ns: u64) -> bool {
        match self.by_slot.get_mut(&slot) {
            Some(Question { answer: answer @ None, .. }) => {
                *answer = Some((decision, now_ns));
                true
            }
            _ => false,
        }
    }

    /// What is known of a connection.
    pub fn of(&self, slot: u32) -> Answer {
        match self.by_slot.get(&slot) {
            None => Answer::NotAsked,
            Some(Question { answer: None, .. }) => Answer::Waits,
            Some(Question { answer: Some((decision, _)), .. }) => Answer::Decided(decision.clone()),
        }
    }

    /// The host's answer, if it is there: the question is done with.
    pub fn take_answer(&mut self, slot: u32) -> Option<Answered> {
        if self.by_slot.is_empty() || self.by_slot.get(&slot)?.answer.is_none() {
            return None;
        }
        let Question { id, answer } = self.by_slot.remove(&slot)?;
        let (decision, at_ns) = answer?;
        Some(Answered { id, decision, at_ns })
    }

    /// The connection is upgraded, or gone.
    pub fn forget(&mut self, slot: u32) {
        self.by_slot.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_to_a_question_counts() {
        let mut asked = Asked::default();
        assert!(!asked.answer(3, Decision::Forbidden, 1), "nobody asked");
        asked.ask(3, None);
        assert!(asked.waits(3) && matches!(asked.of(3), Answer::Waits));
        assert!(asked.answer(3, Decision::Forbidden, 1) && !asked.answer(3, Decision::Unauthorized, 2));
        assert!(!asked.waits(3) && matches!(asked.of(3), Answer::Decided(Decision::Forbidden)));
        asked.forget(3);
        assert!(matches!(asked.of(3), Answer::NotAsked) && !asked.answer(3, Decision::Forbidden, 3));
    }

    #[test]
    fn an_answer_is_taken_once_with_its_moment_and_its_request() {
        let mut asked = Asked::default();
        asked.ask(3, Some(b"7".as_slice().into()));
        assert!(asked.take_answer(3).is_none() && asked.is_asked(3), "there is none yet");
        asked.answer(3, Decision::Unauthorized, 5);
        let answered = asked.take_answer(3).unwrap();
        assert_eq!((answered.id.as_deref(), answered.at_ns), (Some(&b"7"[..]), 5));
        assert!(asked.take_answer(3).is_none() && !asked.is_asked(3));
    }
}
