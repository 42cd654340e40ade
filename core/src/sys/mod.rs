//! Thin, safe wrappers over the few system calls the engine makes itself.

pub mod futex;
