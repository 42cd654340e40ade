//! Job: who comes in, and what each may do: tokens are verified, others get what everybody gets.
//! Knows: the settings below `token`, the engine's question. Must never know: how a signature is verified.

use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanwire::{AskHost, Config, DecideError, Decider, Event, Events, SendError};
use fanwire_token::{Keys, TOKEN_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::desk::{Desk, Made};
use crate::door::Door;
use crate::error::{AccessError, ErrorKind};
use crate::key_url::Moved;
use crate::live::Live;
use crate::placement::Carried;
use crate::refusals::{Refusals, What};
use crate::relay::Relay;
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

/// What is the host's affair, where a program decides for its own host.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Where it hears of it; `None`: it wants to hear of nothing.
    relay: Option<Arc<Relay>>,
    /// What it wants to be asked about those who bring no token; `None`: it is not asked.
    asks: Arc<Mutex<Option<AskHost>>>,
}

impl Beside {
    /// A host that hears of things there.
    pub fn new(relay: Option<Arc<Relay>>, asks: Option<AskHost>) -> Self {
        Beside { relay, asks: Arc::new(Mutex::new(asks)) }
    }

    /// It wants to be asked so from now on.
    pub fn ask(&self, asks: Option<AskHost>) {
        *self.asks.lock().unwrap_or_else(PoisonError::into_inner) = asks;
    }

    /// Whether the host is asked this, not the door.
    fn is_asked(&self, event: &Event, live: &Live) -> bool {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner).is_some()
            && match event {
                Event::Authorize { target, headers, .. } => placement::find(target, headers) == Carried::Nothing,
                Event::Reauthorize { connection, .. } => live.bearer(*connection).is_none(),
                _ => false,
            }
    }

    /// Leaves of a request's headers those that the host has asked for.
    fn choose_headers(&self, event: &mut Event) {
        if let (Event::Authorize { headers, .. }, Some(asks)) =
            (event, self.asks.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
        {
            headers.retain(|(name, _)| asks.headers.iter().any(|asked| asked.eq_ignore_ascii_case(name)));
        }
    }

    /// Tells it. Comes back where there is no room for it.
    fn give(&self, mut event: Event) -> Option<Event> {
        self.choose_headers(&mut event);
        self.relay.as_ref().and_then(|relay| relay.give(event))
    }
}

/// However it ends: the host is not to wait for more.
struct Finish<'a>(Option<&'a Beside>);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if let Some(relay) = self.0.and_then(|beside| beside.relay.as_ref()) {
            relay.finish();
        }
    }
}

/// What an event comes to.
enum Heard {
    /// A question is decided.
    Made(Made),
    /// It is for the host.
    Hosts(Event),
    /// Nothing, or not yet.
    Nothing,
}

/// Decides on everybody who knocks, until it is over: also while the engine ends, for some are on the way in still. Beside a host, it
/// is over too when the engine has ended, and the host has been given everything.
pub fn attend(
    decider: &Decider,
    mut events: Events,
    (door, revocations): (Door, Revocations),
    connections_max: u32,
    is_over: &dyn Fn() -> bool,
    orders: &Receiver<Order>,
    beside: Option<&Beside>,
) {
    let _finish = Finish(beside);
    let mut refusals = Refusals::default();
    let mut live = Live::new(connections_max);
    let mut desk = Desk::new(door, revocations);
    // What the engine had no room to be told. Until it has, nothing else happens here.
    let mut untold = None;
    // What the host had no room for. Until it has, nothing is heard: so the engine lets nobody in whom the host does not hear of.
    let mut unheard = None;
    while !is_over() {
        if let Some(made) = untold.take() {
            untold = tell(decider, made, &mut live, &mut refusals);
            if untold.is_some() {
                clock::sleep(TRY_EVERY);
                continue;
            }
        }
        while let Ok(order) = orders.try_recv() {
            obey(order, &mut desk, &mut live);
        }
        let has_ended = beside.is_some() && decider.has_ended();
        let is_told = end_some(decider, &mut live);
        unheard = unheard.and_then(|event| beside.and_then(|beside| beside.give(event)));
        let patience = match is_told && unheard.is_none() {
            _ if desk.has_work() || has_ended && unheard.is_none() => Duration::ZERO,
            true => LOOK_EVERY,
            false => TRY_EVERY,
        };
        let is_quiet = match unheard {
            None => {
                let mut event = events.wait(patience);
                let is_quiet = event.is_none();
                for _ in 0..TAKEN_AT_ONCE {
                    let Some(heard) = event.take().or_else(|| events.next()) else { break };
                    match hear(heard, &mut desk, &mut live, beside) {
                        Heard::Made(made) => untold = tell(decider, made, &mut live, &mut refusals),
                        Heard::Hosts(event) => unheard = beside.and_then(|beside| beside.give(event)),
                        Heard::Nothing => {}
                    }
                    if untold.is_some() || unheard.is_some() {
                        break;
                    }
                }
                is_quiet
            }
            Some(_) => {
                clock::sleep(patience);
                false
            }
        };
        if untold.is_none()
            && let Some(made) = desk.next(&live, clock::unix_s())
        {
            untold = tell(decider, made, &mut live, &mut refusals);
        }
        refusals.tell(clock::now());
        if has_ended && is_quiet {
            return;
        }
    }
}

/// Notes what has become of a connection, or hears a question: what is decided at once.
fn hear(event: Event, desk: &mut Desk, live: &mut Live, beside: Option<&Beside>) -> Heard {
    match event {
        Event::Opened { connection, .. } => live.open(connection),
        Event::Closed { connection, .. } => live.close(connection),
        Event::Authorize { .. } | Event::Reauthorize { .. }
            if !beside.is_some_and(|beside| beside.is_asked(&event, live)) =>
        {
            return desk.hear(event, live, clock::unix_s()).map_or(Heard::Nothing, Heard::Made);
        }
        _ => {}
    }
    Heard::Hosts(event)
}

/// Tells the engine what is decided. It comes back where there is no room for it.
fn tell(decider: &Decider, made: Made, live: &mut Live, refusals: &mut Refusals) -> Option<Made> {
    let Made { connection, what, decided } = &made;
    match (decider.decide(*connection, decided.decision.clone()), decided.bearer) {
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
fn end_some(decider: &Decider, live: &mut Live) -> bool {
    while let Some(ending) = live.next_ending() {
        if decider.close(ending.connection, ending.code, ending.reason) == Err(SendError::WouldBlock) {
            return false;
        }
        live.ended();
    }
    true
}
