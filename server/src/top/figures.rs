//! Job: figures as texts of a few characters.
//! Knows: numbers. Must never know: what they count.

/// `1234567` as `1.23M`: at most five characters.
pub fn short(n: f64) -> String {
    let mut value = n.max(0.0);
    for unit in ["", "k", "M", "G", "T"] {
        if value < 999.5 || unit == "T" {
            let digits = match (unit, value) {
                ("", v) if v.fract() == 0.0 || v >= 99.95 => 0,
                ("", _) => 1,
                (_, v) if v >= 99.95 => 0,
                (_, v) if v >= 9.995 => 1,
                _ => 2,
            };
            return format!("{value:.digits$}{unit}");
        }
        value /= 1_000.0;
    }
    String::new()
}

/// Microseconds as `160µs`, `2.0ms`, `1.2s`.
pub fn micros(us: f64) -> String {
    match us {
        us if us < 999.5 => format!("{us:.0}µs"),
        us if us < 99_950.0 => format!("{:.1}ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0}ms", us / 1e3),
        us => format!("{:.1}s", us / 1e6),
    }
}

/// Seconds as `9.5s`, `61s`, `12m`, `3h`, `2d`.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 9.95 => format!("{s:.1}s"),
        s if s < 119.5 => format!("{s:.0}s"),
        s if s < 7_170.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_000.0 => format!("{:.0}h", s / 3_600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

/// When a client loses something, as [`seconds`]; `now` where it just does.
pub fn drops_in(s: f64) -> String {
    if s == 0.0 { "now".to_owned() } else { seconds(s) }
}

/// A share as `78%`, of little `0.4%`.
pub fn percent(share: f64) -> String {
    let digits = usize::from(share > 0.0 && share < 0.0995);
    format!("{:.digits$}%", share * 100.0)
}

/// How full something is, in so many characters, with marks at 70 % and 90 % where it is empty.
pub fn bar(share: f64, width: usize) -> String {
    let cells = width as f64;
    let filled = (share.clamp(0.0, 1.0) * cells).round() as usize;
    let mark = |part: f64| ((part * cells) as usize).min(width.saturating_sub(1));
    (0..width)
        .map(|at| match at {
            at if at < filled => '█',
            at if at == mark(0.9) => '┃',
            at if at == mark(0.7) => '│',
            _ => '·',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let shorts = [0.0, 4.25, 999.0, 1_020.0, 12_345.0, 204_000.0, 1_234_567.0, 5e12, 1e18].map(short);
        assert_eq!(shorts, ["0", "4.2", "999", "1.02k", "12.3k", "204k", "1.23M", "5.00T", "1000000T"]);
        assert_eq!([40.0, 1_280.0, 150_000.0, 2_500_000.0].map(micros), ["40µs", "1.3ms", "150ms", "2.5s"]);
        assert_eq!([0.0, 9.5, 61.0, 600.0, 7_200.0, 1e6].map(seconds), ["0.0s", "9.5s", "61s", "10m", "2h", "12d"]);
        assert_eq!([0.0, 0.04, 9.5].map(drops_in), ["now", "0.0s", "9.5s"]);
        assert_eq!([0.0, 0.004, 0.78, 1.0].map(percent), ["0%", "0.4%", "78%", "100%"]);
    }

    #[test]
    fn bars_have_marks_where_they_are_empty() {
        assert_eq!(bar(0.0, 10), "·······│·┃");
        assert_eq!(bar(0.52, 10), "█████··│·┃");
        assert_eq!(bar(0.8, 10), "████████·┃");
        assert_eq!(bar(7.0, 10), "██████████");
        assert_eq!((bar(0.5, 0), bar(f64::NAN, 1)), (String::new(), "┃".into()));
    }
}
