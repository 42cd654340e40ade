//! The `null` driver: connections that take every byte at once, and a clock that stands still.
//!
//! For measuring what a shard itself costs, in a build with the feature `bench`: nothing is sent, nothing waits, and the
//! same calls take the same instructions each time. It knows slots and bytes, like every driver; must never know frames.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use super::{Driver, DriverCounters, Event, RECV_HEADROOM, RecvBuf, SendBatch, SendResults, Sent, Slot, Wait, Wake};

/// The other side of a [`NullDriver`]: connects, sends, and listens in on one connection. Clones are the same.
#[derive(Clone, Default)]
pub struct NullNet {
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    accepted: u32,
    events: VecDeque<Event>,
    counters: DriverCounters,
    /// Who is listened in on, and what it was sent since.
    heard: Option<(Slot, Vec<u8>)>,
}

impl NullNet {
    /// The driver of this network. One shard's: make no second one.
    pub fn driver(&self) -> NullDriver {
        NullDriver { net: self.clone() }
    }

    /// Connects, and returns the slot: 0, 1, 2 and so on.
    pub fn connect(&self) -> Slot {
        let mut state = self.state.borrow_mut();
        let slot = Slot(state.accepted);
        state.accepted += 1;
        let peer = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 1_024 + (slot.0 % 60_000) as u16)));
        state.events.push_back(Event::Accepted { listener: 0, slot, peer });
        slot
    }

    /// Lets a connection's shard receive `bytes`, in one piece.
    pub fn receive(&self, slot: Slot, bytes: &[u8]) {
        let mut whole = vec![0; RECV_HEADROOM + bytes.len()].into_boxed_slice();
        whole[RECV_HEADROOM..].copy_from_slice(bytes);
        let buf = RecvBuf { start: RECV_HEADROOM, end: whole.len(), bytes: whole, id: 0 };
        self.state.borrow_mut().events.push_back(Event::Received { slot, buf });
    }

    /// From now on keeps what this connection is sent, instead of any other's.
    pub fn listen_in(&self, slot: Slot) {
        self.state.borrow_mut().heard = Some((slot, Vec::new()));
    }

    /// Ends listening in, and returns what was heard.
    pub fn heard(&self) -> Vec<u8> {
        self.state.borrow_mut().heard.take().map_or_else(Vec::new, |(_, bytes)| bytes)
    }

    /// What the driver has counted.
    pub fn counters(&self) -> Ref<'_, DriverCounters> {
        Ref::map(self.state.borrow(), |state| &state.counters)
    }
}

/// See the module's head.
pub struct NullDriver {
    net: NullNet,
}

/// Nobody sleeps here.
struct NullWaker;

impl Wake for NullWaker {
    fn wake(&self) {}
}

impl Driver for NullDriver {
    fn name(&self) -> &'static str {
        "null"
    }

    /// One second, for ever: no deadline comes.
    fn now_ns(&self) -> u64 {
        1_000_000_000
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NullWaker)
    }

    fn accept_while_below(&mut self, _open_max: u32) {}

    fn stop_listening(&mut self) {}

    fn leave_listener(&mut self, _listener: u16) {}

    fn turn(&mut self, _wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        events.extend(self.net.state.borrow_mut().events.drain(..));
        Ok(())
    }

    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        results.clear();
        for (_, parts) in batch.iter() {
            results.push(Sent::Bytes(parts.iter().map(|part| part.len()).sum()));
        }
        let mut state = self.net.state.borrow_mut();
        state.counters.syscalls += 1;
        state.counters.sends += results.len() as u64;
        if let Some((heard, bytes)) = &mut state.heard {
            for (_, parts) in batch.iter().filter(|(slot, _)| slot == heard) {
                parts.iter().for_each(|part| bytes.extend_from_slice(part));
            }
        }
    }

    fn want_writable(&mut self, _slot: Slot) {}

    fn pause_recv(&mut self, _slot: Slot) {}

    fn resume_recv(&mut self, _slot: Slot) {}

    fn give_back(&mut self, _buf: RecvBuf) {}

    fn shutdown_write(&mut self, _slot: Slot) {}

    /// The slot is not used again.
    fn close(&mut self, _slot: Slot) {}

    fn counters(&self) -> DriverCounters {
        *self.net.counters()
    }
}
