//! Memory that a forked child finds zeroed, and the fence for all threads.
//!
//! # Contract of the unsafe code
//! System calls with arguments that are ours; a mapping handed out is valid, zeroed and never unmapped, but for one
//! that its only owner gives back.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// `bytes` of zeroed memory, taken from the system page by page as it is touched, zeroed again in a forked child.
pub fn map_wiped(bytes: usize) -> io::Result<NonNull<u8>> {
    let start = map(ptr::null_mut(), bytes, 0)?;
    // SAFETY: the mapping just made.
    let wiped = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_WIPEONFORK) };
    if wiped != 0 {
        // Linux before 4.14, or a sandbox: by hand, which covers fork(), though not a bare clone().
        wipe_by_hand(start, bytes);
    }
    Ok(start)
}

/// Gives back what nobody else knows of.
pub fn unmap(start: NonNull<u8>, bytes: usize) {
    for (at, _) in &BY_HAND {
        let _ = at.compare_exchange(start.as_ptr(), ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
    }
    // SAFETY: the caller is the mapping's only owner.
    unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
}

fn map(at: *mut libc::c_void, bytes: usize, flags: i32) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags;
    // SAFETY: a new anonymous mapping; with MAP_FIXED only over one that is ours.
    let start = unsafe { libc::mmap(at, bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Most mappings that are wiped by hand: more than all tables can have.
const BY_HAND_MAX: usize = 256;
static BY_HAND: [(AtomicPtr<u8>, AtomicUsize); BY_HAND_MAX] =
    [const { (AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0)) }; BY_HAND_MAX];
static BY_HAND_COUNT: AtomicU32 = AtomicU32::new(0);

#[cold]
fn wipe_by_hand(start: NonNull<u8>, bytes: usize) {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    if !IS_REGISTERED.swap(true, Ordering::AcqRel) {
        // SAFETY: the child's function only makes system calls, so it may run right after a fork.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
    let place = BY_HAND_COUNT.fetch_add(1, Ordering::AcqRel) as usize;
    if let Some((at, size)) = BY_HAND.get(place) {
        size.store(bytes, Ordering::Release);
        at.store(start.as_ptr(), Ordering::Release);
    }
}

extern "C" fn in_child() {
    for (at, size) in &BY_HAND {
        let at = at.load(Ordering::Acquire);
        if !at.is_null() {
            let _ = map(at.cast(), size.load(Ordering::Acquire), libc::MAP_FIXED);
        }
    }
}

const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;
const PRIVATE_EXPEDITED: i32 = 1 << 3;

/// Whether [`membarrier`] will work.
pub fn register_membarrier() -> bool {
    command(REGISTER_PRIVATE_EXPEDITED)
}

/// Every running thread of this process passes a full fence. A few microseconds.
pub fn membarrier() -> bool {
    command(PRIVATE_EXPEDITED)
}

fn command(command: i32) -> bool {
    // SAFETY: membarrier takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
