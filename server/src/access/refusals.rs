//! Job: what an operator is told of refused requests: how many for which reason, and not more than a line in ten seconds, whatever
//! strangers do.
//! Knows: reasons by name. Must never know: tokens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Refusals that were not told yet.
#[derive(Debug, Default)]
pub struct Refusals {
    by_reason: BTreeMap<&'static str, u64>,
    told: Option<Instant>,
}

impl Refusals {
    /// Counts one.
    pub fn note(&mut self, reason: &'static str) {
        *self.by_reason.entry(reason).or_default() += 1;
    }

    /// Says what there is to say, if the last line is long enough ago.
    pub fn tell(&mut self, now: Instant) {
        if let Some(line) = self.line(now) {
            tracing::warn!(event = "access.refused", "{line}");
        }
    }

    fn line(&mut self, now: Instant) -> Option<String> {
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= EVERY);
        if self.by_reason.is_empty() || !is_due {
            return None;
        }
        self.told = Some(now);
        let reasons = std::mem::take(&mut self.by_reason);
        let count: u64 = reasons.values().sum();
        let parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        Some(format!("refused {count} upgrade request{}: {}", if count == 1 { "" } else { "s" }, parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_next_ones_together() {
        let mut refusals = Refusals::default();
        let start = crate::clock::now();
        assert_eq!(refusals.line(start), None);
        refusals.note("expired");
        assert_eq!(refusals.line(start).as_deref(), Some("refused 1 upgrade request: expired 1"));
        (0..1_000).for_each(|_| refusals.note("expired"));
        refusals.note("signature");
        assert_eq!(refusals.line(start + EVERY - Duration::from_nanos(1)), None);
        let line = refusals.line(start + EVERY);
        assert_eq!(line.as_deref(), Some("refused 1001 upgrade requests: expired 1000, signature 1"));
        assert_eq!(refusals.line(start + 3 * EVERY), None);
    }
}
