//! Messages by reference: Python's memory, and giving it back.
//!
//! The last user of such a message may be any thread. It only puts the view into a queue; the queue is emptied in a call that
//! Python makes, with the GIL held.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::prelude::*;

use crate::process::Process;
use crate::view::View;

/// The views that the engine does not need any more.
pub struct Releases {
    done: Mutex<Vec<View>>,
    owner: Process,
}

impl Releases {
    /// An empty queue.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { done: Mutex::new(Vec::new()), owner: Process::this() })
    }

    /// `view` as the engine takes it.
    pub fn lend(self: &Arc<Self>, view: View) -> Bytes {
        Bytes::from_owner(Lent { view: Some(view), releases: self.clone() })
    }

    /// Gives back what is done with. Returns how many.
    pub fn run(&self, _py: Python<'_>) -> usize {
        let done = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        // Outside of the lock: what it frees may run Python.
        done.len()
    }
}

impl Drop for Releases {
    fn drop(&mut self) {
        let done = std::mem::take(self.done.get_mut().unwrap_or_else(PoisonError::into_inner));
        if done.is_empty() {
            return;
        }
        if !self.owner.is_this() || Python::try_attach(|_| ()).is_none() {
            // Not ours, or there is no interpreter any more to give it to.
            done.into_iter().for_each(View::forget);
            return;
        }
        let _ = Python::try_attach(|_| drop(done));
    }
}

/// Keeps a view for the engine.
struct Lent {
    view: Option<View>,
    releases: Arc<Releases>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.view.as_ref().map_or(&[], View::bytes)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(view) = self.view.take() {
            self.releases.done.lock().unwrap_or_else(PoisonError::into_inner).push(view);
        }
    }
}
