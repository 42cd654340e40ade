//! The log against a model that keeps every frame as a vector.

use std::collections::VecDeque;
use std::io::IoSlice;

use arrayvec::ArrayVec;
use proptest::prelude::*;

use super::stream::ENTRY_BYTES;
use super::{BlockPool, Edge, Entry, Frame, FramePayload, Log, Place, Position, Referrer, Seq};
use crate::ingest::{Payload, PayloadPool};
use crate::types::{ConnectionId, Kind};

pub(super) const BUDGET: usize = 64 << 10;

pub(super) fn bytes(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seq as usize * 31 + i * 7) as u8).collect()
}

pub(super) fn frame<'a>(seq: u64, header: &'a [u8], payload: FramePayload<'a>, tail: &'a [u8]) -> Frame<'a> {
    Frame {
        position: Position(seq),
        seq: Seq(seq),
        count: 1,
        time_ns: seq * 10,
        expiry_ns: 0,
        key: 0,
        is_sender_excluded: false,
        origin: ConnectionId::HOST,
        kind: Kind::Binary,
        header,
        payload,
        tail,
        attributes: &[],
    }
}

/// As the shard does it: within the budget.
fn append(
    log: &mut Log,
    pool: &mut BlockPool,
    seq: u64,
    header: &[u8],
    payload: FramePayload<'_>,
    tail: &[u8],
) -> bool {
    let frame = frame(seq, header, payload, tail);
    while log.is_over_budget_with(&frame) && log.survivor_of_forgetting().is_some() {
        log.forget_oldest(pool);
    }
    let is_appended = log.append_plain(&frame, pool) || log.append(&frame, pool);
    while log.is_over_budget() && log.survivor_of_forgetting().is_some() {
        log.forget_oldest(pool);
    }
    is_appended
}

pub(super) fn read(log: &Log, from: u64, to: u64) -> Vec<u8> {
    let mut all = Vec::new();
    let mut at = from;
    while at < to {
        let mut parts: ArrayVec<IoSlice<'_>, 4> = ArrayVec::new();
        let n = log.gather(at, to, 10_000, &mut parts);
        assert!(n > 0, "gather makes progress");
        assert_eq!(n, parts.iter().map(|p| p.len()).sum::<usize>());
        parts.iter().for_each(|p| all.extend_from_slice(p));
        at += n as u64;
    }
    all
}

#[derive(Clone, Debug)]
enum Op {
    Copied(usize),
    Shared(usize),
    Skip,
    Forget,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..3_000).prop_map(Op::Copied),
        2 => (3_000usize..30_000).prop_map(Op::Copied),
        2 => (1usize..40_000).prop_map(Op::Shared),
        1 => Just(Op::Skip),
        1 => Just(Op::Forget),
        1 => Just(Op::Clear),
    ]
}

/// Leaves a message out.
pub(super) fn skip(log: &mut Log, position: u64) {
    log.skip_to(Edge::counted(Position(position + 1)));
}

/// A log that no budget and no pool limits, with smallest blocks as long as it holds little.
pub(super) fn ample() -> (BlockPool, Log) {
    (BlockPool::new(16 << 20), Log::new(Edge::START, BUDGET - 1, Referrer::Source))
}

/// Appends the next frame, whatever the budget says: no header, `len` bytes.
pub(super) fn push(log: &mut Log, pool: &mut BlockPool, len: usize) -> bool {
    let seq = log.next().0;
    log.append(&frame(seq, b"", FramePayload::Copied(&bytes(seq, len)), b""), pool)
}

pub(super) fn pushed(log: &mut Log, pool: &mut BlockPool, lens: &[usize]) {
    lens.iter().for_each(|&len| assert!(push(log, pool, len)));
}

pub(super) fn shared(len: usize) -> Payload {
    PayloadPool::new(16 << 20).copy_from(&bytes(9, len)).unwrap()
}

pub(super) fn at(log: &Log, seq: u64) -> Entry {
    match log.place(Position(seq)) {
        Place::At(entry) => entry,
        other => panic!("{seq} is at {other:?}"),
    }
}

pub(super) const BLOCK: usize = 4 << 10;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_held_frame_reads_back_and_every_lost_one_is_known_lost(ops in prop::collection::vec(op(), 1..200)) {
        let payloads = PayloadPool::new(16 << 20);
        let mut pool = BlockPool::new(1 << 20);
        let mut log = Log::new(Edge::START, BUDGET, Referrer::Source);
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut seq = 1;
        for op in ops {
            match op {
                Op::Copied(len) => {
                    let payload = bytes(seq, len);
                    prop_assert!(append(&mut log, &mut pool, seq, b"head", FramePayload::Copied(&payload), b""));
                    model.push_back((seq, [b"head", payload.as_slice()].concat()));
                    seq += 1;
                }
                Op::Shared(len) => {
                    let payload = bytes(seq, len);
                    let shared: Payload = payloads.copy_from(&payload).unwrap();
                    prop_assert!(append(&mut log, &mut pool, seq, b"h", FramePayload::Shared(&shared), b"tail"));
                    model.push_back((seq, [b"h", payload.as_slice(), b"tail"].concat()));
                    seq += 1;
                }
                Op::Skip => {
                    skip(&mut log, seq);
                    seq += 1;
                }
                Op::Forget => log.forget_oldest(&mut pool),
                Op::Clear => {
                    log.clear(&mut pool);
                    model.clear();
                }
            }
            let floor = log.floor().0;
            model.retain(|(s, _)| *s >= floor);
            prop_assert_eq!(log.next().0, seq);
            prop_assert_eq!(log.frames(), model.len());
            prop_assert!(log.charged_bytes() <= BUDGET || log.frames() <= 1 || log.survivor_of_forgetting().is_none());
            for (s, frame) in &model {
                let Place::At(entry) = log.place(Position(*s)) else { panic!("frame {s} is held") };
                prop_assert_eq!(entry.position.0, *s);
                let end = entry.offset + u64::from(entry.len);
                prop_assert_eq!(&read(&log, entry.offset, end), frame);
                prop_assert_eq!(log.entry_at_offset(entry.offset).unwrap().position.0, *s);
                prop_assert_eq!(log.entry_at_offset(end - 1).unwrap().position.0, *s);
            }
            if let Some((first, _)) = model.front() {
                let Place::At(entry) = log.place(Position(*first)) else { panic!() };
                let whole: Vec<u8> = model.iter().flat_map(|(_, f)| f.iter().copied()).collect();
                prop_assert_eq!(read(&log, entry.offset, log.head()), whole);
                if *first > 1 {
                    prop_assert!(matches!(log.place(Position(first - 1)), Place::Before(e) if e.position.0 == *first));
                }
            }
            prop_assert_eq!(log.place(Position(seq)), Place::End);
        }
        log.clear(&mut pool);
        prop_assert_eq!(pool.lent_bytes(), 0);
        prop_assert_eq!(log.charged_bytes(), 0);
        prop_assert_eq!(payloads.used_bytes(), 0);
    }
}

#[test]
fn a_dry_pool_leaves_the_log_as_it_was() {
    let mut pool = BlockPool::new(4 << 10);
    let mut log = Log::new(Edge::START, 1 << 20, Referrer::Source);
    assert!(append(&mut log, &mut pool, 1, b"", FramePayload::Copied(&[1; 4_000]), b""));
    let (head, charged) = (log.head(), log.charged_bytes());
    assert!(!append(&mut log, &mut pool, 2, b"", FramePayload::Copied(&[2; 200]), b""));
    assert_eq!((log.head(), log.charged_bytes(), log.next().0), (head, charged, 2));
    assert!(append(&mut log, &mut pool, 2, b"", FramePayload::Copied(&[3; 96]), b""));
    assert_eq!(read(&log, head, log.head()), [3; 96]);
}

#[test]
fn the_index_has_an_allowance_of_its_own() {
    let mut pool = BlockPool::new(64 << 10);
    let mut log = Log::new(Edge::START, 1 << 30, Referrer::Source);
    let mut seq = 1;
    while append(&mut log, &mut pool, seq, b"", FramePayload::Copied(b"x"), b"") {
        seq += 1;
    }
    assert_eq!((seq - 1) as usize, BlockPool::index_limit_bytes(64 << 10) / ENTRY_BYTES);
}

#[test]
fn the_newest_frame_is_kept_even_above_the_budget() {
    let mut pool = BlockPool::new(1 << 20);
    let mut log = Log::new(Edge::START, 16 << 10, Referrer::Source);
    for seq in 1..=3 {
        assert!(append(&mut log, &mut pool, seq, b"", FramePayload::Copied(&bytes(seq, 100_000)), b""));
        assert!(matches!(log.place(Position(seq)), Place::At(_)));
        assert_eq!(log.frames(), 1);
    }
}

#[test]
fn a_lag_names_the_oldest_frame_within_it_and_never_passes_the_newest() {
    let mut pool = BlockPool::new(1 << 20);
    let mut log = Log::new(Edge::START, 1 << 20, Referrer::Source);
    for seq in 1..=10 {
        assert!(append(&mut log, &mut pool, seq, b"", FramePayload::Copied(&[0; 100]), b""));
    }
    assert_eq!([1_000, 999, 100, 0].map(|lag| log.at_lag(lag).0), [1, 2, 10, 10]);
}
