//! Which topics a subscription means, written apart from the engine's own rules, to check them.

/// Whether a topic name matches a subscription: `*` is one level, a final `**` the rest.
pub fn matches(pattern: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    let mut wanted = pattern.split('/').peekable();
    if topic.starts_with('$') && !pattern.starts_with('$') {
        return false;
    }
    while let Some(want) = wanted.next() {
        if want == "**" && wanted.peek().is_none() {
            return levels.next().is_some();
        }
        match levels.next() {
            Some(level) if want == "*" || want == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_by_level() {
        for (pattern, topic, expected) in [
            ("a", "a", true),
            ("a", "a/b", false),
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "a/b", true),
            ("**", "$x", false),
            ("*/b", "a/b", true),
        ] {
            assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
        }
    }
}
