//! Connections whose upgrade waits for the host's decision.

use std::collections::HashMap;

use crate::access::Decision;

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

/// See the module's head. As many as are before their upgrade, at most.
#[derive(Debug, Default)]
pub struct Asked {
    by_slot: HashMap<u32, Option<Decision>>,
}

impl Asked {
    /// The host is asked about a connection.
    pub fn ask(&mut self, slot: u32) {
        self.by_slot.insert(slot, None);
    }

    /// True while the host has not answered.
    pub fn waits(&self, slot: u32) -> bool {
        matches!(self.by_slot.get(&slot), Some(None))
    }

    /// The host answers. False: nobody has asked, or it has answered before.
    pub fn answer(&mut self, slot: u32, decision: Decision) -> bool {
        match self.by_slot.get_mut(&slot) {
            Some(answer @ None) => {
                *answer = Some(decision);
                true
            }
            _ => false,
        }
    }

    /// What is known of a connection.
    pub fn of(&self, slot: u32) -> Answer {
        match self.by_slot.get(&slot) {
            None => Answer::NotAsked,
            Some(None) => Answer::Waits,
            Some(Some(decision)) => Answer::Decided(decision.clone()),
        }
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
        assert!(!asked.answer(3, Decision::Forbidden), "nobody asked");
        asked.ask(3);
        assert!(asked.waits(3) && matches!(asked.of(3), Answer::Waits));
        assert!(asked.answer(3, Decision::Forbidden) && !asked.answer(3, Decision::Unauthorized));
        assert!(!asked.waits(3) && matches!(asked.of(3), Answer::Decided(Decision::Forbidden)));
        asked.forget(3);
        assert!(matches!(asked.of(3), Answer::NotAsked) && !asked.answer(3, Decision::Forbidden));
    }
}
