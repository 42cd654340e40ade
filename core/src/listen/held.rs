//! Every socket that an engine listens on, once more: to be handed over to another process.
//!
//! Knows sockets by their listeners' names. Must never know how they reach the other process: that is the host's.

#![allow(clippy::disallowed_types, reason = "the host hands over and ends, once each; no shard looks")]

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::InheritedSocket;

/// A socket that an engine listens on, as it can be handed over.
#[derive(Debug)]
pub struct HeldSocket {
    /// Its listener's name.
    pub name: String,
    /// The numbers that drivers know its listener by.
    pub numbers: Range<u16>,
    /// The socket.
    pub socket: OwnedFd,
}

/// See the module's head.
#[derive(Debug)]
pub struct Held(Mutex<Vec<HeldSocket>>);

impl Held {
    pub fn new(sockets: Vec<HeldSocket>) -> Self {
        Held(Mutex::new(sockets))
    }

    /// All of them, for another process.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn duplicates(&self) -> io::Result<Vec<InheritedSocket>> {
        let duplicate = |HeldSocket { name, socket, .. }: &HeldSocket| {
            Ok(InheritedSocket { name: name.clone(), socket: socket.try_clone()? })
        };
        self.lock().iter().map(duplicate).collect()
    }

    /// The drivers' numbers of listeners with these names.
    pub fn numbers_of(&self, names: &[String]) -> Vec<u16> {
        let mut numbers: Vec<u16> = self
            .lock()
            .iter()
            .filter(|held| names.contains(&held.name))
            .flat_map(|held| held.numbers.clone())
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Closes them: else they would go on listening when the shards have closed theirs.
    pub fn let_go(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<HeldSocket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
