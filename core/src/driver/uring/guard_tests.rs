//! What the guard pages are for: that they bite.
//!
//! Safety: the one operation here names a buffer that is released while it is under way, which is the point: its pages stay
//! untouchable for the rest of the test, so that the kernel writes to nobody's memory.
#![allow(unsafe_code)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::opcode;
use io_uring::types::Fd;

use super::ring::{Completion, REAP, Ring};
use crate::driver::DriverLimits;
use crate::driver::buffers::RecvBuffers;

const NOTHING: Completion = Completion { user_data: 0, result: 0, flags: 0 };

/// What a receive gives that the kernel finishes after the buffer went back (or before, if it is not `too_early`).
fn receive(too_early: bool) -> i32 {
    let limits = DriverLimits { slots: 1, recv_buffers: 1, recv_bytes: 1024, events_per_turn: 1 };
    let mut buffers = RecvBuffers::new(&limits);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    let mut ring = Ring::new(4, 4, false).unwrap();

    let mut buf = buffers.take().unwrap();
    let room = (buf.bytes.len() - buf.start) as u32;
    let to = buf.bytes[buf.start..].as_mut_ptr();
    let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), to, room).build().user_data(1);
    // SAFETY: the pages of the buffer outlive the operation, or cannot be touched when it writes.
    assert!(unsafe { ring.push(&entry) });
    assert!(ring.submit());
    let kept = if too_early {
        buffers.put(buf);
        None
    } else {
        Some(buf)
    };
    peer.write_all(b"late").unwrap();
    let mut completions = [NOTHING; REAP];
    while ring.reap(&mut completions) == 0 {
        ring.wait(Some(10_000_000));
    }
    drop(kept);
    completions[0].result
}

#[test]
fn a_receive_into_a_buffer_that_went_back_too_early_ends_with_efault() {
    assert_eq!(receive(false), 4);
    assert_eq!(receive(true), -libc::EFAULT);
}
