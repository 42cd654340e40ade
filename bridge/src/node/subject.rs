//! Names of topics as subjects of NATS, and back.
//!
//! A level is a token, percent-encoded where NATS, or a client of it, could not take it: `%`, `.`, `*`, `>`, control characters and all
//! white space of Unicode. There is one form only: what is encoded in another way is no topic of ours. Within the cluster a topic is
//! `fw.<cluster>.<priority>.<level>…`, so a lane is a subject; `*` of a pattern is `*`, `**` is `>`.

use std::fmt::Write as _;

use fanwire::Priority;
use fanwire::proto::topic::{Pattern, TopicName};

/// What subjects of all clusters begin with.
const ROOT: &str = "fw.";

/// A prefix of plain subjects that are topics, too: `plant.line1` stands for the topics below `plant/line1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    subject: Box<str>,
    topic: Box<str>,
    below: Pattern,
}

/// Why a subject's prefix is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It is empty, has an empty token or a wildcard, or is not encoded as it must be.
    #[error("`{0}` is no prefix of subjects: tokens with dots between them, no wildcard, no blank")]
    Malformed(String),
    /// The system's or ours.
    #[error("`{0}` is not for others: `$…`, `_INBOX`, `_FW` and `fw` are taken")]
    Reserved(String),
}

impl Prefix {
    /// Checks a prefix of subjects.
    ///
    /// # Errors
    /// See [`PrefixError`].
    pub fn parse(subject: &str) -> Result<Self, PrefixError> {
        let malformed = || PrefixError::Malformed(subject.to_owned());
        let topic = decode(subject).ok_or_else(malformed)?;
        let first = subject.split('.').next().unwrap_or_default();
        if first.starts_with('$') || ["_INBOX", "_FW", "fw"].contains(&first) {
            return Err(PrefixError::Reserved(subject.to_owned()));
        }
        let below = Pattern::parse(&format!("{topic}/**")).map_err(|_| malformed())?;
        Ok(Self { subject: subject.into(), topic: topic.into(), below })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.subject
    }

    /// Whether the topic is one of them.
    pub fn has(&self, topic: &str) -> bool {
        *self.topic == *topic || self.below.matches(topic)
    }

    /// Whether all topics of a pattern are.
    pub fn covers(&self, topics: &Pattern) -> bool {
        *self.topic == *topics.as_str() || self.below.covers(topics)
    }

    /// The two subjects that have all of them.
    pub fn subjects(&self) -> [String; 2] {
        [self.subject.to_string(), format!("{}.>", self.subject)]
    }
}

/// A cluster's subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// `fw.<cluster>.`
    prefix: String,
}

/// Longest name of a cluster.
pub const CLUSTER_BYTES_MAX: usize = 32;

/// Whether a text may be a cluster's name: 1 to [`CLUSTER_BYTES_MAX`] letters, digits, `-` and `_`.
pub fn is_cluster_name(text: &str) -> bool {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=CLUSTER_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_sound)
}

impl Space {
    /// Of this cluster, whose name has been looked at.
    pub fn new(cluster: &str) -> Self {
        Self { prefix: format!("{ROOT}{cluster}.") }
    }

    /// The subject of a name's or a pattern's messages of this priority.
    pub fn subject(&self, priority: Priority, topics: &str) -> String {
        let mut subject = String::with_capacity(self.prefix.len() + topics.len() + 2);
        subject.push_str(&self.prefix);
        // A number of one digit.
        subject.push(char::from(b'0' + priority as u8));
        subject.push('.');
        encode(&mut subject, topics);
        subject
    }

    /// The lane of a subject; `None`: it is none of ours.
    pub fn lane(&self, subject: &str) -> Option<(Priority, String)> {
        let rest = subject.strip_prefix(&*self.prefix)?;
        let (priority, levels) = rest.split_once('.')?;
        let &[digit] = priority.as_bytes() else { return None };
        let priority = Priority::from_u8(digit.checked_sub(b'0')?)?;
        Some((priority, decode(levels)?))
    }
}

/// Adds the subject of a name or a pattern.
pub fn encode(subject: &mut String, topics: &str) {
    for (at, level) in topics.split('/').enumerate() {
        if at > 0 {
            subject.push('.');
        }
        match level {
            "*" => subject.push('*'),
            "**" => subject.push('>'),
            _ => encode_level(subject, level),
        }
    }
}

fn encode_level(subject: &mut String, level: &str) {
    for c in level.chars() {
        if !must_encode(c) {
            subject.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a text does not fail.
            let _ = write!(subject, "%{byte:02X}");
        }
    }
}

fn must_encode(c: char) -> bool {
    matches!(c, '%' | '.' | '*' | '>') || c.is_control() || c.is_whitespace()
}

/// The topic of a plain subject; `None`: it has none, for it is encoded in another way than ours, or too long.
pub fn decode(subject: &str) -> Option<String> {
    let mut topic = String::with_capacity(subject.len());
    for (at, token) in subject.split('.').enumerate() {
        if at > 0 {
            topic.push('/');
        }
        decode_level(&mut topic, token)?;
    }
    TopicName::check(&topic).is_ok().then_some(topic)
}

fn decode_level(topic: &mut String, token: &str) -> Option<()> {
    if token.is_empty() {
        return None;
    }
    if token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        topic.push_str(token);
        return Some(());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, more) = rest.split_at_checked(2)?;
        rest = more;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
    }
    let level = String::from_utf8(bytes).ok()?;
    let mut again = String::with_capacity(token.len());
    encode_level(&mut again, &level);
    if again != token || level.contains('/') {
        return None;
    }
    topic.push_str(&level);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn space() -> Space {
        Space::new("lab")
    }

    #[test]
    fn a_lane_is_a_subject() {
        for (topics, subject) in [
            ("rover/1/imu", "fw.lab.0.rover.1.imu"),
            ("a.b/50%/x y", "fw.lab.0.a%2Eb.50%25.x%20y"),
            ("a/*/b", "fw.lab.0.a.*.b"),
            ("a/**", "fw.lab.0.a.>"),
            ("**", "fw.lab.0.>"),
            ("temp>9/\u{3000}/\u{a0}/ä", "fw.lab.0.temp%3E9.%E3%80%80.%C2%A0.ä"),
        ] {
            assert_eq!(space().subject(Priority::Critical, topics), subject);
        }
        let lane = space().lane("fw.lab.3.a%2Eb.c");
        assert_eq!(lane, Some((Priority::Low, "a.b/c".to_owned())));
    }

    #[test]
    fn what_is_encoded_in_another_way_is_no_topic() {
        for token in [
            "a%2eb",
            "a%41",
            "a%",
            "a%2",
            "a%zz",
            "a%2F",
            "a/b",
            "%FF",
            "a b",
            "a\u{3000}",
            "*",
            ">",
            "",
            "a..b",
            ".a",
            "a.",
            "%00",
            "a\u{7f}",
            "%E3%80",
            "%+1",
        ] {
            assert_eq!(decode(token), None, "{token:?}");
        }
        for subject in ["fw.lab.4.a", "fw.lab.00.a", "fw.lab.0", "fw.lab.0.", "fw.lab..a", "fw.la.0.a", "fw.lab.x.a"] {
            assert_eq!(space().lane(subject), None, "{subject:?}");
        }
    }

    #[test]
    fn names_have_a_limit_and_what_is_past_it_is_no_topic() {
        let (longest, longer) = ("%20".repeat(255), "%20".repeat(256));
        assert_eq!(decode(&longest), Some(" ".repeat(255)));
        assert_eq!(decode(&longer), None);
        let cluster = "c".repeat(CLUSTER_BYTES_MAX);
        assert!(is_cluster_name(&cluster) && is_cluster_name("a-B_9"));
        for wrong in ["", "a.b", "a b", "ä", "*", &format!("{cluster}c")] {
            assert!(!is_cluster_name(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_prefix_has_itself_and_what_is_below() {
        let prefix = Prefix::parse("plant.line%201").expect("a prefix");
        assert!(prefix.has("plant/line 1") && prefix.has("plant/line 1/a/b"));
        assert!(!prefix.has("plant/line 12") && !prefix.has("plant") && !prefix.has("other"));
        let pattern = |text: &str| Pattern::parse(text).expect("a pattern");
        assert!(prefix.covers(&pattern("plant/line 1/**")) && prefix.covers(&pattern("plant/line 1")));
        assert!(!prefix.covers(&pattern("plant/**")) && !prefix.covers(&pattern("**")));
        assert_eq!(prefix.subjects(), ["plant.line%201", "plant.line%201.>"]);
        for wrong in ["", "a.*", "a.>", "a..b", "a b", "a.", "a/b"] {
            assert_eq!(Prefix::parse(wrong), Err(PrefixError::Malformed(wrong.into())), "{wrong:?}");
        }
        for taken in ["$SYS", "$JS.API", "_INBOX.x", "_FW", "fw.lab"] {
            assert_eq!(Prefix::parse(taken), Err(PrefixError::Reserved(taken.into())), "{taken:?}");
        }
    }

    /// Names of everything that one may have, hostile characters often.
    fn names() -> impl Strategy<Value = String> {
        let hostile: Vec<char> = "%.>\u{3000}\u{a0}\u{2028} \u{feff}\u{1680}\u{205f}ä😀".chars().collect();
        let legal = |c: char| if c.is_control() || c == '/' || c == '*' { '.' } else { c };
        let any = prop_oneof![prop::sample::select(hostile), any::<char>().prop_map(legal)];
        let level = prop::collection::vec(any, 1..10).prop_map(|chars| chars.into_iter().collect::<String>());
        prop::collection::vec(level, 1..6).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_a_subject_that_nats_takes(name in names()) {
            prop_assume!(TopicName::check(&name).is_ok());
            let subject = space().subject(Priority::High, &name);
            prop_assert!(!subject.contains(char::is_whitespace) && !subject.contains(char::is_control));
            prop_assert!(!subject.contains(['*', '>']) && subject.split('.').all(|token| !token.is_empty()));
            prop_assert_eq!(space().lane(&subject), Some((Priority::High, name)));
        }

        #[test]
        fn two_subjects_never_have_one_name(subject in "[a-c%.2E0/]{1,12}") {
            if let Some(name) = decode(&subject) {
                let mut again = String::new();
                encode(&mut again, &name);
                prop_assert_eq!(again, subject);
            }
        }

        #[test]
        fn any_text_is_looked_at(subject in any::<String>()) {
            let _ = (decode(&subject), space().lane(&format!("fw.lab.1.{subject}")), Prefix::parse(&subject));
        }
    }
}
