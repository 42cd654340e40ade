//! Those who connect and send half a request, the wrong one, or noise.

use flate2::{Compress, Compression, FlushCompress};

use crate::driver::sim::{Read, Rng, SimSocket};

const PLAIN: &str = "";
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

fn upgrade(target: &str, header: &str) -> Vec<u8> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: fanwire.json.v1\r\n{header}\r\n"
    );
    request.into_bytes()
}

/// The parameters of a target that names so many topics.
fn target_of_many(count: u64) -> String {
    (0..count).map(|i| format!("topic=v/{i}")).collect::<Vec<_>>().join("&")
}

/// A message in thousands of frames of a byte, that never ends.
fn half_a_message() -> Vec<u8> {
    let first = [0x01, 0x81, 0, 0, 0, 0, b'['];
    let more = [0x00, 0x81, 0, 0, 0, 0, b'['];
    [&first[..], &more.repeat(8_000)].concat()
}

/// Messages of one frame of a few bytes: none of them is a request.
fn tiny_messages(count: usize) -> Vec<u8> {
    [0x81, 0x81, 0, 0, 0, 0, b'1'].repeat(count)
}

/// Messages that become a hundred times longer when they are inflated.
fn bombs(count: usize) -> Vec<u8> {
    let mut deflater = Compress::new(Compression::best(), false);
    let mut packed = Vec::with_capacity(8 << 10);
    let spaces = vec![b' '; 200 << 10];
    deflater.compress_vec(&spaces, &mut packed, FlushCompress::Sync).expect("memory is all that it needs");
    packed.truncate(packed.len() - 4);
    let mut frame = vec![0xC1, 0xFE];
    frame.extend_from_slice(&(packed.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&packed);
    frame.repeat(count)
}

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
        let script: Vec<u8> = match rng.below(12) {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(),
            2 => b"GET /t/a HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            3 => b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            4 => [&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; rng.skewed(100_000) as usize]].concat(),
            5 => (0..rng.skewed(3000)).map(|_| rng.next_u64() as u8).collect(),
            7 => [&upgrade("/", PLAIN)[..], &half_a_message()].concat(),
            8 => [&upgrade("/", DEFLATE)[..], &bombs(rng.between(1, 40) as usize)].concat(),
            9 => upgrade(&format!("/t/v?{}", target_of_many(rng.between(1, 60))), PLAIN),
            10 => [&upgrade("/", PLAIN)[..], &tiny_messages(rng.skewed(20_000) as usize)].concat(),
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
