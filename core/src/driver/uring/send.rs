//! Sending: one operation for each connection of a batch, none of which waits.
//!
//! Its part of the safety contract (see [`ring`](super::ring)): the kernel reads what the batch borrows, and is done with it
//! before the borrow ends.
#![allow(unsafe_code)]

use io_uring::opcode;
use io_uring::types::Fixed;

use super::UringDriver;
use crate::driver::SendBatch;

const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

impl UringDriver {
    // --- Sending ---

    pub(super) fn submit_sends(&mut self, batch: &SendBatch<'_>) {
        self.answers.begin();
        for (index, (slot, parts)) in batch.iter().enumerate() {
            let token = self.answers.next();
            if self.open(slot).is_none() {
                self.answers.outstanding -= 1;
                self.answers.results[index].result = -libc::EBADF;
                continue;
            }
            let fixed = Fixed(slot.0);
            let cut = self.cutter.next();
            let entry = if parts.len() == 1 || cut.is_some() {
                let len = parts[0].len().min(cut.unwrap_or(usize::MAX)).min(u32::MAX as usize);
                opcode::Send::new(fixed, parts[0].as_ptr(), len as u32).flags(SEND_FLAGS).build()
            } else {
                let header = &mut self.headers[index];
                // `IoSlice` is an iovec by its contract; the kernel does not write through it in a send.
                header.msg_iov = parts.as_ptr().cast_mut().cast();
                header.msg_iovlen = parts.len() as _;
                opcode::SendMsg::new(fixed, header).flags(SEND_FLAGS as u32).build()
            };
            // SAFETY: bytes and parts are borrowed by the batch, which outlives this call; the header is in a box that this
            // driver owns. All of it stays as it is until `finish_batch` below has seen the completion.
            unsafe { self.push(&entry.user_data(token)) };
        }
        self.finish_batch();
    }
}
