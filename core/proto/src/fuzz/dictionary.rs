//! Dictionaries: frames read without trust, written and read back in step and late, blocks against plain readings.

use std::collections::HashMap;

use super::input::Input;
use super::lz4_plain;
use crate::dictionary::{
    Codec, Decoder, Frame, Lane, LaneEncoder, Limits, Message, NUMBER_MAX, Packer, TAIL_BYTES_MAX, TAIL_MESSAGES_MAX,
    Unpacker,
};
use crate::{Kind, Priority, TopicId};

const MAXIMA: [usize; 4] = [4096, 1, 100, 65_536];

/// One byte: what the rest is, in its lowest bit the codec.
pub fn dictionary(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let codec = if choice & 1 == 0 { Codec::Lz4 } else { Codec::Deflate };
    match choice >> 1 & 3 {
        0 | 1 => read(codec, input),
        2 => block(codec, input),
        _ => write(codec, input),
    }
}

/// One byte: the maximum. Then frames, two bytes of length before each. That the sum of a dictionary
/// is checked is seen from outside.
fn read(codec: Codec, mut input: Input<'_>) {
    let limits = Limits { block_bytes_max: input.pick(&MAXIMA), lanes_max: 3 };
    let mut decoder = Decoder::new(codec, limits);
    let mut had: HashMap<u64, Vec<(u64, Vec<u8>)>> = HashMap::new();
    while !input.is_empty() {
        let length = usize::from(input.u16()) % 8_192;
        let frame = input.take(length);
        let read = decoder.frame(frame);
        let Ok(read) = read else { return };
        if let Frame::Data { lane, messages, .. } = &read {
            assert!(!messages.is_empty());
            assert!(messages.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            assert!(messages.iter().all(|message| message.seq.max(message.time_us) <= NUMBER_MAX));
            let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
            assert!(bytes <= limits.block_bytes_max, "{bytes}");
            let had = had.entry(u64::from(lane.topic_id.0) << 2 | lane.priority as u64).or_default();
            if frame[0] & 0x90 == 0x90 {
                told_truly(frame, had);
            }
            had.extend(messages.iter().map(|message| (message.seq, message.payload.to_vec())));
        }
        assert!(decoder.lanes() <= limits.lanes_max);
    }
}

fn number(frame: &[u8], at: &mut usize) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = frame[*at];
        *at += 1;
        number |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return number;
        }
    }
}

/// A dictionary that was taken has the sum that the frame tells: read again from the frame, as plainly as can be.
fn told_truly(frame: &[u8], had: &[(u64, Vec<u8>)]) {
    let mut at = 1;
    number(frame, &mut at);
    at += 1;
    let mut end = number(frame, &mut at);
    let (mut a, mut b) = (1u64, 0u64);
    for _ in 0..number(frame, &mut at) {
        let first = end + number(frame, &mut at);
        end = first + number(frame, &mut at);
        for seq in first..end {
            // Those of earlier-message frames are not known here.
            let Some((_, payload)) = had.iter().rev().find(|(had, _)| *had == seq) else { return };
            for &byte in payload {
                a = (a + u64::from(byte)) % 65_521;
                b = (b + a) % 65_521;
            }
        }
    }
    let check = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let replaced = had.iter().enumerate().any(|(n, (seq, _))| had[..n].iter().any(|(before, _)| before >= seq));
    assert!(replaced || u64::from(check) == b << 16 | a, "another dictionary was taken");
}

/// One byte: the maximum; two bytes: the dictionary's length. Then the dictionary and a block.
fn block(codec: Codec, mut input: Input<'_>) {
    let max = input.pick(&MAXIMA);
    let length = usize::from(input.u16()) % (TAIL_BYTES_MAX + 1);
    let dictionary = input.take(length);
    let block = input.rest();
    let mut out = b"before".to_vec();
    let is_read = Unpacker::new(codec).decompress(dictionary, block, max, &mut out);
    assert!(out.len() <= max + 1 && out.capacity() <= 2 * (max + 4_096), "{} of {max}", out.capacity());
    if codec == Codec::Lz4 {
        let plain = lz4_plain::decompress_with(dictionary, block, max);
        assert_eq!(is_read.then_some(out), plain, "another block");
        return;
    }
    // What was read before has no say.
    let mut unpacker = Unpacker::new(codec);
    let mut again = Vec::new();
    let _ = unpacker.decompress(block, dictionary, max, &mut again);
    assert_eq!(unpacker.decompress(dictionary, block, max, &mut again), is_read);
    assert!(!is_read || again == out, "another block");
}

/// Two bytes: where a newcomer joins, and which frames a third reader loses. Then for each frame a byte for how many messages it has
/// and, for each message, one for its length, one for what is unusual about it, and its pattern.
fn write(codec: Codec, mut input: Input<'_>) {
    let (join, loses) = (usize::from(input.byte()), input.byte());
    let lane = Lane { topic_id: TopicId(u32::from(loses) << 20), priority: Priority::ALL[usize::from(loses % 4)] };
    let (mut packer, mut encoder) = (Packer::new(codec), LaneEncoder::new(lane));
    let limits = Limits { block_bytes_max: 1 << 20, lanes_max: 1 };
    let [mut first, mut late, mut lossy] = [0; 3].map(|_| Decoder::new(codec, limits));
    let (mut seq, mut time_us) = (u64::from(loses), 1_700_000_000_000_000);
    let mut told: Vec<(u64, u64, Vec<u8>)> = Vec::new();
    for n in 0..400 {
        if input.is_empty() {
            break;
        }
        if n == join {
            let mut out = Vec::new();
            encoder.history(&mut packer, &mut out, |out, start| {
                assert_eq!(late.frame(&out[start..]), Ok(Frame::Nothing));
            });
        }
        told.clear();
        for _ in 0..1 + usize::from(input.byte()) % TAIL_MESSAGES_MAX / 8 {
            let (length, unusual) = (input.byte(), input.byte());
            let pattern = input.take(usize::from(length % 8));
            let length = usize::from(length) << (unusual & 7);
            seq += 1 + u64::from(unusual >> 6);
            time_us = time_us + u64::from(unusual) * 1_000 - 50_000;
            let length = if pattern.is_empty() { 0 } else { length };
            told.push((seq, time_us, pattern.iter().copied().cycle().take(length).collect()));
        }
        let messages: Vec<Message<'_>> =
            told.iter().map(|(seq, time_us, payload)| Message { seq: *seq, time_us: *time_us, payload }).collect();
        let mut out = b"before".to_vec();
        assert_eq!(encoder.data(&mut packer, Kind::Binary, &messages, &mut out), Ok(()));
        let frame = &out[6..];
        let expected = Ok(Frame::Data { lane, kind: Kind::Binary, messages });
        assert_eq!(first.frame(frame), expected, "in step");
        if n >= join {
            assert_eq!(late.frame(frame), expected, "joined at {join}");
        }
        if n % 8 != usize::from(loses % 8) {
            // It is read truly or refused.
            let read = lossy.frame(frame);
            assert!(read.is_err() || read == expected, "{read:?}");
        }
    }
}
