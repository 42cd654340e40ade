//! Job: what an operator is told of clients that ran into a limit: how many into which, and not more than a line in ten seconds,
//! whatever strangers do.
//! Knows: an engine's counters. Must never know: clients.

use std::time::{Duration, Instant};

use fanwire::ShardStats;

/// Between two lines.
pub const EVERY: Duration = Duration::from_secs(10);

/// How each number is told.
type Told = (fn(&ShardStats) -> u64, &'static str);

static TOLD: &[Told] = &[
    (|stats| stats.refused, "connections refused"),
    (|stats| stats.refused_too_often, "of them too often"),
    (|stats| stats.refused_failing, "of them after failures"),
    (|stats| stats.addresses_failing, "addresses that failed too often"),
    (|stats| stats.refused_for_subject, "times more than a subject may have"),
    (|stats| stats.input_paused, "times a sender slowed down"),
    (|stats| stats.too_fast, "senders closed"),
];

/// What was told, and when.
#[derive(Debug)]
pub struct Strangers {
    before: ShardStats,
    told: Option<Instant>,
}

impl Strangers {
    /// What has been counted so far is not told.
    pub fn new(counted: ShardStats) -> Self {
        Self { before: counted, told: None }
    }

    /// Says what has come since the last line, if there is anything and that is long enough ago.
    pub fn tell(&mut self, counted: &ShardStats, now: Instant) {
        if let Some(line) = self.line(counted, now) {
            tracing::warn!(target: "limits", event = "limits.reached", "{line}");
        }
    }

    fn line(&mut self, counted: &ShardStats, now: Instant) -> Option<String> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < EVERY) {
            return None;
        }
        let since = |count: fn(&ShardStats) -> u64| count(counted).saturating_sub(count(&self.before));
        let new = TOLD.iter().map(|(count, what)| (since(*count), what)).filter(|(count, _)| *count > 0);
        let parts: Vec<String> = new.map(|(count, what)| format!("{count} {what}")).collect();
        if parts.is_empty() {
            return None;
        }
        self.before = *counted;
        self.told = Some(now);
        Some(format!("limits: {}", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(refused: u64, too_often: u64, paused: u64) -> ShardStats {
        let mut stats = ShardStats::default();
        (stats.refused, stats.refused_too_often, stats.input_paused) = (refused, too_often, paused);
        stats
    }

    #[test]
    fn a_thousand_strangers_are_a_line_and_nobody_is_none() {
        let start = crate::clock::now();
        let mut strangers = Strangers::new(counted(5, 0, 0));
        assert_eq!(strangers.line(&counted(5, 0, 0), start), None);
        let line = strangers.line(&counted(6, 1, 0), start);
        assert_eq!(line.as_deref(), Some("limits: 1 connections refused, 1 of them too often"));
        assert_eq!(strangers.line(&counted(900, 1, 7), start + EVERY - Duration::from_nanos(1)), None);
        let line = strangers.line(&counted(1_006, 1, 7), start + EVERY);
        assert_eq!(line.as_deref(), Some("limits: 1000 connections refused, 7 times a sender slowed down"));
        assert_eq!(strangers.line(&counted(1_006, 1, 7), start + 2 * EVERY), None);
    }
}
