//! One connection's TLS: its handshake or its keys, what came of a record, what is left of one.

use fanwire_tls::{Connection, HEADER_BYTES, Handshake, RECORD_BYTES_MAX};

use crate::driver::{RECV_HEADROOM, RecvBuf};

/// The number of buffers that are lent by this adapter, not by the driver below.
pub(super) const OWN_BUFFER: u16 = u16::MAX;
/// A record longer than this is gathered in a buffer for the longest.
const SHORT_RECORD: usize = 4 << 10;
/// Buffers for the longest record that are kept for the next one.
pub(super) const SPARE_BUFFERS: usize = 16;
/// About what rustls keeps for a handshake (measured: 5 to 8 KiB).
const HANDSHAKE_BYTES: usize = 8 << 10;

/// How far a session has come.
enum Phase {
    /// `None` before its first byte, while it is looked at, or where it could not be begun.
    Handshake(Option<Box<Handshake>>),
    Open(Box<Connection>),
    /// Nothing is sent or opened any more.
    Failed,
}

/// What is the case.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// The shard wants no input.
    pub is_paused: bool,
    /// Input waits for the handshake's turn.
    pub is_held: bool,
    /// The shard waits for [`crate::driver::Event::Writable`].
    pub is_wanted: bool,
    /// Its last send was short: records are small, so that little is left of one.
    pub is_slow: bool,
    /// The shard was told of the end.
    pub has_ended: bool,
    /// FIN follows when the rest is sent.
    pub shuts_down: bool,
    /// FIN is sent.
    pub is_shut: bool,
    /// The shard was told that the keys are used up.
    pub was_called_worn: bool,
}

/// See the module's head.
pub(super) struct Session {
    phase: Phase,
    pub flags: Flags,
    /// Sealed bytes that the socket has not taken: what is left of one record, or of a greeting.
    pub rest: Vec<u8>,
    /// The first of `rest` that is not sent.
    pub rest_at: usize,
    partial: Partial,
    /// Who the client is by its certificate, until the shard has taken it.
    subject: Option<Box<str>>,
    /// Until when it may send its rest, after the shard has closed it; 0 before.
    pub lingers_until: u64,
    /// What it has of [`Held`], but for its partial record.
    held_bytes: usize,
    /// When it last sent; 0: never.
    pub sealed_ns: u64,
    /// When [`super::hot_keys::HotKeys`] looks at it; 0: it does not.
    pub looked_at_ns: u64,
}

impl Session {
    pub fn new() -> Self {
        Self {
            phase: Phase::Handshake(None),
            flags: Flags::default(),
            rest: Vec::new(),
            rest_at: 0,
            partial: Partial::default(),
            subject: None,
            lingers_until: 0,
            held_bytes: 0,
            sealed_ns: 0,
            looked_at_ns: 0,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    pub fn has_rest(&self) -> bool {
        self.rest_at < self.rest.len()
    }

    pub fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.phase {
            Phase::Open(connection) => Some(connection),
            _ => None,
        }
    }

    /// Its handshake begins, unless it has.
    pub fn begin(&mut self, greet: impl FnOnce() -> Option<Box<Handshake>>) {
        if let Phase::Handshake(handshake @ None) = &mut self.phase {
            *handshake = greet();
        }
    }

    pub fn handshake(&mut self) -> Option<&mut Handshake> {
        match &mut self.phase {
            Phase::Handshake(handshake) => handshake.as_deref_mut(),
            _ => None,
        }
    }

    pub fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Handshake(_))
    }

    pub fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        match &mut self.phase {
            Phase::Handshake(handshake) => handshake.take(),
            _ => None,
        }
    }

    /// False: there is no memory for it.
    pub fn keep_handshake(&mut self, handshake: Box<Handshake>, held: &mut Held) -> bool {
        self.phase = Phase::Handshake(Some(handshake));
        self.hold_handshake(held)
    }

    /// The handshake counts for what is held. False: there is no memory for it.
    pub fn hold_handshake(&mut self, held: &mut Held) -> bool {
        let bytes = self.handshake().map_or(0, |handshake| HANDSHAKE_BYTES + handshake.input_bytes());
        self.hold(held, bytes + self.rest.len())
    }

    /// False: there is no memory for its subject.
    pub fn open(&mut self, connection: Connection, subject: Option<Box<str>>, held: &mut Held) -> bool {
        self.phase = Phase::Open(Box::new(connection));
        self.subject = subject;
        self.hold(held, 0)
    }

    /// Who the client is by its certificate; told once.
    pub fn take_subject(&mut self, held: &mut Held) -> Option<Box<str>> {
        let subject = self.subject.take()?;
        let bytes = subject.len().min(self.held_bytes);
        (self.held_bytes, held.bytes) = (self.held_bytes - bytes, held.bytes - bytes);
        Some(subject)
    }

    /// Nothing is sent or opened any more, and nothing kept.
    pub fn fail(&mut self, held: &mut Held) {
        self.phase = Phase::Failed;
        self.subject = None;
        (self.rest, self.rest_at) = (Vec::new(), 0);
        self.partial.forget(held);
        self.hold(held, 0);
    }

    /// It holds so many bytes now, beside its subject. False: there are not as many.
    pub fn hold(&mut self, held: &mut Held, bytes: usize) -> bool {
        let bytes = bytes + self.subject.as_ref().map_or(0, |subject| subject.len());
        held.bytes -= self.held_bytes;
        let fits = held.take_bytes(bytes);
        self.held_bytes = if fits { bytes } else { 0 };
        fits
    }

    /// Keeps this of a record. False: there is no memory for it.
    pub fn keep_rest(&mut self, rest: &[u8], held: &mut Held) -> bool {
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        self.rest_at = 0;
        self.hold(held, self.rest.len())
    }

    /// So many bytes of the rest are sent. True when all are.
    pub fn on_rest_sent(&mut self, bytes: usize, held: &mut Held) -> bool {
        self.rest_at += bytes;
        if self.has_rest() {
            return false;
        }
        (self.rest, self.rest_at) = (Vec::new(), 0);
        if self.is_open() {
            self.hold(held, 0);
        }
        true
    }

    /// The partial record, and the connection that opens it.
    pub fn opening(&mut self) -> Option<(&mut Partial, &mut Connection)> {
        match &mut self.phase {
            Phase::Open(connection) => Some((&mut self.partial, connection)),
            _ => None,
        }
    }
}

/// Memory that clients make us hold, and how much it may be.
pub(super) struct Held {
    bytes: usize,
    /// The most that there have been.
    most: usize,
    max: usize,
    spare: Vec<Box<[u8]>>,
}

impl Held {
    pub fn new(max: usize) -> Self {
        Self { bytes: 0, most: 0, max, spare: Vec::new() }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn most(&self) -> usize {
        self.most
    }

    #[cfg(test)]
    pub fn spare_count(&self) -> usize {
        self.spare.len()
    }

    /// So many bytes more. False: there are not as many.
    fn take_bytes(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= self.max;
        if fits {
            self.bytes += bytes;
            self.most = self.most.max(self.bytes);
        }
        fits
    }

    /// A buffer with room for headroom and a record of this length.
    fn take(&mut self, record: usize) -> Option<Box<[u8]>> {
        let record = if record > SHORT_RECORD { RECORD_BYTES_MAX } else { record };
        let bytes = RECV_HEADROOM + record;
        if !self.take_bytes(bytes) {
            return None;
        }
        let spare = if record == RECORD_BYTES_MAX { self.spare.pop() } else { None };
        Some(spare.unwrap_or_else(|| vec![0; bytes].into_boxed_slice()))
    }

    /// A buffer is not used any more.
    pub fn give_back(&mut self, buffer: Box<[u8]>) {
        self.bytes -= buffer.len();
        if buffer.len() == RECV_HEADROOM + RECORD_BYTES_MAX && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// A buffer that holds `bytes` behind its headroom.
    pub fn lend(&mut self, bytes: &[u8]) -> Option<RecvBuf> {
        let mut buffer = self.take(bytes.len())?;
        buffer[RECV_HEADROOM..RECV_HEADROOM + bytes.len()].copy_from_slice(bytes);
        Some(RecvBuf { bytes: buffer, start: RECV_HEADROOM, end: RECV_HEADROOM + bytes.len(), id: OWN_BUFFER })
    }
}

/// A record that is not whole.
#[derive(Default)]
pub(super) struct Partial {
    head: [u8; HEADER_BYTES],
    /// Bytes of it that are there, the head's included.
    have: usize,
    /// What it is gathered in, from its head on: known once the head is whole.
    buffer: Option<Box<[u8]>>,
    /// Its whole length, then.
    length: usize,
}

/// How a partial record has grown.
pub(super) enum Grown {
    /// It is not whole.
    Waits,
    /// It is: in this buffer, from [`RECV_HEADROOM`] on, so long.
    Whole(Box<[u8]>, usize),
    /// There is no memory for it.
    NoMemory,
    /// It is none.
    Wrong(fanwire_tls::Alert),
}

impl Partial {
    pub fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// Takes bytes from the front of `bytes`, until the record is whole.
    pub fn grow(&mut self, bytes: &mut &[u8], is_13: bool, held: &mut Held) -> Grown {
        if self.have < HEADER_BYTES {
            let taken = take_front(bytes, HEADER_BYTES - self.have);
            self.head[self.have..self.have + taken.len()].copy_from_slice(taken);
            self.have += taken.len();
            if self.have < HEADER_BYTES {
                return Grown::Waits;
            }
            self.length = match fanwire_tls::record_bytes(self.head, is_13) {
                Ok(length) => length,
                Err(alert) => return Grown::Wrong(alert),
            };
            let Some(mut buffer) = held.take(self.length) else { return Grown::NoMemory };
            buffer[RECV_HEADROOM..RECV_HEADROOM + HEADER_BYTES].copy_from_slice(&self.head);
            self.buffer = Some(buffer);
        }
        let Some(buffer) = &mut self.buffer else { return Grown::NoMemory };
        let taken = take_front(bytes, self.length - self.have);
        let at = RECV_HEADROOM + self.have;
        buffer[at..at + taken.len()].copy_from_slice(taken);
        self.have += taken.len();
        if self.have < self.length {
            return Grown::Waits;
        }
        self.have = 0;
        match self.buffer.take() {
            Some(buffer) => Grown::Whole(buffer, self.length),
            None => Grown::NoMemory,
        }
    }

    pub fn forget(&mut self, held: &mut Held) {
        self.have = 0;
        if let Some(buffer) = self.buffer.take() {
            held.give_back(buffer);
        }
    }
}

fn take_front<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, left) = bytes.split_at(most.min(bytes.len()));
    *bytes = left;
    taken
}
