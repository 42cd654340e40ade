//! Batches: read without trust, written and read back, LZ4 against a plain reading of its format.

use super::input::Input;
use super::lz4_plain;
use crate::batch::{
    Batch, BatchEncoder, BatchError, BatchHead, BatchLimits, Frame, HEAD_BYTES, MustClose, RECORD_HEAD_BYTES, control,
    control_of, decode,
};
use crate::lz4::{Lz4, Lz4Error, decompress};
use crate::{Kind, Priority, TopicId};

const MAXIMA: [usize; 4] = [4096, 0, 100, 65_536];

/// One byte: what the rest is (a frame, an LZ4 block, or a script of messages to write).
pub fn batch(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 | 1 => read(input),
        2 => block(input),
        _ => write(input),
    }
}

/// One byte: the maximum. Then a frame.
fn read(mut input: Input<'_>) {
    let max = input.pick(&MAXIMA);
    let frame = input.rest();
    let mut scratch = Vec::new();
    let decoded = decode(frame, max, &mut scratch, |block, raw_size, out| {
        assert!(raw_size <= max && block.len() <= max, "{raw_size} bytes of at most {max}");
        decompress(block, raw_size, max, out).is_ok()
    });
    match (&decoded, control_of(frame)) {
        (Ok(Frame::Control(object)), of_client) => assert_eq!(of_client, Ok(Some(*object))),
        (Ok(Frame::Unknown), of_client) => assert_eq!(of_client, Ok(None)),
        (Ok(Frame::Data(_)), of_client) => assert_eq!(of_client, Err(BatchError::Control)),
        (Err(error), Ok(Some(_))) => {
            // A server reads past what a client's control frame has no use for.
            let is_ignored =
                matches!(error, BatchError::Flags(_) | BatchError::Priority(_) | BatchError::TooLarge { .. });
            assert!(is_ignored, "{error}");
        }
        (Err(error), Ok(None)) => panic!("a kind to be ignored: {error}"),
        (Err(_), Err(_)) => {}
    }
    match decoded {
        Ok(Frame::Data(batch)) => write_again(&batch),
        Ok(Frame::Control(object)) => {
            let mut again = b"before".to_vec();
            control(&mut again, object.as_bytes());
            assert_eq!(control_of(&again[6..]), Ok(Some(object)));
        }
        Ok(Frame::Unknown) | Err(_) => {}
    }
    assert!(scratch.capacity() <= (2 * max).max(64), "{} bytes of at most {max}", scratch.capacity());
}

/// The messages that were read, in a batch of ours.
fn write_again(batch: &Batch<'_>) {
    let limits = BatchLimits { messages_max: u32::MAX, block_bytes_max: u32::MAX };
    let mut out = b"before".to_vec();
    let mut encoder = BatchEncoder::begin(&mut out, batch.head, limits);
    for message in batch.messages() {
        let pushed = encoder.push(&mut out, message.seq, batch.head.kind, message.timestamp_ns, message.payload);
        assert_eq!(pushed, Ok(()));
    }
    assert_eq!(encoder.messages(), batch.message_count(), "messages are missing");
    encoder.finish(&mut out);
    let mut scratch = Vec::new();
    assert_eq!(decode(&out[6..], out.len(), &mut scratch, |_, _, _| false), Ok(Frame::Data(batch.clone())));
}

/// Two bytes: the size in the head; one byte: the maximum. Then an LZ4 block.
fn block(mut input: Input<'_>) {
    let raw_size = usize::from(input.u16());
    let max = input.pick(&MAXIMA);
    let block = input.rest();
    let mut out = b"before".to_vec();
    let result = decompress(block, raw_size, max, &mut out);
    assert!(out.starts_with(b"before"));
    if raw_size > max || raw_size > 255 * block.len() {
        assert_eq!((result.is_err(), out.capacity()), (true, 6), "room for a size that cannot be");
    }
    let plain = lz4_plain::decompress(block, raw_size).filter(|plain| plain.len() == raw_size);
    match result {
        Ok(()) => {
            let plain = plain.expect("decompressed, but no block of that size");
            assert!(out[6..] == plain, "another block");
        }
        Err(error) => {
            assert_eq!(out.len(), 6, "something was left behind");
            assert_eq!(error == Lz4Error::TooBig, raw_size > max);
            assert!(plain.is_none() || raw_size > max, "a block of {raw_size} bytes is refused");
        }
    }
}

/// A message of the script.
struct Told {
    seq: u64,
    kind: Kind,
    time_ns: u64,
    payload: Vec<u8>,
}

/// One byte each: lane, most messages, LZ4; two bytes: the largest block. Then for each message a byte for its length, one for
/// what is unusual about it, and its pattern.
fn write(mut input: Input<'_>) {
    let lane = input.byte();
    let limits = BatchLimits { messages_max: u32::from(input.byte()) % 60, block_bytes_max: u32::from(input.u16()) };
    let with_lz4 = input.byte() & 1 == 1;
    let head = |kind, first_seq| BatchHead {
        topic_id: TopicId(u32::from(lane) << 20),
        priority: Priority::ALL[usize::from(lane % 4)],
        kind,
        first_seq,
    };
    let mut lz4 = Lz4::new();
    let (mut out, mut scratch) = (Vec::new(), Vec::new());
    // Where each frame begins, and how many messages are in it.
    let mut frames: Vec<(usize, u32)> = Vec::new();
    let mut finish = |encoder: BatchEncoder, start: usize, out: &mut Vec<u8>| {
        let messages = encoder.messages();
        if with_lz4 {
            encoder.finish_lz4(out, &mut scratch, |block, to| lz4.compress(block, to));
        } else {
            encoder.finish(out);
        }
        frames.push((start, messages));
    };
    let mut told: Vec<Told> = Vec::new();
    let mut open: Option<(BatchEncoder, usize)> = None;
    let mut seq = if lane & 0x80 == 0 { 1 } else { u64::MAX - 8 };
    while !input.is_empty() && told.len() < 300 {
        let (length, unusual) = (input.byte(), input.byte());
        let pattern = input.take(usize::from(length % 8));
        let length = usize::from(length) << (unusual & 3);
        let message = Told {
            seq,
            kind: [Kind::Json, Kind::Text, Kind::Binary][usize::from(unusual >> 2 & 3) % 3],
            time_ns: u64::from(unusual) << 40,
            payload: pattern.iter().copied().cycle().take(if pattern.is_empty() { 0 } else { length }).collect(),
        };
        let Told { kind, time_ns, payload, .. } = &message;
        if let Some((encoder, start)) = &mut open
            && let Err(why) = encoder.push(&mut out, seq, *kind, *time_ns, payload)
        {
            let block = out.len() - *start - HEAD_BYTES + RECORD_HEAD_BYTES + payload.len();
            let last = told.last().expect("a batch is opened with a message");
            let is_so = match why {
                MustClose::Kind => last.kind != *kind,
                MustClose::Jump => last.seq.checked_add(1) != Some(seq),
                MustClose::Messages => encoder.messages() >= limits.messages_max,
                MustClose::Bytes => block > limits.block_bytes_max as usize,
            };
            assert!(is_so, "{why:?}");
            let (encoder, start) = open.take().expect("it is open");
            finish(encoder, start, &mut out);
        }
        let (encoder, start) = match open.take() {
            Some(open) => open,
            None => {
                let start = out.len();
                let mut encoder = BatchEncoder::begin(&mut out, head(*kind, seq), limits);
                assert_eq!(encoder.push(&mut out, seq, *kind, *time_ns, payload), Ok(()), "the first may always join");
                (encoder, start)
            }
        };
        if encoder.messages() > 1 {
            assert!(encoder.messages() <= limits.messages_max);
            assert!(out.len() - start - HEAD_BYTES <= limits.block_bytes_max as usize, "a block too large");
        }
        open = Some((encoder, start));
        told.push(message);
        let Some(next) = seq.checked_add(1 + u64::from(unusual & 0x20 != 0)) else { break };
        seq = next;
    }
    if let Some((encoder, start)) = open {
        finish(encoder, start, &mut out);
    }

    let mut expected = told.iter();
    for (n, (start, messages)) in frames.iter().enumerate() {
        let end = frames.get(n + 1).map_or(out.len(), |(next, _)| *next);
        let mut scratch = Vec::new();
        let frame = decode(&out[*start..end], 1 << 20, &mut scratch, |block, raw_size, out| {
            assert!(with_lz4, "LZ4 unasked");
            decompress(block, raw_size, 1 << 20, out).is_ok()
        });
        let Ok(Frame::Data(batch)) = frame else { panic!("{frame:?}") };
        assert_eq!(batch.message_count(), *messages);
        for message in batch.messages() {
            let told = expected.next().expect("no more messages than were told");
            assert_eq!(batch.head, head(told.kind, batch.head.first_seq));
            assert_eq!(
                (message.seq, message.timestamp_ns, message.payload),
                (told.seq, told.time_ns, &told.payload[..])
            );
        }
    }
    assert!(expected.next().is_none(), "messages are missing");
}
