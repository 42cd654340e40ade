//! One engine as its host sees it: the engine, its events and its references.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, MutexGuard, RwLockReadGuard};
use std::time::Duration;

use fanwire::binding::{self, Bell, Unusable};
use fanwire::{Config, Engine, Event, HandOver, InheritedSocket};
use fanwire_access::{Changed, HostEvents, Meant, Prepared, Revoked, TokenSettings, Verifier};

use crate::reference::Releases;
use crate::status::{Failure, Outcome, fw_status};

/// See the module's head.
pub struct Host {
    shared: binding::Host<Inbox>,
    pub releases: Arc<Releases>,
    /// Who decides on tokens, where the configuration wants that. Ended behind the engine.
    verifier: Option<Verifier>,
}

/// The events, and what the last call of `fw_poll_events` lent to the host.
pub struct Inbox {
    pub events: Option<HostEvents>,
    pub lent: Vec<Event>,
    pub text: Vec<u8>,
}

impl Host {
    /// Starts an engine.
    pub fn start((mut config, tokens): (Config, TokenSettings), sockets: &[InheritedSocket]) -> Outcome<Host> {
        let prepared = Prepared::new(&tokens, &mut config)?;
        let mut verifier = None;
        let shared = binding::Host::start_with(config, sockets, |engine, events| {
            let events = match prepared {
                None => events.map(HostEvents::Direct),
                Some(prepared) => {
                    let (started, left) = prepared.start(engine, events)?;
                    verifier = Some(started);
                    left
                }
            };
            let bell: Option<Bell> = events.as_ref().map(HostEvents::bell);
            Ok((Inbox { events, lent: Vec::new(), text: Vec::new() }, bell))
        })?;
        let releases = Arc::new(Releases::new(shared.bell().clone()));
        Ok(Host { shared, releases, verifier })
    }

    /// Gives the engine another configuration, and says what has come of it, a line each.
    ///
    /// # Errors
    /// What is wrong with it; everything is then as it was.
    pub fn reconfigure(&self, (mut config, tokens): (Config, TokenSettings)) -> Outcome<Vec<String>> {
        let engine = self.engine()?;
        let anew = self.verifier.as_ref().map(|verifier| verifier.prepare_anew(&tokens, &mut config)).transpose()?;
        let told = engine.reconfigure(&config).map_err(fanwire::StartError::Config)?;
        let of_tokens = match self.verifier.as_ref().zip(anew) {
            Some((verifier, anew)) => {
                let cannot = |error: std::io::Error| Failure::new(fw_status::FW_SYSTEM, error.to_string());
                verifier.take_over(anew).map_err(cannot)?
            }
            None => Changed::none_here(&tokens),
        };
        let changed = told.changed.iter().chain(&of_tokens.changed).map(|name| format!("changed: {name}"));
        let needs_restart = told.needs_restart.iter().chain(&of_tokens.needs_restart);
        let lines = changed.chain(needs_restart.map(|name| format!("needs a restart: {name}")));
        Ok(lines.chain(of_tokens.said.clone()).collect())
    }

    /// Refuses these tokens from now on.
    ///
    /// # Errors
    /// `FW_BAD_ARGUMENT`, `FW_TOO_MANY`, `FW_SYSTEM`, `FW_STOPPED`; `FW_BAD_CONFIG` where nobody decides on tokens.
    pub fn revoke(&self, meant: Meant) -> Outcome<Revoked> {
        let nobody = || {
            Failure::new(fw_status::FW_BAD_CONFIG, "this engine asks for no tokens (token.keys_file, token.jwks_url)")
        };
        Ok(self.verifier.as_ref().ok_or_else(nobody)?.revoke(meant)?)
    }

    /// The engine's metrics, and those of keys by URL.
    pub fn metrics(&self) -> Outcome<String> {
        let metrics = self.engine()?.metrics();
        Ok(match &self.verifier {
            Some(verifier) => verifier.metrics(metrics),
            None => metrics,
        })
    }

    /// The sum of all memory, as a table for a log.
    pub fn memory(&self) -> Outcome<String> {
        let plan = self.engine()?.plan().to_string();
        Ok(match &self.verifier {
            Some(verifier) => format!("{}\n{}", plan.trim_end(), verifier.memory()),
            None => plan,
        })
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
