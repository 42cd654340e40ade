//! Job: how topics are to be treated, as people write it: `rover/*/imu=latest,keep-for=1m`.
//! Knows: the words. Must never know: what the engine makes of them.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use fanwire::proto::topic::Pattern;
use fanwire::{Retention, SlowPolicy, TopicConfig};

use crate::exit::{Exit, Failure, OrExit};
use crate::units::{ByteSize, Span};

/// What stands on the right, for messages about what does not.
const WORDS: &str = "drop-oldest, latest, disconnect, keep-nothing, keep-last, keep-messages=N, keep-bytes=SIZE, keep-for=TIME, \
                     lane-bytes=SIZE, batch-window=TIME";

/// Settings of the topics that match a pattern: `PATTERN=WORD[,WORD…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSetting(pub TopicConfig);

impl FromStr for TopicSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pattern, words) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is no setting: write PATTERN=WORD[,WORD…]"))?;
        Pattern::check(pattern).map_err(|error| error.to_string())?;
        let mut setting = TopicConfig { pattern: pattern.to_owned(), ..TopicConfig::default() };
        let mut kept = Kept::default();
        for word in words.split(',') {
            set(&mut setting, &mut kept, word.trim())?;
        }
        let Kept { messages, bytes, age } = kept;
        if messages.is_some() || bytes.is_some() || age.is_some() {
            setting.retention = Retention::Last { messages, bytes, age };
        }
        Ok(TopicSetting(setting))
    }
}

/// Bounds of what is kept.
#[derive(Default)]
struct Kept {
    messages: Option<u64>,
    bytes: Option<u64>,
    age: Option<Duration>,
}

fn set(setting: &mut TopicConfig, kept: &mut Kept, word: &str) -> Result<(), String> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    match (name, value) {
        ("drop-oldest", None) => setting.policy = SlowPolicy::DropOldest,
        ("latest", None) => setting.policy = SlowPolicy::Latest,
        ("disconnect", None) => setting.policy = SlowPolicy::Disconnect,
        ("keep-nothing", None) => setting.retention = Retention::None,
        ("keep-last", None) => setting.retention = Retention::LastValue,
        ("keep-messages", Some(count)) => {
            kept.messages = Some(count.parse().map_err(|_| format!("`{count}` is no number of messages"))?);
        }
        ("keep-bytes", Some(size)) => kept.bytes = Some(size.parse::<ByteSize>()?.0),
        ("keep-for", Some(time)) => kept.age = Some(time.parse::<Span>()?.0),
        ("lane-bytes", Some(size)) => setting.lane_bytes = Some(size.parse::<ByteSize>()?.to_usize()),
        ("batch-window", Some(time)) => setting.batch_window = Some(time.parse::<Span>()?.0),
        _ => return Err(format!("`{word}` is no setting of a topic: there are {WORDS}")),
    }
    Ok(())
}

/// Settings out of a file, one a line; empty lines and those that begin with `#` say nothing.
///
/// # Errors
/// 66 where the file cannot be read, 65 with the line that is wrong.
pub fn read(path: &Path) -> Result<Vec<TopicConfig>, Failure> {
    let text = std::fs::read_to_string(path).or_exit(Exit::NoInput, || format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(n, line)| match line.parse::<TopicSetting>() {
            Ok(setting) => Ok(setting.0),
            Err(what) => Err(Failure::message(Exit::Data, format!("{}:{n}: {what}", path.display()))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_sets_what_it_says() {
        let parsed = |text: &str| text.parse::<TopicSetting>().map(|setting| setting.0);
        let usual = |pattern: &str| TopicConfig { pattern: pattern.into(), ..TopicConfig::default() };
        let keep = |messages, bytes, age| Retention::Last { messages, bytes, age };
        assert_eq!(parsed("a/*=drop-oldest,keep-last"), Ok(usual("a/*")));
        assert_eq!(parsed("a=latest"), Ok(TopicConfig { policy: SlowPolicy::Latest, ..usual("a") }));
        assert_eq!(
            parsed("a=disconnect, keep-nothing"),
            Ok(TopicConfig { policy: SlowPolicy::Disconnect, retention: Retention::None, ..usual("a") })
        );
        let minute = Some(Duration::from_secs(60));
        assert_eq!(
            parsed("a/**=keep-messages=1000,keep-bytes=4MiB,keep-for=1m"),
            Ok(TopicConfig { retention: keep(Some(1_000), Some(4 << 20), minute), ..usual("a/**") })
        );
        let window = Some(Duration::from_millis(50));
        assert_eq!(
            parsed("a=lane-bytes=64KiB,batch-window=50ms"),
            Ok(TopicConfig { lane_bytes: Some(64 << 10), batch_window: window, ..usual("a") })
        );
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
            assert!(text.parse::<TopicSetting>().is_err(), "{text}");
        }
    }
}
