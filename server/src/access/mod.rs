//! Job: who comes in, and what each may do: tokens are verified, others get what everybody gets.
//! Knows: the settings below `token`, the engine's question. Must never know: how a signature is verified.

mod door;
mod live;
mod placement;
mod refusals;

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use fanwire::{AskHost, Config, Engine, Event, Events, SendError};

use self::live::Live;
use self::refusals::Refusals;
use crate::clock;
use crate::signals::StopRequests;

pub use door::{Door, DoorConfig, read_keys, read_text, secret};

/// Events that may wait on each shard.
const EVENTS: usize = 1_024;
/// How often it looks whether the process is to stop, or has an order.
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

/// What the operator wants of who decides.
pub enum Order {
    /// Decide by this from now on, and close those whose key it has no more. Answered with their number.
    Replace { door: Box<Door>, done: SyncSender<usize> },
}

/// Decides on everybody who knocks, until the process is asked to stop or the engine has ended.
pub fn attend(engine: &Engine, mut events: Events, mut door: Door, stop: &StopRequests, orders: &Receiver<Order>) {
    let mut refusals = Refusals::default();
    let mut live = Live::new(engine.config().connections_max);
    while !stop.is_asked() && engine.failure().is_none() {
        while let Ok(order) = orders.try_recv() {
            obey(order, &mut door, &mut live);
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

fn obey(order: Order, door: &mut Door, live: &mut Live) {
    match order {
        Order::Replace { door: new, done } => {
            *door = *new;
            // Whoever took a key away wants its connections gone now.
            let gone = live.end_where("the key of its token is gone", |bearer| !door.has_key(bearer.key));
            let _ = done.send(gone);
        }
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
