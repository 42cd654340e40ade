//! Each thread's record of the handle that it uses now.
//!
//! # Contract of the unsafe code
//! A thread's record pointer is valid whenever its tag is the registry's: it was taken from this process's registry, which
//! is never unmapped, and nobody else has it until the thread's end.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

use super::{Handle, Registry, existing};

/// Threads that can be inside the library at a time.
const RECORDS: u32 = 16_384;

/// A cache line that one thread writes.
#[repr(C, align(64))]
struct Record {
    uses: AtomicU64,
    /// The next free record's index plus one.
    next: AtomicU32,
}

#[repr(C)]
pub struct Records {
    used: AtomicU32,
    /// The first free record's index plus one below, a count against ABA above.
    free: AtomicU64,
    records: [Record; RECORDS as usize],
}

impl Records {
    pub fn wait_unused(&self, handles: &[Handle]) {
        let used = self.used.load(Ordering::Acquire).min(RECORDS) as usize;
        for record in &self.records[..used] {
            // A call that was preempted in the middle: it holds a handle for as long as it copies a message, never while
            // it waits.
            while handles.contains(&Handle(record.uses.load(Ordering::Acquire))) {
                std::thread::yield_now();
            }
        }
    }

    fn take(&self) -> Option<&Record> {
        let mut head = self.free.load(Ordering::Acquire);
        while let Some(index) = (head as u32).checked_sub(1) {
            let record = self.records.get(index as usize)?;
            let next = record.next.load(Ordering::Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | u64::from(next);
            match self.free.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(record),
                Err(now) => head = now,
            }
        }
        let grow = |used: u32| (used < RECORDS).then_some(used + 1);
        // SeqCst: before the record's first use, for whoever fences and then scans.
        let index = self.used.fetch_update(Ordering::SeqCst, Ordering::Relaxed, grow).ok()?;
        self.records.get(index as usize)
    }

    fn give_back(&self, record: *const Record) {
        let offset = (record as usize).wrapping_sub(self.records.as_ptr() as usize);
        let index = offset / size_of::<Record>();
        let Some(record) = self.records.get(index) else { return };
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            record.next.store(head as u32, Ordering::Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | (index as u64 + 1);
            match self.free.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// The record that this thread has, and the tag of the process it was taken in.
#[derive(Clone, Copy)]
struct Lease {
    record: *const Record,
    tag: u32,
}

/// Gives the record back at the thread's end.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        let lease = LEASE.replace(Lease { record: ptr::null(), tag: 0 });
        if let Some(registry) = existing()
            && lease.tag != 0
            && lease.tag == registry.tag()
        {
            registry.records.give_back(lease.record);
        }
    }
}

thread_local! {
    // No destructor, so reading it is reading it.
    static LEASE: Cell<Lease> = const { Cell::new(Lease { record: ptr::null(), tag: 0 }) };
    static AT_END: AtEnd = const { AtEnd };
}

/// While it lives, what the handle stands for is not freed. Must not outlive a wait.
pub struct Pin {
    record: *const Record,
    /// The thread is at its end: nobody will give the record back but we.
    is_own: bool,
}

impl Pin {
    /// Says that this thread uses `handle`; the caller looks it up after this. `None`: too many threads, or no
    /// handle was ever made in this process.
    #[inline]
    pub fn new(registry: &'static Registry, handle: Handle) -> Option<Self> {
        let lease = LEASE.get();
        let pin = if lease.tag == registry.tag() && lease.tag != 0 {
            Self { record: lease.record, is_own: false }
        } else {
            Self::lease(registry)?
        };
        // SAFETY: see the module's contract.
        let record = unsafe { &*pin.record };
        record.uses.store(handle.0, Ordering::Relaxed);
        // Orders the store before the look at the slot. Whoever frees the handle makes the processor do the same.
        if registry.is_fenced.load(Ordering::Relaxed) == 0 {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        Some(pin)
    }

    #[cold]
    fn lease(registry: &'static Registry) -> Option<Self> {
        let tag = registry.tag();
        if tag == 0 {
            // In a forked child, before it starts an engine of its own: there are no handles.
            return None;
        }
        let record = ptr::from_ref(registry.records.take()?);
        let is_own = AT_END.try_with(|_| LEASE.set(Lease { record, tag })).is_err();
        Some(Self { record, is_own })
    }

    #[cold]
    fn give_back(&self) {
        if let Some(registry) = existing() {
            registry.records.give_back(self.record);
        }
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: see the module's contract.
        let record = unsafe { &*self.record };
        // Release: our last use of the object comes before whoever sees this frees it.
        record.uses.store(0, Ordering::Release);
        if self.is_own {
            self.give_back();
        }
    }
}
