//! What a simulated network does to those who use it: sizes, and how often each fault strikes.

use super::rng::Rng;
use crate::driver::DriverLimits;

/// The knobs of one simulated network. Every chance is per mille, at each occasion.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Limits of every shard's driver.
    pub limits: DriverLimits,
    /// Bytes the kernel holds towards one client.
    pub send_capacity: usize,
    /// Bytes the kernel holds from one client towards its shard.
    pub recv_capacity: usize,
    /// Connections that may wait to be accepted; one more is refused.
    pub backlog: usize,
    /// A send takes only a part of what fits.
    pub short_send: u32,
    /// A short send takes 1 to 7 bytes.
    pub tiny_send: u32,
    /// A send is `Blocked` although there is room.
    pub blocked_send: u32,
    /// A send fails: the connection was reset under way.
    pub failed_send: u32,
    /// A received run is cut at a random place.
    pub recv_cut: u32,
    /// A received run is cut to 1 to 7 bytes.
    pub recv_crumb: u32,
    /// A turn finds no receive buffer although some are free.
    pub no_recv_buffer: u32,
    /// Something (bytes, FIN, RST, room, a new connection) becomes visible late.
    pub delay: u32,
    /// Longest such delay.
    pub delay_max_ns: u64,
    /// The events of one turn are reported in random order (each connection's own order is kept).
    pub shuffle: u32,
    /// A turn reports `Woken` although nobody used the waker.
    pub spurious_woken: u32,
    /// A turn's look at one connection finds it reset by the network.
    pub reset: u32,
    /// A reset destroys what was in flight, in either direction.
    pub reset_loses: u32,
    /// A turn accepts one connection only, though more wait.
    pub accept_one: u32,
    /// A new connection gets the slot that was freed last (else any free one).
    pub slot_reuse: u32,
    /// The kernel cannot tell the peer's address.
    pub peer_unknown: u32,
    /// Of a connection: its end is told while it is paused.
    pub ends_while_paused: u32,
    /// Time that passes within a turn from one look at the clock to the next.
    pub look_ns: u64,
}

impl SimOptions {
    /// A network without faults.
    pub fn calm() -> Self {
        SimOptions {
            limits: DriverLimits { slots: 64, recv_buffers: 8, recv_bytes: 4096, events_per_turn: 256 },
            send_capacity: 64 * 1024,
            recv_capacity: 64 * 1024,
            backlog: 128,
            short_send: 0,
            tiny_send: 0,
            blocked_send: 0,
            failed_send: 0,
            recv_cut: 0,
            recv_crumb: 0,
            no_recv_buffer: 0,
            delay: 0,
            delay_max_ns: 5_000_000,
            shuffle: 0,
            spurious_woken: 0,
            reset: 0,
            reset_loses: 0,
            accept_one: 0,
            slot_reuse: 1000,
            peer_unknown: 0,
            ends_while_paused: 500,
            look_ns: 0,
        }
    }

    /// Ends all faults; sizes stay.
    pub fn calm_down(&mut self) {
        let calm = SimOptions::calm();
        *self = SimOptions {
            limits: self.limits.clone(),
            send_capacity: self.send_capacity,
            recv_capacity: self.recv_capacity,
            backlog: self.backlog,
            ..calm
        };
    }

    /// A network with a random mix of faults. Each is off in half of the networks, so that a fault that hides
    /// another one does not hide it everywhere (swarm testing: Groce et al., 2012).
    pub fn seeded(rng: &mut Rng) -> Self {
        let mut some = |high: u64| if rng.chance(500) { 0 } else { rng.skewed(high) as u32 };
        let mut options = SimOptions {
            short_send: some(500),
            tiny_send: some(1000),
            blocked_send: some(300),
            failed_send: some(4),
            recv_cut: some(500),
            recv_crumb: some(500),
            no_recv_buffer: some(300),
            delay: some(500),
            shuffle: some(1000),
            spurious_woken: some(100),
            reset: some(2),
            reset_loses: some(1000),
            accept_one: some(1000),
            peer_unknown: some(300),
            look_ns: u64::from(some(400_000)),
            ..SimOptions::calm()
        };
        options.slot_reuse = if rng.chance(700) { 1000 } else { 0 };
        options.send_capacity = *rng.pick(&[256, 2048, 16 * 1024, 64 * 1024, 64 * 1024, 256 * 1024]);
        options.recv_capacity = *rng.pick(&[64, 1024, 16 * 1024, 64 * 1024]);
        options.delay_max_ns = *rng.pick(&[1_000, 1_000_000, 50_000_000, 2_000_000_000]);
        options.backlog = *rng.pick(&[2, 16, 128]);
        options.limits = DriverLimits {
            slots: *rng.pick(&[8, 32, 64]),
            recv_buffers: *rng.pick(&[1, 2, 8, 32]),
            recv_bytes: *rng.pick(&[16, 256, 1024, 4096, 4096]),
            events_per_turn: *rng.pick(&[1, 4, 64, 256]),
        };
        options
    }
}
