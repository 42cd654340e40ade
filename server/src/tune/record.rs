//! Job: what was changed, so that it can be changed back: one record for each file.
//! Knows: former values and ours. Must never know: how a file is read or written.

use serde::{Deserialize, Serialize};

/// Everything that was changed on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Of this file's form.
    pub version: u32,
    /// The changes, in the order in which they were made.
    pub changes: Vec<Change>,
    /// The file that makes sysctls last, where it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisted: Option<Persisted>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The knob's id.
    pub knob: String,
    /// The file, as the host names it.
    pub path: String,
    /// What it said before we first wrote it.
    pub former: String,
    /// What we wrote; as the kernel shows it, once it has been written.
    pub ours: String,
    /// What we wrote before that, until the present value is known to be in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
    /// How far it came.
    pub outcome: Written,
    /// The boot in which it was written.
    #[serde(default)]
    pub boot: String,
}

/// How far a change came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// Noted before it was tried. Found later, it says that the process ended in between.
    Intended,
    /// It was written and read back.
    Done,
    /// It could not be written, for this reason.
    Failed(String),
}

/// A configuration file that we wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persisted {
    /// The file, as the host names it.
    pub path: String,
    /// Its former text, where there was one.
    pub former: Option<String>,
    /// Our text.
    pub ours: String,
}

/// The form that is written.
pub const VERSION: u32 = 1;

impl Records {
    /// The record of a file.
    pub fn of(&self, path: &str) -> Option<&Change> {
        self.changes.iter().find(|change| change.path == path)
    }

    /// Puts a record in the place of the earlier one of the same file, or at the end.
    pub fn put(&mut self, change: Change) {
        match self.changes.iter_mut().find(|earlier| earlier.path == change.path) {
            Some(earlier) => *earlier = change,
            None => self.changes.push(change),
        }
    }

    /// Whether nothing is left to be changed back.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.persisted.is_none()
    }
}
