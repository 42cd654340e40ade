//! Receiving: one read for each connection that has something, as far as there are buffers.
//!
//! Its part of the safety contract (see [`ring`](super::ring)): the kernel writes to buffers that stay in the driver's
//! hands until their reads are answered.
#![allow(unsafe_code)]

use io_uring::opcode;
use io_uring::types::Fixed;

use super::ring::Completion;
use super::{AGAIN, BATCH, INTERRUPTED, Read, State, UringDriver};
use crate::driver::inlet::{NextRead, end_seen};
use crate::driver::{Event, Slot};

/// Reads of one connection in one turn while others wait.
const READS_PER_TURN: usize = 4;

impl UringDriver {
    pub(super) fn receive(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        let mut attempts = self.readable.len() * READS_PER_TURN;
        while left > 0 && attempts > 0 {
            let mut reads = std::mem::take(&mut self.reads);
            self.begin_reads(left.min(attempts).min(BATCH), &mut reads);
            attempts -= reads.len();
            let count = reads.len();
            self.submit_reads(&mut reads);
            for (index, read) in reads.drain(..).enumerate() {
                let before = events.len();
                self.on_read(self.answers.results[index], read, events);
                left -= events.len() - before;
            }
            self.reads = reads;
            if count == 0 {
                return;
            }
        }
    }

    /// Pairs connections that may have bytes with buffers.
    fn begin_reads(&mut self, most: usize, reads: &mut Vec<Read>) {
        while reads.len() < most && !self.readable.is_empty() {
            let Some(buf) = self.buffers.take() else {
                self.counters.recv_buffers_exhausted += 1;
                return;
            };
            let Some(slot) = self.readable.pop() else { return };
            let connection = &mut self.connections[slot as usize];
            let next = match connection.state {
                State::Open => connection.inlet.next_read(),
                _ => NextRead::Nothing,
            };
            match next {
                NextRead::Bytes => connection.inlet.on_read_begin(),
                NextRead::Peek { .. } => {}
                NextRead::Nothing => {
                    self.buffers.put(buf);
                    continue;
                }
            }
            reads.push(Read { slot, buf, next });
        }
    }

    fn submit_reads(&mut self, reads: &mut [Read]) {
        self.answers.begin();
        for Read { slot, buf, next } in reads.iter_mut() {
            let look = if *next == NextRead::Bytes { 0 } else { libc::MSG_PEEK };
            let room = (buf.bytes.len() - buf.start) as u32;
            let to = buf.bytes[buf.start..].as_mut_ptr();
            let receive = opcode::Recv::new(Fixed(*slot), to, room).flags(libc::MSG_DONTWAIT | look).build();
            let token = self.answers.next();
            // SAFETY: the buffer is exclusively borrowed through `reads` and stays where it is until `finish_batch` below
            // has seen the completion; `room` is what is left of it from `to`.
            unsafe { self.push(&receive.user_data(token)) };
        }
        self.finish_batch();
    }

    fn on_read(&mut self, answer: Completion, read: Read, events: &mut Vec<Event>) {
        let Read { slot, mut buf, next } = read;
        let connection = &mut self.connections[slot as usize];
        let slot_id = Slot(slot);
        if let NextRead::Peek { is_broken } = next {
            let seen = usize::try_from(answer.result).map_err(|_| -answer.result);
            if let Some(error) = end_seen(seen, is_broken)
                && connection.inlet.on_end()
            {
                events.push(Event::End { slot: slot_id, error });
            }
            self.buffers.put(buf);
            return;
        }
        match answer.result {
            count @ 1.. => {
                buf.end = buf.start + count as usize;
                let more = buf.end == buf.bytes.len() || answer.is_socket_nonempty();
                self.counters.receives += 1;
                events.push(Event::Received { slot: slot_id, buf });
                if connection.inlet.on_bytes(more) {
                    self.readable.push(slot);
                }
                return;
            }
            AGAIN => {
                connection.inlet.on_nothing();
                if let Some(errno) = connection.watch_error
                    && connection.inlet.on_end()
                {
                    events.push(Event::End { slot: slot_id, error: Some(errno.get().into()) });
                }
            }
            INTERRUPTED => {
                if connection.inlet.on_ready(false) {
                    self.readable.push(slot);
                }
            }
            ended => {
                if connection.inlet.on_end() {
                    events.push(Event::End { slot: slot_id, error: (ended < 0).then_some(-ended) });
                }
            }
        }
        self.buffers.put(buf);
    }
}
