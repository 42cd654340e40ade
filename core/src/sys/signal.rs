//! Keeping the host's signals off our threads.
//!
//! The library installs no handler, and leaves no mask changed outside the threads it starts itself.
//!
//! Safety: calls on signal sets that are live locals.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;

/// Blocks every signal in the calling thread, so that the host's handlers run on the host's threads.
///
/// # Errors
/// What `pthread_sigmask` answers (never, for a valid set).
fn block_all_in_this_thread() -> io::Result<()> {
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

/// Every signal is blocked in the calling thread while it lives, so that a thread started meanwhile never has one open. What
/// arrives is delivered afterwards.
pub struct AllBlocked {
    before: MaybeUninit<libc::sigset_t>,
    /// A signal mask belongs to its thread.
    _here: std::marker::PhantomData<*const ()>,
}

impl AllBlocked {
    /// Blocks them.
    ///
    /// # Errors
    /// What `pthread_sigmask` answers (never).
    pub fn new() -> io::Result<Self> {
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: a null set changes nothing; the mask that holds is written to the live local.
        let errno = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), before.as_mut_ptr()) };
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        block_all_in_this_thread()?;
        Ok(Self { before, _here: std::marker::PhantomData })
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // SAFETY: `new` filled the set; a null old-set pointer is allowed.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, self.before.as_ptr(), std::ptr::null_mut()) };
    }
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

    #[test]
    fn a_thread_that_is_started_while_all_are_blocked_has_them_blocked_and_the_starter_has_not() {
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find_map(|l| l.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
            u64::from_str_radix(&line, 16).unwrap()
        };
        let before = blocked();
        let guard = AllBlocked::new().unwrap();
        assert_ne!(std::thread::spawn(blocked).join().unwrap() & (1 << (libc::SIGALRM - 1)), 0);
        drop(guard);
        assert_eq!(blocked(), before);
    }
}
