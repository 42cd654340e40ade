//! What the host hears of the messages where all are traced: each once, from its publication to its deliveries.

use std::collections::BTreeSet;

use crate::traces::{TraceEvent, Traced, Traces};

/// See the module's head.
pub struct Heard {
    traces: Traces,
    /// Messages that were published, …
    published: BTreeSet<u64>,
    /// …and delivered, by shard.
    delivered: BTreeSet<(u8, u64)>,
}

impl Heard {
    /// Of an engine that has said nothing yet.
    pub fn new(traces: Traces) -> Self {
        Self { traces, published: BTreeSet::new(), delivered: BTreeSet::new() }
    }

    /// Takes what there is.
    pub fn take(&mut self) {
        while let Some(TraceEvent { shard, begin_ns, end_ns, what }) = self.traces.next() {
            assert!(begin_ns <= end_ns, "{what:?} ends before it begins");
            let is_first = match &what {
                Traced::Published(message) => shard == 0 && self.published.insert(message.id),
                Traced::Delivered(message, subscribers) => {
                    *subscribers > 0 && self.delivered.insert((shard, message.id))
                }
                Traced::Connected(_) => true,
            };
            assert!(is_first, "{what:?} of shard {shard} is told twice, or by whom it must not be");
        }
    }

    /// Holds it against how many messages there were.
    pub fn check(&mut self, messages: u64) {
        self.take();
        let (published, lost) = (self.published.len() as u64, self.traces.lost());
        assert!(published <= messages && published + lost >= messages, "{published} of {messages} told, {lost} lost");
        let unknown = self.delivered.iter().filter(|(_, id)| !self.published.contains(id)).count() as u64;
        assert!(unknown <= lost, "{unknown} messages were delivered and not published, where {lost} are lost");
    }
}
