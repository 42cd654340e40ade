//! Clients that send faster than they may: their input is paused, and in the end they are closed.
//!
//! Who is paused waits in the timer wheel. It is in no queue of waiters, so nobody looks at it before its time.

use crate::driver::Driver;
use crate::proto::close::CloseCode;
use crate::shard::Shard;
use crate::shard::turn::receive::Flow;
use crate::shard::waiters::Cause;

impl<D: Driver> Shard<D> {
    /// Counts bytes that a client has sent. Returns by how much they came too early.
    #[inline]
    pub(super) fn count_bytes(&mut self, slot: u32, bytes: usize) -> u64 {
        match self.admission.senders.counts_bytes() {
            true => self.admission.senders.on_bytes(slot, bytes, self.pace.now_ns),
            false => 0,
        }
    }

    /// Counts a message, or control frame, of a client.
    pub(super) fn count_message(&mut self, slot: u32) -> Flow {
        match self.admission.senders.on_message(slot, self.pace.now_ns) {
            0 => Flow::Go,
            early_ns => {
                self.pause_sender(slot, early_ns);
                if self.clients[slot].flags.has_ended { Flow::Go } else { Flow::Stop }
            }
        }
    }

    /// What a client has sent came too early by so much: nothing more is read of it for a while.
    #[cold]
    pub(super) fn pause_sender(&mut self, slot: u32, early_ns: u64) {
        let flags = self.clients[slot].flags;
        if !self.clients[slot].is_listening() || flags.is_waiting || flags.has_ended {
            // Its input waits already, and what it owes stays counted; or nothing more will come.
            return;
        }
        if self.admission.senders.pause(slot, early_ns, self.pace.now_ns).is_none() {
            self.stats.too_fast += 1;
            self.on_violation(slot, CloseCode::POLICY, "sends faster than it may, and goes on");
            return;
        }
        self.stats.input_paused += 1;
        self.hold_input(slot, None);
        self.clients[slot].flags.is_waiting = true;
        self.arm_liveness(slot);
    }

    /// Goes on reading if a pause has ended.
    pub(super) fn resume_sender(&mut self, slot: u32) {
        if self.admission.senders.resume(slot, self.pace.now_ns) {
            self.go_on_with_sender(slot);
        }
    }

    /// A client that is paused has ended: what it has sent is all that it will.
    pub(super) fn end_pause(&mut self, slot: u32) {
        if self.admission.senders.resume(slot, u64::MAX) {
            self.go_on_with_sender(slot);
        }
    }

    fn go_on_with_sender(&mut self, slot: u32) {
        self.clients[slot].flags.is_waiting = false;
        self.wait_for(slot, Cause::Turn);
    }
}
