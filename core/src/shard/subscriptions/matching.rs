//! Which patterns match a name: a walk that visits only patterns that agree with it so far.
//!
//! Patterns stand in the order of their levels ([`level_order`]). From each level that matched there are at most three ways on: the
//! name's own level, `*`, and `**`; each is one look-up. The walk keeps its place as the choices that it made, so it may be put down
//! and taken up again whatever patterns come and go meanwhile.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::proto::topic::is_engine_owned;
use crate::shard::budget::Budget;
use crate::shard::topics::level_order;

/// Patterns with wildcards, to their numbers.
pub type Ordered = BTreeMap<Box<[u8]>, u32>;

/// What is tried next from where a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Rest,
    Literal,
    Star,
    Back,
}

/// A walk over the patterns that match one name.
#[derive(Debug)]
pub struct Matching {
    name: Box<[u8]>,
    /// Bit n: the star was taken at level n.
    stars: u128,
    /// Levels chosen so far.
    depth: usize,
    way: Way,
    is_done: bool,
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// A pattern that matches.
    Pattern(u32),
    /// There is none left.
    End,
    /// The budget is spent.
    Spent,
}

impl Matching {
    /// A walk for a checked topic name: at most 128 levels.
    pub fn new(name: &str) -> Self {
        let is_done = is_engine_owned(name);
        Self { name: level_order(name), stars: 0, depth: 0, way: Way::Rest, is_done }
    }

    /// The next pattern. Two steps a look.
    pub fn next(&mut self, patterns: &Ordered, budget: &mut Budget) -> Matched {
        let levels: Vec<&[u8]> = self.name.split(|&b| b == 0).collect();
        let mut path = Vec::new();
        for (i, level) in levels[..self.depth].iter().enumerate() {
            push(&mut path, if self.stars >> i & 1 == 1 { b"*" } else { level });
        }
        while !self.is_done && !patterns.is_empty() {
            if budget.is_spent() {
                return Matched::Spent;
            }
            let is_leaf = self.depth == levels.len();
            match self.way {
                Way::Rest if !is_leaf => {
                    self.way = Way::Literal;
                    budget.spend(2);
                    let len = path.len();
                    push(&mut path, b"**");
                    let found = patterns.get(&path[..]).copied();
                    path.truncate(len);
                    if let Some(number) = found {
                        return Matched::Pattern(number);
                    }
                }
                Way::Literal | Way::Star if !is_leaf => {
                    let is_star = self.way == Way::Star;
                    budget.spend(2);
                    let len = path.len();
                    push(&mut path, if is_star { b"*" } else { levels[self.depth] });
                    match below(patterns, &path) {
                        None => {
                            path.truncate(len);
                            self.way = if is_star { Way::Back } else { Way::Star };
                        }
                        Some(at) => {
                            self.stars = self.stars & !(1 << self.depth) | u128::from(is_star) << self.depth;
                            self.depth += 1;
                            self.way = Way::Rest;
                            if self.depth == levels.len() {
                                self.way = Way::Back;
                                if let Some(number) = at {
                                    return Matched::Pattern(number);
                                }
                            }
                        }
                    }
                }
                _ => {
                    budget.spend(1);
                    let Some(depth) = self.depth.checked_sub(1) else {
                        self.is_done = true;
                        break;
                    };
                    self.depth = depth;
                    let was_star = self.stars >> depth & 1 == 1;
                    let level = if was_star { 1 } else { levels[depth].len() };
                    path.truncate(path.len() - level - usize::from(depth > 0));
                    self.way = if was_star { Way::Back } else { Way::Star };
                }
            }
        }
        Matched::End
    }
}

fn push(path: &mut Vec<u8>, level: &[u8]) {
    if !path.is_empty() {
        path.push(0);
    }
    path.extend_from_slice(level);
}

/// Whether there is a pattern that begins with these whole levels: `Some(Some(_))` if it is just these.
fn below(patterns: &Ordered, path: &[u8]) -> Option<Option<u32>> {
    let (key, &number) = patterns.range::<[u8], _>((Bound::Included(path), Bound::Unbounded)).next()?;
    let rest = key.strip_prefix(path)?;
    match rest.first() {
        None => Some(Some(number)),
        Some(0) => Some(None),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::topic::Pattern;
    use crate::shard::topics::some_pattern;
    use proptest::prelude::*;

    fn ordered(patterns: &[String]) -> Ordered {
        (0..).zip(patterns).map(|(number, p)| (level_order(p), number)).collect()
    }

    fn walk(patterns: &Ordered, name: &str, steps: u32) -> (Vec<u32>, u32) {
        let (mut matching, mut found, mut sum) = (Matching::new(name), Vec::new(), 0);
        loop {
            let mut budget = Budget::new(steps);
            let next = matching.next(patterns, &mut budget);
            sum += budget.spent();
            match next {
                Matched::Pattern(number) => found.push(number),
                Matched::Spent => {}
                Matched::End => return (found, sum),
            }
        }
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_asking_every_pattern_finds(
            list in proptest::collection::btree_set(some_pattern(), 0..40),
            name in proptest::collection::vec("[ab$-]{1,2}", 1..5).prop_map(|l| l.join("/")),
            steps in 1u32..7,
        ) {
            let list: Vec<String> = list.into_iter().collect();
            let matches = |p: &String| Pattern::parse(p).unwrap().matches(&name);
            let mut expected: Vec<u32> = (0..).zip(&list).filter(|(_, p)| matches(p)).map(|(i, _)| i).collect();
            let (mut found, _) = walk(&ordered(&list), &name, steps);
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_number_of_patterns_of_others_does_not_count() {
        let list: Vec<String> = (0..10_000).map(|n| format!("robot{n}/*/state")).chain(["**".into()]).collect();
        let (found, steps) = walk(&ordered(&list), "robot77/arm/state", 1_000);
        assert_eq!(found.len(), 2);
        assert!(steps < 40, "{steps} steps");
    }

    #[test]
    fn a_name_of_127_levels_is_walked() {
        let name = vec!["a"; 127].join("/");
        let list = [vec!["*"; 127].join("/"), "a/**".to_owned(), vec!["*"; 126].join("/")];
        assert_eq!(walk(&ordered(&list), &name, 50).0.len(), 2);
    }
}
