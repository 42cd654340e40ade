//! The payloads that an area's records refer to: a fixed table of slots, each with one share for every reader.
//!
//! A slot is free (in `free`), or a producer's between `take_slot` and `fill`, or shared by the readers whose bits are set in
//! its `shares`. Whoever clears the last bit takes the payload out and frees the slot. Knows slots and shares; must never know
//! records.
//!
//! # Unsafe contract
//! A payload is written by the slot's one producer before `shares` is set (Release) and by whoever clears the last bit
//! (AcqRel); in between it is only read, by readers whose bits are set.

#![allow(unsafe_code)]

use super::payload::Payload;
use super::sync::{ArrayQueue, AtomicU64, Ordering, UnsafeCell, fence};

/// See the module's head.
pub(crate) struct SharedPayloads {
    slots: Box<[SharedPayload]>,
    free: ArrayQueue<u32>,
}

struct SharedPayload {
    shares: AtomicU64,
    /// Where the record is that names it.
    at: AtomicU64,
    payload: UnsafeCell<Option<Payload>>,
}

// SAFETY: see the contract.
unsafe impl Sync for SharedPayload {}

impl SharedPayload {
    fn new() -> Self {
        Self { shares: AtomicU64::new(0), at: AtomicU64::new(0), payload: UnsafeCell::new(None) }
    }
}

/// Slots of an area of `bytes`.
const fn slots_for(bytes: usize) -> usize {
    if bytes < 16 << 12 { 4 } else { bytes >> 12 }
}

impl SharedPayloads {
    /// What [`SharedPayloads::for_area`] takes from the system.
    pub(crate) const fn footprint(bytes: usize) -> usize {
        slots_for(bytes) * (size_of::<SharedPayload>() + 16)
    }

    pub(crate) fn for_area(bytes: usize) -> Self {
        let slots = slots_for(bytes);
        let free = ArrayQueue::new(slots);
        for slot in 0..slots as u32 {
            let _ = free.push(slot);
        }
        let slots = (0..slots).map(|_| SharedPayload::new()).collect();
        Self { slots, free }
    }

    pub(crate) fn take_slot(&self) -> Option<u32> {
        self.free.pop()
    }

    pub(crate) fn put_back(&self, slot: u32) {
        // The queue has room for every slot there is.
        let _ = self.free.push(slot);
    }

    /// All slots' numbers.
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        0..self.slots.len() as u32
    }

    /// Puts `payload`, which the record at `at` will name, into a slot for `owners` to share.
    ///
    /// # Safety
    /// The slot came from [`SharedPayloads::take_slot`] and was neither filled nor put back since.
    pub(crate) unsafe fn fill(&self, slot: u32, payload: Payload, owners: u64, at: u64) {
        let entry = &self.slots[slot as usize];
        if owners == 0 {
            // All readers are gone: nobody would ever take it out.
            self.put_back(slot);
            return;
        }
        // SAFETY: the slot is ours alone.
        entry.payload.with_mut(|cell| unsafe { *cell = Some(payload) });
        entry.at.store(at, Ordering::Relaxed);
        entry.shares.store(owners, Ordering::Release);
    }

    /// The payload in a slot.
    ///
    /// # Safety
    /// The caller has a share in the slot, has seen the record that names it, and keeps the share while it uses the result.
    pub(crate) unsafe fn payload(&self, slot: u32) -> &Payload {
        let cell = self.slots[slot as usize].payload.with(|cell| cell);
        // SAFETY: filled before the record was committed, and not emptied before the caller gives up its share.
        let payload = unsafe { &*cell };
        payload.as_ref().expect("a slot with shares holds a payload")
    }

    /// Whether any of `owners` has a share in a slot. Who has none writes nothing there: the slot may be a producer's, about to be filled.
    pub(crate) fn is_shared_by(&self, slot: u32, owners: u64) -> bool {
        self.slots[slot as usize].shares.load(Ordering::Acquire) & owners != 0
    }

    /// Clears the bits of `owners` in one slot; the last one to go drops the payload and frees the slot. Bits that are not
    /// set are ignored. Gives those that are left.
    pub(crate) fn give_up(&self, slot: u32, owners: u64) -> u64 {
        let entry = &self.slots[slot as usize];
        // AcqRel: our reads come before the emptying, all others' too.
        let before = entry.shares.fetch_and(!owners, Ordering::AcqRel);
        if before & owners != 0 && before & !owners == 0 {
            self.empty(slot);
        }
        before & !owners
    }

    /// Empties and frees a slot, whoever shares it, if `may` says so, which is told the shares and where the record is. It is
    /// asked twice; the second time the slot is the caller's alone, so that what it says of these shares holds.
    pub(crate) fn empty_if(&self, slot: u32, may: impl Fn(u64, u64) -> bool) {
        let entry = &self.slots[slot as usize];
        loop {
            let shares = entry.shares.load(Ordering::Acquire);
            if shares == 0 || !may(shares, entry.at.load(Ordering::Relaxed)) {
                return;
            }
            if entry.shares.compare_exchange(shares, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                return;
            }
            if may(shares, entry.at.load(Ordering::Relaxed)) {
                self.empty(slot);
                return;
            }
            entry.shares.fetch_or(shares, Ordering::AcqRel);
            // Orders that before the next look. A reader that leaves clears its claim, passes a full fence and looks at the slots: either
            // it has seen this one shared, or we see now that it claims nothing.
            fence(Ordering::SeqCst);
        }
    }

    fn empty(&self, slot: u32) {
        // SAFETY: whoever calls this took the last share, so nobody else looks at the slot until it is free again.
        let payload = self.slots[slot as usize].payload.with_mut(|cell| unsafe { (*cell).take() });
        self.put_back(slot);
        drop(payload);
    }
}
