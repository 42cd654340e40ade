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

use super::area::{Area, INLINE_MAX};
use super::cursor::Cursor;
use super::error::{Refused, RingError};
use super::made::Made;
use super::payload::Payload;
use super::readers::{Clock, GaveUp, Readers};
use super::record::{ATTRIBUTES_MAX, Form, Head, Position, RecordKind, WORDS_BYTES, Words};
use super::signal::{Room, Sleepers};
use super::sync::{Ordering, fence};
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
    pub(crate) readers: Arc<Readers>,
    pub(crate) sleepers: Sleepers,
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
        let set = Arc::new(Readers::new(readers, u64::MAX >> (READERS_MAX - readers)));
        let ring = Arc::new(Ring {
            main: Area::new(bytes, &set, origin)?,
            critical: Area::new(critical_bytes, &set, origin)?,
            made: Made::new(),
            readers: set,
            sleepers: Sleepers::new(readers),
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
            Position(
                self.main.publish(Words::new(head), payload, 0).map_err(|refused| self.refused(&self.main, refused))?,
            )
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
        let published = self.critical.publish(Words::new(head), payload, after);
        published.map(Position::critical).map_err(|refused| self.refused(&self.critical, refused))
    }

    /// As [`Ring::try_publish`], of a message with attributes: at most [`ATTRIBUTES_MAX`](super::ATTRIBUTES_MAX) bytes, which take
    /// room beside the payload.
    ///
    /// # Errors
    /// [`Refused`]; nothing was published.
    pub fn try_publish_with(&self, head: &Head, attributes: &[u8], payload: &[u8]) -> Result<Position, Refused> {
        debug_assert!(head.kind == RecordKind::Message);
        let words = Words::new(head);
        let position = if head.is_critical() {
            let after = self.made.end_of(head.topic);
            Position::critical(self.copy_with(&self.critical, words, attributes, payload, after)?)
        } else {
            Position(self.copy_with(&self.main, words, attributes, payload, 0)?)
        };
        self.wake_sleepers();
        Ok(position)
    }

    fn copy_with<const HEAD: usize>(
        &self,
        area: &Area<HEAD>,
        words: Words,
        attributes: &[u8],
        payload: &[u8],
        after: u64,
    ) -> Result<u64, Refused> {
        if attributes.len() > ATTRIBUTES_MAX || attributes.len() + payload.len() > area.inline_max {
            return Err(Refused::TooLarge);
        }
        area.publish_with(words, attributes, payload, after).map_err(|refused| self.refused(area, refused))
    }

    #[cold]
    fn copy_about_topic(&self, head: &Head, payload: &[u8]) -> Result<Position, Refused> {
        if payload.len() > self.main.inline_max {
            return Err(Refused::TooLarge);
        }
        let bytes = Area::<HEAD_BYTES>::span(payload.len());
        let (from, start) = self.main.reserve(bytes).map_err(|refused| self.refused(&self.main, refused))?;
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
            let after = self.made.end_of(head.topic);
            self.critical
                .publish_many(words, payloads, after)
                .map_err(|refused| self.refused(&self.critical, refused))?
        } else {
            self.main.publish_many(words, payloads, 0).map_err(|refused| self.refused(&self.main, refused))?
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
        self.try_publish_shared_with(head, b"", payload)
    }

    /// The same, with attributes: at most [`ATTRIBUTES_MAX`](super::ATTRIBUTES_MAX) bytes.
    ///
    /// # Errors
    /// [`Refused`], and the payload back; nothing was published.
    pub fn try_publish_shared_with(
        &self,
        head: &Head,
        attributes: &[u8],
        payload: Payload,
    ) -> Result<Position, (Refused, Payload)> {
        debug_assert!(head.kind == RecordKind::Message);
        let words = Words::new(head);
        if head.is_critical() {
            let after = self.made.end_of(head.topic);
            self.share(&self.critical, words, attributes, payload, after).map(Position::critical)
        } else {
            self.share(&self.main, words, attributes, payload, 0).map(Position)
        }
    }

    fn share<const HEAD: usize>(
        &self,
        area: &Area<HEAD>,
        words: Words,
        attributes: &[u8],
        payload: Payload,
        after: u64,
    ) -> Result<u64, (Refused, Payload)> {
        if attributes.len() > ATTRIBUTES_MAX.min(area.inline_max) {
            return Err((Refused::TooLarge, payload));
        }
        if area.is_closed() {
            return Err((Refused::Stopped, payload));
        }
        let Some(slot) = area.take_slot() else {
            return Err((self.refused(area, Refused::Full), payload));
        };
        let (from, start) = match area.reserve(Area::<HEAD>::span(attributes.len())) {
            Ok(reserved) => reserved,
            Err(refused) => {
                area.shared.put_back(slot);
                return Err((self.refused(area, refused), payload));
            }
        };
        let bytes = payload.len();
        // Relaxed: a reader too many is found out below.
        let owners = self.readers.live.load(Ordering::Relaxed);
        // SAFETY: the slot was just taken and no record names it yet.
        unsafe { area.shared.fill(slot, payload, owners, start) };
        area.pad(from, start);
        let words = words.with_form(Form::Shared(slot));
        let record = match attributes {
            [] => area.write_head(start, words, 0, after),
            _ => area.write_behind_head(start, words.with_attributes(attributes.len()), [attributes, b""], after),
        };
        usdt::publish(record.as_ptr(), bytes as u64, start);
        area.commit(start);
        self.wake_sleepers();
        // A reader that is dropped clears its bit in `live`, passes a full fence and then gives up its share in every slot.
        // We filled the slot, passed the full fence in `wake_sleepers` and now look at `live`: so either it saw
        // our slot, or we see that it is gone and give up its share ourselves. Both is harmless.
        let gone = owners & !self.readers.live.load(Ordering::Relaxed);
        if gone != 0 {
            area.give_up(slot, gone);
            // Perhaps that freed the slot, after the reader told the waiting producers that it is gone.
            area.room.announce();
        }
        Ok(start)
    }

    /// A publish is refused. Where it is for want of room: readers that sleep behind a hole are woken, for it counts as unread; and
    /// whoever has held the others back for too long is passed over, which the next attempt will see.
    #[cold]
    fn refused<const HEAD: usize>(&self, area: &Area<HEAD>, refused: Refused) -> Refused {
        if refused == Refused::Full {
            self.wake_sleepers();
            if let Some(clock) = self.readers.clock.get()
                && let Some(reader) = area.stalled_reader(clock())
            {
                self.pass_over(reader);
            }
        }
        refused
    }

    /// From now on each publish that finds the ring full asks `clock` (monotonic nanoseconds) and looks whether a reader stands
    /// still. The first clock stays. Without one, a ring waits for its readers for ever.
    pub fn watch_standstill(&self, clock: Clock) {
        let _ = self.readers.clock.set(clock);
    }

    /// True if [`Ring::watch_standstill`] was called.
    pub(crate) fn watches_standstill(&self) -> bool {
        self.readers.clock.get().is_some()
    }

    /// Looks, at `now_ns` of a monotonic clock, whether a reader has stood still for [`STANDSTILL_NS`](super::STANDSTILL_NS) while
    /// others have read on, as far as earlier looks have seen. One that has is passed over, and named. For who finds the ring full.
    pub fn look_for_standstill(&self, now_ns: u64) -> Option<usize> {
        let stalled = self.main.stalled_reader(now_ns).or_else(|| self.critical.stalled_reader(now_ns));
        stalled.filter(|&reader| self.pass_over(reader))
    }

    /// Waits for this reader no more: see [`readers`](super::readers). False: it was not waited for, or it is the last one.
    pub fn pass_over(&self, reader: usize) -> bool {
        if reader >= self.readers.count || self.readers.give_up(reader) != GaveUp::Now {
            return false;
        }
        // Orders that before the look at the shares, and at who waits for room.
        fence(Ordering::SeqCst);
        self.main.reap_all();
        self.critical.reap_all();
        self.main.room.announce();
        self.critical.room.announce();
        self.sleepers.wake(1 << reader);
        true
    }

    /// True while the ring waits for this reader: it is neither gone nor passed over.
    pub fn awaits(&self, reader: usize) -> bool {
        reader < self.readers.count && self.readers.is_awaited(reader)
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
        if index < self.readers.count {
            self.sleepers.wake(1 << index);
        }
    }
}

const _: () = assert!(ATTRIBUTES_MAX < INLINE_MAX, "they fit beside a payload by reference");
const _: () = assert!(INLINE_MAX <= RING_BYTES_MIN / 2 - CRITICAL_HEAD_BYTES, "what is copied fits in each area");
