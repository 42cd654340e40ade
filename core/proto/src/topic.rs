//! Topic names and subscription patterns.
//!
//! Knows what a legal name is, what a pattern is and which names it matches. Never knows which topics exist or who
//! subscribes to them.
//!
//! A name is 1 to 255 bytes of UTF-8 in `/`-separated levels, none of them empty, without control characters and
//! without `*`. A pattern may be a name, or hold `*` (exactly one level) and, as its last level only, `**` (one or more
//! levels: `a/**` matches `a/b` and `a/b/c` but not `a`). Names that begin with `$` are the engine's own: a pattern with
//! a wildcard matches none of them, and clients may not publish to them.

use std::fmt;
use thiserror::Error;

/// Longest topic name and longest pattern, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Why a topic name is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicNameError {
    /// No characters at all.
    #[error("a topic name cannot be empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("a topic name is at most {NAME_BYTES_MAX} bytes long, this one has {bytes}")]
    TooLong {
        /// The length found, in bytes.
        bytes: usize,
    },
    /// A slash at the start, at the end, or next to another one.
    #[error("a topic name has no empty level: byte {at} is a slash too many")]
    EmptyLevel {
        /// Byte offset of the slash.
        at: usize,
    },
    /// A control character (C0, DEL or C1).
    #[error("a topic name holds no control characters: there is one at byte {at}")]
    Control {
        /// Byte offset of the character.
        at: usize,
    },
    /// A `*`, which is for patterns only.
    #[error("a topic name holds no `*`: there is one at byte {at}")]
    Wildcard {
        /// Byte offset of the star.
        at: usize,
    },
}

/// Why a subscription pattern is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// What is wrong would be wrong in a name, too.
    #[error(transparent)]
    Name(#[from] TopicNameError),
    /// A star that shares its level with something else.
    #[error("a wildcard is a whole level, `*` or `**`: the one at byte {at} is not")]
    PartOfLevel {
        /// Byte offset of the star.
        at: usize,
    },
    /// A `**` that is not the last level.
    #[error("`**` stands for the rest and must be the last level: the one at byte {at} is not")]
    RestNotLast {
        /// Byte offset of the `**`.
        at: usize,
    },
    /// A wildcard below `$`, where wildcards match nothing.
    #[error("wildcards match none of the engine's own `$` topics: name them in full")]
    WildcardOnEngineTopic,
}

/// A checked topic name, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `name` and wraps it. One pass, no allocation.
    ///
    /// # Errors
    /// The first rule broken: length first, then from left to right.
    pub fn new(name: &'a str) -> Result<Self, TopicNameError> {
        check_text(name)?;
        match name.find('*') {
            Some(at) => Err(TopicNameError::Wildcard { at }),
            None => Ok(TopicName(name)),
        }
    }

    /// Checks `name` without keeping it.
    ///
    /// # Errors
    /// As [`TopicName::new`].
    pub fn check(name: &str) -> Result<(), TopicNameError> {
        TopicName::new(name).map(|_| ())
    }

    /// The name.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether the name is one of the engine's own (`$…`).
    pub fn is_engine_owned(self) -> bool {
        is_engine_owned(self.0)
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Whether `name` begins with `$`: the engine publishes there, clients may not.
pub fn is_engine_owned(name: &str) -> bool {
    name.starts_with('$')
}

/// What names and patterns have in common: length, levels, no control characters.
fn check_text(text: &str) -> Result<(), TopicNameError> {
    let bytes = text.len();
    if bytes == 0 {
        return Err(TopicNameError::Empty);
    }
    if bytes > NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes });
    }
    // True at the start of a level, where a slash would close an empty one.
    let mut level_start = true;
    for (at, c) in text.char_indices() {
        if c.is_control() {
            return Err(TopicNameError::Control { at });
        }
        if c == '/' && level_start {
            return Err(TopicNameError::EmptyLevel { at });
        }
        level_start = c == '/';
    }
    if level_start {
        return Err(TopicNameError::EmptyLevel { at: bytes - 1 });
    }
    Ok(())
}

/// A subscription pattern.
///
/// At most 255 bytes on the heap. Two patterns are equal when their texts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    /// Where the first wildcard level begins; all before it is compared as it stands. `None`: a literal.
    wildcard_at: Option<u8>,
}

impl Pattern {
    /// Checks `text` and keeps a copy of it (the only allocation).
    ///
    /// # Errors
    /// The first rule broken.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let wildcard_at = first_wildcard(text)?;
        Ok(Pattern { text: text.into(), wildcard_at })
    }

    /// Checks `text` as [`Pattern::parse`] does, without keeping anything.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn check(text: &str) -> Result<(), PatternError> {
        first_wildcard(text).map(|_| ())
    }

    /// Whether the pattern has no wildcard, hence matches the one name that is its text.
    pub fn is_literal(&self) -> bool {
        self.wildcard_at.is_none()
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `name`, a checked topic name, is matched. O(length of the name), no allocation.
    pub fn matches(&self, name: &str) -> bool {
        let Some(at) = self.wildcard_at else {
            return *self.text == *name;
        };
        if is_engine_owned(name) {
            return false;
        }
        let (literal, wild) = self.text.as_bytes().split_at(usize::from(at));
        match name.as_bytes().strip_prefix(literal) {
            Some(rest) => levels_match(wild, rest),
            None => false,
        }
    }
}

impl Pattern {
    /// Whether every name that `other` matches is matched by this one too. O(length of both), no allocation.
    pub fn covers(&self, other: &Pattern) -> bool {
        if self.is_literal() || other.is_literal() {
            return self.matches(&other.text);
        }
        let (mut granted, mut wanted) = (self.text.as_bytes(), other.text.as_bytes());
        loop {
            let (grant, more_granted) = split_level(granted);
            let (want, more_wanted) = split_level(wanted);
            if grant == b"**" {
                return true;
            }
            if want == b"**" || (grant != b"*" && grant != want) {
                return false;
            }
            match (more_granted, more_wanted) {
                (Some(g), Some(w)) => (granted, wanted) = (g, w),
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where the first wildcard level of a legal pattern begins.
fn first_wildcard(text: &str) -> Result<Option<u8>, PatternError> {
    check_text(text)?;
    let mut first = None;
    let mut at = 0;
    for level in text.split('/') {
        if let Some(star) = level.find('*') {
            match level {
                "*" => {}
                "**" if at + level.len() == text.len() => {}
                "**" => return Err(PatternError::RestNotLast { at }),
                _ => return Err(PatternError::PartOfLevel { at: at + star }),
            }
            if is_engine_owned(text) {
                return Err(PatternError::WildcardOnEngineTopic);
            }
            // Fits: a pattern has at most 255 bytes, so no level begins past 254.
            first = first.or(u8::try_from(at).ok());
        }
        at += level.len() + 1;
    }
    Ok(first)
}

/// Matches level by level from a level's start on both sides.
fn levels_match(mut pattern: &[u8], mut name: &[u8]) -> bool {
    loop {
        let (level, more_pattern) = split_level(pattern);
        if level == b"**" {
            return !name.is_empty();
        }
        let (named, more_name) = split_level(name);
        if named.is_empty() || (level != b"*" && level != named) {
            return false;
        }
        match (more_pattern, more_name) {
            (Some(p), Some(n)) => (pattern, name) = (p, n),
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// The first level, and what follows its slash if it has one.
fn split_level(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'/', text) {
        Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All patterns, literals among them, of up to three levels out of these.
    fn small_patterns() -> Vec<Pattern> {
        let levels = ["a", "b", "*", "**"];
        let more = |texts: &[String]| -> Vec<String> {
            texts.iter().flat_map(|text| levels.iter().map(move |level| format!("{text}/{level}"))).collect()
        };
        let one: Vec<String> = levels.iter().map(|&level| level.to_owned()).collect();
        let (two, three) = (more(&one), more(&more(&one)));
        let texts = one.into_iter().chain(two).chain(three).chain(["$a".to_owned(), "$a/b".to_owned()]);
        texts.filter_map(|text| Pattern::parse(&text).ok()).collect()
    }

    #[test]
    fn a_pattern_covers_another_where_it_matches_all_of_its_names() {
        // A level that no pattern names stands for all others, and four levels for all longer names.
        let mut names = vec![String::new()];
        let mut all = vec!["$a".to_owned(), "$a/b".to_owned()];
        for _ in 0..4 {
            names = names
                .iter()
                .flat_map(|name| {
                    ["a", "b", "c"].map(|level| format!("{name}/{level}").trim_start_matches('/').to_owned())
                })
                .collect();
            all.extend(names.iter().cloned());
        }
        let patterns = small_patterns();
        assert!(patterns.len() > 40);
        for one in &patterns {
            for other in &patterns {
                let expected = all.iter().all(|name| !other.matches(name) || one.matches(name));
                assert_eq!(one.covers(other), expected, "{one} covers {other}");
            }
        }
    }

    /// The oracle: split both into vectors and compare by the definition.
    fn naive_matches(pattern: &str, name: &str) -> bool {
        fn levels(pattern: &[&str], name: &[&str]) -> bool {
            match (pattern, name) {
                ([], []) => true,
                (["**"], rest) => !rest.is_empty(),
                (["*", p @ ..], [_, n @ ..]) => levels(p, n),
                ([a, p @ ..], [b, n @ ..]) => a == b && levels(p, n),
                _ => false,
            }
        }
        if pattern.contains('*') && name.starts_with('$') {
            return false;
        }
        let pattern: Vec<_> = pattern.split('/').collect();
        let name: Vec<_> = name.split('/').collect();
        levels(&pattern, &name)
    }

    #[test]
    fn names_are_judged_by_the_table() {
        let long = "x".repeat(255);
        let wide = "é".repeat(127) + "x";
        for name in [
            "a",
            "a/b",
            "px4/vehicle_status/0",
            "a b",
            "$sys/stats",
            "é/日本",
            "a.b-c_d",
            "$",
            "~",
            long.as_str(),
            wide.as_str(),
        ] {
            assert_eq!(TopicName::check(name), Ok(()), "{name:?}");
            assert!(Pattern::parse(name).expect("a name is a pattern").is_literal(), "{name:?}");
        }
        let too_long = "x".repeat(256);
        let too_wide = "é".repeat(128);
        use TopicNameError::*;
        for (name, error) in [
            ("", Empty),
            (too_long.as_str(), TooLong { bytes: 256 }),
            (too_wide.as_str(), TooLong { bytes: 256 }),
            ("/", EmptyLevel { at: 0 }),
            ("/a", EmptyLevel { at: 0 }),
            ("a/", EmptyLevel { at: 1 }),
            ("a//b", EmptyLevel { at: 2 }),
            ("a///b", EmptyLevel { at: 2 }),
            ("a\0b", Control { at: 1 }),
            ("a\nb", Control { at: 1 }),
            ("a\x7f", Control { at: 1 }),
            ("é\u{85}", Control { at: 2 }),
        ] {
            assert_eq!(TopicName::check(name), Err(error), "{name:?}");
            assert_eq!(Pattern::check(name), Err(PatternError::Name(error)), "{name:?}");
        }
        for (name, at) in [("*", 0), ("a/*", 2), ("a/**", 2), ("a*", 1)] {
            assert_eq!(TopicName::check(name), Err(Wildcard { at }), "{name:?}");
        }
    }

    #[test]
    fn patterns_are_judged_by_the_table() {
        for pattern in ["*", "**", "a/*", "*/a", "a/*/b", "*/*", "a/**", "*/**", "a/*/**", "é/*"] {
            assert!(!Pattern::parse(pattern).expect(pattern).is_literal(), "{pattern:?}");
        }
        use PatternError::*;
        for (pattern, error) in [
            ("a*", PartOfLevel { at: 1 }),
            ("a/b*c", PartOfLevel { at: 3 }),
            ("***", PartOfLevel { at: 0 }),
            ("a/**b", PartOfLevel { at: 2 }),
            ("**/a", RestNotLast { at: 0 }),
            ("a/**/b", RestNotLast { at: 2 }),
            ("**/**", RestNotLast { at: 0 }),
            ("$sys/*", WildcardOnEngineTopic),
            ("$sys/**", WildcardOnEngineTopic),
        ] {
            assert_eq!(Pattern::parse(pattern), Err(error), "{pattern:?}");
        }
        let longest = "a/".repeat(127) + "*";
        assert_eq!(longest.len(), NAME_BYTES_MAX);
        assert!(Pattern::parse(&longest).is_ok());
        assert!(Pattern::parse(&("a/".repeat(127) + "**")).is_err());
    }

    #[test]
    fn matching_follows_the_table() {
        for (pattern, name, matched) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "a/b", false),
            ("$sys/x", "$sys/x", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("*", "$sys", false),
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("**", "$sys/x", false),
            ("a/*", "a/b", true),
            ("a/*", "a", false),
            ("a/*", "ab", false),
            ("a/*", "a/b/c", false),
            ("a/**", "a", false),
            ("a/**", "ab", false),
            ("a/**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/d", false),
            ("a/*/c", "a/b/cc", false),
            ("*/b", "a/b", true),
            ("*/b", "$a/b", false),
            ("*/**", "a", false),
            ("*/**", "a/b", true),
            ("*/*", "a/$b", true),
            ("é/*", "é/ü", true),
        ] {
            assert_eq!(Pattern::parse(pattern).expect(pattern).matches(name), matched, "{pattern} on {name}");
            assert_eq!(naive_matches(pattern, name), matched, "oracle: {pattern} on {name}");
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_naive_twin(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "é", "*", "**"]), 1..6),
            name in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "é", "$a"]), 1..6),
        ) {
            let (pattern, name) = (pattern.join("/"), name.join("/"));
            if let Ok(parsed) = Pattern::parse(&pattern) {
                prop_assert_eq!(parsed.matches(&name), naive_matches(&pattern, &name));
            }
        }

        #[test]
        fn no_text_makes_checking_or_matching_panic(pattern in "\\PC{0,40}|[a*/$]{0,12}", name in any::<String>()) {
            let _ = TopicName::check(&name);
            if let Ok(parsed) = Pattern::parse(&pattern) {
                let _ = parsed.matches(&name);
                prop_assert_eq!(parsed.as_str(), pattern.as_str());
            }
        }
    }
}
