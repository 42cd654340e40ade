//! Keeping the process's memory in RAM.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};

/// Faults in and locks all memory the process has and will map: no page fault on the hot path, at the price of all
/// reserved memory being resident.
///
/// # Errors
/// `ENOMEM` or `EPERM` where `RLIMIT_MEMLOCK` is below what the process maps (see
/// [`locked_memory`](super::limits::locked_memory)) and it lacks `CAP_IPC_LOCK`.
pub fn lock_all() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?)
}
