//! The delivery clock: which cursors wait for their moment, and when that is.
//!
//! A cursor with a latency budget is visited at most once per budget, and gets then all that has come since. The moments of one
//! connection are those of its phase, so that visits of many are spread evenly. A hashed wheel (Varghese and Lauck, SOSP 1987, scheme
//! 5): every moment is less than a round ahead, so a spoke holds only what is due together. Knows links by number, and milliseconds.
//! Must never know what a visit does.

use crate::proto::subscribe::DELAY_MS_MAX as BUDGET_MS_MAX;
use crate::shard::table::NONE;

/// Milliseconds of a round: more than the largest budget.
const SPOKES: u32 = 1_024;
const _: () = assert!((BUDGET_MS_MAX as u32) < SPOKES);
/// Moments into which a budget is divided, at most; none is shorter than a millisecond.
const PHASES_MAX: u64 = 8;

/// A link's place in its spoke's ring.
#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u32,
    next: u32,
    /// [`NONE`]: it does not wait.
    spoke: u32,
}

impl Node {
    const IDLE: Self = Self { prev: NONE, next: NONE, spoke: NONE };
}

/// What one cursor costs here, once any cursor has waited.
pub const NODE_BYTES: usize = size_of::<Node>();

/// See the module's head.
#[derive(Debug)]
pub struct Clock {
    /// The first link of each spoke's ring.
    first: Box<[u32]>,
    /// By link; as many as the highest link that has waited.
    nodes: Vec<Node>,
    /// Links that wait.
    waiting: u32,
    /// The millisecond from which on spokes are to be looked at.
    at_ms: u64,
    /// Links were hastened since that was asked.
    has_hastened: bool,
}

impl Clock {
    /// Nobody waits.
    pub fn new() -> Self {
        Self { first: vec![NONE; SPOKES as usize].into(), nodes: Vec::new(), waiting: 0, at_ms: 0, has_hastened: false }
    }

    /// True while nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// True if a link waits for its moment.
    pub fn is_waiting(&self, link: u32) -> bool {
        self.nodes.get(link as usize).is_some_and(|node| node.spoke != NONE)
    }

    /// A link has news at `now_ns`: it is to be visited at the next moment of its connection, at most `budget_ms` (1 to
    /// [`BUDGET_MS_MAX`]) later. One that waits already goes on waiting.
    pub fn wait(&mut self, link: u32, slot: u32, budget_ms: u16, now_ns: u64) {
        debug_assert!((1..=BUDGET_MS_MAX).contains(&budget_ms));
        if self.is_waiting(link) {
            return;
        }
        let now_ms = now_ns / 1_000_000;
        if self.waiting == 0 {
            self.at_ms = now_ms;
        }
        self.put(link, moment_ms(slot, budget_ms, now_ms));
    }

    /// A link is to be visited in this turn, or as soon as can be, whether or not it waits already.
    pub fn hasten(&mut self, link: u32, now_ns: u64) {
        self.cancel(link);
        let now_ms = now_ns / 1_000_000;
        if self.waiting == 0 {
            self.at_ms = now_ms;
        }
        self.put(link, self.at_ms.max(now_ms));
        self.has_hastened = true;
    }

    /// True if links were hastened since this was last asked.
    #[inline]
    pub fn has_hastened(&mut self) -> bool {
        std::mem::take(&mut self.has_hastened)
    }

    fn put(&mut self, link: u32, moment_ms: u64) {
        if self.nodes.len() <= link as usize {
            self.nodes.resize(link as usize + 1, Node::IDLE);
        }
        let spoke = (moment_ms % u64::from(SPOKES)) as u32;
        let first = self.first[spoke as usize];
        let (prev, next) = if first == NONE { (link, link) } else { (self.nodes[first as usize].prev, first) };
        self.nodes[link as usize] = Node { prev, next, spoke };
        self.nodes[prev as usize].next = link;
        self.nodes[next as usize].prev = link;
        if first == NONE {
            self.first[spoke as usize] = link;
        }
        self.waiting += 1;
    }

    /// A link does not wait any more.
    pub fn cancel(&mut self, link: u32) {
        let Some(&Node { prev, next, spoke }) = self.nodes.get(link as usize) else { return };
        if spoke == NONE {
            return;
        }
        if next == link {
            self.first[spoke as usize] = NONE;
        } else {
            self.nodes[prev as usize].next = next;
            self.nodes[next as usize].prev = prev;
            if self.first[spoke as usize] == link {
                self.first[spoke as usize] = next;
            }
        }
        self.nodes[link as usize] = Node::IDLE;
        self.waiting -= 1;
    }

    /// The next link whose moment has come, in the order in which they came to wait. It does not wait any more.
    pub fn next_due(&mut self, now_ns: u64) -> Option<u32> {
        if self.waiting == 0 {
            return None;
        }
        let now_ms = now_ns / 1_000_000;
        // After a standstill of more than a round, each spoke is due once.
        self.at_ms = self.at_ms.max((now_ms + 1).saturating_sub(u64::from(SPOKES)));
        loop {
            let first = self.first[(self.at_ms % u64::from(SPOKES)) as usize];
            if first != NONE && self.at_ms <= now_ms {
                self.cancel(first);
                return Some(first);
            }
            if self.at_ms >= now_ms {
                // This millisecond is not over: somebody may be hastened in it.
                return None;
            }
            self.at_ms += 1;
        }
    }

    /// How long a link has still to wait, in milliseconds; `None`: it does not.
    #[cfg(any(test, fuzzing))]
    pub fn left_ms(&self, link: u32, now_ns: u64) -> Option<u64> {
        let spoke = self.nodes.get(link as usize).map(|node| node.spoke).filter(|&spoke| spoke != NONE)?;
        let is_its = |ms: &u64| ms % u64::from(SPOKES) == u64::from(spoke);
        let moment = (self.at_ms..self.at_ms + u64::from(SPOKES)).find(is_its)?;
        Some(moment.saturating_sub(now_ns / 1_000_000))
    }

    /// When the next visit is due, in the driver's time. `None`: nobody waits.
    pub fn due_ns(&self) -> Option<u64> {
        if self.waiting == 0 {
            return None;
        }
        let is_taken = |ms: &u64| self.first[(ms % u64::from(SPOKES)) as usize] != NONE;
        (self.at_ms..self.at_ms + u64::from(SPOKES)).find(is_taken).map(|ms| ms * 1_000_000)
    }
}

/// The next moment of a connection behind `now_ms`, at most a budget later: moments of one connection are a budget apart.
fn moment_ms(slot: u32, budget_ms: u16, now_ms: u64) -> u64 {
    let budget = u64::from(budget_ms);
    let step = budget.div_ceil(PHASES_MAX);
    let phase = u64::from(slot) % (budget / step) * step;
    // The first one behind now that is `phase` behind a multiple of the budget.
    let since = (now_ms + budget - phase) % budget;
    now_ms + budget - since
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_moment_is_ahead_by_a_budget_at_most_and_the_next_one_a_budget_later() {
        for budget in (1..=BUDGET_MS_MAX).step_by(7).chain([2, 3, 16, 17, 20, 100, BUDGET_MS_MAX]) {
            for slot in 0..40 {
                for now in [0, 1, 99, 12_345] {
                    let moment = moment_ms(slot, budget, now);
                    assert!(moment > now && moment <= now + u64::from(budget), "{budget} {slot} {now}: {moment}");
                    let next = moment_ms(slot, budget, moment);
                    assert_eq!(next, moment + u64::from(budget), "{budget} {slot} {now}");
                }
            }
        }
    }

    #[test]
    fn moments_of_many_are_spread_evenly() {
        for (budget, moments) in [(1, 1), (2, 2), (8, 8), (16, 8), (20, 6), (100, 7), (1_000, 8)] {
            let mut counts = std::collections::BTreeMap::new();
            for slot in 0..16_800 {
                *counts.entry(moment_ms(slot, budget, 0)).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), moments, "{budget}");
            assert!(counts.values().all(|&count| count == 16_800 / moments), "{budget}: {counts:?}");
        }
    }

    #[test]
    fn who_waits_is_due_once_in_order_and_not_sooner() {
        let mut clock = Clock::new();
        assert_eq!((clock.next_due(0), clock.due_ns(), clock.is_empty()), (None, None, true));
        for (link, slot) in [(5, 0), (2, 0), (9, 1)] {
            clock.wait(link, slot, 4, 10 * MS);
            clock.wait(link, slot, 4, 11 * MS);
        }
        // Slot 0 at 12, slot 1 at 13.
        assert_eq!(clock.due_ns(), Some(12 * MS));
        assert_eq!(clock.next_due(12 * MS - 1), None);
        assert!(clock.is_waiting(2));
        assert_eq!(
            [clock.next_due(12 * MS), clock.next_due(12 * MS), clock.next_due(12 * MS)],
            [Some(5), Some(2), None]
        );
        assert!(!clock.is_waiting(2) && clock.is_waiting(9));
        clock.cancel(9);
        clock.cancel(9);
        clock.cancel(77);
        assert!(clock.is_empty() && clock.next_due(50 * MS).is_none());
        // Long afterwards.
        clock.wait(9, 1, 1_000, 5_000_000 * MS);
        let due = clock.due_ns().unwrap();
        assert!(due > 5_000_000 * MS && due <= 5_001_000 * MS);
        assert_eq!((clock.next_due(due - 1), clock.next_due(due)), (None, Some(9)));
    }

    #[test]
    fn who_is_hastened_is_due_at_once() {
        let mut clock = Clock::new();
        clock.hasten(1, 7 * MS);
        clock.wait(2, 0, 1_000, 7 * MS);
        assert_eq!([clock.next_due(7 * MS), clock.next_due(7 * MS)], [Some(1), None]);
        clock.hasten(2, 7 * MS + 5);
        clock.hasten(1, 7 * MS + 5);
        assert_eq!(clock.due_ns(), Some(7 * MS));
        assert_eq!([clock.next_due(7 * MS + 9), clock.next_due(7 * MS + 9)], [Some(2), Some(1)]);
        assert!(clock.is_empty());
    }

    #[test]
    fn a_standstill_of_many_rounds_leaves_nobody_out() {
        let mut clock = Clock::new();
        for link in 0..100 {
            clock.wait(link, link, 1_000, 3 * MS);
        }
        let mut due: Vec<u32> = std::iter::from_fn(|| clock.next_due(1_000_000 * MS)).collect();
        due.sort_unstable();
        assert_eq!(due, (0..100).collect::<Vec<_>>());
        assert!(clock.is_empty());
    }

    #[test]
    fn who_leaves_from_the_middle_takes_nobody_along() {
        for gone in 0..4 {
            let mut clock = Clock::new();
            (0..4).for_each(|link| clock.wait(link, 0, 10, 0));
            clock.cancel(gone);
            let due: Vec<u32> = std::iter::from_fn(|| clock.next_due(10 * MS)).collect();
            assert_eq!(due, (0..4).filter(|&link| link != gone).collect::<Vec<_>>());
        }
    }
}
