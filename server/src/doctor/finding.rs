//! Job: what the doctor says about one thing.
//! Knows: levels. Must never know: how it was found out.

use serde::Serialize;

/// How bad it is. In the order of badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// In order.
    Ok,
    /// Cannot be told here.
    Unknown,
    /// Works, could be better.
    Advice,
    /// The plan does not work, or loses.
    Problem,
}

impl Level {
    /// All of them, as they are counted.
    pub const ALL: [Level; 4] = [Level::Ok, Level::Advice, Level::Problem, Level::Unknown];

    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Unknown => "unknown",
            Level::Advice => "advice",
            Level::Problem => "problem",
        }
    }
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name: a knob's id, or a word of the doctor's own. Does not change between versions.
    pub id: String,
    /// What it belongs to.
    pub group: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What this host has.
    pub now: String,
    /// What it should have.
    pub wanted: String,
    /// What that would bring; empty where nothing is to be done.
    pub gain: String,
    /// How to get there; empty where nothing is to be done.
    pub fix: String,
}

impl Finding {
    /// Something in order.
    pub fn ok(id: impl Into<String>, group: &'static str, now: impl Into<String>, wanted: impl Into<String>) -> Self {
        Finding {
            id: id.into(),
            group,
            level: Level::Ok,
            now: now.into(),
            wanted: wanted.into(),
            gain: String::new(),
            fix: String::new(),
        }
    }

    /// The same, not in order: what would be gained, and how.
    pub fn at(self, level: Level, gain: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { level, gain: sentence(gain.into()), fix: fix.into(), ..self }
    }
}

/// With a capital and a full stop.
fn sentence(text: String) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // A word such as io_uring is written as it is.
        Some(first) if !text.starts_with("io_uring") => {
            let stop = if text.ends_with('.') { "" } else { "." };
            format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
        }
        Some(_) => text + ".",
        None => text,
    }
}
