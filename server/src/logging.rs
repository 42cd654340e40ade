//! Job: log lines on stderr; stdout is for ready lines and payloads.
//! Knows: tracing. Must never know: what is logged.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;
use crate::console::Log;
use crate::exit::{Exit, Failure};

/// Starts logging. `level` is what the person asked for; without it RUST_LOG holds, then `info`.
///
/// # Errors
/// Where the filter makes no sense.
pub fn start(level: Option<&str>, format: LogFormat) -> Result<(), Failure> {
    let from_environment = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = match level {
        Some(level) => EnvFilter::try_new(level)
            .map_err(|error| Failure::message(Exit::Config, format!("--log {level}: {error}")))?,
        None => from_environment(),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Log)
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => lines.compact().with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
