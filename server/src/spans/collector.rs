//! Job: a collector of spans: where it is, and what it answers.
//! Knows: OTLP over HTTP. Must never know: what a span says.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fanwire_access::web;
use ureq::Agent;
use ureq::http::Uri;

/// Time for one request.
const WITHIN: Duration = Duration::from_secs(5);
/// Where a collector takes spans.
const PATH: &str = "/v1/traces";

/// Where spans go: a collector's address, to which `/v1/traces` is added. Neither a user nor a password stands in it, for it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(String);

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CollectorUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("must begin with http:// or https://".into());
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("must have no user and no password in it: it is shown".into());
        }
        if uri.query().is_some() {
            return Err(format!("must have no query: {PATH} is added to it"));
        }
        let base = text.trim_end_matches('/');
        Ok(CollectorUrl(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }))
    }
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// The collector has it.
    Taken,
    /// It will never take it.
    Refused(String),
    /// It may take it later.
    Later(String),
}

/// The way to a collector.
pub struct Collector {
    url: String,
    agent: Agent,
}

impl Collector {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// Why nobody could be, for a person.
    pub fn new(CollectorUrl(url): &CollectorUrl) -> Result<Self, String> {
        Ok(Self { url: url.clone(), agent: web::agent(url, WITHIN)?.build().new_agent() })
    }

    /// Sends one request.
    pub fn send(&self, body: &[u8]) -> Sent {
        match self.agent.post(&self.url).header("content-type", "application/json").send(body) {
            Ok(answer) => judge(answer.status().as_u16()),
            Err(error) => Sent::Later(format!("{}: {error}", self.url)),
        }
    }
}

/// As OTLP has it: these may be tried again, all other refusals are for ever.
fn judge(status: u16) -> Sent {
    match status {
        200..300 => Sent::Taken,
        429 | 502..=504 => Sent::Later(format!("the collector's answer is HTTP {status}")),
        _ => Sent::Refused(format!("HTTP {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_with_or_without_the_path() {
        for (text, url) in [
            ("http://localhost:4318", Ok("http://localhost:4318/v1/traces")),
            ("https://otel.example/", Ok("https://otel.example/v1/traces")),
            ("http://10.0.0.1:4318/v1/traces", Ok("http://10.0.0.1:4318/v1/traces")),
            ("http://proxy/otel", Ok("http://proxy/otel/v1/traces")),
            ("localhost:4318", Err("http://")),
            ("ftp://a", Err("http://")),
            ("http://u:p@a", Err("password")),
            ("http://a/?x=1", Err("query")),
            ("", Err("URL")),
        ] {
            match (text.parse::<CollectorUrl>(), url) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected),
                (Err(problem), Err(word)) => assert!(problem.contains(word), "{text}: {problem}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_may_be_tried_again_is_kept() {
        assert_eq!((judge(200), judge(202)), (Sent::Taken, Sent::Taken));
        for (status, is_later) in
            [(429, true), (502, true), (503, true), (504, true), (400, false), (404, false), (500, false)]
        {
            assert_eq!(matches!(judge(status), Sent::Later(_)), is_later, "{status}");
        }
    }
}
