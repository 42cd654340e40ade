//! Job: `fanwire tune revert`: writes the former values back, where nobody else has been at them.
//! Knows: records. Must never know: what a knob should be.

use std::fs;
use std::process::ExitCode;

use super::apply::write;
use super::arguments::RevertArgs;
use super::record::{Change, Persisted, Written};
use super::state::{self, State};
use super::want::{is_same, plain};
use super::{named, persist, state_path, table};
use crate::engine::say;
use crate::exit::Outcome;
use crate::host::Host;
use crate::stderr;

/// Runs the command: exit code 1 where something was left, which then stays in the notes.
///
/// # Errors
/// Names that are no knob's; a state file that cannot be read or written.
pub fn run(args: &RevertArgs) -> Outcome {
    let knobs = named(&args.knobs)?;
    let host = Host::at(&args.root);
    let path = state_path(&host, args.state.as_deref());
    // Nothing noted, nothing made: not even the directory.
    if state::read(&path)?.is_empty() {
        say(&format!("nothing to revert: {} notes nothing", path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut state = State::open(&path)?;
    let is_meant = |change: &Change| knobs.as_ref().is_none_or(|knobs| knobs.iter().any(|knob| knob.id == change.knob));
    let mut left = 0;
    // The last first: what was written over something is taken away before it.
    for change in state.records.changes.clone().into_iter().rev().filter(is_meant) {
        if restore(&host, &change, args.force) {
            state.records.changes.retain(|other| other.path != change.path);
        } else {
            left += 1;
        }
    }
    // The file lists all sysctls: it goes with the whole, and stays with what is left.
    if knobs.is_none()
        && let Some(persisted) = state.records.persisted.clone()
    {
        if take_away(&host, &persisted, args.force) {
            state.records.persisted = None;
        } else {
            left += 1;
        }
    } else if state.records.persisted.is_some() {
        rewrite(&host, &mut state);
    }
    state.save()?;
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether nothing of ours is left in the file.
fn restore(host: &Host, change: &Change, is_forced: bool) -> bool {
    let Change { knob, path, former, ours, .. } = change;
    if !table::find(knob).is_some_and(|knob| knob.owns(path)) {
        stderr::say("WARN", &format!("fanwire: {path} is no file of {knob}: left alone"));
        return false;
    }
    let now = match host.read(path) {
        Ok(text) => plain(&text),
        Err(error) => {
            stderr::say("WARN", &format!("fanwire: {knob}: {path} cannot be read: {error}"));
            return false;
        }
    };
    if is_same(&now, former) {
        say(&format!("{knob}: {former} already  ({path})"));
        return true;
    }
    let is_ours = is_same(&now, ours) || change.earlier.as_ref().is_some_and(|earlier| is_same(&now, earlier));
    if !is_ours && !is_forced {
        stderr::say(
            "WARN",
            &format!(
                "fanwire: {knob}: {path} says {now}, neither ours ({ours}) nor the former {former}: somebody else has changed it; left \
             alone, --force writes {former}"
            ),
        );
        return false;
    }
    match write(host, path, former) {
        Ok(shown) => {
            say(&format!("{knob}: {now} -> {shown}  ({path})"));
            true
        }
        Err(error) => {
            stderr::say("WARN", &format!("fanwire: {knob}: {path} cannot be written: {error}"));
            false
        }
    }
}

/// Whether nothing of ours is left of the configuration file.
fn take_away(host: &Host, persisted: &Persisted, is_forced: bool) -> bool {
    if persisted.path != persist::PATH {
        stderr::say("WARN", &format!("fanwire: {} is no file of ours: left alone", persisted.path));
        return false;
    }
    let path = host.path(persist::PATH);
    let now = fs::read_to_string(&path).ok();
    if now == persisted.former {
        return true;
    }
    if now.as_ref() != Some(&persisted.ours) && !is_forced {
        stderr::say(
            "WARN",
            &format!("fanwire: {}: somebody else has changed it; left alone, --force takes it away", persisted.path),
        );
        return false;
    }
    let done = match &persisted.former {
        Some(former) => state::replace(&path, former),
        None => fs::remove_file(&path),
    };
    match done {
        Ok(()) => {
            say(&format!("{}: {}", persisted.path, if persisted.former.is_some() { "as it was" } else { "removed" }));
            true
        }
        Err(error) => {
            stderr::say("WARN", &format!("fanwire: {}: {error}", persisted.path));
            false
        }
    }
}

/// Takes the reverted sysctls out of the configuration file, where it is still ours.
fn rewrite(host: &Host, state: &mut State) {
    let Some(persisted) = &mut state.records.persisted else { return };
    let path = host.path(persist::PATH);
    if persisted.path != persist::PATH || fs::read_to_string(&path).ok().as_ref() != Some(&persisted.ours) {
        stderr::say("WARN", &format!("fanwire: {}: somebody else has changed it; left alone", persisted.path));
        return;
    }
    let is_listed = |change: &&Change| change.outcome == Written::Done && change.path.starts_with("/proc/sys/");
    let ours = state.records.changes.iter().filter(is_listed);
    let sysctls = ours.filter_map(|change| table::find(&change.knob).map(|knob| (knob, change.ours.as_str())));
    let text = persist::text(sysctls);
    match state::replace(&path, &text) {
        Ok(()) => persisted.ours = text,
        Err(error) => stderr::say("WARN", &format!("fanwire: {}: {error}", persisted.path)),
    }
}
