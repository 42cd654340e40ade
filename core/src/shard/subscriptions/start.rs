//! Where a new cursor begins.

use crate::config::{Retention, nanoseconds};
use crate::log::Log;
use crate::proto::server_message::GapReason;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first message that it should get.
    pub seq: u64,
    /// The first that there is for it: what lies between is announced as lost.
    pub floor: u64,
    /// Why it is lost.
    pub reason: GapReason,
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
    let head = log.next_seq();
    if has == Has::BeforeFirst {
        return Start { seq: 1, floor: log.floor_seq().max(1), reason: GapReason::Lag };
    }
    let last_value = match (retention, log.last()) {
        (Retention::None, _) | (_, None) => head,
        (_, Some(last)) => last.seq,
    };
    let floor = match retention {
        Retention::None => head,
        Retention::LastValue => log.floor_seq(),
        Retention::Last { messages, bytes, age } => {
            let by_count = messages.map_or(0, |n| head.saturating_sub(n));
            let by_bytes = bytes.map_or(0, |n| log.seq_at_lag(n));
            let by_age = age.map_or(0, |age| log.seq_at_time(wall_ns().saturating_sub(nanoseconds(age))));
            log.floor_seq().max(by_count).max(by_bytes).max(by_age).min(head)
        }
    };
    match has {
        // It knows the topic, but had nothing of this lane yet: everything is news to it.
        Has::Since(of, seq) if of == epoch => {
            let wanted = seq.unwrap_or(0).saturating_add(1).min(head);
            Start { seq: wanted, floor: floor.max(wanted), reason: GapReason::Retention }
        }
        // Numbering began anew: what it had says nothing about what there is.
        Has::Since(..) => Start { seq: 1, floor, reason: GapReason::Epoch },
        Has::Unknown | Has::BeforeFirst => Start { seq: last_value, floor: last_value, reason: GapReason::Lag },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{BlockPool, Frame, FramePayload, Referrer};
    use crate::types::{ConnectionId, Kind};
    use std::time::Duration;

    /// Messages 1 to 10, of 100 bytes, one a second; the last five are left if `forgets`.
    fn log(forgets: bool) -> Log {
        let (mut log, mut pool) = (Log::new(1, 1 << 20, Referrer::Source), BlockPool::new(1 << 20));
        for n in 1..=10 {
            if forgets && n == 6 {
                log.clear(&mut pool);
            }
            let frame = Frame {
                seq: n,
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
            let found = start(&log(forgets), retention, 7, has, || 12_000_000_000);
            assert_eq!(found, Start { seq, floor, reason }, "{retention:?} {forgets} {has:?}");
        }
    }
}
