//! What the threads of the ring and of the pool share: from the standard library; from loom when a model tries every
//! interleaving (`--features loom`); from shuttle when a larger model tries many (`--features shuttle`). Nothing else in this
//! crate names an atomic type.

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(super) use model::*;
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(super) use real::*;

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod real {
    pub(crate) use crossbeam_queue::ArrayQueue;
    use std::sync::OnceLock;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    use std::time::Duration;

    use crate::futex;

    /// `std::cell::UnsafeCell` with loom's interface.
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    /// Watches plain memory for data races in loom models; here it is nothing.
    pub(crate) struct Watch;

    impl Watch {
        pub(crate) fn new(_cells: usize) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn read(&self, _cells: impl FnOnce() -> std::ops::Range<usize>) {}

        #[inline(always)]
        pub(crate) fn write(&self, _cells: impl FnOnce() -> std::ops::Range<usize>) {}
    }

    /// A table in pieces that come to be when they are first needed, and stay.
    pub(crate) struct Pieces<T>(Box<[OnceLock<Box<[T]>>]>);

    impl<T> Pieces<T> {
        pub(crate) fn new(pieces: usize) -> Self {
            Self((0..pieces).map(|_| OnceLock::new()).collect())
        }

        #[inline]
        pub(crate) fn get(&self, piece: usize) -> Option<&[T]> {
            self.0[piece].get().map(|piece| &**piece)
        }

        pub(crate) fn get_or_make(&self, piece: usize, make: impl FnOnce() -> Box<[T]>) -> &[T] {
            self.0[piece].get_or_init(make)
        }
    }

    /// When a wait ends.
    pub(crate) use futex::Deadline;

    /// A counter that threads can sleep on.
    pub(crate) struct Bell(AtomicU32);

    impl Bell {
        pub(crate) fn new() -> Self {
            Self(AtomicU32::new(0))
        }

        pub(crate) fn strikes(&self) -> u32 {
            self.0.load(Ordering::Acquire)
        }

        pub(crate) fn strike(&self) {
            self.0.fetch_add(1, Ordering::AcqRel);
            futex::wake_all(&self.0);
        }

        /// Sleeps unless there was a strike since `seen`. False: the deadline has passed.
        pub(crate) fn wait(&self, seen: u32, deadline: Deadline) -> bool {
            futex::wait_until(&self.0, seen, deadline)
        }
    }

    /// Stores with Release, into a word that others may exchange at the same time.
    #[inline(always)]
    pub(crate) fn store_release(word: &AtomicU32, value: u32) {
        word.store(value, Ordering::Release);
    }

    /// The deadline `wait` from now.
    pub(crate) fn deadline_after(wait: Duration) -> Deadline {
        Deadline::after(wait)
    }
}

#[cfg(feature = "loom")]
mod explorer {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Condvar, Mutex};

    pub(crate) type Watched = UnsafeCell<()>;
}

#[cfg(all(feature = "shuttle", not(feature = "loom")))]
mod explorer {
    pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use shuttle::sync::{Condvar, Mutex};

    const WRITER: u32 = 1 << 31;

    /// Shuttle has no cells. This takes a moment in which others may run, and finds them out if they do what they must not.
    pub(crate) struct Watched {
        /// Readers within, or [`WRITER`].
        within: AtomicU32,
    }

    impl Watched {
        pub(crate) fn new((): ()) -> Self {
            Self { within: AtomicU32::new(0) }
        }

        pub(crate) fn with<R>(&self, read: impl FnOnce(()) -> R) -> R {
            assert!(self.within.fetch_add(1, Ordering::SeqCst) < WRITER, "read while it is written");
            let result = read(());
            self.within.fetch_sub(1, Ordering::SeqCst);
            result
        }

        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(()) -> R) -> R {
            assert!(self.within.swap(WRITER, Ordering::SeqCst) == 0, "written while it is used");
            let result = write(());
            self.within.store(0, Ordering::SeqCst);
            result
        }
    }

    pub(crate) struct UnsafeCell<T> {
        watched: Watched,
        value: std::cell::UnsafeCell<T>,
    }

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { watched: Watched::new(()), value: std::cell::UnsafeCell::new(value) }
        }

        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            self.watched.with(|()| read(self.value.get()))
        }

        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            self.watched.with_mut(|()| write(self.value.get()))
        }
    }
}

#[cfg(any(feature = "loom", feature = "shuttle"))]
mod model {
    use std::collections::VecDeque;
    use std::ops::Range;
    use std::time::Duration;

    pub(crate) use super::explorer::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, UnsafeCell, fence};
    use super::explorer::{Condvar, Mutex, Watched};

    /// crossbeam's queue is its own authors' to verify: here a lock stands for it, with the same happens-before.
    pub(crate) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { items: Mutex::new(VecDeque::new()), capacity }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.items.lock().unwrap().pop_front()
        }

        #[cfg(test)]
        pub(crate) fn is_empty(&self) -> bool {
            self.items.lock().unwrap().is_empty()
        }
    }

    /// One watched cell for each cell of plain memory: every access to the memory is told to it.
    pub(crate) struct Watch(Vec<Watched>);

    impl Watch {
        pub(crate) fn new(cells: usize) -> Self {
            Self((0..cells).map(|_| Watched::new(())).collect())
        }

        pub(crate) fn read(&self, cells: impl FnOnce() -> Range<usize>) {
            for i in cells() {
                self.0[i % self.0.len()].with(|_| ());
            }
        }

        pub(crate) fn write(&self, cells: impl FnOnce() -> Range<usize>) {
            for i in cells() {
                self.0[i % self.0.len()].with_mut(|_| ());
            }
        }
    }

    /// One piece of a few words, made at once: a model sees no `OnceLock`.
    pub(crate) struct Pieces<T>([T; 4]);

    impl Pieces<AtomicU64> {
        pub(crate) fn new(_pieces: usize) -> Self {
            Self(std::array::from_fn(|_| AtomicU64::new(0)))
        }

        pub(crate) fn get(&self, _piece: usize) -> Option<&[AtomicU64]> {
            Some(&self.0)
        }

        pub(crate) fn get_or_make(&self, _piece: usize, _make: impl FnOnce() -> Box<[AtomicU64]>) -> &[AtomicU64] {
            &self.0
        }
    }

    /// Models have no clock: a wait ends by a strike or not at all (then a deadlock is reported).
    #[derive(Clone, Copy, PartialEq, PartialOrd)]
    pub(crate) struct Deadline;

    /// Loom orders two stores of one word only by happens-before. It does not conclude, as the memory model does, that a
    /// store which an exchange did not read must come after that exchange, and would let a later load read the
    /// exchanged value. As an exchange the store has its place in the order; it acquires nothing.
    pub(crate) fn store_release(word: &AtomicU32, value: u32) {
        word.swap(value, Ordering::Release);
    }

    pub(crate) fn deadline_after(_wait: Duration) -> Deadline {
        Deadline
    }

    pub(crate) struct Bell {
        strikes: AtomicU32,
        lock: Mutex<()>,
        struck: Condvar,
    }

    impl Bell {
        pub(crate) fn new() -> Self {
            Self { strikes: AtomicU32::new(0), lock: Mutex::new(()), struck: Condvar::new() }
        }

        pub(crate) fn strikes(&self) -> u32 {
            self.strikes.load(Ordering::Acquire)
        }

        pub(crate) fn strike(&self) {
            self.strikes.fetch_add(1, Ordering::AcqRel);
            drop(self.lock.lock().unwrap());
            self.struck.notify_all();
        }

        pub(crate) fn wait(&self, seen: u32, _deadline: Deadline) -> bool {
            let mut guard = self.lock.lock().unwrap();
            while self.strikes.load(Ordering::Acquire) == seen {
                guard = self.struck.wait(guard).unwrap();
            }
            true
        }
    }
}
