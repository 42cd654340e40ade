//! Numbers that are not positions: where they are known, what they cost, and against a model of every message there ever was.

use proptest::prelude::*;

use super::attributes::ATTRIBUTED_BYTES;
use super::labels::LABEL_BYTES;
use super::stream::ENTRY_BYTES;
use super::tests::{BLOCK, ample, frame};
use super::{BlockPool, Edge, Frame, FramePayload, Log, Position, Referrer, Seq};

/// Appends `count` messages in one frame, the first with number `seq`.
fn append(log: &mut Log, pool: &mut BlockPool, seq: u64, count: u32) -> bool {
    let position = log.next();
    log.append(&Frame { position, seq: Seq(seq), count, ..frame(1, b"", FramePayload::Copied(&[7; 100]), b"") }, pool)
}

/// Messages with these numbers, one to a frame.
fn numbered(seqs: &[u64]) -> (BlockPool, Log) {
    let (mut pool, mut log) = ample();
    seqs.iter().for_each(|&seq| assert!(append(&mut log, &mut pool, seq, 1)));
    (pool, log)
}

#[test]
fn as_long_as_numbers_are_positions_they_cost_nothing() {
    let (mut pool, mut log) = numbered(&[1, 2, 3]);
    assert!(log.is_counted());
    assert_eq!(log.charged_bytes(), BLOCK + 3 * ENTRY_BYTES);
    assert_eq!(log.end(), Edge::counted(Position(4)));
    assert_eq!([0, 1, 3, 4].map(|at| log.seq_of(Position(at))), [Some(0), Some(1), Some(3), None].map(|n| n.map(Seq)));
    assert_eq!([0, 1, 3, 9].map(|seq| log.behind(Seq(seq))), [1, 2, 4, 4].map(|at| Some(Position(at))));
    // From the first that is none on: all that are there.
    assert!(append(&mut log, &mut pool, 9, 1));
    assert!(!log.is_counted());
    assert_eq!(log.charged_bytes(), BLOCK + 4 * (ENTRY_BYTES + LABEL_BYTES));
    assert!(append(&mut log, &mut pool, 10, 1));
    assert_eq!(log.charged_bytes(), BLOCK + 5 * (ENTRY_BYTES + LABEL_BYTES));
    log.clear(&mut pool);
    assert_eq!((log.charged_bytes(), log.end()), (0, Edge { next: Position(6), last: Seq(10) }));
    assert!(pool.charge_index(BlockPool::index_limit_bytes(16 << 20)), "all of it is given back");
}

#[test]
fn a_frame_whose_number_finds_no_room_leaves_the_log_as_it_was() {
    let limit = 64 << 10;
    for (spare, fits) in [(ENTRY_BYTES + 4 * LABEL_BYTES - 1, false), (ENTRY_BYTES + 4 * LABEL_BYTES, true)] {
        let mut pool = BlockPool::new(limit);
        let mut log = Log::new(Edge::START, usize::MAX, Referrer::Source);
        (1..=3).for_each(|seq| assert!(append(&mut log, &mut pool, seq, 1)));
        assert!(pool.charge_index(BlockPool::index_limit_bytes(limit) - 3 * ENTRY_BYTES - spare));
        assert_eq!(append(&mut log, &mut pool, 50, 1), fits);
        assert_eq!((log.frames(), log.last_seq()), if fits { (4, Seq(50)) } else { (3, Seq(3)) });
        log.clear(&mut pool);
        assert_eq!(log.charged_bytes(), 0);
    }
}

#[test]
fn attributes_are_charged_held_and_forgotten_with_their_message() {
    let (mut pool, mut log) = ample();
    let mut scratch = Vec::new();
    let mut append = |log: &mut Log, attributes: &[u8], len: usize| {
        let (position, seq) = (log.next(), log.last_seq().next());
        let bytes = vec![7; len];
        log.append(&Frame { position, seq, attributes, ..frame(1, b"", FramePayload::Copied(&bytes), b"") }, &mut pool)
    };
    assert!(append(&mut log, b"first", BLOCK) && append(&mut log, b"", 10) && append(&mut log, b"third", 10));
    assert_eq!(log.charged_bytes(), 2 * BLOCK + 3 * ENTRY_BYTES + 2 * (ATTRIBUTED_BYTES + 5));
    let said = |log: &Log, scratch: &mut Vec<u8>| [1, 2, 3, 4].map(|at| log.attributes(Position(at), scratch).to_vec());
    assert_eq!(said(&log, &mut scratch), [&b"first"[..], b"", b"third", b""]);
    log.forget_oldest(&mut pool);
    assert_eq!(said(&log, &mut scratch), [&b""[..], b"", b"third", b""]);
    assert_eq!(log.charged_bytes(), BLOCK + 2 * ENTRY_BYTES + ATTRIBUTED_BYTES + 5);
    log.clear(&mut pool);
    assert_eq!((log.charged_bytes(), said(&log, &mut scratch)[2].len()), (0, 0));
    assert!(pool.charge_index(BlockPool::index_limit_bytes(16 << 20)), "all of it is given back");
}

#[test]
fn a_frame_whose_attributes_find_no_room_leaves_the_log_as_it_was() {
    let limit = 64 << 10;
    for (spare, fits) in [(ENTRY_BYTES + ATTRIBUTED_BYTES + 9, false), (ENTRY_BYTES + ATTRIBUTED_BYTES + 10, true)] {
        let mut pool = BlockPool::new(limit);
        let mut log = Log::new(Edge::START, usize::MAX, Referrer::Source);
        assert!(pool.charge_index(BlockPool::index_limit_bytes(limit) - spare));
        let frame = Frame { attributes: &[1; 10], ..frame(1, b"", FramePayload::Copied(b"x"), b"") };
        assert_eq!(log.append(&frame, &mut pool), fits);
        assert_eq!(
            (log.frames(), log.attributes(Position(1), &mut Vec::new()).len()),
            if fits { (1, 10) } else { (0, 0) }
        );
        assert!(!fits || !pool.charge_index(1));
        log.clear(&mut pool);
        assert!(pool.charge_index(spare), "nothing is kept of what did not fit");
    }
}

#[test]
#[should_panic(expected = "numbers only grow")]
fn a_number_does_not_come_twice() {
    let (mut pool, mut log) = numbered(&[1, 7]);
    let _ = append(&mut log, &mut pool, 7, 1);
}

#[test]
fn what_is_forgotten_is_known_up_to_its_last_number() {
    let (mut pool, mut log) = numbered(&[10, 20]);
    log.clear(&mut pool);
    assert!(append(&mut log, &mut pool, 30, 1));
    let behind = |log: &Log, seq| log.behind(Seq(seq)).map(|position| position.0);
    assert_eq!(
        [0, 1, 19, 20, 29, 30, 31].map(|seq| behind(&log, seq)),
        [Some(1), None, None, Some(3), Some(3), Some(4), Some(4)]
    );
    assert_eq!([3, 4].map(|at| log.edge_before(Position(at)).last), [Seq(20), Seq(30)]);
    assert_eq!([1, 2, 3, 4].map(|at| log.seq_of(Position(at))), [None, None, Some(Seq(30)), None]);
}

#[test]
fn what_is_skipped_and_begun_anew_goes_on_with_the_number_that_is_said() {
    let (mut pool, mut log) = numbered(&[1, 2]);
    log.clear(&mut pool);
    log.skip_to(Edge { next: Position(9), last: Seq(70) });
    assert_eq!((log.end(), log.edge_before(Position(9)).last), (Edge { next: Position(9), last: Seq(70) }, Seq(70)));
    assert_eq!([1, 2, 3].map(|seq| log.behind(Seq(seq))), [Some(Position(2)), Some(Position(3)), None]);
    // The third was never there: its number is 3 at least, and that of the next one 71.
    assert_eq!([2, 3, 4, 9].map(|at| log.least_seq_of(Position(at)).0), [2, 3, 71, 71]);
    assert!(append(&mut log, &mut pool, 71, 3));
    assert_eq!((log.seq_of(Position(11)), log.behind(Seq(72))), (Some(Seq(73)), Some(Position(11))));
    log.restart(Edge { next: Position(5), last: Seq(40) }, &mut pool);
    assert_eq!((log.end(), log.is_counted()), (Edge { next: Position(5), last: Seq(40) }, false));
    log.restart(Edge::counted(Position(5)), &mut pool);
    assert!(log.is_counted() && append(&mut log, &mut pool, 5, 1) && log.is_counted());
}

#[derive(Clone, Debug)]
enum Op {
    /// A frame of so many messages, whose first number is so far beyond the last.
    Append(u32, u64),
    Skip(u64, u64),
    Forget,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u32..4, Just(0u64)).prop_map(|(count, jump)| Op::Append(count, jump)),
        3 => (1u32..4, 0u64..30).prop_map(|(count, jump)| Op::Append(count, jump)),
        1 => (1u64..4, 0u64..9).prop_map(|(messages, jump)| Op::Skip(messages, jump)),
        2 => Just(Op::Forget),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn positions_and_numbers_belong_together(ops in prop::collection::vec(op(), 1..120)) {
        let (mut pool, mut log) = ample();
        // The number of each message, by position from 1 on; `None`: this log never had it.
        let mut all: Vec<(u64, bool)> = Vec::new();
        for op in ops {
            let last = all.last().map_or(0, |(seq, _)| *seq);
            match op {
                Op::Append(count, jump) => {
                    prop_assert!(append(&mut log, &mut pool, last + 1 + jump, count));
                    all.extend((0..u64::from(count)).map(|k| (last + 1 + jump + k, true)));
                }
                Op::Skip(messages, jump) => {
                    log.clear(&mut pool);
                    let next = Position(all.len() as u64 + messages + 1);
                    // Any numbers that grow will do for those that were never seen.
                    log.skip_to(Edge { next, last: Seq(last + messages + jump) });
                    all.extend((1..=messages).map(|k| (last + k + if k == messages { jump } else { 0 }, false)));
                }
                Op::Forget => log.forget_oldest(&mut pool),
                Op::Clear => log.clear(&mut pool),
            }
            let (floor, next) = (log.floor().0, log.next().0);
            prop_assert_eq!(next, all.len() as u64 + 1);
            let seq_at = |position: u64| all[position as usize - 1].0;
            for position in floor..next {
                prop_assert_eq!(log.seq_of(Position(position)), Some(Seq(seq_at(position))));
            }
            for position in 1..floor {
                let known = log.seq_of(Position(position));
                prop_assert!(known.is_none_or(|seq| seq.0 == seq_at(position)), "{} of {:?}", position, all);
            }
            for position in floor..=next {
                let before = if position == 1 { 0 } else { seq_at(position - 1) };
                prop_assert_eq!(log.edge_before(Position(position)).last, Seq(before));
            }
            let end = all.last().map_or(0, |(seq, _)| *seq);
            for seq in 0..=end + 1 {
                let behind = all.partition_point(|(other, _)| *other <= seq) as u64 + 1;
                match log.behind(Seq(seq)) {
                    Some(found) => prop_assert_eq!(found.0, behind, "behind {} of {:?}, from {}", seq, all, floor),
                    None => prop_assert!(behind < floor, "behind {} of {:?}, from {}", seq, all, floor),
                }
            }
        }
    }
}
