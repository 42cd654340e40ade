//! Job: `fanwire serve`: an engine, from its first ready line to its last close frame.
//! Knows: signals, the engine. Must never know: what is published.

use std::process::ExitCode;

use fanwire::settings::Span;

use crate::config::Loaded;
use crate::engine;
use crate::exit::{Exit, OrExit, Outcome};
use crate::signals::StopRequests;

/// Runs the command until the process is asked to stop.
///
/// # Errors
/// As [`engine::start`]; 70 where the engine has ended by itself.
pub fn run(loaded: Loaded) -> Outcome {
    let stop = StopRequests::listen().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let patience = loaded.shutdown_timeout();
    let engine = engine::start_named(loaded.config.clone(), |name| loaded.place_of(name))?;
    engine::announce(&engine);
    engine::wait(&engine, &stop);
    if stop.is_asked() {
        tracing::info!(
            "{}: sending what is queued, {} at most; a second signal ends at once",
            stop.name(),
            Span(patience)
        );
    }
    engine::stop(engine, patience)?;
    Ok(ExitCode::SUCCESS)
}
