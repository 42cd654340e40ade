//! Job: an engine for a command: configured from arguments, started, stopped, with what its operator has to read.
//! Knows: the engine's public API, the process's limits. Must never know: which command it is for.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use fanwire::{Config, Engine, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::{Exit, Failure};
use crate::settings::{EngineArgs, option_of};
use crate::stderr;
use crate::units::grouped;

/// The configuration that the arguments ask for.
///
/// # Errors
/// Where a file that they name cannot be read, or is wrong.
pub fn config(args: &EngineArgs, listen: Vec<SocketAddr>) -> Result<Config, Failure> {
    Ok(Config { listen, ..args.config()? })
}

/// Starts an engine: raises the limit of open files, logs the memory sum, refuses what cannot fit.
///
/// # Errors
/// 78 for a configuration that cannot be had here, with every reason on its own line; what the engine says otherwise.
pub fn start(config: Config) -> Result<Engine, Failure> {
    raise_file_limit();
    let engine = Engine::start(config).map_err(|error| Failure { code: error.exit_code(), error: in_words(error) })?;
    engine.plan().to_string().lines().for_each(|line| tracing::info!("{line}"));
    tracing::info!("driver {}, {} shards", engine.driver(), engine.plan().shards);
    // The library says it through tracing too, at WARN: an operator who silenced that still has to know.
    if let Some(notice) = engine.driver_notice()
        && !tracing::enabled!(tracing::Level::WARN)
    {
        stderr::say("WARN", &format!("fanwire: {notice}"));
    }
    Ok(engine)
}

fn in_words(error: StartError) -> anyhow::Error {
    let StartError::Config(errors) = &error else { return anyhow::Error::new(error) };
    let mut text = "this configuration cannot be had here:".to_owned();
    for error in errors {
        let option = option_of(error.field);
        text.push_str(&format!("\n  - {option} {}: {}", error.value, error.problem));
    }
    anyhow::Error::msg(text)
}

/// Says on stdout where the engine can be connected to.
pub fn announce(engine: &Engine) {
    for address in engine.local_addrs() {
        say(&format!("listening on ws://{address}"));
    }
}

/// What became of the first line that could not be printed.
static UNSAID: OnceLock<io::Error> = OnceLock::new();

/// Prints a line on stdout at once. Whoever started the process may have closed it: that is no failure. Whatever else keeps a line
/// from being printed is told by [`unsaid`].
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = UNSAID.set(error);
    }
}

/// The failure of a command whose output is what it was asked for, if some of that could not be printed.
///
/// # Errors
/// 74 in that case.
pub fn unsaid() -> Result<(), Failure> {
    match UNSAID.get() {
        Some(error) => Err(Failure::message(Exit::Io, format!("cannot write to stdout: {error}"))),
        None => Ok(()),
    }
}

/// Stops the engine: nobody is accepted any more, what is queued is sent, everybody is closed with 1001.
pub fn stop(engine: Engine, deadline: Duration) {
    for (shard, counted) in engine.stats().shards.iter().enumerate() {
        tracing::debug!("shard {shard}: {counted:?}");
    }
    let report = engine.shutdown(deadline);
    if report.is_clean {
        tracing::info!("stopped: everything queued was delivered");
    } else {
        tracing::warn!("stopped at the deadline: some subscribers had not taken everything");
    }
}

/// Raises the soft limit of open files to the hard one: a connection may need one.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => {
            tracing::debug!("limit of open files raised to {}", limit.maximum.map_or("unlimited".to_owned(), grouped))
        }
        Err(errno) => tracing::warn!("cannot raise the limit of open files: {errno}"),
    }
}
