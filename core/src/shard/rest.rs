//! The rest of a half-sent frame, moved out of its log so that the log's memory can be used again, and the budget for all of them.

use std::collections::{HashMap, VecDeque};

use crate::config::MemoryConfig;
use crate::ingest::Payload;
use crate::log::{Log, Place, Position};

/// The rest of a half-sent frame, its log memory being needed for something else.
#[derive(Debug)]
pub enum RestPiece {
    /// Copied, and counted against the budget for half-sent frames.
    Copied {
        /// The bytes.
        bytes: Vec<u8>,
        /// How many of them were sent.
        sent: usize,
    },
    /// A payload by reference from `from` on.
    Shared {
        /// The payload.
        payload: Payload,
        /// First unsent byte.
        from: usize,
        /// One past the last.
        to: usize,
    },
}

impl RestPiece {
    /// The unsent bytes.
    pub fn unsent(&self) -> &[u8] {
        match self {
            RestPiece::Copied { bytes, sent } => &bytes[*sent..],
            RestPiece::Shared { payload, from, to } => &payload[*from..*to],
        }
    }

    /// Notes that `n` more bytes were sent.
    pub fn advance(&mut self, n: usize) {
        match self {
            RestPiece::Copied { sent, .. } => *sent += n,
            RestPiece::Shared { from, .. } => *from += n,
        }
    }
}

/// Of the payload pool, this fraction (split over the shards) may be kept for half-sent frames.
const REFERRED_SHARE: usize = 8;

/// The unsent rest of one frame.
#[derive(Debug)]
pub struct Rest {
    /// Its bytes, in order.
    pub pieces: VecDeque<RestPiece>,
    /// The first message behind the frame.
    pub behind: Position,
}

/// What half-sent frames may keep: copies in bytes, and payloads that they refer to, each counted once however many connections
/// stand in it.
///
/// A client that stops reading in a large message keeps that message: without a limit a few hundred such clients would keep all
/// the memory that large messages are published in.
#[derive(Debug)]
pub struct RestBudget {
    copied: usize,
    copied_max: usize,
    /// By a payload's address: how many connections stand in it, and what it was counted as.
    holders: HashMap<usize, (u32, usize)>,
    referred: usize,
    referred_max: usize,
}

impl RestBudget {
    /// One shard's part of the engine's memory.
    pub fn new(memory: &MemoryConfig, shards: usize) -> Self {
        Self {
            copied: 0,
            copied_max: memory.remainder_bytes / shards,
            holders: HashMap::new(),
            referred: 0,
            referred_max: memory.payload_bytes / REFERRED_SHARE / shards,
        }
    }

    /// Bytes of copies.
    pub fn copied_bytes(&self) -> usize {
        self.copied
    }

    /// Takes the rest of the frame at `position`, of which `sent` bytes are gone, out of `log`. `None`: there is no room for it.
    pub fn take(&mut self, log: &Log, position: Position, sent: u32) -> Option<Rest> {
        let Place::At(entry) = log.place(position) else {
            return Some(Rest { pieces: VecDeque::new(), behind: position + 1 });
        };
        let (from, to) = (entry.offset + u64::from(sent), entry.offset + u64::from(entry.len));
        let mut has_room = self.copied + log.copied_bytes(position, sent) <= self.copied_max;
        log.for_each_piece(from, to, |_, shared, _| {
            has_room &= shared.is_none_or(|payload| self.may_refer_to(payload));
        });
        if !has_room {
            return None;
        }
        let mut pieces = VecDeque::new();
        log.for_each_piece(from, to, |bytes, shared, at| {
            pieces.push_back(match shared {
                Some(payload) => {
                    self.refer_to(payload);
                    RestPiece::Shared { payload: payload.clone(), from: at, to: at + bytes.len() }
                }
                None => {
                    self.copied += bytes.len();
                    RestPiece::Copied { bytes: bytes.to_vec(), sent: 0 }
                }
            });
        });
        Some(Rest { pieces, behind: entry.end() })
    }

    /// A piece is sent, or given up.
    pub fn give_back(&mut self, piece: &RestPiece) {
        match piece {
            RestPiece::Copied { bytes, .. } => self.copied -= bytes.len(),
            RestPiece::Shared { payload, .. } => self.release(payload),
        }
    }

    /// True if one connection more may stand in this payload. A first payload may always be kept, whatever its size.
    fn may_refer_to(&self, payload: &Payload) -> bool {
        self.referred == 0
            || self.referred + payload.held_bytes() <= self.referred_max
            || self.holders.contains_key(&payload.as_ptr().addr())
    }

    fn refer_to(&mut self, payload: &Payload) {
        let (holders, counted) = self.holders.entry(payload.as_ptr().addr()).or_default();
        if *holders == 0 {
            *counted = payload.held_bytes();
            self.referred += *counted;
        }
        *holders += 1;
    }

    fn release(&mut self, payload: &Payload) {
        let address = payload.as_ptr().addr();
        let Some((holders, counted)) = self.holders.get_mut(&address) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.referred -= *counted;
            self.holders.remove(&address);
        }
    }
}
