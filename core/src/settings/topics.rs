//! How topics are to be treated, as people write it: `rover/*/imu=latest,keep-for=1m`.
//!
//! Knows the words. Must never know what the engine makes of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::units::{ByteSize, Span};
use crate::config::{Retention, SlowPolicy, TopicConfig};
use crate::proto::topic::Pattern;

/// What stands on the right, for messages about what does not.
const WORDS: &str = "drop-oldest, latest, disconnect, keep-nothing, keep-last, keep-messages=N, keep-bytes=SIZE, \
                     keep-for=TIME, lane-bytes=SIZE, batch-window=TIME, deliver-within=TIME";

/// `PATTERN=WORD[,WORD…]`.
impl FromStr for TopicConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut first_error = None;
        // A name may have an equals sign itself: what is right of the one that is meant are words and nothing else.
        for (at, _) in text.match_indices('=') {
            match parse(&text[..at], &text[at + 1..]) {
                Ok(config) => return Ok(config),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| format!("`{text}` is no setting: write PATTERN=WORD[,WORD…]")))
    }
}

fn parse(pattern: &str, words: &str) -> Result<TopicConfig, String> {
    Pattern::check(pattern).map_err(|error| error.to_string())?;
    let mut config = TopicConfig { pattern: pattern.to_owned(), ..TopicConfig::default() };
    let mut kept = Kept::default();
    for word in words.split(',') {
        set(&mut config, &mut kept, word.trim())?;
    }
    let Kept { messages, bytes, age } = kept;
    if messages.is_some() || bytes.is_some() || age.is_some() {
        config.retention = Retention::Last { messages, bytes, age };
    }
    Ok(config)
}

/// Bounds of what is kept.
#[derive(Default)]
struct Kept {
    messages: Option<u64>,
    bytes: Option<u64>,
    age: Option<Duration>,
}

fn set(config: &mut TopicConfig, kept: &mut Kept, word: &str) -> Result<(), String> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    match (name, value) {
        ("drop-oldest", None) => config.policy = SlowPolicy::DropOldest,
        ("latest", None) => config.policy = SlowPolicy::Latest,
        ("disconnect", None) => config.policy = SlowPolicy::Disconnect,
        ("keep-nothing", None) => config.retention = Retention::None,
        ("keep-last", None) => config.retention = Retention::LastValue,
        ("keep-messages", Some(count)) => {
            kept.messages = Some(count.parse().map_err(|_| format!("`{count}` is no number of messages"))?);
        }
        ("keep-bytes", Some(size)) => kept.bytes = Some(size.parse::<ByteSize>()?.0),
        ("keep-for", Some(time)) => kept.age = Some(time.parse::<Span>()?.0),
        ("lane-bytes", Some(size)) => config.lane_bytes = Some(size.parse::<ByteSize>()?.to_usize()),
        ("batch-window", Some(time)) => config.batch_window = Some(time.parse::<Span>()?.0),
        ("deliver-within", Some(time)) => config.deliver_within = time.parse::<Span>()?.0,
        _ => return Err(format!("`{word}` is no setting of a topic: there are {WORDS}")),
    }
    Ok(())
}

/// As it is written: what it says reads back as the same.
impl fmt::Display for TopicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match self.policy {
            SlowPolicy::DropOldest => "drop-oldest",
            SlowPolicy::Latest => "latest",
            SlowPolicy::Disconnect => "disconnect",
        };
        write!(f, "{}={policy}", self.pattern)?;
        match self.retention {
            Retention::None => f.write_str(",keep-nothing")?,
            Retention::LastValue | Retention::Last { messages: None, bytes: None, age: None } => {
                f.write_str(",keep-last")?;
            }
            Retention::Last { messages, bytes, age } => {
                messages.map_or(Ok(()), |count| write!(f, ",keep-messages={count}"))?;
                bytes.map_or(Ok(()), |size| write!(f, ",keep-bytes={}", ByteSize(size)))?;
                age.map_or(Ok(()), |age| write!(f, ",keep-for={}", Span(age)))?;
            }
        }
        self.lane_bytes.map_or(Ok(()), |size| write!(f, ",lane-bytes={}", ByteSize(size as u64)))?;
        self.batch_window.map_or(Ok(()), |window| write!(f, ",batch-window={}", Span(window)))?;
        if self.deliver_within.is_zero() { Ok(()) } else { write!(f, ",deliver-within={}", Span(self.deliver_within)) }
    }
}

/// Several of them, one a line; empty lines and those that begin with `#` say nothing.
///
/// # Errors
/// The number of the line that is wrong, and what is wrong with it.
pub fn parse_lines(text: &str) -> Result<Vec<TopicConfig>, (usize, String)> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(n, line)| line.parse().map_err(|problem| (n, problem)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_sets_what_it_says() {
        let parsed = |text: &str| text.parse::<TopicConfig>();
        let usual = |pattern: &str| TopicConfig { pattern: pattern.into(), ..TopicConfig::default() };
        let keep = |messages, bytes, age| Retention::Last { messages, bytes, age };
        let minute = Some(Duration::from_secs(60));
        let window = Some(Duration::from_millis(50));
        let rows = [
            ("a/*=drop-oldest,keep-last", usual("a/*")),
            ("a=latest", TopicConfig { policy: SlowPolicy::Latest, ..usual("a") }),
            (
                "a=disconnect, keep-nothing",
                TopicConfig { policy: SlowPolicy::Disconnect, retention: Retention::None, ..usual("a") },
            ),
            (
                "a/**=keep-messages=1000,keep-bytes=4MiB,keep-for=1m",
                TopicConfig { retention: keep(Some(1_000), Some(4 << 20), minute), ..usual("a/**") },
            ),
            ("a=deliver-within=20ms", TopicConfig { deliver_within: Duration::from_millis(20), ..usual("a") }),
            (
                "a=lane-bytes=64KiB,batch-window=50ms",
                TopicConfig { lane_bytes: Some(64 << 10), batch_window: window, ..usual("a") },
            ),
            ("a=b/c=latest", TopicConfig { policy: SlowPolicy::Latest, ..usual("a=b/c") }),
        ];
        for (text, config) in rows {
            assert_eq!(parsed(text), Ok(config.clone()), "{text}");
            assert_eq!(parsed(&config.to_string()), Ok(config.clone()), "{config}");
        }
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for text in [
            "a",
            "a=",
            "=latest",
            "a=fast",
            "a*=latest",
            "a=latest=1",
            "a=keep-messages",
            "a=keep-for=10",
            "a=lane-bytes=x",
        ] {
            assert!(text.parse::<TopicConfig>().is_err(), "{text}");
        }
    }

    #[test]
    fn lines_are_read_and_the_wrong_one_is_named() {
        let read = parse_lines("# first\n\n  a=latest\nb/*=keep-last\n").unwrap();
        assert_eq!(read.iter().map(|config| &*config.pattern).collect::<Vec<_>>(), ["a", "b/*"]);
        assert_eq!(parse_lines("a=latest\n#\nb=fast").unwrap_err().0, 3);
    }
}
