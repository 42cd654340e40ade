//! Accepting: straight into the descriptor table, as many at once as there is room for, and never one more.
//!
//! Knows listeners and free slots. Its part of the safety contract (see [`ring`](super::ring)): the kernel writes peers'
//! addresses to a box that the driver keeps until its ring is gone.
#![allow(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use arrayvec::ArrayVec;
use io_uring::opcode;
use io_uring::types::{DestinationSlot, Fd};
use rustix::net::SocketFlags;

use super::{Connection, State, UringDriver, ring};
use crate::driver::gate::{ACCEPTS_PER_TURN, AcceptTrouble};
use crate::driver::{Event, Slot};
use crate::sys::socket::RawAddr;

/// Accepts tried at once when nothing is known of the backlog: each that finds it empty costs 0.15 µs.
const ACCEPTS_AT_FIRST: usize = 4;

/// Slots that a batch of accepts is to fill.
type Targets = ArrayVec<u32, ACCEPTS_PER_TURN>;

impl UringDriver {
    pub(super) fn accept(&mut self, most: usize, events: &mut Vec<Event>) {
        let mut left = most;
        for index in 0..self.listeners.len() {
            let mut attempt = ACCEPTS_AT_FIRST;
            while left > 0 && self.listeners[index].ready {
                let room = self.gate.room(self.free.in_use(), self.now_ns) as usize;
                let count = attempt.min(room).min(left).min(ACCEPTS_PER_TURN);
                if count == 0 {
                    break;
                }
                left -= self.accept_batch(index, count, events);
                attempt *= 4;
            }
            if self.gate.is_stopping() {
                self.finish_listening(index);
            }
        }
    }

    /// Tries `count` accepts, for which there are slots. Returns how many attempts were used up.
    fn accept_batch(&mut self, index: usize, count: usize, events: &mut Vec<Event>) -> usize {
        let Some(fd) = self.listeners[index].fd.as_ref().map(AsRawFd::as_raw_fd) else {
            self.listeners[index].ready = false;
            return 0;
        };
        // What comes in from here on is news, also if the poll reports it while the batch is under way.
        self.listeners[index].ready = false;
        // The gate's room is at most the free slots.
        let targets: Targets = (0..count).filter_map(|_| self.free.take()).collect();
        if self.accept_by_syscall {
            self.accept_into_table(index, &targets);
        } else {
            self.submit_accepts(fd, &targets);
        }

        let (mut empty, mut exhausted) = (false, false);
        let mut used = 0;
        for (attempt, &slot) in targets.iter().enumerate() {
            let result = self.answers.results[attempt].result;
            if result >= 0 {
                used += 1;
                self.on_accepted(index as u16, slot, attempt, events);
                continue;
            }
            if result == -libc::EINVAL && !self.accept_by_syscall {
                // Before 6.10 the kernel knows no accept that does not wait. Nothing was accepted: the other way.
                self.accept_by_syscall = true;
                continue;
            }
            match AcceptTrouble::of(-result) {
                AcceptTrouble::Empty => empty = true,
                AcceptTrouble::Lost => used += 1,
                AcceptTrouble::Exhausted => exhausted = true,
            }
        }
        for (_, &slot) in targets.iter().enumerate().rev().filter(|&(i, _)| self.answers.results[i].result < 0) {
            self.free.put(slot);
        }
        if exhausted {
            self.counters.accept_exhausted += 1;
            self.gate.on_exhausted(self.now_ns);
        }
        // No accept found the backlog empty: it may hold more.
        self.listeners[index].ready |= !empty;
        used
    }

    /// Accepts straight into the table's slots `targets`, all with one call.
    fn submit_accepts(&mut self, listener: i32, targets: &[u32]) {
        self.answers.begin();
        for (attempt, &slot) in targets.iter().enumerate() {
            let target = DestinationSlot::try_from_slot_target(slot).ok();
            let addr = &mut self.addrs[attempt];
            *addr = RawAddr::EMPTY;
            let room = &raw mut addr.len;
            let accept = opcode::Accept::new(Fd(listener), addr.bytes.as_mut_ptr().cast(), room).file_index(target);
            let token = self.answers.next();
            let entry = ring::without_waiting(accept.build().user_data(token));
            // SAFETY: the address and its length are in a box that this driver owns and frees after its ring; they stay
            // untouched until `finish_batch` below has seen the completion.
            unsafe { self.push(&entry) };
        }
        self.finish_batch();
    }

    /// The same with system calls: accept, move the socket into the table, forget its number.
    fn accept_into_table(&mut self, index: usize, targets: &[u32]) {
        let mut error = 0;
        for (attempt, &slot) in targets.iter().enumerate() {
            // After one error the rest would only repeat it.
            if error == 0 {
                match self.accept_one_into_table(index, slot) {
                    Ok(addr) => self.addrs[attempt] = addr,
                    Err(errno) => error = -errno.raw_os_error(),
                }
            }
            self.answers.results[attempt].result = error;
        }
    }

    fn accept_one_into_table(&mut self, index: usize, slot: u32) -> Result<RawAddr, rustix::io::Errno> {
        let Some(listener) = &self.listeners[index].fd else { return Err(rustix::io::Errno::AGAIN) };
        self.ring.syscalls += 3;
        let (fd, peer) = rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
        self.ring
            .submitter()
            .register_files_update(slot, &[fd.as_raw_fd()])
            .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::NOMEM))?;
        Ok(peer.and_then(|peer| SocketAddr::try_from(peer).ok()).map_or(RawAddr::EMPTY, RawAddr::from))
    }

    fn on_accepted(&mut self, listener: u16, slot: u32, attempt: usize, events: &mut Vec<Event>) {
        while self.connections.len() <= slot as usize {
            self.connections.push(Connection::default());
        }
        let generation = self.connections[slot as usize].generation;
        self.connections[slot as usize] = Connection { state: State::Open, generation, ..Connection::default() };
        events.push(Event::Accepted { listener, slot: Slot(slot), peer: self.addrs[attempt].to_socket_addr() });
        self.watch(slot);
    }

    /// Closes a listener whose poll is gone and whose backlog is empty, or that can be drained no further.
    fn finish_listening(&mut self, index: usize) {
        let full = self.free.is_empty();
        let listener = &mut self.listeners[index];
        // With its poll armed the kernel would keep it listening after our close.
        if !listener.armed && (!listener.ready || full) {
            listener.ready = false;
            listener.fd = None;
        }
    }
}
