//! The report: one HTML file with the tables and plots of a run, to be opened from disk. No script, nothing loaded.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::plot;
use crate::table::{Outcome, Recorded, Samples, shown};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); } h3 { margin-bottom: .3rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.ok { color: var(--good); } .failed { color: var(--bad); font-weight: 600; }
.quiet { opacity: .7; font-size: 13px; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.scroll { overflow-x: auto; } details { margin: 1rem 0; } summary { cursor: pointer; }
";

/// Writes the report.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, run: &Recorded) -> Result<()> {
    std::fs::write(path, page(run)).with_context(|| path.display().to_string())
}

fn page(run: &Recorded) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>fanwire-perf</title><style>{STYLE}</style>\n<h1>fanwire-perf</h1><p class=\"quiet\">{}</p>\n<ul>",
        escaped(&run.host)
    );
    for (at, outcome) in run.outcomes.iter().enumerate() {
        let _ = write!(html, "<li><a href=\"#s{at}\">{}</a>: {}</li>", escaped(&outcome.scenario), verdict(outcome));
    }
    html += "</ul>\n";
    for (at, outcome) in run.outcomes.iter().enumerate() {
        section(&mut html, at, outcome);
    }
    html + "</html>\n"
}

fn verdict(outcome: &Outcome) -> &'static str {
    if outcome.passed() { "<span class=\"ok\">passed</span>" } else { "<span class=\"failed\">FAILED</span>" }
}

fn section(html: &mut String, at: usize, outcome: &Outcome) {
    let _ = writeln!(
        html,
        "<section><h2 id=\"s{at}\">{}: {}</h2><p class=\"quiet\">{}</p>",
        escaped(&outcome.scenario),
        verdict(outcome),
        escaped(&outcome.parameters.to_string())
    );
    for table in &outcome.tables {
        from_markdown(html, table);
    }
    let mut plots: Vec<&str> = outcome.curves.iter().map(|curve| curve.plot.as_str()).collect();
    plots.dedup();
    for name in plots {
        let curves: Vec<_> = outcome.curves.iter().filter(|curve| curve.plot == name).collect();
        let _ = writeln!(html, "<figure><h3>{}</h3>{}</figure>", escaped(name), plot::lines(&curves));
    }
    for group in groups(&outcome.samples) {
        let unit = if group.1.is_empty() { String::new() } else { format!(", {}", group.1) };
        let heading =
            format!("{}{unit}: {} is better", group.0, if group.2[0].less_is_better { "less" } else { "more" });
        let _ = writeln!(html, "<figure><h3>{}</h3>{}</figure>", escaped(&heading), plot::dots(&group.2));
    }
    rows(html, outcome);
    for note in &outcome.notes {
        let _ = writeln!(html, "<p class=\"quiet\">note: {}</p>", escaped(note));
    }
    *html += "</section>\n";
}

/// Samples that belong into one plot: `TARGET: WHAT` by WHAT and unit.
fn groups(samples: &[Samples]) -> Vec<(String, String, Vec<&Samples>)> {
    let mut groups: Vec<(String, String, Vec<&Samples>)> = Vec::new();
    for sample in samples {
        let what = sample.name.rsplit(": ").next().unwrap_or(&sample.name);
        match groups.iter_mut().find(|group| group.0 == what && group.1 == sample.unit) {
            Some(group) => group.2.push(sample),
            None => groups.push((what.into(), sample.unit.clone(), vec![sample])),
        }
    }
    groups
}

fn rows(html: &mut String, outcome: &Outcome) {
    *html += "<details open><summary>All figures and verdicts</summary><div class=\"scroll\"><table>\n";
    for row in &outcome.rows {
        let verdict = match row.pass {
            Some(true) => "<span class=\"ok\">ok</span>",
            Some(false) => "<span class=\"failed\">FAILED</span>",
            None => "",
        };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"n\">{} {}</td><td>{}</td><td>{verdict}</td></tr>",
            escaped(&row.name),
            escaped(&shown(&row.value)),
            escaped(&row.unit),
            escaped(row.bound.as_deref().unwrap_or_default())
        );
    }
    *html += "</table></div></details>\n";
}

fn from_markdown(html: &mut String, table: &str) {
    *html += "<div class=\"scroll\"><table>\n";
    for (at, line) in table.lines().enumerate().filter(|(at, line)| *at != 1 && !line.is_empty()) {
        let cell = if at == 0 { "th" } else { "td" };
        *html += "<tr>";
        for text in line.trim_matches('|').split('|') {
            let _ = write!(html, "<{cell}>{}</{cell}>", escaped(text.trim()));
        }
        *html += "</tr>\n";
    }
    *html += "</table></div>\n";
}

/// Text as HTML has it.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_rows_tables_and_plots_and_no_markup_of_others() {
        let mut outcome = Outcome::new("x<y", serde_json::json!({"n": 1}));
        outcome.at_most("a & b", 2.0, 1.0, "ms");
        outcome.repeated("engine: cost", &[1.0, 2.0, 3.0], "ns", true);
        outcome.repeated("send: cost", &[2.0, 2.0, 2.5], "ns", true);
        outcome.curve("latency", "engine", ("% of deliveries", "ms"), vec![(0.0, 1.0), (50.0, 2.0), (99.9, 9.0)]);
        outcome.table(crate::table::markdown(&["k"], [vec!["<b>".to_string()]].into_iter()));
        let html = page(&Recorded { host: "here".into(), deliveries: 0, outcomes: vec![outcome] });
        for part in ["x&lt;y", "a &amp; b", "FAILED", "&lt;b&gt;", "<svg", "<polyline", "<circle"] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("<b>") && !html.contains("NaN"));
    }
}
