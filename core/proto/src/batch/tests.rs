use super::*;
use proptest::prelude::*;

const HEAD: BatchHead = BatchHead {
    topic_id: TopicId(0x0403_0201),
    priority: Priority::Low,
    kind: Kind::Json,
    first_seq: 0x1122_3344_5566_7788,
};

fn no_lz4(_: &[u8], _: usize, _: &mut Vec<u8>) -> bool {
    panic!("nothing is compressed");
}

fn encode(head: BatchHead, payloads: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut batch = BatchEncoder::begin(&mut out, head, BatchLimits::default());
    for (n, payload) in (0..).zip(payloads) {
        batch.push(&mut out, head.first_seq + n, head.kind, 1000 + n, payload).expect("fits");
    }
    batch.finish(&mut out);
    out
}

/// Sequence number, timestamp, payload.
type Messages = Vec<(u64, u64, Vec<u8>)>;

fn decode_plain(frame: &[u8]) -> Result<(BatchHead, Messages), BatchError> {
    match decode(frame, 1 << 20, &mut Vec::new(), no_lz4)? {
        Frame::Data(batch) => {
            let messages: Vec<_> = batch.messages().map(|m| (m.seq, m.timestamp_ns, m.payload.to_vec())).collect();
            assert_eq!(messages.len(), batch.message_count() as usize);
            Ok((batch.head, messages))
        }
        other => panic!("{other:?}"),
    }
}

/// Two messages, byte by byte: the layout is public.
fn golden() -> Vec<u8> {
    [
        &[1, 1, 0b100, 3][..],
        &[1, 2, 3, 4],
        &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
        &[36, 0, 0, 0],
        &[0, 0, 0, 0],
        // The block.
        &[2, 0, 0, 0],
        &[28, 0, 0, 0],
        &[0xe8, 3, 0, 0, 0, 0, 0, 0],
        &[3],
        &[2, 0, 0, 0],
        b"{}",
        &[0xe9, 3, 0, 0, 0, 0, 0, 0],
        &[3],
        &[0, 0, 0, 0],
    ]
    .concat()
}

#[test]
fn the_layout_is_the_documented_one() {
    assert_eq!(encode(HEAD, &[b"{}", b""]), golden());
    let (head, messages) = decode_plain(&golden()).expect("reads back");
    assert_eq!(head, HEAD);
    let first = HEAD.first_seq;
    assert_eq!(messages, [(first, 1000, b"{}".to_vec()), (first + 1, 1001, vec![])]);
}

#[test]
fn control_frames_carry_one_object() {
    let mut out = b"before".to_vec();
    control(&mut out, br#"{"type":"pong"}"#);
    let frame = &out[6..];
    assert_eq!(frame[..HEAD_BYTES], [1, 2, 0b100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(decode(frame, 15, &mut Vec::new(), no_lz4), Ok(Frame::Control(r#"{"type":"pong"}"#)));
}

#[test]
fn every_kind_and_priority_round_trips() {
    for kind in [Kind::Text, Kind::Binary, Kind::Json] {
        for priority in Priority::ALL {
            let head = BatchHead { kind, priority, ..HEAD };
            assert_eq!(decode_plain(&encode(head, &[b"x"])).expect("reads back").0, head);
        }
    }
}

#[test]
fn a_batch_closes_at_its_limits_and_not_before() {
    let limits = BatchLimits { messages_max: 3, block_bytes_max: 100 };
    let head = BatchHead { first_seq: 1, kind: Kind::Text, ..HEAD };
    let mut out = vec![0xaa; 5];
    let mut batch = BatchEncoder::begin(&mut out, head, limits);
    assert!(!batch.is_full(&out));
    assert_eq!(batch.push(&mut out, 2, Kind::Text, 0, b"x"), Err(MustClose::Jump));
    assert_eq!(batch.push(&mut out, 1, Kind::Json, 0, b"x"), Err(MustClose::Kind));
    assert_eq!(batch.push(&mut out, 1, Kind::Text, 0, b"x"), Ok(()));
    assert_eq!(batch.push(&mut out, 1, Kind::Text, 0, b"x"), Err(MustClose::Jump));
    assert_eq!(batch.push(&mut out, 3, Kind::Text, 0, b"x"), Err(MustClose::Jump));
    // The block has 8 + 14 bytes; 13 + 65 fill it to exactly 100.
    assert_eq!(batch.push(&mut out, 2, Kind::Text, 0, &[b'y'; 66]), Err(MustClose::Bytes));
    assert!(!batch.is_full(&out));
    assert_eq!(batch.push(&mut out, 2, Kind::Text, 0, &[b'y'; 65]), Ok(()));
    assert!(batch.is_full(&out));
    assert_eq!(batch.push(&mut out, 3, Kind::Text, 0, b""), Err(MustClose::Bytes));
    assert_eq!(batch.messages(), 2);
    batch.finish(&mut out);
    assert_eq!(out.len(), 5 + HEAD_BYTES + 100);
    assert_eq!(out[..5], [0xaa; 5]);
    assert_eq!(decode_plain(&out[5..]).expect("reads back").1.len(), 2);

    let mut out = Vec::new();
    let mut batch = BatchEncoder::begin(&mut out, head, BatchLimits { messages_max: 3, block_bytes_max: 1 << 16 });
    for seq in 1..=3 {
        assert_eq!(batch.push(&mut out, seq, Kind::Text, 0, b""), Ok(()));
    }
    assert!(batch.is_full(&out));
    assert_eq!(batch.push(&mut out, 4, Kind::Text, 0, b""), Err(MustClose::Messages));
}

#[test]
fn a_large_message_travels_alone() {
    let mut out = Vec::new();
    let head = BatchHead { first_seq: 1, ..HEAD };
    let mut batch = BatchEncoder::begin(&mut out, head, BatchLimits::default());
    let large = vec![b'1'; 1 << 17];
    assert_eq!(batch.push(&mut out, 1, Kind::Json, 0, &large), Ok(()));
    assert!(batch.is_full(&out));
    assert_eq!(batch.push(&mut out, 2, Kind::Json, 0, b"1"), Err(MustClose::Bytes));
    assert_eq!(batch.admits(&out, 2, Kind::Json, usize::MAX), Err(MustClose::Bytes));
    batch.finish(&mut out);
    assert_eq!(decode_plain(&out).expect("reads back").1, [(1, 0, large)]);
    let empty = BatchEncoder::begin(&mut Vec::new(), head, BatchLimits::default());
    assert_eq!(empty.admits(&[], 1, Kind::Json, PAYLOAD_BYTES_MAX), Ok(()));
    assert_eq!(empty.admits(&[], 1, Kind::Json, PAYLOAD_BYTES_MAX + 1), Err(MustClose::Bytes));
}

#[test]
fn default_limits_are_fifty_messages_and_64_kib() {
    let mut out = Vec::new();
    let mut batch = BatchEncoder::begin(&mut out, BatchHead { first_seq: 1, ..HEAD }, BatchLimits::default());
    let pushed = (1..).take_while(|seq| batch.push(&mut out, *seq, Kind::Json, 0, b"1").is_ok()).count();
    assert_eq!(pushed, 50);
    let mut out = Vec::new();
    let mut batch = BatchEncoder::begin(&mut out, BatchHead { first_seq: 1, ..HEAD }, BatchLimits::default());
    let pushed = (1..).take_while(|seq| batch.push(&mut out, *seq, Kind::Json, 0, &[b'1'; 4096 - 13]).is_ok()).count();
    assert_eq!(pushed, 15);
}

#[test]
fn an_empty_batch_leaves_nothing() {
    let mut out = b"kept".to_vec();
    let batch = BatchEncoder::begin(&mut out, HEAD, BatchLimits::default());
    batch.finish(&mut out);
    assert_eq!(out, b"kept");
    let batch = BatchEncoder::begin(&mut out, HEAD, BatchLimits::default());
    assert!(!batch.finish_lz4(&mut out, &mut Vec::new(), |_, _| panic!("there is no block")));
    assert_eq!(out, b"kept");
}

#[test]
fn sequence_numbers_end_where_64_bits_end() {
    let head = BatchHead { first_seq: u64::MAX, ..HEAD };
    let mut out = Vec::new();
    let mut batch = BatchEncoder::begin(&mut out, head, BatchLimits::default());
    assert_eq!(batch.push(&mut out, u64::MAX, Kind::Json, 0, b"1"), Ok(()));
    assert_eq!(batch.push(&mut out, 0, Kind::Json, 0, b"1"), Err(MustClose::Jump));
    batch.finish(&mut out);
    assert_eq!(decode_plain(&out).expect("reads back").1, [(u64::MAX, 0, b"1".to_vec())]);
}

/// A stand-in for LZ4: runs of one byte become (count, byte).
fn shrink(block: &[u8], out: &mut Vec<u8>) -> bool {
    for run in block.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(255)) {
        out.extend_from_slice(&[run.len() as u8, run[0]]);
    }
    true
}

fn grow(block: &[u8], size: usize, out: &mut Vec<u8>) -> bool {
    for pair in block.chunks(2) {
        let &[count, byte] = pair else { return false };
        if out.len() + usize::from(count) > size {
            return false;
        }
        out.resize(out.len() + usize::from(count), byte);
    }
    true
}

#[test]
fn blocks_are_compressed_only_when_that_helps() {
    let head = BatchHead { first_seq: 9, ..HEAD };
    let (mut out, mut scratch) = (b"before".to_vec(), b"old".to_vec());
    let mut batch = BatchEncoder::begin(&mut out, head, BatchLimits::default());
    batch.push(&mut out, 9, Kind::Json, 5, &[b'1'; 1000]).expect("fits");
    assert!(batch.finish_lz4(&mut out, &mut scratch, shrink));
    let frame = &out[6..];
    assert!(frame.len() < 100);
    assert_eq!((frame[2], u32::from_le_bytes([frame[16], frame[17], frame[18], frame[19]])), (0b101, 1021));
    let Ok(Frame::Data(read)) = decode(frame, 1021, &mut scratch, grow) else { panic!() };
    assert_eq!(read.head, head);
    assert!(read.messages().eq([BatchMessage { seq: 9, timestamp_ns: 5, payload: &[b'1'; 1000] }]));
    assert_eq!(decode(frame, 1020, &mut Vec::new(), no_lz4), Err(BatchError::TooLarge { bytes: 1021, max: 1020 }));
    assert_eq!(decode(frame, 1 << 20, &mut Vec::new(), |_, _, _| false), Err(BatchError::Lz4));
    assert_eq!(decode(frame, 1 << 20, &mut Vec::new(), |_, _, _| true), Err(BatchError::Lz4));

    for compress in [
        |_: &[u8], _: &mut Vec<u8>| false,
        |block: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(block);
            true
        },
    ] {
        let mut plain = Vec::new();
        let mut batch = BatchEncoder::begin(&mut plain, HEAD, BatchLimits::default());
        batch.push(&mut plain, HEAD.first_seq, Kind::Json, 1000, b"{}").expect("fits");
        batch.push(&mut plain, HEAD.first_seq + 1, Kind::Json, 1001, b"").expect("fits");
        assert!(!batch.finish_lz4(&mut plain, &mut scratch, compress));
        assert_eq!(plain, golden());
    }
}

#[test]
fn malformed_frames_follow_the_table() {
    use BatchError::*;
    let with = |changes: &[(usize, u8)]| {
        let mut frame = golden();
        for &(at, byte) in changes {
            frame[at] = byte;
        }
        frame
    };
    let cut = |bytes: usize| golden()[..bytes].to_vec();
    let longer = [golden(), vec![0]].concat();
    let control = |block: &[u8]| {
        let mut out = Vec::new();
        super::control(&mut out, block);
        out
    };
    let mut compressed_control = control(b"{}");
    compressed_control[2] |= FLAG_LZ4;
    let mut cut_control = control(b"{}");
    cut_control.pop();
    let mut overflow = with(&[]);
    overflow[8..16].fill(0xff);
    let mut huge_count = with(&[]);
    huge_count[24..28].fill(0xff);
    let rows: &[(Vec<u8>, BatchError)] = &[
        (vec![], Short { bytes: 0 }),
        (cut(1), Short { bytes: 1 }),
        (cut(23), Short { bytes: 23 }),
        (with(&[(0, 0)]), Version(0)),
        (with(&[(0, 2)]), Version(2)),
        (with(&[(2, 0b110)]), Flags(0b110)),
        (with(&[(2, 0b1100)]), Flags(0b1100)),
        (with(&[(2, 0x80)]), Flags(0x80)),
        (with(&[(3, 4)]), Priority(4)),
        (with(&[(3, 255)]), Priority(255)),
        (cut(24), Sizes),
        (cut(28), Sizes),
        (cut(31), Sizes),
        (cut(32), Sizes),
        (cut(59), Sizes),
        (longer, Sizes),
        (with(&[(16, 35)]), Sizes),
        (with(&[(16, 37)]), Sizes),
        (with(&[(19, 0xff)]), TooLarge { bytes: 0xff00_0024, max: 1 << 20 }),
        (with(&[(24, 0)]), Empty),
        (with(&[(24, 1)]), Sizes),
        (with(&[(24, 3)]), Sizes),
        (huge_count, Sizes),
        (with(&[(28, 27)]), Sizes),
        (with(&[(28, 29)]), Sizes),
        (with(&[(31, 1)]), Sizes),
        (with(&[(40, 2)]), Priority(2)),
        (with(&[(55, 0)]), Priority(0)),
        (with(&[(41, 1)]), Priority(0)),
        (with(&[(41, 15)]), Sizes),
        (with(&[(41, 16)]), Sizes),
        (with(&[(44, 0xff)]), Sizes),
        (with(&[(56, 1)]), Sizes),
        (with(&[(59, 0x80)]), Sizes),
        (overflow, Sequence),
        (control(b"\xff"), Control),
        (compressed_control, Control),
        (cut_control, Sizes),
    ];
    assert!(rows.len() >= 20);
    for (frame, error) in rows {
        assert_eq!(decode(frame, 1 << 20, &mut Vec::new(), no_lz4), Err(*error), "{frame:?}");
    }
    for kind in [0, 3, 255] {
        assert_eq!(decode(&with(&[(1, kind), (2, 0xff)]), 0, &mut Vec::new(), no_lz4), Ok(Frame::Unknown));
    }
    assert!(decode(&with(&[(20, 1), (23, 9)]), 36, &mut Vec::new(), no_lz4).is_ok(), "reserved is ignored");
    assert_eq!(decode(&golden(), 35, &mut Vec::new(), no_lz4), Err(TooLarge { bytes: 36, max: 35 }));
}

proptest! {
    #[test]
    fn batches_round_trip(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..50),
        first_seq in 0..u64::MAX - 100,
        topic in any::<u32>(),
    ) {
        let head = BatchHead { topic_id: TopicId(topic), first_seq, kind: Kind::Binary, priority: Priority::Critical };
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let (read, messages) = decode_plain(&encode(head, &payloads)).expect("reads back");
        prop_assert_eq!(read, head);
        prop_assert!(messages.iter().map(|(_, _, payload)| payload.as_slice()).eq(payloads.iter().copied()));
        prop_assert!(messages.iter().map(|(seq, ..)| *seq).eq((first_seq..).take(payloads.len())));
    }

    #[test]
    fn damaged_frames_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut frame = golden();
        let at = at.index(frame.len());
        frame[at] = byte;
        frame.truncate(cut.index(frame.len() + 1));
        if let Ok(Frame::Data(batch)) = decode(&frame, 1 << 16, &mut Vec::new(), grow) {
            prop_assert_eq!(batch.messages().count(), batch.message_count() as usize);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..80)) {
        let frame = [&[1, 1, 0b100, 3][..], &tail].concat();
        let _ = decode(&frame, 1 << 16, &mut Vec::new(), grow);
    }
}

#[test]
fn a_message_alone_is_the_batch_that_holds_nothing_else() {
    for payload in [&b""[..], b"x", &[7; 300]] {
        let head = BatchHead { topic_id: TopicId(9), priority: Priority::High, kind: Kind::Text, first_seq: 5 };
        let mut whole = b"before".to_vec();
        let mut encoder = BatchEncoder::begin(&mut whole, head, BatchLimits::default());
        encoder.push(&mut whole, 5, Kind::Text, 77, payload).expect("the first one joins");
        encoder.finish(&mut whole);
        let mut apart = b"before".to_vec();
        alone(&mut apart, head, 77, payload.len());
        apart.extend_from_slice(payload);
        assert_eq!(apart, whole);
    }
}
