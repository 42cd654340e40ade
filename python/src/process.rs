//! Telling a forked child from its parent, and a subinterpreter from the first one.
//!
//! # Contract of the unsafe code
//! The function given to `pthread_atfork` only adds to an atomic, so it may run in a child right after a fork. Python is asked
//! with the GIL held.

#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::error::{Class, Failure, Outcome};

/// How often this process has been forked off, counted along its line of descent.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process that something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// This one. From the first call on, children are told apart.
    pub fn this() -> Process {
        static REGISTERED: Once = Once::new();
        // SAFETY: a function that may run right after a fork.
        REGISTERED.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        });
        Process(FORKS.load(Relaxed))
    }

    /// True but in a forked child. One load.
    #[inline]
    pub fn is_this(self) -> bool {
        FORKS.load(Relaxed) == self.0
    }

    /// # Errors
    /// `ForkedError` in a forked child.
    #[inline]
    pub fn check(self) -> Outcome {
        if self.is_this() { Ok(()) } else { Err(forked()) }
    }
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
}

#[cold]
fn forked() -> Failure {
    Failure::new(
        Class::ForkedError,
        "this belongs to the process that forked this one: start an engine of its own here",
    )
}

/// Refuses all interpreters of a process but its first one: classes and engines are kept once for the process. (Python 3.12
/// and later refuse by themselves.)
///
/// # Errors
/// `ImportError`.
pub fn check_interpreter(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: the GIL is held.
    let state = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: the interpreter that runs this.
    let number = unsafe { ffi::PyInterpreterState_GetID(state) };
    if number == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err("fanwire does not support subinterpreters: import it in the main interpreter"))
}
