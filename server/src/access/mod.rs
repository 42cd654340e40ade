//! Job: who comes in, and what each may do: tokens are verified, others get what everybody gets.
//! Knows: the settings below `token`, the engine's question. Must never know: how a signature is verified.

mod door;
mod live;
mod placement;
mod refusals;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanwire::{AskHost, Config, Engine, Event, Events, SendError};

use self::live::Live;
use self::refusals::Refusals;
use crate::clock;
use crate::exit::{Exit, Failure, OrExit};
use crate::signals::StopRequests;

pub use door::{Door, DoorConfig, read_keys, read_text, secret};

/// Events that may wait on each shard.
const EVENTS: usize = 1_024;
/// How often it looks whether the process is to stop, or to read its keys again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same while connections are to be closed, and the engine has no room for that yet.
const TRY_EVERY: Duration = Duration::from_millis(1);
/// Longest time for a decision, where the handshake has more.
const DECIDE_WITHIN: Duration = Duration::from_secs(5);

/// Has the engine ask on each upgrade.
pub fn configure(config: &mut Config) {
    config.events.capacity = EVENTS;
    config.access.ask_host = Some(AskHost {
        within: DECIDE_WITHIN.min(config.limits.handshake_timeout / 2).max(Duration::from_nanos(1)),
        headers: placement::HEADERS.map(str::to_owned).to_vec(),
    });
}

/// What it takes beside the engine's memory, for a person.
pub fn memory(config: &Config) -> String {
    let mib = Live::bytes(config.connections_max) as f64 / f64::from(1 << 20);
    format!("beside that, at most {mib:.1} MiB: by which key, sub and jti each connection came in")
}

/// Set when the process gets SIGHUP: the keys are to be read again.
///
/// # Errors
/// Where the kernel refuses the handler.
pub fn reload_requests() -> Result<Arc<AtomicBool>, Failure> {
    let asked = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, asked.clone())
        .or_exit(Exit::Software, || "cannot wait for SIGHUP".into())?;
    Ok(asked)
}

/// Decides on everybody who knocks, until the process is asked to stop or the engine has ended.
pub fn attend(engine: &Engine, mut events: Events, mut door: Door, stop: &StopRequests, reload: &AtomicBool) {
    let mut refusals = Refusals::default();
    let mut live = Live::new(engine.config().connections_max);
    while !stop.is_asked() && engine.failure().is_none() {
        if reload.swap(false, Ordering::AcqRel) {
            reload_keys(&mut door, &mut live);
        }
        let patience = if end_some(engine, &mut live) { LOOK_EVERY } else { TRY_EVERY };
        match events.wait(patience) {
            Some(Event::Authorize { connection, target, headers, .. }) => {
                let decided = door.decide(&target, &headers, clock::unix_s());
                if let Some(reason) = decided.refused {
                    refusals.note(reason);
                }
                if let Some(bearer) = decided.bearer {
                    live.admit(connection, bearer);
                }
                // Whoever has gone meanwhile needs none.
                if let Err(error) = engine.decide(connection, decided.decision) {
                    live.close(connection);
                    tracing::debug!("no decision: {error}");
                }
            }
            Some(Event::Opened { connection, .. }) => live.open(connection),
            Some(Event::Closed { connection, .. }) => live.close(connection),
            _ => {}
        }
        refusals.tell(clock::now());
    }
}

/// Reads the keys anew. Who came in by one that is no longer there has to go: whoever took it away wants that now.
fn reload_keys(door: &mut Door, live: &mut Live) {
    match door.reload() {
        Ok(what) => {
            let gone = live.end_where("the key of its token is gone", |bearer| !door.has_key(bearer.key));
            let s = if gone == 1 { "" } else { "s" };
            tracing::info!("tokens, anew: {what}; {gone} connection{s} to close, whose key is gone");
        }
        Err(failure) => tracing::error!("the keys stay as they were: {:#}", failure.error),
    }
}

/// Closes those that are to be closed, as far as the engine takes it; true if it has taken all.
fn end_some(engine: &Engine, live: &mut Live) -> bool {
    while let Some(ending) = live.next_ending() {
        if engine.close(ending.connection, ending.code, ending.reason) == Err(SendError::WouldBlock) {
            return false;
        }
        live.ended();
    }
    true
}
