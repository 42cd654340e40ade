//! The text format of OpenMetrics 1.0: <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.
//!
//! Knows names, labels and numbers. Must never know what they stand for.

use std::fmt::Write as _;

use super::histogram::{DOUBLINGS, Reading};

/// What buckets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Microseconds, shown as seconds.
    Microseconds,
    /// Things.
    Count,
}

/// Samples of one family, being written.
pub struct Samples<'a> {
    out: &'a mut String,
    name: &'a str,
    suffix: &'static str,
}

impl<'a> Samples<'a> {
    /// Of the family `name`, whose samples are called so and `suffix`.
    pub fn new(out: &'a mut String, name: &'a str, suffix: &'static str) -> Self {
        Self { out, name, suffix }
    }

    /// A whole number.
    pub fn number(&mut self, labels: &[(&str, &str)], value: u64) {
        self.begin(self.suffix, labels);
        let _ = writeln!(self.out, " {value}");
    }

    /// Nanoseconds, shown as seconds.
    pub fn seconds(&mut self, labels: &[(&str, &str)], ns: u128) {
        self.begin(self.suffix, labels);
        let _ = writeln!(self.out, " {}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    }

    /// A histogram without labels of its own.
    pub fn histogram(&mut self, reading: &Reading, scale: Scale) {
        for doubling in 0..=DOUBLINGS {
            self.begin("_bucket", &[("le", &bound(doubling, scale))]);
            let _ = writeln!(self.out, " {}", reading.up_to(doubling));
        }
        self.begin("_bucket", &[("le", "+Inf")]);
        let count = reading.count();
        let _ = writeln!(self.out, " {count}");
        let _ = writeln!(self.out, "{}_count {count}", self.name);
        let _ = match scale {
            Scale::Microseconds => {
                writeln!(self.out, "{}_sum {}.{:06}", self.name, reading.sum / 1_000_000, reading.sum % 1_000_000)
            }
            Scale::Count => writeln!(self.out, "{}_sum {}", self.name, reading.sum),
        };
    }

    fn begin(&mut self, suffix: &str, labels: &[(&str, &str)]) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (place, (label, value)) in labels.iter().enumerate() {
            self.out.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.out, "{label}=\"");
            escape(self.out, value);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
    }
}

/// The head of a family.
pub fn family(out: &mut String, name: &str, kind: &str, unit: &str, help: &str) {
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = write!(out, "# HELP {name} ");
    escape(out, help);
    out.push('\n');
}

/// 2^`doubling` as the label `le` has it: the shortest decimal, with an exponent below 1e-4 (as Go and Python write it).
fn bound(doubling: usize, scale: Scale) -> String {
    let value = 1u64 << doubling;
    match scale {
        Scale::Count => format!("{value}.0"),
        Scale::Microseconds if value < 10 => format!("{value}e-06"),
        Scale::Microseconds if value < 100 => format!("{}.{}e-05", value / 10, value % 10),
        Scale::Microseconds => format!("{}", value as f64 / 1e6),
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::histogram::Histogram;

    #[test]
    fn labels_are_escaped_and_times_exact() {
        let mut out = String::new();
        family(&mut out, "fanwire_x_seconds", "counter", "seconds", "A \"thing\" of C:\\\nx.");
        let mut samples = Samples::new(&mut out, "fanwire_x_seconds", "_total");
        samples.seconds(&[("pattern", "a\"\\\n/**"), ("shard", "0")], 12_000_000_345);
        samples.number(&[], 7);
        assert_eq!(
            out,
            "# TYPE fanwire_x_seconds counter\n# UNIT fanwire_x_seconds seconds\n\
             # HELP fanwire_x_seconds A \\\"thing\\\" of C:\\\\\\nx.\n\
             fanwire_x_seconds_total{pattern=\"a\\\"\\\\\\n/**\",shard=\"0\"} 12.000000345\n\
             fanwire_x_seconds_total 7\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let (histogram, mut reading, mut out) = (Histogram::default(), Reading::default(), String::new());
        [1, 2, 3, 1_500_000, u64::MAX / 2].into_iter().for_each(|us| histogram.note(us));
        histogram.read_into(&mut reading);
        Samples::new(&mut out, "t_seconds", "").histogram(&reading, Scale::Microseconds);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), DOUBLINGS + 1 + 3);
        assert_eq!(lines[0], "t_seconds_bucket{le=\"1e-06\"} 1");
        assert_eq!(lines[2], "t_seconds_bucket{le=\"4e-06\"} 3");
        assert_eq!(lines[4], "t_seconds_bucket{le=\"1.6e-05\"} 3");
        assert_eq!(lines[7], "t_seconds_bucket{le=\"0.000128\"} 3");
        assert_eq!(lines[20], "t_seconds_bucket{le=\"1.048576\"} 3");
        assert_eq!(lines[21], "t_seconds_bucket{le=\"2.097152\"} 4");
        assert_eq!(lines[DOUBLINGS + 1], "t_seconds_bucket{le=\"+Inf\"} 5");
        assert_eq!(lines[DOUBLINGS + 2], "t_seconds_count 5");
        assert_eq!(bound(10, Scale::Count), "1024.0");
    }
}
