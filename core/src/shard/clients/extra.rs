//! What only some connections need, some of the time: input that waits, frames to it alone, the rest of a half-sent frame.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;

use arrayvec::ArrayVec;

use super::holders::Place;
use crate::ingest::Payload;
use crate::proto::decoder::Decoder;
use crate::proto::request::RequestScanner;
use crate::shard::message::Segments;
use crate::shard::request::Held;
use crate::shard::rest::RestPiece;

/// A message to this connection alone.
#[derive(Debug)]
pub struct Direct {
    /// The frame's header.
    pub header: ArrayVec<u8, 14>,
    /// The frame's payload.
    pub payload: Payload,
}

impl Direct {
    /// Length of the whole frame.
    pub fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

/// An upgrade request that is arriving, or waits.
#[derive(Debug)]
pub struct Handshake {
    /// Looks for its end.
    pub scanner: RequestScanner,
    /// Its length, once its end was found; 0 before.
    pub request_len: usize,
    /// Which of the listeners it came by.
    pub listener: u16,
    /// The peer's address, where the kernel told it.
    pub peer: Option<SocketAddr>,
    /// A trusted proxy has brought it, so that nothing is counted for its address yet. Who is one may change meanwhile.
    pub is_brought: bool,
}

/// What is counted of a connection.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bytes that are part of [`super::Clients::held_bytes`].
    pub held: usize,
    /// Its place among those that hold as much.
    pub(super) place: Place,
    /// Bytes that have come since its end began, which nobody wants any more.
    pub discarded: u32,
}

/// What only some connections need, some of the time.
#[derive(Debug, Default)]
pub struct Extra {
    /// Bytes received and not consumed: an upgrade request, an incomplete header, or input that waits.
    pub inbox: Vec<u8>,
    /// What is known of the upgrade request, until the upgrade is done.
    pub handshake: Option<Handshake>,
    /// Control frames and HTTP responses, ready to be sent.
    pub control: Vec<u8>,
    /// Bytes of `control` already sent.
    pub control_sent: usize,
    /// The newest ping payload, to be answered; earlier ones have their pongs in `control`, as far as there was room.
    pub pong: Option<ArrayVec<u8, 125>>,
    /// The rest of a half-sent frame.
    pub rest: VecDeque<RestPiece>,
    /// Messages to this connection alone.
    pub direct: VecDeque<Direct>,
    /// Bytes of the first of `direct` already sent.
    pub direct_sent: usize,
    /// Reads inbound frames, while it stands inside a frame or a message.
    pub decoder: Option<Decoder>,
    /// A message that is arriving in parts.
    pub assembly: Option<Segments>,
    /// When the message, or the frame, began of which more is to come; 0: there is none.
    pub began_ns: u64,
    /// What waits for something else before more input is looked at.
    pub held: Option<Held>,
    /// The name of the topic that a raw connection publishes to, while there is none of that name.
    pub publishes_to: Option<Box<str>>,
    /// A close that waits for what is to be sent before it.
    pub closing: Option<PlannedClose>,
    /// What is counted of it.
    pub tally: Tally,
}

/// What the host has still to do for a client that broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// Take the client's messages.
    Taking,
    /// Answer them.
    Answer,
    /// Nothing.
    Nothing,
}

/// A close that is decided, but not begun: messages to the connection alone go first.
#[derive(Debug)]
pub struct PlannedClose {
    /// Its code.
    pub code: u16,
    /// Its reason.
    pub reason: Cow<'static, str>,
    /// What it waits for beyond the messages that are queued.
    pub awaits: Awaits,
    /// When it is begun whatever waits.
    pub until_ns: u64,
}

/// Control bytes beyond which no more input is taken from the client.
pub const CONTROL_HIGH: usize = 2 << 10;
/// Control bytes that may be queued at all; gaps and announcements wait at [`CONTROL_HIGH`].
pub const CONTROL_MAX: usize = 8 << 10;

impl Extra {
    /// True if something here is to be sent.
    pub fn has_output(&self) -> bool {
        !self.control.is_empty() || self.pong.is_some() || !self.rest.is_empty() || !self.direct.is_empty()
    }

    /// Memory that its bytes stand in, apart from what the payload pool and the budget for half-sent frames count.
    pub fn held_bytes(&self) -> usize {
        self.inbox.capacity() + self.control.capacity() + self.held.as_ref().map_or(0, Held::bytes)
    }

    /// True if it can go back to the spare ones.
    pub fn is_empty(&self) -> bool {
        !self.has_output()
            && self.inbox.is_empty()
            && self.decoder.is_none()
            && self.assembly.is_none()
            && self.held.is_none()
            && self.closing.is_none()
            && self.tally.discarded == 0
            && self.publishes_to.is_none()
            && self.handshake.is_none()
    }

    /// True if an answer still fits.
    pub fn has_control_room(&self) -> bool {
        self.control.len() < CONTROL_HIGH
    }

    /// Notes that `n` control bytes were sent.
    pub fn control_was_sent(&mut self, n: usize) {
        self.control_sent += n;
        if self.control_sent == self.control.len() {
            self.control.clear();
            self.control_sent = 0;
        }
    }

    /// An empty one goes to the spare ones: what it counted is nothing, and memory that is more than most need is given back.
    pub fn trim(&mut self) {
        self.began_ns = 0;
        for buffer in [&mut self.inbox, &mut self.control] {
            if buffer.capacity() > CONTROL_MAX {
                *buffer = Vec::new();
            }
        }
    }

    /// Makes it as good as new, keeping its memory unless that is large.
    pub fn reset(&mut self) {
        self.trim();
        let (mut inbox, mut control) = (std::mem::take(&mut self.inbox), std::mem::take(&mut self.control));
        inbox.clear();
        control.clear();
        *self = Extra { inbox, control, ..Extra::default() };
    }
}
