//! One io_uring: set up with the flags the driver needs, and entered with nothing forgotten.
//!
//! Knows submission, completion and the ways `io_uring_enter` can fail; must never know connections.
//!
//! # Safety contract of this directory
//!
//! * Memory named by an operation lives until the operation's completion has been seen. The driver only issues three
//!   kinds of operation that name memory (accept, receive, send), always so that they cannot wait (`MSG_DONTWAIT`, or a
//!   non-blocking listener), and collects their completions before it returns.
//! * A ring that failed is never entered again, so that entries left in its queue, which may name memory that is gone, are
//!   never read.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

/// Consecutive refusals (`EAGAIN`, `EBUSY`) after which the ring is given up. Each is a look at the completions, so that
/// a kernel which only wants those taken is never given up on.
const REFUSALS_MAX: u32 = 100_000;

/// Completions taken out at once.
pub const REAP: usize = 64;

/// A completion's user data, result and flags.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// What was given with the operation.
    pub user_data: u64,
    /// Its result, or a negative errno.
    pub result: i32,
    /// `IORING_CQE_F_*`.
    pub flags: u32,
}

impl Completion {
    /// True if the operation goes on and will complete again.
    pub fn is_more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// True if the socket has more bytes than the receive took.
    pub fn is_socket_nonempty(&self) -> bool {
        cqueue::sock_nonempty(self.flags)
    }
}

/// `IORING_ACCEPT_DONTWAIT`: an accept that finds the backlog empty says so (Linux 6.10). The `O_NONBLOCK` of the
/// listener does not do that.
const ACCEPT_DONTWAIT: u16 = 1 << 1;
/// Where an entry has its `ioprio`, which holds an accept's flags: fixed by the kernel's interface.
const IOPRIO_AT: usize = 2;
const _: () = assert!(size_of::<squeue::Entry>() == 64);

/// Makes an accept answer `EAGAIN` instead of waiting. Kernels before 6.10 answer `EINVAL` to every such accept.
pub fn without_waiting(mut accept: squeue::Entry) -> squeue::Entry {
    let entry = (&raw mut accept).cast::<u8>();
    // SAFETY: an entry is 64 bytes (asserted above), so that two bytes at offset 2 are within it.
    let ioprio = unsafe { entry.add(IOPRIO_AT) }.cast::<u16>();
    // SAFETY: within the exclusively owned entry, aligned as entries are, and any bits are a valid value of the field.
    unsafe { ioprio.write(ACCEPT_DONTWAIT) };
    accept
}

/// The ring.
pub struct Ring {
    io: IoUring,
    /// Set once the ring is unusable.
    failed: Option<i32>,
    refusals: u32,
    overflown: bool,
    dropped_seen: u32,
    /// System calls made.
    pub syscalls: u64,
    /// Times the completion queue was found overflown.
    pub overflows: u64,
    /// Test knob: nothing that came after Linux 6.1.
    is_old: bool,
    #[cfg(test)]
    refuser: Option<Refuser>,
}

/// Test knob: makes most calls fail as the kernel may, two of three without doing anything, one after it has done all.
#[cfg(test)]
#[derive(Default)]
struct Refuser {
    random: u32,
    in_a_row: u32,
}

#[cfg(test)]
impl Refuser {
    /// The errno to answer with, if any, and whether the call is made all the same.
    fn next(&mut self) -> Option<(i32, bool)> {
        const ERRORS: [i32; 3] = [libc::EINTR, libc::EAGAIN, libc::EBUSY];
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let draw = self.random >> 24;
        // Now and then one goes through, or nothing would ever happen.
        if self.in_a_row >= 5 || draw.is_multiple_of(4) {
            self.in_a_row = 0;
            return None;
        }
        self.in_a_row += 1;
        if draw.is_multiple_of(3) { Some((libc::EINTR, true)) } else { Some((ERRORS[draw as usize % 3], false)) }
    }
}

impl Ring {
    /// A ring for this thread alone (`SINGLE_ISSUER`), whose completions come when asked for (`DEFER_TASKRUN`). `is_old`: one
    /// that Linux 6.1 would make, too.
    ///
    /// # Errors
    /// What `io_uring_setup` answers: `EPERM` and `ENOSYS` where it is forbidden, `EINVAL` before Linux 6.1, `ENOMEM` where
    /// `RLIMIT_MEMLOCK` is too small.
    pub fn new(sq_entries: u32, cq_entries: u32, is_old: bool) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(cq_entries.max(sq_entries).next_power_of_two());
        // Without the indirection array where the kernel (6.6) can do without.
        let newer = if is_old { None } else { Some(builder.clone().setup_no_sqarray().build(sq_entries)) };
        let io = match newer {
            None => builder.build(sq_entries)?,
            Some(Err(error)) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(sq_entries)?,
            Some(other) => other?,
        };
        if !(io.params().is_feature_nodrop() && io.params().is_feature_ext_arg()) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let dropped_seen = 0;
        Ok(Ring {
            io,
            failed: None,
            refusals: 0,
            overflown: false,
            dropped_seen,
            syscalls: 0,
            overflows: 0,
            is_old,
            #[cfg(test)]
            refuser: None,
        })
    }

    /// From now on most calls fail.
    #[cfg(test)]
    pub fn refuse_most_calls(&mut self) {
        self.refuser = Some(Refuser::default());
    }

    /// For registrations.
    pub fn submitter(&self) -> io_uring::Submitter<'_> {
        self.io.submitter()
    }

    /// The errno that ended the ring, if one did.
    pub fn failure(&self) -> Option<i32> {
        self.failed
    }

    /// Queues an entry. False if the queue is full: [`Ring::submit`] first.
    ///
    /// # Safety
    /// The memory that `entry` names must live until its completion was taken or the ring has failed.
    #[must_use]
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise is the one asked for here.
        unsafe { self.io.submission().push(entry) }.is_ok()
    }

    /// Entries queued and not yet handed over.
    pub fn queued(&mut self) -> usize {
        self.io.submission().len()
    }

    /// Hands over what is queued. Runs no deferred work and waits for nothing. True if all was handed over or the ring
    /// has failed; false if the kernel wants completions taken first.
    pub fn submit(&mut self) -> bool {
        while self.failed.is_none() {
            let queued = self.queued();
            if queued == 0 {
                return true;
            }
            if !self.enter(queued, 0, EnterFlags::empty(), None) {
                return false;
            }
        }
        true
    }

    /// True if completions can be had by asking: deferred work, or what did not fit the queue.
    pub fn has_deferred(&mut self) -> bool {
        let submission = self.io.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Hands over what is queued and lets deferred work complete, without waiting, if there is either.
    pub fn look(&mut self) {
        let queued = self.queued();
        if queued > 0 || self.has_deferred() {
            self.enter(queued, 0, EnterFlags::GETEVENTS, None);
        }
    }

    /// Hands over what is queued and waits for a completion, at most `timeout_ns` (`None`: as long as it takes).
    pub fn wait(&mut self, timeout_ns: Option<u64>) {
        if timeout_ns == Some(0) || !self.io.completion().is_empty() {
            // A zero timeout would cost a timer and a trip through the scheduler.
            return self.look();
        }
        let queued = self.queued();
        // Waiting for peers is no disk wait: without the flag (6.15) an idle server shows as 100 % iowait.
        let can_be_quiet = self.io.params().is_feature_no_iowait() && !self.is_old;
        let quietly = if can_be_quiet { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() };
        self.enter(queued, 1, EnterFlags::GETEVENTS | quietly, timeout_ns);
    }

    /// Takes completions out, at most [`REAP`]. Returns how many.
    pub fn reap(&mut self, into: &mut [Completion; REAP]) -> usize {
        let mut raw = [const { MaybeUninit::<cqueue::Entry>::uninit() }; REAP];
        let mut queue = self.io.completion();
        let taken = queue.fill(&mut raw);
        for (to, from) in into.iter_mut().zip(taken.iter()) {
            *to = Completion { user_data: from.user_data(), result: from.result(), flags: from.flags() };
        }
        let (count, dropped) = (taken.len(), queue.overflow());
        drop(queue);
        if dropped != self.dropped_seen {
            // The kernel had no memory to keep a completion: what it was about will never be known.
            self.dropped_seen = dropped;
            self.fail(libc::ENOMEM);
        }
        if count > 0 {
            self.refusals = 0;
        }
        count
    }

    /// Gives the ring up: it is never entered again.
    pub fn fail(&mut self, errno: i32) {
        self.failed.get_or_insert(errno);
    }

    /// One `io_uring_enter`. False if the kernel refused for now.
    fn enter(&mut self, queued: usize, want: u32, flags: EnterFlags, timeout_ns: Option<u64>) -> bool {
        if self.failed.is_some() {
            return true;
        }
        self.syscalls += 1;
        #[cfg(test)]
        if let Some((errno, is_made)) = self.refuser.as_mut().and_then(Refuser::next) {
            let mut refuser = self.refuser.take();
            if is_made {
                self.enter(queued, want, flags, timeout_ns);
            }
            std::mem::swap(&mut self.refuser, &mut refuser);
            return self.judge(Err(io::Error::from_raw_os_error(errno)));
        }
        let timespec = timeout_ns
            .map(|ns| Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32))
            .unwrap_or_default();
        let submitter = self.io.submitter();
        let result = if timeout_ns.is_some() {
            let args = SubmitArgs::new().timespec(&timespec);
            let flags = (flags | EnterFlags::EXT_ARG).bits();
            // SAFETY: `queued` entries are in the queue, each pushed under `push`'s contract; EXT_ARG goes with a
            // `SubmitArgs`, which lives to the end of the call as the timespec it names does.
            unsafe { submitter.enter(queued as u32, want, flags, Some(&args)) }
        } else {
            // SAFETY: as above, without an argument.
            unsafe { submitter.enter::<libc::sigset_t>(queued as u32, want, flags.bits(), None) }
        };
        let overflown = self.io.submission().cq_overflow();
        self.overflows += u64::from(overflown && !self.overflown);
        self.overflown = overflown;
        self.judge(result)
    }

    /// What a call's result means. False if the kernel refused for now.
    fn judge(&mut self, result: io::Result<usize>) -> bool {
        match result {
            Ok(_) => {
                self.refusals = 0;
                true
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => true,
                // No memory for a request, or the kernel wants completions taken first.
                Some(libc::EAGAIN | libc::EBUSY) if self.refusals < REFUSALS_MAX => {
                    self.refusals += 1;
                    false
                }
                errno => {
                    self.fail(errno.unwrap_or(libc::EIO));
                    true
                }
            },
        }
    }
}
