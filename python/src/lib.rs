//! The extension module `fanwire._fanwire`: the engine's Rust interface as Python has it.
//!
//! # How it is made
//! - Nothing runs at import. The first engine registers what a forked child and the interpreter's exit need.
//! - No shard ever calls Python or touches one of its objects: what Python lent (`reference.rs`) comes back in a call that
//!   Python makes.
//! - The GIL is released where a call waits or copies more than 16 KiB; for less, releasing costs more than it gives.
//! - Errors are the classes of `fanwire._errors`; a panic becomes `InternalError` and ends the engine's service.
//! - Everything of a forked child's parent answers `ForkedError` there (`process.rs`) and is never dropped.
//!
//! Knows the public Rust interface and Python. Must never know shards, frames or sockets.

mod body;
mod claim;
mod config;
mod engine;
mod error;
mod event;
mod host;
mod process;
mod reference;
mod stats;
mod topic;
mod view;
mod wait;

/// Largest copy made while other Python threads wait.
const HELD_BYTES_MAX: usize = 16 << 10;

/// The engine of the package `fanwire`. Import that instead.
#[pyo3::pymodule(gil_used = true)]
mod _fanwire {
    #[pymodule_export]
    use crate::claim::Claim;
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::stats::{Pressure, Reconfigured, Stats};
    #[pymodule_export]
    use crate::topic::Topic;

    #[pymodule_export]
    use crate::host::stop_all;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::process::check_interpreter(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
