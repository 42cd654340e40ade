//! Payloads that are counted instead of copied, and the bounded pool their memory comes from.
//!
//! A payload is one pointer to a *node*: a header with the reference count and, right behind it, the bytes; or a header
//! alone that holds a `bytes::Bytes` of the host's. Nodes are recycled through lock-free queues, one for each power of
//! two, so that in steady state claiming, freezing, cloning and dropping allocate nothing.
//!
//! Knows bytes and their number; must never know topics, records or who reads them.
//!
//! # Unsafe contract
//! - A node is *owned* by exactly one of: a [`ClaimBuf`], the [`Payload`]s that its `refs` counts, a queue of spare
//!   nodes, the list of retired nodes. Only its owner touches it; fields other than `refs` change only while the
//!   owner is unique (a claim, a queue, or the payload that took `refs` to zero).
//! - `start..start + capacity` is initialised from allocation on (`alloc_zeroed`).
//! - Ownership passes between threads only through an acquire/release pair: the queues, the retired list, `refs`, or
//!   whatever the holder of a `Payload` sends it through.
//!
//! # Old bytes are never shown
//! A recycled buffer holds an older message, perhaps of a topic that its next publisher may not read. A claim therefore
//! zeroes what it shows, but only as far as the buffer was ever written since it was fresh (`dirty`): the first use of
//! a large buffer touches no page, and bytes that are appended ([`ClaimBuf::append`]) are not zeroed first.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use crossbeam_utils::CachePadded;

use super::sync::{ArrayQueue, AtomicPtr, AtomicUsize, Ordering, Watch};

/// Most bytes that a pool holds unless configured otherwise.
pub const POOL_BYTES_DEFAULT: usize = 256 << 20;

const CLASS_BYTES_MIN: usize = 256;
/// 1 GiB: far above the largest message, so that the pool's own limit decides.
const CLASS_BYTES_MAX: usize = 1 << 30;
/// Most spare nodes of one class, whatever their size.
const SPARES_MAX: usize = 4096;

struct Node {
    refs: AtomicUsize,
    start: *mut u8,
    len: usize,
    capacity: usize,
    /// Bytes from `start` on that may differ from zero.
    dirty: usize,
    class: usize,
    /// Keeps the pool alive while the node is out; `None` while it is spare or retired.
    pool: Option<Arc<Shared>>,
    /// The host's bytes; then `start` points into them and `capacity` is 0.
    adopted: Option<Bytes>,
    /// The next retired node.
    next: *mut Node,
    watch: Watch,
}

const HEADER_BYTES: usize = size_of::<Node>().next_multiple_of(16);
// `alloc_zeroed` is lazy for large blocks only up to the allocator's natural alignment.
const _: () = assert!(align_of::<Node>() <= 16);

/// A node that nobody uses.
struct Spare(NonNull<Node>);

// SAFETY: a spare node is owned by whoever holds the `Spare`, and a node is not tied to a thread.
unsafe impl Send for Spare {}

struct Shared {
    limit: usize,
    retained_max: usize,
    /// Bytes of all nodes, spare ones included, and of all adopted bytes.
    held: CachePadded<AtomicUsize>,
    /// Bytes of the spare nodes.
    retained: CachePadded<AtomicUsize>,
    /// Spare nodes: of no capacity (for adopted bytes), then 256 B, 512 B, …
    classes: Box<[ArrayQueue<Spare>]>,
    /// Adopted bytes whose last payload is gone, a stack; see [`PayloadPool::reclaim`].
    retired: AtomicPtr<Node>,
    /// Called when `retired` is no longer empty.
    bell: OnceLock<ReclaimBell>,
}

/// Says that there is something to reclaim.
pub type ReclaimBell = Box<dyn Fn() + Send + Sync>;

// SAFETY: the raw pointers in `retired` are owned nodes, which are not tied to a thread; all else is Send and Sync.
unsafe impl Send for Shared {}
// SAFETY: `retired` is only pushed to and taken whole, by atomic operations.
unsafe impl Sync for Shared {}

/// The pool is full. Gives back what it did not take.
#[derive(Debug, thiserror::Error)]
#[error("the payload pool is full")]
pub struct PoolFull(pub Bytes);

/// A bounded pool of payload memory. Clones share it.
#[derive(Clone)]
pub struct PayloadPool {
    shared: Arc<Shared>,
}

impl fmt::Debug for PayloadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadPool").field("used", &self.used_bytes()).field("limit", &self.limit_bytes()).finish()
    }
}

impl PayloadPool {
    /// A pool of at most `limit` bytes, headers and spare buffers included; a quarter of it may lie spare. Allocates
    /// only its queues (under 1 MiB).
    pub fn new(limit: usize) -> Self {
        let retained_max = if cfg!(feature = "guard-pages") { 0 } else { limit / 4 };
        let classes = (0..)
            .map(class_bytes)
            .take_while(|&bytes| bytes <= CLASS_BYTES_MAX && bytes + HEADER_BYTES <= limit.max(HEADER_BYTES))
            .map(|bytes| ArrayQueue::new((retained_max / (bytes + HEADER_BYTES)).clamp(1, SPARES_MAX)))
            .collect();
        Self {
            shared: Arc::new(Shared {
                limit,
                retained_max,
                held: CachePadded::new(AtomicUsize::new(0)),
                retained: CachePadded::new(AtomicUsize::new(0)),
                classes,
                retired: AtomicPtr::new(ptr::null_mut()),
                bell: OnceLock::new(),
            }),
        }
    }

    /// What a claim of `len` bytes takes from the pool: the next power of two (at least 256) and a header; `usize::MAX` for
    /// more than 1 GiB, which no pool gives.
    #[cfg(test)]
    pub const fn footprint(len: usize) -> usize {
        if len > CLASS_BYTES_MAX {
            return usize::MAX;
        }
        let bytes = if len < CLASS_BYTES_MIN { CLASS_BYTES_MIN } else { len.next_power_of_two() };
        bytes + HEADER_BYTES
    }

    /// Memory for a message of `len` bytes, all zero. `None`: the pool is full (or could never hold so much).
    ///
    /// Zeroes at most `len` bytes (about 0.1 ns each in cache); a buffer that is fresh from the system is zero already.
    pub fn claim(&self, len: usize) -> Option<ClaimBuf> {
        let mut claim = self.claim_empty(len)?;
        claim.show(len);
        Some(claim)
    }

    /// Memory for a message that will be appended to: no bytes yet, room for `capacity`.
    pub fn claim_empty(&self, capacity: usize) -> Option<ClaimBuf> {
        Some(ClaimBuf { node: self.shared.take(class_for(capacity)?)?, len: 0 })
    }

    /// A payload with these bytes: one copy. `None`: the pool is full.
    pub fn copy_from(&self, bytes: &[u8]) -> Option<Payload> {
        let mut claim = self.claim_empty(bytes.len())?;
        claim.append(bytes).then(|| claim.freeze())
    }

    /// A payload that refers to `bytes`, which count against the pool until they are reclaimed.
    ///
    /// When the last clone is dropped, the bytes are only *retired*: their owner's code never runs on the thread that
    /// happens to drop them last, a shard, but in a later `adopt` or [`PayloadPool::reclaim`].
    ///
    /// # Errors
    /// `PoolFull` gives the bytes back.
    pub fn adopt(&self, bytes: Bytes) -> Result<Payload, PoolFull> {
        self.reclaim();
        if !self.shared.reserve(bytes.len()) {
            return Err(PoolFull(bytes));
        }
        let Some(node) = self.shared.take(CARRIER) else {
            self.shared.held.fetch_sub(bytes.len(), Ordering::Relaxed);
            return Err(PoolFull(bytes));
        };
        // SAFETY: a node just taken is ours alone.
        let carrier = unsafe { &mut *node.as_ptr() };
        carrier.start = bytes.as_ptr().cast_mut();
        carrier.len = bytes.len();
        carrier.adopted = Some(bytes);
        Ok(Payload { node })
    }

    /// Drops adopted bytes that no payload refers to any more: runs their owners' code, so not for a shard to call.
    /// One load when there are none.
    pub fn reclaim(&self) {
        self.shared.reclaim();
    }

    /// Calls `bell` each time there is something to reclaim after there was nothing, on the thread that dropped the last
    /// payload. The first one set stays.
    pub fn set_bell(&self, bell: ReclaimBell) {
        let _ = self.shared.bell.set(bell);
    }

    /// Bytes in use, headers included: at most the limit.
    pub fn used_bytes(&self) -> usize {
        let retained = self.shared.retained.load(Ordering::Relaxed);
        self.shared.held.load(Ordering::Relaxed).saturating_sub(retained)
    }

    /// Bytes that lie spare for the next claims: at most a quarter of the limit.
    #[cfg(test)]
    pub fn spare_bytes(&self) -> usize {
        self.shared.retained.load(Ordering::Relaxed)
    }

    /// Most bytes in use and spare together.
    pub fn limit_bytes(&self) -> usize {
        self.shared.limit
    }
}

/// The class whose nodes have no bytes of their own.
const CARRIER: usize = 0;

const fn class_bytes(class: usize) -> usize {
    if class == CARRIER { 0 } else { CLASS_BYTES_MIN << (class - 1) }
}

fn class_for(len: usize) -> Option<usize> {
    if len > CLASS_BYTES_MAX {
        return None;
    }
    let bytes = len.max(CLASS_BYTES_MIN).next_power_of_two();
    Some((bytes / CLASS_BYTES_MIN).trailing_zeros() as usize + 1)
}

fn layout(class: usize) -> Layout {
    Layout::from_size_align(HEADER_BYTES + class_bytes(class), 16).expect("at most 1 GiB and a header")
}

impl Shared {
    /// A node of this class for the caller alone, with `refs` 1 and length 0.
    fn take(self: &Arc<Self>, class: usize) -> Option<NonNull<Node>> {
        let node = match self.classes.get(class)?.pop() {
            Some(Spare(node)) => {
                self.retained.fetch_sub(layout(class).size(), Ordering::Relaxed);
                node
            }
            None => self.allocate(class)?,
        };
        // SAFETY: popped from a queue or new: owned by us alone.
        let header = unsafe { &mut *node.as_ptr() };
        header.refs.store(1, Ordering::Relaxed);
        header.len = 0;
        header.pool = Some(Arc::clone(self));
        Some(node)
    }

    #[cold]
    fn allocate(&self, class: usize) -> Option<NonNull<Node>> {
        let layout = layout(class);
        if !self.reserve(layout.size()) {
            return None;
        }
        // SAFETY: the layout's size is not zero.
        let block = unsafe { alloc_zeroed(layout) };
        let Some(node) = NonNull::new(block.cast::<Node>()) else {
            self.held.fetch_sub(layout.size(), Ordering::Relaxed);
            return None;
        };
        // SAFETY: the block is at least HEADER_BYTES long.
        let start = unsafe { block.add(HEADER_BYTES) };
        let header = Node {
            refs: AtomicUsize::new(1),
            start,
            len: 0,
            capacity: class_bytes(class),
            dirty: 0,
            class,
            pool: None,
            adopted: None,
            next: ptr::null_mut(),
            watch: Watch::new(1),
        };
        // SAFETY: the block is ours, large enough, and aligned to 16.
        unsafe { node.write(header) };
        Some(node)
    }

    /// Counts `bytes` as held; gives spare nodes back to the system if that makes room.
    fn reserve(&self, bytes: usize) -> bool {
        let mut held = self.held.load(Ordering::Relaxed);
        loop {
            match held.checked_add(bytes) {
                Some(after) if after <= self.limit => {
                    match self.held.compare_exchange_weak(held, after, Ordering::Relaxed, Ordering::Relaxed) {
                        Ok(_) => return true,
                        Err(now) => held = now,
                    }
                }
                _ => {
                    if !self.free_largest_spare() {
                        return false;
                    }
                    held = self.held.load(Ordering::Relaxed);
                }
            }
        }
    }

    #[cold]
    fn free_largest_spare(&self) -> bool {
        let Some(Spare(node)) = self.classes.iter().rev().find_map(|class| class.pop()) else {
            return false;
        };
        // SAFETY: popped from a queue: owned by us alone.
        let class = unsafe { (*node.as_ptr()).class };
        self.retained.fetch_sub(layout(class).size(), Ordering::Relaxed);
        self.free(node);
        true
    }

    /// Takes back a node that nobody uses: keeps it as a spare, or frees it if there are enough.
    fn give_back(&self, node: NonNull<Node>) {
        // SAFETY: the caller hands over the node's ownership.
        let class = unsafe { (*node.as_ptr()).class };
        let size = layout(class).size();
        if self.retained.fetch_add(size, Ordering::Relaxed) + size > self.retained_max {
            self.retained.fetch_sub(size, Ordering::Relaxed);
            self.free(node);
        } else if let Err(Spare(node)) = self.classes[class].push(Spare(node)) {
            self.retained.fetch_sub(size, Ordering::Relaxed);
            self.free(node);
        }
    }

    /// Gives a node that nobody uses back to the system.
    fn free(&self, node: NonNull<Node>) {
        // SAFETY: the caller hands over the node's ownership.
        let class = unsafe { (*node.as_ptr()).class };
        let layout = layout(class);
        // SAFETY: as above; the node was written by `allocate` and is not used again.
        unsafe { ptr::drop_in_place(node.as_ptr()) };
        // SAFETY: allocated by `allocate` with the layout of its class, which never changes.
        unsafe { dealloc(node.as_ptr().cast(), layout) };
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
    }

    /// Leaves adopted bytes for [`Shared::reclaim`].
    fn retire(&self, node: NonNull<Node>) {
        let mut first = self.retired.load(Ordering::Relaxed);
        loop {
            // SAFETY: ours until the exchange succeeds.
            unsafe { (*node.as_ptr()).next = first };
            // Release: who takes the list sees `next` and all that the payloads' users did before.
            match self.retired.compare_exchange_weak(first, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        if first.is_null()
            && let Some(bell) = self.bell.get()
        {
            bell();
        }
    }

    fn reclaim(&self) {
        if self.retired.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Taken whole, so the ABA problem of popping one by one does not arise.
        let mut list = Retired { pool: self, first: self.retired.swap(ptr::null_mut(), Ordering::Acquire) };
        while let Some(bytes) = list.pop() {
            // The owner's code: may panic, then the rest of the list is put back.
            drop(bytes);
        }
    }
}

/// Retired nodes that one thread has taken.
struct Retired<'a> {
    pool: &'a Shared,
    first: *mut Node,
}

impl Retired<'_> {
    fn pop(&mut self) -> Option<Bytes> {
        let node = NonNull::new(self.first)?;
        // SAFETY: the list was taken whole, so its nodes are ours.
        let carrier = unsafe { &mut *node.as_ptr() };
        self.first = carrier.next;
        carrier.watch.write(|| 0..1);
        let bytes = carrier.adopted.take()?;
        self.pool.held.fetch_sub(bytes.len(), Ordering::Relaxed);
        self.pool.give_back(node);
        Some(bytes)
    }
}

impl Drop for Retired<'_> {
    fn drop(&mut self) {
        while let Some(node) = NonNull::new(self.first) {
            // SAFETY: as in `pop`.
            self.first = unsafe { (*node.as_ptr()).next };
            self.pool.retire(node);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nodes that are out hold the pool: all that is left is retired or spare.
        self.reclaim();
        while self.free_largest_spare() {}
    }
}

/// Memory of the pool, to be written and then frozen; or dropped, which gives it back.
pub struct ClaimBuf {
    node: NonNull<Node>,
    len: usize,
}

// SAFETY: a claim owns its node alone, and a node is not tied to a thread.
unsafe impl Send for ClaimBuf {}
// SAFETY: a shared claim can only be read.
unsafe impl Sync for ClaimBuf {}

impl ClaimBuf {
    /// Room for so many bytes before [`ClaimBuf::grow`] or [`ClaimBuf::append`] must move them.
    pub fn capacity(&self) -> usize {
        self.header().capacity
    }

    /// Makes the message `len` bytes long, the new ones zero; moves it to a larger buffer if need be (one copy). A length
    /// that it already has changes nothing. False: the pool is full, and nothing has changed.
    pub fn grow(&mut self, len: usize) -> bool {
        if len <= self.len {
            return true;
        }
        if !self.make_room(len) {
            return false;
        }
        self.show(len);
        true
    }

    /// Appends `bytes`; moves the message to a larger buffer if need be (each byte is moved at most once on average). False:
    /// the pool is full, and nothing has changed.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(len) = self.len.checked_add(bytes.len()) else { return false };
        if !self.make_room(len) {
            return false;
        }
        let old = self.len;
        let header = self.header_mut();
        header.watch.write(|| 0..1);
        header.dirty = header.dirty.max(len);
        // SAFETY: `make_room`: old <= len <= capacity.
        let end = unsafe { header.start.add(old) };
        // SAFETY: `bytes.len()` bytes from `end` lie within the buffer, which is ours alone, so `bytes` is elsewhere.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len()) };
        self.len = len;
        true
    }

    /// Shortens the message to `len` bytes. A length that is not shorter changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes it a payload: no copy, no allocation.
    pub fn freeze(mut self) -> Payload {
        let len = self.len;
        self.header_mut().len = len;
        let node = self.node;
        std::mem::forget(self);
        Payload { node }
    }

    /// Sets the length, zeroing what older messages left in the bytes that it adds. `len` fits.
    fn show(&mut self, len: usize) {
        let old = self.len;
        let header = self.header_mut();
        assert!(old <= len && len <= header.capacity);
        header.watch.write(|| 0..1);
        let stale = header.dirty.min(len).saturating_sub(old);
        header.dirty = header.dirty.max(len);
        // SAFETY: old <= capacity.
        let from = unsafe { header.start.add(old) };
        // SAFETY: old + stale <= len <= capacity, and the buffer is ours alone.
        unsafe { ptr::write_bytes(from, 0, stale) };
        self.len = len;
    }

    fn make_room(&mut self, len: usize) -> bool {
        if len <= self.header().capacity {
            return true;
        }
        let Some(pool) = self.header().pool.clone() else { return false };
        let Some(node) = class_for(len).and_then(|class| pool.take(class)) else { return false };
        let mut larger = ClaimBuf { node, len: 0 };
        let moved = larger.append(self);
        debug_assert!(moved, "the larger class holds what the smaller one held");
        *self = larger;
        true
    }

    fn header(&self) -> &Node {
        // SAFETY: a claim owns its node.
        unsafe { self.node.as_ref() }
    }

    fn header_mut(&mut self) -> &mut Node {
        // SAFETY: a claim owns its node alone.
        unsafe { self.node.as_mut() }
    }
}

impl Deref for ClaimBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.header().watch.read(|| 0..1);
        // SAFETY: initialised since allocation, len <= capacity, and only written through `&mut self`.
        unsafe { slice::from_raw_parts(self.header().start, self.len) }
    }
}

impl DerefMut for ClaimBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.header().watch.write(|| 0..1);
        // SAFETY: initialised since allocation, len <= capacity, and ours alone.
        unsafe { slice::from_raw_parts_mut(self.header().start, self.len) }
    }
}

impl Drop for ClaimBuf {
    fn drop(&mut self) {
        let pool = self.header_mut().pool.take();
        if let Some(pool) = pool {
            pool.give_back(self.node);
        }
    }
}

impl fmt::Debug for ClaimBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimBuf({} of {} bytes)", self.len, self.capacity())
    }
}

/// Bytes that never change and are counted: cloning is one atomic increment, the last drop gives the memory back.
pub struct Payload {
    node: NonNull<Node>,
}

// SAFETY: the bytes are never written while a payload exists, `refs` is atomic, and a node is not tied to a thread.
unsafe impl Send for Payload {}
// SAFETY: as for Send.
unsafe impl Sync for Payload {}

impl Payload {
    /// What it takes of its pool: up to twice its length, and a header.
    pub fn held_bytes(&self) -> usize {
        let header = self.header();
        layout(header.class).size() + header.adopted.as_ref().map_or(0, Bytes::len)
    }

    fn header(&self) -> &Node {
        // SAFETY: `refs` counts this payload, so the node is alive and its other fields do not change.
        unsafe { self.node.as_ref() }
    }
}

impl Clone for Payload {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: whoever holds the clone got it through `self`, which is already counted.
        let refs = self.header().refs.fetch_add(1, Ordering::Relaxed);
        // As in `Arc`: 2^63 forgotten clones are a bug that must not become a use after free.
        if refs > isize::MAX as usize {
            std::process::abort();
        }
        Self { node: self.node }
    }
}

impl Drop for Payload {
    #[inline]
    fn drop(&mut self) {
        // Release: our reads of the bytes come before the memory's next use.
        if self.header().refs.fetch_sub(1, Ordering::Release) == 1 {
            // Acquire: and so do all other holders' reads. (A fence would do; ThreadSanitizer knows no fences.)
            self.header().refs.load(Ordering::Acquire);
            release(self.node);
        }
    }
}

/// Gives back a node whose last payload is gone.
#[inline(never)]
fn release(mut node: NonNull<Node>) {
    // SAFETY: `refs` is zero and we are the one who took it there.
    let header = unsafe { node.as_mut() };
    header.watch.write(|| 0..1);
    let is_adopted = header.adopted.is_some();
    if let Some(pool) = header.pool.take() {
        if is_adopted {
            pool.retire(node);
        } else {
            pool.give_back(node);
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let header = self.header();
        header.watch.read(|| 0..1);
        // SAFETY: `len` initialised bytes, in the node or in the adopted bytes that it keeps; never written meanwhile.
        unsafe { slice::from_raw_parts(header.start, header.len) }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// For the host: one small allocation; the bytes stay where they are and count against the pool until they are dropped.
impl From<Payload> for Bytes {
    fn from(payload: Payload) -> Self {
        Bytes::from_owner(payload)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.header().len)
    }
}
