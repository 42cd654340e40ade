//! Slots for handles of one kind, in chunks that are mapped when first needed.
//!
//! # Contract of the unsafe code
//! A chunk, once in the directory, is mapped for ever (in this process), and all zero is a valid chunk. What an `object`
//! points to belongs to the slot from [`Table::insert`] until somebody's [`Table::take`] succeeds, and then to that caller.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::{HANDLES_MAX, Handle, Kind, memory};
use crate::status::{Failure, Outcome, fw_status};

const CHUNK_BITS: u32 = 13;
const CHUNK_SLOTS: u32 = 1 << CHUNK_BITS;
const CHUNKS: usize = (HANDLES_MAX / CHUNK_SLOTS) as usize;
const CHUNK_BYTES: usize = CHUNK_SLOTS as usize * size_of::<Slot>();

/// Half a cache line.
#[repr(C, align(32))]
pub struct Slot {
    /// The handle while it is open; else its last generation in the upper half, and zero below, which is no handle.
    handle: AtomicU64,
    object: AtomicPtr<()>,
    /// The engine it belongs to, as a handle.
    owner: AtomicU64,
    /// The next free slot's index plus one.
    next: AtomicU32,
}

/// See the module's head.
#[repr(C)]
pub struct Table {
    /// Slots ever used.
    used: AtomicU32,
    /// The first free slot's index plus one below, a count against ABA above.
    free: AtomicU64,
    chunks: [AtomicPtr<Slot>; CHUNKS],
}

/// A handle that is no longer open, whose object is the caller's now, and whose slot is not free yet.
#[derive(Debug)]
#[must_use = "its slot and its object are the caller's to give back"]
pub struct Taken {
    pub handle: Handle,
    pub object: NonNull<()>,
}

impl Table {
    /// Opens a handle for `object`.
    pub fn insert(&self, kind: Kind, tag: u32, object: NonNull<()>, owner: Handle) -> Outcome<Handle> {
        let index = match self.pop() {
            Some(index) => index,
            None => self.extend(kind)?,
        };
        let Some(slot) = self.slot(index) else { return Err(fw_status::FW_INTERNAL.into()) };
        let generation = ((slot.handle.load(Ordering::Relaxed) >> 32) as u32).wrapping_add(1);
        let handle = Handle::new(index, kind, tag, generation);
        slot.object.store(object.as_ptr(), Ordering::Relaxed);
        slot.owner.store(owner.0, Ordering::Relaxed);
        // Release: who finds the handle finds the object, and all that it is.
        slot.handle.store(handle.0, Ordering::Release);
        Ok(handle)
    }

    /// What `handle` stands for. Alive only as long as the caller can be sure that nobody takes it.
    #[inline]
    pub fn find(&self, handle: Handle) -> Option<NonNull<()>> {
        let slot = self.slot(handle.index())?;
        if slot.handle.load(Ordering::Acquire) != handle.0 {
            return None;
        }
        NonNull::new(slot.object.load(Ordering::Relaxed))
    }

    /// Closes `handle`: of several callers at once one succeeds.
    pub fn take(&self, handle: Handle, kind: Kind) -> Option<Taken> {
        if !handle.is(kind) {
            return None;
        }
        let slot = self.slot(handle.index())?;
        let closed = u64::from(handle.generation()) << 32;
        slot.handle.compare_exchange(handle.0, closed, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        let object = NonNull::new(slot.object.swap(ptr::null_mut(), Ordering::Relaxed))?;
        Some(Taken { handle, object })
    }

    /// Opens a handle again that was taken.
    pub fn put_back(&self, taken: Taken) {
        if let Some(slot) = self.slot(taken.handle.index()) {
            slot.object.store(taken.object.as_ptr(), Ordering::Relaxed);
            slot.handle.store(taken.handle.0, Ordering::Release);
        }
    }

    /// Frees a taken handle's slot: nobody uses its object any more.
    pub fn free(&self, handle: Handle) {
        let index = handle.index();
        let Some(slot) = self.slot(index) else { return };
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(head as u32, Ordering::Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | u64::from(index + 1);
            match self.free.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all that belong to `owner`.
    pub fn take_all_of(&self, owner: Handle, kind: Kind) -> Vec<Taken> {
        (0..self.used.load(Ordering::Acquire).min(HANDLES_MAX))
            .filter_map(|index| self.slot(index))
            // The handle first: if the slot changes hands after that, taking it fails.
            .map(|slot| (Handle(slot.handle.load(Ordering::Acquire)), slot.owner.load(Ordering::Relaxed)))
            .filter(|&(_, of)| of == owner.0)
            .filter_map(|(handle, _)| self.take(handle, kind))
            .collect()
    }

    fn pop(&self) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            let next = self.slot(index)?.next.load(Ordering::Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | u64::from(next);
            match self.free.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    #[cold]
    fn extend(&self, kind: Kind) -> Outcome<u32> {
        let grow = |used: u32| (used < HANDLES_MAX).then_some(used + 1);
        let Ok(index) = self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, grow) else {
            let text = format!("{HANDLES_MAX} handles of this kind are open ({kind:?})");
            return Err(Failure::new(fw_status::FW_TOO_MANY, text));
        };
        let chunk = &self.chunks[(index >> CHUNK_BITS) as usize];
        if chunk.load(Ordering::Acquire).is_null() {
            let new = memory::map_wiped(CHUNK_BYTES)
                .map_err(|error| Failure::new(fw_status::FW_SYSTEM, format!("no memory for handles: {error}")))?;
            let exchanged =
                chunk.compare_exchange(ptr::null_mut(), new.as_ptr().cast(), Ordering::AcqRel, Ordering::Acquire);
            if exchanged.is_err() {
                memory::unmap(new, CHUNK_BYTES);
            }
        }
        Ok(index)
    }

    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot> {
        let chunk = self.chunks.get((index >> CHUNK_BITS) as usize)?.load(Ordering::Acquire);
        if chunk.is_null() {
            return None;
        }
        // SAFETY: the index within the chunk is below CHUNK_SLOTS.
        let slot = unsafe { chunk.add((index & (CHUNK_SLOTS - 1)) as usize) };
        // SAFETY: a chunk in the directory is mapped, aligned to a page, and stays.
        Some(unsafe { &*slot })
    }
}
