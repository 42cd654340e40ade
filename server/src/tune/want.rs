//! Job: what a setting should be on one host, and whether it is.
//! Knows: how the kernel writes numbers, lists, masks and choices. Must never know: which setting it is, or where it is kept.

use std::fmt;

use crate::units::grouped;

/// What a setting should be on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// As it is, for this reason.
    Leave(String),
    /// Each number at least so high; none is ever lowered.
    AtLeast(Vec<u64>),
    /// The number at most so high.
    AtMost(u64),
    /// A range that holds this one.
    Spanning(u64, u64),
    /// Exactly these words.
    Is(String),
    /// Anything but `bad`; where it is that, `rather`.
    Not {
        /// What it must not be.
        bad: &'static [&'static str],
        /// What to write instead.
        rather: String,
    },
    /// A mask of exactly these CPUs.
    Cpus(Vec<usize>),
}

impl Want {
    /// Whether a value is as it should be; `None` where the value is not understood.
    pub fn holds(&self, now: &str) -> Option<bool> {
        let now = plain(now);
        match self {
            Want::Leave(_) => Some(true),
            Want::AtLeast(least) => {
                let numbers = numbers(&now)?;
                (numbers.len() == least.len()).then(|| numbers.iter().zip(least).all(|(n, least)| n >= least))
            }
            Want::AtMost(most) => Some(now.parse::<u64>().ok()? <= *most),
            Want::Spanning(low, high) => match numbers(&now)?[..] {
                [from, to] => Some(from <= *low && to >= *high),
                _ => None,
            },
            Want::Is(value) => Some(now == *value),
            Want::Not { bad, .. } => Some(!bad.contains(&now.as_str())),
            Want::Cpus(cpus) => Some(cpus_of_mask(&now)? == *cpus),
        }
    }

    /// What to write in the place of `now` (empty where that is not known); `None` where nothing is to be written.
    pub fn value(&self, now: &str) -> Option<String> {
        match self {
            Want::Leave(_) => None,
            Want::AtLeast(least) => {
                let now = numbers(&plain(now)).filter(|now| now.len() == least.len()).unwrap_or_default();
                let at = |i: usize| now.get(i).copied().unwrap_or(0).max(least[i]).to_string();
                Some((0..least.len()).map(at).collect::<Vec<_>>().join(" "))
            }
            Want::AtMost(most) => Some(most.to_string()),
            Want::Spanning(low, high) => {
                let now = numbers(&plain(now)).filter(|now| now.len() == 2).unwrap_or_else(|| vec![*low, *high]);
                Some(format!("{} {}", now[0].min(*low), now[1].max(*high)))
            }
            Want::Is(value) => Some(value.clone()),
            Want::Not { rather, .. } => Some(rather.clone()),
            Want::Cpus(cpus) => Some(mask_of_cpus(cpus)),
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |n: &u64| if *n == u64::MAX { "unlimited".to_owned() } else { grouped(*n) };
        match self {
            Want::Leave(why) => write!(f, "as it is: {why}"),
            Want::AtLeast(least) if least.len() == 1 => write!(f, "at least {}", shown(&least[0])),
            Want::AtLeast(least) => {
                let words = least.iter().map(|n| if *n == 0 { "any".to_owned() } else { shown(n) });
                write!(f, "at least {}", words.collect::<Vec<_>>().join(" "))
            }
            Want::AtMost(most) => write!(f, "at most {}", shown(most)),
            Want::Spanning(low, high) => write!(f, "{low} to {high}, or more"),
            Want::Is(value) => f.write_str(value),
            Want::Not { bad, rather } => write!(f, "{rather}, not {}", bad.join(" or ")),
            Want::Cpus(cpus) => write!(f, "{} (CPUs {})", mask_of_cpus(cpus), list_of_cpus(cpus)),
        }
    }
}

/// A value without what the kernel puts around it: of `always [madvise] never` the chosen word; blanks made one.
pub fn plain(text: &str) -> String {
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    chosen.unwrap_or(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether two texts are the same value: blanks and a mask's leading zeros do not matter.
pub fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (plain(a), plain(b));
    // Masks alone have commas between groups of eight digits, or zeros in front.
    let is_mask = |s: &str| s.contains(',') || s.starts_with('0') && s.len() > 1;
    a == b || (is_mask(&a) || is_mask(&b)) && cpus_of_mask(&a).is_some_and(|cpus| cpus_of_mask(&b) == Some(cpus))
}

/// CPUs as a list for people: `0-3,6`.
pub fn list_of_cpus(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => runs.push((*cpu, *cpu)),
        }
    }
    let shown = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    shown.collect::<Vec<_>>().join(",")
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    let number = |word: &str| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() };
    text.split(' ').map(number).collect()
}

/// Hexadecimal groups of 32 bits, the highest first, commas between.
fn mask_of_cpus(cpus: &[usize]) -> String {
    let mut groups = vec![0u32; cpus.iter().max().map_or(1, |highest| highest / 32 + 1)];
    cpus.iter().for_each(|cpu| groups[cpu / 32] |= 1 << (cpu % 32));
    let highest = format!("{:x}", groups[groups.len() - 1]);
    let rest = groups.iter().rev().skip(1).map(|group| format!(",{group:08x}"));
    highest + &rest.collect::<String>()
}

fn cpus_of_mask(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for (i, group) in text.rsplit(',').enumerate() {
        let bits = u32::from_str_radix(group, 16).ok()?;
        cpus.extend((0..32).filter(|bit| bits & (1 << bit) != 0).map(|bit| i * 32 + bit));
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_ever_lowered() {
        let want = Want::AtLeast(vec![0, 200, 300]);
        assert_eq!(want.holds("1\t200\t299"), Some(false));
        assert_eq!(want.holds("1\t200\t300"), Some(true));
        assert_eq!(want.value("7\t500\t30").as_deref(), Some("7 500 300"));
        assert_eq!(want.value("").as_deref(), Some("0 200 300"));
        assert_eq!(want.to_string(), "at least any 200 300");
        let range = Want::Spanning(10_240, 65_535);
        assert_eq!(range.holds("32768 60999"), Some(false));
        assert_eq!(range.value("1024 60999").as_deref(), Some("1024 65535"));
        assert_eq!(Want::AtLeast(vec![5]).holds("unlimited"), Some(true));
        assert_eq!(Want::AtMost(10).value("60").as_deref(), Some("10"));
    }

    #[test]
    fn what_is_not_understood_is_neither_right_nor_wrong() {
        for want in [Want::AtLeast(vec![1]), Want::AtMost(1), Want::Spanning(1, 2), Want::Cpus(vec![0])] {
            for strange in ["", "many", "-1", "1 2 3", "99999999999999999999999"] {
                assert_ne!(want.holds(strange), Some(true), "{want} {strange}");
            }
        }
        assert_eq!(Want::AtLeast(vec![1]).holds("what"), None);
    }

    #[test]
    fn choices_and_masks_are_read_as_the_kernel_writes_them() {
        let huge = Want::Not { bad: &["always"], rather: "madvise".into() };
        assert_eq!(huge.holds("[always] madvise never"), Some(false));
        assert_eq!(huge.holds("always [madvise] never"), Some(true));
        let mask = Want::Cpus((0..40).collect());
        assert_eq!(mask.value("").as_deref(), Some("ff,ffffffff"));
        assert_eq!(mask.holds("000000ff,ffffffff"), Some(true));
        assert_eq!(mask.holds("000000fe,ffffffff"), Some(false));
        assert!(is_same("00000003", "3") && is_same("4096\t1 2", "4096 1 2") && !is_same("3", "4"));
        assert!(is_same("always [madvise] never", "madvise"));
        assert_eq!(list_of_cpus(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }
}
