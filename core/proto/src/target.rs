//! The request target: which endpoint, which topics, which options.
//!
//! Knows percent-encoding (RFC 3986 section 2.1) and the paths `/` and `/t/TOPIC`. Must never know which topics there
//! are or what a valid topic name is (that is [`super::topic`]).

use std::borrow::Cow;

use crate::subscribe::delay_ms;

/// The most topics one target may name.
pub const TOPICS_MAX: usize = 256;

/// What the path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/`
    Root,
    /// `/t/TOPIC`
    Topic,
    /// Any other path: nothing is served there.
    Other,
}

/// Why a target is refused: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// `%` without two hexadecimal digits behind it.
    #[error("bad percent-encoding in the request target")]
    Encoding,
    /// What is percent-encoded is not UTF-8.
    #[error("the request target is not UTF-8")]
    Utf8,
    /// More than [`TOPICS_MAX`] topics.
    #[error("too many topics in the request target")]
    TooManyTopics,
    /// `/t/` or `topic=` with nothing behind it.
    #[error("empty topic in the request target")]
    EmptyTopic,
    /// `max_delay_ms=` with something else than a number from 0 to [`crate::subscribe::DELAY_MS_MAX`].
    #[error("max_delay_ms in the request target: a number of milliseconds from 0 to 1000 is wanted")]
    Delay,
}

/// A parsed request target. Borrows what needed no decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// What the path asks for.
    pub endpoint: Endpoint,
    /// The path as it came, still encoded; `/` if there is none.
    pub path: &'a str,
    /// The query as it came, still encoded, without the `?`; empty if there is none.
    pub query: &'a str,
    /// The path's TOPIC first, then each `topic=`, decoded, in order, duplicates and all. Not checked to be topic
    /// names.
    pub topics: Vec<Cow<'a, str>>,
    /// False after `echo=0`: the connection does not want back what it published itself.
    pub echo: bool,
    /// What is sent may wait so many milliseconds, to be sent together.
    pub max_delay_ms: u16,
}

impl<'a> Target<'a> {
    /// Parses a target from its path on ([`super::request::Request::target`]): no path is the same as `/`.
    /// Parameters other than `topic`, `echo` and `max_delay_ms` are not looked into.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse(target: &'a str) -> Result<Self, TargetError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { "/" } else { path };
        let mut topics = Vec::new();
        let endpoint = match path.strip_prefix("/t/") {
            Some(topic) => {
                topics.push(decode(topic, Plus::Literal)?);
                Endpoint::Topic
            }
            None if path == "/" => Endpoint::Root,
            None => Endpoint::Other,
        };
        let (mut echo, mut max_delay_ms) = (true, 0);
        for (name, value) in parameters(query) {
            match name {
                "topic" if topics.len() == TOPICS_MAX => return Err(TargetError::TooManyTopics),
                "topic" => topics.push(decode(value, Plus::Space)?),
                "max_delay_ms" => max_delay_ms = value.parse().ok().and_then(delay_ms).ok_or(TargetError::Delay)?,
                "echo" => echo = !matches!(value, "0" | "false"),
                _ => {}
            }
        }
        if topics.iter().any(|topic| topic.is_empty()) {
            return Err(TargetError::EmptyTopic);
        }
        Ok(Self { endpoint, path, query, topics, echo, max_delay_ms })
    }

    /// The first query parameter of this name, decoded; `None` if there is none.
    ///
    /// # Errors
    /// When its value cannot be decoded.
    pub fn parameter(&self, name: &str) -> Result<Option<Cow<'a, str>>, TargetError> {
        values(self.query, name).next().transpose()
    }
}

/// The values of all parameters of this name in a query, decoded, in their order. Each may be one that cannot be decoded.
pub fn values<'a, 'n>(
    query: &'a str,
    name: &'n str,
) -> impl Iterator<Item = Result<Cow<'a, str>, TargetError>> + use<'a, 'n> {
    parameters(query).filter(move |(n, _)| *n == name).map(|(_, value)| decode(value, Plus::Space))
}

/// What `+` means: itself in a path, a space in a query as forms and `URLSearchParams` write it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Literal,
    Space,
}

/// The query's parameters, still encoded; one without `=` has an empty value. Names are taken literally: the ones that
/// matter need no encoding.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
}

fn decode(text: &str, plus: Plus) -> Result<Cow<'_, str>, TargetError> {
    if !text.bytes().any(|b| b == b'%' || (b == b'+' && plus == Plus::Space)) {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex)) else {
                    return Err(TargetError::Encoding);
                };
                high << 4 | low
            }
            b'+' if plus == Plus::Space => b' ',
            _ => byte,
        });
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| TargetError::Utf8)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_topics() {
        for (target, endpoint, topics, echo) in [
            ("/", Endpoint::Root, &[][..], true),
            ("/?", Endpoint::Root, &[], true),
            ("", Endpoint::Root, &[], true),
            ("?", Endpoint::Root, &[], true),
            ("?topic=a%2Fb&echo=0", Endpoint::Root, &["a/b"], false),
            ("/?token=abc", Endpoint::Root, &[], true),
            ("/t/a", Endpoint::Topic, &["a"], true),
            ("/t/a/b/c", Endpoint::Topic, &["a/b/c"], true),
            ("/t/a%2Fb", Endpoint::Topic, &["a/b"], true),
            ("/t/%E2%82%AC%20x", Endpoint::Topic, &["€ x"], true),
            ("/t/%e2%82%ac", Endpoint::Topic, &["€"], true),
            ("/t/a+b", Endpoint::Topic, &["a+b"], true),
            ("/t/px4/**", Endpoint::Topic, &["px4/**"], true),
            ("/t/%2525", Endpoint::Topic, &["%25"], true),
            ("/t/a?topic=b&topic=c%2Fd&echo=0", Endpoint::Topic, &["a", "b", "c/d"], false),
            ("/t/a?topic=b+c%2B", Endpoint::Topic, &["a", "b c+"], true),
            ("/t/a?topic=a", Endpoint::Topic, &["a", "a"], true),
            ("/t/a?echo=0&echo=1", Endpoint::Topic, &["a"], true),
            ("/t/a?echo=false", Endpoint::Topic, &["a"], false),
            ("/t/a?echo", Endpoint::Topic, &["a"], true),
            ("/t/a?x=%zz&&=&=y&topics=b&TOPIC=c", Endpoint::Topic, &["a"], true),
            ("/t/a?topic=b?c=d", Endpoint::Topic, &["a", "b?c=d"], true),
            ("/t/a?topic=b=c", Endpoint::Topic, &["a", "b=c"], true),
            ("/?topic=b", Endpoint::Root, &["b"], true),
            ("/t", Endpoint::Other, &[], true),
            ("/T/a", Endpoint::Other, &[], true),
            ("//t/a", Endpoint::Other, &[], true),
            ("/metrics", Endpoint::Other, &[], true),
        ] {
            let parsed = Target::parse(target).unwrap();
            assert_eq!((parsed.endpoint, parsed.echo), (endpoint, echo), "{target}");
            assert_eq!(&parsed.topics[..], topics, "{target}");
        }
    }

    #[test]
    fn how_long_messages_may_wait() {
        for (value, ms) in [("0", Some(0)), ("20", Some(20)), ("16.7", Some(16)), ("1000", Some(1_000)), ("1001", None)]
        {
            let target = format!("/t/a?max_delay_ms={value}");
            let parsed = Target::parse(&target).map(|target| target.max_delay_ms);
            assert_eq!(parsed, ms.ok_or(TargetError::Delay), "{value}");
        }
        for value in ["", "-1", "x", "1e400", "NaN", "5ms"] {
            assert_eq!(Target::parse(&format!("/t/a?max_delay_ms={value}")), Err(TargetError::Delay), "{value}");
        }
        assert_eq!(Target::parse("/t/a").map(|target| target.max_delay_ms), Ok(0));
    }

    #[test]
    fn what_cannot_be_decoded_is_refused() {
        for (target, error) in [
            ("/t/%", TargetError::Encoding),
            ("/t/%2", TargetError::Encoding),
            ("/t/%2g", TargetError::Encoding),
            ("/t/%+1", TargetError::Encoding),
            ("/t/a%%41", TargetError::Encoding),
            ("/t/%FF", TargetError::Utf8),
            ("/t/%C0%AF", TargetError::Utf8),
            ("/t/%ED%A0%80", TargetError::Utf8),
            ("/t/%E2%82", TargetError::Utf8),
            ("/t/a?topic=%", TargetError::Encoding),
            ("/t/a?topic=%80", TargetError::Utf8),
            ("/t/", TargetError::EmptyTopic),
            ("/t/?topic=a", TargetError::EmptyTopic),
            ("/t/a?topic=", TargetError::EmptyTopic),
            ("/t/a?topic", TargetError::EmptyTopic),
        ] {
            assert_eq!(Target::parse(target), Err(error), "{target}");
        }
    }

    #[test]
    fn topics_at_the_maximum_pass_and_one_more_is_refused() {
        let target = |n: usize| format!("/t/a?{}", "topic=b&".repeat(n - 1));
        assert_eq!(Target::parse(&target(TOPICS_MAX)).unwrap().topics.len(), TOPICS_MAX);
        assert_eq!(Target::parse(&target(TOPICS_MAX + 1)), Err(TargetError::TooManyTopics));
    }

    #[test]
    fn other_parameters_can_be_asked_for() {
        let target = Target::parse("/t/a?token=x%2By+z&bad=%&token=2&flag").unwrap();
        assert_eq!(target.parameter("token").unwrap().as_deref(), Some("x+y z"));
        assert_eq!(target.parameter("flag").unwrap().as_deref(), Some(""));
        assert_eq!(target.parameter("none"), Ok(None));
        assert_eq!(target.parameter("bad"), Err(TargetError::Encoding));
        assert_eq!((target.path, target.query), ("/t/a", "token=x%2By+z&bad=%&token=2&flag"));
    }

    #[test]
    fn what_needs_no_decoding_is_borrowed() {
        let target = Target::parse("/t/plain?topic=b%20c").unwrap();
        assert!(matches!(target.topics[..], [Cow::Borrowed("plain"), Cow::Owned(_)]));
    }
}
