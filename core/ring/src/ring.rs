//! The ring: memory, reservation, commitment, and the cursors that read it.
//!
//! Knows positions, laps and who reads how far; must never know what records mean.
//!
//! # How it works
//! The memory is a power of two of bytes in units of 64. A record is a head and its payload in contiguous units; one that
//! would cross the end is preceded by padding up to the end. Positions count bytes since the ring was made.
//!
//! - *Reserve*: one compare-and-swap of `tail`, after checking that the slowest reader is less than a lap behind the new
//!   tail. The readers' minimum is cached (`limit`) and recomputed only when the ring looks full.
//! - *Commit*: write the record, then store its lap number (Release) in `marks`, at its first unit. The marks lie apart from
//!   the data (as in the LMAX Disruptor's available buffer), so stale payload is never taken for a head, and records
//!   may be committed in any order: a reader stops at the first that is missing.
//! - *Read*: a reader whose position is p looks at p's mark (Acquire): if it shows p's lap, the record is there.
//! - *Release*: once per turn a reader stores its position (Release); the bytes before the slowest one are free again.
//!
//! # Why a mark is never mistaken
//! A mark holds the low 32 bits of a lap. A unit in the middle of long records keeps an old mark as long as no record
//! begins there, and 2^32 laps of a 64 KiB ring are only 8 hours at 10 GB/s. So the producer whose record begins a lap
//! refreshes one mark (see [`Ring::refresh_mark`]): every mark is visited once in as many laps as there are units (at
//! most 2^26), and none is ever old enough to look new.
//!
//! # Unsafe contract
//! - From its reservation to its commit, `[from, end)` belongs to one producer: `end - capacity <= limit - capacity <=`
//!   every live reader's released position, so no reader holds a record there, and no other reservation overlaps.
//! - From its commit until the slowest reader releases it, a record is only read. Every live reader passes every
//!   record, and the last reader that is dropped keeps its position for ever, so this never fails for want of readers.
//! - Happens-before: producer's writes → mark (Release/Acquire) → reader's reads → released position (Release/Acquire by
//!   whoever recomputes `limit`) → `limit` (Release/Acquire) → the next producer's writes.

#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", not(any(feature = "loom", miri))))]
use std::arch::asm;
use std::fmt;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::error::{Refused, RingError};
use super::payload::Payload;
use super::record::{Body, Form, HEAD_BYTES, Head, Position, Record, Words};
use super::signal::{Room, Sleepers, Waker};
use super::sync::{ArrayQueue, AtomicU32, AtomicU64, Ordering, UnsafeCell, Watch, fence, store_release};
use crate::usdt;

/// Largest payload that is copied into the ring; a larger one must be shared.
pub const INLINE_MAX: usize = 16 << 10;
/// Size of a ring unless configured otherwise.
pub const RING_BYTES_DEFAULT: usize = 16 << 20;
/// Smallest ring.
pub const RING_BYTES_MIN: usize = 64 << 10;
/// Largest ring.
pub const RING_BYTES_MAX: usize = 4 << 30;
/// Most readers: one bit each in a word.
pub const READERS_MAX: usize = 64;

const UNIT: u64 = 64;
/// How far ahead of a record the cache lines are asked for: several records, whatever their size.
const FETCH_AHEAD: u64 = 4 << 10;
const UNIT_SHIFT: u32 = UNIT.trailing_zeros();
/// In `tail`: no more reservations. Positions are multiples of [`UNIT`].
const CLOSED: u64 = 1;
/// The released position of a reader that is gone.
const GONE: u64 = u64::MAX;

/// A bounded broadcast ring: any number of producers, a fixed set of readers, one order for all.
pub struct Ring {
    memory: Memory,
    marks: Box<[AtomicU32]>,
    mask: u64,
    lap_shift: u32,
    inline_max: usize,
    /// End of the last reservation; bit 0 is [`CLOSED`].
    tail: CachePadded<AtomicU64>,
    /// The slowest reader's position plus the capacity, or a smaller value from the past.
    limit: CachePadded<AtomicU64>,
    /// What each reader has released; written by that reader alone.
    released: Box<[CachePadded<AtomicU64>]>,
    /// The readers that are not gone, one bit each.
    live: CachePadded<AtomicU64>,
    shared: SharedPayloads,
    sleepers: Sleepers,
    room: Room,
    watch: Watch,
}

// SAFETY: loom's cells, which only watch, are not Sync; everything else in a ring is.
#[cfg(feature = "loom")]
unsafe impl Sync for Ring {}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = self.tail.load(Ordering::Relaxed);
        f.debug_struct("Ring")
            .field("capacity", &self.capacity())
            .field("tail", &(tail & !CLOSED))
            .field("closed", &(tail & CLOSED != 0))
            .finish()
    }
}

impl Ring {
    /// What [`Ring::new`] takes from the system, in bytes: the ring, 1/16 for the marks, and 1/128 for shared payloads.
    pub const fn footprint(bytes: usize, readers: usize) -> usize {
        bytes
            + bytes / UNIT as usize * size_of::<AtomicU32>()
            + slots_for(bytes) * (size_of::<SharedPayload>() + 16)
            + readers * 256
            + size_of::<Ring>()
    }

    /// A ring of any power of two from 4 units on, whose first position is `origin`, and the places of its readers.
    pub(super) fn with_cursors(
        bytes: usize,
        readers: usize,
        origin: u64,
    ) -> Result<(Arc<Ring>, Vec<Cursor>), RingError> {
        debug_assert!(bytes.is_power_of_two() && bytes as u64 >= 4 * UNIT && origin.is_multiple_of(UNIT));
        if !(1..=READERS_MAX).contains(&readers) {
            return Err(RingError::Readers(readers));
        }
        let capacity = bytes as u64;
        let units = bytes / UNIT as usize;
        let lap_shift = capacity.trailing_zeros();
        // Two laps ago: no reader waits for that, and it is what `refresh_mark` writes.
        let unused = ((origin >> lap_shift) as u32).wrapping_sub(2);
        let ring = Arc::new(Ring {
            memory: Memory::new(bytes).ok_or(RingError::NoMemory(bytes))?,
            marks: (0..units).map(|_| AtomicU32::new(unused)).collect(),
            mask: capacity - 1,
            lap_shift,
            // A record of n units may need n - 1 units of padding before it: 2n - 1 units must fit.
            inline_max: INLINE_MAX.min(bytes / 2 - HEAD_BYTES),
            tail: CachePadded::new(AtomicU64::new(origin)),
            limit: CachePadded::new(AtomicU64::new(origin + capacity)),
            released: (0..readers).map(|_| CachePadded::new(AtomicU64::new(origin))).collect(),
            live: CachePadded::new(AtomicU64::new(u64::MAX >> (READERS_MAX - readers))),
            shared: SharedPayloads::new(slots_for(bytes)),
            sleepers: Sleepers::new(readers),
            room: Room::new(),
            watch: Watch::new(units),
        });
        let cursors = (0..readers)
            .map(|index| Cursor { ring: Arc::clone(&ring), index, next: origin, released: origin, held: None })
            .collect();
        Ok((ring, cursors))
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// What every reader has released: records that begin before it have been read by all.
    pub fn slowest_reader(&self) -> Position {
        Position(self.slowest_plus_capacity().saturating_sub(self.capacity()))
    }

    /// Bytes between the slowest reader's released position and the newest reservation: what is queued, within one
    /// moment's inaccuracy.
    pub fn used_bytes(&self) -> u64 {
        let tail = self.tail.load(Ordering::Relaxed) & !CLOSED;
        (tail + self.capacity()).saturating_sub(self.slowest_plus_capacity()).min(self.capacity())
    }

    /// Publishes one record with its payload copied. Never waits.
    ///
    /// # Errors
    /// [`Refused`]; nothing was published.
    #[inline]
    pub fn try_publish(&self, head: &Head, payload: &[u8]) -> Result<Position, Refused> {
        if payload.len() > self.inline_max {
            return Err(Refused::TooLarge);
        }
        let (from, start) = self.reserve(span(payload.len()))?;
        self.pad(from, start);
        self.write(start, Words::new(head), payload);
        self.wake_sleepers();
        Ok(Position(start))
    }

    /// Publishes as many of `payloads` as there is room for, in order and with nothing in between, by one reservation and
    /// one wake. Returns how many: fewer than all if the ring is full or the next one is too large.
    ///
    /// # Errors
    /// [`Refused`] if not even the first was taken.
    pub fn try_publish_many(&self, head: &Head, payloads: &[&[u8]]) -> Result<usize, Refused> {
        let (from, accepted) = self.reserve_many(payloads)?;
        let words = Words::new(head);
        let mut at = from;
        for payload in &payloads[..accepted] {
            let bytes = span(payload.len());
            let start = self.place(at, bytes);
            self.pad(at, start);
            self.write(start, words, payload);
            at = start + bytes;
        }
        if accepted > 0 {
            self.wake_sleepers();
        }
        Ok(accepted)
    }

    /// Publishes one record that refers to `payload`, of any size. Never waits.
    ///
    /// The last reader that goes on to the next record drops the ring's reference.
    ///
    /// # Errors
    /// [`Refused`], and the payload back; nothing was published.
    pub fn try_publish_shared(&self, head: &Head, payload: Payload) -> Result<Position, (Refused, Payload)> {
        if self.is_closed() {
            return Err((Refused::Stopped, payload));
        }
        let Some(slot) = self.shared.take_slot() else {
            return Err((Refused::Full, payload));
        };
        let (from, start) = match self.reserve(UNIT) {
            Ok(reserved) => reserved,
            Err(refused) => {
                self.shared.put_back(slot);
                return Err((refused, payload));
            }
        };
        let bytes = payload.len();
        // Relaxed: a reader too many is found out below.
        let owners = self.live.load(Ordering::Relaxed);
        // SAFETY: the slot was just taken and no record names it yet.
        unsafe { self.shared.fill(slot, payload, owners) };
        self.pad(from, start);
        let record = self.write_head(start, Words::new(head).with_form(Form::Shared(slot)), 0);
        usdt::publish(record.as_ptr(), bytes as u64, start);
        self.commit(start);
        self.wake_sleepers();
        // A reader that is dropped clears its bit in `live`, passes a full fence and then gives up its share in every slot.
        // We filled the slot, passed the full fence in `wake_sleepers` and now look at `live`: so either it saw
        // our slot, or we see that it is gone and give up its share ourselves. Both is harmless.
        let gone = owners & !self.live.load(Ordering::Relaxed);
        if gone != 0 {
            self.shared.give_up(slot, gone);
            // Perhaps that freed the slot, after the reader told the waiting producers that it is gone.
            self.room.announce();
        }
        Ok(Position(start))
    }

    /// Refuses all records from now on. What was reserved before is still read: a reader is at the end when
    /// `Reader::is_finished`. Wakes everybody who waits.
    pub fn close(&self) {
        self.tail.fetch_or(CLOSED, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.room.announce();
        self.sleepers.wake_after_fence();
    }

    /// True once records are refused.
    pub fn is_closed(&self) -> bool {
        self.tail.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// The producers that wait for room.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Wakes the readers that sleep. Every publish does this itself.
    #[inline]
    pub fn wake_sleepers(&self) {
        // Orders what was committed before the look at who sleeps. See `signal`.
        fence(Ordering::SeqCst);
        self.sleepers.wake_after_fence();
    }

    /// Wakes one reader if it sleeps, for news that it gets by another way than the ring. The news must be in place, and
    /// the reader must look for them after `Reader::prepare_sleep`.
    pub fn wake_reader(&self, index: usize) {
        fence(Ordering::SeqCst);
        if index < self.released.len() {
            self.sleepers.wake(1 << index);
        }
    }

    /// Where a record of `bytes` begins if the bytes before `at` are taken.
    #[inline]
    fn place(&self, at: u64, bytes: u64) -> u64 {
        if (at & self.mask) + bytes > self.capacity() { (at | self.mask) + 1 } else { at }
    }

    /// Reserves `bytes`: gives the reservation's first byte and where the record in it begins.
    #[inline]
    fn reserve(&self, bytes: u64) -> Result<(u64, u64), Refused> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Err(Refused::Stopped);
            }
            let start = self.place(tail, bytes);
            let end = start + bytes;
            // Acquire: what the readers did before they released this room comes before our writes.
            if end > self.limit.load(Ordering::Acquire) && end > self.refresh_limit() {
                return Err(Refused::Full);
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
            let mut limit = self.limit.load(Ordering::Acquire);
            let (mut accepted, mut end) = self.fit(tail, limit, payloads);
            if accepted < payloads.len() {
                if payloads[accepted].len() > self.inline_max {
                    if accepted == 0 {
                        return Err(Refused::TooLarge);
                    }
                } else {
                    limit = self.refresh_limit();
                    (accepted, end) = self.fit(tail, limit, payloads);
                    if accepted == 0 {
                        return Err(Refused::Full);
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
            let bytes = span(payload.len());
            let end = self.place(at, bytes) + bytes;
            if end > limit {
                return (i, at);
            }
            at = end;
        }
        (payloads.len(), at)
    }

    /// The slowest reader's position plus the capacity. Every value it ever had stays a correct limit.
    #[cold]
    fn refresh_limit(&self) -> u64 {
        let limit = self.slowest_plus_capacity();
        // Release: passes on what we acquired from the readers. An older value may overwrite a newer one: it is only
        // more careful, and whoever finds it too small computes it anew.
        self.limit.store(limit, Ordering::Release);
        limit
    }

    fn slowest_plus_capacity(&self) -> u64 {
        let slowest = self.released.iter().map(|position| position.load(Ordering::Acquire)).min();
        slowest.unwrap_or(GONE).saturating_add(self.capacity())
    }

    /// Fills a reservation with padding from `from` to where its record begins.
    #[inline]
    fn pad(&self, from: u64, start: u64) {
        if from != start {
            self.write_head(from, Words::PADDING, 0);
            self.commit(from);
        }
    }

    #[inline]
    fn write(&self, start: u64, words: Words, payload: &[u8]) {
        // The length fits: at most INLINE_MAX.
        let record = self.write_head(start, words.with_form(Form::Inline(payload.len() as u32)), payload.len());
        usdt::publish(record.as_ptr(), payload.len() as u64, start);
        // SAFETY: `write_head` has seen to it that the payload fits behind the head, within the memory.
        let body = unsafe { record.add(HEAD_BYTES) };
        // SAFETY: [start, end) is this producer's alone until the mark is stored; `payload` is a live slice, hence not in a range
        // that is reserved for writing.
        unsafe { ptr::copy_nonoverlapping(payload.as_ptr(), body.as_ptr(), payload.len()) };
        self.commit(start);
    }

    /// Writes the head of a record with so many bytes behind it into the caller's reservation. Returns where it stands.
    #[inline]
    fn write_head(&self, start: u64, words: Words, payload_len: usize) -> NonNull<u8> {
        let offset = start & self.mask;
        if offset == 0 {
            self.refresh_mark(start >> self.lap_shift);
        }
        self.watch.write(|| units(offset, payload_len));
        debug_assert!(offset + (HEAD_BYTES + payload_len) as u64 <= self.capacity());
        // SAFETY: the reservation lies within the memory: `place` lets no record cross its end.
        let head = unsafe { self.memory.start.add(offset as usize) };
        // SAFETY: [start, end) is this producer's alone until the mark is stored; units are aligned to 64 bytes.
        unsafe { head.cast::<Words>().write(words) };
        self.fetch_ahead(start, HEAD_BYTES + payload_len);
        head
    }

    /// Makes a record visible that is wholly written.
    #[inline]
    fn commit(&self, start: u64) {
        store_release(self.mark(start & self.mask), self.lap(start));
    }

    /// Asks for the cache lines that will be written [`FETCH_AHEAD`] bytes from here. The readers had them last, so that without
    /// this a publish waits for each of them; a hint, which changes nothing else.
    #[inline]
    fn fetch_ahead(&self, start: u64, bytes: usize) {
        #[cfg(all(target_arch = "x86_64", not(any(feature = "loom", miri))))]
        for line in (0..bytes as u64).step_by(UNIT as usize) {
            let offset = (start + FETCH_AHEAD + line) & self.mask;
            // SAFETY: the mask keeps it within the memory.
            let line = unsafe { self.memory.start.add(offset as usize) };
            // SAFETY: the instruction reads and writes nothing that the program could see.
            unsafe { asm!("prefetchw [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags, readonly)) };
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

    #[inline]
    fn is_committed(&self, position: u64) -> bool {
        self.mark(position & self.mask).load(Ordering::Acquire) == self.lap(position)
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
        if lap.wrapping_sub(seen) > 2 {
            let _ = mark.compare_exchange(seen, lap.wrapping_sub(2), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// What a reader does after it has released room, or is gone.
    #[inline]
    fn released_room(&self) {
        // Orders the released position before the look at who waits. See `signal`.
        fence(Ordering::SeqCst);
        if self.room.is_awaited_after_fence() {
            self.announce_room();
        }
    }

    /// Wakes the waiting producers, but not for a crumb: a wake costs this shard 12 µs, so it waits for a quarter of the
    /// ring. Readers read to the end, so that much becomes free; and of two readers that release at the same time, the
    /// one whose fence is second sees both positions.
    #[cold]
    fn announce_room(&self) {
        if self.used_bytes() <= self.capacity() / 4 * 3 {
            self.room.announce();
        }
    }
}

#[cfg(all(test, not(any(feature = "loom", miri, feature = "shuttle"))))]
impl Ring {
    /// The age of the oldest mark, in laps.
    pub(super) fn oldest_mark_laps(&self) -> u32 {
        let lap = self.lap(self.tail.load(Ordering::Relaxed));
        self.marks.iter().map(|mark| lap.wrapping_sub(mark.load(Ordering::Relaxed))).max().unwrap_or(0)
    }
}

/// Bytes of a record with a payload of this length.
#[inline]
const fn span(payload: usize) -> u64 {
    ((HEAD_BYTES + payload) as u64).next_multiple_of(UNIT)
}

/// The units of a record at `offset`.
#[inline]
fn units(offset: u64, payload: usize) -> std::ops::Range<usize> {
    (offset / UNIT) as usize..((offset + span(payload)) / UNIT) as usize
}

const fn slots_for(bytes: usize) -> usize {
    if bytes < 16 << 12 { 4 } else { bytes >> 12 }
}

/// One reader's way through the ring. Never two with the same index.
pub(super) struct Cursor {
    ring: Arc<Ring>,
    index: usize,
    /// The next record.
    next: u64,
    /// What producers know of `next`.
    released: u64,
    /// The shared payload that the last record lent out.
    held: Option<u32>,
}

impl Cursor {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The next record's position, if it were committed.
    pub(super) fn position(&self) -> Position {
        Position(self.next)
    }

    /// Bytes reserved and not yet read.
    pub(super) fn backlog_bytes(&self) -> u64 {
        (self.ring.tail.load(Ordering::Relaxed) & !CLOSED).saturating_sub(self.next)
    }

    /// True if the ring is closed and all that was reserved has been read.
    pub(super) fn is_finished(&self) -> bool {
        self.ring.tail.load(Ordering::Acquire) == self.next | CLOSED
    }

    /// True if there is something to read.
    pub(super) fn has_news(&self) -> bool {
        self.ring.is_committed(self.next)
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<Record<'_>> {
        self.finish_held();
        let ring = &*self.ring;
        loop {
            let start = self.next;
            if !ring.is_committed(start) {
                return None;
            }
            let offset = start & ring.mask;
            // SAFETY: a committed record begins at `offset`, within the memory.
            let head = unsafe { ring.memory.start.add(offset as usize) };
            // SAFETY: the record is committed (Acquire), and not released by this reader.
            let words = unsafe { head.cast::<Words>().read() };
            let form = words.form();
            if form == Form::Padding {
                ring.watch.read(|| units(offset, 0));
                self.next = (start | ring.mask) + 1;
                continue;
            }
            let decoded = words.head().expect("a committed record has a head that a producer encoded");
            let body = match form {
                Form::Inline(len) => {
                    let len = len as usize;
                    assert!(len <= ring.inline_max && offset + span(len) <= ring.capacity(), "record out of bounds");
                    ring.watch.read(|| units(offset, len));
                    self.next = start + span(len);
                    // SAFETY: the payload follows the head within the memory.
                    let bytes = unsafe { head.add(HEAD_BYTES) };
                    // SAFETY: `len` bytes that the producer wrote; they stay until this reader releases them, which
                    // takes `&mut self` and so ends the borrow.
                    Body::Inline(unsafe { slice::from_raw_parts(bytes.as_ptr(), len) })
                }
                Form::Shared(slot) => {
                    ring.watch.read(|| units(offset, 0));
                    self.next = start + UNIT;
                    self.held = Some(slot);
                    // SAFETY: a record that this reader has not finished names the slot, and the reader is live: it holds
                    // a share of the slot until `finish_held`, which takes `&mut self`.
                    Body::Shared(unsafe { ring.shared.payload(slot) })
                }
                Form::Padding => unreachable!("handled above"),
            };
            return Some(Record { position: Position(start), head: decoded, body });
        }
    }

    /// Gives the room of all records read so far back to the producers.
    #[inline]
    pub(super) fn release(&mut self) {
        self.finish_held();
        if self.next == self.released {
            return;
        }
        let (from, to) = (self.released / UNIT, self.next / UNIT);
        self.ring.watch.read(|| from as usize..to as usize);
        self.released = self.next;
        // Release: our reads come before the room's next use.
        self.ring.released[self.index].store(self.next, Ordering::Release);
        self.ring.released_room();
    }

    /// Gives up this reader's share of the shared payload it was lent.
    #[inline]
    fn finish_held(&mut self) {
        if let Some(slot) = self.held.take() {
            self.ring.shared.give_up(slot, 1 << self.index);
        }
    }

    /// See [`Sleepers::announce`].
    pub(super) fn announce_sleep(&self) -> bool {
        self.ring.sleepers.announce(self.index)
    }

    /// See [`Sleepers::cancel`].
    pub(super) fn cancel_sleep(&self) {
        self.ring.sleepers.cancel(self.index);
    }

    /// See [`Sleepers::set_waker`].
    pub(super) fn set_waker(&self, waker: Waker) {
        self.ring.sleepers.set_waker(self.index, waker);
    }
}

/// A reader that is gone holds nobody back, unless it is the last: then there is nobody to read, and the ring closes.
impl Drop for Cursor {
    fn drop(&mut self) {
        self.cancel_sleep();
        self.held = None;
        let bit = 1 << self.index;
        let others = self.ring.live.fetch_and(!bit, Ordering::AcqRel) & !bit;
        // Pairs with the fence in `Ring::try_publish_shared`: no slot keeps our share for ever.
        fence(Ordering::SeqCst);
        self.ring.shared.give_up_all(bit);
        if others == 0 {
            // Our position stays where it is. Were it gone too, two producers that are a lap apart could write to the
            // same bytes.
            self.ring.close();
        } else {
            self.ring.released[self.index].store(GONE, Ordering::Release);
            // Unconditional, so no fence: who misses the stored position has not seen this strike either.
            self.ring.room.announce();
        }
    }
}

/// The ring's bytes: not initialised, touched when first written.
struct Memory {
    start: NonNull<u8>,
    /// Owns the bytes; its length stays 0.
    _units: Vec<Unit>,
}

#[repr(C, align(64))]
struct Unit([u8; UNIT as usize]);

// SAFETY: it is only an allocation; what is shared in it is governed by the ring's contract.
unsafe impl Send for Memory {}
// SAFETY: as for Send.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(bytes: usize) -> Option<Self> {
        let mut units = Vec::new();
        units.try_reserve_exact(bytes / size_of::<Unit>()).ok()?;
        Some(Self { start: NonNull::new(units.as_mut_ptr())?.cast(), _units: units })
    }
}

/// The payloads that records refer to: a fixed table of slots, each with one share for every reader.
///
/// A slot is free (in `free`), or a producer's between `take_slot` and `fill`, or shared by the readers whose bits are set in
/// its `shares`. Whoever clears the last bit takes the payload out and frees the slot.
struct SharedPayloads {
    slots: Box<[SharedPayload]>,
    free: ArrayQueue<u32>,
}

struct SharedPayload {
    shares: AtomicU64,
    payload: UnsafeCell<Option<Payload>>,
}

// SAFETY: the payload is written by the slot's one producer before `shares` is set (Release) and by whoever clears
// the last bit (AcqRel); in between it is only read, by readers whose bits are set.
unsafe impl Sync for SharedPayload {}

impl SharedPayloads {
    fn new(slots: usize) -> Self {
        let free = ArrayQueue::new(slots);
        for slot in 0..slots as u32 {
            let _ = free.push(slot);
        }
        let slots =
            (0..slots).map(|_| SharedPayload { shares: AtomicU64::new(0), payload: UnsafeCell::new(None) }).collect();
        Self { slots, free }
    }

    fn take_slot(&self) -> Option<u32> {
        self.free.pop()
    }

    fn put_back(&self, slot: u32) {
        // The queue has room for every slot there is.
        let _ = self.free.push(slot);
    }

    /// Puts `payload` into a slot for `owners` to share.
    ///
    /// # Safety
    /// The slot came from [`SharedPayloads::take_slot`] and was neither filled nor put back since.
    unsafe fn fill(&self, slot: u32, payload: Payload, owners: u64) {
        let entry = &self.slots[slot as usize];
        if owners == 0 {
            // All readers are gone: nobody would ever take it out.
            self.put_back(slot);
            return;
        }
        // SAFETY: the slot is ours alone.
        entry.payload.with_mut(|cell| unsafe { *cell = Some(payload) });
        entry.shares.store(owners, Ordering::Release);
    }

    /// The payload in a slot.
    ///
    /// # Safety
    /// The caller has a share in the slot, has seen the record that names it, and keeps the share while it uses the result.
    unsafe fn payload(&self, slot: u32) -> &Payload {
        let cell = self.slots[slot as usize].payload.with(|cell| cell);
        // SAFETY: filled before the record was committed, and not emptied before the caller gives up its share.
        let payload = unsafe { &*cell };
        payload.as_ref().expect("a slot with shares holds a payload")
    }

    /// Clears the bits of `owners` in one slot; the last one to go drops the payload and frees the slot. Bits that are not
    /// set are ignored.
    fn give_up(&self, slot: u32, owners: u64) {
        let entry = &self.slots[slot as usize];
        // AcqRel: our reads come before the emptying, all others' too.
        let before = entry.shares.fetch_and(!owners, Ordering::AcqRel);
        if before & owners == 0 || before & !owners != 0 {
            return;
        }
        // SAFETY: we took the last share, so nobody else looks at the slot until it is free again.
        let payload = entry.payload.with_mut(|cell| unsafe { (*cell).take() });
        self.put_back(slot);
        drop(payload);
    }

    fn give_up_all(&self, owners: u64) {
        for slot in 0..self.slots.len() as u32 {
            if self.slots[slot as usize].shares.load(Ordering::Acquire) & owners != 0 {
                self.give_up(slot, owners);
            }
        }
    }
}
