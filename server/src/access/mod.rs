//! Job: who comes in, and what each may do: tokens are verified, others get what everybody gets.
//! Knows: the settings below `token`, the engine's question. Must never know: how a signature is verified.

mod door;
mod live;
mod placement;
mod refusals;
mod revocations;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use fanwire::{AskHost, Config, DecideError, Engine, Event, Events, SendError};

use self::door::Decided;
use self::live::Live;
use self::refusals::{Refusals, What};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::operate::Revoked;

pub use door::{Door, DoorConfig, read_keys, read_text, secret};
pub use revocations::{Meant, NAME_BYTES_MAX, Revocations, RevocationsConfig};

/// Events that may wait on each shard.
const EVENTS: usize = 1_024;
/// How often it looks whether it is over, or has an order.
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
pub fn memory(config: &Config, revocations: &RevocationsConfig) -> String {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let (live, revoked) = (mib(Live::bytes(config.connections_max)), mib(Revocations::bytes(revocations)));
    format!(
        "beside that, at most {live:.1} MiB: by which key, sub and jti each connection came in; \
         at most {revoked:.1} MiB: revoked tokens"
    )
}

/// What the operator wants of who decides.
pub enum Order {
    /// Decide by this from now on, and close those whose key it has no more. Answered with their number.
    Replace { door: Box<Door>, done: SyncSender<usize> },
    /// Refuse these tokens from now on, and close those who came in by them.
    Revoke { meant: Meant, done: SyncSender<Result<Revoked, Failure>> },
}

/// Decides on everybody who knocks, until it is over: also while the engine ends, for some are on the way in still.
pub fn attend(
    engine: &Engine,
    mut events: Events,
    (mut door, mut revocations): (Door, Revocations),
    is_over: &AtomicBool,
    orders: &Receiver<Order>,
) {
    let mut refusals = Refusals::default();
    let mut live = Live::new(engine.config().connections_max);
    // What the engine had no room to be told: it is decided once more, for orders may have come meanwhile.
    let mut again = None;
    while !is_over.load(Relaxed) {
        while let Ok(order) = orders.try_recv() {
            obey(order, &mut door, &mut revocations, &mut live);
        }
        let patience = if end_some(engine, &mut live) { LOOK_EVERY } else { TRY_EVERY };
        let event = match again.take() {
            Some(event) => Some(event),
            None => events.wait(patience),
        };
        if let Some(event) = event {
            again = hear(engine, event, &door, &revocations, &mut live, &mut refusals);
        }
        if again.is_some() {
            std::thread::sleep(TRY_EVERY);
        }
        refusals.tell(clock::now());
    }
}

/// Decides, or notes what has become of a connection. The event comes back where the engine has no room for the decision.
fn hear(
    engine: &Engine,
    event: Event,
    door: &Door,
    revocations: &Revocations,
    live: &mut Live,
    refusals: &mut Refusals,
) -> Option<Event> {
    let (connection, decided, what) = match &event {
        Event::Authorize { connection, target, headers, .. } => {
            (*connection, door.decide(target, headers, clock::unix_s()), What::Upgrade)
        }
        Event::Reauthorize { connection, token } => {
            (*connection, door.renew(token, live.bearer(*connection), clock::unix_s()), What::Renewal)
        }
        Event::Opened { connection, .. } => {
            live.open(*connection);
            return None;
        }
        Event::Closed { connection, .. } => {
            live.close(*connection);
            return None;
        }
        _ => return None,
    };
    let Decided { decision, refused, bearer } = decided.unless_revoked(revocations);
    match (engine.decide(connection, decision), bearer) {
        (Err(DecideError::Send(SendError::WouldBlock)), _) => return Some(event),
        // Whoever has gone meanwhile needs none.
        (Err(error), _) => tracing::debug!("no decision: {error}"),
        (Ok(()), Some(bearer)) if what == What::Renewal => live.renew(connection, bearer),
        (Ok(()), Some(bearer)) => live.admit(connection, bearer),
        (Ok(()), None) => {}
    }
    if let Some(reason) = refused {
        refusals.note(what, reason);
    }
    None
}

fn obey(order: Order, door: &mut Door, revocations: &mut Revocations, live: &mut Live) {
    match order {
        Order::Replace { door: new, done } => {
            *door = *new;
            // Whoever took a key away wants its connections gone now.
            let gone = live.end_where("the key of its token is gone", |bearer| !door.has_key(bearer.key));
            let _ = done.send(gone);
        }
        Order::Revoke { meant, done } => {
            let now = clock::unix_s();
            let revoked = revocations.revoke(meant, now);
            // Also where it cannot be kept: whoever is meant has to go.
            let is_refused = revoked.as_ref().err().is_none_or(|failure| failure.code == Exit::Io as i32);
            let closed = match is_refused {
                true => live.end_where("its token is revoked", |bearer| revocations.newest_means(bearer)),
                false => 0,
            };
            let (entries, are_kept) = (revocations.len(now), revocations.are_kept());
            let _ = done.send(revoked.map(|()| Revoked { closed, entries, are_kept }));
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
