//! Results: rows of a name, a figure and a unit, printed aligned, written as JSON, each with its verdict.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What.
    pub name: String,
    /// How much.
    pub value: serde_json::Value,
    /// Of what.
    pub unit: String,
    /// What it must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// Whether it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<bool>,
}

/// What a file of results holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Where it was measured, in words.
    pub host: String,
    /// Messages that the crowds got and checked, those to warm up included, of all servers of all scenarios.
    #[serde(default)]
    pub deliveries: u64,
    /// Scenario by scenario.
    pub outcomes: Vec<Outcome>,
}

/// What a scenario found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub scenario: String,
    /// What it was run with.
    pub parameters: serde_json::Value,
    /// Figures and verdicts.
    pub rows: Vec<Row>,
    /// Remarks.
    pub notes: Vec<String>,
    /// Tables in Markdown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Repeated measurements, for `compare`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Samples>,
    /// For the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
}

/// The same figure, measured several times in one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Samples {
    /// What was measured.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Whether more is worse: true for costs, false for rates.
    pub less_is_better: bool,
    /// In order of time.
    pub values: Vec<f64>,
}

/// A line for a plot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// Which plot it belongs to.
    pub plot: String,
    /// What it is.
    pub name: String,
    /// The axes' names.
    pub axes: (String, String),
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

impl Outcome {
    /// An empty one.
    pub fn new(scenario: &str, parameters: serde_json::Value) -> Self {
        Outcome {
            scenario: scenario.into(),
            parameters,
            rows: Vec::new(),
            notes: Vec::new(),
            tables: Vec::new(),
            samples: Vec::new(),
            curves: Vec::new(),
        }
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.row(name, value.into(), unit, None, None);
    }

    /// Adds a count.
    pub fn count(&mut self, name: impl Into<String>, value: u64) {
        self.row(name, value.into(), "", None, None);
    }

    /// Adds a figure that must not exceed `most`.
    pub fn at_most(&mut self, name: impl Into<String>, value: f64, most: f64, unit: &'static str) {
        self.row(name, value.into(), unit, Some(format!("<= {most}")), Some(value <= most));
    }

    /// Adds a figure that must not be below `least`.
    pub fn at_least(&mut self, name: impl Into<String>, value: f64, least: f64, unit: &'static str) {
        self.row(name, value.into(), unit, Some(format!(">= {least}")), Some(value >= least));
    }

    /// Adds measurements that were repeated: their median with its bounds as a row, all of them for `compare`.
    pub fn repeated(&mut self, name: impl Into<String>, values: &[f64], unit: &'static str, less_is_better: bool) {
        let name = name.into();
        let found = crate::stats::median(values);
        self.figure(format!("{name} ({})", bounds(&found)), found.value, unit);
        self.samples.push(Samples { name, unit: unit.into(), less_is_better, values: values.to_vec() });
    }

    /// Adds the ratio of pairs, whose median must not exceed `most`, nor its upper bound `most_bound`, where there are such.
    pub fn ratio(
        &mut self,
        name: impl Into<String>,
        above: &[f64],
        below: &[f64],
        most: Option<f64>,
        most_bound: Option<f64>,
    ) {
        let ratios = crate::stats::ratios(above, below);
        let found = crate::stats::median(&ratios);
        let bound = match (most, most_bound) {
            (None, None) => None,
            (Some(most), None) => Some(format!("<= {most}")),
            (None, Some(bound)) => Some(format!("surely <= {bound}")),
            (Some(most), Some(bound)) => Some(format!("<= {most}, surely <= {bound}")),
        };
        let pass = bound
            .is_some()
            .then(|| most.is_none_or(|most| found.value <= most) && most_bound.is_none_or(|bound| found.high <= bound));
        self.row(format!("{} ({})", name.into(), bounds(&found)), found.value.into(), "x", bound, pass);
    }

    /// Adds a line to a plot of the report.
    pub fn curve(&mut self, plot: &str, name: &str, axes: (&str, &str), points: Vec<(f64, f64)>) {
        let axes = (axes.0.to_string(), axes.1.to_string());
        self.curves.push(Curve { plot: plot.into(), name: name.into(), axes, points });
    }

    /// Adds a table in Markdown, printed after the rows.
    pub fn table(&mut self, table: String) {
        self.tables.push(table);
    }

    /// Adds a count that must be `right`.
    pub fn exactly(&mut self, name: impl Into<String>, value: u64, right: u64) {
        self.row(name, value.into(), "", Some(format!("= {right}")), Some(value == right));
    }

    /// Adds something that must be so.
    pub fn must(&mut self, name: impl Into<String>, so: bool, shown: impl Into<String>) {
        self.row(name, shown.into().into(), "", Some("must".into()), Some(so));
    }

    /// Adds a remark, once.
    pub fn note(&mut self, words: impl Into<String>) {
        let words = words.into();
        if !self.notes.contains(&words) {
            self.notes.push(words);
        }
    }

    /// Adds several remarks, each once.
    pub fn note_all(&mut self, words: &[String]) {
        words.iter().for_each(|words| self.note(words));
    }

    /// The rows with a bound: their names, and whether it holds.
    pub fn verdicts(&self) -> impl Iterator<Item = (&str, bool)> {
        self.rows.iter().filter_map(|row| Some((row.name.as_str(), row.pass?)))
    }

    /// Whether every bound holds.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.pass != Some(false))
    }

    fn row(
        &mut self,
        name: impl Into<String>,
        value: serde_json::Value,
        unit: &'static str,
        bound: Option<String>,
        pass: Option<bool>,
    ) {
        self.rows.push(Row { name: name.into(), value, unit: unit.into(), bound, pass });
    }

    /// Prints the table on stdout.
    pub fn print(&self) {
        println!("\n{} {}", self.scenario, self.parameters);
        let cells: Vec<[String; 4]> = self
            .rows
            .iter()
            .map(|row| {
                let verdict = match row.pass {
                    Some(true) => "ok",
                    Some(false) => "FAILED",
                    None => "",
                };
                let value = format!("{} {}", shown(&row.value), row.unit).trim_end().to_string();
                [row.name.clone(), value, row.bound.clone().unwrap_or_default(), verdict.into()]
            })
            .collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &cells {
            let line = format!(
                "  {:<w0$}  {:>w1$}  {:<w2$}  {}",
                row[0],
                row[1],
                row[2],
                row[3],
                w0 = width(0),
                w1 = width(1),
                w2 = width(2)
            );
            println!("{}", line.trim_end());
        }
        for table in &self.tables {
            println!("\n{table}");
        }
        for note in &self.notes {
            println!("  note: {note}");
        }
        println!("{}: {}", self.scenario, if self.passed() { "passed" } else { "FAILED" });
    }
}

/// A table in Markdown.
pub fn markdown(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|name| name.to_string()).collect();
    let rule: Vec<String> = head.iter().map(|_| "---".to_string()).collect();
    rows.fold(line(&head) + &line(&rule), |text, row| text + &line(&row))
}

/// Writes results to a file.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(path: &Path, run: &Recorded) -> Result<()> {
    let text = serde_json::to_string_pretty(run)? + "\n";
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// The bounds of a median, for people.
fn bounds(median: &crate::stats::Median) -> String {
    format!("{:.0} % {} to {}", median.confidence * 100.0, shown(&median.low.into()), shown(&median.high.into()))
}

/// Numbers as people read them.
pub fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Number(number) if number.is_u64() => {
            let digits = number.to_string();
            let mut text = String::new();
            for (i, digit) in digits.chars().enumerate() {
                if i > 0 && (digits.len() - i) % 3 == 0 {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        serde_json::Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            let decimals = if number.abs() >= 1000.0 {
                0
            } else if number.abs() >= 10.0 {
                1
            } else {
                3
            };
            format!("{number:.decimals$}")
        }
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_bound_fails_the_outcome() {
        let mut outcome = Outcome::new("x", serde_json::json!({}));
        outcome.at_most("a", 1.0, 1.0, "ms");
        outcome.exactly("b", 3, 3);
        assert!(outcome.passed());
        outcome.exactly("c", 3, 4);
        assert!(!outcome.passed());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(shown(&1234567u64.into()), "1,234,567");
        assert_eq!(shown(&12u64.into()), "12");
        assert_eq!(shown(&0.1234f64.into()), "0.123");
    }
}
