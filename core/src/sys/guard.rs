//! Test knob (feature `guard-pages`): an allocator that lets nobody use memory after its release, not even the kernel.
//!
//! Each larger block lies on pages of its own, up against a page that cannot be touched; a released one cannot be touched any
//! more either. So an operation of the kernel's on a buffer that is gone ends with `EFAULT`, and ours with SIGSEGV: no
//! tool that watches the process's own instructions sees what the kernel writes.
//!
//! Safety: blocks are whole mappings that nobody else knows of, of the size that was asked for and at its alignment.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Smaller blocks are the system allocator's: no buffer of the engine's is that small.
const OWN_PAGES_FROM: usize = 256;
const PAGE: usize = 4096;
/// Released blocks whose addresses are not used again yet. Each may take two of the 65,530 mappings of a process.
const KEPT: usize = 8192;

/// See the module's head.
pub struct GuardAllocator {
    /// The latest released blocks: first page and count of pages in one word.
    released: [AtomicU64; KEPT],
    count: AtomicUsize,
}

const COUNT_BITS: u32 = 28;

impl GuardAllocator {
    /// For `#[global_allocator]`.
    pub const fn new() -> Self {
        Self { released: [const { AtomicU64::new(0) }; KEPT], count: AtomicUsize::new(0) }
    }

    /// Keeps a released block's addresses, and lets go of the oldest such.
    fn keep(&self, start: usize, bytes: usize) {
        let at = self.count.fetch_add(1, Ordering::Relaxed) % KEPT;
        let now = ((start / PAGE) as u64) << COUNT_BITS | (bytes / PAGE) as u64;
        let oldest = self.released[at].swap(now, Ordering::Relaxed);
        if oldest != 0 {
            let start = (oldest >> COUNT_BITS) as usize * PAGE;
            let bytes = (oldest & ((1 << COUNT_BITS) - 1)) as usize * PAGE;
            // SAFETY: a whole mapping of ours, released long ago.
            unsafe { libc::munmap(ptr::without_provenance_mut(start), bytes) };
        }
    }
}

fn has_own_pages(layout: Layout) -> bool {
    layout.size() >= OWN_PAGES_FROM && layout.align() <= PAGE
}

/// Pages for the block alone, and bytes from their start to the block, which ends where they end.
fn shape(layout: Layout) -> (usize, usize) {
    let pages = layout.size().next_multiple_of(PAGE);
    (pages, (pages - layout.size()) / layout.align() * layout.align())
}

/// A mapping, all zero or untouchable; anywhere, or over one that there is.
fn map(at: *mut libc::c_void, bytes: usize, protection: i32) -> *mut libc::c_void {
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: at a null address the kernel finds room; other addresses are the callers' own mappings.
    unsafe { libc::mmap(at, bytes, protection, flags, -1, 0) }
}

// SAFETY: what is handed out are new mappings (or the system allocator's blocks) of the asked size and alignment, and nothing is
// handed out twice before its release.
unsafe impl GlobalAlloc for GuardAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !has_own_pages(layout) {
            // SAFETY: passed on as it came.
            return unsafe { System.alloc(layout) };
        }
        let (pages, before) = shape(layout);
        let start = map(ptr::null_mut(), pages + PAGE, libc::PROT_NONE);
        if start == libc::MAP_FAILED {
            return ptr::null_mut();
        }
        // SAFETY: the first part of the mapping just made.
        if unsafe { libc::mprotect(start, pages, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return ptr::null_mut();
        }
        start.cast::<u8>().wrapping_add(before)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if has_own_pages(layout) {
            // SAFETY: passed on as it came; new mappings are zero.
            return unsafe { self.alloc(layout) };
        }
        // SAFETY: passed on as it came.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !has_own_pages(layout) {
            // SAFETY: passed on as it came.
            return unsafe { System.dealloc(block, layout) };
        }
        let (pages, before) = shape(layout);
        let start = block.wrapping_sub(before).cast();
        map(start, pages, libc::PROT_NONE);
        self.keep(start.addr(), pages + PAGE);
    }
}
