//! Job: what a subscriber sees of a stream, as numbers: rates, totals, ages, gaps.
//! Knows: counting. Must never know: clocks (time is an argument), where lines are printed.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::units::{bytes_for_people, grouped};

/// Ages kept per line; at higher rates a sample is enough.
const AGES_MAX: usize = 1 << 16;

/// Counts of one stretch of time.
#[derive(Debug, Default)]
struct Stretch {
    messages: u64,
    bytes: u64,
    gaps: u64,
    lost: u64,
    ages_us: Vec<u32>,
}

/// The counter.
#[derive(Debug)]
pub struct Stats {
    start: Instant,
    since: Instant,
    now: Stretch,
    messages: u64,
    bytes: u64,
    gaps: u64,
    lost: u64,
    age_us_max: u32,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Stats {
    /// Nothing counted yet.
    pub fn new(now: Instant) -> Self {
        Stats {
            start: now,
            since: now,
            now: Stretch::default(),
            messages: 0,
            bytes: 0,
            gaps: 0,
            lost: 0,
            age_us_max: 0,
            first: None,
            last: None,
        }
    }

    /// Messages so far.
    pub fn messages(&self) -> u64 {
        self.messages + self.now.messages
    }

    /// Messages lost so far, as gaps say.
    #[cfg(feature = "mcap")]
    pub fn lost(&self) -> u64 {
        self.lost + self.now.lost
    }

    /// Counts a message of `bytes`, published `age_us` ago (if the two clocks agree).
    pub fn on_message(&mut self, bytes: usize, age_us: Option<i64>) {
        self.now.messages += 1;
        self.now.bytes += bytes as u64;
        if let Some(age) = age_us {
            let age = u32::try_from(age.max(0)).unwrap_or(u32::MAX);
            self.age_us_max = self.age_us_max.max(age);
            if self.now.ages_us.len() < AGES_MAX {
                self.now.ages_us.push(age);
            }
        }
    }

    /// Counts a gap of `lost` messages.
    pub fn on_gap(&mut self, lost: u64) {
        self.now.gaps += 1;
        self.now.lost += lost;
    }

    /// When the next line is due.
    pub fn next_line(&self) -> Instant {
        self.since + Duration::from_secs(1)
    }

    /// The line for the time since the last one.
    pub fn line(&mut self, now: Instant) -> String {
        let seconds = now.saturating_duration_since(self.since).as_secs_f64().max(1e-6);
        let stretch = &mut self.now;
        let mut line = format!(
            "{:>9} msg/s  {:>10}/s",
            grouped((stretch.messages as f64 / seconds).round() as u64),
            bytes_for_people(stretch.bytes as f64 / seconds)
        );
        if !stretch.ages_us.is_empty() {
            let (p50, p99) = (quantile(&mut stretch.ages_us, 0.50), quantile(&mut stretch.ages_us, 0.99));
            let _ = write!(line, "  age p50 {} p99 {}", milliseconds(p50), milliseconds(p99));
        }
        if stretch.gaps > 0 {
            let _ = write!(line, "  lost {} in {} gaps", grouped(stretch.lost), stretch.gaps);
        }
        self.take_over(now);
        let _ = write!(line, "  total {}", grouped(self.messages));
        line
    }

    /// The summary.
    pub fn summary(&mut self, now: Instant) -> String {
        self.take_over(now);
        let busy = match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        };
        let mut line = format!("{} messages, {}", grouped(self.messages), bytes_for_people(self.bytes as f64));
        if self.messages > 0 && busy > Duration::from_millis(1) {
            let _ = write!(
                line,
                " in {:.1} s ({} msg/s)",
                busy.as_secs_f64(),
                grouped((self.messages as f64 / busy.as_secs_f64()) as u64)
            );
        }
        if self.age_us_max > 0 {
            let _ = write!(line, ", oldest {}", milliseconds(self.age_us_max));
        }
        let _ = write!(line, "; lost {} in {} gaps", grouped(self.lost), grouped(self.gaps));
        line
    }

    fn take_over(&mut self, now: Instant) {
        if self.now.messages > 0 {
            self.first.get_or_insert(self.since.max(self.start));
            self.last = Some(now);
        }
        self.messages += self.now.messages;
        self.bytes += self.now.bytes;
        self.gaps += self.now.gaps;
        self.lost += self.now.lost;
        let mut ages_us = std::mem::take(&mut self.now.ages_us);
        ages_us.clear();
        self.now = Stretch { ages_us, ..Stretch::default() };
        self.since = now;
    }
}

fn quantile(values: &mut [u32], part: f64) -> u32 {
    let at = ((values.len() - 1) as f64 * part).round() as usize;
    *values.select_nth_unstable(at).1
}

fn milliseconds(us: u32) -> String {
    format!("{:.2} ms", f64::from(us) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_the_last_second_and_the_summary_everything() {
        let t0 = crate::clock::now();
        let mut stats = Stats::new(t0);
        for n in 0..1_500 {
            stats.on_message(100, Some(n));
        }
        stats.on_gap(40);
        stats.on_gap(2);
        assert_eq!(stats.messages(), 1_500);
        let line = stats.line(t0 + Duration::from_secs(1));
        assert_eq!(line, "    1,500 msg/s    150.0 kB/s  age p50 0.75 ms p99 1.48 ms  lost 42 in 2 gaps  total 1,500");
        stats.on_message(0, Some(-5));
        let line = stats.line(t0 + Duration::from_secs(2));
        assert_eq!(line, "        1 msg/s         0 B/s  age p50 0.00 ms p99 0.00 ms  total 1,501");
        assert_eq!(
            stats.summary(t0 + Duration::from_secs(3)),
            "1,501 messages, 150.0 kB in 2.0 s (750 msg/s), oldest 1.50 ms; lost 42 in 2 gaps"
        );
    }

    #[test]
    fn nothing_at_all_is_a_summary_too() {
        let t0 = crate::clock::now();
        assert_eq!(Stats::new(t0).summary(t0), "0 messages, 0 B; lost 0 in 0 gaps");
    }
}
