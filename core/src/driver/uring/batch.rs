//! Batches: operations that cannot wait, handed over together and all answered before anything else happens.
//!
//! Knows how entries reach the kernel and answers come back; must never know what is asked. Its part of the safety
//! contract (see [`ring`](super::ring)): [`UringDriver::finish_batch`] returns only when the kernel is done with every
//! operation of the batch, or the ring has failed and is never entered again.
#![allow(unsafe_code)]

use io_uring::squeue;

use super::ring::Completion;
use super::token::{GENERATIONS, Op, Token};
use super::{BATCH, UringDriver};

/// Results of the batch under way, by index.
pub struct Answers {
    serial: u32,
    /// Operations not answered yet.
    pub outstanding: usize,
    asked: usize,
    /// What was answered; `EIO` where nothing was.
    pub results: [Completion; BATCH],
}

/// What stands for an answer that never came.
pub const NO_ANSWER: Completion = Completion { user_data: 0, result: -libc::EIO, flags: 0 };

impl Answers {
    /// None.
    pub fn new() -> Self {
        Answers { serial: 0, outstanding: 0, asked: 0, results: [NO_ANSWER; BATCH] }
    }

    /// Starts a batch: the one before it must be finished.
    pub fn begin(&mut self) {
        debug_assert_eq!(self.outstanding, 0);
        self.serial = (self.serial + 1) % GENERATIONS;
        self.asked = 0;
    }

    /// The user data of the batch's next operation.
    pub fn next(&mut self) -> u64 {
        let token = Token::new(Op::Batch, self.serial, self.asked as u32);
        self.results[self.asked] = NO_ANSWER;
        self.asked += 1;
        self.outstanding += 1;
        token.pack()
    }

    /// Notes an answer.
    pub fn on_completion(&mut self, token: Token, completion: Completion) {
        // A batch that a failed ring left behind has an older serial.
        if token.generation == self.serial && (token.slot as usize) < self.asked {
            self.results[token.slot as usize] = completion;
            self.outstanding -= 1;
        }
        if cfg!(feature = "guard-pages") && completion.result == -libc::EFAULT {
            // Past whoever might take it for a connection's trouble.
            eprintln!("an operation named memory that is gone: {completion:?}");
            std::process::abort();
        }
    }
}

impl UringDriver {
    /// Queues an entry, handing over what is queued if there is no room.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: passed on to the caller.
        while !unsafe { self.ring.push(entry) } && self.ring.failure().is_none() {
            if !self.ring.submit() {
                self.reap();
            }
        }
    }

    /// Queues an operation that names no memory and completes when it likes.
    pub(super) fn push_detached(&mut self, entry: squeue::Entry, token: Token) {
        self.in_kernel += 1;
        // SAFETY: polls, cancels, closes and shutdowns name no memory of ours.
        unsafe { self.push(&entry.user_data(token.pack())) };
    }

    /// The same, on behalf of a connection, which is not over before it has completed.
    pub(super) fn push_for(&mut self, slot: u32, op: Op, entry: squeue::Entry) {
        let connection = &mut self.connections[slot as usize];
        connection.in_kernel += 1;
        let token = Token::new(op, connection.generation, slot);
        self.push_detached(entry, token);
    }

    /// Hands the batch over and takes completions until all of it is answered. Operations of a batch cannot wait, so that
    /// neither can this.
    pub(super) fn finish_batch(&mut self) {
        while self.answers.outstanding > 0 {
            let submitted = self.ring.submit();
            if self.ring.failure().is_some() {
                // Unanswered ones read as EIO; the next turn reports the ring's failure.
                self.answers.outstanding = 0;
                return;
            }
            if self.reap() == 0 && submitted {
                // Overflown into the kernel's own list: it is fetched by asking for events.
                self.ring.wait(None);
            }
        }
    }
}
