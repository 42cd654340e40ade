//! Records that tie a connection to a topic and to its cursors.

use super::start::Lost;
use crate::shard::table::NONE;

/// A connection's subscription to one topic, by its name, by patterns, or both.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// The connection.
    pub slot: u32,
    /// The topic's place.
    pub topic: u32,
    /// Its place in the topic's list of members.
    pub index: u32,
    /// The connection's next membership.
    pub next: u32,
    /// The one before; of the first, the last.
    pub prev: u32,
    /// Its first link: one for each of the topic's lanes, chained by [`Link::sibling`].
    pub links: u32,
    /// The subscription whose id `subscribed` will carry; [`NONE`] when there is none.
    pub subscription: u32,
    /// Patterns of the connection that it comes from.
    pub patterns: u16,
    /// `subscribed` is still to be sent; no messages before it.
    pub must_announce: bool,
    /// Asked for by its name.
    pub is_literal: bool,
}

impl Membership {
    /// A membership with no lanes yet, that nobody asked for.
    pub fn new(slot: u32, topic: u32, index: u32) -> Self {
        Self {
            slot,
            topic,
            index,
            next: NONE,
            prev: NONE,
            links: NONE,
            subscription: NONE,
            patterns: 0,
            must_announce: false,
            is_literal: false,
        }
    }
}

/// Ties a cursor to its connection.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The stream.
    pub stream: u32,
    /// The cursor's place among those of the stream.
    pub index: u32,
    /// The membership.
    pub membership: u32,
    /// The next link of the same connection and priority, in a ring.
    pub next: u32,
    /// The one before.
    pub prev: u32,
    /// The next link of the same membership, or [`NONE`].
    pub sibling: u32,
    /// Number of its [`Terms`], or [`NONE`].
    pub terms: u32,
    /// Its latency budget in milliseconds; 0: none.
    pub budget_ms: u16,
    /// The host was told that this cursor lags.
    pub was_warned: bool,
}

/// What only some cursors have: a gap notice that is owed, or an option of their subscription.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// A gap notice that is owed before anything is sent.
    pub owed: Option<Lost>,
    /// At least so long between two messages, in nanoseconds; 0: no limit.
    pub interval_ns: u64,
    /// When the next message may be sent, in the driver's time.
    pub next_ns: u64,
    /// The moment for which it is queued among the paced, if it is.
    pub queued_ns: u64,
    /// What the connection published itself is passed over.
    pub skips_own: bool,
}

impl Terms {
    /// True if the cursor looks at each frame before it is sent.
    pub fn is_picking(&self) -> bool {
        self.interval_ns > 0 || self.skips_own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Seq;
    use crate::proto::server_message::GapReason;

    #[test]
    fn a_debt_alone_makes_no_cursor_look_at_each_frame() {
        let owed = Lost { from: Seq(1), to: Seq(2), count: Some(2), reason: GapReason::Retention };
        let owing = Terms { owed: Some(owed), interval_ns: 0, next_ns: 0, queued_ns: 0, skips_own: false };
        assert!(!owing.is_picking());
        assert!(Terms { interval_ns: 1, ..owing }.is_picking());
        assert!(Terms { skips_own: true, ..owing }.is_picking());
    }
}
