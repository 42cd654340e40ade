//! One engine as Python sees it: the engine, its events, what Python lent it, and what of it is still usable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fanwire::binding::{self, Bell, Unusable};
use fanwire::{Config, Engine, HandOver, InheritedSocket};
use fanwire_access::{Changed, HostEvents, Meant, Prepared, Revoked, TokenSettings, Verifier};
use pyo3::prelude::*;

use crate::error::{Class, Failure, Outcome, panicked, stopped};
use crate::process::Process;
use crate::reference::Releases;

/// Time that an engine gets when the interpreter ends and nobody has stopped it.
const EXIT_DEADLINE: Duration = Duration::from_secs(1);

/// Engines that the interpreter's exit stops.
static RUNNING: Mutex<Vec<Weak<Host>>> = Mutex::new(Vec::new());

/// How an engine is to end.
pub enum End {
    AtOnce,
    /// In good order within the time.
    Within(Duration),
    /// The same with the closes spread over a window.
    Over(Duration, Duration),
    HandOver(HandOver),
}

/// See the module's head.
pub struct Host {
    shared: Arc<binding::Host<Option<HostEvents>>>,
    /// Who decides on tokens, where the settings want that. Ended behind the engine.
    verifier: Option<Arc<Verifier>>,
    /// What Python lent.
    pub releases: Arc<Releases>,
    owner: Process,
}

impl Host {
    /// Which shard has failed and why, for a person; empty if none has.
    pub fn failure_text(&self) -> String {
        self.shared.failure_text()
    }

    /// Starts an engine.
    pub fn start((mut config, tokens): (Config, TokenSettings), sockets: &[InheritedSocket]) -> Outcome<Arc<Host>> {
        let owner = Process::this();
        let prepared = Prepared::new(&tokens, &mut config)?;
        let mut verifier = None;
        let shared = binding::Host::start_with(config, sockets, |engine, events| {
            let events = match prepared {
                None => events.map(HostEvents::Direct),
                Some(prepared) => {
                    let (started, left) = prepared.start(engine, events)?;
                    verifier = Some(Arc::new(started));
                    left
                }
            };
            let bell = events.as_ref().map(HostEvents::bell);
            Ok((events, bell))
        })?;
        let host = Arc::new(Host { shared: Arc::new(shared), verifier, releases: Releases::new(), owner });
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
        self.shared.check().map_err(Into::into)
    }

    /// Does something with the engine, running or stopped.
    ///
    /// # Errors
    /// As [`Host::check`]; `Stopped` while somebody stops it; those of `f`.
    pub fn with<T>(&self, f: impl FnOnce(&Engine) -> Outcome<T>) -> Outcome<T> {
        self.owner.check()?;
        let engine = self.shared.engine()?;
        self.guarded(|| f(&engine))
    }

    /// What the host has said of settings so far.
    ///
    /// # Errors
    /// As [`Host::with`].
    pub fn settings(&self) -> Outcome<(Config, TokenSettings)> {
        let mut config = self.with(|engine| Ok((*engine.current_config()).clone()))?;
        let Some(verifier) = &self.verifier else { return Ok((config, TokenSettings::default())) };
        verifier.without_tokens(&mut config);
        Ok((config, verifier.settings()))
    }

    /// Gives the engine other settings.
    ///
    /// # Errors
    /// What is wrong with them; everything is then as it was.
    pub fn reconfigure(
        &self,
        (mut config, tokens): (Config, TokenSettings),
    ) -> Outcome<(fanwire::Reconfigured, Changed)> {
        self.with(|engine| {
            let verifier = self.verifier.as_ref();
            let anew = verifier.map(|verifier| verifier.prepare_anew(&tokens, &mut config)).transpose()?;
            let told = engine.reconfigure(&config).map_err(fanwire::StartError::Config)?;
            let cannot = |error: std::io::Error| Failure::new(Class::StartError, error.to_string());
            let of_tokens = match verifier.zip(anew) {
                Some((verifier, anew)) => verifier.take_over(anew).map_err(cannot)?,
                None => Changed::none_here(&tokens),
            };
            Ok((told, of_tokens))
        })
    }

    /// Refuses these tokens from now on.
    ///
    /// # Errors
    /// As [`Verifier::revoke`]; `ConfigError` where nobody decides on tokens.
    pub fn revoke(&self, meant: Meant) -> Outcome<Revoked> {
        self.check()?;
        let text = "this engine asks for no tokens (token.keys_file, token.jwks_url)";
        let verifier = self.verifier.as_ref().ok_or_else(|| Failure::new(Class::ConfigError, text))?;
        self.guarded(|| Ok(verifier.revoke(meant)?))
    }

    /// The engine's metrics, and those of keys by URL.
    ///
    /// # Errors
    /// As [`Host::with`].
    pub fn metrics(&self) -> Outcome<String> {
        let metrics = self.with(|engine| Ok(engine.metrics()))?;
        Ok(match &self.verifier {
            Some(verifier) => verifier.metrics(metrics),
            None => metrics,
        })
    }

    /// The sum of all memory, as a table for a log.
    ///
    /// # Errors
    /// As [`Host::with`].
    pub fn memory(&self) -> Outcome<String> {
        let plan = self.with(|engine| Ok(engine.plan().to_string()))?;
        Ok(match &self.verifier {
            Some(verifier) => format!("{}\n{}", plan.trim_end(), verifier.memory()),
            None => plan,
        })
    }

    /// The event queue, for one caller at a time.
    ///
    /// # Errors
    /// As [`Host::check`]; `Busy`.
    pub fn inbox(&self) -> Outcome<MutexGuard<'_, Option<HostEvents>>> {
        self.check()?;
        Ok(self.shared.inbox()?)
    }

    /// Readable whenever there may be events or views to give back.
    pub fn bell(&self) -> &Bell {
        self.shared.bell()
    }

    /// It has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    /// Ends the engine. `None`: it had ended before. Call without the GIL.
    ///
    /// # Errors
    /// As [`Host::check`].
    pub fn end(&self, how: &End) -> Outcome<Option<bool>> {
        self.owner.check()?;
        let end = || match how {
            End::AtOnce => self.shared.end(None),
            End::Within(deadline) => self.shared.end(Some(*deadline)),
            End::Over(window, deadline) => self.shared.end_over(*window, *deadline),
            End::HandOver(to) => self.shared.hand_over(to),
        };
        caught(|| Ok(end().ok()))
    }

    /// Lets the engine give back what Python lent, and gives it to Python. Returns how many objects that were.
    pub fn reclaim(&self, py: Python<'_>) -> usize {
        self.shared.reclaim();
        self.releases.run(py)
    }

    /// Runs `f`; if that panics, the engine takes no more calls but those that end it.
    #[inline]
    pub fn guarded<T>(&self, f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        caught(|| self.shared.guarded(f))
    }

    /// True in the process that started it.
    pub fn is_ours(&self) -> bool {
        self.owner.is_this()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.is_ours() {
            // The threads, sockets and rings are the parent's: a count that is never given back keeps them.
            std::mem::forget(self.shared.clone());
            std::mem::forget(self.verifier.clone());
        }
    }
}

/// Ends every engine of this process that still runs. Called when the interpreter ends.
#[pyfunction(name = "_stop_all")]
pub fn stop_all(py: Python<'_>) {
    let running = std::mem::take(&mut *RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
    for host in running.iter().filter_map(Weak::upgrade).filter(|host| host.is_ours()) {
        // What fails here has failed before.
        let _ = py.detach(|| host.end(&End::Within(EXIT_DEADLINE)));
        host.releases.run(py);
    }
}

/// A panic as the exception that stands for it.
#[inline]
fn caught<T>(f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(panicked(panic)))
}

impl From<Unusable> for Failure {
    #[cold]
    fn from(why: Unusable) -> Self {
        match why {
            Unusable::Stopped => stopped(),
            Unusable::Busy => Failure::new(Class::Busy, "another thread takes this engine's events now"),
            Unusable::Poisoned => Failure::new(Class::InternalError, binding::POISONED),
        }
    }
}
