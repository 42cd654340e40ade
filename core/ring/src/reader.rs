//! A shard's side of the ring: read what is there, give the room back once per turn, sleep without missing anything.
//!
//! Knows when to sleep; must never know what the records mean. A turn looks like this:
//!
//! ```text
//! while let Some(record) = reader.next() { … }     // bounded by the shard
//! reader.release();
//! …
//! if reader.prepare_sleep() { wait for the driver's events or the waker }
//! reader.cancel_sleep();
//! ```

use std::fmt;
use std::sync::Arc;

use super::cursor::Cursor;
use super::error::RingError;
use super::record::{Position, Record, Standing};
use super::ring::Ring;
use super::signal::Waker;

impl Ring {
    /// A ring of `bytes` with `readers` readers, and the readers. Its memory is touched when first used.
    ///
    /// # Errors
    /// [`RingError`] for sizes out of bounds, or if there is no memory.
    pub fn new(bytes: usize, readers: usize) -> Result<(Arc<Ring>, Vec<Reader>), RingError> {
        let (main, critical) = Self::sizes(bytes)?;
        Self::with_areas(main, critical, readers, 0)
    }

    /// A ring of two areas of any power of two from 4 units on, whose first position is `origin`.
    pub(crate) fn with_areas(
        main: usize,
        critical: usize,
        readers: usize,
        origin: u64,
    ) -> Result<(Arc<Ring>, Vec<Reader>), RingError> {
        let (ring, cursors) = Self::with_cursors(main, critical, readers, origin)?;
        Ok((ring, cursors.into_iter().map(|cursor| Reader { cursor }).collect()))
    }

    /// The same with two areas of one size.
    #[cfg(test)]
    pub(crate) fn with_origin(
        bytes: usize,
        readers: usize,
        origin: u64,
    ) -> Result<(Arc<Ring>, Vec<Reader>), RingError> {
        Self::with_areas(bytes, bytes, readers, origin)
    }
}

/// One reader of the ring: sees every record, those of one lane in the one order that all readers see, and critical messages first.
///
/// Dropping it frees what it holds: it keeps no producer waiting. With the last one the ring closes.
pub struct Reader {
    cursor: Cursor,
}

impl Reader {
    /// This reader's number, from 0.
    pub fn index(&self) -> usize {
        self.cursor.index()
    }

    /// The next record, or `None` if it is not committed yet. A load of its mark (shared with the producers), then the
    /// record's own lines.
    ///
    /// `None`, too, where this reader was passed over, in which case [`Reader::is_passed_over`] is true from then on.
    ///
    /// A shared payload is given up by the next call; the room in the ring only by [`Reader::release`].
    ///
    /// # Panics
    /// If the ring's memory holds what no producer wrote (a bug of the ring).
    #[allow(clippy::should_implement_trait, reason = "it lends, which an Iterator cannot")]
    #[inline]
    pub fn next(&mut self) -> Option<Record<'_>> {
        self.cursor.next()
    }

    /// Gives the room of all records read so far back to the producers, and wakes those that wait for it. Once per turn: it
    /// costs a store, a full fence and a load.
    #[inline]
    pub fn release(&mut self) {
        self.cursor.release();
    }

    /// The position of the next record that is no critical message.
    pub fn position(&self) -> Position {
        self.cursor.position()
    }

    /// Bytes published and not yet read by this reader, heads and padding included.
    pub fn backlog_bytes(&self) -> u64 {
        self.cursor.backlog_bytes()
    }

    /// True if the ring is closed and this reader has read it to its end: nothing will ever come again.
    pub fn is_finished(&self) -> bool {
        self.cursor.is_finished()
    }

    /// True if the ring waits for this reader no more, and a call of [`Reader::next`] has found that out: there is nothing to read until
    /// it is let in again. [`readers`](super::readers) describes how.
    #[inline]
    pub fn is_passed_over(&self) -> bool {
        self.cursor.is_passed_over()
    }

    /// Where this reader stands.
    pub fn standing(&self) -> Standing {
        self.cursor.standing()
    }

    /// Where this reader stands when it has read all that was published by now.
    pub fn ahead(&self) -> Standing {
        self.cursor.ahead()
    }

    /// Lets a reader in again that was passed over, at this one's own place, where both have read the same from then on. False:
    /// nothing has changed; that reader has not noticed, has come further than this one, or is being let in by another, or this one is
    /// itself passed over.
    pub fn readmit(&mut self, other: usize) -> bool {
        self.cursor.readmit(other)
    }

    /// Whether somebody has let this reader, which was passed over, in again: then it reads on from the place that is given.
    pub fn rejoin(&mut self) -> Option<Standing> {
        self.cursor.rejoin()
    }

    /// Registers how to wake this reader; the first registration stays.
    pub fn set_waker(&self, waker: Waker) {
        self.cursor.set_waker(waker);
    }

    /// Says that this reader is about to sleep. True: it may; every later publish, and [`Ring::close`], calls its waker. False: it
    /// must not, because there is something to read, the ring is read to its end, or no waker is registered.
    ///
    /// Look at other sources that use [`Ring::wake_reader`] after this, before sleeping.
    pub fn prepare_sleep(&mut self) -> bool {
        if !self.cursor.announce_sleep() {
            return false;
        }
        // The second look, after the fence in `announce_sleep`.
        if self.cursor.has_news() || self.cursor.is_finished() {
            self.cursor.cancel_sleep();
            return false;
        }
        true
    }

    /// Says that this reader is awake, however it woke. Cheap, and harmless if it never slept.
    #[inline]
    pub fn cancel_sleep(&mut self) {
        self.cursor.cancel_sleep();
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("index", &self.index())
            .field("position", &self.position())
            .field("backlog_bytes", &self.backlog_bytes())
            .finish()
    }
}
