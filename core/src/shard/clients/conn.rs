//! One connection: its phase, its bits, which frame is half sent. What an idle connection does not need, it does not own:
//! everything rare lives in [`Extra`], which comes from the shard's spare ones and goes back as soon as it is empty.

use super::extra::Extra;
use super::wheel::Moment;
use crate::event::Protocol;
use crate::shard::table::NONE;
use crate::types::TopicId;

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
    /// Marked to be closed at the end of the turn; every part passes it over.
    Marked,
    /// A close frame (or a refusal) is queued; nothing follows it.
    Closing,
    /// Nothing more can be sent: its slot is freed as soon as its subscriptions are gone.
    Broken,
    /// The close frame is with the kernel and our side is shut; waiting for the peer's end.
    Lingering,
}

/// Which frame is half sent. Nothing else may be sent before its rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfSent {
    /// None: the stream stands at a frame boundary.
    Nothing,
    /// The frame under the cursor of this link.
    Cursor(u32),
    /// A frame whose log memory is gone: [`Extra::rest`].
    Rest,
    /// The first of [`Extra::direct`].
    Direct,
}

/// [`HalfSent::Nothing`] where it is packed. Links are numbered from 0 and far fewer.
const HALF_SENT_NOTHING: u32 = NONE;
/// [`HalfSent::Rest`] likewise.
const HALF_SENT_REST: u32 = NONE - 1;
/// [`HalfSent::Direct`] likewise.
const HALF_SENT_DIRECT: u32 = NONE - 2;

/// Bits of a connection's state that are independent of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The socket took less than offered; a writable event is awaited.
    pub is_blocked: bool,
    /// On this turn's list of connections to be served.
    pub is_dirty: bool,
    /// Some of its cursors may lag although their streams have no news: look at all of them.
    pub must_look: bool,
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
    /// A message of it was handed to the host.
    pub has_spoken: bool,
    /// It has published something, before any end began.
    pub has_published: bool,
    /// What it publishes does not come back to it (to all of its subscriptions).
    pub skips_own: bool,
    /// A ping is out and unanswered.
    pub awaits_pong: bool,
    /// The topic that it publishes to is gone: [`Extra::publishes_to`] names it.
    pub awaits_topic: bool,
    /// In one of the queues of what waits.
    pub is_waiting: bool,
    /// It gets a close frame: the host is told of each topic that it leaves, even if it is gone sooner.
    pub closes_in_order: bool,
    /// Its subscriptions are being taken down.
    pub is_leaving: bool,
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
    /// Independent bits.
    pub flags: Flags,
    /// The lower half of the second of its upgrade; the upper one is with its subscriptions, where there is room as well.
    pub opened_s: u16,
    /// Code that the connection will be (or was) closed with.
    pub close_code: u16,
    /// [`HalfSent`], packed.
    half_sent: u32,
    /// Counts the lives of this slot.
    pub generation: u32,
    /// Number of the topic that a raw connection publishes to, or [`NO_TOPIC`].
    pub publishes_to: TopicId,
    /// This turn's links with news: the position in the sender's list of the last of them, whose successor is the first.
    pub news: u32,
    /// When bytes last arrived.
    pub heard: Moment,
    /// When a message last arrived.
    pub message: Moment,
    /// Everything rare.
    pub extra: Option<Box<Extra>>,
}

impl Conn {
    /// An empty slot.
    pub fn vacant() -> Self {
        Self {
            phase: Phase::Free,
            protocol: Protocol::Raw,
            flags: Flags::default(),
            opened_s: 0,
            close_code: 1006,
            half_sent: HALF_SENT_NOTHING,
            generation: 0,
            publishes_to: NO_TOPIC,
            news: NONE,
            heard: Moment::default(),
            message: Moment::default(),
            extra: None,
        }
    }

    /// Begins a life in this slot.
    pub fn open(&mut self, now_ns: u64) {
        let generation = self.generation.wrapping_add(1) & 0xff_ffff;
        let now = Moment::at(now_ns);
        let flags = self.flags_of_the_slot();
        *self = Self { phase: Phase::Handshake, generation, heard: now, message: now, flags, ..Self::vacant() };
    }

    /// Ends the life in this slot.
    pub fn vacate(&mut self) {
        *self = Self { generation: self.generation, flags: self.flags_of_the_slot(), ..Self::vacant() };
    }

    /// A slot that is on the list of those to be served stays there from one life to the next: it is there once.
    fn flags_of_the_slot(&self) -> Flags {
        Flags { is_dirty: self.flags.is_dirty, ..Flags::default() }
    }

    /// Which frame is half sent.
    pub fn half_sent(&self) -> HalfSent {
        match self.half_sent {
            HALF_SENT_NOTHING => HalfSent::Nothing,
            HALF_SENT_REST => HalfSent::Rest,
            HALF_SENT_DIRECT => HalfSent::Direct,
            link => HalfSent::Cursor(link),
        }
    }

    /// Notes which frame is half sent.
    pub fn set_half_sent(&mut self, half_sent: HalfSent) {
        self.half_sent = match half_sent {
            HalfSent::Nothing => HALF_SENT_NOTHING,
            HalfSent::Rest => HALF_SENT_REST,
            HalfSent::Direct => HALF_SENT_DIRECT,
            HalfSent::Cursor(link) => link,
        };
    }

    /// Changes when some of what waits of its input has been dealt with.
    pub fn progress(&self) -> (Phase, usize, usize) {
        let extra = self.extra.as_deref();
        let held = extra.and_then(|e| e.held.as_ref()).map_or(0, |held| held.mark());
        (self.phase, held, extra.map_or(0, |e| e.inbox.len()))
    }

    /// True while messages may be sent to it.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining)
    }

    /// True while what it sends is looked at.
    pub fn is_listening(&self) -> bool {
        self.is_live() && self.extra.as_ref().is_none_or(|e| e.closing.is_none())
    }

    /// True if its only cursor may be served by the hot pass, as far as the connection is concerned.
    pub fn is_plain(&self) -> bool {
        self.phase == Phase::Open
            && self.half_sent == HALF_SENT_NOTHING
            && !self.flags.is_blocked
            && !self.flags.must_look
            && self.extra.as_ref().is_none_or(|e| !e.has_output())
    }

    /// True if something waits to be sent apart from what its cursors show.
    pub fn has_output(&self) -> bool {
        self.half_sent != HALF_SENT_NOTHING || self.extra.as_ref().is_some_and(|e| e.has_output())
    }
}
