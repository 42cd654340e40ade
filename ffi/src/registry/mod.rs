//! Handles: numbers that look like pointers, and what they stand for.
//!
//! A handle is index, kind, process tag and generation. Looking one up compares it with the number in its slot: freed,
//! foreign and invented handles differ from it. Nothing is ever dereferenced that came from the host.
//!
//! Contract of the unsafe code: an object is used only while a record holds its handle and its slot still says so, and is
//! freed once, by whoever changed the slot, after no record holds it any more.
//!
//! # How a lookup costs next to nothing
//! A reader writes the handle it uses into a record of its own thread (a hazard pointer), then checks the slot. Whoever
//! frees a handle first changes the slot, then makes every thread of the process pass a full fence (`membarrier`),
//! then waits until no record holds the handle. So readers need no locked instruction and share no line that is written,
//! and what they use stays alive while they use it.
//!
//! # How a fork costs nothing
//! All this lies in memory that the kernel zeroes in a forked child (`MADV_WIPEONFORK`). There a slot holds zero, which is
//! no handle; the child may start engines of its own, with another tag.
//!
//! # Unsafe contract
//! The registry is one mapping that is published once and never unmapped, so a reference to it is good for ever.

mod memory;
mod record;
mod table;

use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use crate::status::{Failure, Outcome, fw_status};
use record::{Pin, Records};
pub use table::{Table, Taken};

/// What a handle may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Engine = 1,
    Topic = 2,
    Buffer = 3,
}

/// A handle as its parts: index (20 bits), kind (2), tag (10), generation (32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(pub u64);

/// Handles of one kind that can be open at a time.
pub const HANDLES_MAX: u32 = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 20;
const TAG_MAX: u32 = (1 << 10) - 1;

impl Handle {
    fn new(index: u32, kind: Kind, tag: u32, generation: u32) -> Self {
        Self(
            u64::from(generation) << 32
                | u64::from(tag) << 22
                | u64::from(kind as u32) << INDEX_BITS
                | u64::from(index),
        )
    }

    fn index(self) -> u32 {
        self.0 as u32 & (HANDLES_MAX - 1)
    }

    fn is(self, kind: Kind) -> bool {
        self.0 as u32 >> INDEX_BITS & 3 == kind as u32
    }

    fn tag(self) -> u32 {
        self.0 as u32 >> 22
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One for the process. Valid when all zero, because a forked child finds it so.
#[repr(C)]
pub struct Registry {
    /// 0, [`SETTING_UP`] or [`READY`].
    state: AtomicU32,
    /// Tells this process's handles from its ancestors'; 0 until the registry is ready.
    tag: AtomicU32,
    /// Not zero: the kernel has no `membarrier`, so readers fence themselves.
    is_fenced: AtomicU32,
    pub engines: Table,
    pub topics: Table,
    pub buffers: Table,
    records: Records,
}

const SETTING_UP: u32 = 1;
const READY: u32 = 2;

/// Points to the mapping once there is one; the same address in a forked child.
static REGISTRY: AtomicPtr<Registry> = AtomicPtr::new(std::ptr::null_mut());
/// The last tag given. Not wiped by a fork, so a child takes another one than its parent.
static TAGS: AtomicU32 = AtomicU32::new(0);

/// The registry, if any engine was ever started.
#[inline]
pub fn existing() -> Option<&'static Registry> {
    let registry = REGISTRY.load(Ordering::Acquire);
    // SAFETY: null, or a mapping of the right size that is never unmapped; atomics all through, and zero is a valid value.
    unsafe { registry.as_ref() }
}

/// The registry, ready for new handles.
///
/// # Errors
/// `FW_SYSTEM` if there is no memory.
pub fn ready() -> Outcome<&'static Registry> {
    let registry = match existing() {
        Some(registry) => registry,
        None => create()?,
    };
    while registry.state.load(Ordering::Acquire) != READY {
        match registry.state.compare_exchange(0, SETTING_UP, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                registry.is_fenced.store(u32::from(!memory::register_membarrier()), Ordering::Relaxed);
                let count = TAGS.fetch_add(1, Ordering::Relaxed);
                registry.tag.store(count % TAG_MAX + 1, Ordering::Relaxed);
                registry.state.store(READY, Ordering::Release);
            }
            // A few system calls of another thread.
            Err(_) => std::thread::yield_now(),
        }
    }
    Ok(registry)
}

#[cold]
fn create() -> Outcome<&'static Registry> {
    let bytes = size_of::<Registry>();
    let new =
        memory::map_wiped(bytes).map_err(|error| Failure::new(fw_status::FW_SYSTEM, format!("no memory: {error}")))?;
    let new = new.cast::<Registry>();
    match REGISTRY.compare_exchange(std::ptr::null_mut(), new.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        // Another thread was first.
        Err(_) => memory::unmap(new.cast(), bytes),
    }
    existing().ok_or_else(|| fw_status::FW_INTERNAL.into())
}

impl Registry {
    /// Tells this process's handles from its ancestors'.
    pub fn tag(&self) -> u32 {
        self.tag.load(Ordering::Relaxed)
    }

    /// Makes every running thread of the process pass a full fence.
    fn fence_all(&self) {
        if self.is_fenced.load(Ordering::Relaxed) != 0 || !memory::membarrier() {
            // The readers fence themselves, and so must we.
            fence(Ordering::SeqCst);
        }
    }

    /// Waits until no thread uses `handles` any more, which are no longer in their slots.
    pub fn wait_unused(&self, handles: &[Handle]) {
        if !handles.is_empty() {
            self.fence_all();
            self.records.wait_unused(handles);
        }
    }
}

/// Looks `handle` up and lets `f` use what it stands for, which is not freed meanwhile. `f` must neither wait nor run the
/// host's code.
#[inline]
pub fn with<T>(
    handle: Handle,
    kind: Kind,
    table: impl FnOnce(&'static Registry) -> &'static Table,
    f: impl FnOnce(NonNull<()>) -> Outcome<T>,
) -> Outcome<T> {
    let Some(registry) = existing() else { return Err(refusal(handle, kind)) };
    let Some(_pin) = Pin::new(registry, handle) else { return Err(unpinned(registry, handle, kind)) };
    match table(registry).find(handle) {
        Some(object) if handle.is(kind) => f(object),
        _ => Err(refusal(handle, kind)),
    }
}

#[cold]
fn unpinned(registry: &Registry, handle: Handle, kind: Kind) -> Failure {
    if registry.tag() == 0 {
        return refusal(handle, kind);
    }
    Failure::new(fw_status::FW_TOO_MANY, "too many threads are inside the library")
}

/// Why `handle`, which was not found, is not one.
#[cold]
pub fn refusal(handle: Handle, kind: Kind) -> Failure {
    if handle.0 == 0 {
        return Failure::new(
            fw_status::FW_NULL,
            format!("the {kind:?} handle is NULL").to_lowercase().replace("null", "NULL"),
        );
    }
    let tags = TAGS.load(Ordering::Relaxed);
    let is_possible = handle.is(kind) && (1..=tags.min(TAG_MAX)).contains(&handle.tag());
    let here = existing().map_or(0, Registry::tag);
    if is_possible && handle.tag() != here {
        return fw_status::FW_FORKED.into();
    }
    fw_status::FW_BAD_HANDLE.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_its_parts() {
        let handle = Handle::new(HANDLES_MAX - 1, Kind::Buffer, TAG_MAX, u32::MAX);
        assert_eq!(handle.0, u64::MAX);
        let handle = Handle::new(5, Kind::Topic, 7, 9);
        assert_eq!((handle.index(), handle.tag(), handle.generation()), (5, 7, 9));
        assert!(handle.is(Kind::Topic) && !handle.is(Kind::Engine) && !handle.is(Kind::Buffer));
    }

    #[test]
    fn a_freed_handle_is_unknown_and_its_slot_gets_another_number() {
        let registry = ready().unwrap();
        let object = NonNull::from(Box::leak(Box::new(1u32))).cast::<()>();
        let owner = Handle(1);
        let first = registry.buffers.insert(Kind::Buffer, registry.tag(), object, owner).unwrap();
        assert_eq!(registry.buffers.find(first), Some(object));
        assert!(registry.buffers.take(first, Kind::Topic).is_none());
        let taken = registry.buffers.take(first, Kind::Buffer).unwrap();
        assert!(registry.buffers.take(first, Kind::Buffer).is_none());
        assert!(registry.buffers.find(first).is_none());
        registry.buffers.put_back(taken);
        assert_eq!(registry.buffers.find(first), Some(object));
        let taken = registry.buffers.take_all_of(owner, Kind::Buffer);
        assert_eq!(taken.len(), 1);
        registry.wait_unused(&[first]);
        registry.buffers.free(first);
        let second = registry.buffers.insert(Kind::Buffer, registry.tag(), object, Handle(2)).unwrap();
        assert_eq!(second.index(), first.index());
        assert_ne!(second, first);
        assert!(registry.buffers.find(first).is_none());
        assert_eq!(refusal(first, Kind::Buffer).status, fw_status::FW_BAD_HANDLE);
        assert_eq!(refusal(Handle(0), Kind::Buffer).status, fw_status::FW_NULL);
    }

    #[test]
    fn what_is_in_use_is_not_freed() {
        use std::sync::atomic::AtomicUsize;
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        struct Alive(AtomicU32);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.store(0xdead, Ordering::SeqCst);
                ALIVE.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let registry = ready().unwrap();
        let current = std::sync::atomic::AtomicU64::new(0);
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let handle = Handle(current.load(Ordering::Relaxed));
                        let _ = with(
                            handle,
                            Kind::Engine,
                            |r| &r.engines,
                            |object| {
                                // SAFETY: pinned.
                                let alive = unsafe { object.cast::<Alive>().as_ref() };
                                for _ in 0..20 {
                                    assert_eq!(alive.0.load(Ordering::SeqCst), 7);
                                }
                                Ok(())
                            },
                        );
                    }
                });
            }
            for _ in 0..300 {
                ALIVE.fetch_add(1, Ordering::SeqCst);
                let object = NonNull::from(Box::leak(Box::new(Alive(AtomicU32::new(7))))).cast::<()>();
                let handle = registry.engines.insert(Kind::Engine, registry.tag(), object, Handle(0)).unwrap();
                current.store(handle.0, Ordering::Relaxed);
                std::thread::yield_now();
                let taken = registry.engines.take(handle, Kind::Engine).unwrap();
                registry.wait_unused(&[handle]);
                // SAFETY: leaked above, taken once, used by nobody.
                drop(unsafe { Box::from_raw(taken.object.cast::<Alive>().as_ptr()) });
                registry.engines.free(handle);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    }
}
