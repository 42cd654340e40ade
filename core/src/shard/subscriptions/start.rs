//! Where a new cursor begins.

use crate::config::{Retention, nanoseconds};
use crate::log::{Log, Position, Seq};
use crate::proto::server_message::GapReason;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first message that there is for it.
    pub floor: Position,
    /// What it should get before that and cannot: to be announced.
    pub lost: Option<Lost>,
}

/// Messages that a cursor does not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first number that does not come.
    pub from: Seq,
    /// The last.
    pub to: Seq,
    /// How many messages they are; `None`: they were given up before anybody asked, and their numbers have holes.
    pub count: Option<u64>,
    /// Why they do not come.
    pub reason: GapReason,
}

impl Lost {
    /// How many messages they are; one for each number, where nobody knows.
    pub fn count_at_most(&self) -> u64 {
        self.count.unwrap_or(self.to.0 - self.from.0 + 1)
    }
}

/// What the subscriber has of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// It asks for what is new, and for what the topic keeps for newcomers.
    Unknown,
    /// It was there before the lane was: everything is news to it.
    BeforeFirst,
    /// By its own word: the epoch, and the last number (`None`: of this lane it has nothing).
    Since(u64, Option<u64>),
}

/// Where a cursor begins in a lane whose source is `log`.
pub fn start(log: &Log, retention: Retention, epoch: u64, has: Has, wall_ns: impl Fn() -> u64) -> Start {
    let head = log.next();
    if has == Has::BeforeFirst {
        return behind(log, Seq::NONE, log.floor(), GapReason::Lag);
    }
    let last_value = match (retention, log.last()) {
        (Retention::None, _) | (_, None) => head,
        (_, Some(last)) => last.position,
    };
    let floor = match retention {
        Retention::None => head,
        Retention::LastValue => log.floor(),
        Retention::Last { messages, bytes, age } => {
            let floor = log.floor();
            let by_count = messages.map_or(floor, |n| head.back(n));
            let by_bytes = bytes.map_or(floor, |n| log.at_lag(n));
            let by_age = age.map_or(floor, |age| log.at_time(wall_ns().saturating_sub(nanoseconds(age))));
            floor.max(by_count).max(by_bytes).max(by_age).min(head)
        }
    };
    match has {
        // It knows the topic, but had nothing of this lane yet: everything is news to it.
        Has::Since(of, seq) if of == epoch => behind(log, Seq(seq.unwrap_or(0)), floor, GapReason::Retention),
        // Numbering began anew: what it had says nothing about what there is.
        Has::Since(..) => behind(log, Seq::NONE, floor, GapReason::Epoch),
        Has::Unknown | Has::BeforeFirst => Start { floor: last_value, lost: None },
    }
}

/// It has what comes up to number `seq`, and gets what is kept from `floor` on.
fn behind(log: &Log, seq: Seq, floor: Position, reason: GapReason) -> Start {
    let first = log.behind(seq);
    let floor = first.map_or(floor, |first| first.max(floor));
    let count = first.map(|first| floor - first);
    let lost = Lost { from: seq.next(), to: log.edge_before(floor).last, count, reason };
    Start { floor, lost: (count != Some(0)).then_some(lost) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{BlockPool, Edge, Frame, FramePayload, Referrer};
    use crate::types::{ConnectionId, Kind};
    use std::time::Duration;

    /// Messages 1 to 10, of 100 bytes, one a second, with numbers that are `step` apart; the last five are left if `forgets`.
    fn log(forgets: bool, step: u64) -> Log {
        let (mut log, mut pool) = (Log::new(Edge::START, 1 << 20, Referrer::Source), BlockPool::new(1 << 20));
        for n in 1..=10 {
            if forgets && n == 6 {
                log.clear(&mut pool);
            }
            let frame = Frame {
                position: Position(n),
                seq: Seq(n * step),
                count: 1,
                time_ns: n * 1_000_000_000,
                expiry_ns: 0,
                key: 0,
                origin: ConnectionId::HOST,
                is_sender_excluded: false,
                kind: Kind::Binary,
                header: &[],
                payload: FramePayload::Copied(&[0; 100]),
                tail: &[],
                attributes: &[],
            };
            assert!(log.append(&frame, &mut pool));
        }
        log
    }

    #[test]
    fn each_subscriber_begins_where_the_topic_s_retention_and_its_own_word_say() {
        let last =
            |messages, bytes, age: Option<u64>| Retention::Last { messages, bytes, age: age.map(Duration::from_secs) };
        use GapReason::{Epoch, Lag, Retention as Kept};
        for (retention, forgets, has, seq, floor, reason) in [
            (Retention::LastValue, false, Has::Unknown, 10, 10, Lag),
            (Retention::None, false, Has::Unknown, 11, 11, Lag),
            (Retention::LastValue, false, Has::Since(7, Some(4)), 5, 5, Kept),
            (Retention::LastValue, true, Has::Since(7, Some(2)), 3, 6, Kept),
            (Retention::LastValue, true, Has::Since(7, None), 1, 6, Kept),
            (Retention::LastValue, true, Has::Since(8, Some(4)), 1, 6, Epoch),
            (Retention::LastValue, false, Has::Since(7, Some(99)), 11, 11, Kept),
            (Retention::None, false, Has::Since(7, Some(4)), 5, 11, Kept),
            (last(Some(3), None, None), false, Has::Since(7, Some(1)), 2, 8, Kept),
            (last(None, Some(250), None), false, Has::Since(7, Some(1)), 2, 9, Kept),
            (last(None, None, Some(4)), false, Has::Since(7, Some(1)), 2, 8, Kept),
            (Retention::None, false, Has::BeforeFirst, 1, 1, Lag),
            (Retention::None, true, Has::BeforeFirst, 1, 6, Lag),
        ] {
            let found = start(&log(forgets, 1), retention, 7, has, || 12_000_000_000);
            let lost = Lost { from: Seq(seq), to: Seq(floor - 1), count: Some(floor - seq), reason };
            let expected = Start { floor: Position(floor), lost: (seq < floor).then_some(lost) };
            assert_eq!(found, expected, "{retention:?} {forgets} {has:?}");
        }
    }

    #[test]
    fn a_resume_over_numbers_that_jump_counts_messages_and_says_where_it_cannot() {
        let last = Retention::Last { messages: Some(3), bytes: None, age: None };
        use GapReason::{Epoch, Lag, Retention as Kept};
        // Numbers 10, 20, … 100; of those to 50 it is forgotten how many they were, but not that they were five in all.
        for (retention, forgets, has, floor, lost) in [
            (Retention::LastValue, false, Has::Since(7, Some(40)), 5, None),
            (Retention::LastValue, false, Has::Since(7, Some(45)), 5, None),
            (Retention::LastValue, false, Has::Since(7, Some(100)), 11, None),
            (Retention::LastValue, false, Has::Since(7, Some(999)), 11, None),
            (Retention::LastValue, true, Has::Since(7, Some(50)), 6, None),
            (Retention::LastValue, true, Has::Since(7, Some(59)), 6, None),
            (Retention::LastValue, true, Has::Since(7, Some(60)), 7, None),
            (Retention::LastValue, true, Has::Since(7, Some(49)), 6, Some((50, 50, None, Kept))),
            (Retention::LastValue, true, Has::Since(7, Some(20)), 6, Some((21, 50, None, Kept))),
            (Retention::LastValue, true, Has::Since(7, None), 6, Some((1, 50, Some(5), Kept))),
            (Retention::LastValue, true, Has::Since(8, Some(70)), 6, Some((1, 50, Some(5), Epoch))),
            (last, false, Has::Since(7, Some(30)), 8, Some((31, 70, Some(4), Kept))),
            (last, true, Has::Since(7, Some(60)), 8, Some((61, 70, Some(1), Kept))),
            (Retention::LastValue, true, Has::BeforeFirst, 6, Some((1, 50, Some(5), Lag))),
            (Retention::LastValue, true, Has::Unknown, 10, None),
        ] {
            let found = start(&log(forgets, 10), retention, 7, has, || 12_000_000_000);
            let lost = lost.map(|(from, to, count, reason)| Lost { from: Seq(from), to: Seq(to), count, reason });
            assert_eq!(found, Start { floor: Position(floor), lost }, "{retention:?} {forgets} {has:?}");
        }
    }
}
