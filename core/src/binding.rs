//! What the C and the Python interface have in common: one engine that any thread may use, stop, and find stopped.
//!
//! Knows the public interface of the engine. Must never know a language: handles, exceptions, and what a host lent are
//! the bindings' own affair. For them alone; it may change with any version.

#![allow(
    clippy::disallowed_types,
    reason = "the host's calls meet here, and no shard ever does; they try, they do not wait"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::Duration;

use crate::config::{Config, nanoseconds};
use crate::engine::{Engine, HandOver, StartError};
use crate::events::Events;
use crate::listen::InheritedSocket;
use crate::sys::wake::EventFd;
use crate::sys::{clock, signal, socket};

/// Why a call cannot be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Somebody ends the engine, or has.
    Stopped,
    /// Another thread takes the events now.
    Busy,
    /// A bug in fanwire has hit this engine before: it can be stopped, and nothing else.
    Poisoned,
}

/// How often it is looked whether an engine that is handed over has ended.
const LOOK_FOR_END: Duration = Duration::from_millis(5);

/// What is told of a poisoned engine.
pub const POISONED: &str = "a bug in fanwire has hit this engine before: stop it";

/// Another descriptor of what a host has.
///
/// # Errors
/// `EBADF` where there is none, `EMFILE`.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    socket::duplicate(fd)
}

/// The descriptor that a host polls: readable when there may be events, or something to give back.
#[derive(Clone, Debug)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A bell of its own.
    ///
    /// # Errors
    /// That of `eventfd`.
    pub fn new() -> io::Result<Bell> {
        EventFd::new().map(|fd| Bell(Arc::new(fd)))
    }

    /// Makes it readable.
    pub fn ring(&self) {
        self.0.signal();
    }

    /// Makes it unreadable.
    pub fn silence(&self) {
        self.0.drain();
    }
}

impl Bell {
    /// What rings when there are events.
    pub fn of(events: &Events) -> Bell {
        Bell(events.bell())
    }

    /// Waits up to `timeout` for it to ring.
    pub fn wait(&self, timeout: Duration) {
        self.0.wait(timeout);
    }
}

/// Starts a thread of ours in a host's process: no signal of the host's is ever open in it.
///
/// # Errors
/// What the system says.
pub fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<std::thread::JoinHandle<T>> {
    let _signals = signal::AllBlocked::new()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// One engine; `I` is where a binding keeps its events.
#[derive(Debug)]
pub struct Host<I> {
    /// Written only by whoever ends it; while that goes on, nobody else gets in.
    engine: RwLock<Engine>,
    /// Held by the one call that takes events.
    inbox: Mutex<I>,
    bell: Bell,
    is_stopped: AtomicBool,
    is_poisoned: AtomicBool,
}

impl<I> Host<I> {
    /// Starts an engine.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start(config: Config, inbox: impl FnOnce(Option<Events>) -> I) -> Result<Self, StartError> {
        Self::start_with(config, &[], |_, events| {
            let bell = events.as_ref().map(Bell::of);
            Ok((inbox(events), bell))
        })
    }

    /// Starts an engine with sockets that listen already. `inbox` says where its events go, and what rings when there are some.
    ///
    /// # Errors
    /// As [`Engine::start_with`]; those of `inbox`: the engine is stopped then.
    pub fn start_with(
        config: Config,
        sockets: &[InheritedSocket],
        inbox: impl FnOnce(&Engine, Option<Events>) -> io::Result<(I, Option<Bell>)>,
    ) -> Result<Self, StartError> {
        let mut engine = Engine::start_with(config, sockets)?;
        let events = engine.events();
        let heard = inbox(&engine, events);
        let (inbox, bell) = heard.map_err(|error| StartError::System { what: "take events", error })?;
        let bell = match bell {
            Some(bell) => bell,
            None => Bell::new().map_err(|error| StartError::System { what: "make an event descriptor", error })?,
        };
        let ringer = bell.clone();
        engine.set_reclaim_bell(move || ringer.ring());
        // Who waits for events is to see that it is over, events or none.
        let ringer = bell.clone();
        engine.set_failure_bell(move || ringer.ring());
        Ok(Host {
            engine: RwLock::new(engine),
            inbox: Mutex::new(inbox),
            bell,
            is_stopped: AtomicBool::new(false),
            is_poisoned: AtomicBool::new(false),
        })
    }

    /// Whether calls may be made at all. One load.
    ///
    /// # Errors
    /// [`Unusable::Poisoned`].
    #[inline]
    pub fn check(&self) -> Result<(), Unusable> {
        if self.is_poisoned.load(Ordering::Relaxed) { Err(Unusable::Poisoned) } else { Ok(()) }
    }

    /// The engine, running or stopped. Never waits.
    ///
    /// # Errors
    /// [`Unusable::Stopped`] while somebody stops it; as [`Host::check`].
    pub fn engine(&self) -> Result<RwLockReadGuard<'_, Engine>, Unusable> {
        self.check()?;
        match self.engine.try_read() {
            Ok(engine) => Ok(engine),
            Err(TryLockError::Poisoned(engine)) => Ok(engine.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Unusable::Stopped),
        }
    }

    /// Where the events are, for one caller at a time. Never waits.
    ///
    /// # Errors
    /// [`Unusable::Busy`].
    pub fn inbox(&self) -> Result<MutexGuard<'_, I>, Unusable> {
        match self.inbox.try_lock() {
            Ok(inbox) => Ok(inbox),
            Err(TryLockError::Poisoned(inbox)) => Ok(inbox.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Unusable::Busy),
        }
    }

    /// Which shard has failed and why, for a person; empty if none has.
    pub fn failure_text(&self) -> String {
        let engine = self.engine.try_read();
        engine.ok().and_then(|engine| engine.failure().map(ToString::to_string)).unwrap_or_default()
    }

    /// What the host polls.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// It has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Ends the engine: in good order within the time (true: everything was delivered), or at once. Waits for calls that
    /// look at it, and for whoever ends it already. The bell rings afterwards: who waits for events is to see that it is
    /// over.
    ///
    /// # Errors
    /// [`Unusable::Stopped`] if it had ended before.
    pub fn end(&self, within: Option<Duration>) -> Result<bool, Unusable> {
        self.end_by(|engine| match within {
            Some(deadline) => engine.drain(deadline).is_clean,
            None => {
                engine.stop();
                true
            }
        })
    }

    /// [`Host::end`] with the closes spread over a window.
    ///
    /// # Errors
    /// As [`Host::end`].
    pub fn end_over(&self, window: Duration, deadline: Duration) -> Result<bool, Unusable> {
        self.end_by(|engine| engine.drain_over(window, deadline).is_clean)
    }

    /// [`Host::end`] in favour of another process: until that is over, everybody may make calls still.
    ///
    /// # Errors
    /// As [`Host::end`]; as [`Host::check`].
    pub fn hand_over(&self, to: &HandOver) -> Result<bool, Unusable> {
        let is_open = |engine: &Engine| !self.is_stopped() && !engine.has_ended();
        let engine = self.engine()?;
        if self.is_stopped() {
            return Err(Unusable::Stopped);
        }
        self.guarded(|| engine.begin_hand_over(to));
        drop(engine);
        let until = clock::monotonic_ns().saturating_add(nanoseconds(to.deadline));
        while clock::monotonic_ns() < until && self.engine().is_ok_and(|engine| is_open(&engine)) {
            std::thread::park_timeout(LOOK_FOR_END);
        }
        self.end_by(|engine| engine.finish().is_clean)
    }

    fn end_by(&self, end: impl FnOnce(&mut Engine) -> bool) -> Result<bool, Unusable> {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            return Err(Unusable::Stopped);
        }
        // Also where it panics: nobody ends it twice.
        let _stopped = Stopped(self);
        Ok(self.guarded(|| end(&mut engine)))
    }

    /// Drops what shards no longer need of what the host lent; while somebody ends the engine, that call does it.
    pub fn reclaim(&self) {
        if let Ok(engine) = self.engine.try_read() {
            engine.reclaim();
        }
    }

    /// Runs `f`; if that panics, the engine takes no more calls but those that end it.
    #[inline]
    pub fn guarded<T>(&self, f: impl FnOnce() -> T) -> T {
        let poison = Poison(&self.is_poisoned);
        let result = f();
        std::mem::forget(poison);
        result
    }
}

struct Stopped<'a, I>(&'a Host<I>);

impl<I> Drop for Stopped<'_, I> {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Release);
        self.0.bell.ring();
    }
}

struct Poison<'a>(&'a AtomicBool);

impl Drop for Poison<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::DriverChoice;

    fn host() -> Host<Option<Events>> {
        let config = Config {
            listen: vec![([127, 0, 0, 1], 0).into()],
            shards: Some(1),
            driver: DriverChoice::Epoll,
            ..Config::default()
        };
        Host::start(config, |events| events).expect("a sound configuration")
    }

    #[test]
    fn it_ends_once_and_rings_then() {
        let host = host();
        assert!(host.engine().is_ok_and(|engine| engine.is_running()) && !host.is_stopped());
        assert_eq!(host.end(Some(Duration::from_secs(5))), Ok(true));
        assert!(host.is_stopped() && host.bell().0.drain(), "it rang");
        assert_eq!((host.end(None), host.end(Some(Duration::ZERO))), (Err(Unusable::Stopped), Err(Unusable::Stopped)));
        assert!(host.engine().is_ok_and(|engine| !engine.is_running()));
    }

    #[test]
    fn calls_are_made_while_it_is_handed_over() {
        let (host, to) = (host(), |deadline| HandOver { window: deadline / 2, deadline, sockets: Vec::new() });
        let at = host.engine().expect("it runs").local_addrs()[0];
        let client = std::net::TcpStream::connect(at).expect("it listens");
        std::thread::scope(|scope| {
            let ends = scope.spawn(|| host.hand_over(&to(Duration::from_secs(3600))));
            while !host.engine().expect("calls are made").listening_sockets().expect("descriptors").is_empty() {}
            assert!(host.engine().and_then(|engine| engine.topic("a").map_err(|_| Unusable::Stopped)).is_ok());
            drop(client);
            assert_eq!(ends.join().expect("it ends"), Ok(true));
        });
        assert_eq!(host.hand_over(&to(Duration::ZERO)), Err(Unusable::Stopped));
    }

    #[test]
    fn a_panic_leaves_nothing_but_the_end() {
        let host = host();
        assert_eq!(host.guarded(|| 1), 1);
        assert!(host.check().is_ok());
        assert!(catch_unwind(AssertUnwindSafe(|| host.guarded(|| panic!("planted")))).is_err());
        assert_eq!((host.check(), host.engine().err()), (Err(Unusable::Poisoned), Some(Unusable::Poisoned)));
        assert_eq!(host.end(None), Ok(true));
    }

    #[test]
    fn events_are_taken_by_one_at_a_time_and_nobody_looks_while_it_ends() {
        let host = host();
        let inbox = host.inbox().expect("the first");
        assert_eq!(host.inbox().err(), Some(Unusable::Busy));
        drop(inbox);
        assert!(host.inbox().is_ok());
        let ending = host.engine.write().expect("nobody else");
        assert_eq!(host.engine().err(), Some(Unusable::Stopped));
        drop(ending);
        host.reclaim();
    }
}
