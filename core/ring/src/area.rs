//! One area of the ring: memory, reservation, commitment, and how far its readers are.
//!
//! Knows positions, laps and who reads how far; must never know what records mean.
//!
//! # How it works
//! The memory is a power of two of bytes in units of 64. A record is a head of `HEAD` bytes and its payload in contiguous
//! units; one that would cross the end is preceded by padding up to the end. Positions count bytes since the ring was made.
//!
//! - *Reserve*: one compare-and-swap of `tail`, after checking that the slowest reader is less than a lap behind the new
//!   tail. The readers' minimum is cached (`limit`) and recomputed only when the area looks full.
//! - *Commit*: write the record, then store its lap number (Release) in `marks`, at its first unit. The marks lie apart from
//!   the data (as in the LMAX Disruptor's available buffer), so stale payload is never taken for a head, and records
//!   may be committed in any order: a reader stops at the first that is missing.
//! - *Read*: a reader whose position is p looks at p's mark (Acquire): if it shows p's lap, the record is there.
//! - *Release*: once per turn a reader stores its position (Release); the bytes before the slowest one are free again.
//! - *Claim*: a reader reads only within a stretch that it announces before, each 64 KiB or so. A reader that is passed over is not
//!   waited for, but what it claims is left out (see `readers`): a padding record leads up to such a hole, and the mark
//!   at its beginning is a *leap*, the lap number and 2^31, from which readers go on `claim_bytes` further.
//!
//! # Why a mark is never mistaken
//! A mark holds the low 32 bits of a lap. A unit in the middle of long records keeps an old mark as long as no record
//! begins there, and 2^32 laps of a 64 KiB area are only 8 hours at 10 GB/s. So the producer whose record begins a lap
//! refreshes one mark (see [`Area::refresh_mark`]): every mark is visited once in as many laps as there are units (at
//! most 2^26), and none is ever old enough to look new, nor to look like a leap.
//!
//! # Unsafe contract
//! - From its reservation to its commit, `[from, end)` belongs to one producer: `end - capacity <= limit - capacity <=`
//!   the released position of every reader that is awaited, and no claim of another one is in it, a number of laps earlier: so no reader
//!   reads there, and no other reservation overlaps. [`Area::bounds`] says why it cannot miss a reader.
//! - From its commit until the slowest awaited reader releases it, a record is only read, and until nobody claims its place.
//!   Every awaited reader passes every record, and the last one that is dropped keeps its position for ever, so this never fails for
//!   want of readers.
//! - Happens-before: producer's writes → mark (Release/Acquire) → reader's reads → released position, or claim of another place
//!   (Release/Acquire by whoever recomputes `limit`) → `limit` (Release/Acquire) → the next producer's writes.

#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", not(any(feature = "loom", miri))))]
use std::arch::asm;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::error::{Refused, RingError};
use super::memory::{Memory, UNIT};
use super::readers::{NO_CLAIM, Readers, Standstill, is_claim};
use super::record::{Form, WORDS_BYTES, Words};
use super::shared::SharedPayloads;
use super::signal::Room;
use super::sync::{AtomicU32, AtomicU64, Lent, Ordering, Watch, fence, store_release};
use crate::usdt;

/// Largest payload that is copied into the ring; a larger one must be shared.
pub const INLINE_MAX: usize = 16 << 10;

/// How far ahead of a record the cache lines are asked for: several records, whatever their size.
const FETCH_AHEAD: u64 = 4 << 10;
const UNIT_SHIFT: u32 = UNIT.trailing_zeros();
/// In `tail`: no more reservations. Positions are multiples of [`UNIT`].
const CLOSED: u64 = 1;
/// What distinguishes a leap's mark from a record's.
const LEAP: u32 = 1 << 31;
/// How much more than the largest record a reader claims at once, at most.
const CLAIM_BYTES_MAX: u64 = 64 << 10;

/// A bounded broadcast area of records whose payload begins `HEAD` bytes behind their beginning.
pub(crate) struct Area<const HEAD: usize> {
    memory: Memory,
    marks: Box<[AtomicU32]>,
    mask: u64,
    lap_shift: u32,
    pub(crate) inline_max: usize,
    /// What a reader claims at once: the largest record and some more.
    claim_bytes: u64,
    /// End of the last reservation; bit 0 is [`CLOSED`].
    tail: CachePadded<AtomicU64>,
    /// The slowest reader's position plus the capacity, or the next hole's beginning, or a smaller value from the past.
    limit: CachePadded<AtomicU64>,
    /// What each reader has released; written by that reader, and by who lets it in again.
    released: Box<[CachePadded<AtomicU64>]>,
    /// Where each reader's claim begins, or that it has none.
    claims: Box<[CachePadded<AtomicU64>]>,
    readers: Arc<Readers>,
    standstill: Standstill,
    /// The payloads that its records refer to.
    pub(crate) shared: SharedPayloads,
    /// The producers that wait for room in it.
    pub(crate) room: Room,
    watch: Watch,
}

// SAFETY: loom's cells, which only watch, are not Sync; everything else in an area is.
#[cfg(feature = "loom")]
unsafe impl<const HEAD: usize> Sync for Area<HEAD> {}

/// The head of a committed record.
pub(crate) struct Found<'a> {
    /// Its position.
    pub(crate) start: u64,
    pub(crate) words: &'a Words,
    /// How far the main area must have been read before this record may be.
    pub(crate) after: u64,
}

/// Where one reader stands in an area.
pub(crate) struct Place {
    reader: usize,
    /// The next record.
    pub(crate) next: u64,
    /// What producers know of `next`.
    released: u64,
    /// Records that begin below it are in its claim.
    claimed_below: u64,
    /// Passed over: nothing may be read.
    pub(crate) is_out: bool,
    lent: Lent,
}

impl Place {
    pub(crate) fn at(reader: usize, origin: u64) -> Self {
        Self { reader, next: origin, released: origin, claimed_below: origin, is_out: false, lent: Lent::new() }
    }
}

/// What came of a look for room.
enum Way {
    /// There is room.
    Free,
    /// There was a hole in the way: look at the tail again.
    Moved,
    Full,
}

impl<const HEAD: usize> Area<HEAD> {
    /// An area of any power of two from 4 units on, whose first position is `origin`.
    pub(crate) fn new(bytes: usize, readers: &Arc<Readers>, origin: u64) -> Result<Self, RingError> {
        debug_assert!(bytes.is_power_of_two() && bytes as u64 >= 4 * UNIT && origin.is_multiple_of(UNIT));
        let capacity = bytes as u64;
        let units = bytes / UNIT as usize;
        let lap_shift = capacity.trailing_zeros();
        // Two laps ago: no reader waits for that, and it is what `refresh_mark` writes.
        let unused = ((origin >> lap_shift) as u32).wrapping_sub(2);
        // A record of n units may need n - 1 units of padding before it: 2n - 1 units must fit.
        let inline_max = INLINE_MAX.min(bytes / 2 - HEAD);
        let each = |value| (0..readers.count).map(|_| CachePadded::new(AtomicU64::new(value))).collect();
        Ok(Self {
            memory: Memory::new(bytes).ok_or(RingError::NoMemory(bytes))?,
            marks: (0..units).map(|_| AtomicU32::new(unused)).collect(),
            mask: capacity - 1,
            lap_shift,
            inline_max,
            claim_bytes: Self::span(inline_max) + CLAIM_BYTES_MAX.min(capacity / 16) / UNIT * UNIT,
            tail: CachePadded::new(AtomicU64::new(origin)),
            limit: CachePadded::new(AtomicU64::new(origin + capacity)),
            released: each(origin),
            claims: each(NO_CLAIM),
            readers: Arc::clone(readers),
            standstill: Standstill::new(),
            shared: SharedPayloads::for_area(bytes),
            room: Room::new(),
            watch: Watch::new(units),
        })
    }

    /// What [`Area::new`] takes from the system, in bytes: the area, 1/16 for the marks, and 1/128 for shared payloads.
    pub(crate) const fn footprint(bytes: usize, readers: usize) -> usize {
        bytes
            + bytes / UNIT as usize * size_of::<AtomicU32>()
            + SharedPayloads::footprint(bytes)
            + readers * 256
            + size_of::<Self>()
    }

    /// Bytes of the area.
    pub(crate) fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// What every reader that is awaited has released.
    pub(crate) fn slowest_reader(&self) -> u64 {
        self.bounds(0).0
    }

    /// The end of the last reservation.
    pub(crate) fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire) & !CLOSED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.tail.load(Ordering::Relaxed) & CLOSED != 0
    }

    pub(crate) fn close(&self) {
        self.tail.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// True if it is closed and all that was reserved has been read.
    pub(crate) fn is_read_to_its_end(&self, place: &Place) -> bool {
        self.tail.load(Ordering::Acquire) == place.next | CLOSED
    }

    /// Bytes between the slowest reader's released position and the newest reservation, within one moment's inaccuracy.
    pub(crate) fn used_bytes(&self) -> u64 {
        let tail = self.tail.load(Ordering::Relaxed) & !CLOSED;
        tail.saturating_sub(self.slowest_reader()).min(self.capacity())
    }

    /// Bytes reserved and not yet read.
    pub(crate) fn backlog_bytes(&self, place: &Place) -> u64 {
        (self.tail.load(Ordering::Relaxed) & !CLOSED).saturating_sub(place.next)
    }

    /// A record with its payload copied. Returns its position. `after` is of use where `HEAD` leaves room for it.
    #[inline]
    pub(crate) fn publish(&self, words: Words, payload: &[u8], after: u64) -> Result<u64, Refused> {
        let (from, start) = self.reserve(Self::span(payload.len()))?;
        self.pad(from, start);
        self.write(start, words, payload, after);
        Ok(start)
    }

    /// As many of `payloads` as there is room for, by one reservation. Returns how many.
    pub(crate) fn publish_many(&self, words: Words, payloads: &[&[u8]], after: u64) -> Result<usize, Refused> {
        let (from, accepted) = self.reserve_many(payloads)?;
        let mut at = from;
        for payload in &payloads[..accepted] {
            let bytes = Self::span(payload.len());
            let start = self.place(at, bytes);
            self.pad(at, start);
            self.write(start, words, payload, after);
            at = start + bytes;
        }
        Ok(accepted)
    }

    /// Where a record of `bytes` begins if the bytes before `at` are taken.
    #[inline]
    fn place(&self, at: u64, bytes: u64) -> u64 {
        if (at & self.mask) + bytes > self.capacity() { (at | self.mask) + 1 } else { at }
    }

    /// Reserves `bytes`: gives the reservation's first byte and where the record in it begins.
    #[inline]
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(u64, u64), Refused> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Err(Refused::Stopped);
            }
            let start = self.place(tail, bytes);
            let end = start + bytes;
            // Acquire: what the readers did before they released this room comes before our writes.
            if end > self.limit.load(Ordering::Acquire) {
                match self.make_way(tail, end) {
                    Way::Free => {}
                    Way::Moved => {
                        tail = self.tail.load(Ordering::Relaxed);
                        continue;
                    }
                    Way::Full => return Err(Refused::Full),
                }
            }
            // Relaxed: the tail only hands out ranges; nothing is published by it.
            match self.tail.compare_exchange_weak(tail, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok((tail, start)),
                Err(now) => tail = now,
            }
        }
    }

    fn reserve_many(&self, payloads: &[&[u8]]) -> Result<(u64, usize), Refused> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Err(Refused::Stopped);
            }
            let limit = self.limit.load(Ordering::Acquire);
            let (mut accepted, mut end) = self.fit(tail, limit, payloads);
            if accepted < payloads.len() {
                if payloads[accepted].len() > self.inline_max {
                    if accepted == 0 {
                        return Err(Refused::TooLarge);
                    }
                } else {
                    (accepted, end) = self.fit(tail, self.refresh_limit(tail), payloads);
                    if accepted == 0 {
                        let bytes = Self::span(payloads[0].len());
                        if matches!(self.make_way(tail, self.place(tail, bytes) + bytes), Way::Full) {
                            return Err(Refused::Full);
                        }
                        tail = self.tail.load(Ordering::Relaxed);
                        continue;
                    }
                }
            }
            match self.tail.compare_exchange_weak(tail, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok((tail, accepted)),
                Err(now) => tail = now,
            }
        }
    }

    /// How many of `payloads` fit between `tail` and `limit`, and where they end.
    fn fit(&self, tail: u64, limit: u64, payloads: &[&[u8]]) -> (usize, u64) {
        let mut at = tail;
        for (i, payload) in payloads.iter().enumerate() {
            if payload.len() > self.inline_max {
                return (i, at);
            }
            let bytes = Self::span(payload.len());
            let end = self.place(at, bytes) + bytes;
            if end > limit {
                return (i, at);
            }
            at = end;
        }
        (payloads.len(), at)
    }

    /// The slowest reader's position plus the capacity, or the next hole's beginning. Every value it ever had stays a correct limit:
    /// whatever changes makes it greater, but for a hole that comes to be, which is a lap above a reader that was awaited until then.
    #[cold]
    fn refresh_limit(&self, tail: u64) -> u64 {
        let (slowest, hole) = self.bounds(tail);
        let limit = slowest.saturating_add(self.capacity()).min(hole.unwrap_or(u64::MAX));
        // Release: passes on what we acquired from the readers. An older value may overwrite a newer one: it is only
        // more careful, and whoever finds it too small computes it anew.
        self.limit.store(limit, Ordering::Release);
        limit
    }

    /// How far the slowest of the awaited readers is, and where the first hole that ends above `tail` begins.
    ///
    /// A reader that is let in again while we look may be missed, together with the release of the one that let it in. Then
    /// `entries` has changed before that release, and we look again. One that is passed over while we look was awaited when we began.
    fn bounds(&self, tail: u64) -> (u64, Option<u64>) {
        loop {
            let entries = self.readers.entries.load(Ordering::Acquire);
            let awaited = self.readers.awaited.load(Ordering::Acquire);
            // Orders the look at who is awaited before that at the claims of the others. See `readers`.
            fence(Ordering::SeqCst);
            let (mut slowest, mut hole) = (u64::MAX, u64::MAX);
            for reader in 0..self.readers.count {
                if awaited & 1 << reader != 0 {
                    slowest = slowest.min(self.released[reader].load(Ordering::Acquire));
                    continue;
                }
                let claim = self.claims[reader].load(Ordering::Acquire);
                if is_claim(claim) {
                    hole = hole.min(self.hole_of(claim, tail));
                }
            }
            if self.readers.entries.load(Ordering::Acquire) == entries
                && self.readers.awaited.load(Ordering::Acquire) == awaited
            {
                return (slowest, (hole != u64::MAX).then_some(hole));
            }
        }
    }

    /// Where the hole that a claim leaves begins, in the first lap in which it ends above `tail`.
    fn hole_of(&self, claim: u64, tail: u64) -> u64 {
        let first = claim + self.capacity();
        match tail.checked_sub(first + self.claim_bytes) {
            None => first,
            Some(beyond) => first + (beyond / self.capacity() + 1) * self.capacity(),
        }
    }

    /// Looks anew for room up to `end`; where a hole is in the way, leaves it out.
    #[cold]
    fn make_way(&self, tail: u64, end: u64) -> Way {
        if end <= self.refresh_limit(tail) {
            return Way::Free;
        }
        let (slowest, Some(hole)) = self.bounds(tail) else { return Way::Full };
        // Up to the hole, or, from its beginning or within it, a leap.
        let to = if tail < hole { hole } else { tail + self.claim_bytes };
        if to > slowest.saturating_add(self.capacity()) || (tail < hole && end <= hole) {
            return Way::Full;
        }
        if self.tail.compare_exchange(tail, to, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let next_lap = tail.next_multiple_of(self.capacity());
            if next_lap < to {
                self.refresh_mark(next_lap >> self.lap_shift);
            }
            if tail < hole {
                self.write_head(tail, Words::padding(((to - tail) / UNIT) as u32), 0, 0);
                self.commit(tail);
            } else {
                // The bytes are not touched; the mark lies apart from them.
                store_release(self.mark(tail & self.mask), self.lap(tail) ^ LEAP);
            }
        }
        Way::Moved
    }

    /// Fills a reservation with padding from `from` to where its record begins.
    #[inline]
    pub(crate) fn pad(&self, from: u64, start: u64) {
        if from != start {
            self.write_head(from, Words::padding(((start - from) / UNIT) as u32), 0, 0);
            self.commit(from);
        }
    }

    /// Writes and commits a record with its payload in the caller's reservation.
    #[inline]
    pub(crate) fn write(&self, start: u64, words: Words, payload: &[u8], after: u64) {
        // The length fits: at most INLINE_MAX.
        let words = words.with_form(Form::Inline(payload.len() as u32));
        let record = self.write_head(start, words, payload.len(), after);
        usdt::publish(record.as_ptr(), payload.len() as u64, start);
        // SAFETY: `write_head` has seen to it that the payload fits behind the head, within the memory.
        let body = unsafe { record.add(HEAD) };
        // SAFETY: [start, end) is this producer's alone until the mark is stored; `payload` is a live slice, hence not in a range
        // that is reserved for writing.
        unsafe { ptr::copy_nonoverlapping(payload.as_ptr(), body.as_ptr(), payload.len()) };
        self.commit(start);
    }

    /// A record with attributes, and its payload copied behind them. Returns its position.
    #[cold]
    pub(crate) fn publish_with(
        &self,
        words: Words,
        attributes: &[u8],
        payload: &[u8],
        after: u64,
    ) -> Result<u64, Refused> {
        let len = attributes.len() + payload.len();
        let (from, start) = self.reserve(Self::span(len))?;
        self.pad(from, start);
        let words = words.with_attributes(attributes.len()).with_form(Form::Inline(len as u32));
        let record = self.write_behind_head(start, words, [attributes, payload], after);
        usdt::publish(record.as_ptr(), payload.len() as u64, start);
        self.commit(start);
        Ok(start)
    }

    /// Writes head and what follows it into the caller's reservation, which has room for that. Returns where it stands.
    pub(crate) fn write_behind_head(&self, start: u64, words: Words, parts: [&[u8]; 2], after: u64) -> NonNull<u8> {
        let len = parts[0].len() + parts[1].len();
        assert!((start & self.mask) + Self::span(len) <= self.capacity(), "record out of bounds");
        let record = self.write_head(start, words, len, after);
        let mut at = HEAD;
        for part in parts {
            // SAFETY: all parts fit behind the head, within the memory.
            let place = unsafe { record.add(at) };
            // SAFETY: as in `write`.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), place.as_ptr(), part.len()) };
            at += part.len();
        }
        record
    }

    /// Writes the head of a record with so many bytes behind it into the caller's reservation. Returns where it stands.
    #[inline]
    pub(crate) fn write_head(&self, start: u64, words: Words, payload_len: usize, after: u64) -> NonNull<u8> {
        let offset = start & self.mask;
        if offset == 0 {
            self.refresh_mark(start >> self.lap_shift);
        }
        self.watch.write(|| Self::units(offset, payload_len));
        debug_assert!(offset + (HEAD + payload_len) as u64 <= self.capacity());
        // SAFETY: the reservation lies within the memory: `place` lets no record cross its end.
        let head = unsafe { self.memory.start.add(offset as usize) };
        // SAFETY: [start, end) is this producer's alone until the mark is stored; units are aligned to 64 bytes.
        unsafe { head.cast::<Words>().write(words) };
        if Self::HAS_AFTER {
            // SAFETY: within the record's first unit.
            let place = unsafe { head.add(WORDS_BYTES) };
            // SAFETY: as for the words before it.
            unsafe { place.cast::<u64>().write(after) };
        }
        self.fetch_ahead(start, HEAD + payload_len);
        head
    }

    /// Makes a record visible that is wholly written.
    #[inline]
    pub(crate) fn commit(&self, start: u64) {
        store_release(self.mark(start & self.mask), self.lap(start));
    }

    /// Asks for the cache lines that will be written [`FETCH_AHEAD`] bytes from here. The readers had them last, so that without
    /// this a publish waits for each of them; a hint, which changes nothing else.
    #[inline]
    fn fetch_ahead(&self, start: u64, bytes: usize) {
        #[cfg(all(target_arch = "x86_64", not(any(feature = "loom", miri))))]
        {
            let from = (start + FETCH_AHEAD) & self.mask;
            // Up to the memory's end: who begins there waits, once a lap.
            let lines = (bytes as u64).div_ceil(UNIT).min((self.capacity() - from) / UNIT);
            let mut line = self.record_at(from);
            for _ in 0..lines {
                // SAFETY: the instruction reads and writes nothing that the program could see.
                unsafe { asm!("prefetchw [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags, readonly)) };
                // SAFETY: within the memory, or one past its end.
                line = unsafe { line.add(UNIT as usize) };
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(any(feature = "loom", miri)))))]
        let _ = (start, bytes);
    }

    #[inline]
    fn mark(&self, offset: u64) -> &AtomicU32 {
        &self.marks[(offset >> UNIT_SHIFT) as usize]
    }

    #[inline]
    fn lap(&self, position: u64) -> u32 {
        (position >> self.lap_shift) as u32
    }

    /// Whether a record, padding, or a leap is committed there: [`Area::look`] goes on from it.
    #[inline]
    pub(crate) fn is_committed(&self, position: u64) -> bool {
        (self.mark(position & self.mask).load(Ordering::Acquire) ^ self.lap(position)) & !LEAP == 0
    }

    /// Called by the producer whose record begins `lap`, before it commits that record: sees to it that one mark, another
    /// one each lap, is not older than two laps.
    ///
    /// Until that commit nobody gets past the lap's beginning: readers wait in `lap - 1` or for this very record, and
    /// other producers commit in `lap - 1` or `lap`. So a mark of neither is stale; it is set to `lap - 2`, which no reader
    /// will ever wait for again, by an exchange that fails if a record of `lap - 1` or `lap` is committed there
    /// meanwhile.
    #[cold]
    fn refresh_mark(&self, lap: u64) {
        let mark = &self.marks[(lap & (self.mask >> UNIT_SHIFT)) as usize];
        let lap = lap as u32;
        let seen = mark.load(Ordering::Relaxed);
        if lap.wrapping_sub(seen) > 2 && lap.wrapping_sub(seen ^ LEAP) > 2 {
            let _ = mark.compare_exchange(seen, lap.wrapping_sub(2), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The head of the record at `place`, if one is committed there; padding and holes before it are passed. `None`, too, where its
    /// reader has been passed over: `Place::is_out` says so then.
    #[inline]
    pub(crate) fn look(&self, place: &mut Place) -> Option<Found<'_>> {
        place.lent.check(&self.watch);
        loop {
            let start = place.next;
            match self.mark(start & self.mask).load(Ordering::Acquire) ^ self.lap(start) {
                0 => {}
                // Producers have left out a hole.
                LEAP if !place.is_out => {
                    place.next += self.claim_bytes;
                    continue;
                }
                _ => return None,
            }
            if start >= place.claimed_below && !self.claim(place) {
                return None;
            }
            self.watch.read(|| Self::units(start & self.mask, 0));
            let head = self.record_at(start);
            // SAFETY: the record is committed (Acquire) and claimed by this reader, which reads on only after it has done with the head.
            let words = unsafe { head.cast::<Words>().as_ref() };
            if let Form::Padding(units) = words.form() {
                place.next = start + u64::from(units) * UNIT;
                continue;
            }
            let after = if Self::HAS_AFTER {
                // SAFETY: within the record's first unit.
                let after = unsafe { head.add(WORDS_BYTES) };
                // SAFETY: as for the words before it; its producer has written it.
                unsafe { after.cast::<u64>().read() }
            } else {
                0
            };
            return Some(Found { start, words, after });
        }
    }

    /// Claims what lies ahead of `place`, and gives up what it claimed before. False: its reader has been passed over.
    #[cold]
    fn claim(&self, place: &mut Place) -> bool {
        if place.is_out {
            return false;
        }
        // Release: what was read in the former claim comes before its bytes' next use.
        self.claims[place.reader].store(place.next, Ordering::Release);
        // Orders the claim before the look at whether we are awaited. See `readers`.
        fence(Ordering::SeqCst);
        if !self.readers.is_awaited(place.reader) {
            place.is_out = true;
            return false;
        }
        place.claimed_below = place.next + self.claim_bytes - Self::span(self.inline_max) + 1;
        true
    }

    /// What a reader does that has been passed over, once it has noticed: claims nothing, says how far it came, and gives up what it
    /// shares in payloads that it has not read. `claim`: that it claims nothing, and perhaps asks to be let in.
    pub(crate) fn leave(&self, place: &mut Place, claim: u64) {
        place.lent.check(&self.watch);
        place.is_out = true;
        place.claimed_below = 0;
        place.released = place.next;
        self.released[place.reader].store(place.next, Ordering::Release);
        // Release: our reads come before the next use of what we had claimed.
        self.claims[place.reader].store(claim, Ordering::Release);
        // Orders that before the look at the shares. See `give_up`.
        fence(Ordering::SeqCst);
        self.reap_all();
        self.room.announce();
    }

    /// Takes the place to which another reader has set this one.
    pub(crate) fn rejoin(&self, place: &mut Place) {
        place.next = self.released[place.reader].load(Ordering::Acquire);
        place.released = place.next;
        place.claimed_below = 0;
        place.is_out = false;
    }

    /// How far a reader came that asks to be let in.
    pub(crate) fn released_by(&self, reader: usize) -> u64 {
        self.released[reader].load(Ordering::Acquire)
    }

    /// Sets a reader that is not awaited to `position`.
    pub(crate) fn set_released(&self, reader: usize, position: u64) {
        self.released[reader].store(position, Ordering::Release);
    }

    /// Changes a claim that is none from one kind to another. False: it is not of that kind.
    pub(crate) fn change_claim(&self, reader: usize, from: u64, to: u64) -> bool {
        debug_assert!(!is_claim(from) && !is_claim(to));
        self.claims[reader].compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The slowest reader, if at `now_ns` it has held others back for too long without moving.
    pub(crate) fn stalled_reader(&self, now_ns: u64) -> Option<usize> {
        let awaited = self.readers.awaited.load(Ordering::Acquire);
        let of = |reader: usize| (self.released[reader].load(Ordering::Acquire), reader);
        let all = (0..self.readers.count).filter(|reader| awaited & 1 << reader != 0).map(of);
        let (position, reader) = all.clone().min()?;
        let (fastest, _) = all.max()?;
        (fastest > position && self.standstill.note(reader, position, now_ns)).then_some(reader)
    }

    /// What follows the head of the record at `place`; goes on to the next record.
    ///
    /// # Safety
    /// [`Area::look`] has found a record there, whose form is `Inline(len)`, or `Shared` with so many bytes of attributes. The
    /// reader releases no record and looks for none while it uses the bytes.
    #[inline]
    pub(crate) unsafe fn take_inline(&self, place: &mut Place, len: usize) -> &[u8] {
        let start = place.next;
        let offset = start & self.mask;
        assert!(len <= self.inline_max && offset + Self::span(len) <= self.capacity(), "record out of bounds");
        self.watch.read(|| Self::units(offset, len));
        place.lent.set(|| Self::units(offset, len));
        place.next = start + Self::span(len);
        // SAFETY: the payload follows the head within the memory.
        let bytes = unsafe { self.record_at(start).add(HEAD) };
        // SAFETY: `len` bytes that the producer wrote, within the claim; they stay until this reader releases them or claims others.
        unsafe { slice::from_raw_parts(bytes.as_ptr(), len) }
    }

    /// Goes on behind the record at `place`, which refers to a shared payload and has no attributes.
    #[inline]
    pub(crate) fn pass_shared(&self, place: &mut Place) {
        place.next += UNIT;
    }

    #[inline]
    fn record_at(&self, start: u64) -> NonNull<u8> {
        // SAFETY: the mask keeps it within the memory.
        unsafe { self.memory.start.add((start & self.mask) as usize) }
    }

    /// Gives the room of all records read so far back to the producers. False: there was none to give back.
    #[inline]
    pub(crate) fn release(&self, place: &mut Place) -> bool {
        place.lent.check(&self.watch);
        if place.next == place.released {
            return false;
        }
        place.released = place.next;
        // Release: our reads come before the room's next use.
        self.released[place.reader].store(place.next, Ordering::Release);
        true
    }

    /// A reader is gone: it claims nothing and shares nothing.
    pub(crate) fn forget_reader(&self, reader: usize) {
        self.claims[reader].store(NO_CLAIM, Ordering::Release);
        let share = 1 << reader;
        self.shared
            .slots()
            .filter(|&slot| self.shared.is_shared_by(slot, share))
            .for_each(|slot| self.give_up(slot, share));
    }

    /// Takes a slot for a payload that is to be shared.
    pub(crate) fn take_slot(&self) -> Option<u32> {
        self.shared.take_slot().or_else(|| {
            self.reap_all();
            self.shared.take_slot()
        })
    }

    /// Gives up the shares of `owners` in a slot. Where only readers that were passed over are left, theirs too: they will not read
    /// it, for they are let in again behind what all others have read; but what they claim they may be reading.
    #[inline]
    pub(crate) fn give_up(&self, slot: u32, owners: u64) {
        let left = self.shared.give_up(slot, owners);
        if left != 0 {
            // Orders our share before the look at who is awaited: either we see that somebody was passed over, or who did that
            // sees in `reap_all` that we are done.
            fence(Ordering::SeqCst);
            if left & self.readers.awaited.load(Ordering::Acquire) == 0 {
                self.reap(slot);
            }
        }
    }

    /// Gives up what readers share that were passed over, wherever nobody else is left.
    #[cold]
    pub(crate) fn reap_all(&self) {
        self.shared.slots().for_each(|slot| self.reap(slot));
    }

    fn reap(&self, slot: u32) {
        self.shared.empty_if(slot, |shares, at| {
            if shares & self.readers.awaited.load(Ordering::Acquire) != 0 {
                return false;
            }
            // Orders the look at who is awaited before that at the claims of the others. See `readers`.
            fence(Ordering::SeqCst);
            !(0..self.readers.count).filter(|reader| shares & 1 << reader != 0).any(|reader| {
                let claim = self.claims[reader].load(Ordering::Acquire);
                is_claim(claim) && (claim..claim + self.claim_bytes).contains(&at)
            })
        });
    }

    /// Wakes the waiting producers, but not for a crumb: a wake costs this shard 12 µs, so it waits for a quarter of the
    /// area. Readers read to the end, so that much becomes free; and of two readers that release at the same time, the
    /// one whose fence is second sees both positions. Call it after a full fence after [`Area::release`].
    #[inline]
    pub(crate) fn announce_room_after_fence(&self) {
        if self.room.is_awaited_after_fence() && self.used_bytes() <= self.capacity() / 4 * 3 {
            self.room.announce();
        }
    }

    /// Bytes of a record with a payload of this length.
    #[inline]
    pub(crate) const fn span(payload: usize) -> u64 {
        ((HEAD + payload) as u64).next_multiple_of(UNIT)
    }

    const HAS_AFTER: bool = HEAD >= WORDS_BYTES + size_of::<u64>();

    /// The units of a record at `offset`.
    #[inline]
    fn units(offset: u64, payload: usize) -> std::ops::Range<usize> {
        (offset / UNIT) as usize..((offset + Self::span(payload)) / UNIT) as usize
    }
}

#[cfg(all(test, not(any(feature = "loom", miri, feature = "shuttle"))))]
impl<const HEAD: usize> Area<HEAD> {
    /// The age of the oldest mark, in laps.
    pub(crate) fn oldest_mark_laps(&self) -> u32 {
        let lap = self.lap(self.tail.load(Ordering::Relaxed));
        self.marks.iter().map(|mark| lap.wrapping_sub(mark.load(Ordering::Relaxed))).max().unwrap_or(0)
    }
}
