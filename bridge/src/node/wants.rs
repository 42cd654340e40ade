//! What this node's subscribers want, and have wanted lately.

use std::collections::{BTreeSet, HashMap};

use super::cover;

/// How long what nobody wants any more is still asked for: whoever comes back meanwhile misses nothing.
pub const LINGER_MS: u64 = 30_000;
/// So many names and patterns linger at once; the oldest go first.
const LINGERING_MAX: usize = 65_536;

/// See the module's head. Texts have been looked at.
#[derive(Debug)]
pub struct Wants {
    /// Until when it is asked for; `None`: somebody wants it.
    wanted: HashMap<Box<str>, Option<u64>>,
    lingering: BTreeSet<(u64, Box<str>)>,
    /// What is asked for always.
    keep: Vec<Box<str>>,
}

impl Wants {
    /// Nothing yet but what is asked for always.
    pub fn new(keep: Vec<Box<str>>) -> Self {
        Self { wanted: HashMap::new(), lingering: BTreeSet::new(), keep }
    }

    /// Names and patterns that somebody wants, or has wanted lately.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// A name or a pattern has its first subscriber, or none any more. True if something else is to be asked for.
    pub fn on_interest(&mut self, text: &str, is_wanted: bool, now_ms: u64) -> bool {
        match self.wanted.get_mut(text) {
            None if is_wanted => {
                self.wanted.insert(text.into(), None);
                return true;
            }
            Some(until) if is_wanted => {
                if let Some(until_ms) = until.take() {
                    self.lingering.remove(&(until_ms, text.into()));
                }
            }
            Some(until @ None) => {
                let until_ms = now_ms + LINGER_MS;
                *until = Some(until_ms);
                self.lingering.insert((until_ms, text.into()));
            }
            _ => {}
        }
        let too_many = self.lingering.len() > LINGERING_MAX;
        too_many && self.end_first()
    }

    fn end_first(&mut self) -> bool {
        let first = self.lingering.pop_first();
        first.is_some_and(|(_, text)| self.wanted.remove(&text).is_some())
    }

    /// When the next of them is not asked for any more.
    pub fn due_ms(&self) -> Option<u64> {
        self.lingering.first().map(|(until_ms, _)| *until_ms)
    }

    /// It is so late. True if something is not to be asked for any more.
    pub fn on_time(&mut self, now_ms: u64) -> bool {
        let mut has_ended = false;
        while self.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            has_ended |= self.end_first();
        }
        has_ended
    }

    /// What is to be asked for: the fewest that cover all, at most so many.
    pub fn fewest(&self, most: usize) -> BTreeSet<Box<str>> {
        cover::fewest(self.wanted.keys().chain(&self.keep).map(|text| &**text), most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(wants: &Wants) -> Vec<Box<str>> {
        wants.fewest(100).into_iter().collect()
    }

    #[test]
    fn what_nobody_wants_lingers_and_who_comes_back_changes_nothing() {
        let mut wants = Wants::new(vec!["keep/**".into()]);
        assert!(wants.on_interest("a", true, 0) && !wants.on_interest("a", true, 1));
        assert!(!wants.on_interest("a", false, 1_000) && !wants.on_interest("never", false, 1_000));
        assert_eq!((wants.due_ms(), wants.on_time(30_999)), (Some(31_000), false));
        assert!(!wants.on_interest("a", true, 30_999));
        assert_eq!((wants.due_ms(), wants.on_time(99_000)), (None, false));
        assert_eq!(asked(&wants), ["a".into(), "keep/**".into()]);
        assert!(!wants.on_interest("a", false, 100_000) && wants.on_time(130_000));
        assert_eq!((asked(&wants), wants.len()), (vec!["keep/**".into()], 0));
    }

    #[test]
    fn what_lingers_has_a_limit_and_one_more_ends_the_oldest() {
        let mut wants = Wants::new(Vec::new());
        for n in 0..=LINGERING_MAX {
            let text = format!("t/{n}");
            assert!(wants.on_interest(&text, true, n as u64));
            assert_eq!(wants.on_interest(&text, false, n as u64), n == LINGERING_MAX, "{n}");
        }
        assert_eq!((wants.len(), wants.due_ms()), (LINGERING_MAX, Some(LINGER_MS + 1)));
    }
}
