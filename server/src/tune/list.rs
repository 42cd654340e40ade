//! Job: `fanwire tune list`.
//! Knows: the table. Must never know: a host.

use std::process::ExitCode;

use super::arguments::ListArgs;
use super::knob::{Group, Knob, Standing};
use super::{named, table};
use crate::engine::say;
use crate::exit::Outcome;

/// Runs the command.
///
/// # Errors
/// Names that are no knob's.
pub fn run(args: &ListArgs) -> Outcome {
    match named(&args.knobs)? {
        Some(knobs) => knobs.into_iter().for_each(in_full),
        None => Group::ALL.into_iter().for_each(one_line_each),
    }
    Ok(ExitCode::SUCCESS)
}

fn one_line_each(group: Group) {
    let width = table::all().map(|knob| knob.id.len()).max().unwrap_or(0);
    say(group.name());
    for knob in table::all().filter(|knob| knob.group == group) {
        say(&format!("  {:<width$}  {:<9}  {}", knob.id, knob.standing.name(), knob.rule));
    }
}

fn in_full(knob: &'static Knob) {
    say(knob.id);
    let is_written = knob.standing != Standing::Nothing;
    let undo = if is_written { knob.undo() } else { "never written".to_owned() };
    let lasting = if is_written { knob.lasting() } else { "never written" };
    for (what, text) in [
        ("where", knob.location().as_str()),
        ("standing", knob.standing.name()),
        ("wanted", knob.rule),
        ("why", knob.why),
        ("gain", knob.gain),
        ("danger", knob.danger),
        ("measure", knob.measure),
        ("undo", undo.as_str()),
        ("to last", lasting),
    ] {
        say(&format!("  {what:<9} {text}"));
    }
}
