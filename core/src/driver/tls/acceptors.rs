//! What handshakes are done with, for all shards: it may change while they run.

use std::sync::atomic::{AtomicU64, Ordering};
#[allow(clippy::disallowed_types, reason = "taken once a change of certificates, by each shard")]
use std::sync::{Mutex, MutexGuard};

use fanwire_tls::{Acceptor, Handshake};

/// The current acceptor. Shards look at its generation for each connection, and take the lock only where that has changed.
#[derive(Debug)]
pub struct Acceptors {
    generation: AtomicU64,
    #[allow(clippy::disallowed_types, reason = "taken once a change of certificates, by each shard")]
    current: Mutex<Acceptor>,
}

impl Acceptors {
    /// Begins with this one.
    #[allow(clippy::disallowed_types, reason = "see above")]
    pub fn new(acceptor: Acceptor) -> Self {
        Self { generation: AtomicU64::new(1), current: Mutex::new(acceptor) }
    }

    /// From now on connections get this one; those that are there keep theirs.
    pub fn replace(&self, acceptor: Acceptor) {
        *self.lock() = acceptor;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// When the current certificates end, as Unix times.
    pub fn ends_s(&self) -> Vec<u64> {
        self.lock().ends_s().to_vec()
    }

    /// A handshake with the current acceptor, which `known` remembers. `None`: it cannot be begun.
    pub(super) fn greet(&self, known: &mut Option<(u64, Acceptor)>) -> Option<Box<Handshake>> {
        let generation = self.generation.load(Ordering::Acquire);
        let acceptor = match known {
            Some((of, acceptor)) if *of == generation => acceptor,
            _ => &mut known.insert((generation, self.lock().clone())).1,
        };
        Handshake::new(acceptor).ok()
    }

    #[allow(clippy::disallowed_types, reason = "see above")]
    fn lock(&self) -> MutexGuard<'_, Acceptor> {
        self.current.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}
