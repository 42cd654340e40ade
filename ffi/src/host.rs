//! One engine as its host sees it: the engine, its events, its references, and what of it is still usable.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, TryLockError};
use std::time::Duration;

use fanwire::{Config, Engine, Event, Events};

use crate::reference::Releases;
use crate::status::{Failure, Outcome, fw_status};

/// See the module's head.
pub struct Host {
    /// Written only by whoever ends it; while that goes on, nobody else gets in.
    engine: RwLock<Engine>,
    /// Held by the one call of `fw_poll_events`.
    inbox: Mutex<Inbox>,
    pub releases: Arc<Releases>,
    is_stopped: AtomicBool,
    is_poisoned: AtomicBool,
}

/// The events, and what the last call of `fw_poll_events` lent to the host.
pub struct Inbox {
    pub events: Option<Events>,
    pub lent: Vec<Event>,
    pub text: Vec<u8>,
}

impl Host {
    /// Starts an engine.
    pub fn start(config: Config) -> Outcome<Host> {
        let mut engine = Engine::start(config)?;
        let events = engine.events();
        let bell: std::io::Result<OwnedFd> = match &events {
            Some(events) => events.as_fd().try_clone_to_owned(),
            None => {
                let flags = rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC;
                rustix::event::eventfd(0, flags).map_err(Into::into)
            }
        };
        let bell = bell.map_err(|error| Failure::new(fw_status::FW_SYSTEM, format!("no event descriptor: {error}")))?;
        let releases = Arc::new(Releases::new(bell));
        let ringer = releases.clone();
        engine.set_reclaim_bell(move || ringer.ring());
        // Whoever waits in fw_poll_events is to see that it is over, events or none.
        let ringer = releases.clone();
        engine.set_failure_bell(move || ringer.ring());
        Ok(Host {
            engine: RwLock::new(engine),
            inbox: Mutex::new(Inbox { events, lent: Vec::new(), text: Vec::new() }),
            releases,
            is_stopped: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
        })
    }

    /// The engine, running or stopped.
    ///
    /// # Errors
    /// `FW_STOPPED` while somebody stops it.
    pub fn engine(&self) -> Outcome<RwLockReadGuard<'_, Engine>> {
        self.check_poison()?;
        match self.engine.try_read() {
            Ok(engine) => Ok(engine),
            Err(TryLockError::Poisoned(engine)) => Ok(engine.into_inner()),
            Err(TryLockError::WouldBlock) => Err(fw_status::FW_STOPPED.into()),
        }
    }

    /// The inbox, for one caller at a time.
    pub fn inbox(&self) -> Outcome<MutexGuard<'_, Inbox>> {
        match self.inbox.try_lock() {
            Ok(inbox) => Ok(inbox),
            Err(TryLockError::Poisoned(inbox)) => Ok(inbox.into_inner()),
            Err(TryLockError::WouldBlock) => Err(fw_status::FW_BUSY.into()),
        }
    }

    /// What `fw_event_fd` gives.
    pub fn fd(&self) -> RawFd {
        self.releases.bell()
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Ends the engine: in good order within the time, or at once. Then runs all callbacks.
    ///
    /// # Errors
    /// `FW_STOPPED` if it has ended before; `FW_TIMED_OUT`; `FW_BUSY` from inside a callback.
    pub fn end(&self, within: Option<Duration>) -> Outcome {
        if crate::reference::is_releasing() {
            return Err(fw_status::FW_BUSY.into());
        }
        // Waits for calls that look at it, and for whoever ends it already.
        let mut engine = self.engine.write().unwrap_or_else(|poison| poison.into_inner());
        if self.is_stopped() {
            return Err(fw_status::FW_STOPPED.into());
        }
        let is_clean = match within {
            Some(deadline) => engine.drain(deadline).is_clean,
            None => {
                engine.stop();
                true
            }
        };
        self.is_stopped.store(true, Ordering::Release);
        drop(engine);
        self.releases.run(|| ());
        // A call of fw_poll_events that waits is to see that it is over.
        self.releases.ring();
        if is_clean { Ok(()) } else { Err(fw_status::FW_TIMED_OUT.into()) }
    }

    /// Which shard has failed and why, for a person; empty if none has.
    pub fn failure_text(&self) -> String {
        let engine = self.engine.try_read();
        engine.ok().and_then(|engine| engine.failure().map(ToString::to_string)).unwrap_or_default()
    }

    /// Frees what the host let go of, and tells it.
    pub fn run_releases(&self) -> usize {
        self.releases.run(|| {
            // While somebody ends the engine, that call does this.
            if let Ok(engine) = self.engine.try_read() {
                engine.reclaim();
            }
        })
    }

    #[inline]
    pub fn check_poison(&self) -> Outcome {
        if self.is_poisoned.load(Ordering::Relaxed) { Err(poisoned()) } else { Ok(()) }
    }

    /// Runs `f`; if that panics, the engine takes no more calls but those that end it.
    #[inline]
    pub fn guarded<T>(&self, f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let poison = Poison(self);
        let result = f();
        std::mem::forget(poison);
        result
    }
}

#[cold]
fn poisoned() -> Failure {
    Failure::new(fw_status::FW_INTERNAL, "a bug in fanwire has hit this engine before: stop it")
}

struct Poison<'a>(&'a Host);

impl Drop for Poison<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.is_poisoned.store(true, Ordering::Relaxed);
    }
}
