//! Quantities as people write them: `8MiB`, `10s`, `0-3`.
//!
//! Knows text. Must never know what a quantity is for.

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
        if text.is_empty() {
            return Err("is empty: write for example 8MiB or 65536".into());
        }
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

/// A span of time: `500us`, `250ms`, `10s`, `2m`, `1h`; a bare `0` where zero means off. Shown so that it reads back
/// as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SECOND_NS: u128 = 1_000_000_000;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Span(Duration::ZERO));
        }
        if text.is_empty() {
            return Err("is empty: write for example 10s or 250ms".into());
        }
        let (number, unit) = split_number(text);
        let unit_ns: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND_NS,
            "m" | "min" => 60 * SECOND_NS,
            "h" => 3_600 * SECOND_NS,
            "" => return Err(format!("`{text}` lacks a unit: write for example {text}s or {text}ms")),
            _ => return Err(format!("`{unit}` is no unit of time: use ns, us, ms, s, m or h")),
        };
        let ns = decimal(number, unit_ns)
            .ok_or_else(|| format!("`{text}` is no time: write for example 10s or 250ms"))?
            .ok_or_else(|| format!("`{text}` is more time than there is"))?;
        let seconds = u64::try_from(ns / SECOND_NS).map_err(|_| format!("`{text}` is more time than there is"))?;
        Ok(Span(Duration::new(seconds, (ns % SECOND_NS) as u32)))
    }
}

/// A number with or without a point, times `factor`, in whole numbers: `None` if it is none, `Some(None)` if it is too
/// large.
fn decimal(number: &str, factor: u128) -> Option<Option<u128>> {
    /// What lies behind is less than a nanosecond, whatever the unit.
    const DIGITS_MAX: usize = 15;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(DIGITS_MAX)];
    // Of digits alone: what cannot be read is too large.
    let read = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let rest = read(fraction).map(|rest| rest * factor / 10u128.pow(fraction.len() as u32));
    Some(read(whole).and_then(|whole| whole.checked_mul(factor)?.checked_add(rest?)))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ns) = (self.0.as_secs(), self.0.subsec_nanos());
        match (seconds, ns) {
            (0, 0) => f.write_str("0"),
            (seconds, 0) if seconds.is_multiple_of(60) => write!(f, "{}m", seconds / 60),
            (seconds, 0) => write!(f, "{seconds}s"),
            (_, ns) if ns.is_multiple_of(1_000_000) => write!(f, "{}ms", self.0.as_millis()),
            (_, ns) if ns.is_multiple_of(1_000) => write!(f, "{}us", self.0.as_micros()),
            _ => write!(f, "{}ns", self.0.as_nanos()),
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

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, cpu) in self.0.iter().enumerate() {
            write!(f, "{}{cpu}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
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
        assert_eq!(of("18446744073709551615"), Ok(u64::MAX));
        for bad in ["", "MiB", "8XB", "-1", "1.5MiB", "18446744073709551616", "99999999999999TiB"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(ByteSize(8 << 20).to_string(), "8MiB");
        assert_eq!(ByteSize(65_536).to_string(), "64KiB");
        assert_eq!(ByteSize(1_000).to_string(), "1000");
        assert_eq!(ByteSize(0).to_string(), "0");
    }

    #[test]
    fn spans_are_read() {
        let of = |s: &str| s.parse::<Span>().map(|s| s.0.as_nanos());
        assert_eq!(of("10s"), Ok(10_000_000_000));
        assert_eq!(of("250ms"), Ok(250_000_000));
        assert_eq!(of("7us"), Ok(7_000));
        assert_eq!(of("7µs"), Ok(7_000));
        assert_eq!(of("7ns"), Ok(7));
        assert_eq!(of("1.5s"), Ok(1_500_000_000));
        assert_eq!(of("0.000000001999s"), Ok(1));
        assert_eq!(of("2m"), Ok(120_000_000_000));
        assert_eq!(of("0"), Ok(0));
        assert!(of("10").unwrap_err().contains("10s"));
        for bad in
            ["", "s", "10x", "-1s", "1e99s", "1..2s", ".s", "1.2.3s", "6000000000000000h", "18446744073709551616s"]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_read_back_as_they_are_shown() {
        for shown in ["10s", "250ms", "2m", "0", "1500us", "1ns", "1001ms"] {
            assert_eq!(shown.parse::<Span>().unwrap().to_string(), shown);
        }
        for seconds in [0, 1, 59, 3_600, 1 << 32, u64::MAX] {
            for ns in [0, 1, 999, 1_000, 1_000_000, 999_000_000, 999_999_999] {
                let span = Span(Duration::new(seconds, ns));
                assert_eq!(span.to_string().parse(), Ok(span), "{span}");
            }
        }
    }

    #[test]
    fn cpu_lists_keep_their_order_and_refuse_doubles() {
        let of = |s: &str| s.parse::<CpuList>().map(|c| c.0);
        assert_eq!(of("0,1"), Ok(vec![0, 1]));
        assert_eq!(of("3,0-2"), Ok(vec![3, 0, 1, 2]));
        assert_eq!(of("none"), Ok(vec![]));
        assert_eq!(of("8191"), Ok(vec![8191]));
        for bad in ["", "a", "0,0", "1-0", "0-99999999", "1,", "8192"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!((CpuList(vec![3, 0]).to_string(), CpuList(vec![]).to_string()), ("3,0".into(), "none".into()));
    }
}
