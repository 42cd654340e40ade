//! The engine's side: what is published and wanted here comes in, what others publish goes out to it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanwire::{Engine, Forwarded, Interest, Outlet, PublishError, Topic, TopicError};
use tokio::io::Interest as Readiness;
use tokio::io::unix::AsyncFd;

use super::Room;
use crate::counters::count;
use crate::node::{Inbound, Local};

/// So many of anything, then others have their turn.
const AT_ONCE: usize = 256;
/// How long the engine is left alone that has no room.
const REST: Duration = Duration::from_millis(1);
/// Topics that are held open for publishing.
const TOPICS_MAX: usize = 65_536;

/// A descriptor of the engine's that can be waited for.
fn bell(of: &impl AsFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    #[expect(deprecated, reason = "the other one needs a promise that an owned descriptor keeps by itself")]
    AsyncFd::with_interest(of.as_fd().try_clone_to_owned()?, Readiness::READABLE)
}

/// Takes what is published here.
///
/// # Errors
/// The system's.
pub(super) async fn hear_outlet(room: Rc<Room>, mut outlet: Outlet) -> std::io::Result<()> {
    let bell = bell(&outlet)?;
    loop {
        let now_ms = room.now_ms();
        let mut taken = 0;
        while taken < AT_ONCE
            && let Some(message) = outlet.next()
        {
            taken += 1;
            let ttl_ms = message.ttl.map_or(0, |ttl| ttl.as_millis().clamp(1, u32::MAX.into()) as u32);
            room.node.borrow_mut().on_local(
                Local {
                    topic: &message.topic,
                    priority: message.priority,
                    kind: message.kind,
                    key: message.key,
                    ttl_ms,
                    missed: message.missed,
                    // Out of the engine's memory: it may wait for long.
                    payload: Bytes::copy_from_slice(&message.payload),
                },
                now_ms,
            );
        }
        if taken > 0 {
            room.wake_links();
        }
        if taken == AT_ONCE {
            tokio::task::yield_now().await;
        } else {
            bell.readable().await?.clear_ready();
        }
    }
}

/// Takes who wants what here.
///
/// # Errors
/// The system's.
pub(super) async fn hear_interest(room: Rc<Room>, mut interest: Interest) -> std::io::Result<()> {
    let bell = bell(&interest)?;
    loop {
        let now_ms = room.now_ms();
        let mut taken = 0;
        while taken < AT_ONCE
            && let Some(change) = interest.next()
        {
            taken += 1;
            room.node.borrow_mut().on_interest(&change.topics, change.is_wanted, now_ms);
        }
        if taken > 0 {
            room.due.notify_one();
        }
        if taken == AT_ONCE {
            tokio::task::yield_now().await;
        } else {
            bell.readable().await?.clear_ready();
        }
    }
}

/// Publishes what others have published, until the engine ends.
pub(super) async fn publish(room: &Room, engine: &Engine) {
    let mut publisher = Publisher { engine, topics: HashMap::new() };
    loop {
        for _ in 0..AT_ONCE {
            let next = room.node.borrow_mut().next_inbound();
            let Some(message) = next else {
                room.inward.notified().await;
                continue;
            };
            match publisher.publish(&message) {
                Ok(()) => count(&room.counters.received),
                Err(Refusal::Later) => {
                    room.node.borrow_mut().put_back(message);
                    tokio::time::sleep(REST).await;
                }
                Err(Refusal::Never) => count(&room.counters.lost_refused),
                Err(Refusal::Ended) => return,
            }
        }
        tokio::task::yield_now().await;
    }
}

enum Refusal {
    Later,
    Never,
    Ended,
}

struct Publisher<'a> {
    engine: &'a Engine,
    topics: HashMap<Box<str>, Topic>,
}

impl Publisher<'_> {
    fn publish(&mut self, message: &Inbound) -> Result<(), Refusal> {
        let published = self.topic(&message.topic)?.forward(&forwarded(message), Duration::ZERO);
        match published.map(drop) {
            Ok(()) => Ok(()),
            Err(PublishError::WouldBlock) => Err(Refusal::Later),
            Err(PublishError::Stopped) => Err(Refusal::Ended),
            Err(PublishError::Removed) => {
                // It is made anew.
                self.topics.remove(&message.topic);
                Err(Refusal::Later)
            }
            Err(error) => {
                tracing::debug!("a message of {} from another node is refused: {error}", message.topic);
                Err(Refusal::Never)
            }
        }
    }

    fn topic(&mut self, name: &str) -> Result<Topic, Refusal> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.clone());
        }
        let topic = self.engine.topic(name).map_err(|error| match error {
            TopicError::WouldBlock => Refusal::Later,
            TopicError::Stopped => Refusal::Ended,
            _ => Refusal::Never,
        })?;
        if self.topics.len() >= TOPICS_MAX {
            self.topics.clear();
        }
        self.topics.insert(name.into(), topic.clone());
        Ok(topic)
    }
}

fn forwarded(message: &Inbound) -> Forwarded<'_> {
    let Inbound { priority, kind, key, ttl_ms, ref payload, .. } = *message;
    // Clocks of two machines differ: it is worth something from now on.
    let time_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let ttl = (ttl_ms != 0).then(|| Duration::from_millis(ttl_ms.into()));
    Forwarded { priority, kind, payload, attributes: &[], key, ttl, time_ns }
}
