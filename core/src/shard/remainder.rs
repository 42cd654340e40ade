//! Remainders: the rest of a half-sent frame, moved out so that its log memory can be used again.

use std::collections::HashMap;

use super::Shard;
use super::conn::{Mid, Piece};
use crate::driver::Driver;
use crate::ingest::Payload;
use crate::log::Place;
use crate::proto::close::CloseCode;

/// Of the payload pool, this fraction (split over the shards) may be kept for half-sent frames.
const RESTS_SHARE: usize = 8;

/// Payloads that half-sent frames refer to, each counted once however many connections stand in it.
///
/// A client that stops reading in a large message keeps that message: without a limit a few hundred such clients would keep all
/// the memory that large messages are published in.
#[derive(Debug, Default)]
pub struct Rests {
    /// By a payload's address: how many connections stand in it, and what it was counted as.
    holders: HashMap<usize, (u32, usize)>,
    bytes: usize,
}

impl Rests {
    /// True if one connection more may stand in this payload. A first payload may always be kept, whatever its size.
    fn has_room(&self, payload: &Payload, limit: usize) -> bool {
        self.bytes == 0
            || self.bytes + payload.held_bytes() <= limit
            || self.holders.contains_key(&payload.as_ptr().addr())
    }

    fn hold(&mut self, payload: &Payload) {
        let (holders, counted) = self.holders.entry(payload.as_ptr().addr()).or_default();
        if *holders == 0 {
            *counted = payload.held_bytes();
            self.bytes += *counted;
        }
        *holders += 1;
    }

    fn release(&mut self, payload: &Payload) {
        let address = payload.as_ptr().addr();
        let Some((holders, counted)) = self.holders.get_mut(&address) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.bytes -= *counted;
            self.holders.remove(&address);
        }
    }
}

impl<D: Driver> Shard<D> {
    /// Copies (or refers to) the unsent rest of the frame under a cursor and moves the cursor behind it. If the budget for copies,
    /// or for payloads referred to, is used up, the connection is reset: it could never be brought back to a frame boundary.
    pub(super) fn move_rest_out(&mut self, stream: u32, index: usize) {
        let sub = self.streams[stream].cursors.subs[index];
        let slot = sub.slot;
        let budget = self.shared.config.memory.remainder_bytes / self.shared.mailboxes.len();
        let rests_limit = self.shared.config.memory.payload_bytes / RESTS_SHARE / self.shared.mailboxes.len();
        let log = &self.streams[stream].log;
        let mut has_room = self.remainder_bytes + log.copied_bytes(sub.seq, sub.partial()) <= budget;
        if let Place::At(entry) = log.place(sub.seq) {
            let from = entry.offset + u64::from(sub.partial());
            log.for_each_piece(from, entry.offset + u64::from(entry.len), |_, shared, _| {
                has_room &= shared.is_none_or(|payload| self.rests.has_room(payload, rests_limit));
            });
        }
        if !has_room {
            self.stats.evicted += 1;
            self.streams[stream].cursors.place(index, sub.seq + 1, 0);
            self.doom(slot, CloseCode::ABNORMAL.to_u16());
            return;
        }
        let mut pieces = std::mem::take(&mut self.extra(slot).remainder);
        debug_assert!(pieces.is_empty(), "one frame can be half sent");
        let log = &self.streams[stream].log;
        let mut copied = 0;
        // A frame may hold several messages: behind it is behind the last of them.
        let mut behind = sub.seq + 1;
        if let Place::At(entry) = log.place(sub.seq) {
            behind = entry.end_seq();
            let from = entry.offset + u64::from(sub.partial());
            log.for_each_piece(from, entry.offset + u64::from(entry.len), |bytes, shared, at| {
                pieces.push_back(match shared {
                    Some(payload) => {
                        self.rests.hold(payload);
                        Piece::Shared { payload: payload.clone(), from: at, to: at + bytes.len() }
                    }
                    None => {
                        copied += bytes.len();
                        Piece::Copied { bytes: bytes.to_vec(), sent: 0 }
                    }
                });
            });
        }
        self.streams[stream].cursors.place(index, behind, 0);
        self.remainder_bytes += copied;
        self.extra(slot).remainder = pieces;
        self.conns[slot as usize].set_mid(Mid::Remainder);
        self.stats.deliveries += 1;
    }

    /// Notes that `n` bytes of the remainder were sent.
    pub(super) fn remainder_was_sent(&mut self, slot: u32, mut n: usize) {
        let conn = &mut self.conns[slot as usize];
        let Some(extra) = &mut conn.extra else { return };
        while let Some(piece) = extra.remainder.front_mut() {
            let len = piece.unsent().len();
            let k = n.min(len);
            piece.advance(k);
            n -= k;
            if k < len {
                return;
            }
            match piece {
                Piece::Copied { bytes, .. } => self.remainder_bytes -= bytes.len(),
                Piece::Shared { payload, .. } => self.rests.release(payload),
            }
            extra.remainder.pop_front();
        }
        conn.set_mid(Mid::Boundary);
    }

    /// Gives up a remainder whose connection closes.
    pub(super) fn drop_remainder(&mut self, slot: u32) {
        let Some(extra) = &mut self.conns[slot as usize].extra else { return };
        for piece in extra.remainder.drain(..) {
            match piece {
                Piece::Copied { bytes, .. } => self.remainder_bytes -= bytes.len(),
                Piece::Shared { payload, .. } => self.rests.release(&payload),
            }
        }
    }
}
