//! Job: what every route may look at.
//! Knows: the parts. Must never know: HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::access::Access;
use super::benchmark::Benchmark;
use super::config::AdminConfig;
use super::desk::Inbox;
use super::hosts::Hosts;
use super::metrics::Metrics;
use super::observers::Observers;
use super::pace::Pace;
use super::secrets::Keeper;
use crate::clock;
use crate::signals::StopRequests;

/// Connections at once of those that look into topics.
pub const TUNNELS_MAX: usize = 64;

/// See the module's head. Routes share it.
pub type Shared = Arc<State>;

/// What there is.
pub struct State {
    pub access: Access,
    pub refused: RefusedCount,
    pub pace: Pace,
    /// `None`: nobody can look into topics.
    pub observers: Option<Observers>,
    pub tunnels: Arc<Semaphore>,
    pub desk: Inbox,
    pub metrics: Metrics,
    pub benchmark: Benchmark,
    pub stop: StopRequests,
    pub started: Instant,
}

impl State {
    pub fn new(
        config: &AdminConfig,
        keeper: &Keeper,
        observers: Option<Observers>,
        (desk, measuring): (Inbox, Inbox),
        stop: StopRequests,
    ) -> Shared {
        let has_certificates = config.client_ca_file.is_some();
        let access = Access::new(Hosts::new(&config.hosts), keeper.subscribe(), config.has_door, has_certificates);
        Arc::new(State {
            access,
            refused: RefusedCount::default(),
            pace: Pace::default(),
            benchmark: Benchmark::new(measuring, observers.as_ref().map(Observers::path)),
            observers,
            tunnels: Arc::new(Semaphore::new(TUNNELS_MAX)),
            desk,
            metrics: Metrics::default(),
            stop,
            started: clock::now(),
        })
    }
}

/// Requests that were refused for who made them.
#[derive(Default)]
pub struct RefusedCount(AtomicU64);

impl RefusedCount {
    pub fn note(&self, why: &str) {
        // Strangers do not fill the log.
        tracing::debug!(event = "admin.refused", "admin: refused: {why}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
