//! One connection as its shard sees it. What an idle connection does not need, it does not own: everything rare lives in
//! [`Extra`], which comes from the shard's stock and goes back as soon as it is empty.

use std::borrow::Cow;
use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::table::NONE;
use super::timer::Moment;
use super::topics::{Form, Wishes};
use crate::event::Protocol;
use crate::ingest::{ClaimBuf, Payload};
use crate::proto::decoder::Decoder;
use crate::proto::request::RequestScanner;
use crate::proto::topic::Pattern;
use crate::types::{ConnectionId, Kind, TopicId};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection in this slot.
    Free,
    /// The upgrade request is arriving, or waits for room in the ring.
    Handshake,
    /// Messages flow.
    Open,
    /// Everything due is being flushed; the close frame follows at the end of it.
    Draining,
    /// A close frame (or a refusal) is queued; nothing follows it.
    Closing,
    /// Nothing more can be sent: closed at the end of the turn.
    Broken,
    /// The close frame is with the kernel and our side is shut; waiting for the peer's end.
    Lingering,
}

/// Which frame is half sent. Nothing else may be sent before its rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mid {
    /// None: the stream stands at a frame boundary.
    Boundary,
    /// The frame under the cursor of this link.
    Link(u32),
    /// A frame whose log memory is gone: [`Extra::remainder`].
    Remainder,
    /// The first of [`Extra::direct`].
    Direct,
}

/// [`Mid::Boundary`] where it is packed. Links are numbered from 0 and far fewer.
const MID_BOUNDARY: u32 = NONE;
/// [`Mid::Remainder`] likewise.
const MID_REMAINDER: u32 = NONE - 1;
/// [`Mid::Direct`] likewise.
const MID_DIRECT: u32 = NONE - 2;

/// Bits of a connection's state that are independent of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The socket took less than offered; a writable event is awaited.
    pub is_blocked: bool,
    /// On this turn's list of connections to be served.
    pub is_dirty: bool,
    /// Some of its cursors may lag although their streams have no news: serve all of them.
    pub has_leftover: bool,
    /// Receiving is paused in the driver.
    pub is_paused: bool,
    /// The peer will send no more.
    pub has_ended: bool,
    /// Its close frame has arrived: once ours is sent, nothing is left to wait for.
    pub has_said_close: bool,
    /// It may publish.
    pub may_publish: bool,
    /// Messages of this raw connection go to the host.
    pub is_hosts: bool,
    /// Some of its cursors pick: the hot pass must leave it alone.
    pub is_picking: bool,
    /// A message of it was handed to the host.
    pub has_spoken: bool,
    /// It does not want back (all of) what it publishes.
    pub skips_own: bool,
    /// A ping is out and unanswered.
    pub awaits_pong: bool,
    /// On the list of connections whose input waits for room elsewhere.
    pub is_stuck: bool,
    /// permessage-deflate was agreed: its messages may be compressed.
    pub may_deflate: bool,
    /// The host was told that it opened (and must be told that it closed).
    pub was_announced: bool,
}

/// Stands for no topic in [`Conn::publishes_to`].
pub const NO_TOPIC: TopicId = TopicId(NONE);

/// See the module's head. There is one for every slot, so what is not needed most of the time is elsewhere:
/// `shard/footprint.rs` has the sum.
#[derive(Debug)]
pub struct Conn {
    /// Where it is in its life.
    pub phase: Phase,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it is sent.
    pub form: Form,
    /// Independent bits.
    pub flags: Flags,
    /// Code that the connection will be (or was) closed with.
    pub close_code: u16,
    /// [`Mid`], packed.
    mid: u32,
    /// Counts the lives of this slot.
    pub generation: u32,
    /// First membership.
    pub memberships: u32,
    /// Number of the topic that a raw connection publishes to, or [`NO_TOPIC`].
    pub publishes_to: TopicId,
    /// Memberships whose `subscribed` is still to be sent.
    pub announce_count: u32,
    /// The last link of each priority's ring.
    pub links: [u32; 4],
    /// Number of links.
    pub link_count: u32,
    /// This turn's links with news: the position in the shard's list of the last of them, whose successor is the first.
    pub news: u32,
    /// When bytes last arrived.
    pub heard: Moment,
    /// When a message last arrived.
    pub message: Moment,
    /// What it asked for that cannot be told from its memberships: patterns, and names that are no topic yet.
    pub interests: Interests,
    /// Everything rare.
    pub extra: Option<Box<Extra>>,
}

impl Conn {
    /// An empty slot.
    pub fn vacant() -> Self {
        Self {
            phase: Phase::Free,
            protocol: Protocol::Raw,
            form: Form::Raw,
            flags: Flags::default(),
            close_code: 1006,
            mid: MID_BOUNDARY,
            generation: 0,
            memberships: NONE,
            publishes_to: NO_TOPIC,
            announce_count: 0,
            links: [NONE; 4],
            link_count: 0,
            news: NONE,
            heard: Moment::default(),
            message: Moment::default(),
            interests: Interests::default(),
            extra: None,
        }
    }

    /// Begins a life in this slot.
    pub fn open(&mut self, now_ns: u64) {
        let generation = self.generation.wrapping_add(1) & 0xff_ffff;
        let now = Moment::at(now_ns);
        *self = Self { phase: Phase::Handshake, generation, heard: now, message: now, ..Self::vacant() };
    }

    /// Ends the life in this slot.
    pub fn vacate(&mut self) {
        *self = Self { generation: self.generation, ..Self::vacant() };
    }

    /// Which frame is half sent.
    pub fn mid(&self) -> Mid {
        match self.mid {
            MID_BOUNDARY => Mid::Boundary,
            MID_REMAINDER => Mid::Remainder,
            MID_DIRECT => Mid::Direct,
            link => Mid::Link(link),
        }
    }

    /// Notes which frame is half sent.
    pub fn set_mid(&mut self, mid: Mid) {
        self.mid = match mid {
            Mid::Boundary => MID_BOUNDARY,
            Mid::Remainder => MID_REMAINDER,
            Mid::Direct => MID_DIRECT,
            Mid::Link(link) => link,
        };
    }

    /// True while messages may be sent to it.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining)
    }

    /// True while what it sends is looked at.
    pub fn is_listening(&self) -> bool {
        self.is_live() && self.extra.as_ref().is_none_or(|e| e.farewell.is_none())
    }

    /// True if its only cursor may be served by the hot pass.
    pub fn is_plain(&self) -> bool {
        self.phase == Phase::Open
            && self.link_count == 1
            && self.mid == MID_BOUNDARY
            && !self.flags.is_blocked
            && !self.flags.has_leftover
            && !self.flags.is_picking
            && self.announce_count == 0
            && self.extra.as_ref().is_none_or(|e| !e.has_output())
    }

    /// True if nothing is waiting to be sent apart from what its cursors show.
    pub fn has_output(&self) -> bool {
        self.mid != MID_BOUNDARY || self.announce_count > 0 || self.extra.as_ref().is_some_and(|e| e.has_output())
    }
}

/// A subscription that memberships come from: a pattern, or a name that is not a topic yet.
#[derive(Debug)]
pub struct Interest {
    /// Name or pattern.
    pub pattern: Pattern,
    /// The `id` of the request as it was written, to be echoed in `subscribed`.
    pub id: Option<Box<[u8]>>,
    /// What else the request asked for.
    pub wishes: Wishes,
    /// It is no longer wanted, but memberships still name it for their announcement.
    pub is_gone: bool,
    /// A name whose topic exists: it is counted as a membership.
    pub is_joined: bool,
}

/// A list of [`Interest`]s that is one pointer where it is empty, as it is for nearly all connections.
#[derive(Debug, Default)]
pub struct Interests(
    #[expect(clippy::box_collection, reason = "it is the three words of an empty list that are to be saved")]
    Option<Box<Vec<Interest>>>,
);

impl Interests {
    /// Adds one at the end.
    pub fn push(&mut self, interest: Interest) {
        let list = self.0.get_or_insert_default();
        if list.len() == list.capacity() {
            // Most have one, where a vector would begin with room for four.
            list.reserve_exact(list.len().max(1));
        }
        list.push(interest);
    }
}

impl std::ops::Deref for Interests {
    type Target = [Interest];

    fn deref(&self) -> &[Interest] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl std::ops::DerefMut for Interests {
    fn deref_mut(&mut self) -> &mut [Interest] {
        self.0.as_deref_mut().map_or(&mut [], Vec::as_mut_slice)
    }
}

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

/// The rest of a half-sent frame, its log memory being needed for something else.
#[derive(Debug)]
pub enum Piece {
    /// Copied, and counted against the remainder budget.
    Copied {
        /// The bytes.
        bytes: Vec<u8>,
        /// How many of them were sent.
        sent: usize,
    },
    /// A payload by reference from `from` on.
    Shared {
        /// The payload.
        payload: Payload,
        /// First unsent byte.
        from: usize,
        /// One past the last.
        to: usize,
    },
}

impl Piece {
    /// The unsent bytes.
    pub fn unsent(&self) -> &[u8] {
        match self {
            Piece::Copied { bytes, sent } => &bytes[*sent..],
            Piece::Shared { payload, from, to } => &payload[*from..*to],
        }
    }

    /// Notes that `n` more bytes were sent.
    pub fn advance(&mut self, n: usize) {
        match self {
            Piece::Copied { sent, .. } => *sent += n,
            Piece::Shared { from, .. } => *from += n,
        }
    }
}

/// A client's message that the ring, the host or the control queue has had no room for yet.
#[derive(Debug)]
pub enum Held {
    /// Of a raw connection: to be published, or handed to the host.
    Raw {
        /// Text or binary.
        kind: Kind,
        /// The payload.
        payload: Payload,
    },
    /// A control message, to be looked at from its beginning.
    Control {
        /// Text or binary.
        kind: Kind,
        /// The request.
        text: Payload,
    },
}

/// What only some connections need, some of the time.
#[derive(Debug, Default)]
pub struct Extra {
    /// Bytes received and not consumed: an upgrade request, an incomplete header, or input that waits.
    pub inbox: Vec<u8>,
    /// Looks for the end of an upgrade request in `inbox`.
    pub scanner: Option<RequestScanner>,
    /// Length of the upgrade request in `inbox`, once its end was found.
    pub request_len: usize,
    /// Peer address, until the upgrade is done.
    pub peer: Option<std::net::SocketAddr>,
    /// Control frames and HTTP responses, ready to be sent.
    pub control: Vec<u8>,
    /// Bytes of `control` already sent.
    pub control_sent: usize,
    /// The newest ping payload, to be answered; earlier ones have their pongs in `control`, as far as there was room.
    pub pong: Option<ArrayVec<u8, 125>>,
    /// The rest of a half-sent frame.
    pub remainder: VecDeque<Piece>,
    /// Messages to this connection alone.
    pub direct: VecDeque<Direct>,
    /// Bytes of the first of `direct` already sent.
    pub direct_sent: usize,
    /// Reads inbound frames, while it stands inside a frame or a message.
    pub decoder: Option<Decoder>,
    /// A message that is arriving in parts.
    pub assembly: Option<ClaimBuf>,
    /// A message that waits for room.
    pub held: Option<Held>,
    /// A close that waits for what is to be sent before it.
    pub farewell: Option<Farewell>,
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
pub struct Farewell {
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
        !self.control.is_empty() || self.pong.is_some() || !self.remainder.is_empty() || !self.direct.is_empty()
    }

    /// True if it can go back to the stock.
    pub fn is_empty(&self) -> bool {
        !self.has_output()
            && self.inbox.is_empty()
            && self.decoder.is_none()
            && self.assembly.is_none()
            && self.held.is_none()
            && self.farewell.is_none()
            && self.scanner.is_none()
            && self.peer.is_none()
    }

    /// True if control frames of `CONTROL_MAX - CONTROL_HIGH` bytes still fit.
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
}

/// The id of the connection in `slot`.
pub fn connection_id(shard: u8, slot: u32, conn: &Conn) -> ConnectionId {
    ConnectionId::new(shard, conn.generation, slot)
}
