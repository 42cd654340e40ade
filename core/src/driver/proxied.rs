//! The PROXY protocol, between a shard and its driver: `Proxied<D>` is a [`Driver`] over another one.
//!
//! A connection of a proxied listener is not told of before its header is whole. Then it is accepted, from the address that
//! the header names, and what follows the header is its first input. Who is not trusted, or begins with anything else, or
//! has not said its header in time is closed without a word: an answer would be for a proxy that is not set up, or for
//! somebody who came past it. Below TLS, because proxies speak first.
//!
//! Connections of other listeners pass through, and so does everything that is sent: a feature that is not used costs one
//! look a turn.
//!
//! Knows slots, headers, time. Must never know who is trusted, which it asks.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Driver, DriverCounters, Event, RecvBuf, SendBatch, SendResults, Slot, SocketState, Wait, Wake, passes_on};
use crate::proto::proxy::{self, HEADER_BYTES_MAX, Header, ProxyError, Source};

/// Headers whose time is over are looked at so many a turn.
const EXPIRED_PER_TURN: usize = 64;

/// Bytes that one connection takes before its header is whole, at most: maps and buffers grow by doubling.
pub const HEADING_BYTES: usize = HEADER_BYTES_MAX + 4 * size_of::<(u32, Stage)>() + 2 * size_of::<(u64, u32)>();

/// Whether a peer may say whom it speaks for; `None`: it came by a Unix socket.
pub type Trusts = Arc<dyn Fn(Option<SocketAddr>) -> bool + Send + Sync>;

/// What a [`Proxied`] is made with.
pub struct ProxyOptions {
    /// Which listeners are proxied, by number.
    pub is_proxied: Vec<bool>,
    /// Whom they take headers from.
    pub trusts: Trusts,
    /// Connections whose header is not whole, at most; one more makes the oldest go.
    pub headings_max: usize,
    /// Time for a header, from the accept on.
    pub timeout_ns: u64,
}

/// A connection that the shard does not know.
enum Stage {
    Heading(Heading),
    /// It was closed in this turn: what the driver has said of it besides is not for the shard.
    Closed,
}

struct Heading {
    number: u64,
    listener: u16,
    peer: Option<SocketAddr>,
    by_ns: u64,
    /// What has come, if that is not the whole header.
    bytes: Vec<u8>,
}

/// See the module's head.
pub struct Proxied<D> {
    driver: D,
    /// `None`: no listener is proxied.
    options: Option<ProxyOptions>,
    stages: HashMap<u32, Stage>,
    /// Those whose header is not whole, in the order in which they came.
    arrivals: BTreeMap<u64, u32>,
    arrived: u64,
    /// Those of this turn.
    closed: Vec<u32>,
    fresh: Vec<Event>,
    refused: u64,
}

impl<D: Driver> Proxied<D> {
    /// Nobody is there yet.
    pub fn new(driver: D, options: ProxyOptions) -> Self {
        Self {
            driver,
            options: Some(options).filter(|options| options.is_proxied.contains(&true)),
            stages: HashMap::new(),
            arrivals: BTreeMap::new(),
            arrived: 0,
            closed: Vec::new(),
            fresh: Vec::new(),
            refused: 0,
        }
    }

    /// Connections whose header is not whole.
    #[cfg(test)]
    pub fn headings(&self) -> usize {
        self.arrivals.len()
    }

    /// Until when a turn may wait.
    fn wait_at_most(&self, wait: Wait) -> Wait {
        match (wait, self.arrivals.values().next().and_then(|slot| self.stages.get(slot))) {
            (Wait::Until(until_ns), Some(Stage::Heading(first))) => Wait::Until(until_ns.min(first.by_ns)),
            _ => wait,
        }
    }

    fn sort(&mut self, event: Event, events: &mut Vec<Event>) {
        match event {
            Event::Accepted { listener, slot, peer } => self.on_accepted(listener, slot, peer, events),
            Event::Received { slot, buf } if self.stages.contains_key(&slot.0) => self.on_received(slot, buf, events),
            Event::End { slot, .. } if self.stages.contains_key(&slot.0) => self.close_quietly(slot),
            Event::Writable { slot } if self.stages.contains_key(&slot.0) => {}
            other => events.push(other),
        }
    }

    fn on_accepted(&mut self, listener: u16, slot: Slot, peer: Option<SocketAddr>, events: &mut Vec<Event>) {
        let now_ns = self.driver.now_ns();
        let Some(options) = &self.options else { return };
        if !options.is_proxied.get(usize::from(listener)).copied().unwrap_or(false) {
            return events.push(Event::Accepted { listener, slot, peer });
        }
        if !(options.trusts)(peer) {
            return self.refuse(slot, peer, "it is not one of access.trusted_proxies");
        }
        let by_ns = now_ns.saturating_add(options.timeout_ns);
        let is_full = self.arrivals.len() >= options.headings_max.max(1);
        if is_full && let Some((_, &oldest)) = self.arrivals.first_key_value() {
            self.refuse(Slot(oldest), None, "newer connections wait for their PROXY protocol header, too");
        }
        let number = self.arrived;
        self.arrived += 1;
        self.arrivals.insert(number, slot.0);
        let heading = Heading { number, listener, peer, by_ns, bytes: Vec::new() };
        self.stages.insert(slot.0, Stage::Heading(heading));
    }

    fn on_received(&mut self, slot: Slot, mut buf: RecvBuf, events: &mut Vec<Event>) {
        let Some(Stage::Heading(heading)) = self.stages.get_mut(&slot.0) else { return self.driver.give_back(buf) };
        let (listener, peer) = (heading.listener, heading.peer);
        match heading.parse(buf.filled()) {
            Ok(None) => self.driver.give_back(buf),
            Ok(Some((source, used))) => {
                self.forget(slot);
                let peer = match source {
                    Source::Proxy => peer,
                    Source::Client(address) => Some(address),
                    Source::Unknown => None,
                };
                events.push(Event::Accepted { listener, slot, peer });
                buf.start += used;
                match buf.filled().is_empty() {
                    true => self.driver.give_back(buf),
                    false => events.push(Event::Received { slot, buf }),
                }
            }
            Err(error) => {
                self.driver.give_back(buf);
                self.refuse(slot, peer, &error.to_string());
            }
        }
    }

    /// The connection in `slot` is one of those without a whole header no more.
    fn forget(&mut self, slot: Slot) {
        if let Some(Stage::Heading(heading)) = self.stages.remove(&slot.0) {
            self.arrivals.remove(&heading.number);
        }
    }

    fn refuse(&mut self, slot: Slot, peer: Option<SocketAddr>, why: &str) {
        self.refused += 1;
        match peer {
            Some(peer) => tracing::debug!("a connection of {peer} to a proxied listener is closed: {why}"),
            None => tracing::debug!("a connection to a proxied listener is closed: {why}"),
        }
        self.close_quietly(slot);
    }

    fn close_quietly(&mut self, slot: Slot) {
        if matches!(self.stages.get(&slot.0), Some(Stage::Closed)) {
            return;
        }
        self.forget(slot);
        self.driver.close(slot);
        self.stages.insert(slot.0, Stage::Closed);
        self.closed.push(slot.0);
    }

    /// Closes those whose time is over.
    fn expire(&mut self) {
        let now_ns = self.driver.now_ns();
        for _ in 0..EXPIRED_PER_TURN {
            let Some((_, &slot)) = self.arrivals.first_key_value() else { return };
            let Some(Stage::Heading(heading)) = self.stages.get(&slot) else { return };
            if heading.by_ns > now_ns {
                return;
            }
            let peer = heading.peer;
            self.refuse(Slot(slot), peer, "its PROXY protocol header has not come in time");
        }
    }
}

impl Heading {
    /// Takes what has come: where the connection comes from, and how much of `fresh` is of the header.
    fn parse(&mut self, fresh: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
        if self.bytes.is_empty()
            && let Some(Header { source, len }) = proxy::parse(fresh)?
        {
            return Ok(Some((source, len)));
        }
        let before = self.bytes.len();
        let most = fresh.len().min(HEADER_BYTES_MAX - before);
        self.bytes.extend_from_slice(&fresh[..most]);
        Ok(proxy::parse(&self.bytes)?.map(|Header { source, len }| (source, len - before)))
    }
}

impl<D: Driver> Driver for Proxied<D> {
    passes_on!(driver);

    /// A header makes two events of one, so that there may be twice as many as the driver has said.
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        if self.options.is_none() {
            return self.driver.turn(wait, events);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        let turned = self.driver.turn(self.wait_at_most(wait), &mut fresh);
        for event in fresh.drain(..) {
            self.sort(event, events);
        }
        self.fresh = fresh;
        self.expire();
        for slot in self.closed.drain(..) {
            self.stages.remove(&slot);
        }
        turned
    }

    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        self.driver.send(batch, results);
    }

    fn want_writable(&mut self, slot: Slot) {
        self.driver.want_writable(slot);
    }

    fn pause_recv(&mut self, slot: Slot) {
        self.driver.pause_recv(slot);
    }

    fn resume_recv(&mut self, slot: Slot) {
        self.driver.resume_recv(slot);
    }

    fn give_back(&mut self, buf: RecvBuf) {
        self.driver.give_back(buf);
    }

    fn shutdown_write(&mut self, slot: Slot) {
        self.driver.shutdown_write(slot);
    }

    fn close(&mut self, slot: Slot) {
        self.driver.close(slot);
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters { proxy_refused: self.refused, ..self.driver.counters() }
    }
}

#[cfg(test)]
#[path = "proxied_tests.rs"]
mod tests;
