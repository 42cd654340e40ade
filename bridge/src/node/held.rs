//! Messages that came before those before them, while one subscription takes over from another.

use std::collections::BTreeMap;

use fanwire::Priority;

use super::Inbound;
use super::envelope::{Envelope, Origin};

type Lane = (Box<str>, Priority, Origin);

/// See the module's head. Bounded by bytes: who finds no room has them all let go first.
#[derive(Debug)]
pub struct Held {
    lanes: BTreeMap<Lane, BTreeMap<u64, (Envelope, Inbound)>>,
    bytes: usize,
    bytes_max: usize,
}

impl Held {
    /// None.
    pub fn new(bytes_max: usize) -> Self {
        Self { lanes: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Whether there is room for one more.
    pub fn has_room(&self, message: &Inbound) -> bool {
        self.bytes + message.bytes() <= self.bytes_max
    }

    /// Keeps one, for which there is room.
    pub fn keep(&mut self, envelope: Envelope, message: Inbound) {
        let lane = (message.topic.clone(), envelope.priority, envelope.origin);
        let bytes = message.bytes();
        if self.lanes.entry(lane).or_default().insert(envelope.seq, (envelope, message)).is_none() {
            self.bytes += bytes;
        }
    }

    /// The one right behind this number of the lane, if it is here.
    pub fn next_of(&mut self, topic: &str, envelope: &Envelope) -> Option<(Envelope, Inbound)> {
        if self.lanes.is_empty() {
            return None;
        }
        let lane = (topic.into(), envelope.priority, envelope.origin);
        let held = self.lanes.get_mut(&lane)?;
        let next = held.remove(&(envelope.seq + 1))?;
        if held.is_empty() {
            self.lanes.remove(&lane);
        }
        self.bytes -= next.1.bytes();
        Some(next)
    }

    /// All of them, each lane in order.
    pub fn let_go(&mut self) -> Vec<(Envelope, Inbound)> {
        self.bytes = 0;
        std::mem::take(&mut self.lanes).into_values().flat_map(BTreeMap::into_values).collect()
    }
}
