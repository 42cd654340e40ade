//! Messages that subscribers did not get, by the pattern of `topics` that their topic falls under, by priority, by reason.
//!
//! Knows texts and numbers. Patterns are few: what has found no place shares the last one, so the numbers stay bounded
//! whatever topics there are.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::types::Priority;

/// Patterns that are told apart.
pub const PATTERNS_MAX: usize = 32;
/// What topics are counted under that no pattern matches, or one that has found no place.
pub const OTHERS: &str = "";

/// Why a subscriber did not get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It was too slow.
    Lag,
    /// It came back too late: the message is not kept any more.
    Retention,
    /// It came back to another numbering.
    Epoch,
    /// It asked for less, or its topic's policy is so: `latest`, `max_hz`, expiry, exclusions.
    PassedOver,
    /// There was no log memory for it.
    NoMemory,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 5] = [Reason::Lag, Reason::Retention, Reason::Epoch, Reason::PassedOver, Reason::NoMemory];

    /// Its name as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Lag => "lag",
            Reason::Retention => "retention",
            Reason::Epoch => "epoch",
            Reason::PassedOver => "passed_over",
            Reason::NoMemory => "no_memory",
        }
    }
}

/// The patterns that are told apart, for all shards. They stay: a configuration that names others adds them, while there is room.
#[derive(Debug, Default)]
pub struct Patterns {
    known: [OnceLock<Box<str>>; PATTERNS_MAX],
}

/// The number of a pattern; [`PATTERNS_MAX`] stands for [`OTHERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternNumber(u8);

impl Default for PatternNumber {
    fn default() -> Self {
        Self(PATTERNS_MAX as u8)
    }
}

impl Patterns {
    /// The number of a pattern, which gets one if it has none and there is room.
    pub fn number(&self, pattern: &str) -> PatternNumber {
        let place = self.known.iter().position(|known| **known.get_or_init(|| pattern.into()) == *pattern);
        PatternNumber(place.unwrap_or(PATTERNS_MAX) as u8)
    }

    /// The pattern with this number.
    fn text(&self, number: usize) -> &str {
        self.known.get(number).and_then(OnceLock::get).map_or(OTHERS, |text| text)
    }
}

/// What one shard has counted.
#[derive(Debug)]
pub struct Drops {
    counts: Box<[[[AtomicU64; Reason::ALL.len()]; 4]]>,
}

impl Default for Drops {
    fn default() -> Self {
        Self { counts: (0..=PATTERNS_MAX).map(|_| Default::default()).collect() }
    }
}

impl Drops {
    /// Counts messages. By one thread alone.
    pub fn note(&self, pattern: PatternNumber, priority: Priority, reason: Reason, messages: u64) {
        let count = &self.counts[usize::from(pattern.0)][priority as usize][reason as usize];
        count.store(count.load(Relaxed) + messages, Relaxed);
    }
}

/// Calls `each` with every number of these shards together that is not 0: pattern, priority, reason.
pub fn each_drop<'a>(
    patterns: &Patterns,
    shards: impl Iterator<Item = &'a Drops> + Clone,
    mut each: impl FnMut(&str, Priority, Reason, u64),
) {
    for number in 0..=PATTERNS_MAX {
        for priority in Priority::ALL {
            for reason in Reason::ALL {
                let count = |drops: &Drops| drops.counts[number][priority as usize][reason as usize].load(Relaxed);
                let sum: u64 = shards.clone().map(count).sum();
                if sum > 0 {
                    each(patterns.text(number), priority, reason, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_keep_their_numbers_and_those_too_many_are_the_others() {
        let patterns = Patterns::default();
        let numbers: Vec<_> = (0..PATTERNS_MAX).map(|n| patterns.number(&format!("p/{n}"))).collect();
        assert_eq!(patterns.number("p/7"), numbers[7]);
        assert_eq!(patterns.number("one too many"), PatternNumber::default());
        assert_eq!(patterns.text(7), "p/7");
        assert_eq!(patterns.text(PATTERNS_MAX), OTHERS);
    }

    #[test]
    fn drops_of_all_shards_are_summed_and_zeros_left_out() {
        let patterns = Patterns::default();
        let (a, b) = (Drops::default(), Drops::default());
        let rover = patterns.number("rover/**");
        a.note(rover, Priority::Low, Reason::Lag, 3);
        b.note(rover, Priority::Low, Reason::Lag, 4);
        b.note(PatternNumber::default(), Priority::High, Reason::NoMemory, 1);
        let mut seen = Vec::new();
        each_drop(&patterns, [&a, &b].into_iter(), |pattern, priority, reason, count| {
            seen.push((pattern.to_owned(), priority, reason, count));
        });
        assert_eq!(
            seen,
            [
                ("rover/**".to_owned(), Priority::Low, Reason::Lag, 7),
                (String::new(), Priority::High, Reason::NoMemory, 1)
            ]
        );
    }
}
