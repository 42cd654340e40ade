//! A counting allocator: bytes on the heap, of the whole process and of its shards.
//!
//! # Contract
//! The allocator hands every call to the system's unchanged; it only counts bytes, by whether the calling thread's name says that it
//! is a shard. Counting itself never allocates: a thread's name is asked of the kernel, once a thread.
#![allow(unsafe_code)]
#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Beginning of every shard thread's name.
const SHARD: &[u8] = b"fw-shard";

/// Bytes taken by shard threads less those given back by them.
pub fn by_shards() -> i64 {
    SHARDS.load(Ordering::Relaxed)
}

/// Bytes that the process holds.
pub fn by_all() -> i64 {
    SHARDS.load(Ordering::Relaxed) + OTHERS.load(Ordering::Relaxed)
}

static SHARDS: AtomicI64 = AtomicI64::new(0);
static OTHERS: AtomicI64 = AtomicI64::new(0);

struct Counting;

thread_local! {
    static IS_SHARD: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: i64) {
    let is_shard = IS_SHARD.with(|is_shard| {
        if !is_shard.get() {
            let mut name = [0u8; 16];
            // SAFETY: PR_GET_NAME writes at most 16 bytes, terminator included, to the given place.
            let got = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            is_shard.set(got == 0 && name.starts_with(SHARD));
        }
        is_shard.get()
    });
    if is_shard { &SHARDS } else { &OTHERS }.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every method passes its arguments to `System` unchanged and returns what it returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
