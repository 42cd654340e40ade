//! Thin, safe wrappers over the few system calls the engine makes itself.
//!
//! Knows Linux. Must never know anything of ours: no slots, no topics, no configuration.

pub mod clock;
pub mod cpu;
#[cfg(feature = "guard-pages")]
pub mod guard;
pub mod limits;
pub mod memory;
pub mod poll;
pub mod random;
#[cfg(test)]
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod tcp;
pub mod wake;
