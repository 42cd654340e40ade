//! Job: what an operator can have a running server do: take its settings anew, end in good order, go on in another process,
//! say how it is.
//! Knows: the engine, where settings come from, who decides on tokens. Must never know: who asks, and how that came here.

mod handover;
mod metrics;
mod own;
mod reload;
mod report;
mod revoke;
mod status;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fanwire::{ConnectionId, Engine, SendError};
use fanwire_access::{Attendant, KeyHealth, Moved};

use self::own::Own;
use crate::admin::Keeper;
use crate::args::ServeArgs;
use crate::cluster::ClusterCounters;
use crate::config::Loaded;
use crate::exit::{Exit, Failure};
use crate::signals::StopRequests;
use crate::takeover::Taker;

pub use metrics::before_end;
pub use reload::Reloaded;
pub use report::ServersReport;
pub use status::Status;

/// A server that runs. Any thread may ask it for something.
pub struct Server<'a> {
    engine: &'a Engine,
    stop: &'a StopRequests,
    /// Where its settings come from.
    args: &'a ServeArgs,
    /// Who decides on tokens; `None`: nobody needs one.
    attendant: Option<Attendant>,
    /// Who has the admin port's tokens and certificate; `None`: there is no such port.
    keeper: Option<Keeper>,
    /// How keys by URL fare, if there are some.
    key_health: Arc<KeyHealth>,
    /// What the bridge to a cluster counts, if there is one.
    cluster: Option<ClusterCounters>,
    /// The settings of the process that hold. One reload at a time has it.
    own: Mutex<Own>,
    /// The time that a drain is spread over, once there is one.
    window: OnceLock<Duration>,
    /// Who goes on, once somebody has taken over.
    taker: OnceLock<Taker>,
}

impl<'a> Server<'a> {
    /// One that was started with these settings.
    pub fn new(
        engine: &'a Engine,
        stop: &'a StopRequests,
        args: &'a ServeArgs,
        loaded: &Loaded,
        (attendant, keeper): (Option<Attendant>, Option<Keeper>),
    ) -> Self {
        Server {
            engine,
            stop,
            args,
            attendant,
            keeper,
            key_health: Arc::default(),
            cluster: None,
            own: Mutex::new(Own::of(loaded)),
            window: OnceLock::new(),
            taker: OnceLock::new(),
        }
    }

    /// There is a bridge to a cluster, which counts here.
    pub fn set_cluster(&mut self, counters: Option<ClusterCounters>) {
        self.cluster = counters;
    }

    /// Has it end: nobody is accepted any more, and the closes are spread over `window`. It ends beside this.
    ///
    /// # Errors
    /// 69: it ends already.
    pub fn drain(&self, window: Duration) -> Result<(), Failure> {
        if self.stop.is_asked() || self.window.set(window).is_err() || !self.stop.ask_for_drain() {
            return Err(Failure::message(Exit::Unavailable, "the server ends already"));
        }
        Ok(())
    }

    /// Closes one connection.
    ///
    /// # Errors
    /// 65: there never was one of this name; 69: its shard is busy, or has ended.
    pub fn close(&self, connection: ConnectionId, code: u16, reason: &str) -> Result<(), Failure> {
        self.engine.close(connection, code, reason).map_err(|error| match error {
            SendError::Gone => Failure::new(Exit::Data, error),
            _ => Failure::new(Exit::Unavailable, error),
        })
    }

    /// Whether it ends.
    pub fn is_over(&self) -> bool {
        self.stop.is_over()
    }

    /// The engine.
    pub fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// The time that its end is to be spread over, if somebody has asked for that.
    pub fn window(&self) -> Option<Duration> {
        self.window.get().copied()
    }

    /// Time that subscribers get, after a request to stop, to take what is queued for them.
    pub fn shutdown_timeout(&self) -> Duration {
        self.own().shutdown_timeout()
    }

    /// How keys by URL fare: whoever reads them notes it there.
    pub fn key_health(&self) -> Arc<KeyHealth> {
        self.key_health.clone()
    }

    /// Keys come from there from now on, and are these.
    pub fn keys_moved(&self, moved: Moved) {
        if let Some(attendant) = &self.attendant {
            // Where nobody reads them any more the server ends.
            let _ = attendant.moved.send(moved);
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
