//! Two recorded runs: what has become slower, and how sure that is.
//!
//! Knows only the files. A figure that was measured several times in both runs is compared by the ratio of its medians, with bounds
//! by resampling: it is called a regression when even the favourable bound is beyond the tolerance, so noise alone does not fail a build.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::table::{Recorded, Samples, markdown};

/// Resamplings for the bounds.
const RESAMPLED: usize = 4_000;

/// The verdict on one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Worse,
    Better,
    Same,
}

/// Ratio of new to old, turned so that more is worse, with 95 % bounds.
#[derive(Clone, Copy, Debug)]
struct Change {
    ratio: f64,
    low: f64,
    high: f64,
}

/// Compares two files that `--json` wrote; prints a table. False if anything is worse than `tolerance` (0.03: 3 %).
///
/// # Errors
/// When a file cannot be read or nothing can be compared.
pub fn run(old: &Path, new: &Path, tolerance: f64) -> Result<bool> {
    let (old_run, new_run) = (Recorded::read(old)?, Recorded::read(new)?);
    let mut rows = Vec::new();
    let mut worse = 0;
    for outcome in &new_run.outcomes {
        let Some(before) = old_run.outcomes.iter().find(|o| o.scenario == outcome.scenario) else { continue };
        if before.parameters != outcome.parameters {
            println!("note: {} was run with other parameters", outcome.scenario);
        }
        for samples in &outcome.samples {
            let Some(was) = before.samples.iter().find(|s| s.name == samples.name) else { continue };
            let change = change(was, samples);
            let verdict = judge(change, tolerance);
            worse += usize::from(verdict == Verdict::Worse);
            let median = |samples: &Samples| crate::stats::median(&samples.values).value;
            rows.push(vec![
                outcome.scenario.clone(),
                samples.name.clone(),
                format!("{:.4} {}", median(was), was.unit),
                format!("{:.4} {}", median(samples), samples.unit),
                format!("{:.3} ({:.3} to {:.3})", change.ratio, change.low, change.high),
                match verdict {
                    Verdict::Worse => "WORSE".into(),
                    Verdict::Better => "better".into(),
                    Verdict::Same => "the same".into(),
                },
            ]);
        }
        for (name, passed) in outcome.verdicts() {
            if !passed && before.verdicts().any(|(was, had_passed)| was == name && had_passed) {
                worse += 1;
                rows.push(vec![
                    outcome.scenario.clone(),
                    name.into(),
                    "ok".into(),
                    "FAILED".into(),
                    String::new(),
                    "WORSE".into(),
                ]);
            }
        }
    }
    ensure!(!rows.is_empty(), "{} and {} have no figures in common", old.display(), new.display());
    let count = rows.len();
    println!(
        "{}",
        markdown(&["scenario", "figure", "before", "after", "cost ratio (95 %)", "verdict"], rows.into_iter())
    );
    println!("{worse} of {count} worse, beyond a tolerance of {:.0} %", tolerance * 100.0);
    Ok(worse == 0)
}

fn judge(change: Change, tolerance: f64) -> Verdict {
    if change.low > 1.0 + tolerance {
        Verdict::Worse
    } else if change.high < 1.0 - tolerance {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

fn change(old: &Samples, new: &Samples) -> Change {
    let (above, below) = if new.less_is_better { (&new.values, &old.values) } else { (&old.values, &new.values) };
    let median = |values: &[f64]| crate::stats::median(values).value;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut resampled = |values: &[f64]| -> Vec<f64> {
        (0..values.len())
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                values[(state >> 20) as usize % values.len()]
            })
            .collect()
    };
    let mut ratios: Vec<f64> = (0..RESAMPLED).map(|_| median(&resampled(above)) / median(&resampled(below))).collect();
    ratios.sort_by(f64::total_cmp);
    Change {
        ratio: median(above) / median(below),
        low: ratios[RESAMPLED / 40],
        high: ratios[RESAMPLED - 1 - RESAMPLED / 40],
    }
}

impl Recorded {
    fn read(path: &Path) -> Result<Recorded> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| format!("{} was not written by --json", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64], less_is_better: bool) -> Samples {
        Samples { name: "x".into(), unit: "ns".into(), less_is_better, values: values.to_vec() }
    }

    #[test]
    fn what_is_surely_slower_is_worse_and_noise_is_not() {
        let old = samples(&[100.0, 101.0, 99.0, 102.0, 98.0, 100.5, 99.5], true);
        let noise = samples(&[101.0, 99.0, 103.0, 98.5, 100.0, 102.0, 97.0], true);
        let slower = samples(&[110.0, 111.0, 109.0, 112.0, 108.0, 110.5, 109.5], true);
        assert_eq!(judge(change(&old, &noise), 0.03), Verdict::Same);
        assert_eq!(judge(change(&old, &slower), 0.03), Verdict::Worse);
        assert_eq!(judge(change(&slower, &old), 0.03), Verdict::Better);
        assert_eq!(judge(change(&old, &slower), 0.2), Verdict::Same);
        // One wild value among seven proves nothing.
        let wild = samples(&[100.0, 101.0, 99.0, 102.0, 98.0, 100.5, 500.0], true);
        assert_eq!(judge(change(&old, &wild), 0.03), Verdict::Same);
    }

    #[test]
    fn a_falling_rate_is_worse() {
        let (fast, slow) = (samples(&[200.0, 201.0, 199.0], false), samples(&[100.0, 101.0, 99.0], false));
        assert_eq!(judge(change(&fast, &slow), 0.03), Verdict::Worse);
        assert_eq!(judge(change(&slow, &fast), 0.03), Verdict::Better);
    }
}
