//! What one idle connection with one subscription costs in the shard's tables, part by part, held to limits.
//!
//! The driver's part is held in its own tests. Whoever needs a field more: find what is rare and put it into `Extra`, or raise a
//! limit here knowing what it is for.

use super::clients::{Conn, Flags, NODE_BYTES};
use super::lanes::Cursor;
use super::subscriptions::{Link, Membership, Subscriber};

/// A cursor's link, index by index with the cursors; a membership, in its topic's list.
const NUMBERS_BYTES: usize = 2 * size_of::<u32>();

#[test]
fn an_idle_connection_is_as_small_as_it_is_said_to_be() {
    let parts = [
        ("connection", size_of::<Conn>(), 56),
        ("subscriber", size_of::<Subscriber>(), 52),
        ("deadline", NODE_BYTES, 12),
        ("membership", size_of::<Membership>(), 32),
        ("link", size_of::<Link>(), 32),
        ("cursor", size_of::<Cursor>(), 16),
        ("numbers", NUMBERS_BYTES, 8),
    ];
    for (part, bytes, most) in parts {
        assert!(bytes <= most, "{part}: {bytes} bytes, above {most}");
    }
    assert!(parts.iter().map(|(_, bytes, _)| bytes).sum::<usize>() <= 208);
}

#[test]
fn independent_bits_take_a_byte_each_and_no_more() {
    assert!(size_of::<Flags>() <= 18, "{}: is this bit needed by every connection?", size_of::<Flags>());
}
