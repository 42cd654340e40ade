//! A bare io_uring that sends the same bytes to many sockets: 64 sends to a system call, fixed files, task work deferred.
//!
//! # Contract
//! Unsafe only to hand submissions to the kernel. The bytes of a submission are borrowed by [`SendRing::send_to_all`] for its whole
//! duration, and it does not return, by whatever way, while a submission is in flight.
#![allow(unsafe_code)]

use std::ops::Range;
use std::os::fd::RawFd;

use anyhow::{Context, Result, bail};
use io_uring::{IoUring, opcode, types};

/// Sends to a system call: more would evict each other's sockets from the caches.
const BATCH: u32 = 64;

/// The ring.
pub struct SendRing {
    ring: IoUring,
    registered: usize,
}

impl SendRing {
    /// A ring of this thread's.
    ///
    /// # Errors
    /// Where io_uring is refused.
    pub fn new() -> Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(BATCH)
            .context("the bare ring: io_uring is refused here")?;
        Ok(SendRing { ring, registered: 0 })
    }

    /// Makes these the files 0, 1 and so on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn register(&mut self, files: impl Iterator<Item = RawFd>) -> Result<()> {
        let files: Vec<RawFd> = files.collect();
        if self.registered > 0 {
            self.ring.submitter().unregister_files()?;
        }
        self.ring.submitter().register_files(&files).context("registering files")?;
        self.registered = files.len();
        Ok(())
    }

    /// Sends `bytes` to each of these files.
    ///
    /// # Errors
    /// When a send fails.
    pub fn send_to_all(&mut self, files: Range<u32>, bytes: &[u8]) -> Result<()> {
        let mut next = files.start;
        let mut failed = None;
        while next < files.end && failed.is_none() {
            let batch = (files.end - next).min(BATCH);
            for file in next..next + batch {
                let entry = opcode::Send::new(types::Fixed(file), bytes.as_ptr(), bytes.len() as u32)
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build();
                // SAFETY: `bytes` outlives the submission: this function waits for every completion before it returns.
                unsafe { self.ring.submission().push(&entry) }.context("a full submission queue")?;
            }
            let mut missing = batch;
            while missing > 0 {
                match self.ring.submit_and_wait(missing as usize) {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    // Submissions may be in flight that name `bytes`: there is no way back.
                    Err(error) => {
                        eprintln!("fanwire-perf: the bare ring: {error}");
                        std::process::abort();
                    }
                }
                for completion in self.ring.completion() {
                    missing -= 1;
                    if completion.result() != bytes.len() as i32 {
                        failed = Some(completion.result());
                    }
                }
            }
            next += batch;
        }
        match failed {
            Some(result) => bail!("the bare ring: a send gave {result} instead of {}", bytes.len()),
            None => Ok(()),
        }
    }
}
