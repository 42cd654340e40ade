//! One reader's way through both areas.
//!
//! Knows which area is looked at when; must never know what records mean, but that a topic is made, changed or removed.
//!
//! # Unsafe contract
//! A record is on loan from `next` to the next call, which takes `&mut self`: only then is it released or its share given up.

#![allow(unsafe_code)]

use std::sync::Arc;

use super::area::{Area, Found, Place};
use super::readers::{ASKING, ENTERING, GaveUp, NO_CLAIM};
use super::record::{Body, Form, Position, Record, Standing, Words};
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
    /// Passed over, and has noticed.
    is_out: bool,
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
            main: Place::at(index, origin),
            critical: Place::at(index, origin),
            held: None,
            run: 0,
            is_out: false,
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

    /// Bytes reserved and not yet read, which this reader will get.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        if self.is_out {
            return 0;
        }
        self.ring.main.backlog_bytes(&self.main) + self.ring.critical.backlog_bytes(&self.critical)
    }

    /// Where this reader stands.
    pub(crate) fn standing(&self) -> Standing {
        Standing { main: Position(self.main.next), critical: Position(self.critical.next) }
    }

    /// Where this reader stands when it has read all that is reserved by now.
    pub(crate) fn ahead(&self) -> Standing {
        let Ring { main, critical, .. } = &*self.ring;
        Standing { main: Position(main.tail()), critical: Position(critical.tail()) }
    }

    /// True if the ring is closed and all that was reserved has been read, or this reader will not get it.
    pub(crate) fn is_finished(&self) -> bool {
        let Ring { main, critical, .. } = &*self.ring;
        main.is_read_to_its_end(&self.main) && critical.is_read_to_its_end(&self.critical)
            || self.is_out && main.is_closed()
    }

    /// True if there is something to read, or to be found out.
    pub(crate) fn has_news(&mut self) -> bool {
        !self.is_out
            && (self.ring.main.is_committed(self.main.next)
                || find_critical(&self.ring, &mut self.critical, self.main.next).is_some()
                || !self.ring.readers.is_awaited(self.index))
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<Record<'_>> {
        self.finish_held();
        let Self { ring, index, main, critical, held, run, life, is_out } = self;
        let ring: &Ring = ring;
        if let Some(found) = find_critical(ring, critical, main.next)
            && (*run < CRITICAL_RUN || !ring.main.is_committed(main.next))
        {
            *run = run.saturating_add(1);
            return Some(lend_critical(ring, critical, &found, held));
        }
        let Some(found) = ring.main.look(main) else {
            // Where a claim has failed, or where there is nothing: then nothing may ever come.
            if main.is_out || critical.is_out || !ring.readers.is_awaited(*index) {
                leave(ring, main, critical, is_out);
            }
            return None;
        };
        if found.words.is_about_topic()
            && let Some(first) = find_critical_before(ring, critical, found.start, life)
        {
            return Some(lend_critical(ring, critical, &first, held));
        }
        *run = 0;
        Some(lend(&ring.main, main, &found, Position(found.start), |slot| *held = Some(Held::Main(slot))))
    }

    pub(crate) fn is_passed_over(&self) -> bool {
        self.is_out
    }

    /// See [`Reader::readmit`](super::reader::Reader::readmit).
    pub(crate) fn readmit(&mut self, other: usize) -> bool {
        let ring = &*self.ring;
        if self.is_out || other == self.index || other >= ring.readers.count {
            return false;
        }
        // Only one at a time lets it in.
        if !ring.main.change_claim(other, ASKING, ENTERING) {
            return false;
        }
        let is_in = ring.main.released_by(other) <= self.main.next
            && ring.critical.released_by(other) <= self.critical.next
            && self.set_and_let_in(other);
        ring.main.change_claim(other, ENTERING, if is_in { NO_CLAIM } else { ASKING });
        if is_in {
            ring.wake_reader(other);
        }
        is_in
    }

    fn set_and_let_in(&self, other: usize) -> bool {
        let Ring { main, critical, readers, .. } = &*self.ring;
        // Before and after: see `Area::bounds`.
        readers.entries.fetch_add(1, Ordering::AcqRel);
        main.set_released(other, self.main.next);
        critical.set_released(other, self.critical.next);
        let is_in = readers.let_in(self.index, other);
        readers.entries.fetch_add(1, Ordering::AcqRel);
        // A reader that is dropped clears its bit in `live`, passes a full fence and clears it in `awaited`: one of us sees the other.
        fence(Ordering::SeqCst);
        if is_in && readers.live.load(Ordering::Relaxed) & 1 << other == 0 {
            self.ring.pass_over(other);
        }
        is_in
    }

    /// See [`Reader::rejoin`](super::reader::Reader::rejoin).
    pub(crate) fn rejoin(&mut self) -> Option<Standing> {
        let ring = &*self.ring;
        // Acquire, by the exchange: where we were set to, and what that place's reader had read.
        if !self.is_out || !ring.main.change_claim(self.index, NO_CLAIM, NO_CLAIM) {
            return None;
        }
        if !ring.readers.is_awaited(self.index) {
            // Let in, and passed over again before we came to see it.
            ring.main.change_claim(self.index, NO_CLAIM, ASKING);
            return None;
        }
        ring.main.rejoin(&mut self.main);
        ring.critical.rejoin(&mut self.critical);
        self.is_out = false;
        self.life.at = u64::MAX;
        self.run = 0;
        Some(self.standing())
    }

    /// Gives the room of all records read so far back to the producers.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.finish_held();
        let ring = &*self.ring;
        let main = ring.main.release(&mut self.main);
        let critical = ring.critical.release(&mut self.critical);
        if main || critical {
            // Orders the released positions before the look at who waits. See `signal`.
            fence(Ordering::SeqCst);
            ring.main.announce_room_after_fence();
            ring.critical.announce_room_after_fence();
        }
    }

    /// Gives up this reader's share of the shared payload it was lent.
    #[inline(always)]
    fn finish_held(&mut self) {
        if let Some(held) = self.held.take() {
            give_up(&self.ring, self.index, held);
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

/// Apart from who reads on: most records are copied, and hold nothing.
#[inline(never)]
fn give_up(ring: &Ring, index: usize, held: Held) {
    match held {
        Held::Main(slot) => ring.main.give_up(slot, 1 << index),
        Held::Critical(slot) => ring.critical.give_up(slot, 1 << index),
    }
}

/// What there is to do once, when it is found out that the ring waits for this reader no more.
#[cold]
fn leave(ring: &Ring, main: &mut Place, critical: &mut Place, is_out: &mut bool) {
    if !std::mem::replace(is_out, true) {
        ring.critical.leave(critical, NO_CLAIM);
        // Last: who lets us in finds all else in order.
        ring.main.leave(main, ASKING);
    }
}

/// The next critical record, if it is there and need not wait for the main area, which has been read to `main`.
///
/// One that waits is no news: a record of the main area before its topic's is not committed yet, and will wake us.
#[inline]
fn find_critical<'a>(ring: &'a Ring, critical: &mut Place, main: u64) -> Option<Found<'a>> {
    ring.critical.look(critical).filter(|found| found.after <= main)
}

/// The next critical record, if it may have been published before the record at `start`, which is about a topic: when a topic is
/// removed, all that was published on it before has been read.
#[cold]
fn find_critical_before<'a>(ring: &'a Ring, critical: &mut Place, start: u64, life: &mut Life) -> Option<Found<'a>> {
    if life.at != start {
        *life = Life { at: start, critical_before: ring.critical.tail() };
    }
    if critical.next < life.critical_before { find_critical(ring, critical, start) } else { None }
}

#[inline]
fn lend_critical<'a>(ring: &'a Ring, place: &mut Place, found: &Found<'_>, held: &mut Option<Held>) -> Record<'a> {
    let position = Position::critical(found.start);
    lend(&ring.critical, place, found, position, |slot| *held = Some(Held::Critical(slot)))
}

/// Lends the record that was found at `place`, and goes on behind it. `hold`: told the slot of a shared payload.
#[inline]
fn lend<'a, const HEAD: usize>(
    area: &'a Area<HEAD>,
    place: &mut Place,
    found: &Found<'_>,
    position: Position,
    hold: impl FnOnce(u32),
) -> Record<'a> {
    let head = found.words.head().expect("a committed record has a head that a producer encoded");
    let has_attributes = found.words.has_attributes();
    let (attributes, body) = match found.words.form() {
        Form::Inline(len) => {
            // SAFETY: found there in this form. Who reads takes `&mut self` of its cursor for whatever releases, which ends the borrow.
            let bytes = unsafe { area.take_inline(place, len as usize) };
            let (attributes, payload) = if has_attributes { split(bytes, found.words) } else { (&[][..], bytes) };
            (attributes, Body::Inline(payload))
        }
        Form::Shared(slot) => {
            let attributes = if has_attributes {
                // SAFETY: as above.
                unsafe { area.take_inline(place, found.words.attributes_len()) }
            } else {
                area.pass_shared(place);
                &[]
            };
            hold(slot);
            // SAFETY: a record that this reader has not finished names the slot, and the reader is live: it holds a share of the
            // slot until `finish_held`, which takes `&mut self`.
            (attributes, Body::Shared(unsafe { area.shared.payload(slot) }))
        }
        Form::Padding(_) => unreachable!("passed by `look`"),
    };
    Record { position, head, body, attributes }
}

/// The attributes of a message, and its payload.
#[cold]
fn split<'a>(bytes: &'a [u8], words: &Words) -> (&'a [u8], &'a [u8]) {
    bytes.split_at(words.attributes_len())
}

/// A reader that is gone holds nobody back, unless it is the last that is awaited: then there is nobody to read on, nor to let
/// others in again, and the ring closes.
impl Drop for Cursor {
    fn drop(&mut self) {
        self.cancel_sleep();
        self.held = None;
        let Ring { main, critical, readers, .. } = &*self.ring;
        readers.live.fetch_and(!(1 << self.index), Ordering::AcqRel);
        // Pairs with the fences in `Ring::share` and in `Cursor::set_and_let_in`: no slot keeps our share for ever, and nobody waits for us.
        fence(Ordering::SeqCst);
        let is_last = readers.give_up(self.index) == GaveUp::IsLast;
        main.forget_reader(self.index);
        critical.forget_reader(self.index);
        if is_last {
            // We stay awaited, and our positions where they are. Else two producers that are a lap apart could write to the same bytes.
            self.ring.close();
        } else {
            // Unconditional, so no fence: who misses that we are gone has not seen this strike either.
            main.room.announce();
            critical.room.announce();
        }
    }
}
