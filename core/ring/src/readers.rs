//! Who reads, for whom the ring waits, and how a reader that stands still is passed over and let in again.
//!
//! # The protocol, for a shard
//! A full area waits for its slowest reader. One that stands still for [`STANDSTILL_NS`], while another has read on, is *passed over*: it is
//! not waited for any more, what it has not read is overwritten, and the others go on.
//!
//! 1. Whoever finds an area full says what time it is ([`Ring::look_for_standstill`], or by the clock given to
//!    [`Ring::watch_standstill`]); the call that sees the 250 ms complete passes the reader over.
//! 2. The reader finds out when it reads on: [`Reader::next`] gives nothing and [`Reader::is_passed_over`] is true. What it
//!    was lent was good to the last byte. It has missed an unknown part of both areas and reads nothing more.
//! 3. It asks another shard, by that shard's mailbox, to let it in again, and again another one if there is no answer.
//! 4. The other shard, between two records of its own turn, takes down what it knows at its place ([`Reader::standing`]): topics, and the
//!    next number of each lane. It puts that into the mailbox of the one that was passed over, and *then* calls
//!    [`Reader::readmit`], which sets that reader to the very same place. False: not now (that reader has not noticed, has come
//!    further than this one, or was let in by another; or this one was itself passed over): what was put into the mailbox is void.
//! 5. The reader that was passed over asks [`Reader::rejoin`] each turn. It gives the place from which it reads on: the notes that
//!    were taken at this place are the ones that hold. What lies between is lost to its clients, and they are told so.
//!
//! # Why nothing is read that is being overwritten
//! A reader reads nothing outside of its *claim*, a stretch of the area that it announces before; it does so each 64 KiB or
//! so. To claim is to store the place, pass a full fence, and look whether one is still waited for (`awaited`); to overwrite
//! what an overtaken reader has not read is to find it not awaited, pass a full fence, and look at its claim. Of two full fences one is first:
//! either the reader finds out, or the producer sees the claim. A claim of a reader that is not awaited is a *hole*: producers
//! leave it out, each lap, until its reader notices. So a thread may be stopped between any two instructions, in the middle of a record too,
//! and neither is its memory touched nor does the ring stand.
//!
//! `awaited` is one word: to let a reader in again sets its bit only while that of the one who lets it in is set. So its
//! place is one that the ring keeps, and the least place of all that are awaited never goes back.
//!
//! Knows readers and places; must never know records.

use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use super::sync::{AtomicBool, AtomicU64, Ordering};
#[cfg(doc)]
use super::{Reader, Ring};

/// How long a reader may stand still while another has read on and an area is full.
pub const STANDSTILL_NS: u64 = 250_000_000;
/// So much of the time between two looks counts, at most: when the whole process was stopped, no reader stood still.
const LOOK_NS: u64 = 100_000_000;
/// How often producers that wait for room look.
pub(crate) const LOOK_WAIT_NS: u64 = 50_000_000;

/// No claim. Positions are multiples of 64 and never get there.
pub(crate) const NO_CLAIM: u64 = u64::MAX;
/// No claim: passed over, has noticed, and waits to be let in.
pub(crate) const ASKING: u64 = u64::MAX - 1;
/// No claim: somebody is about to let it in.
pub(crate) const ENTERING: u64 = u64::MAX - 2;

/// Whether a claim is a position.
pub(crate) const fn is_claim(claim: u64) -> bool {
    claim < ENTERING
}

/// Monotonic nanoseconds.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// The sets of readers.
pub(crate) struct Readers {
    pub(crate) count: usize,
    /// Those that are not gone, one bit each.
    pub(crate) live: CachePadded<AtomicU64>,
    /// Those that the ring waits for: live and not passed over. Never empty, unless the ring is closed.
    pub(crate) awaited: CachePadded<AtomicU64>,
    /// Counts before and after each time that a reader is let in again: who looks at all readers one by one sees by it that he must
    /// do so once more.
    pub(crate) entries: CachePadded<AtomicU64>,
    pub(crate) clock: OnceLock<Clock>,
}

/// What came of [`Readers::give_up`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GaveUp {
    Now,
    /// It was not waited for.
    Before,
    /// It is still waited for: there is nobody else.
    IsLast,
}

impl Readers {
    pub(crate) fn new(count: usize, all: u64) -> Self {
        Self {
            count,
            live: CachePadded::new(AtomicU64::new(all)),
            awaited: CachePadded::new(AtomicU64::new(all)),
            entries: CachePadded::new(AtomicU64::new(0)),
            clock: OnceLock::new(),
        }
    }

    pub(crate) fn is_awaited(&self, reader: usize) -> bool {
        self.awaited.load(Ordering::Acquire) & 1 << reader != 0
    }

    /// Waits for `reader` no more, unless nobody else would be left.
    pub(crate) fn give_up(&self, reader: usize) -> GaveUp {
        let bit = 1 << reader;
        let others = |awaited: u64| (awaited & bit != 0 && awaited & !bit != 0).then_some(awaited & !bit);
        match self.awaited.fetch_update(Ordering::AcqRel, Ordering::Acquire, others) {
            Ok(_) => GaveUp::Now,
            Err(awaited) if awaited & bit != 0 => GaveUp::IsLast,
            Err(_) => GaveUp::Before,
        }
    }

    /// Waits for `other` again, where `reader` is waited for. False: it is not, or `other` is gone.
    pub(crate) fn let_in(&self, reader: usize, other: usize) -> bool {
        let enter = |awaited: u64| {
            let is_good = awaited & 1 << reader != 0 && self.live.load(Ordering::Acquire) & 1 << other != 0;
            is_good.then_some(awaited | 1 << other)
        };
        self.awaited.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok()
    }
}

/// Who has stood still for how long, as far as those who looked have seen.
pub(crate) struct Standstill {
    /// One looks at a time; the others need not.
    is_looking: AtomicBool,
    /// The slowest reader and its position.
    suspect: AtomicU64,
    seen_ns: AtomicU64,
    stood_ns: AtomicU64,
}

impl Standstill {
    pub(crate) fn new() -> Self {
        Self {
            is_looking: AtomicBool::new(false),
            suspect: AtomicU64::new(u64::MAX),
            seen_ns: AtomicU64::new(0),
            stood_ns: AtomicU64::new(0),
        }
    }

    /// Notes that at `now_ns` this reader, at this position, is the slowest and holds others back. True: it has done so for
    /// long enough.
    pub(crate) fn note(&self, reader: usize, position: u64, now_ns: u64) -> bool {
        if self.is_looking.swap(true, Ordering::Acquire) {
            return false;
        }
        // Positions are multiples of 64, and there are as many readers at most.
        let suspect = position | reader as u64;
        let mut stood = 0;
        if self.suspect.load(Ordering::Relaxed) == suspect {
            let since = now_ns.saturating_sub(self.seen_ns.load(Ordering::Relaxed));
            stood = self.stood_ns.load(Ordering::Relaxed) + since.min(LOOK_NS);
        }
        self.suspect.store(suspect, Ordering::Relaxed);
        self.seen_ns.store(now_ns, Ordering::Relaxed);
        self.stood_ns.store(stood, Ordering::Relaxed);
        self.is_looking.store(false, Ordering::Release);
        stood >= STANDSTILL_NS
    }
}
