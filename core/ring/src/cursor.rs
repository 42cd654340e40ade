//! One reader's way through both areas.
//!
//! Knows which area is looked at when; must never know what records mean, but that a topic is made, changed or removed.
//!
//! # Unsafe contract
//! A record is on loan from `next` to the next call, which takes `&mut self`: only then is it released or its share given up.

#![allow(unsafe_code)]

use std::sync::Arc;

use super::area::{Area, Found, Place};
use super::record::{Body, Form, Position, Record};
use super::ring::Ring;
use super::signal::Waker;
use super::sync::{Ordering, fence};

/// So many critical records are read before one of the main area, if there is one: a flood of critical messages stops no others, nor
/// the topics that are made.
const CRITICAL_RUN: u32 = 64;

/// One reader's way through the ring. Never two with the same index.
pub(crate) struct Cursor {
    ring: Arc<Ring>,
    index: usize,
    main: Place,
    critical: Place,
    /// The shared payload that the last record lent out.
    held: Option<Held>,
    /// Critical records since the last one of the main area.
    run: u32,
    /// Before this record of the main area, about a topic, the critical records before that position are read.
    life: Life,
}

#[derive(Clone, Copy)]
enum Held {
    Main(u32),
    Critical(u32),
}

struct Life {
    at: u64,
    critical_before: u64,
}

impl Cursor {
    pub(crate) fn new(ring: &Arc<Ring>, index: usize, origin: u64) -> Self {
        Self {
            ring: Arc::clone(ring),
            index,
            main: Place::at(origin),
            critical: Place::at(origin),
            held: None,
            run: 0,
            life: Life { at: u64::MAX, critical_before: 0 },
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The position of the main area's next record, if it were committed.
    pub(crate) fn position(&self) -> Position {
        Position(self.main.next)
    }

    /// Bytes reserved and not yet read.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        self.ring.main.backlog_bytes(&self.main) + self.ring.critical.backlog_bytes(&self.critical)
    }

    /// True if the ring is closed and all that was reserved has been read.
    pub(crate) fn is_finished(&self) -> bool {
        self.ring.main.is_read_to_its_end(&self.main) && self.ring.critical.is_read_to_its_end(&self.critical)
    }

    /// True if there is something to read.
    pub(crate) fn has_news(&mut self) -> bool {
        self.ring.main.is_committed(self.main.next) || self.find_critical().is_some()
    }

    /// The next critical record, if it is there and need not wait for the main area.
    ///
    /// One that waits is no news: a record of the main area before its topic's is not committed yet, and will wake us.
    #[inline]
    fn find_critical(&mut self) -> Option<Found> {
        let found = self.ring.critical.look(&mut self.critical)?;
        (found.after <= self.main.next).then_some(found)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<Record<'_>> {
        self.finish_held();
        if let Some(found) = self.find_critical()
            && (self.run < CRITICAL_RUN || !self.ring.main.is_committed(self.main.next))
        {
            return Some(self.lend_critical(&found));
        }
        let found = self.ring.main.look(&mut self.main)?;
        if found.words.is_about_topic()
            && let Some(first) = self.find_critical_before(found.start)
        {
            return Some(self.lend_critical(&first));
        }
        self.run = 0;
        let Self { ring, main, held, .. } = self;
        Some(lend(&ring.main, main, &found, Position(found.start), |slot| *held = Some(Held::Main(slot))))
    }

    /// The next critical record, if it may have been published before the record at `start`, which is about a topic: when a
    /// topic is removed, all that was published on it before has been read.
    #[cold]
    fn find_critical_before(&mut self, start: u64) -> Option<Found> {
        if self.life.at != start {
            self.life = Life { at: start, critical_before: self.ring.critical.tail() };
        }
        if self.critical.next < self.life.critical_before { self.find_critical() } else { None }
    }

    fn lend_critical(&mut self, found: &Found) -> Record<'_> {
        self.run = self.run.saturating_add(1);
        let Self { ring, critical, held, .. } = self;
        let position = Position::critical(found.start);
        lend(&ring.critical, critical, found, position, |slot| *held = Some(Held::Critical(slot)))
    }

    /// Gives the room of all records read so far back to the producers.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.finish_held();
        let ring = &*self.ring;
        let main = ring.main.release(self.index, &mut self.main);
        let critical = ring.critical.release(self.index, &mut self.critical);
        if main || critical {
            // Orders the released positions before the look at who waits. See `signal`.
            fence(Ordering::SeqCst);
            ring.main.announce_room_after_fence();
            ring.critical.announce_room_after_fence();
        }
    }

    /// Gives up this reader's share of the shared payload it was lent.
    #[inline]
    fn finish_held(&mut self) {
        match self.held.take() {
            None => {}
            Some(Held::Main(slot)) => self.ring.main.shared.give_up(slot, 1 << self.index),
            Some(Held::Critical(slot)) => self.ring.critical.shared.give_up(slot, 1 << self.index),
        }
    }

    /// See [`Sleepers::announce`](super::signal::Sleepers::announce).
    pub(crate) fn announce_sleep(&self) -> bool {
        self.ring.sleepers.announce(self.index)
    }

    /// See [`Sleepers::cancel`](super::signal::Sleepers::cancel).
    pub(crate) fn cancel_sleep(&self) {
        self.ring.sleepers.cancel(self.index);
    }

    /// See [`Sleepers::set_waker`](super::signal::Sleepers::set_waker).
    pub(crate) fn set_waker(&self, waker: Waker) {
        self.ring.sleepers.set_waker(self.index, waker);
    }
}

/// Lends the record that was found at `place`, and goes on behind it. `hold`: told the slot of a shared payload.
#[inline]
fn lend<'a, const HEAD: usize>(
    area: &'a Area<HEAD>,
    place: &mut Place,
    found: &Found,
    position: Position,
    hold: impl FnOnce(u32),
) -> Record<'a> {
    let head = found.words.head().expect("a committed record has a head that a producer encoded");
    let body = match found.words.form() {
        // SAFETY: found there in this form. Who reads takes `&mut self` of its cursor for whatever releases, which ends the borrow.
        Form::Inline(len) => Body::Inline(unsafe { area.take_inline(place, len as usize) }),
        Form::Shared(slot) => {
            area.pass_shared(place);
            hold(slot);
            // SAFETY: a record that this reader has not finished names the slot, and the reader is live: it holds a share of the
            // slot until `finish_held`, which takes `&mut self`.
            Body::Shared(unsafe { area.shared.payload(slot) })
        }
        Form::Padding => unreachable!("passed by `look`"),
    };
    Record { position, head, body }
}

/// A reader that is gone holds nobody back, unless it is the last: then there is nobody to read, and the ring closes.
impl Drop for Cursor {
    fn drop(&mut self) {
        self.cancel_sleep();
        self.held = None;
        let bit = 1 << self.index;
        let ring = &*self.ring;
        let others = ring.live.fetch_and(!bit, Ordering::AcqRel) & !bit;
        // Pairs with the fence in `Ring::share`: no slot keeps our share for ever.
        fence(Ordering::SeqCst);
        ring.main.shared.give_up_all(bit);
        ring.critical.shared.give_up_all(bit);
        if others == 0 {
            // Our positions stay where they are. Were they gone too, two producers that are a lap apart could write to the
            // same bytes.
            ring.close();
        } else {
            ring.main.forget_reader(self.index);
            ring.critical.forget_reader(self.index);
        }
    }
}
