//! Job: one WebSocket connection from the client's side: connect, upgrade, frames both ways, close.
//! Knows: `proto`'s client half, sockets, poll. Must never know: what messages mean.
//!
//! The socket does not block; whoever uses it calls [`Client::step`] to let bytes move and [`Client::next`] for
//! what arrived. One thread and no lock: while the server takes nothing, pings are still read and answered.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use fanwire::proto::client::encode_frame;
use fanwire::proto::close::{CloseCode, Violation};
use fanwire::proto::decoder::{Decoder, Part, Role};
use fanwire::proto::encoder::close_payload;
use fanwire::proto::header::{CONTROL_PAYLOAD_BYTES_MAX, Opcode};
use fanwire::proto::inflate::Inflater;
use rustix::event::{PollFd, PollFlags, poll};

use crate::clock;
use crate::dial::{Interrupts, timespec};
use crate::exit::{Exit, Failure};
use crate::liveness::{Due, Liveness};
use crate::plain;
use crate::socket::Socket;
use crate::upgrade::{self, Offer, Upgraded};
use crate::url::Url;

/// Largest message accepted: the engine's largest payload as text of control characters, each of which takes six bytes in JSON,
/// and what stands around it.
const MESSAGE_BYTES_MAX: u64 = 6 * (64 << 20) + (64 << 10);
/// Free room wanted in the input buffer before a read: one read then brings many small frames.
pub const READ_BYTES: usize = 256 << 10;

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The close code; 1005 where the frame had none, 1006 where there was no close frame.
    pub code: u16,
    /// The reason given, or what broke.
    pub reason: String,
    /// The server does not keep to RFC 6455: this side has closed.
    pub is_violation: bool,
}

impl Closed {
    fn broken(reason: impl Into<String>) -> Self {
        Closed { code: CloseCode::ABNORMAL.to_u16(), reason: reason.into(), is_violation: false }
    }
}

impl Closed {
    /// True for 4401: what this side came in with is over, and would be refused.
    pub fn is_unauthorized(&self) -> bool {
        self.code == 4401
    }

    /// True for 1000, 1001 and 1012: the server meant it.
    pub fn is_orderly(&self) -> bool {
        matches!(self.code, 1000 | 1001 | 1012)
    }
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.reason.is_empty()) {
            (1006, true) => f.write_str("the connection broke without a close"),
            (1006, false) => write!(f, "the connection broke: {}", plain::text(&self.reason)),
            (code, true) => write!(f, "closed with {code} ({})", CloseCode::new(code).name()),
            (code, false) => {
                write!(f, "closed with {code} ({}): {}", CloseCode::new(code).name(), plain::text(&self.reason))
            }
        }
    }
}

/// What [`Client::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message, checked to be UTF-8.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// The connection has ended; nothing follows.
    Closed(Closed),
}

/// Another descriptor to wait for in [`Client::step`].
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// What is waited for. That it is broken is always told.
    pub wanted: PollFlags,
    /// What was seen.
    pub seen: PollFlags,
}

impl<'a> Watched<'a> {
    /// A descriptor to wait for.
    pub fn new(fd: BorrowedFd<'a>, wanted: PollFlags) -> Self {
        Watched { fd, wanted, seen: PollFlags::empty() }
    }
}

/// The connection.
pub struct Client {
    socket: Socket,
    decoder: Decoder,
    /// `input[start..end]` has arrived and is not decoded yet.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Pieces of a message that did not arrive in one, or a message that was compressed.
    message: Vec<u8>,
    /// Pieces of a compressed message.
    compressed: Vec<u8>,
    /// Where permessage-deflate was agreed.
    inflater: Option<Box<Inflater>>,
    /// `output[sent..]` has still to be sent.
    output: Vec<u8>,
    sent: usize,
    mask_keys: RandomState,
    masked: u64,
    close_sent: bool,
    closed: Option<Closed>,
    liveness: Liveness,
    /// The kernel had no room for all that was queued.
    is_full: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("socket", &self.socket).field("closed", &self.closed).finish_non_exhaustive()
    }
}

enum Found {
    InPlace { text: bool, range: Range<usize> },
    Assembled { text: bool },
}

impl Client {
    /// Connects to `url`. `None`: something interrupted it.
    ///
    /// # Errors
    /// As [`upgrade::upgrade`].
    pub fn connect(url: &Url, offer: &Offer<'_>, interrupts: &Interrupts<'_>) -> Result<Option<Self>, Failure> {
        let Some(upgraded) = upgrade::upgrade(url, offer, interrupts)? else { return Ok(None) };
        let Upgraded { socket, compresses, input, start, end } = upgraded;
        Ok(Some(Client {
            socket,
            decoder: Decoder::new(Role::Client, compresses),
            input,
            start,
            end,
            message: Vec::new(),
            compressed: Vec::new(),
            inflater: compresses.then(Box::default),
            output: Vec::new(),
            sent: 0,
            mask_keys: RandomState::new(),
            masked: 0,
            close_sent: false,
            closed: None,
            liveness: Liveness::new(offer.ping_every, clock::now()),
            is_full: false,
        }))
    }

    /// Queues a binary message; see [`Client::send_text`].
    pub fn send_binary(&mut self, bytes: &[u8]) {
        if !self.close_sent {
            self.queue(Opcode::Binary, bytes);
        }
    }

    /// Queues a text message. Nothing bounds the queue but the caller: see [`Client::queued_bytes`].
    pub fn send_text(&mut self, text: &[u8]) {
        if !self.close_sent {
            self.queue(Opcode::Text, text);
        }
    }

    /// Bytes that are queued and not with the kernel yet.
    pub fn queued_bytes(&self) -> usize {
        self.output.len() - self.sent + self.socket.held_back()
    }

    /// Queues a close frame; nothing can be sent after it.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if !self.close_sent {
            let mut payload = [0; CONTROL_PAYLOAD_BYTES_MAX];
            let n = close_payload(&mut payload, Some(code), reason);
            self.queue(Opcode::Close, &payload[..n]);
            self.close_sent = true;
        }
    }

    /// Lets bytes move: waits until something arrives (unless it does not read now), room to send what is queued, what is
    /// watched, or `until`. Pings, and notices where nobody answers.
    ///
    /// # Errors
    /// Only where polling itself fails; a broken connection comes out of [`Client::next`].
    pub fn step(&mut self, until: Instant, is_reading: bool, watched: &mut [Watched<'_>]) -> Result<(), Failure> {
        self.send_queued();
        let mut interest = PollFlags::empty();
        if self.closed.is_none() {
            interest.set(PollFlags::IN, is_reading);
            interest.set(PollFlags::OUT, self.queued_bytes() > 0);
        }
        let next_look = self.liveness.next().filter(|_| !self.is_ending());
        let until = next_look.map_or(until, |next| until.min(next));
        // What the socket holds already is not told by poll.
        let has_input = is_reading && self.closed.is_none() && self.socket.has_input();
        let left = if has_input { Duration::ZERO } else { until.saturating_duration_since(clock::now()) };
        let mut polled = Vec::with_capacity(1 + watched.len());
        polled.extend(watched.iter().map(|other| PollFd::from_borrowed_fd(other.fd, other.wanted)));
        // A connection that is done with, or that breaks while nobody reads it, would wake this at once, again and again.
        if !interest.is_empty() {
            polled.push(PollFd::new(&self.socket, interest));
        }
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                let error = anyhow::Error::new(io::Error::from(errno)).context("cannot wait for the connection");
                return Err(Failure::new(Exit::Io, error));
            }
        }
        let seen = polled.get(watched.len()).map_or(PollFlags::empty(), PollFd::revents);
        for (other, found) in watched.iter_mut().zip(&polled) {
            other.seen = found.revents();
        }
        drop(polled);
        if seen.intersects(PollFlags::OUT) {
            self.send_queued();
        }
        if has_input || is_reading && seen.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.receive();
        }
        self.look_at_silence(is_reading);
        Ok(())
    }

    /// True once one side has closed: from then on only who waits for the end knows how long.
    fn is_ending(&self) -> bool {
        self.closed.is_some() || self.close_sent
    }

    fn look_at_silence(&mut self, is_reading: bool) {
        if self.is_ending() {
            return;
        }
        match self.liveness.look(clock::now(), is_reading) {
            Due::Nothing => {}
            Due::Ping => self.queue(Opcode::Ping, &[]),
            Due::Pong => self.queue(Opcode::Pong, &[]),
            Due::Dead => self.closed = Some(Closed::broken("no answer to a ping")),
        }
    }

    /// The next message, or how the connection ended; `None` until more has arrived. Pings are answered on the way.
    pub fn next(&mut self) -> Option<Incoming<'_>> {
        let found = loop {
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
                return self.closed.clone().map(Incoming::Closed);
            }
            let step = match self.decoder.next(&mut self.input[self.start..self.end], MESSAGE_BYTES_MAX) {
                Ok(step) => step,
                Err(violation) => {
                    self.give_up(violation);
                    continue;
                }
            };
            self.start += step.consumed;
            match step.part {
                // What is left after the end of the stream will never be whole.
                None => return self.closed.clone().map(Incoming::Closed),
                Some(Part::Data { text, compressed: true, first, last, bytes }) => {
                    if first {
                        self.compressed.clear();
                    }
                    self.compressed.extend_from_slice(bytes);
                    if last {
                        match self.inflate(text) {
                            Ok(()) => break Found::Assembled { text },
                            Err(violation) => self.give_up(violation),
                        }
                    }
                }
                Some(Part::Data { text, first, last, bytes, .. }) => {
                    if first && last {
                        // A piece ends where the consumed bytes end.
                        let range = self.start - bytes.len()..self.start;
                        break Found::InPlace { text, range };
                    }
                    if first {
                        self.message.clear();
                    }
                    self.message.extend_from_slice(bytes);
                    if last {
                        break Found::Assembled { text };
                    }
                }
                Some(Part::Ping(payload)) => {
                    let payload = payload.to_vec();
                    // A peer that pings without end while it takes nothing gets no more pongs than fit a small queue.
                    if !self.close_sent && self.queued_bytes() < READ_BYTES {
                        self.queue(Opcode::Pong, &payload);
                    }
                }
                Some(Part::Pong(_)) => {}
                Some(Part::Close { code, reason }) => {
                    let closed_with = code.unwrap_or(CloseCode::NO_STATUS).to_u16();
                    let closed = Closed { code: closed_with, reason: reason.to_owned(), is_violation: false };
                    (self.start, self.end) = (0, 0);
                    self.close(code.unwrap_or(CloseCode::NORMAL), "");
                    self.send_queued();
                    self.closed = Some(closed);
                }
            }
        };
        let (is_text, bytes) = match found {
            Found::InPlace { text, range } => (text, &self.input[range]),
            Found::Assembled { text } => (text, &self.message[..]),
        };
        Some(match std::str::from_utf8(bytes) {
            // The decoder lets no text pass that is none.
            Ok(text) if is_text => Incoming::Text(text),
            _ => Incoming::Binary(bytes),
        })
    }

    /// Makes a message of the compressed one that is complete.
    fn inflate(&mut self, is_text: bool) -> Result<(), Violation> {
        self.message.clear();
        let invalid = |reason| Violation { code: CloseCode::INVALID_PAYLOAD, reason };
        let inflater = self.inflater.as_mut().ok_or_else(|| invalid("compressed without agreement"))?;
        inflater
            .inflate(&self.compressed, MESSAGE_BYTES_MAX as usize, &mut self.message)
            .map_err(|error| error.violation())?;
        if is_text && std::str::from_utf8(&self.message).is_err() {
            return Err(invalid("text is not UTF-8"));
        }
        Ok(())
    }

    /// The server broke the rules: says so and reads no further.
    fn give_up(&mut self, violation: Violation) {
        let what = format!("the server broke the protocol: {}", violation.reason);
        (self.start, self.end) = (0, 0);
        self.close(violation.code, violation.reason);
        self.send_queued();
        self.closed = Some(Closed { is_violation: true, ..Closed::broken(what) });
    }

    fn queue(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut hasher = self.mask_keys.build_hasher();
        hasher.write_u64(self.masked);
        self.masked += 1;
        let mask_key = (hasher.finish() as u32).to_ne_bytes();
        encode_frame(&mut self.output, opcode, true, false, mask_key, payload);
    }

    /// Gives the kernel what it takes now of what is queued; never waits.
    pub fn send_queued(&mut self) {
        let before = self.socket.moved().sent;
        let was_full = std::mem::take(&mut self.is_full);
        while self.queued_bytes() > 0 {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_full = true;
                    break;
                }
                Err(_) => {
                    // What the server said before it went may still wait to be read: reading tells how it ended.
                    self.output.clear();
                    self.sent = 0;
                    return;
                }
            }
        }
        // Room where there was none: the other side's kernel has taken something.
        if was_full && self.socket.moved().sent > before {
            self.liveness.on_sign(clock::now());
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        } else if self.sent > READ_BYTES {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
    }

    fn receive(&mut self) {
        if self.closed.is_some() {
            return;
        }
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.input.len() == self.end {
            // Only where the caller has not asked for what arrived: read on later.
            return;
        }
        let before = self.socket.moved().received;
        let read = self.socket.read(&mut self.input[self.end..]);
        // Also where it is no whole record of TLS yet.
        if self.socket.moved().received > before {
            self.liveness.on_sign(clock::now());
        }
        let broken = match read {
            Ok(0) => String::new(),
            Ok(n) => {
                self.end += n;
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => error.to_string(),
        };
        self.closed = Some(Closed::broken(broken));
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
