//! What the kernel says of one connection: a direct descriptor is lent a number for as long as it is asked.
//!
//! Its part of the safety contract (see [`ring`](super::ring)): the operation names no memory, and the number that it makes is owned
//! here alone.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::opcode;
use io_uring::types::Fixed;

use super::UringDriver;
use crate::driver::{Slot, SocketState};
use crate::sys::tcp;

impl UringDriver {
    /// `None` before Linux 6.8, whose rings give no numbers, and where the process has none left.
    pub(super) fn ask_socket(&mut self, slot: Slot) -> Option<SocketState> {
        self.open(slot)?;
        self.answers.begin();
        let token = self.answers.next();
        let entry = opcode::FixedFdInstall::new(Fixed(slot.0), 0).build();
        // SAFETY: it names no memory.
        unsafe { self.push(&entry.user_data(token)) };
        self.finish_batch();
        let number = Some(self.answers.results[0].result).filter(|&number| number >= 0)?;
        // SAFETY: the kernel has just made it for this call, and told nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        Some(SocketState { peer: tcp::peer(&fd), is_window_shut: tcp::is_window_shut(&fd) })
    }
}
