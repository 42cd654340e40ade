//! Sets of names and patterns: whether one is covered by another, and the fewest that cover all.
//!
//! A copy comes for every subscription that matches, so what a wider pattern covers is left out. Where there would be too many still,
//! prefixes stand for those that begin with them.

use std::collections::{BTreeSet, HashMap};

/// A set of names and patterns by their levels.
#[derive(Debug, Default)]
pub struct Cover {
    root: Level,
    len: usize,
}

#[derive(Debug, Default)]
struct Level {
    below: HashMap<Box<str>, Level>,
    /// A name or a pattern ends here.
    is_end: bool,
}

impl Cover {
    /// Those of some texts, which have been looked at.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut cover = Self::default();
        texts.into_iter().for_each(|text| cover.insert(text));
        cover
    }

    fn insert(&mut self, text: &str) {
        let mut level = &mut self.root;
        for part in text.split('/') {
            if !level.below.contains_key(part) {
                level.below.insert(part.into(), Level::default());
            }
            let Some(below) = level.below.get_mut(part) else { return };
            level = below;
        }
        self.len += usize::from(!std::mem::replace(&mut level.is_end, true));
    }

    /// Whether one of them matches this name, or all that this pattern matches. At most two to the number of its levels steps; few, where
    /// few patterns begin alike.
    pub fn has(&self, text: &str) -> bool {
        !text.starts_with('$') && covers(&self.root, text, true) || self.has_literally(text)
    }

    /// Whether another one of them does.
    pub fn has_another_for(&self, text: &str) -> bool {
        !text.starts_with('$') && covers(&self.root, text, false)
    }

    fn has_literally(&self, text: &str) -> bool {
        let mut level = &self.root;
        for part in text.split('/') {
            let Some(below) = level.below.get(part) else { return false };
            level = below;
        }
        level.is_end
    }
}

/// Whether what ends below `level` covers `text`; what is the same text only where `counts_itself`.
fn covers(level: &Level, text: &str, counts_itself: bool) -> bool {
    let (part, rest) = text.split_once('/').map_or((text, None), |(part, rest)| (part, Some(rest)));
    // Whoever differs in this level is another one.
    let goes_on = |below: &Level, counts_itself: bool| match rest {
        None => below.is_end && counts_itself,
        Some(rest) => covers(below, rest, counts_itself),
    };
    if let Some(all) = level.below.get("**")
        && all.is_end
        && (counts_itself || part != "**")
    {
        return true;
    }
    if part == "**" {
        return false;
    }
    let any = level.below.get("*").is_some_and(|below| goes_on(below, counts_itself || part != "*"));
    any || part != "*" && level.below.get(part).is_some_and(|below| goes_on(below, counts_itself))
}

/// The fewest of `wanted` that cover all of them; where those are more than `most`, with prefixes in the place of the deepest. `most` is
/// at least 1.
pub fn fewest<'a>(wanted: impl IntoIterator<Item = &'a str>, most: usize) -> BTreeSet<Box<str>> {
    let wanted: BTreeSet<Box<str>> = wanted.into_iter().map(Into::into).collect();
    let exact = without_covered(&wanted);
    if exact.len() <= most {
        return exact;
    }
    let deepest = exact.iter().map(|text| text.split('/').count()).max().unwrap_or(1);
    for depth in (1..deepest).rev() {
        let shorter: BTreeSet<Box<str>> = exact.iter().map(|text| shortened(text, depth)).collect();
        let shorter = without_covered(&shorter);
        if shorter.len() <= most {
            return shorter;
        }
    }
    BTreeSet::from(["**".into()])
}

fn without_covered(texts: &BTreeSet<Box<str>>) -> BTreeSet<Box<str>> {
    let cover = Cover::of(texts.iter().map(|text| &**text));
    texts.iter().filter(|text| !cover.has_another_for(text)).cloned().collect()
}

/// So many levels of a text, and all that is below.
fn shortened(text: &str, depth: usize) -> Box<str> {
    match text.match_indices('/').nth(depth - 1) {
        // The last level of it is no `**`: nothing follows that.
        Some((at, _)) => format!("{}/**", &text[..at]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanwire::proto::topic::Pattern;
    use proptest::prelude::*;

    fn set(texts: &[&str]) -> BTreeSet<Box<str>> {
        texts.iter().map(|&text| text.into()).collect()
    }

    #[test]
    fn what_a_wider_pattern_covers_is_left_out() {
        let fewest = |texts: &[&str]| fewest(texts.iter().copied(), 100);
        assert_eq!(fewest(&["a/b", "a/*", "a/**", "a"]), set(&["a", "a/**"]));
        assert_eq!(fewest(&["**", "x", "a/*/b"]), set(&["**"]));
        assert_eq!(fewest(&["a/*", "*/b", "a/b"]), set(&["a/*", "*/b"]));
        assert_eq!(fewest(&["a/*/c", "a/b/*", "*/*/*", "a/**"]), set(&["*/*/*", "a/**"]));
        assert_eq!(fewest(&[]), set(&[]));
    }

    #[test]
    fn at_the_limit_all_are_exact_and_one_more_makes_prefixes() {
        let names: Vec<String> = (0..8).map(|n| format!("site/{}/{n}/x", n % 2)).collect();
        let texts = || names.iter().map(|name| &**name);
        assert_eq!(fewest(texts(), 8), names.iter().map(|name| (&**name).into()).collect());
        assert_eq!(fewest(texts().chain(["alone"]), 9).len(), 9);
        let shorter = |n: u32| format!("site/{}/{n}/**", n % 2);
        assert_eq!(fewest(texts().chain(["site/0/0/y"]), 8), (0..8).map(|n| shorter(n).into()).collect());
        assert_eq!(fewest(texts(), 7), set(&["site/0/**", "site/1/**"]));
        assert_eq!(fewest(texts(), 1), set(&["site/**"]));
        assert_eq!(fewest(texts().chain(["alone"]), 1), set(&["**"]));
    }

    fn texts() -> impl Strategy<Value = Vec<String>> {
        let level = prop::sample::select(vec!["a", "b", "c", "*"]);
        let text = (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(levels, is_open)| {
            let text = levels.join("/");
            if is_open { format!("{text}/**") } else { text }
        });
        prop::collection::vec(text, 0..12)
    }

    proptest! {
        #[test]
        fn coverage_is_that_of_patterns(texts in texts(), asked in texts()) {
            let cover = Cover::of(texts.iter().map(|text| &**text));
            let patterns: Vec<Pattern> = texts.iter().map(|text| Pattern::parse(text).expect("legal")).collect();
            for text in &asked {
                let pattern = Pattern::parse(text).expect("legal");
                prop_assert_eq!(cover.has(text), patterns.iter().any(|wide| wide.covers(&pattern)), "{}", text);
                let others = patterns.iter().filter(|wide| *wide != &pattern);
                prop_assert_eq!(cover.has_another_for(text), others.into_iter().any(|wide| wide.covers(&pattern)), "{}", text);
            }
        }

        #[test]
        fn the_fewest_cover_all_within_the_limit_and_none_of_them_another(texts in texts(), most in 1..6usize) {
            let few = fewest(texts.iter().map(|text| &**text), most);
            prop_assert!(few.len() <= most);
            let cover = Cover::of(few.iter().map(|text| &**text));
            prop_assert!(texts.iter().all(|text| cover.has(text)));
            prop_assert!(few.iter().all(|text| !cover.has_another_for(text)));
            let exact = fewest(texts.iter().map(|text| &**text), 100);
            prop_assert!(exact.len() > most || exact == few);
        }
    }
}
