//! Plots as SVG: lines over linear or percentile axes, and repeated measurements as dots with their median.

use std::fmt::Write as _;

use crate::report::escaped;
use crate::table::{Curve, Samples};

const COLOURS: [&str; 8] = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#9a6700", "#1b7c83", "#bf3989"];
const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 10.0;
const LINES_HEIGHT: f64 = 320.0;
const BOTTOM: f64 = 40.0;
/// A row of dots.
const ROW: f64 = 24.0;

/// An axis from values to places.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    scale: fn(f64) -> f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let (low, high) = ((self.scale)(self.low), (self.scale)(self.high));
        let share = if high > low { ((self.scale)(value) - low) / (high - low) } else { 0.5 };
        self.from + share * (self.to - self.from)
    }
}

/// Percentiles by their nines: 90, 99 and 99.9 % are as far apart as 0 and 90.
fn nines(percent: f64) -> f64 {
    -(1.0 - (percent / 100.0).min(0.999_999)).log10()
}

fn logarithm(value: f64) -> f64 {
    value.max(1e-6).log10()
}

/// Lines over one pair of axes. An `x` axis of percent is spread by nines, and its `y` axis logarithmic.
pub fn lines(curves: &[&Curve]) -> String {
    let points =
        || curves.iter().flat_map(|curve| curve.points.iter().copied()).filter(|(x, y)| x.is_finite() && y.is_finite());
    let Some(axes) = curves.first().map(|curve| &curve.axes) else { return String::new() };
    if points().next().is_none() {
        return String::new();
    }
    let is_percentiles = axes.0.starts_with('%');
    let bounds = |pick: fn((f64, f64)) -> f64| {
        points().map(pick).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (x_low, x_high) = bounds(|p| p.0);
    let (y_low, y_high) = bounds(|p| p.1);
    let (y_low, y_high) = if is_percentiles {
        (10f64.powf(logarithm(y_low).floor()), 10f64.powf(logarithm(y_high).ceil()))
    } else {
        let margin = ((y_high - y_low) * 0.1).max(y_high.abs() * 0.02).max(1e-9);
        (y_low - margin, y_high + margin)
    };
    let plain: fn(f64) -> f64 = |value| value;
    let x = Axis {
        low: x_low,
        high: x_high,
        from: LEFT,
        to: WIDTH - RIGHT,
        scale: if is_percentiles { nines } else { plain },
    };
    let y = Axis {
        low: y_low,
        high: y_high,
        from: LINES_HEIGHT - BOTTOM,
        to: TOP,
        scale: if is_percentiles { logarithm } else { plain },
    };
    let mut svg = begin(LINES_HEIGHT, &format!("{} over {}", axes.1, axes.0));
    let x_ticks = if is_percentiles { [0.0, 50.0, 90.0, 99.0, 99.9, 99.99].to_vec() } else { ticks(x_low, x_high) };
    for tick in x_ticks.into_iter().filter(|tick| (x_low..=x_high).contains(tick)) {
        let at = x.place(tick);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#8884\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
            y.from,
            y.from + 15.0
        );
    }
    let y_ticks = if is_percentiles { decades(y_low, y_high) } else { ticks(y_low, y_high) };
    for tick in y_ticks {
        let at = y.place(tick);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#8884\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            x.to,
            LEFT - 6.0,
            at + 4.0,
            rounded(tick)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text x=\"12\" y=\"{:.1}\" \
         transform=\"rotate(-90 12 {:.1})\" text-anchor=\"middle\">{}</text>",
        (x.from + x.to) / 2.0,
        LINES_HEIGHT - 6.0,
        escaped(&axes.0),
        (y.from + y.to) / 2.0,
        (y.from + y.to) / 2.0,
        escaped(&axes.1)
    );
    for (at, curve) in curves.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let path = curve.points.iter().filter(|(px, py)| px.is_finite() && py.is_finite()).fold(
            String::new(),
            |mut path, &(px, py)| {
                let _ = write!(path, "{:.1},{:.1} ", x.place(px), y.place(py));
                path
            },
        );
        let label = TOP + 14.0 + 18.0 * at as f64;
        let _ = write!(
            svg,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{:.1}\" y=\"{label:.1}\">{}</text>",
            x.to + 12.0,
            x.to + 28.0,
            label - 4.0,
            label - 4.0,
            x.to + 34.0,
            escaped(&curve.name)
        );
    }
    svg + "</svg>"
}

/// A row for each: its measurements as dots, the median as a bar, the bounds as a line.
pub fn dots(samples: &[&Samples]) -> String {
    let high = samples.iter().flat_map(|s| s.values.iter().copied()).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let height = ROW * samples.len() as f64 + TOP + 26.0;
    let x = Axis {
        low: 0.0,
        high: if high > 0.0 { high * 1.03 } else { 1.0 },
        from: RIGHT,
        to: WIDTH - LEFT,
        scale: |v| v,
    };
    let mut svg = begin(height, "repeated measurements");
    for tick in ticks(x.low, x.high) {
        let at = x.place(tick);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#8884\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            height - 22.0,
            height - 8.0,
            rounded(tick)
        );
    }
    for (at, sample) in samples.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let y = TOP + ROW * (at as f64 + 0.5);
        let name = sample.name.rsplit_once(": ").map_or(sample.name.as_str(), |(target, _)| target);
        let found = crate::stats::median(&sample.values);
        if !found.value.is_finite() {
            continue;
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{RIGHT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" fill=\"{colour}\" opacity=\".35\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            RIGHT - 8.0,
            y + 4.0,
            escaped(name),
            y - 6.0,
            x.place(found.value) - RIGHT,
            x.place(found.low),
            x.place(found.high),
            x.to + 8.0,
            y + 4.0,
            rounded(found.value)
        );
        for &value in sample.values.iter().filter(|value| value.is_finite()) {
            let _ = write!(svg, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>", x.place(value));
        }
    }
    svg + "</svg>"
}

fn begin(height: f64, title: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">", escaped(title))
}

/// Round numbers, about five.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low).max(1e-9) / 5.0;
    let decade = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * decade).find(|step| *step >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|tick| *tick <= high).take(20).collect()
}

fn decades(low: f64, high: f64) -> Vec<f64> {
    let (from, to) = (logarithm(low).round() as i32, logarithm(high).round() as i32);
    (from..=to).map(|power| 10f64.powi(power)).collect()
}

fn rounded(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.2} M", value / 1e6),
        v if v >= 1e4 => format!("{:.0} k", value / 1e3),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{}", (value * 100.0).round() / 100.0),
        _ => format!("{}", (value * 10_000.0).round() / 10_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(97.3, 99.1), [97.5, 98.0, 98.5, 99.0]);
        assert_eq!(decades(0.1, 100.0).len(), 4);
    }

    #[test]
    fn a_plot_of_nothing_or_of_one_point_is_still_one() {
        let curve = |points| Curve { plot: "p".into(), name: "n".into(), axes: ("s".into(), "MiB".into()), points };
        assert_eq!(lines(&[&curve(Vec::new())]), "");
        assert!(!lines(&[&curve(vec![(1.0, 1.0)])]).contains("NaN"));
        assert!(!lines(&[&curve(vec![(0.0, 0.0), (1.0, 0.0)])]).contains("NaN"));
    }
}
