//! Readiness: which polls the kernel has, and what their completions mean.
//!
//! Knows connections' states; must never move bytes.

use std::num::NonZeroU16;
use std::os::fd::AsRawFd;

use io_uring::opcode;
use io_uring::types::{Fd, Fixed};

use super::batch::NO_ANSWER;
use super::ring::{Completion, REAP};
use super::token::{GENERATIONS, Op, Token};
use super::{Outlet, POLL_AGAIN_NS, State, UringDriver};

const WATCHED: i32 = (libc::POLLIN | libc::POLLRDHUP) as i32;
/// Room to send, or an error that the next send learns.
const ROOM: i32 = (libc::POLLOUT | libc::POLLHUP | libc::POLLERR) as i32;
const HANGUP: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

impl UringDriver {
    /// Takes all completions there are. Returns how many.
    pub(super) fn reap(&mut self) -> usize {
        let mut total = 0;
        loop {
            let mut completions = [NO_ANSWER; REAP];
            let count = self.ring.reap(&mut completions);
            for completion in &completions[..count] {
                self.on_completion(*completion);
            }
            total += count;
            if count < REAP {
                return total;
            }
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        let Some(token) = Token::unpack(completion.user_data) else { return };
        if token.op == Op::Batch {
            return self.answers.on_completion(token, completion);
        }
        let is_last = !completion.is_more();
        self.in_kernel -= usize::from(is_last);
        match token.op {
            // Without its wakes or connections a driver is of no use, and to ask again and again would spin.
            Op::Waker | Op::Listener if completion.result < 0 && completion.result != -libc::ECANCELED => {
                self.ring.fail(-completion.result);
            }
            Op::Waker => {
                self.waker_armed &= !is_last;
                self.waker.on_signal();
                self.woken = true;
            }
            Op::Listener => {
                // A listener under cancellation is looked at a last time, too.
                let listener = &mut self.listeners[token.slot as usize];
                listener.armed &= !is_last;
                listener.ready = !listener.is_left;
                if listener.is_left && !listener.armed {
                    listener.fd = None;
                }
            }
            Op::CancelListener | Op::Batch => {}
            Op::Watch | Op::Room | Op::Cancel | Op::Close | Op::Shutdown => {
                self.on_connection_completion(token, completion.result, is_last);
            }
        }
    }

    fn on_connection_completion(&mut self, token: Token, result: i32, is_last: bool) {
        let slot = token.slot;
        let connection = &mut self.connections[slot as usize];
        // A slot is not reused while it has operations in the kernel: this is the second lock on that door.
        if connection.generation != token.generation {
            debug_assert!(false, "completion of a connection that is over: {token:?}");
            return;
        }
        connection.in_kernel -= u8::from(is_last);
        let is_open = connection.state == State::Open;
        match token.op {
            Op::Watch => {
                connection.watched &= !is_last;
                if is_open {
                    // An error reads as a hangup: the receive that follows learns what it is.
                    let hangup = result < 0 || result & HANGUP != 0;
                    let is_broken = result < 0 || result & (libc::POLLHUP | libc::POLLERR) as i32 != 0;
                    if connection.inlet.on_ready(hangup) || (hangup && connection.inlet.on_hangup(is_broken)) {
                        self.readable.push(slot);
                    }
                    if result < 0 {
                        // Errors of the kernel end at 4095.
                        connection.watch_error = NonZeroU16::new(-result as u16);
                    } else if is_last {
                        // Every good end re-arms: an overflow of completions ends polls that way.
                        self.unwatched.push(slot);
                    }
                }
            }
            Op::Room => {
                connection.room_armed = false;
                // The kernel tells of the peer's end whatever is asked for, at once and always: that is no room.
                let is_end_alone = result > 0 && result & ROOM == 0;
                if is_open && connection.outlet == Outlet::Waiting {
                    if is_end_alone {
                        self.polled_late.push_back((self.now_ns + POLL_AGAIN_NS, slot, connection.generation));
                    } else {
                        connection.outlet = Outlet::Due;
                        self.writable.push(slot);
                    }
                }
            }
            _ => {}
        }
        let connection = &mut self.connections[slot as usize];
        if connection.state == State::Closing && connection.in_kernel == 0 {
            connection.state = State::Free;
            connection.generation = (connection.generation + 1) % GENERATIONS;
            self.free.put(slot);
            self.gate.on_closed();
        }
    }

    /// Arms every poll that should be and is not.
    pub(super) fn arm(&mut self) {
        if !self.waker_armed {
            self.waker_armed = true;
            let poll = opcode::PollAdd::new(Fd(self.waker.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
            self.push_detached(poll, Token::new(Op::Waker, 0, 0));
        }
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            let is_over = listener.is_left || self.gate.is_stopping();
            if let (Some(fd), false, false) = (&listener.fd, listener.armed, is_over) {
                let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
                listener.armed = true;
                self.push_detached(poll, Token::new(Op::Listener, 0, index as u32));
            }
        }
        while let Some(slot) = self.unwatched.pop() {
            self.watch(slot);
        }
    }

    pub(super) fn watch(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if connection.state == State::Open && !connection.watched && !connection.inlet.is_ended() {
            connection.watched = true;
            let poll = opcode::PollAdd::new(Fixed(slot), WATCHED as u32).multi(true).build();
            self.push_for(slot, Op::Watch, poll);
        }
    }
}
