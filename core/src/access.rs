//! What a connection may do, and how the host decides it before the upgrade.

use std::time::Duration;

use crate::proto::topic::Pattern;
use crate::telemetry::is_sys;

/// Patterns that one list of [`Grants`] may have.
pub const GRANT_PATTERNS_MAX: usize = 256;
/// Longest [`Grants::subject`], in bytes.
pub const SUBJECT_BYTES_MAX: usize = 255;

/// What an observer hears. A wildcard that comes first matches nothing that begins with `$`.
const OBSERVED: [&str; 3] = ["**", "$sys/**", "$benchmark/**"];

/// Topics that something is allowed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// None.
    Nothing,
    /// All but those of `$sys` and below it, which have to be named.
    Everything,
    /// Those that one of these patterns matches; at most [`GRANT_PATTERNS_MAX`].
    Only(Vec<Pattern>),
}

/// No pattern: nothing.
impl From<Vec<Pattern>> for Allowed {
    fn from(patterns: Vec<Pattern>) -> Self {
        if patterns.is_empty() { Allowed::Nothing } else { Allowed::Only(patterns) }
    }
}

impl Allowed {
    /// Whether all topics that `wanted` matches are among them. More than one pattern together never cover what none does alone.
    pub fn covers(&self, wanted: &Pattern) -> bool {
        match self {
            Allowed::Nothing => false,
            Allowed::Everything => !is_sys(wanted.as_str()),
            Allowed::Only(patterns) => patterns.iter().any(|granted| granted.covers(wanted)),
        }
    }

    /// Whether a topic of this name is among them.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Allowed::Nothing => false,
            Allowed::Everything => !is_sys(name),
            Allowed::Only(patterns) => patterns.iter().any(|granted| granted.matches(name)),
        }
    }

    /// Patterns to look through.
    pub fn patterns(&self) -> usize {
        if let Allowed::Only(patterns) = self { patterns.len() } else { 0 }
    }
}

/// What a connection may do, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Topics that it may subscribe to. A pattern has to be covered by one that is granted; else it is refused with `not_allowed`.
    pub subscribe: Allowed,
    /// Topics that it may publish on.
    pub publish: Allowed,
    /// After so long from the decision on, the connection is closed with 4401. `None`: never.
    pub lifetime: Option<Duration>,
    /// Who it is, as its token or the host's session says; at most [`SUBJECT_BYTES_MAX`]. The limits for each subject
    /// count by it. `None`: nobody in particular, and not counted.
    pub subject: Option<String>,
}

impl Grants {
    /// What an observer may do: hear everything, what the engine says of itself included, and say nothing.
    pub(crate) fn of_observer() -> Self {
        let patterns = OBSERVED.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        Grants { subscribe: Allowed::Only(patterns), publish: Allowed::Nothing, lifetime: None, subject: None }
    }
}

/// The host's decision on an upgrade request: see [`crate::Event::Authorize`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may come in.
    Allow(Grants),
    /// 401: it has not said who it is, or not well enough.
    Unauthorized,
    /// 403: it may not.
    Forbidden,
    /// 503: that cannot be told now.
    Unavailable,
}

impl Decision {
    /// The length of its longest list of patterns.
    pub fn patterns(&self) -> usize {
        let Decision::Allow(grants) = self else { return 0 };
        grants.subscribe.patterns().max(grants.publish.patterns())
    }

    /// Bytes of the subject's name.
    pub fn subject_bytes(&self) -> usize {
        let Decision::Allow(Grants { subject: Some(subject), .. }) = self else { return 0 };
        subject.len()
    }
}

/// How the host is asked before each upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskHost {
    /// Time for the decision; then the client gets 503. Above 0 and below [`crate::LimitsConfig::handshake_timeout`].
    pub within: Duration,
    /// Names of the request's headers that the host is told, such as `cookie`; at most 16.
    pub headers: Vec<String>,
}

impl AskHost {
    /// The question that two settings make together: none where neither says something.
    pub fn of(within: Duration, headers: Vec<String>) -> Option<Self> {
        (!within.is_zero() || !headers.is_empty()).then_some(Self { within, headers })
    }
}

/// Headers that [`AskHost`] may name.
pub const ASKED_HEADERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn only(patterns: &[&str]) -> Allowed {
        Allowed::Only(patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect())
    }

    #[test]
    fn a_pattern_has_to_be_covered_by_one_that_is_granted() {
        let allowed = only(&["rover/*/imu", "log/**", "chat"]);
        for (wanted, expected) in [
            ("rover/1/imu", true),
            ("rover/*/imu", true),
            ("rover/**", false),
            ("log/a", true),
            ("log/*", true),
            ("log/**", true),
            ("log", false),
            ("chat", true),
            ("chat/a", false),
            ("**", false),
            ("$sys/stats", false),
        ] {
            let pattern = Pattern::parse(wanted).expect("a pattern");
            assert_eq!(allowed.covers(&pattern), expected, "{wanted}");
            assert_eq!(pattern.is_literal() && allowed.has(wanted), pattern.is_literal() && expected, "{wanted}");
            assert_eq!(Allowed::Everything.covers(&pattern), !is_sys(wanted), "{wanted}");
            assert!(!Allowed::Nothing.covers(&pattern));
        }
        assert!(!only(&["**"]).has("$sys/stats") && only(&["$sys/stats"]).has("$sys/stats"));
    }

    #[test]
    fn an_observer_hears_everything_and_says_nothing() {
        let grants = Grants::of_observer();
        assert_eq!(grants.subscribe.patterns(), OBSERVED.len());
        for name in ["a", "rover/1/imu", "$sys/clients", "$sys/gaps", "$benchmark/self"] {
            let pattern = Pattern::parse(name).expect("a name");
            assert!(
                grants.subscribe.has(name) && grants.subscribe.covers(&pattern) && !grants.publish.has(name),
                "{name}"
            );
        }
        assert!(grants.subscribe.covers(&Pattern::parse("**").expect("a pattern")));
    }

    #[test]
    fn the_longest_list_counts() {
        let (subscribe, publish) = (only(&["a"; 3]), only(&["a"; 5]));
        assert_eq!(Decision::Allow(Grants { subscribe, publish, lifetime: None, subject: None }).patterns(), 5);
        assert_eq!(Decision::Forbidden.patterns(), 0);
    }
}
