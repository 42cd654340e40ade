//! What one member knows about one lane, and the names of lanes.

/// Order and completeness of one lane at one member.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneState {
    /// Number of the lane in [`LaneNames`].
    pub lane: u32,
    /// Whether the member has come back and this lane has not gone on yet.
    pub is_resumed: bool,
    /// The numbering that `last` is of; 0 where the server has named none.
    pub epoch: u64,
    /// Whether this numbering began anew under a member that came back: then nothing from 1 on may be missing.
    pub is_anew: bool,
    /// The last sequence number delivered or announced; 0 before the first.
    pub last: u64,
    /// Messages delivered.
    pub delivered: u64,
}

/// What a sequence number means to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next, or the first of all.
    Next,
    /// So many before it are missing.
    Hole(u64),
    /// It was there before, or its time has passed.
    Misordered,
}

impl LaneState {
    /// A message with this number arrives.
    pub fn on_message(&mut self, seq: u64) -> Step {
        self.delivered += 1;
        self.on_range(seq, seq)
    }

    /// A batch that begins with this number arrives: up to which number its messages are known already. Only the first one
    /// after a return may hold such: a server resumes at a batch's beginning.
    pub fn on_batch(&mut self, first_seq: u64) -> u64 {
        let is_resumed = std::mem::take(&mut self.is_resumed);
        if is_resumed && first_seq <= self.last { self.last } else { 0 }
    }

    /// A gap notice for these numbers, both included, arrives.
    pub fn on_gap(&mut self, from: u64, to: u64) -> Step {
        if to < from { Step::Misordered } else { self.on_range(from, to) }
    }

    /// The server says which numbering it goes on with: a new one makes the old numbers void.
    pub fn on_epoch(&mut self, epoch: u64) {
        if self.epoch != epoch {
            *self = LaneState { epoch, is_anew: true, last: 0, ..*self };
        }
    }

    fn on_range(&mut self, from: u64, to: u64) -> Step {
        let before = self.last;
        if from <= before {
            return Step::Misordered;
        }
        self.last = to;
        let is_first = before == 0 && !self.is_anew;
        if is_first || from == before + 1 { Step::Next } else { Step::Hole(from - before - 1) }
    }
}

/// Numbers for (topic, priority). A lookup that repeats the last costs one comparison.
#[derive(Default)]
pub struct LaneNames {
    names: Vec<(Vec<u8>, Vec<u8>)>,
    last: usize,
}

impl LaneNames {
    /// The lane's number; a new lane gets the next.
    pub fn number(&mut self, topic: &[u8], priority: &[u8]) -> u32 {
        let is = |(t, p): &(Vec<u8>, Vec<u8>)| t == topic && p == priority;
        if !self.names.get(self.last).is_some_and(is) {
            self.last = match self.names.iter().position(is) {
                Some(known) => known,
                None => {
                    self.names.push((topic.to_vec(), priority.to_vec()));
                    self.names.len() - 1
                }
            };
        }
        self.last as u32
    }

    /// Topic and priority of a lane.
    pub fn name(&self, number: u32) -> (&[u8], &[u8]) {
        let (topic, priority) = &self.names[number as usize];
        (topic, priority)
    }

    /// Whether a lane is critical.
    pub fn is_critical(&self, number: u32) -> bool {
        self.name(number).1 == b"critical"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_may_begin_anywhere_and_then_counts_by_one() {
        let mut lane = LaneState::default();
        assert_eq!(lane.on_message(17), Step::Next);
        assert_eq!(lane.on_message(18), Step::Next);
        assert_eq!(lane.on_gap(19, 40), Step::Next);
        assert_eq!(lane.on_message(41), Step::Next);
        assert_eq!(lane.on_message(41), Step::Misordered);
        assert_eq!(lane.on_message(44), Step::Hole(2));
        assert_eq!(lane.on_gap(44, 45), Step::Misordered);
        assert_eq!(lane.on_gap(47, 46), Step::Misordered);
        assert_eq!(lane.on_gap(47, 48), Step::Hole(2));
        assert_eq!(lane.last, 48);
    }

    #[test]
    fn a_numbering_that_began_anew_begins_with_1() {
        let mut lane = LaneState { epoch: 7, last: 40, ..LaneState::default() };
        lane.on_epoch(7);
        assert_eq!(lane.on_message(41), Step::Next);
        lane.on_epoch(8);
        assert_eq!(lane.on_message(3), Step::Hole(2));
        lane.on_epoch(9);
        assert_eq!(lane.on_gap(1, 5), Step::Next);
        assert_eq!(lane.on_message(6), Step::Next);
    }

    #[test]
    fn only_the_first_batch_after_a_return_may_overlap() {
        let mut lane = LaneState { is_resumed: true, last: 10, ..LaneState::default() };
        assert_eq!(lane.on_batch(8), 10);
        assert_eq!(lane.on_batch(8), 0);
        let mut lane = LaneState { is_resumed: true, last: 10, ..LaneState::default() };
        assert_eq!(lane.on_batch(11), 0);
    }

    #[test]
    fn names_keep_their_numbers() {
        let mut names = LaneNames::default();
        let numbers: Vec<u32> = [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"), ("b", "x")]
            .map(|(t, p)| names.number(t.as_bytes(), p.as_bytes()))
            .into();
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
    }
}
