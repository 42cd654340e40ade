//! One engine as its host sees it: the engine, its events and its references.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, MutexGuard, RwLockReadGuard};
use std::time::Duration;

use fanwire::binding::{self, Unusable};
use fanwire::{Config, Engine, Event, Events, HandOver, InheritedSocket};

use crate::reference::Releases;
use crate::status::{Outcome, fw_status};

/// See the module's head.
pub struct Host {
    shared: binding::Host<Inbox>,
    pub releases: Arc<Releases>,
}

/// The events, and what the last call of `fw_poll_events` lent to the host.
pub struct Inbox {
    pub events: Option<Events>,
    pub lent: Vec<Event>,
    pub text: Vec<u8>,
}

impl Host {
    /// Starts an engine.
    pub fn start(config: Config, sockets: &[InheritedSocket]) -> Outcome<Host> {
        let inbox = |events| Inbox { events, lent: Vec::new(), text: Vec::new() };
        let shared = binding::Host::start_with(config, sockets, inbox)?;
        let releases = Arc::new(Releases::new(shared.bell().clone()));
        Ok(Host { shared, releases })
    }

    /// The engine, running or stopped.
    ///
    /// # Errors
    /// `FW_STOPPED` while somebody stops it.
    pub fn engine(&self) -> Outcome<RwLockReadGuard<'_, Engine>> {
        Ok(self.shared.engine()?)
    }

    /// The inbox, for one caller at a time.
    pub fn inbox(&self) -> Outcome<MutexGuard<'_, Inbox>> {
        Ok(self.shared.inbox()?)
    }

    /// What `fw_event_fd` gives.
    pub fn fd(&self) -> RawFd {
        self.shared.bell().as_raw_fd()
    }

    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// Ends the engine: in good order within the time, or at once. Then runs all callbacks.
    ///
    /// # Errors
    /// `FW_STOPPED` if it has ended before; `FW_TIMED_OUT`; `FW_BUSY` from inside a callback.
    pub fn end(&self, within: Option<Duration>) -> Outcome {
        self.end_by(|shared| shared.end(within))
    }

    /// [`Host::end`] with the closes spread over a window.
    ///
    /// # Errors
    /// As [`Host::end`].
    pub fn end_over(&self, window: Duration, deadline: Duration) -> Outcome {
        self.end_by(|shared| shared.end_over(window, deadline))
    }

    /// [`Host::end`] in favour of another process.
    ///
    /// # Errors
    /// As [`Host::end`].
    pub fn hand_over(&self, to: &HandOver) -> Outcome {
        self.end_by(|shared| shared.hand_over(to))
    }

    fn end_by(&self, end: impl FnOnce(&binding::Host<Inbox>) -> Result<bool, Unusable>) -> Outcome {
        if crate::reference::is_releasing() {
            return Err(fw_status::FW_BUSY.into());
        }
        let is_clean = end(&self.shared)?;
        self.releases.run(|| ());
        // What the callbacks left behind is to be seen by a call of fw_poll_events that waits.
        self.releases.ring();
        if is_clean { Ok(()) } else { Err(fw_status::FW_TIMED_OUT.into()) }
    }

    /// Which shard has failed and why, for a person; empty if none has.
    pub fn failure_text(&self) -> String {
        self.shared.failure_text()
    }

    /// Frees what the host let go of, and tells it.
    pub fn run_releases(&self) -> usize {
        self.releases.run(|| self.shared.reclaim())
    }

    #[inline]
    pub fn check_poison(&self) -> Outcome {
        self.shared.check().map_err(Into::into)
    }

    /// Runs `f`; if that panics, the engine takes no more calls but those that end it.
    #[inline]
    pub fn guarded<T>(&self, f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        self.shared.guarded(f)
    }
}

impl From<Unusable> for crate::status::Failure {
    #[cold]
    fn from(why: Unusable) -> Self {
        match why {
            Unusable::Stopped => fw_status::FW_STOPPED.into(),
            Unusable::Busy => fw_status::FW_BUSY.into(),
            Unusable::Poisoned => Self::new(fw_status::FW_INTERNAL, binding::POISONED),
        }
    }
}
