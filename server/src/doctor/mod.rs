//! Job: `fanwire doctor`: what this host has against what it should have, and the gain to expect.
//! Knows: findings, and in which order to tell them. Must never know: how to change anything.

mod examine;
mod finding;
mod print;

use std::process::ExitCode;

use crate::exit::Outcome;
use crate::tune::arguments::{DoctorArgs, PlanArgs};
use crate::tune::knob::{Reading, Standing, Verdict};
use crate::tune::{plan::Plan, table};
use finding::{Finding, Level};

/// Knobs for NICs with few queues: told in one finding of that NIC, since they are tried together.
const FOR_QUEUES: [&str; 3] = ["rps", "rfs.queues", "net.core.rps_sock_flow_entries"];

/// Runs the command: exit code 1 where there is a problem.
///
/// # Errors
/// None: what cannot be read is unknown.
pub fn run(args: &DoctorArgs) -> Outcome {
    let (plan, findings) = examined(&args.plan);
    if args.json {
        print::json(&plan, &findings);
    } else {
        print::text(&plan, &findings, args.all);
    }
    let is_bad = findings.iter().any(|finding| finding.level == Level::Problem);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What this host has against a plan.
fn examined(args: &PlanArgs) -> (Plan, Vec<Finding>) {
    let host = args.host();
    let plan = args.plan(&host);
    let mut findings = examine::all(&host, &plan);
    findings.extend(table::all().map(|knob| of_knob(&knob.read(&host, &plan), &plan)));
    (plan, findings)
}

/// All findings, a line each.
pub fn lines(args: &PlanArgs) -> Vec<String> {
    let in_a_line = |finding: &Finding| {
        let Finding { id, group, level, now, wanted, .. } = finding;
        format!("{:<8} {group} {id}: {now}; wanted: {wanted}", level.name())
    };
    examined(args).1.iter().map(in_a_line).collect()
}

fn of_knob(reading: &Reading, plan: &Plan) -> Finding {
    let knob = reading.knob;
    let finding = Finding::ok(knob.id, knob.group.name(), reading.now(), reading.wanted());
    let level = match (reading.verdict(), knob.standing) {
        (Verdict::Holds | Verdict::Left, _) => return finding,
        (Verdict::Differs, _) if FOR_QUEUES.contains(&knob.id) => {
            return Finding { wanted: "to be tried: see queues".to_owned(), ..finding };
        }
        (Verdict::Unknown, _) => return finding.at(Level::Unknown, "", ""),
        (Verdict::Differs, Standing::Needed) => Level::Problem,
        (Verdict::Differs, _) => Level::Advice,
    };
    let connections = match plan.connections {
        10_000 => String::new(),
        n => format!(" --connections {n}"),
    };
    let by_name = if knob.standing.is_usual() { String::new() } else { format!(" {}", knob.id) };
    let fix = match knob.is_live() {
        true => format!("sudo fanwire tune apply{by_name}{connections}"),
        false => format!("set it in {}", knob.lasting()),
    };
    finding.at(level, knob.gain, fix)
}
