//! Those who connect and send half a request, the wrong one, or noise.

use crate::driver::sim::{Read, Rng, SimSocket};

/// Somebody who connects and does not even try to speak WebSocket.
pub struct Vandal {
    socket: SimSocket,
    script: Vec<u8>,
    leaves: bool,
    /// It has closed its end.
    pub ended: bool,
}

impl Vandal {
    /// One with a random script.
    pub fn new(socket: SimSocket, rng: &mut Rng) -> Self {
        let script: Vec<u8> = match rng.below(8) {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(),
            2 => b"GET /t/a HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            3 => b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            4 => [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; rng.skewed(100_000) as usize]].concat(),
            5 => (0..rng.skewed(3000)).map(|_| rng.next_u64() as u8).collect(),
            6 => b"GET / HTTP/1.1\r\n".iter().copied().chain(b"A: b\r\n".repeat(10_000)).collect(),
            _ => b"GET /nothing HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".to_vec(),
        };
        let leaves = rng.chance(500);
        Vandal { socket, script, leaves, ended: false }
    }

    /// Writes some, reads some, perhaps leaves (in `leave` per mille).
    pub fn act(&mut self, rng: &mut Rng, leave: u32) {
        if self.ended {
            return;
        }
        if !self.script.is_empty() {
            let n = rng.between(1, self.script.len() as u64) as usize;
            match self.socket.write(&self.script[..n]) {
                Some(n) => {
                    self.script.drain(..n);
                }
                None => self.script.clear(),
            }
        }
        let read = self.socket.read(1000, &mut Vec::new());
        if matches!(read, Read::End | Read::Reset) || (self.leaves && rng.chance(leave)) {
            self.socket.close();
            self.ended = true;
        }
    }
}
