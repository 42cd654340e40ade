//! The one table of settings: name, unit, range, default, help, and each setting's place in a [`Config`].
//!
//! The command line, the C and Python bindings and the documentation come out of it or are checked against it.
//! Knows the configuration. Must never know a socket, a shard, or who asks.

mod kind;
mod list;
mod number;
mod reload;
mod table;
mod topics;
mod units;
mod validate;

#[cfg(test)]
mod tests;

use std::fmt;

pub use kind::Unit;
pub(crate) use reload::taken_over;
pub use topics::parse_lines;
pub use units::{ByteSize, CpuList, Span};

use crate::config::Config;

/// One setting of an engine: a row of the table.
#[non_exhaustive]
pub struct Setting {
    /// Its name, with its section: `memory.ring_bytes`.
    pub name: &'static str,
    /// Its name where there are no sections: a keyword of Python, a field of `fw_config`, with dashes an option of the
    /// command line. As unique as `name`.
    pub keyword: &'static str,
    /// What it does, for a person.
    pub help: &'static str,
    /// A running engine takes a new value ([`crate::Engine::reconfigure`]): what it decides is looked up each time that it matters.
    pub is_reloadable: bool,
    /// What it needs is made at the start, unless it is 0: a running engine changes it from one value to another, and turns it neither
    /// on nor off.
    pub is_sized: bool,
    /// Nobody but the engine may see its value: [`Setting::show`] hides it.
    pub is_secret: bool,
    /// Of use only to a program that has the engine inside itself.
    pub is_for_hosts: bool,
    /// See [`Setting::field`].
    has_field: bool,
    kind: kind::Kind,
}

/// All settings, in the order in which a person would read them.
pub fn settings() -> impl ExactSizeIterator<Item = &'static Setting> + Clone {
    table::TABLE.iter()
}

/// What [`Config::set`] and [`Config::show`] refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// There is no such setting.
    #[error("{name}: there is no such setting{}", suggestion(.nearest))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The setting whose name is most like it, if any is.
        nearest: Option<&'static str>,
    },
    /// This cannot be its value.
    #[error("{name} = {value}: {problem}")]
    Refused {
        /// The setting.
        name: &'static str,
        /// The value that it was to get.
        value: String,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// What is shown instead of a secret.
const HIDDEN: &str = "(secret)";

impl Setting {
    /// The setting of this name.
    ///
    /// # Errors
    /// [`SettingError::Unknown`], with the nearest name there is.
    pub fn find(name: &str) -> Result<&'static Setting, SettingError> {
        let found = settings().find(|setting| setting.name == name);
        found.ok_or_else(|| SettingError::Unknown { name: name.to_owned(), nearest: nearest(name) })
    }

    /// Its field in C's `fw_config`. A field is part of a binary interface for ever: settings that have none (`None`) are given to C by
    /// their names.
    pub fn field(&self) -> Option<String> {
        self.has_field.then(|| match self.name {
            "events.capacity" => "events_capacity".into(),
            "events.messages" => "events_messages".into(),
            _ if self.unit() == Unit::Time => format!("{}_ms", self.keyword),
            _ => self.keyword.into(),
        })
    }

    /// What its value is counted in, or how it is written.
    pub fn unit(&self) -> Unit {
        self.kind.unit()
    }

    /// The values that are allowed, in a few words: `64KiB to 4GiB`.
    pub fn range(&self) -> String {
        self.kind.range()
    }

    /// Its value in [`Config::default`], as text.
    pub fn default(&self) -> String {
        self.kind.show(&Config::default())
    }

    /// What stands between the values of a list; `None`: it is no list.
    pub fn separator(&self) -> Option<char> {
        match &self.kind {
            kind::Kind::List(list) => Some(list.separator),
            _ => None,
        }
    }

    /// Its value as text, such as [`Setting::set`] takes; of a secret only that it is one.
    pub fn show(&self, config: &Config) -> String {
        if self.is_secret { HIDDEN.to_owned() } else { self.kind.show(config) }
    }

    /// Gives it the value that `text` says: `64MiB`, `5s`, `true`, `epoll`. A list is replaced.
    ///
    /// # Errors
    /// [`SettingError::Refused`] if that is none of its values; the configuration is as it was.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), SettingError> {
        self.kind.set(config, text).map_err(|problem| {
            let value = if self.is_secret { HIDDEN } else { text }.to_owned();
            SettingError::Refused { name: self.name, value, problem }
        })
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Config {
    /// Gives a setting the value that `text` says: `config.set("limits.ping_every", "5s")`. A list is replaced by what
    /// is written between its [separators](Setting::separator). What settings have to do with each other is
    /// [`Config::validate`]'s affair.
    ///
    /// # Errors
    /// Where there is no such setting, or it cannot have that value; the configuration is as it was.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        Setting::find(name)?.set(self, text)
    }

    /// The value of a setting, as text that [`Config::set`] takes; of a secret only that it is one.
    ///
    /// # Errors
    /// [`SettingError::Unknown`].
    pub fn show(&self, name: &str) -> Result<String, SettingError> {
        Ok(Setting::find(name)?.show(self))
    }
}

/// The setting whose name is most like `name`, unless none is like it at all.
fn nearest(name: &str) -> Option<&'static str> {
    const LEAST_LIKENESS: f64 = 0.8;
    let written = name.trim().to_ascii_lowercase().replace('-', "_");
    let likeness = |setting: &Setting| {
        // Its last part alone is how many people will write it.
        let names = [setting.name, setting.keyword, setting.name.rsplit('.').next().unwrap_or_default()];
        names.into_iter().map(|name| strsim::jaro_winkler(name, &written)).fold(0.0, f64::max)
    };
    let most_like = settings().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(most_like) >= LEAST_LIKENESS).then_some(most_like.name)
}
