//! Job: `fanwire serve`: an engine, from its first ready line to its last close frame.
//! Knows: signals, the engine. Must never know: what is published.

use std::process::ExitCode;
use std::thread;

use fanwire::settings::Span;

use crate::access::{self, Door};
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
    loaded.check_tokens()?;
    let patience = loaded.shutdown_timeout();
    let (mut config, door) = (loaded.config.clone(), loaded.door());
    let door = if door.is_wanted() { Some((Door::open(door)?, access::reload_requests()?)) } else { None };
    if door.is_some() {
        access::configure(&mut config);
        if loaded.says("access.publish") {
            tracing::warn!("{}: means nothing here, for tokens say who may publish", loaded.place_of("access.publish"));
        }
    }
    let mut engine = engine::start_named(config, |name| loaded.place_of(name))?;
    if door.is_some() {
        tracing::info!("{}", access::memory(engine.config()));
    }
    let events = engine.events();
    engine::announce(&engine);
    thread::scope(|scope| {
        if let (Some((door, reload)), Some(events)) = (door, events) {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || access::attend(engine, events, door, stop, &reload));
        }
        engine::wait(&engine, &stop);
    });
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
