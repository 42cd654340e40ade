//! Job: who comes in, and what each may do: tokens are verified, others get what everybody gets.
//! Knows: the settings below `token`, the engine's question. Must never know: how a signature is verified.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::Duration;

use fanwire::{AskHost, Config, DecideError, Engine, Event, Events, SendError};
use fanwire_token::{Keys, TOKEN_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::desk::{Desk, Made};
use crate::door::Door;
use crate::error::{AccessError, ErrorKind};
use crate::key_url::Moved;
use crate::live::Live;
use crate::refusals::{Refusals, What};
use crate::revocations::{Meant, Revocations, RevocationsConfig};
use crate::{clock, placement, waiting};

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
    let waiting = mib(waiting::WAITING_MAX * TOKEN_BYTES_MAX);
    format!(
        "beside that, at most {live:.1} MiB: by which key, sub and jti each connection came in; \
         at most {revoked:.1} MiB: revoked tokens; at most {waiting:.1} MiB: tokens whose signature is to be looked at"
    )
}

/// Who decides, for others of the process.
#[derive(Debug)]
pub struct Attendant {
    /// What the operator wants.
    pub orders: Sender<Order>,
    /// Where keys come from now and then.
    pub moved: Sender<Moved>,
}

/// What the operator wants of who decides.
pub enum Order {
    /// Decide by this from now on, and close those whose key it has no more. Answered with their number.
    Replace {
        /// The new one.
        door: Box<Door>,
        /// Where the answer goes.
        done: SyncSender<usize>,
    },
    /// Decide by these keys from now on. Answered as above.
    Keys {
        /// They.
        keys: Keys,
        /// Where the answer goes.
        done: SyncSender<usize>,
    },
    /// Refuse these tokens from now on, and close those who came in by them.
    Revoke {
        /// Which.
        meant: Meant,
        /// Where the answer goes.
        done: SyncSender<Result<Revoked, AccessError>>,
    },
}

/// What a revocation has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Connections that are closed.
    pub closed: usize,
    /// Revocations that there are now.
    pub entries: usize,
    /// They outlive the process.
    pub are_kept: bool,
}

impl Revoked {
    /// All of it for a person.
    pub fn lines(&self) -> Vec<String> {
        let Revoked { closed, entries, are_kept } = self;
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let kept = if *are_kept { "" } else { ", until the server ends: token.revocations_file keeps them" };
        vec![format!("{closed} connection{} closed; {entries} revocation{}{kept}", s(*closed), s(*entries))]
    }
}

/// Events taken before the next signature.
const TAKEN_AT_ONCE: usize = 32;

/// Decides on everybody who knocks, until it is over: also while the engine ends, for some are on the way in still.
pub fn attend(
    engine: &Engine,
    mut events: Events,
    (door, revocations): (Door, Revocations),
    is_over: &AtomicBool,
    orders: &Receiver<Order>,
) {
    let mut refusals = Refusals::default();
    let mut live = Live::new(engine.config().connections_max);
    let mut desk = Desk::new(door, revocations);
    // What the engine had no room to be told. Until it has, nothing else happens here.
    let mut untold = None;
    while !is_over.load(Relaxed) {
        if let Some(made) = untold.take() {
            untold = tell(engine, made, &mut live, &mut refusals);
            if untold.is_some() {
                clock::sleep(TRY_EVERY);
                continue;
            }
        }
        while let Ok(order) = orders.try_recv() {
            obey(order, &mut desk, &mut live);
        }
        let patience = match end_some(engine, &mut live) {
            _ if desk.has_work() => Duration::ZERO,
            true => LOOK_EVERY,
            false => TRY_EVERY,
        };
        let mut event = events.wait(patience);
        for _ in 0..TAKEN_AT_ONCE {
            let Some(heard) = event.take().or_else(|| events.next()) else { break };
            untold = hear(heard, &mut desk, &mut live).and_then(|made| tell(engine, made, &mut live, &mut refusals));
            if untold.is_some() {
                break;
            }
        }
        if untold.is_none()
            && let Some(made) = desk.next(&live, clock::unix_s())
        {
            untold = tell(engine, made, &mut live, &mut refusals);
        }
        refusals.tell(clock::now());
    }
}

/// Notes what has become of a connection, or hears a question: what is decided at once.
fn hear(event: Event, desk: &mut Desk, live: &mut Live) -> Option<Made> {
    match event {
        Event::Opened { connection, .. } => live.open(connection),
        Event::Closed { connection, .. } => live.close(connection),
        question => return desk.hear(question, live, clock::unix_s()),
    }
    None
}

/// Tells the engine what is decided. It comes back where there is no room for it.
fn tell(engine: &Engine, made: Made, live: &mut Live, refusals: &mut Refusals) -> Option<Made> {
    let Made { connection, what, decided } = &made;
    match (engine.decide(*connection, decided.decision.clone()), decided.bearer) {
        (Err(DecideError::Send(SendError::WouldBlock)), _) => return Some(made),
        // Whoever has gone meanwhile needs none.
        (Err(error), _) => tracing::debug!("no decision: {error}"),
        (Ok(()), Some(bearer)) if *what == What::Renewal => live.renew(*connection, bearer),
        (Ok(()), Some(bearer)) => live.admit(*connection, bearer),
        (Ok(()), None) => {}
    }
    if let Some(reason) = decided.refused {
        refusals.note(*what, reason);
    }
    None
}

fn obey(order: Order, desk: &mut Desk, live: &mut Live) {
    let Desk { door, revocations, .. } = desk;
    match order {
        Order::Replace { door: mut new, done } => {
            std::mem::swap(door, &mut new);
            door.take_over(*new);
            let _ = done.send(end_without_key(door, live));
        }
        Order::Keys { keys, done } => {
            door.set_keys(keys);
            let _ = done.send(end_without_key(door, live));
        }
        Order::Revoke { meant, done } => {
            let now = clock::unix_s();
            let revoked = revocations.revoke(meant, now);
            // Also where it cannot be kept: whoever is meant has to go.
            let is_refused = revoked.as_ref().err().is_none_or(|error| error.kind == ErrorKind::NotKept);
            let closed = match is_refused {
                true => live.end_where("its token is revoked", |bearer| revocations.newest_means(bearer)),
                false => 0,
            };
            let (entries, are_kept) = (revocations.len(now), revocations.are_kept());
            let _ = done.send(revoked.map(|()| Revoked { closed, entries, are_kept }));
        }
    }
}

/// Whoever took a key away wants its connections gone now.
fn end_without_key(door: &Door, live: &mut Live) -> usize {
    live.end_where("the key of its token is gone", |bearer| !door.has_key(bearer.key))
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
