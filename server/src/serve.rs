//! Job: `fanwire serve`: an engine, from its first ready line to its last close frame.
//! Knows: signals, the engine. Must never know: what is published.

use std::process::ExitCode;

use crate::args::ServeArgs;
use crate::engine;
use crate::exit::{Exit, OrExit, Outcome};
use crate::signals::StopRequests;

/// Runs the command until the process is asked to stop.
///
/// # Errors
/// As [`engine::start`]; 70 where the engine has ended by itself.
pub fn run(args: &ServeArgs) -> Outcome {
    let stop = StopRequests::listen().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let engine = engine::start(engine::config(&args.engine, args.listen.clone())?)?;
    engine::announce(&engine);
    engine::wait(&engine, &stop);
    if stop.is_asked() {
        tracing::info!(
            "{}: sending what is queued, {} at most; a second signal ends at once",
            stop.name(),
            args.shutdown_timeout
        );
    }
    engine::stop(engine, args.shutdown_timeout.0)?;
    Ok(ExitCode::SUCCESS)
}
