//! Job: findings as text for people, and as JSON for programs.
//! Knows: terminals. Must never know: how anything was found out.

use std::io::{self, IsTerminal};

use serde::Serialize;

use super::finding::{Finding, Level};
use crate::engine::say;
use crate::tune::plan::Plan;
use crate::units::{grouped, wrapped};

/// Longest values that the columns make room for.
const NOW_MAX: usize = 36;
/// Columns of the text below a finding.
const WIDTH: usize = 110;

/// The whole report; its keys do not change between versions.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    fanwire: &'static str,
    level: Level,
    plan: Planned,
    counts: Counts,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Planned {
    connections: u32,
    shards: usize,
    driver: &'static str,
    lock_memory: bool,
}

#[derive(Serialize)]
struct Counts {
    ok: usize,
    advice: usize,
    problem: usize,
    unknown: usize,
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

/// One JSON object.
pub fn json(plan: &Plan, findings: &[Finding]) {
    let report = Report {
        version: 1,
        fanwire: env!("CARGO_PKG_VERSION"),
        level: findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok),
        plan: Planned {
            connections: plan.connections,
            shards: plan.shards,
            driver: plan.driver.name(),
            lock_memory: plan.lock_memory,
        },
        counts: Counts {
            ok: count(findings, Level::Ok),
            advice: count(findings, Level::Advice),
            problem: count(findings, Level::Problem),
            unknown: count(findings, Level::Unknown),
        },
        findings,
    };
    // Strings and numbers alone: there is nothing that could not be written.
    say(&serde_json::to_string_pretty(&report).unwrap_or_default());
}

/// A table by group; what is in order only where all is wanted.
pub fn text(plan: &Plan, findings: &[Finding], is_all: bool) {
    let paint = Paint::for_stdout();
    say(&format!(
        "this host for {} connections on {} shard{}, driver {}",
        grouped(plan.connections.into()),
        plan.shards,
        if plan.shards == 1 { "" } else { "s" },
        plan.driver
    ));
    let shown: Vec<&Finding> = findings.iter().filter(|finding| is_all || is_worth_telling(finding)).collect();
    let width = |of: fn(&Finding) -> &str, most: usize| {
        shown.iter().map(|finding| of(finding).chars().count()).max().unwrap_or(0).min(most)
    };
    let (id, now) = (width(|f| &f.id, usize::MAX), width(|f| &f.now, NOW_MAX));
    let mut group = "";
    for finding in &shown {
        if finding.group != group {
            group = finding.group;
            say(&format!("\n{}", paint.bold(group)));
        }
        let level = paint.level(finding.level);
        say(format!("  {level}  {:<id$}  {:<now$}  {}", finding.id, finding.now, finding.wanted).trim_end());
        for (what, text) in [("gain", &finding.gain), ("fix", &finding.fix)] {
            let mut label = format!("{what}:");
            for line in wrapped(text, WIDTH - 16) {
                say(&format!("           {label:<5} {line}"));
                label.clear();
            }
        }
    }
    let counts: Vec<String> =
        Level::ALL.into_iter().map(|level| format!("{} {}", count(findings, level), level.name())).collect();
    let hidden = findings.len() - shown.len();
    let more = if hidden == 0 { String::new() } else { format!("; --all shows {hidden} more that are in order") };
    say(&format!("\n{}{more}", counts.join(", ")));
}

/// The doctor's own findings always say something about the host; knobs that are in order do not.
fn is_worth_telling(finding: &Finding) -> bool {
    finding.level != Level::Ok || finding.group == "host"
}

/// Colours, where they are wanted.
struct Paint {
    is_on: bool,
}

impl Paint {
    /// On a terminal that has colours, unless NO_COLOR says otherwise.
    fn for_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint { is_on: io::stdout().is_terminal() && !is_unwanted && !is_dumb }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn level(&self, level: Level) -> String {
        let code = match level {
            Level::Ok => "32",
            Level::Unknown => "36",
            Level::Advice => "33",
            Level::Problem => "1;31",
        };
        self.with(code, &format!("{:<7}", level.name()))
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Paint { is_on: false }.level(Level::Problem), "problem");
        assert_eq!(Paint { is_on: true }.level(Level::Ok), "\x1b[32mok     \x1b[0m");
    }
}
