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
use super::sync::{ArrayQueue, AtomicU64, Ordering, UnsafeCell};

/// See the module's head.
pub(crate) struct SharedPayloads {
    slots: Box<[SharedPayload]>,
    free: ArrayQueue<u32>,
}

struct SharedPayload {
    shares: AtomicU64,
    payload: UnsafeCell<Option<Payload>>,
}

// SAFETY: see the contract.
unsafe impl Sync for SharedPayload {}

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
        let slots =
            (0..slots).map(|_| SharedPayload { shares: AtomicU64::new(0), payload: UnsafeCell::new(None) }).collect();
        Self { slots, free }
    }

    pub(crate) fn take_slot(&self) -> Option<u32> {
        self.free.pop()
    }

    pub(crate) fn put_back(&self, slot: u32) {
        // The queue has room for every slot there is.
        let _ = self.free.push(slot);
    }

    /// Puts `payload` into a slot for `owners` to share.
    ///
    /// # Safety
    /// The slot came from [`SharedPayloads::take_slot`] and was neither filled nor put back since.
    pub(crate) unsafe fn fill(&self, slot: u32, payload: Payload, owners: u64) {
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
    pub(crate) unsafe fn payload(&self, slot: u32) -> &Payload {
        let cell = self.slots[slot as usize].payload.with(|cell| cell);
        // SAFETY: filled before the record was committed, and not emptied before the caller gives up its share.
        let payload = unsafe { &*cell };
        payload.as_ref().expect("a slot with shares holds a payload")
    }

    /// Clears the bits of `owners` in one slot; the last one to go drops the payload and frees the slot. Bits that are not
    /// set are ignored.
    pub(crate) fn give_up(&self, slot: u32, owners: u64) {
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

    pub(crate) fn give_up_all(&self, owners: u64) {
        for slot in 0..self.slots.len() as u32 {
            if self.slots[slot as usize].shares.load(Ordering::Acquire) & owners != 0 {
                self.give_up(slot, owners);
            }
        }
    }
}
