//! The `sim` driver: sockets in memory, virtual time, seeded faults.
//!
//! For tests. It behaves as the two real drivers may behave, in every order that they may, and it checks the
//! shard: a send on a closed slot, a buffer kept past its turn, a second send for one connection in one batch and
//! the like are bugs of the shard and panic here. It knows sockets, slots and time, like every driver.

#![cfg(any(test, fuzzing))]

mod conn;
mod net;
mod options;
mod rng;
mod socket;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Driver, DriverCounters, Event, RecvBuf, SendBatch, SendResults, Slot, SocketState, Wait, Wake};

pub use net::SimNet;
pub use options::SimOptions;
pub use rng::Rng;
pub use socket::{Read, SimSocket};

/// Runs while a shard sleeps; it is told until when the shard would sleep.
pub type SleepHook = Box<dyn FnMut(u64)>;

/// One shard's driver on a [`SimNet`].
///
/// A turn never waits: it reports what is due and returns. Whoever steps the shards moves time on when all of them
/// are idle ([`SimNet::next_due`]).
pub struct SimDriver {
    net: SimNet,
    shard: usize,
    woken: Arc<AtomicBool>,
    on_sleep: Option<SleepHook>,
    /// How long this turn has taken, as far as anybody has looked.
    taken_ns: Cell<u64>,
}

impl SimDriver {
    fn new(net: SimNet, shard: usize) -> Self {
        let woken = net.state().shards[shard].woken.clone();
        SimDriver { net, shard, woken, on_sleep: None, taken_ns: Cell::new(0) }
    }

    /// Runs `hook` whenever a turn that may wait finds nothing to report: the moment at which a real shard
    /// sleeps. The hook may run clients, publishers, other shards, and time; what it causes (a wake, above all) is
    /// reported by that same turn.
    pub fn on_sleep(&mut self, hook: SleepHook) {
        self.on_sleep = Some(hook);
    }
}

struct SimWaker {
    woken: Arc<AtomicBool>,
}

impl Wake for SimWaker {
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
    }
}

impl Driver for SimDriver {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn now_ns(&self) -> u64 {
        self.net.now_ns()
    }

    fn fresh_ns(&self) -> u64 {
        self.taken_ns.set(self.taken_ns.get() + self.net.state().options.look_ns);
        self.net.now_ns() + self.taken_ns.get()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(SimWaker { woken: self.woken.clone() })
    }

    fn accept_while_below(&mut self, open_max: u32) {
        self.net.state_mut().shards[self.shard].open_max = open_max;
    }

    fn stop_listening(&mut self) {
        self.net.state_mut().stop_listening(self.shard);
    }

    fn leave_listener(&mut self, _listener: u16) {
        self.net.state_mut().leave_listener(self.shard);
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.taken_ns.set(0);
        let before = events.len();
        let lent = self.net.buffers_lent(self.shard);
        assert!(wait == Wait::No || lent == 0, "shard {}: sleeps over {lent} receive buffers", self.shard);
        self.net.state_mut().shards[self.shard].turns += 1;
        self.net.state_mut().turn(self.shard, events);
        if events.len() == before
            && let Wait::Until(until) = wait
            && until > self.net.now_ns()
            && let Some(hook) = &mut self.on_sleep
        {
            hook(until);
            self.net.state_mut().turn(self.shard, events);
        }
        Ok(())
    }

    fn send(&mut self, batch: &SendBatch<'_>, results: &mut SendResults) {
        results.clear();
        let mut net = self.net.state_mut();
        net.shards[self.shard].counters.syscalls += 1;
        for (i, (slot, _)) in batch.iter().enumerate() {
            let again = batch.iter().skip(i + 1).any(|(other, _)| other == slot);
            assert!(!again, "shard {}: two sends for slot {} in one batch", self.shard, slot.0);
        }
        for (slot, parts) in batch.iter() {
            let sent = net.send(self.shard, slot, parts);
            results.push(sent);
        }
    }

    fn want_writable(&mut self, slot: Slot) {
        let mut net = self.net.state_mut();
        let index = net.conn_of(self.shard, slot, "want_writable");
        net.want_writable(index);
    }

    fn pause_recv(&mut self, slot: Slot) {
        let mut net = self.net.state_mut();
        let index = net.conn_of(self.shard, slot, "pause_recv");
        net.conns[index].paused = true;
    }

    fn resume_recv(&mut self, slot: Slot) {
        let mut net = self.net.state_mut();
        let index = net.conn_of(self.shard, slot, "resume_recv");
        net.conns[index].paused = false;
    }

    fn give_back(&mut self, buf: RecvBuf) {
        self.net.state_mut().give_back(self.shard, buf);
    }

    fn shutdown_write(&mut self, slot: Slot) {
        let mut net = self.net.state_mut();
        let index = net.conn_of(self.shard, slot, "shutdown_write");
        net.shutdown_write(index);
    }

    fn close(&mut self, slot: Slot) {
        self.net.state_mut().close(self.shard, slot);
    }

    /// Who takes nothing more is taken for one that does not read.
    fn socket_state(&mut self, slot: Slot) -> Option<SocketState> {
        let mut net = self.net.state_mut();
        let index = net.conn_of(self.shard, slot, "socket_state");
        Some(SocketState { peer: net.conns[index].peer, is_window_shut: Some(true) })
    }

    fn counters(&self) -> DriverCounters {
        self.net.state().shards[self.shard].counters
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        // While a failed check unwinds, the network may be borrowed: leave it alone then.
        if !std::thread::panicking() {
            self.net.state_mut().shard_gone(self.shard);
        }
    }
}
