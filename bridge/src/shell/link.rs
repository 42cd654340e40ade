//! One connection to NATS, by its client: subscriptions as the node says, messages in and out.
//!
//! The client drops what it has not written when its connection breaks, and what its subscriptions have no room for, and tells neither. So
//! it is given little at a time, only while it is connected; what it brings is taken at once; and the messages are numbered.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::client::{Client, RequestErrorKind};
use async_nats::{ConnectOptions, Event, HeaderMap, Message, ServerAddr, Subject, Subscriber};
use bytes::Bytes;
use fanwire::Priority;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, oneshot};

use super::{Room, random};
use crate::config::{BridgeConfig, ConfigError, read};
use crate::counters::{Counters, add, count};
use crate::node::{Change, Link, Received};

/// Messages, and bytes, that the client has at once and may lose.
const BATCH_MESSAGES: usize = 512;
const BATCH_BYTES: usize = 256 << 10;
/// Messages that a subscription of the client's has room for: more than it reads at once.
const SUBSCRIPTION_MESSAGES: usize = 262_144;
/// A server that says nothing for three of these is gone.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How long a connection, or an answer, may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// What has come is heard within that: whoever hears it does nothing else.
const HEARD_WITHIN: Duration = Duration::from_millis(250);
/// The rests between two tries to connect: the first, and the longest.
const REST_FIRST_MS: u64 = 50;
const REST_LONGEST_MS: u64 = 2_000;
/// Nobody hears it: the server says so, and has then seen all that came before.
const NOWHERE: &str = "_FW.confirm";

/// What the client is told, and who it is.
///
/// # Errors
/// A file of credentials cannot be read, or is none.
pub(super) fn options(config: &BridgeConfig, link: Link) -> Result<ConnectOptions, ConfigError> {
    let name = match link {
        Link::Main => "main",
        Link::Critical => "critical",
        Link::Foreign => "foreign",
    };
    let mut options = ConnectOptions::new()
        .name(format!("fanwire {} {name}", config.cluster))
        .retry_on_initial_connect()
        .no_echo()
        .ping_interval(PING_EVERY)
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .subscription_capacity(SUBSCRIPTION_MESSAGES)
        .reconnect_delay_callback(rest);
    if let Some(path) = &config.credentials_file {
        let wrong = |error| ConfigError::Credentials { path: path.clone(), error };
        options = options.credentials(&read(path)?).map_err(wrong)?;
    }
    if let Some(path) = &config.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &config.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

/// Twice as long each time, and half of that by chance: nodes do not come back all at once.
fn rest(attempts: usize) -> Duration {
    let longest_ms = REST_FIRST_MS.saturating_mul(1 << attempts.min(10)).min(REST_LONGEST_MS);
    Duration::from_millis(longest_ms / 2 + random() % (longest_ms / 2 + 1))
}

/// How a connection is.
#[derive(Debug, Default)]
struct State {
    is_connected: AtomicBool,
    /// How often it has broken.
    breaks: AtomicU64,
    changed: Notify,
}

/// Keeps one connection for as long as the bridge runs.
pub(super) async fn run(
    room: Rc<Room>,
    link: Link,
    addresses: Vec<ServerAddr>,
    servers: String,
    options: ConnectOptions,
) {
    let state = Arc::new(State::default());
    let (events, counters) = (state.clone(), room.counters.clone());
    let options = options.event_callback(move |event| {
        on_event(&events, &counters, link, &servers, &event);
        std::future::ready(())
    });
    // It answers at once, connected or not.
    let client = match options.connect(addresses).await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(event = "bridge.failed", "no connection to NATS can be begun: {error}");
            return;
        }
    };
    Drive { room, link, client, state, ends: HashMap::new() }.run().await;
}

fn on_event(state: &State, counters: &Counters, link: Link, servers: &str, event: &Event) {
    match event {
        Event::Connected => {
            state.is_connected.store(true, Relaxed);
            add(&counters.connected, 1);
            tracing::info!(event = "bridge.connected", "connected to NATS ({link:?}) at {servers}");
        }
        Event::Disconnected => {
            if state.is_connected.swap(false, Relaxed) {
                counters.connected.fetch_sub(1, Relaxed);
            }
            state.breaks.fetch_add(1, Relaxed);
            count(&counters.disconnects);
            tracing::warn!(event = "bridge.disconnected", "the connection to NATS ({link:?}) broke");
        }
        Event::SlowConsumer(_) => count(&counters.slow),
        Event::ServerError(error) => {
            count(&counters.refused_by_server);
            tracing::warn!(event = "bridge.refused", "the NATS server says ({link:?}): {error}");
        }
        _ => tracing::debug!("NATS ({link:?}): {event}"),
    }
    state.changed.notify_one();
}

struct Drive {
    room: Rc<Room>,
    link: Link,
    client: Client,
    state: Arc<State>,
    /// What ends each subscription.
    ends: HashMap<u64, oneshot::Sender<()>>,
}

impl Drive {
    async fn run(mut self) {
        loop {
            if !self.state.is_connected.load(Relaxed) {
                self.state.changed.notified().await;
                if self.link == Link::Main && self.state.is_connected.load(Relaxed) {
                    self.room.node.borrow_mut().on_payload_max(self.client.max_payload());
                }
                continue;
            }
            let change = self.room.node.borrow_mut().next_change(self.link);
            if let Some(change) = change {
                self.apply(change).await;
                continue;
            }
            if self.send().await == 0 {
                self.room.sent.notify_one();
                tokio::select! {
                    () = self.room.links[&self.link].notified() => {}
                    () = self.state.changed.notified() => {}
                }
            }
        }
    }

    /// Hands the client what it may have at once, and waits until that is written. Returns how much that was.
    async fn send(&self) -> u64 {
        let breaks = self.state.breaks.load(Relaxed);
        let (mut messages, mut bytes) = (0, 0);
        *self.room.writing.borrow_mut() += 1;
        while messages < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let now_ms = self.room.now_ms();
            let next = self.room.node.borrow_mut().next_outbound(self.link, now_ms);
            let Some(next) = next else { break };
            messages += 1;
            bytes += next.payload.len();
            let (subject, reply) = (Subject::from(&*next.subject), Subject::from(next.envelope.to_string()));
            if let Err(error) = self.client.publish_with_reply(subject, reply, next.payload).await {
                tracing::debug!("the NATS client refuses a message: {error}");
            }
        }
        if messages > 0
            && let Err(error) = self.client.flush().await
        {
            tracing::debug!("the NATS client cannot write: {error}");
        }
        *self.room.writing.borrow_mut() -= 1;
        let messages = messages as u64;
        if self.state.breaks.load(Relaxed) == breaks {
            add(&self.room.counters.sent, messages);
        } else {
            // Some of them may have come through; who hears them knows.
            add(&self.room.counters.lost_cut, messages);
        }
        messages
    }

    async fn apply(&mut self, change: Change) {
        match change {
            Change::Subscribe { number, subject } => match self.client.subscribe(Subject::from(&*subject)).await {
                Ok(subscriber) => {
                    let (end, ends) = oneshot::channel();
                    self.ends.insert(number, end);
                    tokio::task::spawn_local(hear(self.room.clone(), self.link, number, subscriber, ends));
                }
                Err(error) => tracing::error!("the NATS client refuses the subject {subject}: {error}"),
            },
            Change::Confirm { number } => {
                tokio::task::spawn_local(confirm(self.room.clone(), self.link, number, self.client.clone()));
            }
            Change::Unsubscribe { number } => match self.ends.remove(&number) {
                Some(end) => _ = end.send(()),
                None => self.room.node.borrow_mut().on_ended(self.link, number),
            },
        }
    }
}

/// The server answers what nobody hears, after all that came before it; which is then heard.
async fn confirm(room: Rc<Room>, link: Link, number: u64, client: Client) {
    let answer = client.request(NOWHERE, Bytes::new()).await;
    let has_answered = match &answer {
        Ok(_) => true,
        Err(error) => error.kind() == RequestErrorKind::NoResponders,
    };
    if !has_answered {
        tracing::debug!("the NATS server ({link:?}) does not answer {NOWHERE}: {answer:?}");
    }
    tokio::time::sleep(if has_answered { HEARD_WITHIN } else { PATIENCE / 2 }).await;
    room.node.borrow_mut().on_confirmed(link, number, has_answered);
    room.inward.notify_one();
    room.links[&link].notify_one();
}

/// Takes what a subscription brings, to its end.
async fn hear(room: Rc<Room>, link: Link, number: u64, mut subscriber: Subscriber, mut ends: oneshot::Receiver<()>) {
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut ends, if !is_ending => {
                is_ending = true;
                // What has come is still there.
                if subscriber.unsubscribe().await.is_err() {
                    break;
                }
            }
            message = subscriber.next() => match message {
                Some(message) => {
                    on_message(&room, link, message);
                    room.inward.notify_one();
                }
                None => break,
            },
        }
    }
    room.node.borrow_mut().on_ended(link, number);
    room.inward.notify_one();
    room.links[&link].notify_one();
}

fn on_message(room: &Room, link: Link, message: Message) {
    let Message { subject, reply, payload, headers, .. } = message;
    let said = |name: &str| headers.as_ref().and_then(|headers: &HeaderMap| headers.get(name));
    room.node.borrow_mut().on_received(
        link,
        Received {
            subject: &subject,
            reply: reply.as_deref(),
            priority: said("Fanwire-Priority").and_then(|name| Priority::from_name(name.as_str())),
            key: said("Fanwire-Key").map_or(0, |key| fanwire::key_number(key.as_str())),
            payload,
        },
    );
}
