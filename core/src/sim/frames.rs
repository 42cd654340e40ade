//! A client's end of the wire: the upgrade, then frames, cut anywhere.
//!
//! Everything the server sends must decode; nothing may follow its close frame.

use crate::driver::sim::{Read, Rng, SimSocket};
use crate::proto::client::{Connecting, ResponseError, UpgradeRequest, encode_frame};
use crate::proto::decoder::{Decoder, Part, Role};
use crate::proto::header::Opcode;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::settings::wall_of;
use super::view::Moment;

/// What came from the server.
#[derive(Debug)]
pub enum Incoming {
    /// 101, with this subprotocol and these extensions.
    Upgraded(Option<String>, Option<String>),
    /// Another HTTP status.
    Refused(u16),
    /// A whole message, and when its first byte was sent.
    Message {
        /// Text, or binary.
        is_text: bool,
        /// It came compressed.
        was_compressed: bool,
        /// What it holds.
        bytes: Vec<u8>,
        /// When its first byte was sent.
        sent: Moment,
    },
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame.
    Close(Option<u16>),
    /// FIN.
    End,
    /// RST.
    Reset,
}

enum Phase {
    Connecting(Box<Connecting>),
    Open,
    /// Refused, or closed by the server: only the end of the stream is still to come.
    Over,
    Ended,
}

/// One WebSocket connection of a client.
pub struct Wire {
    socket: SimSocket,
    phase: Phase,
    out: Vec<u8>,
    input: Vec<u8>,
    decoder: Decoder,
    message: Vec<u8>,
    /// Bytes of the stream before `input`.
    taken: u64,
    /// Where the message that is arriving begins.
    begun_at: Option<u64>,
    /// permessage-deflate was agreed.
    deflate: Option<Box<Deflate>>,
    /// FIN goes out after what is queued.
    finishing: bool,
    finished: bool,
}

struct Deflate {
    inflater: Decompress,
    deflater: Compress,
}

impl Deflate {
    fn new() -> Self {
        Deflate { inflater: Decompress::new(false), deflater: Compress::new(Compression::fast(), false) }
    }

    /// A message by itself, as RFC 7692 section 7.2.2 says. No block may be the final one.
    fn inflate(&mut self, message: &[u8]) -> Vec<u8> {
        self.inflater.reset(false);
        let input = [message, &[0, 0, 0xFF, 0xFF]].concat();
        let mut out = Vec::with_capacity(4 * message.len() + 1_024);
        loop {
            let at = self.inflater.total_in() as usize;
            let status = self.inflater.decompress_vec(&input[at..], &mut out, FlushDecompress::Sync);
            match status.expect("the server compresses") {
                Status::StreamEnd => panic!("the server sends a final block"),
                _ if self.inflater.total_in() as usize == input.len() && out.len() < out.capacity() => return out,
                _ if out.len() == out.capacity() => out.reserve(out.capacity()),
                status => panic!("{status:?} after {at} of {} compressed bytes", input.len()),
            }
        }
    }

    fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        self.deflater.reset();
        let mut out = Vec::with_capacity(2 * message.len() + 1_024);
        self.deflater.compress_vec(message, &mut out, FlushCompress::Sync).expect("memory is all that it needs");
        assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
        out.truncate(out.len() - 4);
        out
    }
}

impl Wire {
    /// Begins an upgrade.
    pub fn new(socket: SimSocket, target: &str, protocols: &[&str], headers: &[(&str, &str)], rng: &mut Rng) -> Self {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
        let request = UpgradeRequest { host: "sim", target, key, protocols, headers };
        let mut out = Vec::new();
        let connecting = request.write(&mut out).expect("a legal request");
        Wire {
            socket,
            phase: Phase::Connecting(Box::new(connecting)),
            out,
            input: Vec::new(),
            decoder: Decoder::new(Role::Client, false),
            message: Vec::new(),
            taken: 0,
            begun_at: None,
            deflate: None,
            finishing: false,
            finished: false,
        }
    }

    /// What is written before the request.
    #[cfg(test)]
    pub fn begins_with(&mut self, bytes: &[u8]) {
        self.out.splice(..0, bytes.iter().copied());
    }

    /// True between the 101 and the close frame.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// True once FIN or RST was read.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// True if nothing is queued to be written and nothing waits to be read.
    pub fn is_quiet(&self) -> bool {
        (self.out.is_empty() || self.finished || self.is_ended()) && (self.socket.readable() == 0 || self.is_ended())
    }

    /// Bytes queued to be written.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// From now on messages may be compressed.
    pub fn agree_to_deflate(&mut self) {
        self.deflate = Some(Box::new(Deflate::new()));
        self.decoder = Decoder::new(Role::Client, true);
    }

    /// The number of its socket.
    pub fn socket(&self) -> usize {
        self.socket.number()
    }

    /// Queues one message in one to `fragments_max` frames; compressed, perhaps, where that was agreed.
    pub fn send_message(&mut self, opcode: Opcode, payload: &[u8], fragments_max: u64, rng: &mut Rng) {
        let fragments = rng.between(1, fragments_max.max(1));
        let packed = match &mut self.deflate {
            Some(deflate) if rng.chance(500) => Some(deflate.deflate(payload)),
            _ => None,
        };
        let is_packed = packed.is_some();
        let mut rest = packed.as_deref().unwrap_or(payload);
        for i in 0..fragments {
            let last = i + 1 == fragments;
            let n = if last { rest.len() } else { rng.index(rest.len() + 1) };
            let (now, later) = rest.split_at(n);
            rest = later;
            let opcode = if i == 0 { opcode } else { Opcode::Continuation };
            let key = (rng.next_u64() as u32).to_le_bytes();
            encode_frame(&mut self.out, opcode, last, is_packed && i == 0, key, now);
            if !last && rng.chance(100) {
                self.send_frame(Opcode::Pong, true, b"between fragments", rng);
            }
        }
    }

    /// Queues one frame.
    pub fn send_frame(&mut self, opcode: Opcode, fin: bool, payload: &[u8], rng: &mut Rng) {
        let key = (rng.next_u64() as u32).to_le_bytes();
        encode_frame(&mut self.out, opcode, fin, false, key, payload);
    }

    /// Queues a message that was compressed elsewhere.
    #[cfg(test)]
    pub fn send_compressed(&mut self, opcode: Opcode, compressed: &[u8], rng: &mut Rng) {
        let key = (rng.next_u64() as u32).to_le_bytes();
        encode_frame(&mut self.out, opcode, true, true, key, compressed);
    }

    /// Queues any bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Queues a close frame.
    pub fn send_close(&mut self, code: Option<u16>, rng: &mut Rng) {
        let payload = code.map(u16::to_be_bytes);
        self.send_frame(Opcode::Close, true, payload.as_ref().map_or(&[], |p| &p[..]), rng);
    }

    /// FIN after what is queued.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// RST now.
    pub fn reset(&mut self) {
        self.socket.reset();
        self.phase = Phase::Ended;
    }

    /// Closes both directions now, queued or not.
    pub fn close(&mut self) {
        self.socket.close();
        self.phase = Phase::Ended;
    }

    /// Writes some of what is queued: all, or a piece cut anywhere.
    pub fn write_some(&mut self, rng: &mut Rng) {
        if self.finished || self.is_ended() {
            return;
        }
        if !self.out.is_empty() {
            let most = if rng.chance(500) { self.out.len() } else { rng.between(1, self.out.len() as u64) as usize };
            match self.socket.write(&self.out[..most]) {
                Some(n) => {
                    self.out.drain(..n);
                }
                // Reset: reading will say so, after what is still there.
                None => self.out.clear(),
            }
        }
        if self.out.is_empty() && self.finishing {
            self.socket.shutdown();
            self.finished = true;
        }
    }

    /// Reads at most `max` bytes and says what they were.
    pub fn read_some(&mut self, max: usize) -> Vec<Incoming> {
        let mut incoming = Vec::new();
        if self.is_ended() {
            return incoming;
        }
        let read = self.socket.read(max, &mut self.input);
        if let Phase::Connecting(connecting) = &mut self.phase {
            match connecting.response(&self.input) {
                Ok(None) => {}
                Ok(Some(response)) => {
                    self.input.drain(..response.head_bytes);
                    self.taken += response.head_bytes as u64;
                    self.phase = Phase::Open;
                    if response.extensions.is_some() {
                        self.agree_to_deflate();
                    }
                    incoming.push(Incoming::Upgraded(response.protocol, response.extensions));
                }
                Err(ResponseError::Refused { status, .. }) => {
                    self.phase = Phase::Over;
                    self.input.clear();
                    incoming.push(Incoming::Refused(status));
                }
                Err(error) => panic!("broken response: {error}: {:?}", String::from_utf8_lossy(&self.input)),
            }
        }
        if self.is_open() {
            self.decode(&mut incoming);
        }
        match read {
            Read::End => incoming.push(Incoming::End),
            Read::Reset => incoming.push(Incoming::Reset),
            Read::Bytes(_) | Read::Nothing => return incoming,
        }
        self.phase = Phase::Ended;
        incoming
    }

    fn decode(&mut self, incoming: &mut Vec<Incoming>) {
        let mut at = 0;
        loop {
            let step = match self.decoder.next(&mut self.input[at..], u64::MAX) {
                Ok(step) => step,
                Err(violation) => panic!("the server sent a broken frame: {violation}"),
            };
            if self.begun_at.is_none() && step.consumed > 0 {
                self.begun_at = Some(self.taken + at as u64);
            }
            at += step.consumed;
            match step.part {
                None => break,
                Some(Part::Data { text, last, bytes, compressed, .. }) => {
                    self.message.extend_from_slice(bytes);
                    if last {
                        let mut bytes = std::mem::take(&mut self.message);
                        let begun_at = self.begun_at.take().expect("it began");
                        if compressed {
                            bytes = self.deflate.as_mut().expect("else the decoder refuses it").inflate(&bytes);
                        }
                        let (now_ns, turn) = self.socket.sent_at(begun_at);
                        let sent = Moment { now_ns, wall_ns: wall_of(now_ns), turn };
                        incoming.push(Incoming::Message { is_text: text, was_compressed: compressed, bytes, sent });
                    }
                }
                Some(Part::Ping(payload)) => {
                    assert!(self.message.is_empty(), "a control frame inside a message");
                    incoming.push(Incoming::Ping(payload.to_vec()));
                    self.begun_at = None;
                }
                Some(Part::Pong(payload)) => {
                    assert!(self.message.is_empty(), "a control frame inside a message");
                    incoming.push(Incoming::Pong(payload.to_vec()));
                    self.begun_at = None;
                }
                Some(Part::Close { code, .. }) => {
                    incoming.push(Incoming::Close(code.map(|code| code.to_u16())));
                    self.phase = Phase::Over;
                    let after = self.input.len() - at;
                    assert_eq!(after, 0, "{after} bytes follow the close frame");
                    break;
                }
            }
        }
        self.input.drain(..at);
        self.taken += at as u64;
    }
}

impl Wire {
    /// After the close frame: any byte at all is one too many.
    pub fn check_silence(&self) {
        if matches!(self.phase, Phase::Over | Phase::Ended) && self.decoder.is_ended() {
            assert!(self.input.is_empty(), "{} bytes follow the close frame", self.input.len());
        }
    }
}
