//! Work in bounded pieces: every kind of work that may be long has a budget of steps in each turn.
//!
//! A step is about 100 ns on a quiet machine: a name looked at, a cursor looked at, a kilobyte inflated. What a turn does not finish
//! goes on in the next one, and others are served between. The sum of the budgets, and of what may go over them, is
//! `turn_steps_max`, which the simulator holds every turn against.

/// How much a turn may do of each kind of work.
pub mod limit {
    /// Input of clients: one step a control frame, eight a message, one for each 32 bytes; of long messages, one for each 128 bytes that
    /// are inflated, read past or decoded, for 8 compressed, for a KiB that is copied, and three a topic of a `since`.
    pub const INPUT: u32 = 4_096;
    /// What requests of clients ask for: two steps a topic looked at, five a topic joined, three a topic left.
    pub const REQUESTS: u32 = 3_000;
    /// Cursors for topics and lanes that have just come to be: five steps each.
    pub const NEW_TOPICS: u32 = 3_000;
    /// What closed connections leave behind: three steps a topic.
    pub const LEAVING: u32 = 3_000;
    /// Records of the ring: four steps each, one for each KiB; twenty more where a topic is made or removed.
    pub const RECORDS: u32 = 5_120;
    /// Rendering and compressing: two steps a message, one for each 16 bytes, or each 4 that are compressed.
    pub const RENDERING: u32 = 8_192;
    /// Sends: eight steps each, one for each KiB, one for each cursor that is looked at by itself.
    pub const SENDS: u32 = 1 << 16;
    /// What is found out of clients and topics while somebody wants to know: one step for eight cursors, two for a cursor that is
    /// behind, one for two slots, three for a topic's place, about a hundred for a client or a topic that is described, one for 16
    /// bytes of text.
    pub const CENSUS: u32 = 2_048;
}

/// What steps cost differs between machines, and with what else a machine does. So from its beginning on, a turn looks at input for so
/// long, and at a little of it at least…
pub const INPUT_UNTIL_NS: u64 = 500_000;
/// …reads the ring for so long, and [`RECORDS_LEAST`] at least…
pub const RECORDS_UNTIL_NS: u64 = 1_000_000;
/// …and sends for so long, and a batch at least. What is left goes out in the next turn, with what has come meanwhile in the same
/// sends.
pub const SENDS_UNTIL_NS: u64 = 1_500_000;
/// Records read, and events looked at, however long a turn has taken already.
pub const RECORDS_LEAST: u32 = 64;

/// By how much each kind of work may go over its budget: the last request, frame, record or send that still began within it.
#[cfg(any(test, fuzzing))]
pub mod overshoot {
    /// What those who wait and what is new may have beyond a budget that others have spent: a share for each queue of waiters, one
    /// for new input, and what the last of each takes more.
    pub const INPUT: u32 = super::limit::INPUT + 5 * (super::INPUT_SHARE + LAST_INPUT);
    /// What a receive buffer holds, a piece of a long message, or what stands for a request of 512 KiB.
    const LAST_INPUT: u32 = 1_024 + 4_096;
    /// The last topic of a request, and topics that have ended, which its connection leaves first.
    pub const REQUESTS: u32 = 64 + 6 * 64;
    /// The last subscriber of a new topic.
    pub const NEW_TOPICS: u32 = 64;
    /// The last topic of a connection that is gone; or a million cursors of a topic that ends, looked at for half-sent frames.
    pub const LEAVING: u32 = 64 + 16_384;
    /// A group of gathered sends of 128 KiB, each with the cursors that it looks at.
    pub const SENDS: u32 = 32 << 10;
    /// The last client that is described, with 256 cursors; losses that are told; a message that is copied whole.
    pub const CENSUS: u32 = 6 << 10;
    /// The largest message, by bytes a step: read from the ring (by reference, above 16 KiB: its length alone is counted), and, up to
    /// [`LARGE_BYTES`](super::super::lanes::LARGE_BYTES), rendered and compressed at once.
    pub const fn message(bytes_max: usize) -> u64 {
        let at_once = if bytes_max < 256 << 10 { bytes_max } else { 256 << 10 };
        (bytes_max / 1_024 + at_once / 4) as u64
    }
}

/// What each queue of waiters and new input have of [`limit::INPUT`], even where others have spent it.
pub const INPUT_SHARE: u32 = limit::INPUT / 4;

/// Steps of one turn, at most, where messages have so many bytes at most. Beyond the largest message it is a constant.
#[cfg(any(test, fuzzing))]
pub const fn turn_steps_max(message_bytes_max: usize) -> u64 {
    let budgets = limit::INPUT
        + limit::REQUESTS
        + limit::NEW_TOPICS
        + limit::LEAVING
        + limit::RECORDS
        + limit::RENDERING
        + limit::SENDS
        + limit::CENSUS;
    let over = overshoot::INPUT
        + overshoot::REQUESTS
        + overshoot::NEW_TOPICS
        + overshoot::LEAVING
        + overshoot::SENDS
        + overshoot::CENSUS
        + 16;
    (budgets + over) as u64 + overshoot::message(message_bytes_max)
}

/// What is left of one kind of work in this turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    left: u32,
    spent: u32,
}

impl Budget {
    /// A new turn's budget.
    pub const fn new(steps: u32) -> Self {
        Self { left: steps, spent: 0 }
    }

    /// Notes work that was done.
    pub fn spend(&mut self, steps: u32) {
        self.left = self.left.saturating_sub(steps);
        self.spent = self.spent.saturating_add(steps);
    }

    /// True where the rest is for another turn.
    pub const fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Steps done.
    pub const fn spent(&self) -> u32 {
        self.spent
    }

    /// At most `steps` of this budget, to be given back by [`Budget::return_share`].
    pub fn share(&self, steps: u32) -> Budget {
        Budget::new(self.left.min(steps))
    }

    /// Notes what was done of a share.
    pub fn return_share(&mut self, share: Budget) {
        self.spend(share.spent);
    }
}

/// How far a piece of work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// It is finished.
    Done,
    /// The budget is spent: it goes on in another turn.
    More,
}

/// The budgets of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// See [`limit::INPUT`].
    pub input: Budget,
    /// See [`limit::REQUESTS`].
    pub requests: Budget,
    /// See [`limit::NEW_TOPICS`].
    pub new_topics: Budget,
    /// See [`limit::LEAVING`].
    pub leaving: Budget,
    /// See [`limit::RECORDS`].
    pub records: Budget,
    /// See [`limit::RENDERING`].
    pub rendering: Budget,
    /// See [`limit::SENDS`].
    pub sends: Budget,
    /// See [`limit::CENSUS`].
    pub census: Budget,
}

impl Work {
    /// A new turn's budgets.
    pub const fn new() -> Self {
        Self {
            input: Budget::new(limit::INPUT),
            requests: Budget::new(limit::REQUESTS),
            new_topics: Budget::new(limit::NEW_TOPICS),
            leaving: Budget::new(limit::LEAVING),
            records: Budget::new(limit::RECORDS),
            rendering: Budget::new(limit::RENDERING),
            sends: Budget::new(limit::SENDS),
            census: Budget::new(limit::CENSUS),
        }
    }

    /// Steps by which each budget was overspent, in the order of the fields.
    #[cfg(any(test, fuzzing))]
    pub fn overshoots(&self) -> [u32; 8] {
        [
            self.input.spent.saturating_sub(limit::INPUT),
            self.requests.spent.saturating_sub(limit::REQUESTS),
            self.new_topics.spent.saturating_sub(limit::NEW_TOPICS),
            self.leaving.spent.saturating_sub(limit::LEAVING),
            self.records.spent.saturating_sub(limit::RECORDS),
            self.rendering.spent.saturating_sub(limit::RENDERING),
            self.sends.spent.saturating_sub(limit::SENDS),
            self.census.spent.saturating_sub(limit::CENSUS),
        ]
    }

    /// Steps of this turn.
    pub const fn steps(&self) -> u64 {
        self.input.spent as u64
            + self.requests.spent as u64
            + self.new_topics.spent as u64
            + self.leaving.spent as u64
            + self.records.spent as u64
            + self.rendering.spent as u64
            + self.sends.spent as u64
            + self.census.spent as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once_and_what_goes_over_is_counted() {
        let mut budget = Budget::new(10);
        budget.spend(9);
        assert!(!budget.is_spent());
        let mut share = budget.share(5);
        share.spend(1);
        assert!(share.is_spent(), "a share is never more than what is left");
        share.spend(30);
        budget.return_share(share);
        assert!(budget.is_spent());
        assert_eq!(budget.spent(), 40);
    }

    #[test]
    fn a_turn_s_steps_are_the_sum_of_its_budgets() {
        let mut work = Work::new();
        for (budget, steps) in [
            (&mut work.input, 1),
            (&mut work.requests, 2),
            (&mut work.new_topics, 4),
            (&mut work.leaving, 8),
            (&mut work.records, 16),
            (&mut work.rendering, 32),
            (&mut work.sends, 64),
            (&mut work.census, 128),
        ] {
            budget.spend(steps);
        }
        assert_eq!(work.steps(), 255);
    }
}
