//! Remainders: the rest of a half-sent frame, moved out so that its log memory can be used again.

use super::Shard;
use super::conn::{Mid, Piece};
use crate::driver::Driver;
use crate::log::Place;
use crate::proto::close::CloseCode;

impl<D: Driver> Shard<D> {
    /// Copies (or refers to) the unsent rest of the frame under a cursor and moves the cursor behind it. If the budget for copies
    /// is used up, the connection is reset: it could never be brought back to a frame boundary.
    pub(super) fn move_rest_out(&mut self, stream: u32, index: usize) {
        let sub = self.streams[stream].cursors.subs[index];
        let slot = sub.slot;
        let budget = self.shared.config.memory.remainder_bytes / self.shared.mailboxes.len();
        if self.remainder_bytes + self.streams[stream].log.copied_bytes(sub.seq, sub.partial()) > budget {
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
                    Some(payload) => Piece::Shared { payload: payload.clone(), from: at, to: at + bytes.len() },
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
        self.conns[slot as usize].mid = Mid::Remainder;
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
            if let Piece::Copied { bytes, .. } = piece {
                self.remainder_bytes -= bytes.len();
            }
            extra.remainder.pop_front();
        }
        conn.mid = Mid::Boundary;
    }

    /// Gives up a remainder whose connection closes.
    pub(super) fn drop_remainder(&mut self, slot: u32) {
        let Some(extra) = &mut self.conns[slot as usize].extra else { return };
        for piece in extra.remainder.drain(..) {
            if let Piece::Copied { bytes, .. } = piece {
                self.remainder_bytes -= bytes.len();
            }
        }
    }
}
