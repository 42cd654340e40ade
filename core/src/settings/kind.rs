//! What a setting's value is: its unit, its range, its place in a [`Config`], and its text.
//!
//! Knows the configuration's fields. Must never know what a setting does.

use std::time::Duration;

use super::list::List;
use super::number::{AUTO, Number};
use super::units::{ByteSize, Span};
use crate::config::Config;

/// What the value of a setting is counted in, or how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A number of bytes: `65536`, `64KiB`.
    Bytes,
    /// A plain number.
    Count,
    /// A span of time: `250ms`, `10s`; `0`.
    Time,
    /// `true` or `false`.
    Flag,
    /// One word out of a few.
    Word,
    /// Any text.
    Text,
    /// Several values, with a separator: [`Setting::separator`](super::Setting::separator).
    List,
}

/// One word out of a few, each with what it sets.
pub struct Choice {
    pub get: fn(&Config) -> &'static str,
    pub words: &'static [Word],
}

/// A word, and what sets it.
pub type Word = (&'static str, fn(&mut Config));

/// What a setting's value is.
pub enum Kind {
    Bytes(Number),
    Count(Number),
    Time {
        get: fn(&Config) -> Duration,
        set: fn(&mut Config, Duration),
        /// Zero, which means "never" or "at once", is none of its values.
        is_above_zero: bool,
    },
    Flag {
        get: fn(&Config) -> bool,
        set: fn(&mut Config, bool),
    },
    Word(Choice),
    Text {
        get: fn(&Config) -> &str,
        set: fn(&mut Config, String),
        bytes_max: usize,
    },
    List(List),
}

impl Kind {
    pub fn unit(&self) -> Unit {
        match self {
            Kind::Bytes(_) => Unit::Bytes,
            Kind::Count(_) => Unit::Count,
            Kind::Time { .. } => Unit::Time,
            Kind::Flag { .. } => Unit::Flag,
            Kind::Word(_) => Unit::Word,
            Kind::Text { .. } => Unit::Text,
            Kind::List(_) => Unit::List,
        }
    }

    /// The values that are allowed, in a few words.
    pub fn range(&self) -> String {
        match self {
            Kind::Bytes(number) => number.range(|n| ByteSize(n).to_string()),
            Kind::Count(number) => number.range(|n| n.to_string()),
            Kind::Time { is_above_zero: true, .. } => "more than 0".into(),
            Kind::Time { .. } => "any time, or 0".into(),
            Kind::Flag { .. } => "true or false".into(),
            Kind::Word(choice) => choice.words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "),
            Kind::Text { bytes_max, .. } => format!("at most {bytes_max} bytes"),
            Kind::List(list) => list.values.into(),
        }
    }

    pub fn show(&self, config: &Config) -> String {
        match self {
            Kind::Bytes(number) => number.show(config, |n| ByteSize(n).to_string()),
            Kind::Count(number) => number.show(config, |n| n.to_string()),
            Kind::Time { get, .. } => Span(get(config)).to_string(),
            Kind::Flag { get, .. } => get(config).to_string(),
            Kind::Word(choice) => (choice.get)(config).into(),
            Kind::Text { get, .. } => get(config).into(),
            Kind::List(list) => (list.show)(config),
        }
    }

    /// Sets it, if it is one of its values.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        match self {
            Kind::Bytes(number) | Kind::Count(number) => {
                let value = self.parse_number(number, text)?;
                (number.set)(config, value);
                Ok(())
            }
            Kind::Time { set, is_above_zero, .. } => {
                let span = text.parse::<Span>()?.0;
                if *is_above_zero && span.is_zero() {
                    return Err(self.problem());
                }
                set(config, span);
                Ok(())
            }
            Kind::Flag { set, .. } => {
                set(config, text.parse().map_err(|_| self.problem())?);
                Ok(())
            }
            Kind::Word(choice) => {
                let found = choice.words.iter().find(|(word, _)| *word == text).ok_or_else(|| self.problem())?;
                (found.1)(config);
                Ok(())
            }
            Kind::Text { set, bytes_max, .. } => {
                if text.len() > *bytes_max {
                    return Err(self.problem());
                }
                set(config, text.to_owned());
                Ok(())
            }
            Kind::List(list) => (list.set)(config, text),
        }
    }

    fn parse_number(&self, number: &Number, text: &str) -> Result<u64, String> {
        if number.has_auto && text == "auto" {
            return Ok(AUTO);
        }
        let value = match self {
            Kind::Bytes(_) => text.parse::<ByteSize>()?.0,
            _ => text.parse().map_err(|_| format!("`{text}` is no such number: it {}", self.problem()))?,
        };
        // By its own name alone can it be left to the engine.
        if number.has(value) { Ok(value) } else { Err(self.problem()) }
    }

    /// What is wrong with the value that a configuration has.
    pub fn fault(&self, config: &Config) -> Option<String> {
        let is_fine = match self {
            Kind::Bytes(number) | Kind::Count(number) => number.is_allowed((number.get)(config)),
            Kind::Time { get, is_above_zero, .. } => !(*is_above_zero && get(config).is_zero()),
            Kind::Text { get, bytes_max, .. } => get(config).len() <= *bytes_max,
            // Every value of the type is one of the setting's.
            Kind::Flag { .. } | Kind::Word(_) => true,
            // What a list must be depends on more than itself: `validate`.
            Kind::List(_) => true,
        };
        (!is_fine).then(|| self.problem())
    }

    fn problem(&self) -> String {
        match self {
            Kind::Bytes(number) if number.is_power_of_two => format!("must be a power of two from {}", self.range()),
            Kind::Bytes(number) | Kind::Count(number) if number.least == 0 => {
                format!("must be at most {}", self.most())
            }
            Kind::Bytes(_) | Kind::Count(_) => format!("must be from {}", self.range()),
            Kind::Word(_) => format!("must be one of {}", self.range()),
            Kind::Time { .. } => "must be more than 0".into(),
            Kind::Text { .. } => format!("must have {}", self.range()),
            Kind::Flag { .. } | Kind::List(_) => format!("must be {}", self.range()),
        }
    }

    fn most(&self) -> String {
        match self {
            Kind::Bytes(number) => ByteSize(number.most).to_string(),
            Kind::Count(number) => number.most.to_string(),
            _ => String::new(),
        }
    }
}
