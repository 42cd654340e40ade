//! Job: what an operator is told of refused requests: how many for which reason, and not more than a line in ten seconds, whatever
//! strangers do.
//! Knows: reasons by name. Must never know: tokens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// To be let in.
    Upgrade,
    /// To stay, by another token.
    Renewal,
}

/// Refusals that were not told yet.
#[derive(Debug, Default)]
pub struct Refusals {
    upgrades: BTreeMap<&'static str, u64>,
    renewals: BTreeMap<&'static str, u64>,
    told: Option<Instant>,
}

impl Refusals {
    /// Counts one.
    pub fn note(&mut self, what: What, reason: &'static str) {
        let by_reason = match what {
            What::Upgrade => &mut self.upgrades,
            What::Renewal => &mut self.renewals,
        };
        *by_reason.entry(reason).or_default() += 1;
    }

    /// Says what there is to say, if the last line is long enough ago.
    pub fn tell(&mut self, now: Instant) {
        if let Some(line) = self.line(now) {
            tracing::warn!(event = "access.refused", "{line}");
        }
    }

    fn line(&mut self, now: Instant) -> Option<String> {
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= EVERY);
        if !is_due || self.upgrades.is_empty() && self.renewals.is_empty() {
            return None;
        }
        self.told = Some(now);
        let upgrades = counted(std::mem::take(&mut self.upgrades), "upgrade request", "upgrade requests");
        let renewals =
            counted(std::mem::take(&mut self.renewals), "token of an open connection", "tokens of open connections");
        let told: Vec<String> = upgrades.into_iter().chain(renewals).collect();
        Some(format!("refused {}", told.join("; ")))
    }
}

/// So many for these reasons; `None` where there is none.
fn counted(reasons: BTreeMap<&'static str, u64>, one: &str, more: &str) -> Option<String> {
    let count: u64 = reasons.values().sum();
    let parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    (count > 0).then(|| format!("{count} {}: {}", if count == 1 { one } else { more }, parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_next_ones_together() {
        let mut refusals = Refusals::default();
        let start = crate::clock::now();
        assert_eq!(refusals.line(start), None);
        refusals.note(What::Upgrade, "expired");
        assert_eq!(refusals.line(start).as_deref(), Some("refused 1 upgrade request: expired 1"));
        (0..1_000).for_each(|_| refusals.note(What::Upgrade, "expired"));
        refusals.note(What::Upgrade, "signature");
        assert_eq!(refusals.line(start + EVERY - Duration::from_nanos(1)), None);
        let line = refusals.line(start + EVERY);
        assert_eq!(line.as_deref(), Some("refused 1001 upgrade requests: expired 1000, signature 1"));
        refusals.note(What::Renewal, "expired");
        let line = refusals.line(start + 2 * EVERY);
        assert_eq!(line.as_deref(), Some("refused 1 token of an open connection: expired 1"));
        refusals.note(What::Upgrade, "expired");
        (0..2).for_each(|_| refusals.note(What::Renewal, "expired"));
        let line = refusals.line(start + 3 * EVERY);
        let expected = "refused 1 upgrade request: expired 1; 2 tokens of open connections: expired 2";
        assert_eq!(line.as_deref(), Some(expected));
        assert_eq!(refusals.line(start + 9 * EVERY), None);
    }
}
