//! Names in the order of their levels, so that a pattern's topics are found without looking at all the others.
//!
//! A name is kept with its slashes replaced by zero bytes. In that order all names below a level stand together, and a walk for
//! a pattern leaps over what its literal levels rule out: for `a/*/c` it looks once or twice at each second level below `a`. A walk
//! goes on from a name, not from a place, so it may be put down and taken up again whatever has changed meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::shard::budget::Budget;

/// Between two levels. No name holds it, and nothing sorts before it.
const LEVEL_END: u8 = 0;
/// Sorts behind everything below a level, and before every other level: no name holds it either.
const PAST_LEVEL: u8 = 1;

/// A name or pattern as a key that sorts level by level.
pub fn level_order(name: &str) -> Box<[u8]> {
    name.bytes().map(|b| if b == b'/' { LEVEL_END } else { b }).collect()
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A topic that matches.
    Topic(u32),
    /// There is none left.
    End,
    /// The budget is spent.
    Spent,
}

/// Topic names to their places.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<Arc<str>, u32>,
    ordered: BTreeMap<Box<[u8]>, u32>,
}

impl Names {
    /// With room for so many: a table of hashes that grows puts all of them into another one, which takes long.
    pub fn with_room(names: u32) -> Self {
        Self { by_name: HashMap::with_capacity(names as usize), ordered: BTreeMap::new() }
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The place of a topic.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// Adds a name.
    pub fn insert(&mut self, name: Arc<str>, index: u32) {
        self.ordered.insert(level_order(&name), index);
        self.by_name.insert(name, index);
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
        self.ordered.remove(&level_order(name));
    }

    /// The next topic behind `after` that `pattern` (with a wildcard) matches; `after` moves on with the walk. Two steps a look.
    pub fn next_match(&self, pattern: &str, after: &mut Option<Box<[u8]>>, budget: &mut Budget) -> Found {
        let pattern: Vec<&[u8]> = pattern.as_bytes().split(|&b| b == b'/').collect();
        let mut from = match after {
            Some(after) => Bound::Excluded(after.to_vec()),
            None => Bound::Included(Vec::new()),
        };
        loop {
            if budget.is_spent() {
                return Found::Spent;
            }
            budget.spend(2);
            let range = (from.as_ref().map(Vec::as_slice), Bound::Unbounded);
            let Some((key, &index)) = self.ordered.range::<[u8], _>(range).next() else { return Found::End };
            match compare(&pattern, key) {
                Step::Matches => {
                    *after = Some(key.clone());
                    return Found::Topic(index);
                }
                Step::Leap(to) => {
                    // Everything before there has been seen to be out of the question.
                    *after = Some(key.clone());
                    from = Bound::Included(to);
                }
                Step::End => return Found::End,
            }
        }
    }
}

enum Step {
    Matches,
    /// No name before this one matches.
    Leap(Vec<u8>),
    End,
}

/// How a name stands to a pattern.
fn compare(pattern: &[&[u8]], key: &[u8]) -> Step {
    if key.first() == Some(&b'$') {
        // The engine's own match no wildcard.
        return Step::Leap(vec![b'$' + 1]);
    }
    // Where the last level began that a star took, or: everything before is literal.
    let mut star_end = None;
    let mut at = 0;
    for (i, &level) in pattern.iter().enumerate() {
        if level == b"**" {
            return Step::Matches;
        }
        let end = key[at..].iter().position(|&b| b == LEVEL_END).map_or(key.len(), |n| at + n);
        let named = &key[at..end];
        if level == b"*" {
            star_end = Some(end);
        } else if named < level {
            return Step::Leap([&key[..at], level].concat());
        } else if named > level {
            return past(key, star_end);
        }
        let is_last = i + 1 == pattern.len();
        match (is_last, end == key.len()) {
            (true, true) => return Step::Matches,
            // It goes on below what the pattern wants.
            (true, false) if level == b"*" => return past(key, Some(end)),
            (true, false) => return past(key, star_end),
            // It ends above.
            (false, true) => {
                let next: &[u8] = if pattern[i + 1].starts_with(b"*") { b"" } else { pattern[i + 1] };
                return Step::Leap([key, &[LEVEL_END], next].concat());
            }
            (false, false) => at = end + 1,
        }
    }
    Step::End
}

/// Behind everything that has the same level where the last star stands.
fn past(key: &[u8], star_end: Option<usize>) -> Step {
    match star_end {
        Some(end) => Step::Leap([&key[..end], &[PAST_LEVEL]].concat()),
        None => Step::End,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::proto::topic::Pattern;
    use proptest::prelude::*;

    fn names(list: &[String]) -> Names {
        let mut names = Names::default();
        for (index, name) in (0..).zip(list) {
            names.insert(name.as_str().into(), index);
        }
        names
    }

    /// All topics that a walk finds, put down after each so many steps, and the number of steps.
    fn walk(names: &Names, pattern: &str, steps: u32) -> (Vec<u32>, u32) {
        let (mut found, mut after, mut sum) = (Vec::new(), None, 0);
        loop {
            let mut budget = Budget::new(steps);
            let next = names.next_match(pattern, &mut after, &mut budget);
            sum += budget.spent();
            match next {
                Found::Topic(index) => found.push(index),
                Found::Spent => {}
                Found::End => return (found, sum),
            }
        }
    }

    fn some_name() -> impl Strategy<Value = String> {
        proptest::collection::vec("[ab$-]{1,2}", 1..5).prop_map(|levels| levels.join("/"))
    }

    /// A legal pattern with a wildcard, of few levels and letters.
    pub fn some_pattern() -> impl Strategy<Value = String> {
        (proptest::collection::vec("[ab-]{1,2}|\\*", 0..4), "\\*\\*|\\*|[ab]")
            .prop_map(|(mut levels, last)| {
                levels.push(last);
                levels.join("/")
            })
            .prop_filter("a wildcard", |p| Pattern::parse(p).is_ok_and(|p| !p.is_literal()))
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_looking_at_every_name_finds(
            list in proptest::collection::btree_set(some_name(), 0..60),
            pattern in some_pattern(),
            steps in 1u32..9,
        ) {
            let list: Vec<String> = list.into_iter().collect();
            let parsed = Pattern::parse(&pattern).unwrap();
            let mut expected: Vec<u32> = (0..).zip(&list).filter(|(_, n)| parsed.matches(n)).map(|(i, _)| i).collect();
            let (mut found, _) = walk(&names(&list), &pattern, steps);
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn literal_levels_rule_names_out_without_looking_at_them() {
        let list: Vec<String> =
            (0..100).flat_map(|a| (0..100).map(move |b| format!("robot{a}/part{b}/state"))).collect();
        let names = names(&list);
        for (pattern, matches, steps_max) in [
            ("robot7/part8/*", 1, 8),
            ("robot7/*/state", 100, 420),
            ("*/part9/state", 100, 820),
            ("robot7/**", 100, 210),
            ("*/part9/none", 0, 820),
            ("none/**", 0, 8),
            ("**", 10_000, 20_010),
        ] {
            let (found, steps) = walk(&names, pattern, 1_000);
            assert_eq!(found.len(), matches, "{pattern}");
            assert!(steps <= steps_max, "{pattern}: {steps} steps");
        }
    }

    #[test]
    fn a_walk_goes_on_behind_a_name_that_is_gone() {
        let mut names = names(&["a/1".into(), "a/2".into(), "a/3".into()]);
        let mut after = None;
        let mut budget = Budget::new(100);
        assert_eq!(names.next_match("a/*", &mut after, &mut budget), Found::Topic(0));
        names.remove("a/1");
        names.insert("a/0".into(), 9);
        assert_eq!(names.next_match("a/*", &mut after, &mut budget), Found::Topic(1));
        assert_eq!(names.next_match("a/*", &mut after, &mut budget), Found::Topic(2));
        assert_eq!(names.next_match("a/*", &mut after, &mut budget), Found::End);
    }
}
