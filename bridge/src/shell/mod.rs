//! What lies between a node and the world: the NATS client, the engine, the clock. Decides nothing.

mod engine;
mod link;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_nats::ServerAddr;
use fanwire::proto::topic::Pattern;
use fanwire::{Engine, Interest, InterestError, Outlet, OutletConfig, OutletError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{BridgeConfig, ConfigError, without_password};
use crate::counters::{Counters, METRICS, MetricKind};
use crate::node::{Link, Node, NodeConfig};

/// Messages that may wait in the outlet.
const OUTLET_MESSAGES: usize = 65_536;
/// Bytes that may, at most; less where the payload pool is small.
const OUTLET_BYTES_MAX: usize = 16 << 20;
/// How long what was published before the end may take to go out.
const END: Duration = Duration::from_secs(1);
/// How often losses are told in the log.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why there is no bridge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// What it was told is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine gives it no outlet.
    #[error("the engine gives the bridge no outlet: {0}")]
    Outlet(#[from] OutletError),
    /// The engine does not tell it who wants what.
    #[error("the engine does not tell the bridge who wants what: {0}")]
    Interest(#[from] InterestError),
    /// The system gives it no runtime.
    #[error("the bridge's thread cannot wait for sockets: {0}")]
    Runtime(std::io::Error),
}

/// Ends a bridge from another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    inner: Arc<(AtomicBool, Notify)>,
}

impl Stop {
    /// The bridge sends what was published until now, for a second at most, and ends.
    pub fn stop(&self) {
        self.inner.0.store(true, Relaxed);
        self.inner.1.notify_one();
    }

    async fn wait(&self) {
        while !self.inner.0.load(Relaxed) {
            self.inner.1.notified().await;
        }
    }
}

/// A bridge that is ready to run.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
    addresses: Vec<ServerAddr>,
    counters: Arc<Counters>,
    outlet: Outlet,
    interest: Interest,
    stop: Stop,
}

impl Bridge {
    /// Looks at the configuration, and begins to hear of the engine. Whether there is a server does not matter yet.
    ///
    /// # Errors
    /// See [`BridgeError`].
    pub fn open(engine: &Engine, config: BridgeConfig) -> Result<Self, BridgeError> {
        let addresses = config.check()?;
        link::options(&config, Link::Main)?;
        let all = Pattern::parse("**").map_err(|_| InterestError::Stopped)?;
        let bytes_max = OUTLET_BYTES_MAX.min(engine.config().memory.payload_bytes / 8);
        let outlet = engine.outlet(OutletConfig {
            topics: vec![all],
            messages_max: OUTLET_MESSAGES,
            bytes_max,
            leaves_out_forwarded: true,
        })?;
        let interest = engine.interest()?;
        Ok(Self { config, addresses, counters: Arc::default(), outlet, interest, stop: Stop::default() })
    }

    /// What it counts, also while it runs.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// What ends it.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs on this thread until it is stopped.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub fn run(self, engine: &Engine) -> Result<(), BridgeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(BridgeError::Runtime)?;
        tokio::task::LocalSet::new().block_on(&runtime, self.serve(engine))
    }

    async fn serve(self, engine: &Engine) -> Result<(), BridgeError> {
        let Bridge { config, addresses, counters, outlet, interest, stop } = self;
        let room = Rc::new(Room::new(&config, counters));
        let servers = config.urls.iter().map(|url| without_password(url)).collect::<Vec<_>>().join(", ");
        for &link in Link::ALL.iter().filter(|&&link| link != Link::Foreign || !config.foreign.is_empty()) {
            let options = link::options(&config, link)?;
            tokio::task::spawn_local(link::run(room.clone(), link, addresses.clone(), servers.clone(), options));
        }
        tokio::task::spawn_local(engine::hear_interest(room.clone(), interest).map_failure());
        tokio::task::spawn_local(engine::hear_outlet(room.clone(), outlet).map_failure());
        tokio::task::spawn_local(keep_time(room.clone()));
        tokio::task::spawn_local(tell_losses(room.counters.clone()));
        tokio::select! {
            () = engine::publish(&room, engine) => {}
            () = stop.wait() => {}
        }
        // What the outlet still has, and what waits.
        let _ = tokio::time::timeout(END, room.has_sent_all()).await;
        Ok(())
    }
}

/// What tasks share.
struct Room {
    node: RefCell<Node>,
    counters: Arc<Counters>,
    began: Instant,
    /// One for each connection: it has something to do.
    links: HashMap<Link, Notify>,
    /// There is something for the engine.
    inward: Notify,
    /// The node is due at another time.
    due: Notify,
    /// Everything that was handed to the client was written.
    sent: Notify,
    /// Messages that are being written.
    writing: RefCell<usize>,
}

impl Room {
    fn new(config: &BridgeConfig, counters: Arc<Counters>) -> Self {
        let node = Node::new(
            NodeConfig {
                cluster: config.cluster.clone(),
                node: config.node.unwrap_or_else(random),
                run: random() as u32,
                keep: config.keep.clone(),
                foreign: config.foreign.clone(),
                outward_bytes_max: config.outward_bytes_max,
                inward_bytes_max: config.inward_bytes_max,
            },
            counters.clone(),
        );
        Self {
            node: RefCell::new(node),
            counters,
            began: Instant::now(),
            links: Link::ALL.into_iter().map(|link| (link, Notify::new())).collect(),
            inward: Notify::new(),
            due: Notify::new(),
            sent: Notify::new(),
            writing: RefCell::new(0),
        }
    }

    /// Milliseconds since it began.
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Connections look whether they have something to do.
    fn wake_links(&self) {
        self.links.values().for_each(Notify::notify_one);
    }

    async fn has_sent_all(&self) {
        while self.counters.outward_bytes.load(Relaxed) > 0 || *self.writing.borrow() > 0 {
            self.sent.notified().await;
        }
    }
}

/// A random number: what std seeds its hash maps with.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Has the node do what is due.
async fn keep_time(room: Rc<Room>) {
    loop {
        let due_ms = room.node.borrow().due_ms();
        match due_ms {
            None => room.due.notified().await,
            Some(due_ms) => {
                let at = room.began + Duration::from_millis(due_ms);
                // What comes meanwhile may be due earlier.
                let _ = tokio::time::timeout_at(at, room.due.notified()).await;
            }
        }
        let now_ms = room.now_ms();
        room.node.borrow_mut().on_time(now_ms);
        room.wake_links();
    }
}

/// Tells in the log what was lost, now and then.
async fn tell_losses(counters: Arc<Counters>) {
    let mut told = counters.read();
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let now = counters.read();
        let losses = METRICS.iter().zip(told.iter().zip(&now)).filter(|(metric, (before, now))| {
            metric.kind == MetricKind::Counter && metric.name == "fanwire_bridge_lost" && now > before
        });
        let losses: Vec<String> =
            losses.map(|(metric, (before, now))| format!("{} {}", now - before, metric.label)).collect();
        if !losses.is_empty() {
            tracing::warn!(event = "bridge.lost", "messages lost at the bridge: {}", losses.join(", "));
        }
        told = now;
    }
}

/// For tasks whose failure ends them alone.
trait MapFailure {
    async fn map_failure(self);
}

impl<F: Future<Output = std::io::Result<()>>> MapFailure for F {
    async fn map_failure(self) {
        if let Err(error) = self.await {
            tracing::error!(event = "bridge.failed", "the bridge does not hear its engine any more: {error}");
        }
    }
}
