//! The simulation's own random numbers: xoshiro256++ seeded by splitmix64 (Blackman and Vigna, 2018).
//!
//! Own code, because a run must replay from its seed for as long as the project lives, whatever a crate does.

use std::cell::RefCell;
use std::rc::Rc;

/// A seeded generator. The same seed gives the same numbers on every machine.
///
/// On a tape the tape decides: each number takes the next byte for its highest bits, as long as there are bytes.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
    tape: Option<Rc<RefCell<Tape>>>,
}

#[derive(Debug)]
struct Tape {
    bytes: Vec<u8>,
    at: usize,
}

impl Rng {
    /// A generator for `seed`; every seed is as good as any other, 0 included.
    pub fn new(seed: u64) -> Self {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng { state: [next(), next(), next(), next()], tape: None }
    }

    /// A generator on a tape, shared by all that are forked from it.
    pub fn on_tape(bytes: &[u8]) -> Self {
        Rng { tape: Some(Rc::new(RefCell::new(Tape { bytes: bytes.to_vec(), at: 0 }))), ..Rng::new(0) }
    }

    /// True once the tape has come to its end; never without a tape.
    pub fn is_at_end(&self) -> bool {
        self.tape.as_ref().is_some_and(|tape| tape.borrow().at >= tape.borrow().bytes.len())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        if let Some(tape) = &self.tape {
            let Tape { bytes, at } = &mut *tape.borrow_mut();
            if let Some(byte) = bytes.get(*at) {
                *at += 1;
                return u64::from(*byte) << 56 | result >> 8;
            }
        }
        result
    }

    /// A number in `0..n`, slightly biased where `n` is huge (no matter here).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number below 0");
        ((self.next_u64() as u128 * n as u128) >> 64) as u64
    }

    /// An index into something of length `n`.
    pub fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `per_mille` of 1,000 cases. 0 draws nothing, so that a fault that is off changes no other draw.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < per_mille as u64
    }

    /// A random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.index(i + 1));
        }
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// A number whose logarithm is about even in `1..=high`: small ones are common, large ones happen.
    pub fn skewed(&mut self, high: u64) -> u64 {
        let bits = 64 - high.max(1).leading_zeros() as u64;
        let top = 1u64 << self.between(0, bits.min(63));
        self.between(1, top.min(high.max(1)))
    }

    /// An independent generator, drawn from this one.
    pub fn fork(&mut self) -> Rng {
        Rng { tape: self.tape.clone(), ..Rng::new(self.next_u64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        // xoshiro256++ over splitmix64(0): fixed here, because recorded failing seeds depend on it.
        let mut rng = Rng::new(0);
        let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [0x53175d61490b23df, 0x61da6f3dc380d507, 0x5c0fdf91ec9a7bfc]);
    }

    #[test]
    fn a_tape_decides_until_it_ends() {
        let mut rng = Rng::on_tape(&[0, 255, 128]);
        let mut fork = rng.clone();
        assert_eq!((rng.below(100), fork.below(100), rng.is_at_end()), (0, 99, false));
        assert_eq!((rng.below(2), fork.is_at_end()), (1, true));
        assert_ne!(rng.next_u64(), fork.next_u64() << 1);
    }

    #[test]
    fn draws_stay_in_their_ranges() {
        let mut rng = Rng::new(7);
        for _ in 0..10_000 {
            assert!(rng.below(3) < 3);
            assert!((5..=9).contains(&rng.between(5, 9)));
            assert!((1..=1000).contains(&rng.skewed(1000)));
            assert!(!rng.chance(0));
            assert!(rng.chance(1000));
        }
    }
}
