//! Job: `fanwire tune apply`: notes what is there, then writes what should be.
//! Knows: the order that makes it safe: first the notes, on the disk, then the first change. Must never know: any particular knob.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::ExitCode;

use super::arguments::ApplyArgs;
use super::knob::{Knob, Reading, Setting, Verdict};
use super::record::{Change, Persisted, Written};
use super::state::{self, State};
use super::want::{is_same, plain};
use super::{named, persist, state_path, table};
use crate::engine::say;
use crate::exit::{Exit, Failure, Outcome};
use crate::host::Host;
use crate::stderr;

/// Runs the command.
///
/// # Errors
/// Names that are no knob's, or of one that is not written; a state file that cannot be kept: then nothing was changed.
pub fn run(args: &ApplyArgs) -> Outcome {
    let knobs = match named(&args.knobs)? {
        Some(knobs) => knobs,
        None => table::all().filter(|knob| knob.standing.is_usual() && knob.is_live()).collect(),
    };
    refuse_what_is_told(&args.knobs)?;
    let host = args.plan.host();
    let plan = args.plan.plan(&host);
    let readings: Vec<Reading> =
        knobs.into_iter().filter(|knob| knob.is_live()).map(|knob| knob.read(&host, &plan)).collect();
    let differing: Vec<&Setting> =
        readings.iter().flat_map(|r| &r.settings).filter(|s| s.verdict() == Verdict::Differs).collect();
    let unknown = tell_unknown(&readings, !args.knobs.is_empty());
    if args.dry_run {
        differing.iter().for_each(|setting| say(&would(setting)));
        say(&format!("{} to be written; nothing was", differing.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let path = state_path(&host, args.state.as_deref());
    if differing.is_empty() && !args.persist {
        say("nothing to do: all is as wanted");
        return Ok(if unknown == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut state = State::open(&path)?;
    let noted = note(&host, &mut state, &differing)?;
    let failed = write_all(&host, &mut state, &noted);
    let persisted = if args.persist { make_last(&host, &mut state) } else { Ok(()) };
    state.save()?;
    persisted?;
    if !state.records.is_empty() {
        say(&format!("former values: {}; `fanwire tune revert` writes them back", path.display()));
    }
    match failed.as_slice() {
        [] if unknown == 0 => Ok(ExitCode::SUCCESS),
        [] => Ok(ExitCode::FAILURE),
        failed if failed.len() == noted.len() && failed.iter().all(|kind| is_refusal(*kind)) => Err(Failure::message(
            Exit::Permission,
            "nothing could be written: only root may, and in a container the host's root",
        )),
        failed => {
            Err(Failure::message(Exit::Failed, format!("{} of {} could not be written", failed.len(), noted.len())))
        }
    }
}

/// Named knobs that are told and not written end the command before anything is changed.
fn refuse_what_is_told(names: &[String]) -> Result<(), Failure> {
    match names.iter().filter_map(|name| table::find(name)).find(|knob| !knob.is_live()) {
        Some(knob) => {
            let text = format!("{} is not written by `tune apply`: set it in {}", knob.id, knob.lasting());
            Err(Failure::message(Exit::Usage, text))
        }
        None => Ok(()),
    }
}

/// Says what cannot be told. Counts it where knobs were named: then somebody relies on it.
fn tell_unknown(readings: &[Reading], is_named: bool) -> usize {
    let unknown = readings.iter().filter(|reading| reading.verdict() == Verdict::Unknown);
    let count = unknown.inspect(|r| say(&format!("{}: left: {}", r.knob.id, r.now()))).count();
    if is_named { count } else { 0 }
}

fn would(setting: &Setting) -> String {
    let now = setting.now.as_deref().unwrap_or("?");
    format!("{}: {now} -> {}  ({})", setting.knob.id, setting.want.value(now).unwrap_or_default(), setting.path)
}

/// Notes the former values, on the disk, before anything is written. A file that was noted before keeps its first former value,
/// unless that note is of an earlier boot, which has undone it.
fn note(host: &Host, state: &mut State, differing: &[&Setting]) -> Result<Vec<Change>, Failure> {
    let boot = host.sysctl("kernel.random.boot_id").unwrap_or_default();
    let mut noted = Vec::new();
    for setting in differing {
        let Ok(now) = &setting.now else { continue };
        let Some(ours) = setting.want.value(now) else { continue };
        let earlier =
            state.records.of(&setting.path).filter(|earlier| earlier.boot == boot || is_same(&earlier.ours, now));
        noted.push(Change {
            knob: setting.knob.id.to_owned(),
            path: setting.path.clone(),
            former: earlier.map_or_else(|| now.clone(), |earlier| earlier.former.clone()),
            ours,
            earlier: earlier.map(|earlier| earlier.ours.clone()),
            outcome: Written::Intended,
            boot: boot.clone(),
        });
    }
    noted.iter().for_each(|change| state.records.put(change.clone()));
    if !noted.is_empty() {
        state.save()?;
    }
    Ok(noted)
}

/// Writes what was noted. What fails is said and noted; the rest is written all the same.
fn write_all(host: &Host, state: &mut State, noted: &[Change]) -> Vec<io::ErrorKind> {
    let mut failed = Vec::new();
    for change in noted {
        let before = host.read(&change.path).map(|text| plain(&text)).unwrap_or_default();
        let mut change = change.clone();
        match write(host, &change.path, &change.ours) {
            Ok(shown) => {
                say(&format!("{}: {before} -> {shown}  ({})", change.knob, change.path));
                change.ours = shown;
                change.earlier = None;
                change.outcome = Written::Done;
            }
            Err(error) => {
                stderr::say("WARN", &format!("fanwire: {}: {} cannot be written: {error}", change.knob, change.path));
                failed.push(error.kind());
                // A kernel that takes something else than it was given has still been changed by us.
                if let Ok(now) = host.read(&change.path).map(|text| plain(&text))
                    && !is_same(&now, &before)
                {
                    change.ours = now;
                }
                change.outcome = Written::Failed(error.to_string());
            }
        }
        state.records.put(change);
    }
    failed
}

/// Writes a value into a file that is there, and hands back what the file then says.
///
/// # Errors
/// What the kernel answers; `InvalidData` where it took the value but shows another.
pub fn write(host: &Host, path: &str, value: &str) -> io::Result<String> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(host.path(path))?;
    file.write_all(format!("{value}\n").as_bytes())?;
    drop(file);
    let shown = plain(&host.read(path)?);
    match is_same(&shown, value) {
        true => Ok(shown),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it says {shown} after {value} was written"))),
    }
}

fn is_refusal(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Writes the configuration file with all sysctls that are ours. A file that is there is noted, to be put back.
fn make_last(host: &Host, state: &mut State) -> Result<(), Failure> {
    let ours = state.records.changes.iter().filter(|change| change.outcome == Written::Done);
    let sysctls = ours.filter_map(|change| table::find(&change.knob).map(|knob| (knob, change)));
    let (sysctls, files): (Vec<_>, Vec<_>) = sysctls.partition(|(_, change)| change.path.starts_with("/proc/sys/"));
    let text = persist::text(sysctls.iter().map(|(knob, change)| (*knob, change.ours.as_str())));
    let mut rest: Vec<&Knob> = files.into_iter().map(|(knob, _)| knob).collect();
    rest.dedup_by_key(|knob| knob.id);
    if sysctls.is_empty() {
        say("no sysctl of ours to persist");
    } else {
        let path = host.path(persist::PATH);
        let refused = |error| state::refused(error, &path);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(refused)?;
        }
        let former = match &state.records.persisted {
            Some(earlier) => earlier.former.clone(),
            None => match std::fs::read_to_string(&path) {
                Ok(text) => Some(text).filter(|text| !text.starts_with(persist::MARK)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(refused(error)),
            },
        };
        state.records.persisted = Some(Persisted { path: persist::PATH.to_owned(), former, ours: text.clone() });
        state.save()?;
        state::replace(&path, &text).map_err(refused)?;
        say(&format!("{}: {} sysctls", persist::PATH, sysctls.len()));
    }
    rest.iter().for_each(|knob| say(&format!("{} does not last by this: {}", knob.id, knob.lasting())));
    Ok(())
}
