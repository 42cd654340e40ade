//! Which connections hold most of what waits, so that one of them is found without looking at all.
//!
//! Those that hold something stand in lists by size, to within a factor of two, linked through what each of them has anyway
//! ([`Place`]). Knows slots and bytes. Must never know what is held.

use crate::shard::table::NONE;

/// Sizes are told apart by their highest bit.
const LISTS: usize = usize::BITS as usize;
/// What is in no list.
const NOWHERE: u8 = u8::MAX;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    next: u32,
    prev: u32,
    list: u8,
}

impl Default for Place {
    fn default() -> Self {
        Self { next: NONE, prev: NONE, list: NOWHERE }
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Holders {
    first: [u32; LISTS],
    /// Which lists have members.
    occupied: u64,
}

impl Default for Holders {
    fn default() -> Self {
        Self { first: [NONE; LISTS], occupied: 0 }
    }
}

impl Holders {
    /// A connection holds so many bytes; 0: it is not in question. `at`: the place of a connection.
    pub fn set(&mut self, slot: u32, bytes: usize, mut at: impl FnMut(u32, &mut dyn FnMut(&mut Place))) {
        let list = bytes.checked_ilog2().map_or(NOWHERE, |bit| bit as u8);
        let mut was = Place::default();
        at(slot, &mut |place| was = *place);
        if was.list == list {
            return;
        }
        if was.list != NOWHERE {
            self.unlink(was, &mut at);
        }
        let mut now = Place::default();
        if list != NOWHERE {
            let first = &mut self.first[usize::from(list)];
            now = Place { next: *first, prev: NONE, list };
            if *first != NONE {
                at(*first, &mut |place| place.prev = slot);
            }
            *first = slot;
            self.occupied |= 1 << list;
        }
        at(slot, &mut |place| *place = now);
    }

    fn unlink(&mut self, was: Place, at: &mut impl FnMut(u32, &mut dyn FnMut(&mut Place))) {
        let list = usize::from(was.list);
        match was.prev {
            NONE => self.first[list] = was.next,
            prev => at(prev, &mut |place| place.next = was.next),
        }
        if was.next != NONE {
            at(was.next, &mut |place| place.prev = was.prev);
        }
        if self.first[list] == NONE {
            self.occupied &= !(1 << list);
        }
    }

    /// One of those that hold most, to within a factor of two.
    pub fn first(&self) -> Option<u32> {
        let list = self.occupied.checked_ilog2()?;
        Some(self.first[list as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_holds_no_less_than_half_of_what_anybody_holds() {
        const SLOTS: usize = 50;
        let (mut holders, mut places, mut held) = (Holders::default(), [Place::default(); SLOTS], [0_usize; SLOTS]);
        let mut seed = 1_u64;
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = (seed >> 33) as usize % SLOTS;
            let bytes = if seed >> 62 == 0 { 0 } else { (seed >> 40) as usize >> (step % 20) };
            held[slot] = bytes;
            holders.set(slot as u32, bytes, |slot, change| change(&mut places[slot as usize]));
            let most = *held.iter().max().unwrap();
            match holders.first() {
                None => assert_eq!(most, 0),
                Some(first) => assert!(2 * held[first as usize] > most, "{} of {most}", held[first as usize]),
            }
        }
        for slot in 0..SLOTS as u32 {
            holders.set(slot, 0, |slot, change| change(&mut places[slot as usize]));
        }
        assert_eq!((holders.first(), holders.occupied), (None, 0));
        assert!(places.iter().all(|place| *place == Place::default()));
    }
}
