//! One engine as Python sees it: the engine, its events, what Python lent it, and what of it is still usable.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, Weak};
use std::time::Duration;

use fanwire::{Config, Engine, Events};
use pyo3::prelude::*;

use crate::error::{Class, Failure, Outcome, panicked, stopped};
use crate::process::Process;
use crate::reference::Releases;

/// Time that an engine gets when the interpreter ends and nobody has stopped it.
const EXIT_DEADLINE: Duration = Duration::from_secs(1);

/// Engines that the interpreter's exit stops.
static RUNNING: Mutex<Vec<Weak<Host>>> = Mutex::new(Vec::new());

/// See the module's head.
pub struct Host {
    /// Written only by whoever ends it; while that goes on, nobody else gets in.
    engine: RwLock<Option<Engine>>,
    /// Held by the one call that takes events.
    inbox: Mutex<Option<Events>>,
    /// What Python lent.
    pub releases: Arc<Releases>,
    /// Readable whenever there may be events or views to give back.
    bell: OwnedFd,
    owner: Process,
    is_stopped: AtomicBool,
    is_poisoned: AtomicBool,
}

impl Host {
    /// Starts an engine.
    pub fn start(config: Config) -> Outcome<Arc<Host>> {
        let owner = Process::this();
        let mut engine = Engine::start(config)?;
        let events = engine.events();
        let bell: std::io::Result<OwnedFd> = match &events {
            Some(events) => events.as_fd().try_clone_to_owned(),
            None => {
                let flags = rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC;
                rustix::event::eventfd(0, flags).map_err(Into::into)
            }
        };
        let bell = bell.map_err(|error| Failure::new(Class::StartError, format!("no event descriptor: {error}")))?;
        let ringer =
            bell.try_clone().map_err(|error| Failure::new(Class::StartError, format!("no descriptor: {error}")))?;
        engine.set_reclaim_bell(move || ring(&ringer));
        // Whoever waits for events is to see that it is over, events or none.
        let ringer =
            bell.try_clone().map_err(|error| Failure::new(Class::StartError, format!("no descriptor: {error}")))?;
        engine.set_failure_bell(move || ring(&ringer));
        let host = Arc::new(Host {
            engine: RwLock::new(Some(engine)),
            inbox: Mutex::new(events),
            releases: Releases::new(),
            bell,
            owner,
            is_stopped: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
        });
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|other| other.strong_count() > 0);
        running.push(Arc::downgrade(&host));
        Ok(host)
    }

    /// # Errors
    /// `ForkedError` in a forked child, `InternalError` after a bug.
    #[inline]
    pub fn check(&self) -> Outcome {
        self.owner.check()?;
        if self.is_poisoned.load(Ordering::Relaxed) { Err(poisoned()) } else { Ok(()) }
    }

    /// Does something with the engine, running or stopped.
    ///
    /// # Errors
    /// As [`Host::check`]; `Stopped` while somebody stops it; those of `f`.
    pub fn with<T>(&self, f: impl FnOnce(&Engine) -> Outcome<T>) -> Outcome<T> {
        self.check()?;
        let engine = match self.engine.try_read() {
            Ok(engine) => engine,
            Err(TryLockError::Poisoned(engine)) => engine.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(stopped()),
        };
        let engine = engine.as_ref().ok_or_else(stopped)?;
        self.guarded(|| f(engine))
    }

    /// The event queue, for one caller at a time.
    ///
    /// # Errors
    /// As [`Host::check`]; `Busy`.
    pub fn inbox(&self) -> Outcome<MutexGuard<'_, Option<Events>>> {
        self.check()?;
        match self.inbox.try_lock() {
            Ok(inbox) => Ok(inbox),
            Err(TryLockError::Poisoned(inbox)) => Ok(inbox.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(Class::Busy, "another thread takes this engine's events now"))
            }
        }
    }

    /// The descriptor of the bell.
    pub fn bell(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// The same, to poll.
    pub fn bell_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Makes the bell quiet, where no event queue does.
    pub fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
    }

    /// It has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Ends the engine: in good order within the time, or at once. `None`: it had ended before. Call without the GIL.
    ///
    /// # Errors
    /// As [`Host::check`].
    pub fn end(&self, within: Option<Duration>) -> Outcome<Option<bool>> {
        self.owner.check()?;
        // Waits for calls that look at it, and for whoever ends it already.
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            return Ok(None);
        }
        let is_clean = self.guarded(|| {
            Ok(match (within, engine.as_mut()) {
                (_, None) => true,
                (Some(deadline), Some(engine)) => engine.drain(deadline).is_clean,
                (None, Some(engine)) => {
                    engine.stop();
                    true
                }
            })
        });
        self.is_stopped.store(true, Ordering::Release);
        drop(engine);
        // Whoever waits for events is to see that it is over.
        ring(&self.bell);
        is_clean.map(Some)
    }

    /// Lets the engine give back what Python lent, and gives it to Python. Returns how many objects that were.
    pub fn reclaim(&self, py: Python<'_>) -> usize {
        // While somebody ends the engine, that call does this.
        if let Ok(engine) = self.engine.try_read()
            && let Some(engine) = engine.as_ref()
        {
            engine.reclaim();
        }
        self.releases.run(py)
    }

    /// Runs `f`; if that panics, the engine takes no more calls but those that end it.
    #[inline]
    pub fn guarded<T>(&self, f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(outcome) => outcome,
            Err(panic) => {
                self.is_poisoned.store(true, Ordering::Relaxed);
                Err(panicked(panic))
            }
        }
    }

    /// True in the process that started it.
    pub fn is_ours(&self) -> bool {
        self.owner.is_this()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let engine = self.engine.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if !self.is_ours() {
            // The threads, sockets and rings are the parent's.
            std::mem::forget(engine);
        }
    }
}

/// Ends every engine of this process that still runs. Called when the interpreter ends.
#[pyfunction(name = "_stop_all")]
pub fn stop_all(py: Python<'_>) {
    let running = std::mem::take(&mut *RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
    for host in running.iter().filter_map(Weak::upgrade).filter(|host| host.is_ours()) {
        // What fails here has failed before.
        let _ = py.detach(|| host.end(Some(EXIT_DEADLINE)));
        host.releases.run(py);
    }
}

fn ring(bell: &OwnedFd) {
    // Non-blocking; a counter at its maximum is readable already.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

#[cold]
fn poisoned() -> Failure {
    Failure::new(Class::InternalError, "a bug in fanwire has hit this engine before: stop it")
}
