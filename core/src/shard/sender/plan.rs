//! One connection's gathered send: what it is made of, and the memory that this stands in.

use std::io::IoSlice;

use arrayvec::ArrayVec;

use super::SEND_BYTES_MAX;
use crate::driver::{SEND_PARTS_MAX, SendBatch, Slot};
use crate::shard::clients::Conn;
use crate::shard::lanes::Lanes;
use crate::shard::subscriptions::Subscriptions;

/// One piece of a connection's gathered send, by reference to where it stands.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// The rest of a half-sent frame.
    Rest,
    /// Control frames.
    Control,
    /// Messages to it alone, from the first on.
    Direct,
    /// Only the rest of the first of them.
    DirectRest,
    /// A run of its cursor's stream, and how many messages are passed over before it.
    Run {
        /// The cursor's link.
        link: u32,
        /// Messages passed over before it.
        skips: u32,
        /// Where it begins in its stream.
        from: u64,
        /// Where it ends.
        to: u64,
    },
}

/// What one connection is to be sent.
#[derive(Debug)]
pub struct Plan {
    /// The connection.
    pub slot: u32,
    /// What it is sent, in order.
    pub items: ArrayVec<Item, SEND_PARTS_MAX>,
    /// Bytes of each item that went into the batch.
    pub lens: ArrayVec<usize, SEND_PARTS_MAX>,
    /// Nothing of the items had to be left out of the batch.
    pub is_whole: bool,
}

impl Plan {
    /// Nothing yet.
    pub fn new(slot: u32) -> Self {
        Self { slot, items: ArrayVec::new(), lens: ArrayVec::new(), is_whole: false }
    }

    /// Whether one of the items from `first` on is of this link.
    pub fn has_run_from(&self, first: usize, wanted: u32) -> bool {
        let is_of_it = |item: &Item| matches!(item, Item::Run { link, .. } if *link == wanted);
        self.items.get(first..).is_some_and(|items| items.iter().any(is_of_it))
    }

    /// Bytes that went into the batch.
    pub fn offered(&self) -> usize {
        self.lens.iter().sum()
    }
}

/// Adds a plan's memory to the batch, as far as it fits.
pub fn fill<'a>(
    batch: &mut SendBatch<'a>,
    plan: &mut Plan,
    conn: &'a Conn,
    subscriptions: &Subscriptions,
    lanes: &'a Lanes,
) {
    let mut parts: ArrayVec<IoSlice<'a>, SEND_PARTS_MAX> = ArrayVec::new();
    let extra = conn.extra.as_deref();
    let mut room = 2 * SEND_BYTES_MAX;
    let mut is_whole = true;
    for item in &plan.items {
        if parts.is_full() || room == 0 {
            is_whole = false;
            break;
        }
        let mut len = 0;
        let mut want = 0;
        match *item {
            Item::Rest => {
                for piece in extra.iter().flat_map(|e| &e.rest) {
                    let bytes = piece.unsent();
                    want += bytes.len();
                    len += add(&mut parts, bytes, room - len);
                }
            }
            Item::Control => {
                if let Some(extra) = extra {
                    let bytes = &extra.control[extra.control_sent..];
                    want = bytes.len();
                    len = add(&mut parts, bytes, room);
                }
            }
            Item::DirectRest | Item::Direct => {
                let Some(extra) = extra else { continue };
                let is_rest = matches!(item, Item::DirectRest);
                // After its own rest the first message is done with.
                let skip_first = !is_rest && matches!(plan.items[0], Item::DirectRest);
                let mut sent = if skip_first { 0 } else { extra.direct_sent };
                let take = if is_rest { 1 } else { usize::MAX };
                for direct in extra.direct.iter().skip(usize::from(skip_first)).take(take) {
                    if sent < direct.header.len() {
                        let bytes = &direct.header[sent..];
                        want += bytes.len();
                        len += add(&mut parts, bytes, room - len);
                    }
                    let bytes = &direct.payload[sent.saturating_sub(direct.header.len())..];
                    want += bytes.len();
                    len += add(&mut parts, bytes, room - len);
                    sent = 0;
                    if len < want {
                        break;
                    }
                }
            }
            Item::Run { link, from, to, .. } => {
                want = (to - from) as usize;
                len = lanes.stream(subscriptions.link(link).stream).log.gather(from, to, room, &mut parts);
            }
        }
        room -= len;
        plan.lens.push(len);
        if len < want {
            is_whole = false;
            break;
        }
    }
    plan.is_whole = is_whole;
    if !parts.is_empty() {
        batch.push(Slot(plan.slot), &parts);
    }
}

/// Adds one part, cut to `room`; returns what was added.
fn add<'a>(parts: &mut ArrayVec<IoSlice<'a>, SEND_PARTS_MAX>, bytes: &'a [u8], room: usize) -> usize {
    let n = bytes.len().min(room);
    if n == 0 || parts.is_full() {
        return 0;
    }
    parts.push(IoSlice::new(&bytes[..n]));
    n
}
