//! Keeping the host's signals off our threads.
//!
//! The library installs no handler and changes no mask outside the threads it starts itself.
//!
//! Safety: two calls on a signal set that is a live local.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;

/// Blocks every signal in the calling thread, so that the host's handlers run on the host's threads.
///
/// # Errors
/// What `pthread_sigmask` answers (never, for a valid set).
pub fn block_all_in_this_thread() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes the whole set it is given, and the pointer is to a live local.
    let filled = unsafe { libc::sigfillset(set.as_mut_ptr()) };
    if filled != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the set was filled above; a null old-set pointer is allowed.
    let errno = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_blocked_all_signals_says_so_in_proc() {
        std::thread::spawn(|| {
            block_all_in_this_thread().unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
            let blocked = u64::from_str_radix(&blocked, 16).unwrap();
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGPIPE, libc::SIGCHLD, libc::SIGALRM] {
                assert_ne!(blocked & (1 << (signal - 1)), 0, "signal {signal} is not blocked");
            }
        })
        .join()
        .unwrap();
    }
}
