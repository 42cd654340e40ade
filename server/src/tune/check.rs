//! Job: `fanwire tune check`.
//! Knows: readings. Must never know: how a knob is turned.

use std::process::ExitCode;

use super::arguments::CheckArgs;
use super::knob::{Reading, Verdict};
use super::{named, table};
use crate::engine::say;
use crate::exit::Outcome;

/// Longest value that the columns make room for.
const COLUMN_MAX: usize = 34;

/// Runs the command: exit code 1 where something differs.
///
/// # Errors
/// Names that are no knob's.
pub fn run(args: &CheckArgs) -> Outcome {
    let knobs = named(&args.knobs)?
        .unwrap_or_else(|| table::all().filter(|knob| args.all || knob.standing.is_usual()).collect());
    let host = args.plan.host();
    let plan = args.plan.plan(&host);
    let readings: Vec<Reading> = knobs.into_iter().map(|knob| knob.read(&host, &plan)).collect();
    let width = |of: &dyn Fn(&Reading) -> usize| readings.iter().map(of).max().unwrap_or(0).min(COLUMN_MAX);
    let (id, now) = (width(&|r| r.knob.id.len()), width(&|r| r.now().chars().count()));
    for reading in &readings {
        let verdict = reading.verdict();
        say(&format!("{verdict:<7}  {:<id$}  {:<now$}  {}", reading.knob.id, reading.now(), reading.wanted()));
    }
    let count = |verdict| readings.iter().filter(|reading| reading.verdict() == verdict).count();
    let (differs, unknown) = (count(Verdict::Differs), count(Verdict::Unknown));
    say(&format!("{differs} of {} differ, {unknown} unknown", readings.len()));
    Ok(if differs == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
