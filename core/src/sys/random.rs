//! Random bits of the kernel's.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// 64 bits that nobody can foretell. Waits, early after the machine's start, until the kernel has gathered enough.
///
/// # Errors
/// `ENOSYS` or `EPERM` where a filter of system calls has no `getrandom`.
pub fn bits() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::io::retry_on_intr(|| getrandom(&mut bytes[filled..], GetRandomFlags::empty()))?;
    }
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(bits().unwrap(), bits().unwrap());
    }
}
