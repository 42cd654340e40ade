//! Connections: slots, phases, input that waits, deadlines, what is queued to be written to one of them alone.
//!
//! Knows bytes and time. Never knows a topic, a log or a subscription. Nothing here closes a connection or touches a socket: that is
//! the turn's.

mod arriving;
mod conn;
mod extra;
mod holders;
mod wheel;

#[cfg(test)]
pub use conn::Flags;
pub use conn::{Conn, HalfSent, NO_TOPIC, Phase};
pub use extra::{Awaits, CONTROL_MAX, Direct, Extra, Handshake, PlannedClose};
pub use wheel::{Moment, NODE_BYTES, Wheel};

use self::arriving::{Arrival, Arriving};
use self::holders::Holders;
use super::message::Segments;
use super::request::Held;
use super::rest::{Rest, RestBudget};
use crate::ingest::PayloadPool;
use crate::types::ConnectionId;

/// Emptied [`Extra`]s kept for reuse.
const SPARE_MAX: usize = 1_024;

/// See the module's head.
pub struct Clients {
    shard: u8,
    conns: Vec<Conn>,
    open_count: u32,
    /// Deadlines by slot.
    pub wheel: Wheel,
    #[expect(clippy::vec_box, reason = "a connection holds the box: the whole box is what is kept")]
    spare: Vec<Box<Extra>>,
    /// Connections that are to be served, in order, each once.
    pub dirty: Vec<u32>,
    /// Memory of input and answers that wait, over all connections.
    held_bytes: usize,
    holders: Holders,
    arriving: Arriving,
}

impl Clients {
    /// No connections yet; there may be `slots` of them.
    pub fn new(shard: u8, slots: u32, now_ns: u64) -> Self {
        Self {
            shard,
            conns: Vec::with_capacity(slots as usize),
            open_count: 0,
            wheel: Wheel::new(slots, now_ns),
            spare: Vec::new(),
            dirty: Vec::new(),
            held_bytes: 0,
            holders: Holders::default(),
            arriving: Arriving::default(),
        }
    }

    /// Slots that were ever used.
    pub fn slots(&self) -> u32 {
        self.conns.len() as u32
    }

    /// Connections that are open, in whatever phase.
    pub fn open_count(&self) -> u32 {
        self.open_count
    }

    /// Memory of input and answers that wait.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Begins a connection.
    pub fn open(&mut self, slot: u32, now_ns: u64) {
        while self.conns.len() <= slot as usize {
            self.conns.push(Conn::vacant());
        }
        self.conns[slot as usize].open(now_ns);
        self.open_count += 1;
    }

    /// Adds to the message that is arriving. Memory grows with what has arrived, never with what was declared. False: there is none.
    pub fn add_to_message(&mut self, slot: u32, bytes: &[u8], pool: &PayloadPool, now_ns: u64) -> bool {
        let extra = self.extra(slot);
        if extra.assembly.is_none() {
            extra.assembly = Some(Segments::default());
            // Its header may have come before.
            let began_ns = if extra.began_ns == 0 { now_ns } else { extra.began_ns };
            extra.began_ns = began_ns;
            let conns = &self.conns;
            self.arriving.begin(Arrival { slot, began_ns }, |a| is_unfinished(conns, a));
        }
        let Some(message) = self.extra(slot).assembly.as_mut() else { return false };
        let before = message.capacity();
        let has_room = message.append(bytes, pool);
        let now = message.capacity();
        self.arriving.note(before, now);
        has_room
    }

    /// The message that has arrived, as far as it has.
    pub fn take_message(&mut self, slot: u32) -> Option<Segments> {
        let extra = self.conns[slot as usize].extra.as_mut()?;
        let message = extra.assembly.take()?;
        extra.began_ns = 0;
        self.arriving.note(message.capacity(), 0);
        Some(message)
    }

    /// Sets something aside. `is_own_fault`: its client does not read its answers. A message that waits for that takes memory as an
    /// unfinished one does, so it counts as one, and has its time.
    pub fn hold(&mut self, slot: u32, held: Held, is_own_fault: bool, now_ns: u64) {
        let extra = self.extra(slot);
        debug_assert!(extra.held.is_none() && extra.assembly.is_none(), "one thing is set aside");
        extra.began_ns = if is_own_fault { now_ns } else { 0 };
        if is_own_fault && let Held::Message { payload, .. } = &held {
            let bytes = payload.held_bytes();
            let conns = &self.conns;
            self.arriving.begin(Arrival { slot, began_ns: now_ns }, |a| is_unfinished(conns, a));
            self.arriving.note(0, bytes);
        }
        self.extra(slot).held = Some(held);
    }

    /// What was set aside.
    pub fn take_held(&mut self, slot: u32) -> Option<Held> {
        let extra = self.conns[slot as usize].extra.as_mut()?;
        let held = extra.held.take()?;
        let was_counted = std::mem::take(&mut extra.began_ns) != 0;
        if was_counted && let Held::Message { payload, .. } = &held {
            self.arriving.note(payload.held_bytes(), 0);
        }
        Some(held)
    }

    /// The same, if that was its last part.
    pub fn take_message_if(&mut self, slot: u32, is_whole: bool) -> Option<Segments> {
        if is_whole { self.take_message(slot) } else { None }
    }

    /// Where unfinished messages take more than their share: the connection of the oldest, of several, but for `slot`.
    pub fn over_share(&mut self, slot: u32, share: usize) -> Option<u32> {
        if self.arriving.bytes() <= share {
            return None;
        }
        let conns = &self.conns;
        self.arriving.oldest_but(slot, |a| is_unfinished(conns, a)).map(|a| a.slot)
    }

    /// Ends a connection: its slot is free, and what it held of the budget for half-sent frames is given back.
    pub fn vacate(&mut self, slot: u32, rests: &mut RestBudget) {
        self.take_message(slot);
        self.take_held(slot);
        self.rank(slot, 0);
        let conn = &mut self.conns[slot as usize];
        let extra = conn.extra.take();
        conn.vacate();
        self.wheel.disarm(slot);
        self.open_count -= 1;
        let Some(mut extra) = extra else { return };
        extra.rest.iter().for_each(|piece| rests.give_back(piece));
        self.held_bytes -= extra.tally.held;
        if self.spare.len() < SPARE_MAX {
            extra.reset();
            self.spare.push(extra);
        }
    }

    /// What is rare, of a connection that is about to have some.
    pub fn extra(&mut self, slot: u32) -> &mut Extra {
        let conn = &mut self.conns[slot as usize];
        if conn.extra.is_none() {
            conn.extra = Some(self.spare.pop().unwrap_or_default());
        }
        // Just set.
        conn.extra.get_or_insert_default()
    }

    /// Counts what a connection holds, and takes back what it does not need any more.
    pub fn tidy(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        let is_live = conn.is_live();
        let Some(extra) = &mut conn.extra else { return };
        let is_empty = extra.is_empty();
        let holds = if is_empty { 0 } else { extra.held_bytes() };
        self.held_bytes = self.held_bytes - extra.tally.held + holds;
        extra.tally.held = holds;
        self.rank(slot, if is_live { holds } else { 0 });
        if is_empty
            && let Some(mut extra) = self.conns[slot as usize].extra.take()
            && self.spare.len() < SPARE_MAX
        {
            extra.trim();
            self.spare.push(extra);
        }
    }

    fn rank(&mut self, slot: u32, bytes: usize) {
        let Self { conns, holders, .. } = self;
        holders.set(slot, bytes, |slot, change| {
            if let Some(extra) = &mut conns[slot as usize].extra {
                change(&mut extra.tally.place);
            }
        });
    }

    /// A connection that holds most of what waits, to within a factor of two, if that is another one, and it is to stay so far.
    pub fn holds_more_than(&mut self, slot: u32) -> Option<u32> {
        let counted = |conn: &Conn| conn.extra.as_ref().map_or(0, |extra| extra.tally.held);
        loop {
            let other = self.holders.first()?;
            if self.conns[other as usize].is_live() {
                let holds_more = counted(&self.conns[other as usize]) > counted(&self.conns[slot as usize]);
                return (other != slot && holds_more).then_some(other);
            }
            // It ends, and is in question no more.
            self.rank(other, 0);
        }
    }

    /// Puts a connection on the list of those to be served this turn (or the next, if this turn's sends are done).
    pub fn mark_dirty(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if !conn.flags.is_dirty {
            conn.flags.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// The socket takes bytes again. False: nobody waited for that.
    pub fn on_writable(&mut self, slot: u32, now_ns: u64) -> bool {
        let conn = &mut self.conns[slot as usize];
        if conn.phase == Phase::Free || !conn.flags.is_blocked {
            return false;
        }
        conn.flags.is_blocked = false;
        conn.flags.must_look = true;
        // Silence while it could not read was no silence of its own.
        conn.heard = Moment::at(now_ns);
        self.mark_dirty(slot);
        true
    }

    /// The rest of a frame that was half sent from a log stands with its connection from now on.
    pub fn take_rest(&mut self, slot: u32, rest: Rest) {
        let extra = self.extra(slot);
        debug_assert!(extra.rest.is_empty(), "one frame can be half sent");
        extra.rest = rest.pieces;
        self.conns[slot as usize].set_half_sent(HalfSent::Rest);
    }

    /// Notes that `n` bytes of the rest of a half-sent frame were sent.
    pub fn rest_was_sent(&mut self, slot: u32, mut n: usize, rests: &mut RestBudget) {
        let conn = &mut self.conns[slot as usize];
        let Some(extra) = &mut conn.extra else { return };
        while let Some(piece) = extra.rest.front_mut() {
            let len = piece.unsent().len();
            let k = n.min(len);
            piece.advance(k);
            n -= k;
            if k < len {
                return;
            }
            rests.give_back(piece);
            extra.rest.pop_front();
        }
        conn.set_half_sent(HalfSent::Nothing);
    }

    /// Notes that `n` bytes of messages to this connection alone were sent.
    pub fn direct_was_sent(&mut self, slot: u32, n: usize) {
        let conn = &mut self.conns[slot as usize];
        let Some(extra) = &mut conn.extra else { return };
        extra.direct_sent += n;
        while let Some(first) = extra.direct.front()
            && extra.direct_sent >= first.len()
        {
            extra.direct_sent -= first.len();
            extra.direct.pop_front();
        }
        if extra.direct_sent > 0 {
            conn.set_half_sent(HalfSent::Direct);
        } else if conn.half_sent() == HalfSent::Direct {
            conn.set_half_sent(HalfSent::Nothing);
        }
    }

    /// The id of the connection in `slot`.
    pub fn id(&self, slot: u32) -> ConnectionId {
        ConnectionId::new(self.shard, self.conns[slot as usize].generation, slot)
    }

    /// The slot of a connection that is still there.
    pub fn find(&self, connection: ConnectionId) -> Option<u32> {
        let conn = self.conns.get(connection.slot() as usize)?;
        (conn.phase != Phase::Free && conn.generation == connection.generation()).then(|| connection.slot())
    }
}

fn is_unfinished(conns: &[Conn], arrival: &Arrival) -> bool {
    let extra = conns[arrival.slot as usize].extra.as_ref();
    let takes_memory = |extra: &Extra| extra.assembly.is_some() || matches!(extra.held, Some(Held::Message { .. }));
    extra.is_some_and(|extra| takes_memory(extra) && extra.began_ns == arrival.began_ns)
}

impl std::ops::Index<u32> for Clients {
    type Output = Conn;

    #[inline]
    fn index(&self, slot: u32) -> &Conn {
        &self.conns[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Clients {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Conn {
        &mut self.conns[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryConfig;

    fn clients() -> Clients {
        let mut clients = Clients::new(0, 4, 0);
        clients.open(2, 0);
        clients
    }

    #[test]
    fn a_slot_s_next_life_is_another_connection() {
        let mut rests = RestBudget::new(&MemoryConfig::default(), 1);
        let mut clients = clients();
        let first = clients.id(2);
        assert_eq!((clients.find(first), clients.open_count()), (Some(2), 1));
        clients.vacate(2, &mut rests);
        assert_eq!((clients.find(first), clients.open_count()), (None, 0));
        clients.open(2, 0);
        assert_eq!(clients.find(first), None);
        assert_eq!(clients.find(clients.id(2)), Some(2));
    }

    #[test]
    fn what_a_connection_holds_is_counted_once_and_given_back() {
        let mut rests = RestBudget::new(&MemoryConfig::default(), 1);
        let mut clients = clients();
        clients.extra(2).inbox.extend_from_slice(&[0; 5_000]);
        for _ in 0..2 {
            clients.tidy(2);
            assert!(clients.held_bytes() >= 5_000);
        }
        clients.extra(2).inbox.clear();
        clients.tidy(2);
        assert!(clients[2].extra.is_none());
        assert_eq!(clients.held_bytes(), 0);
        clients.extra(2).control.extend_from_slice(&[0; 100]);
        clients.tidy(2);
        assert!(clients.held_bytes() >= 100);
        clients.vacate(2, &mut rests);
        assert_eq!(clients.held_bytes(), 0);
    }

    #[test]
    fn who_holds_most_is_found_among_those_that_stay() {
        let mut clients = clients();
        for slot in [0, 1, 3] {
            clients.open(slot, 0);
        }
        for (slot, bytes, phase) in [(0, 9_000, Phase::Marked), (1, 100, Phase::Open), (2, 5_000, Phase::Open)] {
            clients.extra(slot).inbox.extend_from_slice(&vec![0; bytes]);
            clients[slot].phase = phase;
            clients.tidy(slot);
        }
        assert_eq!((clients.holds_more_than(1), clients.holds_more_than(3)), (Some(2), Some(2)));
        assert_eq!(clients.holds_more_than(2), None, "it is the one");
    }

    #[test]
    fn a_connection_is_on_the_list_once_and_writable_only_if_it_was_blocked() {
        let mut clients = clients();
        assert!(!clients.on_writable(2, 0));
        clients[2].flags.is_blocked = true;
        assert!(clients.on_writable(2, 0) && clients[2].flags.must_look);
        clients.mark_dirty(2);
        assert_eq!(clients.dirty, [2]);
    }
}
