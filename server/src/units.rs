//! Job: quantities as people write them on a command line: `8MiB`, `10s`, `0-3`.
//! Knows: text. Must never know: what a quantity is for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `65536`, `64KiB`, `8MiB`, `1GiB` (powers of 1024), `500kB`, `2MB` (powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const BINARY: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl ByteSize {
    /// The size as a `usize`: what memory is counted in.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_number(text);
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(format!("`{unit}` is no unit of bytes: use B, KiB, MiB, GiB (or kB, MB, GB)")),
        };
        let whole: u64 = number.parse().map_err(|_| format!("`{text}` is no size: write for example 8MiB or 65536"))?;
        whole.checked_mul(factor).map(ByteSize).ok_or_else(|| format!("`{text}` is more bytes than a number can hold"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in BINARY {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A span of time: `250ms`, `10s`, `2m`, `1h`; a bare `0` where zero means off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Span(Duration::ZERO));
        }
        let (number, unit) = split_number(text);
        let milliseconds: f64 = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" | "min" => 60_000.0,
            "h" => 3_600_000.0,
            "" => return Err(format!("`{text}` lacks a unit: write for example {text}s or {text}ms")),
            _ => return Err(format!("`{unit}` is no unit of time: use ms, s, m or h")),
        };
        let number: f64 = number.parse().map_err(|_| format!("`{text}` is no time: write for example 10s or 250ms"))?;
        Duration::try_from_secs_f64(number * milliseconds / 1_000.0)
            .map(Span)
            .map_err(|_| format!("`{text}` is more time than there is"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        match milliseconds {
            0 => f.write_str("0"),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

/// CPUs in the order given: `0,1`, `0-3`, `0,2-3`; `none` is the empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// More CPUs than Linux can be built for: beyond it is a typing error.
const CPU_MAX: usize = 8192;

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        if text == "none" {
            return Ok(CpuList(cpus));
        }
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let number = |s: &str| -> Result<usize, String> {
                s.trim()
                    .parse()
                    .ok()
                    .filter(|n| *n < CPU_MAX)
                    .ok_or_else(|| format!("`{part}` is no CPU: write for example 0,1 or 0-3"))
            };
            let (from, to) = (number(from)?, number(to)?);
            if from > to {
                return Err(format!("`{part}` runs backwards"));
            }
            for cpu in from..=to {
                if cpus.contains(&cpu) {
                    return Err(format!("CPU {cpu} is named twice"));
                }
                cpus.push(cpu);
            }
        }
        Ok(CpuList(cpus))
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes for people to read: `1.4 MB` (powers of 1000, one decimal).
pub fn bytes_for_people(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.95 {
            return if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        let of = |s: &str| s.parse::<ByteSize>().map(|b| b.0);
        assert_eq!(of("65536"), Ok(65_536));
        assert_eq!(of("8MiB"), Ok(8 << 20));
        assert_eq!(of("8 MiB"), Ok(8 << 20));
        assert_eq!(of("8m"), Ok(8 << 20));
        assert_eq!(of("2MB"), Ok(2_000_000));
        assert_eq!(of("0"), Ok(0));
        for bad in ["", "MiB", "8XB", "-1", "1.5MiB", "99999999999999999999", "99999999999999TiB"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(ByteSize(8 << 20).to_string(), "8MiB");
        assert_eq!(ByteSize(65_536).to_string(), "64KiB");
        assert_eq!(ByteSize(1_000).to_string(), "1000");
        assert_eq!(ByteSize(0).to_string(), "0");
    }

    #[test]
    fn spans_are_read_and_shown() {
        let of = |s: &str| s.parse::<Span>().map(|s| s.0.as_millis());
        assert_eq!(of("10s"), Ok(10_000));
        assert_eq!(of("250ms"), Ok(250));
        assert_eq!(of("1.5s"), Ok(1_500));
        assert_eq!(of("2m"), Ok(120_000));
        assert_eq!(of("0"), Ok(0));
        assert!(of("10").unwrap_err().contains("10s"));
        for bad in ["", "s", "10x", "-1s", "1e99s", "1..2s"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        for shown in ["10s", "250ms", "2m", "0"] {
            assert_eq!(shown.parse::<Span>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn cpu_lists_keep_their_order_and_refuse_doubles() {
        let of = |s: &str| s.parse::<CpuList>().map(|c| c.0);
        assert_eq!(of("0,1"), Ok(vec![0, 1]));
        assert_eq!(of("3,0-2"), Ok(vec![3, 0, 1, 2]));
        assert_eq!(of("none"), Ok(vec![]));
        for bad in ["", "a", "0,0", "1-0", "0-99999999", "1,"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes_for_people(0.0), "0 B");
        assert_eq!(bytes_for_people(1_400_000.0), "1.4 MB");
    }
}
