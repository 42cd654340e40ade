//! What a log holds, charges and gives back: to the byte, at every limit and one past it.

use super::stream::ENTRY_BYTES;
use super::tests::{BLOCK, BUDGET, ample, at, bytes, frame, push, pushed, read, shared, skip};
use super::{BlockPool, Edge, Frame, FramePayload, Log, Place, Position, Referrer, Seq};
use crate::ingest::Payload;

#[test]
fn all_that_a_log_holds_is_charged_until_it_is_forgotten() {
    let (payloads, limit) = ([shared(300), shared(5_000)], usize::MAX);
    let held = payloads.each_ref().map(Payload::held_bytes);
    let mut pool = BlockPool::new(1 << 20).with_referred_limits(0, held[0] + held[1]);
    let mut log = Log::new(Edge::START, limit, Referrer::Derived);
    assert!(log.append(&frame(1, b"head", FramePayload::Shared(&payloads[0]), b""), &mut pool));
    assert_eq!((log.charged_bytes(), log.referred_bytes()), (BLOCK + 300 + ENTRY_BYTES, held[0]));
    assert!(log.append(&frame(2, b"head", FramePayload::Shared(&payloads[1]), b"tail"), &mut pool));
    assert_eq!(log.charged_bytes(), 3 * BLOCK + 5_300 + 2 * ENTRY_BYTES);
    assert_eq!((pool.lent_bytes(), log.referred_bytes()), (3 * BLOCK, held[0] + held[1]));
    assert!(pool.lacks_references(Referrer::Derived, 1));

    assert_eq!(log.survivor_of_forgetting(), Some(Position(2)));
    log.forget_oldest(&mut pool);
    assert_eq!((log.floor().0, log.charged_bytes()), (2, 2 * BLOCK + 5_000 + ENTRY_BYTES));
    assert_eq!((pool.lent_bytes(), log.referred_bytes()), (2 * BLOCK, held[1]));
    assert!(
        !pool.lacks_references(Referrer::Derived, held[0]) && pool.lacks_references(Referrer::Derived, held[0] + 1)
    );

    log.clear(&mut pool);
    assert_eq!((log.charged_bytes(), log.referred_bytes(), pool.lent_bytes()), (0, 0, 0));
    assert!(!pool.lacks_references(Referrer::Derived, held[0] + held[1]));
}

#[test]
fn an_empty_payload_by_reference_takes_nothing() {
    let empty = shared(0);
    let mut pool = BlockPool::new(1 << 20).with_referred_limits(0, 0);
    let mut log = Log::new(Edge::START, BUDGET, Referrer::Source);
    assert!(log.append(&frame(1, b"he", FramePayload::Shared(&empty), b"ad"), &mut pool));
    assert_eq!((log.charged_bytes(), log.referred_bytes()), (BLOCK + ENTRY_BYTES, 0));
    assert_eq!(log.run(0, 4, 9), b"head");
}

#[test]
fn the_index_allowance_of_what_is_forgotten_is_there_again() {
    let limit_bytes = 64 << 10;
    let entries = BlockPool::index_limit_bytes(limit_bytes) / ENTRY_BYTES;
    let mut pool = BlockPool::new(limit_bytes);
    let mut log = Log::new(Edge::START, usize::MAX, Referrer::Source);
    let fill = |log: &mut Log, pool: &mut BlockPool| while push(log, pool, 100) {};
    for _ in 0..3 {
        fill(&mut log, &mut pool);
        assert_eq!(log.frames(), entries);
        let gone = log.survivor_of_forgetting().unwrap() - log.floor();
        log.forget_oldest(&mut pool);
        assert_eq!(log.frames() as u64, entries as u64 - gone);
        fill(&mut log, &mut pool);
        assert_eq!(log.frames(), entries);
        log.clear(&mut pool);
    }
}

#[test]
fn whatever_refuses_a_frame_the_log_stays_as_it_was() {
    let (payload, small) = (shared(2_000), 3 * BLOCK);
    let held = payload.held_bytes();
    // What is before the frame, the pool, and what it lacks for a header, a payload by reference and a tail.
    for (what, before, blocks, references, index) in [
        ("a block for the header", BLOCK, BLOCK, held, 0),
        ("references", BLOCK, small, held - 1, 0),
        ("references, with room for the header", 10, small, held - 1, 0),
        ("a block for the tail", 10, BLOCK, held, 0),
        ("blocks for header and tail", BLOCK, 2 * BLOCK, held, 0),
        ("an index entry", BLOCK, small, held, BlockPool::index_limit_bytes(small) - 2 * ENTRY_BYTES + 1),
    ] {
        let mut pool = BlockPool::new(blocks).with_referred_limits(references, 0);
        let mut log = Log::new(Edge::START, usize::MAX, Referrer::Source);
        assert!(pool.charge_index(index));
        pushed(&mut log, &mut pool, &[before]);
        let state = |log: &Log, pool: &BlockPool| {
            let sums = (log.charged_bytes(), log.referred_bytes(), pool.lent_bytes());
            (sums, log.head(), log.next().0, log.frames(), log.last())
        };
        let expected = state(&log, &pool);
        assert!(!log.append(&frame(2, b"head", FramePayload::Shared(&payload), b"tail"), &mut pool), "{what}");
        assert_eq!(state(&log, &pool), expected, "{what}");
        assert!(!pool.lacks_references(Referrer::Source, references), "{what}");
        assert_eq!(read(&log, 0, log.head()), bytes(1, before), "{what}");
        // It goes on where it was.
        pool.release_index(index);
        skip(&mut log, 2);
        if before < BLOCK {
            pushed(&mut log, &mut pool, &[BLOCK - before]);
            assert_eq!(pool.lent_bytes(), BLOCK, "{what}");
            assert_eq!(read(&log, 0, log.head()), [bytes(1, before), bytes(3, BLOCK - before)].concat(), "{what}");
        }
    }
}

#[test]
fn a_frame_is_over_the_budget_exactly_if_the_log_is_over_it_afterwards() {
    let shared = shared(5_000);
    for before in [0, 1, BLOCK - 5, BLOCK - 4, BLOCK - 3, BLOCK, BLOCK + 10] {
        for header in [0, 4, 5] {
            for tail in [0, 3] {
                for payload in [
                    FramePayload::Copied(&[]),
                    FramePayload::Copied(&[1; 2]),
                    FramePayload::Copied(&[1; BLOCK - 5]),
                    FramePayload::Copied(&[1; BLOCK]),
                    FramePayload::Copied(&[1; 2 * BLOCK + 1]),
                    FramePayload::Shared(&shared),
                ] {
                    let (header, tail) = (&[0; 8][..header], &[0; 8][..tail]);
                    let with_budget = |budget| {
                        let mut pool = BlockPool::new(1 << 20);
                        let mut log = Log::new(Edge::START, budget, Referrer::Source);
                        if before > 0 {
                            pushed(&mut log, &mut pool, &[before]);
                        }
                        let frame = frame(2, header, payload, tail);
                        let is_over = log.is_over_budget_with(&frame);
                        assert!(log.append(&frame, &mut pool));
                        assert_eq!(log.is_over_budget(), is_over, "{before}, {frame:?}, {budget}");
                        (is_over, log.charged_bytes())
                    };
                    let (_, charged) = with_budget(0);
                    assert_eq!(with_budget(charged), (false, charged));
                    assert_eq!(with_budget(charged + 1), (false, charged));
                    assert_eq!(with_budget(charged - 1), (true, charged));
                }
            }
        }
    }
}

#[test]
fn a_frame_that_takes_nothing_new_is_appended_at_once_and_any_other_changes_nothing() {
    let (payload, limit) = (shared(9), 1 << 20);
    let plain = frame(2, b"head", FramePayload::Copied(b"body"), b"end");
    let full = BLOCK + 2 * ENTRY_BYTES;
    let charged = BlockPool::index_limit_bytes(limit) - ENTRY_BYTES;
    for (what, before, budget, charged, frame, is_taken) in [
        ("the rest of the block", BLOCK - 11, full, charged, plain, true),
        ("a byte more than that", BLOCK - 10, full, charged, plain, false),
        ("nothing to write in yet", 0, full, charged, plain, false),
        ("a byte of budget too little", 1, full - 1, charged, plain, false),
        ("a byte of index too little", 1, full, charged + 1, plain, false),
        ("positions left out", 1, full, charged, Frame { position: Position(3), seq: Seq(3), ..plain }, false),
        ("a number of its own", 1, full, charged, Frame { seq: Seq(3), ..plain }, false),
        ("attributes", 1, full, charged, Frame { attributes: b"x", ..plain }, false),
        ("by reference", 1, full, charged, Frame { payload: FramePayload::Shared(&payload), ..plain }, false),
    ] {
        let mut pool = BlockPool::new(limit);
        let mut log = Log::new(Edge::START, budget, Referrer::Source);
        match before {
            0 => skip(&mut log, 1),
            len => pushed(&mut log, &mut pool, &[len]),
        }
        let index = charged - if before > 0 { ENTRY_BYTES } else { 0 };
        assert!(pool.charge_index(index));
        let of = |log: &Log| (log.next(), log.head(), log.charged_bytes(), log.frames(), log.segments());
        let (was, head) = (of(&log), log.head());
        assert_eq!(log.append_plain(&frame, &mut pool), is_taken, "{what}");
        if is_taken {
            assert_eq!(of(&log), (Position(3), BLOCK as u64, full, 2, 1));
            assert_eq!((read(&log, head, log.head()), at(&log, 2).len), (b"headbodyend".to_vec(), 11));
        } else {
            assert_eq!(of(&log), was, "{what}");
        }
        log.clear(&mut pool);
        pool.release_index(index);
        assert!(pool.charge_index(BlockPool::index_limit_bytes(limit)), "{what}: all of the index is given back");
    }
}

#[test]
fn blocks_grow_with_the_log_up_to_a_quarter_of_its_budget() {
    for (charged, budget, block) in [
        (0, 1 << 20, 4),
        ((16 << 10) - 1, 1 << 20, 4),
        (16 << 10, 1 << 20, 16),
        ((64 << 10) - 1, 1 << 20, 16),
        (64 << 10, 1 << 20, 64),
        (64 << 10, 256 << 10, 64),
        (64 << 10, (256 << 10) - 1, 16),
        (64 << 10, 64 << 10, 16),
        (64 << 10, (64 << 10) - 1, 4),
        (64 << 10, 16 << 10, 4),
        (64 << 10, (16 << 10) - 1, 4),
        (0, 0, 4),
    ] {
        let mut pool = BlockPool::new(1 << 20);
        let mut log = Log::new(Edge::START, budget, Referrer::Source);
        if charged > 0 {
            let filling = shared(charged - ENTRY_BYTES);
            assert!(log.append(&frame(1, b"", FramePayload::Shared(&filling), b""), &mut pool));
        }
        assert_eq!(log.charged_bytes(), charged);
        let next = frame(2, b"", FramePayload::Copied(b"x"), b"");
        assert_eq!(log.is_over_budget_with(&next), charged + (block << 10) + ENTRY_BYTES > budget);
        assert!(log.append(&next, &mut pool));
        assert_eq!(pool.lent_bytes(), block << 10, "{charged} of {budget}");
    }
}

#[test]
fn a_smaller_block_will_do_where_the_pool_has_no_larger_one() {
    let filling = shared(64 << 10);
    let mut pool = BlockPool::new(24 << 10);
    let mut log = Log::new(Edge::START, 1 << 20, Referrer::Source);
    assert!(log.append(&frame(1, b"", FramePayload::Shared(&filling), b""), &mut pool));
    for lent in [16, 20, 24] {
        assert!(push(&mut log, &mut pool, 1));
        assert_eq!(pool.lent_bytes(), lent << 10);
        let rest = (log.head() as usize).next_multiple_of(BLOCK) - log.head() as usize;
        let rest = if lent == 16 { (16 << 10) - 1 } else { rest };
        assert!(push(&mut log, &mut pool, rest));
        assert_eq!(pool.lent_bytes(), lent << 10, "the block is filled to its last byte");
    }
    assert!(!push(&mut log, &mut pool, 1));
}

#[test]
fn the_oldest_segment_goes_with_the_frames_that_begin_in_it_and_their_rest() {
    // Frames' lengths, and what is left step by step: floor, frames, blocks.
    type Step = (u64, usize, usize);
    let cases: &[(&[usize], &[Step])] = &[
        (&[10], &[]),
        (&[10, 20], &[]),
        // The newest frame begins in the oldest block: nothing may go.
        (&[10, 5_000], &[]),
        (&[3 * BLOCK], &[]),
        // A frame that begins where a block ends is not in it.
        (&[BLOCK, BLOCK], &[(2, 1, 1)]),
        (&[BLOCK, BLOCK, 1], &[(2, 2, 2), (3, 1, 1)]),
        (&[10, BLOCK - 10, 1], &[(3, 1, 1)]),
        (&[10, BLOCK - 11, 1, 1], &[(4, 1, 1)]),
        (&[BLOCK - 1, 1, 1], &[(3, 1, 1)]),
        // The rest of a frame that is forgotten goes with it, unless another one begins there.
        (&[10_000, 100], &[(2, 1, 1)]),
        (&[2 * BLOCK, 1], &[(2, 1, 1)]),
        (&[3 * BLOCK, BLOCK], &[(2, 1, 1)]),
        (&[2 * BLOCK + 1, 1, BLOCK], &[(2, 2, 2)]),
        (&[2 * BLOCK + 1, BLOCK, 1], &[(2, 2, 2), (3, 1, 1)]),
        (&[10, 5_000, 100, 5_000, 100], &[(3, 3, 2), (5, 1, 1)]),
    ];
    for (lens, steps) in cases {
        let (mut pool, mut log) = ample();
        pushed(&mut log, &mut pool, lens);
        let whole: Vec<u8> = (1..).zip(*lens).flat_map(|(seq, &len)| bytes(seq, len)).collect();
        for &(floor, frames, blocks) in *steps {
            assert_eq!(log.survivor_of_forgetting(), Some(Position(floor)), "{lens:?}");
            log.forget_oldest(&mut pool);
            assert_eq!((log.floor().0, log.frames()), (floor, frames), "{lens:?}");
            assert_eq!(pool.lent_bytes(), blocks * BLOCK, "{lens:?} at {floor}");
            assert_eq!(log.charged_bytes(), blocks * BLOCK + frames * ENTRY_BYTES, "{lens:?} at {floor}");
            let from = at(&log, floor).offset;
            assert_eq!(read(&log, from, log.head()), whole[from as usize..], "{lens:?} at {floor}");
        }
        assert_eq!(log.survivor_of_forgetting(), None, "{lens:?}");
        let (frames, charged) = (log.frames(), log.charged_bytes());
        log.forget_oldest(&mut pool);
        assert_eq!((log.frames(), log.charged_bytes()), (frames, charged), "{lens:?}");
    }
}

#[test]
fn a_cleared_log_goes_on_and_a_restarted_one_begins_anew() {
    let (mut pool, mut log) = ample();
    for is_restarted in [false, true, true] {
        pushed(&mut log, &mut pool, &[5_000, 10, 300]);
        let next = log.next().0;
        if is_restarted {
            log.restart(Edge::counted(Position(2)), &mut pool);
        } else {
            log.clear(&mut pool);
        }
        let expected = if is_restarted { 2 } else { next };
        assert_eq!((log.next().0, log.floor().0, log.frames()), (expected, expected, 0));
        assert_eq!((log.charged_bytes(), pool.lent_bytes()), (0, 0));
        assert_eq!(log.place(Position(next - 1)), Place::End);
    }
}
