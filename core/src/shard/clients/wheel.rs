//! The timer wheel: one deadline a connection, coarse, allocation-free.
//!
//! A hashed wheel (Varghese and Lauck, SOSP 1987, scheme 6): a slot's list holds every deadline that falls on it modulo the
//! wheel's size; what is not due yet stays for a later round. Deadlines are checked again by whoever is woken, so setting
//! one late is harmless and activity need not touch the wheel.

use crate::shard::table::NONE;

/// Length of a tick.
pub const TICK_NS: u64 = 64_000_000;
const SPOKES: usize = 512;

/// A moment of the past to within 17 ms, in four bytes: for spans of up to a year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment(u32);

impl Moment {
    /// Nanoseconds are counted in units of 2 to this power, modulo 2^56.
    const UNIT: u32 = 24;

    /// The first such moment at or after `ns`, so that a span is never taken for longer than it is.
    pub fn at(ns: u64) -> Self {
        Self(ns.div_ceil(1 << Self::UNIT) as u32)
    }

    /// Nanoseconds from here to `now_ns`; 0 if this is yet to come.
    pub fn elapsed_ns(self, now_ns: u64) -> u64 {
        self.signed_ns(now_ns).max(0) as u64
    }

    /// The time `after_ns` later, in the clock of `now_ns`.
    pub fn later_ns(self, now_ns: u64, after_ns: u64) -> u64 {
        now_ns.saturating_add(after_ns).saturating_add_signed(-self.signed_ns(now_ns))
    }

    fn signed_ns(self, now_ns: u64) -> i64 {
        const SPARE: u32 = u64::BITS - u32::BITS - Moment::UNIT;
        let span = now_ns.wrapping_sub(u64::from(self.0) << Self::UNIT);
        (span << SPARE) as i64 >> SPARE
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    prev: u32,
    /// The tick that this node is due at, counted from the wheel's first; 0: not armed.
    due: u32,
}

/// What one connection costs here.
pub const NODE_BYTES: usize = size_of::<Node>();

/// Deadlines by connection slot.
#[derive(Debug)]
pub struct Wheel {
    spokes: Vec<u32>,
    nodes: Vec<Node>,
    /// Ticks of the driver's time before the first of this wheel, which is number 1.
    base: u64,
    /// The next tick to be looked at, counted from the base. Enough for eight years.
    tick: u32,
    armed: usize,
}

impl Wheel {
    /// A wheel for up to `slots` connections, at time `now_ns`.
    pub fn new(slots: u32, now_ns: u64) -> Self {
        Self {
            spokes: vec![NONE; SPOKES],
            nodes: Vec::with_capacity(slots as usize),
            base: now_ns / TICK_NS,
            tick: 1,
            armed: 0,
        }
    }

    /// Sets (or moves) the deadline of `slot`: it fires at the first tick at or after `at_ns`.
    pub fn arm(&mut self, slot: u32, at_ns: u64) {
        self.disarm(slot);
        while self.nodes.len() <= slot as usize {
            self.nodes.push(Node { next: NONE, prev: NONE, due: 0 });
        }
        let due = self.count(at_ns.div_ceil(TICK_NS)).max(self.tick);
        let spoke = due as usize % SPOKES;
        let head = self.spokes[spoke];
        self.nodes[slot as usize] = Node { next: head, prev: NONE, due };
        if head != NONE {
            self.nodes[head as usize].prev = slot;
        }
        self.spokes[spoke] = slot;
        self.armed += 1;
    }

    fn count(&self, tick: u64) -> u32 {
        u32::try_from(tick.saturating_sub(self.base)).unwrap_or(u32::MAX)
    }

    /// Removes the deadline of `slot`, if it has one.
    pub fn disarm(&mut self, slot: u32) {
        let Some(&Node { next, prev, due }) = self.nodes.get(slot as usize) else { return };
        if due == 0 {
            return;
        }
        if prev == NONE {
            self.spokes[due as usize % SPOKES] = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        self.nodes[slot as usize].due = 0;
        self.armed -= 1;
    }

    /// Takes up to `max` due slots into `due`, oldest tick first. Call again next turn for the rest.
    pub fn expire(&mut self, now_ns: u64, max: usize, due: &mut Vec<u32>) {
        let now = self.count(now_ns / TICK_NS);
        if self.armed == 0 {
            self.tick = self.tick.max(now + 1);
            return;
        }
        while self.tick <= now && due.len() < max {
            let mut slot = self.spokes[self.tick as usize % SPOKES];
            while slot != NONE {
                let Node { next, due: at, .. } = self.nodes[slot as usize];
                if at <= self.tick {
                    if due.len() == max {
                        return;
                    }
                    self.disarm(slot);
                    due.push(slot);
                }
                slot = next;
            }
            self.tick += 1;
        }
    }

    /// When to look again at the latest, or `None` if nothing is armed.
    ///
    /// The first armed spoke within one round; exact for deadlines nearer than a round (32 s), early for others.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let ahead = (0..SPOKES).find(|i| self.spokes[(self.tick as usize + i) % SPOKES] != NONE)?;
        Some((self.base + u64::from(self.tick) + ahead as u64) * TICK_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel, now_ns: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now_ns, usize::MAX, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn moments_tell_spans_to_within_their_unit_and_never_too_long() {
        let unit = 1 << 24;
        for ns in [0, 1, unit - 1, unit, unit + 1, (1 << 56) - 1, 1 << 56, u64::MAX / 3] {
            let moment = Moment::at(ns);
            for span in [0, 1, unit, 1_000_000_000, 300 * 86_400 * 1_000_000_000] {
                let elapsed = moment.elapsed_ns(ns + span);
                assert!(elapsed <= span && elapsed + unit > span, "{ns} + {span}: {elapsed}");
                let later = moment.later_ns(ns + span, 5 * unit);
                assert!((ns + 5 * unit..ns + 6 * unit).contains(&later), "{ns} + {span}: {later}");
            }
        }
    }

    #[test]
    fn a_wheel_counts_from_its_own_beginning() {
        let begun = 40 * 365 * 86_400 * 1_000_000_000;
        let mut wheel = Wheel::new(2, begun);
        wheel.arm(0, begun + 10 * TICK_NS);
        wheel.arm(1, u64::MAX);
        assert!(wheel.next_deadline_ns().is_some_and(|at| (begun..=begun + 11 * TICK_NS).contains(&at)));
        assert_eq!(fired(&mut wheel, begun + 9 * TICK_NS), [0u32; 0]);
        assert_eq!(fired(&mut wheel, begun + 11 * TICK_NS), [0]);
        assert_eq!(fired(&mut wheel, begun + 100_000 * TICK_NS), [0u32; 0]);
    }

    #[test]
    fn deadlines_fire_once_at_the_first_tick_not_before_them() {
        let mut wheel = Wheel::new(8, 0);
        wheel.arm(0, 10 * TICK_NS);
        wheel.arm(1, 10 * TICK_NS + 1);
        wheel.arm(2, 10 * TICK_NS - 1);
        assert_eq!(fired(&mut wheel, 10 * TICK_NS - 1), [0u32; 0]);
        assert_eq!(fired(&mut wheel, 10 * TICK_NS), [0, 2]);
        assert_eq!(fired(&mut wheel, 11 * TICK_NS), [1]);
        assert_eq!(fired(&mut wheel, 1_000 * TICK_NS), [0u32; 0]);
        assert_eq!(wheel.next_deadline_ns(), None);
    }

    #[test]
    fn deadlines_beyond_one_round_wait_for_their_round() {
        let mut wheel = Wheel::new(2, 0);
        let far = (3 * SPOKES as u64 + 5) * TICK_NS;
        wheel.arm(0, far);
        wheel.arm(1, 5 * TICK_NS);
        assert_eq!(fired(&mut wheel, 6 * TICK_NS), [1]);
        assert_eq!(fired(&mut wheel, far - TICK_NS), [0u32; 0]);
        assert_eq!(fired(&mut wheel, far), [0]);
    }

    #[test]
    fn random_arms_and_disarms_agree_with_a_sorted_list() {
        let mut seed = 7u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut wheel = Wheel::new(64, 0);
        let mut model = std::collections::BTreeMap::new();
        let mut now = 0;
        for _ in 0..20_000 {
            let slot = (next() % 64) as u32;
            match next() % 4 {
                0 => {
                    wheel.disarm(slot);
                    model.remove(&slot);
                }
                1 | 2 => {
                    let at = now + next() % (1_500 * TICK_NS);
                    wheel.arm(slot, at);
                    model.insert(slot, at.div_ceil(TICK_NS).max(now / TICK_NS + 1));
                }
                _ => {
                    now += next() % (40 * TICK_NS);
                    if let (Some(deadline), Some(first)) = (wheel.next_deadline_ns(), model.values().min()) {
                        assert!(deadline <= first * TICK_NS, "sleeping past a deadline");
                    }
                    let want: Vec<u32> = model.iter().filter(|&(_, &t)| t <= now / TICK_NS).map(|(&s, _)| s).collect();
                    model.retain(|_, t| *t > now / TICK_NS);
                    assert_eq!(fired(&mut wheel, now), want);
                }
            }
        }
    }
}
