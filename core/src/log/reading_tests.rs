//! Where things are in a log: by number, time, lag and offset; and its memory, read from anywhere to anywhere.

use std::io::IoSlice;

use arrayvec::ArrayVec;

use super::tests::{BLOCK, ample, at, bytes, frame, pushed, shared, skip};
use super::{BlockPool, Edge, Entry, Frame, FramePayload, Log, Place, Position, Referrer, Seq};
use crate::ingest::Payload;
use crate::types::{ConnectionId, Kind};

#[test]
fn an_empty_log_knows_where_it_goes_on_and_nothing_else() {
    let log = Log::new(Edge::counted(Position(7)), 123, Referrer::Derived);
    assert_eq!((log.next().0, log.floor().0, log.head(), log.frames()), (7, 7, 0, 0));
    assert_eq!((log.budget_bytes(), log.charged_bytes(), log.referred_bytes()), (123, 0, 0));
    assert_eq!((log.referrer(), log.last(), log.survivor_of_forgetting()), (Referrer::Derived, None, None));
    let (first, seventh) = (Position::FIRST, Position(7));
    assert_eq!((log.place(seventh), log.place(first)), (Place::End, Place::End));
    assert_eq!((log.at_lag(0), log.at_time(0)), (seventh, seventh));
    assert_eq!((log.lag_bytes(first), log.copied_bytes(seventh, 0)), (0, 0));
    assert_eq!((log.entry_at_offset(0), log.entries_from(first).count()), (None, 0));
    assert!(log.run(0, 1, 1).is_empty());
    assert!(!log.is_over_budget());
}

#[test]
fn an_entry_tells_of_its_frame_what_it_was_appended_with() {
    let (mut pool, mut log) = ample();
    pushed(&mut log, &mut pool, &[10]);
    let shared = shared(300);
    let given = Frame {
        position: Position(5),
        seq: Seq(5),
        count: 3,
        time_ns: 11,
        expiry_ns: 12,
        key: 13,
        is_sender_excluded: true,
        origin: ConnectionId::from_u64(14),
        kind: Kind::Json,
        header: b"four",
        payload: FramePayload::Shared(&shared),
        tail: b"xy",
        attributes: &[],
    };
    assert!(log.append(&given, &mut pool));
    let expected = Entry {
        position: Position(5),
        offset: 10,
        time_ns: 11,
        expiry_ns: 12,
        key: 13,
        origin: ConnectionId::from_u64(14),
        count: 3,
        len: 306,
        header_len: 4,
        kind: Kind::Json,
        is_sender_excluded: true,
    };
    assert_eq!(log.last(), Some(expected));
    assert_eq!((expected.end().0, log.next().0, log.frames(), log.head()), (8, 8, 2, 316));
}

#[test]
fn messages_left_out_are_before_the_next_frame_and_those_of_a_batch_are_in_it() {
    let (mut pool, mut log) = ample();
    let mut append = |log: &mut Log, seq, count| {
        let frame = Frame { count, ..frame(seq, b"h", FramePayload::Copied(b"p"), b"") };
        assert!(log.append(&frame, &mut pool));
    };
    // 1, 2 and 3 together; 4; 6 and 7 together; 9. 5 and 10 are skipped, 8 is passed over.
    append(&mut log, 1, 3);
    append(&mut log, 4, 1);
    skip(&mut log, 5);
    append(&mut log, 6, 2);
    append(&mut log, 9, 1);
    skip(&mut log, 10);
    let found: Vec<_> = (0..12)
        .map(|position| match log.place(Position(position)) {
            Place::At(entry) => (true, entry.position.0),
            Place::Before(entry) => (false, entry.position.0),
            Place::End => (false, 0),
        })
        .collect();
    let (inside, before) = (|seq| (true, seq), |seq| (false, seq));
    let expected = [
        before(1),
        inside(1),
        inside(1),
        inside(1),
        inside(4),
        before(6),
        inside(6),
        inside(6),
        before(9),
        inside(9),
        (false, 0),
        (false, 0),
    ];
    assert_eq!(found, expected);
    for seq in 0..12 {
        let from: Vec<_> = log.entries_from(Position(seq)).map(|e| e.position.0).collect();
        let expected: Vec<_> = [(1, 4), (4, 5), (6, 8), (9, 10)].iter().filter(|f| f.1 > seq).map(|f| f.0).collect();
        assert_eq!(from, expected, "from {seq}");
    }
    assert_eq!((log.floor().0, log.next().0), (1, 11));
}

#[test]
#[should_panic(expected = "positions only grow")]
fn a_position_is_not_appended_twice() {
    let (mut pool, mut log) = ample();
    skip(&mut log, 1);
    let _ = log.append(&frame(1, b"", FramePayload::Copied(b"x"), b""), &mut pool);
}

#[test]
#[should_panic(expected = "positions only grow")]
fn a_position_is_not_skipped_twice() {
    let (_, mut log) = ample();
    skip(&mut log, 3);
    skip(&mut log, 3);
}

#[test]
fn the_lag_of_a_message_is_what_lies_from_its_frame_to_the_head() {
    let (mut pool, mut log) = ample();
    pushed(&mut log, &mut pool, &[BLOCK, 10, 20]);
    skip(&mut log, 4);
    pushed(&mut log, &mut pool, &[30]);
    let lags = |log: &Log| [0, 1, 2, 3, 4, 5, 6, 7].map(|seq| log.lag_bytes(Position(seq)));
    assert_eq!(lags(&log), [4_156, 4_156, 60, 50, 30, 30, 0, 0]);
    log.forget_oldest(&mut pool);
    assert_eq!(lags(&log), [60, 60, 60, 50, 30, 30, 0, 0]);
    assert_eq!([0, 29, 30, 49, 50, 60, 9_999].map(|lag| log.at_lag(lag).0), [5, 5, 5, 5, 3, 2, 2]);
}

#[test]
fn a_time_names_the_first_frame_published_then_or_later() {
    let (mut pool, mut log) = ample();
    for (seq, time_ns) in [(1, 10), (2, 20), (3, 20), (4, 30)] {
        assert!(log.append(&Frame { time_ns, ..frame(seq, b"", FramePayload::Copied(b"x"), b"") }, &mut pool));
    }
    assert_eq!([0, 10, 11, 20, 21, 30, 31].map(|time| log.at_time(time).0), [1, 1, 2, 2, 4, 4, 5]);
}

#[test]
fn an_offset_names_the_frame_it_is_in() {
    let (mut pool, mut log) = ample();
    pushed(&mut log, &mut pool, &[BLOCK, 10, 20]);
    let entry_at = |log: &Log, offset| log.entry_at_offset(offset).map(|e| e.position.0);
    assert_eq!([0, 4_095, 4_096, 4_105, 4_106, 4_125].map(|o| entry_at(&log, o)), [1, 1, 2, 2, 3, 3].map(Some));
    log.forget_oldest(&mut pool);
    assert_eq!([4_095, 4_096].map(|o| entry_at(&log, o)), [None, Some(2)]);
}

/// Three frames over five segments, which begin at these offsets: two blocks, a payload by reference, a block; and the head.
const SEGMENTS: [u64; 5] = [0, 4_096, 5_004, 5_304, 5_509];
const BY_REFERENCE: usize = 2;

fn in_five_segments() -> (BlockPool, Log, Payload, Vec<u8>) {
    let (mut pool, mut log) = ample();
    let (large, payload, small) = (bytes(1, 5_000), shared(300), bytes(3, 200));
    assert!(log.append(&frame(1, b"hd", FramePayload::Copied(&large), b""), &mut pool));
    assert!(log.append(&frame(2, b"HD", FramePayload::Shared(&payload), b"end"), &mut pool));
    assert!(log.append(&frame(3, b"hd", FramePayload::Copied(&small), b""), &mut pool));
    let whole = [b"hd", &large[..], b"HD", &payload, b"end", b"hd", &small].concat();
    assert_eq!(whole.len() as u64, log.head());
    (pool, log, payload, whole)
}

/// Segment, offset in it, and bytes: what `[from, to)` is made of.
fn pieces(whole: &[u8], from: u64, to: u64) -> Vec<(usize, usize, &[u8])> {
    SEGMENTS
        .windows(2)
        .enumerate()
        .map(|(i, s)| (i, s[0], from.max(s[0]), to.min(s[1])))
        .filter(|(_, _, begin, end)| begin < end)
        .map(|(i, start, begin, end)| (i, (begin - start) as usize, &whole[begin as usize..end as usize]))
        .collect()
}

fn reads_right_from(log: &Log, whole: &[u8], floor: u64) {
    let edges: Vec<u64> = SEGMENTS
        .iter()
        .flat_map(|&at| [at.saturating_sub(1), at, at + 1])
        .filter(|at| (floor..=log.head() + 1).contains(at))
        .collect();
    for (&from, &to) in edges.iter().flat_map(|from| edges.iter().map(move |to| (from, to))) {
        if from > to || from > log.head() {
            continue;
        }
        let mut seen = Vec::new();
        log.for_each_piece(from, to, |bytes, shared, at| seen.push((shared.is_some(), at, bytes)));
        let expected: Vec<_> =
            pieces(whole, from, to).into_iter().map(|(i, at, bytes)| (i == BY_REFERENCE, at, bytes)).collect();
        assert_eq!(seen, expected, "{from}..{to}");
        for bytes_max in [1, 907, 909, 10_000] {
            let expected: Vec<_> = pieces(whole, from, to.min(from + bytes_max)).into_iter().map(|p| p.2).collect();
            let run = log.run(from, to, bytes_max as usize);
            assert_eq!(run, expected.first().copied().unwrap_or_default(), "{from}..{to}, at most {bytes_max}");
            for there in 0..4 {
                let mut parts: ArrayVec<IoSlice<'_>, 3> = (0..there).map(|_| IoSlice::new(b"there")).collect();
                let expected = &expected[..expected.len().min(3 - there)];
                let added = log.gather(from, to, bytes_max as usize, &mut parts);
                assert_eq!(added, expected.iter().map(|part| part.len()).sum::<usize>());
                assert!(parts[..there].iter().all(|part| part[..] == *b"there"));
                let parts: Vec<&[u8]> = parts[there..].iter().map(|part| &part[..]).collect();
                assert_eq!(parts, expected, "{from}..{to}, at most {bytes_max} in {}", 3 - there);
            }
        }
    }
}

#[test]
fn memory_is_read_piece_by_piece_from_anywhere_to_anywhere() {
    let (mut pool, mut log, _, whole) = in_five_segments();
    assert_eq!((SEGMENTS[4], pool.lent_bytes()), (log.head(), 3 * BLOCK));
    reads_right_from(&log, &whole, 0);
    log.forget_oldest(&mut pool);
    assert_eq!((log.floor().0, pool.lent_bytes()), (2, 2 * BLOCK));
    reads_right_from(&log, &whole, 5_002);
}

#[test]
fn what_moving_a_frame_out_would_copy_is_its_rest_but_for_the_payload_by_reference() {
    let (mut pool, mut log, ..) = in_five_segments();
    skip(&mut log, 4);
    pushed(&mut log, &mut pool, &[7]);
    let copied = |seq, partial| log.copied_bytes(Position(seq), partial);
    assert_eq!([0, 1, 100, 4_096, 5_001].map(|partial| copied(1, partial)), [5_002, 5_001, 4_902, 906, 1]);
    assert_eq!([0, 1, 2, 150, 302, 303, 304].map(|partial| copied(2, partial)), [5, 4, 3, 3, 3, 2, 1]);
    assert_eq!([copied(3, 2), copied(4, 0), copied(5, 0), copied(6, 0)], [200, 0, 7, 0]);
}

#[test]
fn a_payload_is_borrowed_where_it_lies_in_one_piece() {
    let (mut pool, mut log, payload, _) = in_five_segments();
    assert!(log.append(&frame(4, b"hd", FramePayload::Shared(&payload), b""), &mut pool));
    assert!(log.append(&frame(5, b"hd", FramePayload::Copied(b""), b""), &mut pool));
    let to_the_end = bytes(6, BLOCK - 4);
    assert!(log.append(&frame(6, b"hd", FramePayload::Copied(&to_the_end), b""), &mut pool));
    let mut seen = Vec::new();
    for seq in 1..=6 {
        let mut scratch = b"of before".to_vec();
        let (bytes, shared) = log.payload(&at(&log, seq), &mut scratch);
        let (bytes, is_it) = (bytes.to_vec(), shared.map(|shared| shared.as_ptr() == payload.as_ptr()));
        seen.push((bytes, is_it, scratch != b"of before"));
    }
    let with_end = [&payload[..], b"end"].concat();
    let expected = [
        (bytes(1, 5_000), None, true),
        (with_end, None, true),
        (bytes(3, 200), None, false),
        (payload.to_vec(), Some(true), false),
        (Vec::new(), None, false),
        (to_the_end, None, false),
    ];
    assert_eq!(seen, expected);
}
