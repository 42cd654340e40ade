//! Job: who comes in, and what each may do: tokens are verified, others get what everybody gets.
//! Knows: the settings below `token`, the engine's question. Must never know: how a signature is verified.

mod door;
mod placement;
mod refusals;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanwire::{AskHost, Config, Engine, Event, Events};

use self::refusals::Refusals;
use crate::clock;
use crate::exit::{Exit, Failure, OrExit};
use crate::signals::StopRequests;

pub use door::{Door, DoorConfig, read_keys, read_text, secret};

/// Events that may wait on each shard.
const EVENTS: usize = 1_024;
/// How often it looks whether the process is to stop, or to read its keys again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
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
    while !stop.is_asked() && engine.failure().is_none() {
        if reload.swap(false, Ordering::AcqRel) {
            match door.reload() {
                Ok(what) => tracing::info!("tokens, anew: {what}"),
                Err(failure) => tracing::error!("the keys stay as they were: {:#}", failure.error),
            }
        }
        if let Some(Event::Authorize { connection, target, headers, .. }) = events.wait(LOOK_EVERY) {
            let (decision, refused) = door.decide(&target, &headers, clock::unix_s());
            if let Some(reason) = refused {
                refusals.note(reason);
            }
            // Whoever has gone meanwhile needs none.
            if let Err(error) = engine.decide(connection, decision) {
                tracing::debug!("no decision: {error}");
            }
        }
        refusals.tell(clock::now());
    }
}
