//! Job: how the keys behind a URL fare, in numbers: how old the set is that counts, and why it could not be read.
//! Knows: reasons by name. Must never know: keys, who asks.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why a set could not be read: few, for each is a value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The name, the connection, its end; or this process has no thread for it.
    Connection,
    /// Whom this machine does not trust, or who speaks no TLS.
    Tls,
    /// It took too long.
    Timeout,
    /// The answer is not 200.
    Status,
    /// The answer is longer than a set may be.
    TooLarge,
    /// The answer is no set of public keys.
    NotKeys,
}

impl Reason {
    const ALL: [Reason; 6] =
        [Reason::Connection, Reason::Tls, Reason::Timeout, Reason::Status, Reason::TooLarge, Reason::NotKeys];

    const fn name(self) -> &'static str {
        match self {
            Reason::Connection => "connection",
            Reason::Tls => "tls",
            Reason::Timeout => "timeout",
            Reason::Status => "status",
            Reason::TooLarge => "too_large",
            Reason::NotKeys => "not_keys",
        }
    }
}

/// A set that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct NotRead {
    /// Why, in a word.
    pub reason: Reason,
    /// For a person.
    pub text: String,
}

/// See the module's head. Threads share it.
#[derive(Debug, Default)]
pub struct KeyHealth(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// When a good set was read last; before the first one, when it was first asked for. `None`: there is no URL.
    since: Option<Instant>,
    /// By the place in [`Reason::ALL`].
    failures: [u64; Reason::ALL.len()],
    in_a_row: u64,
}

impl KeyHealth {
    /// A set was read, or could not be.
    pub fn note(&self, read: Result<(), Reason>, now: Instant) {
        let mut known = self.known();
        match read {
            Ok(()) => (known.since, known.in_a_row) = (Some(now), 0),
            Err(reason) => {
                known.since.get_or_insert(now);
                known.in_a_row += 1;
                known.failures[reason as usize] += 1;
            }
        }
    }

    /// Keys come from no URL any more, or from another one.
    pub fn begin_anew(&self) {
        let mut known = self.known();
        (known.since, known.in_a_row) = (None, 0);
    }

    /// As OpenMetrics has it. Without a URL there are no samples.
    pub fn write(&self, text: &mut String, now: Instant) {
        let known = self.known();
        let mut family = |name: &str, kind: &str, unit: &str, help: &str| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            if !unit.is_empty() {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            let Some(since) = known.since else { return };
            let _ = match name {
                AGE => writeln!(text, "{name} {:.3}", now.saturating_duration_since(since).as_secs_f64()),
                IN_A_ROW => writeln!(text, "{name} {}", known.in_a_row),
                _ => Reason::ALL.iter().zip(known.failures).try_for_each(|(reason, count)| {
                    writeln!(text, "{name}_total{{reason=\"{}\"}} {count}", reason.name())
                }),
            };
        };
        family(
            AGE,
            "gauge",
            "seconds",
            "Age of the keys of token.jwks_url: since a good set was read, or first asked for.",
        );
        family(FAILURES, "counter", "", "Times that token.jwks_url could not be read, or gave no set of public keys.");
        family(IN_A_ROW, "gauge", "", "Such times since the last good set.");
    }

    /// A text of metrics with these in front of its last line.
    pub fn add_to(&self, mut metrics: String, now: Instant) -> String {
        metrics.truncate(metrics.strip_suffix(END).map_or(metrics.len(), str::len));
        self.write(&mut metrics, now);
        metrics.push_str(END);
        metrics
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last line of each text of metrics.
const END: &str = "# EOF\n";
const AGE: &str = "fanwire_jwks_age_seconds";
const FAILURES: &str = "fanwire_jwks_failures";
const IN_A_ROW: &str = "fanwire_jwks_failures_in_a_row";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn samples(health: &KeyHealth, now: Instant) -> String {
        let mut text = String::new();
        health.write(&mut text, now);
        assert_eq!(text.matches("# TYPE fanwire_jwks_").count(), 3, "{text}");
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn its_age_grows_until_a_good_set_is_read_and_each_failure_is_counted_with_its_reason() {
        let (health, start) = (KeyHealth::default(), crate::clock::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(samples(&health, start), "", "there is no URL");
        health.note(Err(Reason::Status), start);
        health.note(Err(Reason::Timeout), after(5));
        let said = samples(&health, after(15));
        assert!(said.contains("fanwire_jwks_age_seconds 15.000\n"), "since it was first asked for: {said}");
        assert!(said.ends_with("fanwire_jwks_failures_in_a_row 2"), "{said}");
        health.note(Ok(()), after(20));
        health.note(Err(Reason::Status), after(320));
        let said = samples(&health, after(330));
        assert!(said.contains("fanwire_jwks_age_seconds 310.000\n"), "{said}");
        for line in [
            "fanwire_jwks_failures_total{reason=\"status\"} 2",
            "fanwire_jwks_failures_total{reason=\"timeout\"} 1",
            "fanwire_jwks_failures_total{reason=\"connection\"} 0",
            "fanwire_jwks_failures_in_a_row 1",
        ] {
            assert!(said.lines().any(|have| have == line), "{line}: {said}");
        }
        assert_eq!(said.matches("reason=").count(), Reason::ALL.len());
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place, "{}", reason.name());
        }
        health.begin_anew();
        assert_eq!(samples(&health, after(340)), "");
    }
}
