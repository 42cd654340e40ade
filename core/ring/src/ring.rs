//! The ring: two areas, who reads them, who sleeps, and the ways to publish.
//!
//! Critical messages have an area of their own, so that no flood of others takes their room, and readers look there first. All
//! else goes through the main area: a lane's messages are all in one of the two, so every reader sees them in the same order.
//! A record that makes a topic is in the main area; each critical record carries how far that was (`made`), and is held back until
//! its reader has come so far. Never by more: what else stands in the main area delays it nowhere.
//!
//! Knows areas and readers; must never know what records mean, but for these: a critical message, the making of a topic.
//!
//! # Unsafe contract
//! A slot of shared payloads is filled once, by who took it.

#![allow(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::area::{Area, INLINE_MAX};
use super::cursor::Cursor;
use super::error::{Refused, RingError};
use super::made::Made;
use super::payload::Payload;
use super::record::{Form, Head, Position, RecordKind, WORDS_BYTES, Words};
use super::signal::{Room, Sleepers};
use super::sync::{AtomicU64, Ordering, fence};
use crate::usdt;

/// Size of a ring unless configured otherwise.
pub const RING_BYTES_DEFAULT: usize = 16 << 20;
/// Smallest ring.
pub const RING_BYTES_MIN: usize = 64 << 10;
/// Largest ring.
pub const RING_BYTES_MAX: usize = 4 << 30;
/// Most readers: one bit each in a word.
pub const READERS_MAX: usize = 64;

/// Where a payload begins in the main area.
pub(crate) const HEAD_BYTES: usize = WORDS_BYTES;
/// The same in the critical area: a word more, see [`Made`].
pub(crate) const CRITICAL_HEAD_BYTES: usize = WORDS_BYTES + 8;

/// A bounded broadcast ring: any number of producers, a fixed set of readers, one order for all records of a lane.
pub struct Ring {
    pub(crate) main: Area<HEAD_BYTES>,
    pub(crate) critical: Area<CRITICAL_HEAD_BYTES>,
    made: Made,
    /// The readers that are not gone, one bit each.
    pub(crate) live: CachePadded<AtomicU64>,
    pub(crate) sleepers: Sleepers,
    readers: usize,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("capacity", &self.capacity())
            .field("tail", &self.main.tail())
            .field("critical_tail", &self.critical.tail())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// Bytes of the critical area beside a main area of `bytes`: an eighth, but room for the largest records that are copied.
const fn critical_bytes(bytes: usize) -> usize {
    if bytes / 8 < RING_BYTES_MIN { RING_BYTES_MIN } else { bytes / 8 }
}

impl Ring {
    /// A ring whose areas have these sizes (powers of two from 4 units on) and begin at `origin`, and the places of its readers.
    pub(crate) fn with_cursors(
        bytes: usize,
        critical_bytes: usize,
        readers: usize,
        origin: u64,
    ) -> Result<(Arc<Ring>, Vec<Cursor>), RingError> {
        if !(1..=READERS_MAX).contains(&readers) {
            return Err(RingError::Readers(readers));
        }
        let ring = Arc::new(Ring {
            main: Area::new(bytes, readers, origin)?,
            critical: Area::new(critical_bytes, readers, origin)?,
            made: Made::new(),
            live: CachePadded::new(AtomicU64::new(u64::MAX >> (READERS_MAX - readers))),
            sleepers: Sleepers::new(readers),
            readers,
        });
        let cursors = (0..readers).map(|index| Cursor::new(&ring, index, origin)).collect();
        Ok((ring, cursors))
    }

    /// The sizes of the two areas of a ring of `bytes`.
    ///
    /// # Errors
    /// [`RingError::Size`] for a size out of bounds.
    pub(crate) fn sizes(bytes: usize) -> Result<(usize, usize), RingError> {
        if !bytes.is_power_of_two() || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&bytes) {
            return Err(RingError::Size(bytes));
        }
        Ok((bytes, critical_bytes(bytes)))
    }

    /// What a ring of `bytes` takes from the system, without [`Ring::critical_footprint`]: the main area, 1/16 for its marks, and 1/128
    /// for shared payloads.
    pub const fn footprint(bytes: usize, readers: usize) -> usize {
        Area::<HEAD_BYTES>::footprint(bytes, readers) + readers * 128 + size_of::<Ring>()
    }

    /// What the critical area of a ring of `bytes` takes, and the table of where up to `topics` topics were made.
    pub const fn critical_footprint(bytes: usize, readers: usize, topics: usize) -> usize {
        Area::<CRITICAL_HEAD_BYTES>::footprint(critical_bytes(bytes), readers) + Made::footprint(topics)
    }

    /// Bytes of the main area.
    pub fn capacity(&self) -> u64 {
        self.main.capacity()
    }

    /// What every reader has released of the main area: records that begin before it have been read by all.
    pub fn slowest_reader(&self) -> Position {
        Position(self.main.slowest_reader())
    }

    /// Bytes between the slowest reader's released position and the newest reservation, both areas together: what is queued, within
    /// one moment's inaccuracy.
    pub fn used_bytes(&self) -> u64 {
        self.main.used_bytes() + self.critical.used_bytes()
    }

    /// Publishes one record with its payload copied. Never waits.
    ///
    /// # Errors
    /// [`Refused`]; nothing was published.
    #[inline]
    pub fn try_publish(&self, head: &Head, payload: &[u8]) -> Result<Position, Refused> {
        let position = if head.is_critical() {
            self.copy_critical(head, payload)?
        } else if head.kind == RecordKind::Message {
            if payload.len() > self.main.inline_max {
                return Err(Refused::TooLarge);
            }
            Position(self.main.publish(Words::new(head), payload, 0)?)
        } else {
            self.copy_about_topic(head, payload)?
        };
        self.wake_sleepers();
        Ok(position)
    }

    #[inline(never)]
    fn copy_critical(&self, head: &Head, payload: &[u8]) -> Result<Position, Refused> {
        if payload.len() > self.critical.inline_max {
            return Err(Refused::TooLarge);
        }
        let after = self.made.end_of(head.topic);
        self.critical.publish(Words::new(head), payload, after).map(Position::critical)
    }

    #[cold]
    fn copy_about_topic(&self, head: &Head, payload: &[u8]) -> Result<Position, Refused> {
        if payload.len() > self.main.inline_max {
            return Err(Refused::TooLarge);
        }
        let bytes = Area::<HEAD_BYTES>::span(payload.len());
        let (from, start) = self.main.reserve(bytes)?;
        if head.kind == RecordKind::TopicCreated {
            self.made.note(head.topic, start + bytes);
        }
        self.main.pad(from, start);
        self.main.write(start, Words::new(head), payload, 0);
        Ok(Position(start))
    }

    /// Publishes as many of `payloads` as there is room for, in order and with nothing in between, by one reservation and
    /// one wake. Returns how many: fewer than all if the ring is full or the next one is too large. For messages.
    ///
    /// # Errors
    /// [`Refused`] if not even the first was taken.
    pub fn try_publish_many(&self, head: &Head, payloads: &[&[u8]]) -> Result<usize, Refused> {
        debug_assert!(head.kind == RecordKind::Message);
        let words = Words::new(head);
        let accepted = if head.is_critical() {
            self.critical.publish_many(words, payloads, self.made.end_of(head.topic))?
        } else {
            self.main.publish_many(words, payloads, 0)?
        };
        if accepted > 0 {
            self.wake_sleepers();
        }
        Ok(accepted)
    }

    /// Publishes one message that refers to `payload`, of any size. Never waits.
    ///
    /// The last reader that goes on to the next record drops the ring's reference.
    ///
    /// # Errors
    /// [`Refused`], and the payload back; nothing was published.
    pub fn try_publish_shared(&self, head: &Head, payload: Payload) -> Result<Position, (Refused, Payload)> {
        debug_assert!(head.kind == RecordKind::Message);
        if head.is_critical() {
            self.share(&self.critical, head, payload, self.made.end_of(head.topic)).map(Position::critical)
        } else {
            self.share(&self.main, head, payload, 0).map(Position)
        }
    }

    fn share<const HEAD: usize>(
        &self,
        area: &Area<HEAD>,
        head: &Head,
        payload: Payload,
        after: u64,
    ) -> Result<u64, (Refused, Payload)> {
        if area.is_closed() {
            return Err((Refused::Stopped, payload));
        }
        let Some(slot) = area.shared.take_slot() else {
            return Err((Refused::Full, payload));
        };
        let (from, start) = match area.reserve(Area::<HEAD>::span(0)) {
            Ok(reserved) => reserved,
            Err(refused) => {
                area.shared.put_back(slot);
                return Err((refused, payload));
            }
        };
        let bytes = payload.len();
        // Relaxed: a reader too many is found out below.
        let owners = self.live.load(Ordering::Relaxed);
        // SAFETY: the slot was just taken and no record names it yet.
        unsafe { area.shared.fill(slot, payload, owners) };
        area.pad(from, start);
        let record = area.write_head(start, Words::new(head).with_form(Form::Shared(slot)), 0, after);
        usdt::publish(record.as_ptr(), bytes as u64, start);
        area.commit(start);
        self.wake_sleepers();
        // A reader that is dropped clears its bit in `live`, passes a full fence and then gives up its share in every slot.
        // We filled the slot, passed the full fence in `wake_sleepers` and now look at `live`: so either it saw
        // our slot, or we see that it is gone and give up its share ourselves. Both is harmless.
        let gone = owners & !self.live.load(Ordering::Relaxed);
        if gone != 0 {
            area.shared.give_up(slot, gone);
            // Perhaps that freed the slot, after the reader told the waiting producers that it is gone.
            area.room.announce();
        }
        Ok(start)
    }

    /// Refuses all records from now on. What was reserved before is still read: a reader is at the end when
    /// `Reader::is_finished`. Wakes everybody who waits.
    pub fn close(&self) {
        self.main.close();
        self.critical.close();
        fence(Ordering::SeqCst);
        self.main.room.announce();
        self.critical.room.announce();
        self.sleepers.wake_after_fence();
    }

    /// True once records are refused.
    pub fn is_closed(&self) -> bool {
        self.main.is_closed()
    }

    /// The producers that wait for the room which a record with this head takes.
    pub(crate) fn room_for(&self, head: &Head) -> &Room {
        if head.is_critical() { &self.critical.room } else { &self.main.room }
    }

    /// Wakes the readers that sleep. Every publish does this itself.
    #[inline]
    pub fn wake_sleepers(&self) {
        // Orders what was committed before the look at who sleeps. See `signal`.
        fence(Ordering::SeqCst);
        self.sleepers.wake_after_fence();
    }

    /// Wakes one reader if it sleeps, for news that it gets by another way than the ring. The news must be in place, and
    /// the reader must look for them after `Reader::prepare_sleep`.
    pub fn wake_reader(&self, index: usize) {
        fence(Ordering::SeqCst);
        if index < self.readers {
            self.sleepers.wake(1 << index);
        }
    }
}

const _: () = assert!(INLINE_MAX <= RING_BYTES_MIN / 2 - CRITICAL_HEAD_BYTES, "what is copied fits in each area");
