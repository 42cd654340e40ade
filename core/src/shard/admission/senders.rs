//! How fast each client may send, and what becomes of one that sends faster: its input is paused until what it sent
//! conforms, and for twice as long each time that it does so again.
//!
//! Knows slots and time. Must never know sockets or messages. Without limits there is nothing here, and it costs a look
//! at two numbers for each receive and each message of a client.

use super::gcra::Rate;
use crate::config::LimitsConfig;

const SECOND_NS: u64 = 1_000_000_000;
/// The shortest pause: a little less than a tick of the timer wheel.
const PAUSE_LEAST_NS: u64 = 50_000_000;
/// How often the shortest pause is doubled: 50 ms to 25.6 s, 51 s in all.
const DOUBLINGS_MAX: u8 = 9;
/// Who has not been paused for so long begins anew.
const FORGIVEN_NS: u64 = 60 * SECOND_NS;

/// Bytes that one connection takes here.
pub const SENDER_BYTES: usize = size_of::<Sender>();

/// One client.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    messages_due_ns: u64,
    bytes_due_ns: u64,
    /// When its pause ends, or the last one ended.
    until_ns: u64,
    /// Pauses before this one that were not forgiven.
    pauses: u8,
    is_paused: bool,
}

/// See the module's head.
#[derive(Debug)]
pub struct Senders {
    messages: Rate,
    bytes: Rate,
    by_slot: Vec<Sender>,
    /// Those that are paused.
    paused: u32,
}

impl Senders {
    /// For up to `slots` connections.
    pub fn new(limits: &LimitsConfig, slots: u32) -> Self {
        let messages = Rate::new(limits.inbound_messages_per_second_max.into(), SECOND_NS);
        let bytes = Rate::new(limits.inbound_bytes_per_second_max as u64, SECOND_NS);
        let slots = if limits.limits_senders() { slots } else { 0 };
        Self { messages, bytes, by_slot: Vec::with_capacity(slots as usize), paused: 0 }
    }

    /// Other limits hold from now on, each of them where there was one.
    pub fn take_rules(&mut self, limits: &LimitsConfig) {
        self.messages = Rate::new(limits.inbound_messages_per_second_max.into(), SECOND_NS);
        self.bytes = Rate::new(limits.inbound_bytes_per_second_max as u64, SECOND_NS);
    }

    /// True if messages are counted.
    #[inline]
    pub fn counts_messages(&self) -> bool {
        self.messages.is_limited()
    }

    /// True if bytes are counted.
    #[inline]
    pub fn counts_bytes(&self) -> bool {
        self.bytes.is_limited()
    }

    /// A connection is upgraded.
    pub fn open(&mut self, slot: u32) {
        if !self.counts_messages() && !self.counts_bytes() {
            return;
        }
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize(slot as usize + 1, Sender::default());
        }
        self.by_slot[slot as usize] = Sender::default();
    }

    /// A message has come. Returns by how much it came too early.
    pub fn on_message(&mut self, slot: u32, now_ns: u64) -> u64 {
        let Some(sender) = self.by_slot.get_mut(slot as usize) else { return 0 };
        self.messages.count(&mut sender.messages_due_ns, 1, now_ns)
    }

    /// So many bytes have come. Returns by how much they came too early.
    pub fn on_bytes(&mut self, slot: u32, bytes: usize, now_ns: u64) -> u64 {
        let Some(sender) = self.by_slot.get_mut(slot as usize) else { return 0 };
        self.bytes.count(&mut sender.bytes_due_ns, bytes as u64, now_ns)
    }

    /// What has come came too early by so much. Returns when the pause ends; `None`: it has had all its pauses.
    pub fn pause(&mut self, slot: u32, early_ns: u64, now_ns: u64) -> Option<u64> {
        let sender = self.by_slot.get_mut(slot as usize)?;
        if sender.until_ns == 0 || now_ns.saturating_sub(sender.until_ns) >= FORGIVEN_NS {
            sender.pauses = 0;
        }
        if sender.pauses > DOUBLINGS_MAX {
            return None;
        }
        let longest_ns = PAUSE_LEAST_NS << DOUBLINGS_MAX;
        let doubled_ns = early_ns.max(PAUSE_LEAST_NS).saturating_mul(1 << sender.pauses);
        sender.until_ns = now_ns.saturating_add(doubled_ns.min(longest_ns).max(early_ns));
        sender.pauses += 1;
        self.paused += u32::from(!std::mem::replace(&mut sender.is_paused, true));
        Some(sender.until_ns)
    }

    /// When the pause of a connection ends that is paused.
    pub fn paused_until(&self, slot: u32) -> Option<u64> {
        self.by_slot.get(slot as usize).filter(|sender| sender.is_paused).map(|sender| sender.until_ns)
    }

    /// Ends a pause whose time has come. False: there is none, or it has not.
    pub fn resume(&mut self, slot: u32, now_ns: u64) -> bool {
        let Some(sender) = self.by_slot.get_mut(slot as usize) else { return false };
        if !sender.is_paused || now_ns < sender.until_ns {
            return false;
        }
        sender.is_paused = false;
        self.paused -= 1;
        true
    }

    /// A connection is gone.
    pub fn leave(&mut self, slot: u32) {
        if let Some(sender) = self.by_slot.get_mut(slot as usize) {
            self.paused -= u32::from(std::mem::take(sender).is_paused);
        }
    }

    /// How many are paused.
    pub fn paused(&self) -> u32 {
        self.paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders(messages: u32, bytes: usize) -> Senders {
        let limits = LimitsConfig {
            inbound_messages_per_second_max: messages,
            inbound_bytes_per_second_max: bytes,
            ..LimitsConfig::default()
        };
        let mut senders = Senders::new(&limits, 4);
        senders.open(3);
        senders
    }

    #[test]
    fn pauses_double_up_to_the_last_and_then_it_has_had_all() {
        let mut senders = senders(100, 0);
        let mut now = SECOND_NS;
        let mut spans = Vec::new();
        while let Some(until) = senders.pause(3, 1, now) {
            assert_eq!((senders.paused_until(3), senders.paused()), (Some(until), 1));
            assert!(!senders.resume(3, until - 1) && senders.resume(3, until) && senders.paused() == 0);
            spans.push((until - now) / 1_000_000);
            // Not quite long enough without a pause.
            now = until + FORGIVEN_NS - 1;
        }
        assert_eq!(spans, [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600]);
    }

    #[test]
    fn a_minute_without_a_pause_is_a_new_beginning() {
        let mut senders = senders(100, 0);
        let mut now = 0;
        for _ in 0..100 {
            let until = senders.pause(3, 1, now).expect("it begins anew");
            assert_eq!(until - now, PAUSE_LEAST_NS);
            assert!(senders.resume(3, until));
            now = until + FORGIVEN_NS;
        }
    }

    #[test]
    fn a_pause_is_never_shorter_than_what_came_too_early() {
        let mut senders = senders(0, 1_000);
        for pauses in 0..=DOUBLINGS_MAX {
            let until = senders.pause(3, 90 * SECOND_NS, 7).expect("not all");
            assert_eq!(until, 7 + 90 * SECOND_NS, "{pauses}");
        }
        assert_eq!(senders.pause(3, 1, 7), None);
    }

    #[test]
    fn a_slot_s_next_life_owes_nothing_and_without_limits_nothing_is_kept() {
        let mut counted = senders(2, 10);
        assert_eq!((counted.on_message(3, 5), counted.on_message(3, 5)), (0, 0));
        assert!(counted.on_message(3, 5) > 0 && counted.on_bytes(3, 11, 5) > 0);
        assert!(counted.pause(3, 1, 5).is_some() && counted.paused() == 1);
        counted.leave(3);
        assert_eq!((counted.paused(), counted.paused_until(3)), (0, None));
        assert_eq!((counted.on_message(3, 5), counted.on_bytes(3, 10, 5)), (0, 0));
        let mut free = senders(0, 0);
        assert_eq!((free.on_message(3, 5), free.on_bytes(3, 1 << 40, 5), free.by_slot.len()), (0, 0, 0));
        assert_eq!(free.paused_until(3), None);
    }
}
