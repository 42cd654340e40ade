//! Messages by reference: the host's memory, and telling the host that it is no longer used.
//!
//! The last user of such a message is mostly a shard. It only puts the reference into a queue; the host's callback
//! runs in the host's own call, when the queue is emptied.
//!
//! # Contract of the unsafe code
//! From a successful publish until the callback, the host leaves `data..data + len` alone. A reference in the queue is
//! one owned count of its `Arc`.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use fanwire::binding::Bell;

/// Tells the host that the engine does not use `data` any more. Runs exactly once for each message that was accepted by
/// reference, only inside fw_poll_events, fw_shutdown, fw_stop or fw_engine_free, on the thread that makes that call.
/// It may publish, but not poll, stop or free an engine (FW_BUSY). It must return: no longjmp, no exception.
pub type fw_release_fn = Option<unsafe extern "C" fn(context: *mut c_void, data: *const c_void, len: usize)>;

type Release = unsafe extern "C" fn(*mut c_void, *const c_void, usize);

/// The references of one engine that nobody uses any more, and how to tell the host that there are some.
pub struct Releases {
    /// A stack, newest first.
    first: AtomicPtr<Reference>,
    /// Published and not released.
    outstanding: AtomicU64,
    outstanding_bytes: AtomicU64,
    /// What `fw_event_fd` gives.
    bell: Bell,
}

thread_local! {
    /// This thread empties a queue: it need not be told that there is something in it.
    static IS_RELEASING: Cell<bool> = const { Cell::new(false) };
}

/// True inside a call that runs callbacks.
pub fn is_releasing() -> bool {
    IS_RELEASING.get()
}

struct Releasing;

impl Releasing {
    fn begin() -> Self {
        IS_RELEASING.set(true);
        Self
    }
}

impl Drop for Releasing {
    fn drop(&mut self) {
        IS_RELEASING.set(false);
    }
}

impl Releases {
    pub fn new(bell: Bell) -> Self {
        Self {
            first: AtomicPtr::new(ptr::null_mut()),
            outstanding: AtomicU64::new(0),
            outstanding_bytes: AtomicU64::new(0),
            bell,
        }
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Makes the descriptor unreadable.
    pub fn silence(&self) {
        self.bell.silence();
    }

    /// Messages and bytes that the host was not told about yet.
    pub fn outstanding(&self) -> (u64, u64) {
        (self.outstanding.load(Ordering::Relaxed), self.outstanding_bytes.load(Ordering::Relaxed))
    }

    /// Runs `reclaim`, which may queue more, and then the callback of every reference in the queue, oldest first. Returns
    /// how many.
    pub fn run(&self, reclaim: impl FnOnce()) -> usize {
        let _releasing = Releasing::begin();
        reclaim();
        let mut list = ptr::null_mut::<Reference>();
        let mut next = self.first.swap(ptr::null_mut(), Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: the stack was taken whole, and each reference in it is an owned count.
            let reference = unsafe { &*next };
            let after = reference.next.swap(list, Ordering::Relaxed);
            list = next;
            next = after;
        }
        let mut count = 0;
        while !list.is_null() {
            // SAFETY: one count, from `push`.
            let reference = unsafe { Arc::from_raw(list.cast_const()) };
            list = reference.next.load(Ordering::Relaxed);
            reference.release();
            count += 1;
        }
        count
    }

    fn push(&self, reference: Arc<Reference>) {
        let node = Arc::into_raw(reference).cast_mut();
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            // SAFETY: ours until the exchange succeeds.
            unsafe { (*node).next.store(first, Ordering::Relaxed) };
            match self.first.compare_exchange_weak(first, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => first = now,
            }
        }
        if first.is_null() && !is_releasing() {
            self.ring();
        }
    }
}

/// One message of the host's.
struct Reference {
    data: *const u8,
    len: usize,
    context: *mut c_void,
    release: Release,
    state: AtomicU8,
    next: AtomicPtr<Reference>,
    releases: Arc<Releases>,
}

// SAFETY: the host promises that its memory and its context may be used from any thread.
unsafe impl Send for Reference {}
// SAFETY: as above; what changes is atomic.
unsafe impl Sync for Reference {}

/// Not known yet whether it is accepted.
const OFFERED: u8 = 0;
/// Accepted: the host is to be told.
const ACCEPTED: u8 = 1;
/// No longer used, before it was known that it is accepted.
const UNUSED: u8 = 2;

impl Reference {
    fn release(&self) {
        self.releases.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.releases.outstanding_bytes.fetch_sub(self.len as u64, Ordering::Relaxed);
        // SAFETY: the host's function with the host's arguments, once.
        unsafe { (self.release)(self.context, self.data.cast(), self.len) };
    }
}

/// Keeps the message for the engine.
struct Owner(Arc<Reference>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the host leaves the bytes alone until it is told.
        unsafe { std::slice::from_raw_parts(self.0.data, self.0.len) }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Before it is accepted, `accept` has the last word.
        if self.0.state.swap(UNUSED, Ordering::AcqRel) == ACCEPTED {
            self.0.releases.push(self.0.clone());
        }
    }
}

/// A message that is offered to the engine.
pub struct Offer(Arc<Reference>);

impl Offer {
    /// `bytes` as the engine takes them. If the offer is dropped without [`Offer::accept`] the host is never told.
    pub fn new(bytes: &[u8], release: Release, context: *mut c_void, releases: &Arc<Releases>) -> (Self, Bytes) {
        let reference = Arc::new(Reference {
            data: bytes.as_ptr(),
            len: bytes.len(),
            context,
            release,
            state: AtomicU8::new(OFFERED),
            next: AtomicPtr::new(ptr::null_mut()),
            releases: releases.clone(),
        });
        let owner = Owner(reference.clone());
        (Self(reference), Bytes::from_owner(owner))
    }

    /// The engine has taken it: from now on it will be released, once.
    pub fn accept(self) {
        let releases = &self.0.releases;
        releases.outstanding.fetch_add(1, Ordering::Relaxed);
        releases.outstanding_bytes.fetch_add(self.0.len as u64, Ordering::Relaxed);
        if self.0.state.swap(ACCEPTED, Ordering::AcqRel) == UNUSED {
            releases.push(self.0.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    unsafe extern "C" fn count(context: *mut c_void, _: *const c_void, len: usize) {
        // SAFETY: the test's counter.
        let counter = unsafe { &*context.cast::<AtomicUsize>() };
        counter.fetch_add(len, Ordering::SeqCst);
    }

    fn releases() -> Arc<Releases> {
        Arc::new(Releases::new(Bell::new().unwrap()))
    }

    #[test]
    fn a_message_is_released_once_and_only_when_asked() {
        let releases = releases();
        let counter = AtomicUsize::new(0);
        let context = ptr::from_ref(&counter).cast_mut().cast();
        let data = [7u8; 10];
        // Used up before and after it is known to be accepted.
        let (offer, bytes) = Offer::new(&data, count, context, &releases);
        drop(bytes);
        offer.accept();
        let (offer, bytes) = Offer::new(&data, count, context, &releases);
        offer.accept();
        let again = bytes.clone();
        drop(bytes);
        assert_eq!(releases.outstanding(), (2, 20));
        assert_eq!(releases.run(|| ()), 1);
        assert_eq!(counter.load(Ordering::SeqCst), 10);
        assert_eq!(releases.run(|| drop(again)), 1);
        assert_eq!(releases.run(|| ()), 0);
        assert_eq!(counter.load(Ordering::SeqCst), 20);
        assert_eq!(releases.outstanding(), (0, 0));
    }

    #[test]
    fn a_refused_message_is_never_released() {
        let releases = releases();
        let counter = AtomicUsize::new(0);
        let (offer, bytes) = Offer::new(&[1], count, ptr::from_ref(&counter).cast_mut().cast(), &releases);
        drop(offer);
        assert_eq!(releases.run(|| drop(bytes)), 0);
        assert_eq!(counter.load(Ordering::SeqCst), 0);
    }
}
