//! Job: `fanwire tune`: the knobs of a host, shown, held against what they should be, turned, and turned back.
//! Knows: the commands. Must never know: a running engine.

mod apply;
pub mod arguments;
mod check;
pub mod knob;
mod list;
#[cfg(test)]
mod pages;
mod persist;
pub mod plan;
mod record;
mod revert;
mod script;
mod state;
pub mod table;
pub mod want;

use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure, Outcome};
use crate::host::Host;
use arguments::{TuneArgs, TuneCommand};
use knob::{Group, Knob};

/// Where the former values are noted.
const STATE: &str = "/var/lib/fanwire/tune.json";

/// Runs the command.
///
/// # Errors
/// Names that are no knob's; files that cannot be read or written.
pub fn run(args: &TuneArgs) -> Outcome {
    match &args.command {
        TuneCommand::List(args) => list::run(args),
        TuneCommand::Check(args) => check::run(args),
        TuneCommand::Apply(args) => apply::run(args),
        TuneCommand::Revert(args) => revert::run(args),
        TuneCommand::Script(args) => script::run(args),
    }
}

/// The knobs that are named, by id or by group; `None` where nobody named any.
///
/// # Errors
/// A name that is neither.
fn named(names: &[String]) -> Result<Option<Vec<&'static Knob>>, Failure> {
    if names.is_empty() {
        return Ok(None);
    }
    for name in names {
        let is_group = Group::ALL.iter().any(|group| group.name() == name);
        if !is_group && table::find(name).is_none() {
            let close: Vec<&str> = table::all().map(|knob| knob.id).filter(|id| id.contains(name.as_str())).collect();
            let hint = match close[..] {
                [] => "`fanwire tune list` shows all".to_owned(),
                _ => format!("did you mean {}?", close.join(", ")),
            };
            return Err(Failure::message(Exit::Usage, format!("there is no knob `{name}`: {hint}")));
        }
    }
    let is_named = |knob: &&Knob| names.iter().any(|name| name == knob.id || name == knob.group.name());
    Ok(Some(table::all().filter(is_named).collect()))
}

/// Where the state file is.
fn state_path(host: &Host, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| host.path(STATE), Path::to_owned)
}
