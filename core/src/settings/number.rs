//! A setting that is a number: its place, its range, and whether it may be left to the engine.

use crate::config::Config;

/// A number of bytes or of things.
pub struct Number {
    pub get: fn(&Config) -> u64,
    /// Called with what is in the range.
    pub set: fn(&mut Config, u64),
    pub least: u64,
    pub most: u64,
    /// It may be left to the engine (`auto`), for which [`AUTO`] stands.
    pub has_auto: bool,
    pub is_power_of_two: bool,
}

/// The number that stands for "left to the engine", where there is such a thing.
pub const AUTO: u64 = 0;

impl Number {
    /// It is in the range.
    pub fn has(&self, value: u64) -> bool {
        (self.least..=self.most).contains(&value) && (!self.is_power_of_two || value.is_power_of_two())
    }

    /// It is in the range, or left to the engine.
    pub fn is_allowed(&self, value: u64) -> bool {
        self.has(value) || self.has_auto && value == AUTO
    }

    /// The range in a few words.
    pub fn range(&self, show: fn(u64) -> String) -> String {
        let range = match (self.least, self.most) {
            (0, u64::MAX) => "any number".into(),
            (least, u64::MAX) => format!("{} on", show(least)),
            (least, most) => format!("{} to {}", show(least), show(most)),
        };
        if self.has_auto { range + ", or auto" } else { range }
    }

    /// The value that a configuration has.
    pub fn show(&self, config: &Config, show: fn(u64) -> String) -> String {
        match (self.get)(config) {
            AUTO if self.has_auto => "auto".into(),
            value => show(value),
        }
    }
}
