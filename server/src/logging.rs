//! Job: log lines on stderr; stdout is for ready lines and payloads.
//! Knows: tracing, what a filter may say. Must never know: what is logged.

use std::fmt::{self, Debug};
use std::io::{self, IsTerminal};

use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::args::LogFormat;
use crate::exit::{Exit, Failure};
use crate::plain;
use crate::stderr::{self, Stderr};

/// What a filter can name without a target.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Where this program's own lines come from: `fanwire`, `fanwire::…`, and the crates beside it, `fanwire_…`.
const OWN: &str = "fanwire";
/// The field with a line's own name, which does not change between versions.
const EVENT: &str = "event";
/// Warnings at start that can be silenced one by one.
const NOTICES: [&str; 2] = ["publish", "origin"];

/// Starts logging. `level` is what the person asked for; without it RUST_LOG holds, then `info`.
///
/// # Errors
/// Where the filter makes no sense: 2 for what the person asked for, 78 for RUST_LOG.
pub fn start(level: Option<&str>, format: LogFormat) -> Result<(), Failure> {
    stderr::set_format(format);
    #[allow(clippy::disallowed_methods, reason = "RUST_LOG is where every program of this kind is told what to log")]
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = match (level, &from_environment) {
        (Some(level), _) => filter("--log", level, true)?,
        (None, Some(text)) => filter("RUST_LOG", text, false)?,
        (None, None) => EnvFilter::new("info"),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr).with_target(false);
    match format {
        LogFormat::Text => {
            lines.compact().with_ansi(io::stderr().is_terminal()).fmt_fields(Fields).init();
        }
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// The fields of a line as text: what others have written into them stays in the line, and moves nobody's cursor. What the line is
/// called (`event`) is for programs: they get JSON.
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, out: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { out, is_first: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    out: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_err() || field.name() == EVENT {
            return;
        }
        let blank = if std::mem::take(&mut self.is_first) { "" } else { " " };
        let text = format!("{value:?}");
        self.result = match field.name() {
            "message" => write!(self.out, "{blank}{}", plain::text(&text)),
            name => write!(self.out, "{blank}{name}={}", plain::text(&text)),
        };
    }
}

/// Whether a text is a filter, of our own lines.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(text: &str) -> Result<(), String> {
    parse(text, true).map(|_| ())
}

/// A filter whose words are all known: what is misspelt would silence everything, or log without end. `is_ours`: nobody else's
/// targets can be meant.
fn filter(source: &str, text: &str, is_ours: bool) -> Result<EnvFilter, Failure> {
    let exit = if is_ours { Exit::Usage } else { Exit::Config };
    parse(text, is_ours).map_err(|what| Failure::message(exit, format!("{source} {text}: {what}")))
}

fn parse(text: &str, is_ours: bool) -> Result<EnvFilter, String> {
    // The filter's own reader cuts levels out by the byte, and would panic within a character.
    if !text.is_ascii() {
        return Err("a filter has ASCII characters alone".into());
    }
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        check(directive, is_ours)?;
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

fn check(directive: &str, is_ours: bool) -> Result<(), String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    // Spans and their fields stand in brackets, and are the filter's own affair.
    let Some((target, level)) = directive.rsplit_once('=').filter(|_| !directive.contains('[')) else {
        return match is_level(directive) || directive.contains('[') {
            true => Ok(()),
            false => Err(format!("`{directive}` is no level: there are {}, and TARGET=LEVEL", LEVELS.join(", "))),
        };
    };
    if !is_level(level) {
        return Err(format!("`{level}` is no level: there are {}", LEVELS.join(", ")));
    }
    let is_own = target.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']))
        || NOTICES.contains(&target);
    match is_ours && !is_own {
        true => Err(format!("nothing here logs as `{target}`: targets are {OWN} and what is below it")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_misspelt_is_refused() {
        for text in
            ["info", "WARN", "off", "warn,fanwire=debug", "fanwire::client=trace", "fanwire_ring=info", "error,"]
        {
            assert!(filter("--log", text, true).is_ok(), "{text}");
        }
        for text in ["inof", "verbose", "7", "fanwire", "fanwire=debgu", "fanwrie=debug", "fanwired=info", "warn,=info"]
        {
            assert_eq!(filter("--log", text, true).unwrap_err().code, Exit::Usage as i32, "{text}");
        }
        assert!(filter("RUST_LOG", "hyper=debug,info", false).is_ok(), "others read it, too");
        for text in ["inof", "hyper=debgu"] {
            assert_eq!(filter("RUST_LOG", text, false).unwrap_err().code, Exit::Config as i32, "{text}");
        }
        for text in [" wt\u{1f600}[", "fanwire[é]=info"] {
            assert!(filter("--log", text, true).is_err() && filter("RUST_LOG", text, false).is_err(), "{text}");
        }
    }
}
