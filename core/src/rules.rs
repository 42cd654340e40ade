//! The settings that hold now: those of the start, with what the host has given anew since.
//!
//! Shards look at the revision once a turn, and take the settings when it is another one. Knows the configuration. Must
//! never know what a setting does.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
#[allow(
    clippy::disallowed_types,
    reason = "taken by the host, and by a shard once after each reload; held to copy a pointer"
)]
use std::sync::{Mutex, MutexGuard};

use crate::config::Config;
use crate::plan::ConfigError;
use crate::settings;

/// What became of a configuration that a running engine was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconfigured {
    /// Settings that have got another value, by their names.
    pub changed: Vec<&'static str>,
    /// Settings that were to have another value, and have the one that they had: they need a new engine, or go together
    /// with one that does.
    pub needs_restart: Vec<&'static str>,
    /// Certificates that were read anew; 0 where no listener speaks TLS.
    pub certificates: usize,
}

/// The settings as a shard has taken them.
#[derive(Clone)]
pub struct Taken {
    config: Arc<Config>,
    revision: u32,
}

impl Deref for Taken {
    type Target = Config;

    #[inline]
    fn deref(&self) -> &Config {
        &self.config
    }
}

/// See the module's head.
pub struct Rules {
    revision: AtomicU32,
    #[allow(clippy::disallowed_types, reason = "see above")]
    current: Mutex<Arc<Config>>,
}

impl Rules {
    /// Those of an engine's start.
    pub fn new(config: &Config) -> Self {
        #[allow(clippy::disallowed_types, reason = "see above")]
        Self { revision: AtomicU32::new(0), current: Mutex::new(Arc::new(config.clone())) }
    }

    /// Whether there are none newer than these.
    #[inline]
    pub fn are(&self, taken: &Taken) -> bool {
        self.revision.load(Ordering::Acquire) == taken.revision
    }

    /// The settings, to be kept until there are others.
    pub fn take(&self) -> Taken {
        // In this order: a revision may be told for newer settings, and they are taken once more, but never for older ones.
        let revision = self.revision.load(Ordering::Acquire);
        Taken { revision, config: self.current() }
    }

    /// The settings.
    pub fn current(&self) -> Arc<Config> {
        self.lock().clone()
    }

    /// Takes over of `wanted` what a running engine can, for so many shards: all of that or, where `wanted` is wrong, nothing.
    ///
    /// # Errors
    /// Everything that is wrong with `wanted`.
    pub fn replace(&self, wanted: &Config, shards: usize) -> Result<Reconfigured, Vec<ConfigError>> {
        let wanted = wanted.clone().resolved();
        wanted.validate_for(shards)?;
        loop {
            let before = self.current();
            let (after, told) = settings::taken_over(&before, &wanted, shards);
            let mut current = self.lock();
            // Somebody else may have been faster.
            if Arc::ptr_eq(&current, &before) {
                *current = Arc::new(after);
                self.revision.fetch_add(1, Ordering::Release);
                return Ok(told);
            }
        }
    }

    #[allow(clippy::disallowed_types, reason = "see above")]
    fn lock(&self) -> MutexGuard<'_, Arc<Config>> {
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
