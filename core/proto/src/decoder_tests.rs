//! The decoder against hand-made frames, cut anywhere; every rule and every limit.

use super::*;
use crate::client::encode_frame;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
pub(super) const MAX: u64 = 1 << 20;

/// An owned [`Part`]; neighbouring pieces of a message are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Data { text: bool, compressed: bool, first: bool, last: bool, bytes: Vec<u8> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) items: Vec<Item>,
    pub(super) violation: Option<Violation>,
    /// Bytes fed before the chunk that ended the stream, plus that chunk's.
    pub(super) fed: usize,
}

impl Outcome {
    /// Without the message that a violation broke off: how much of it came out depends on the cuts.
    pub(super) fn comparable(mut self) -> (Vec<Item>, Option<Violation>) {
        if self.violation.is_some() && matches!(self.items.last(), Some(Item::Data { last: false, .. })) {
            self.items.pop();
        }
        (self.items, self.violation)
    }
}

/// Feeds `chunks` as a connection does: what is not consumed is put in front of the next chunk.
pub(super) fn feed<'a>(mut decoder: Decoder, max: u64, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Outcome { items: Vec::new(), violation: None, fed: 0 };
    let mut tail = Vec::new();
    for chunk in chunks {
        outcome.fed += chunk.len();
        let mut buffer = std::mem::take(&mut tail);
        buffer.extend_from_slice(chunk);
        let mut at = 0;
        loop {
            let step = match decoder.next(&mut buffer[at..], max) {
                Ok(step) => step,
                Err(violation) => {
                    assert!(decoder.is_ended());
                    assert_eq!(decoder.next(&mut [0xFF; 9], max), Ok(Step { consumed: 9, part: None }));
                    outcome.violation = Some(violation);
                    return outcome;
                }
            };
            at += step.consumed;
            match step.part {
                Some(part) => collect(&mut outcome.items, part),
                None => break,
            }
        }
        tail = buffer[at..].to_vec();
        assert!(tail.len() <= TAIL_BYTES_MAX, "{} bytes left over", tail.len());
    }
    outcome
}

fn collect(items: &mut Vec<Item>, part: Part<'_>) {
    let item = match part {
        Part::Data { text, compressed, first, last, bytes } => {
            assert!(!bytes.is_empty() || first || last, "an empty piece in the middle");
            if let Some(Item::Data { text: t, compressed: c, last: l @ false, bytes: b, .. }) = items.last_mut() {
                assert!(!first && *t == text && *c == compressed, "the pieces of a message differ");
                b.extend_from_slice(bytes);
                *l = last;
                return;
            }
            Item::Data { text, compressed, first, last, bytes: bytes.to_vec() }
        }
        Part::Ping(bytes) => Item::Ping(bytes.to_vec()),
        Part::Pong(bytes) => Item::Pong(bytes.to_vec()),
        Part::Close { code, reason } => Item::Close(code, reason.to_owned()),
    };
    items.push(item);
}

pub(super) fn server() -> Decoder {
    Decoder::new(Role::Server, false)
}

pub(super) fn whole(bytes: &[u8]) -> Outcome {
    feed(server(), MAX, [bytes])
}

pub(super) fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, opcode, fin, false, KEY, payload);
    out
}

pub(super) fn text(bytes: &[u8]) -> Item {
    Item::Data { text: true, compressed: false, first: true, last: true, bytes: bytes.to_vec() }
}

pub(super) fn binary(bytes: &[u8]) -> Item {
    Item::Data { text: false, compressed: false, first: true, last: true, bytes: bytes.to_vec() }
}

/// The bytes cut at the places that `cuts` names, ascending.
pub(super) fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    let mut start = 0;
    for &at in cuts {
        chunks.push(&bytes[start..at]);
        start = at;
    }
    chunks.push(&bytes[start..]);
    chunks
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 64, "{} bytes", size_of::<Decoder>());
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 section 5.7.
    assert_eq!(whole(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58").items, [text(b"Hello")]);
    let client = |bytes: &[u8]| feed(Decoder::new(Role::Client, false), MAX, [bytes]).items;
    assert_eq!(client(b"\x81\x05Hello"), [text(b"Hello")]);
    assert_eq!(client(b"\x01\x03Hel\x80\x02lo"), [text(b"Hello")]);
    assert_eq!(client(b"\x89\x05Hello"), [Item::Ping(b"Hello".to_vec())]);
    assert_eq!(client(&[&b"\x82\x7E\x01\x00"[..], &[7; 256]].concat()), [binary(&[7; 256])]);
    assert_eq!(client(&[&b"\x82\x7F\0\0\0\0\0\x01\0\0"[..], &[7; 65_536]].concat()), [binary(&[7; 65_536])]);
}

/// What is wrong, the bytes (masked with key 0), the code, and the number of bytes after which it must be refused.
pub(super) const BAD_FRAMES: &[(&str, &[u8], u16, usize)] = &[
    ("RSV1 without deflate", b"\xC1\x80\0\0\0\0", 1002, 1),
    ("RSV2", b"\xA1\x80\0\0\0\0", 1002, 1),
    ("RSV3", b"\x91\x80\0\0\0\0", 1002, 1),
    ("RSV1 on a ping", b"\xC9\x80\0\0\0\0", 1002, 1),
    ("reserved opcode 3", b"\x83\x80\0\0\0\0", 1002, 1),
    ("reserved opcode 7", b"\x87\x80\0\0\0\0", 1002, 1),
    ("reserved opcode 11", b"\x8B\x80\0\0\0\0", 1002, 1),
    ("reserved opcode 15", b"\x8F\x80\0\0\0\0", 1002, 1),
    ("fragmented ping", b"\x09\x80\0\0\0\0", 1002, 1),
    ("fragmented pong", b"\x0A\x80\0\0\0\0", 1002, 1),
    ("fragmented close", b"\x08\x80\0\0\0\0", 1002, 1),
    ("ping of 126 bytes", b"\x89\xFE\x00\x7E\0\0\0\0", 1002, 2),
    ("pong with a 64-bit length", b"\x8A\xFF\0\0\0\0\0\0\0\0\0\0\0\0", 1002, 2),
    ("close of 126 bytes", b"\x88\xFE\x00\x7E\0\0\0\0", 1002, 2),
    ("not masked", b"\x81\x05Hello", 1002, 2),
    ("ping not masked", b"\x89\x00", 1002, 2),
    ("16-bit length of 0", b"\x82\xFE\x00\x00\0\0\0\0", 1002, 8),
    ("16-bit length of 125", b"\x82\xFE\x00\x7D\0\0\0\0", 1002, 8),
    ("64-bit length of 5", b"\x82\xFF\0\0\0\0\0\0\0\x05\0\0\0\0", 1002, 14),
    ("64-bit length of 65535", b"\x82\xFF\0\0\0\0\0\0\xFF\xFF\0\0\0\0", 1002, 14),
    ("length of 2^63", b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0", 1002, 14),
    ("length of 2^64-1", b"\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", 1002, 14),
    ("length of 2^63-1", b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", 1009, 14),
    ("length beyond the maximum", b"\x82\xFF\0\0\0\0\0\x10\0\x01\0\0\0\0", 1009, 14),
    ("continuation of nothing", b"\x80\x80\0\0\0\0", 1002, 1),
    ("continuation, not final, of nothing", b"\x00\x80\0\0\0\0", 1002, 1),
    ("continuation after a whole message", b"\x81\x80\0\0\0\0\x80\x80\0\0\0\0", 1002, 7),
    ("text inside a fragmented text", b"\x01\x81\0\0\0\0a\x81\x81\0\0\0\0b", 1002, 8),
    ("binary inside a fragmented text", b"\x01\x81\0\0\0\0a\x02\x81\0\0\0\0b", 1002, 8),
    ("text inside, after a ping", b"\x01\x80\0\0\0\0\x89\x80\0\0\0\0\x01\x80\0\0\0\0", 1002, 13),
    ("RSV1 on a continuation", b"\x01\x81\0\0\0\0a\xC0\x81\0\0\0\0b", 1002, 8),
    ("close with half a code", b"\x88\x81\0\0\0\0\x03", 1002, 7),
    ("close with 0", b"\x88\x82\0\0\0\0\x00\x00", 1002, 8),
    ("close with 999", b"\x88\x82\0\0\0\0\x03\xE7", 1002, 8),
    ("close with 1004", b"\x88\x82\0\0\0\0\x03\xEC", 1002, 8),
    ("close with 1005", b"\x88\x82\0\0\0\0\x03\xED", 1002, 8),
    ("close with 1006", b"\x88\x82\0\0\0\0\x03\xEE", 1002, 8),
    ("close with 1015", b"\x88\x82\0\0\0\0\x03\xF7", 1002, 8),
    ("close with 1016", b"\x88\x82\0\0\0\0\x03\xF8", 1002, 8),
    ("close with 2999", b"\x88\x82\0\0\0\0\x0B\xB7", 1002, 8),
    ("close with 5000", b"\x88\x82\0\0\0\0\x13\x88", 1002, 8),
    ("close reason that is not UTF-8", b"\x88\x83\0\0\0\0\x03\xE8\xFF", 1007, 9),
    ("close reason broken off", b"\x88\x84\0\0\0\0\x03\xE8\xE2\x82", 1007, 10),
    ("text that begins with C0", b"\x81\x85\0\0\0\0\xC0\x80abc", 1007, 7),
    ("text with a surrogate", b"\x81\x85\0\0\0\0\xED\xA0\x80ab", 1007, 8),
    ("text beyond U+10FFFF", b"\x81\x85\0\0\0\0\xF4\x90\x80\x80a", 1007, 8),
    ("text that ends inside a character", b"\x81\x82\0\0\0\0\xE2\x82", 1007, 8),
    ("an empty last fragment inside a character", b"\x01\x82\0\0\0\0\xE2\x82\x80\x80\0\0\0\0", 1007, 14),
    ("a character broken by a fragment's end", b"\x01\x82\0\0\0\0\xE2\x82\x00\x81\0\0\0\0a", 1007, 15),
];

#[test]
fn bad_frames_are_refused_at_the_byte_that_shows_it() {
    for &(what, bytes, code, after) in BAD_FRAMES {
        let outcome = whole(bytes);
        assert_eq!(outcome.violation.map(|v| v.code.to_u16()), Some(code), "{what}");
        let bytewise = feed(server(), MAX, bytes.chunks(1));
        assert_eq!(bytewise.fed, after, "{what}: when");
        assert_eq!(bytewise.comparable(), outcome.comparable(), "{what}");
    }
}

#[test]
fn a_masked_frame_from_a_server_is_refused() {
    let outcome = feed(Decoder::new(Role::Client, false), MAX, [&frame(Opcode::Text, true, b"x")[..]]);
    assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::PROTOCOL_ERROR));
}

#[test]
fn violation_reasons_fit_into_a_close_frame() {
    for &(what, bytes, ..) in BAD_FRAMES {
        let reason = whole(bytes).violation.map_or("", |v| v.reason);
        assert!((1..=123).contains(&reason.len()), "{what}");
    }
}

#[test]
fn data_of_a_partly_received_frame_is_handed_out_at_once() {
    let bytes = frame(Opcode::Binary, true, &[5; 1000]);
    let mut front = bytes[..8 + 300].to_vec();
    let mut decoder = server();
    let step = decoder.next(&mut front, MAX).unwrap();
    assert_eq!(step.consumed, 308);
    let part = Part::Data { text: false, compressed: false, first: true, last: false, bytes: &mut [5; 300] };
    assert_eq!(step.part, Some(part));
    assert!(decoder.is_in_message());
    assert_eq!(decoder.next(&mut [], MAX), Ok(Step { consumed: 0, part: None }));
}

#[test]
fn an_empty_first_fragment_is_reported_and_an_empty_one_in_the_middle_is_not() {
    let mut decoder = server();
    let mut next = |fin, opcode, payload: &[u8]| {
        let mut bytes = frame(opcode, fin, payload);
        let step = decoder.next(&mut bytes, MAX).unwrap();
        let part = step.part.map(|part| match part {
            Part::Data { first, last, bytes, .. } => (first, last, bytes.len()),
            other => panic!("{other:?}"),
        });
        (step.consumed == 6 + payload.len(), part)
    };
    assert_eq!(next(false, Opcode::Text, b""), (true, Some((true, false, 0))));
    assert_eq!(next(false, Opcode::Continuation, b""), (true, None));
    assert_eq!(next(false, Opcode::Continuation, b"ab"), (true, Some((false, false, 2))));
    assert_eq!(next(false, Opcode::Continuation, b""), (true, None));
    assert_eq!(next(true, Opcode::Continuation, b""), (true, Some((false, true, 0))));
    assert_eq!(next(true, Opcode::Binary, b""), (true, Some((true, true, 0))));
}

#[test]
fn a_header_and_a_control_frame_wait_until_they_are_whole() {
    let bytes = frame(Opcode::Ping, true, &[1; 125]);
    assert_eq!(bytes.len(), TAIL_BYTES_MAX + 1);
    let mut decoder = server();
    for len in 0..bytes.len() {
        let mut front = bytes[..len].to_vec();
        assert_eq!(decoder.next(&mut front, MAX), Ok(Step { consumed: 0, part: None }));
        assert_eq!(front, bytes[..len], "an incomplete frame stays as it came");
    }
    let mut all = bytes.clone();
    assert_eq!(decoder.next(&mut all, MAX), Ok(Step { consumed: 131, part: Some(Part::Ping(&[1; 125])) }));
}

#[test]
fn where_the_stream_stands_is_known_at_every_byte() {
    // In the fragments: no message, one under way; before its end a ping, which changes nothing.
    let stream = [
        (frame(Opcode::Text, true, b"whole"), false),
        (frame(Opcode::Binary, false, b"one"), true),
        (frame(Opcode::Ping, true, b"p"), true),
        (frame(Opcode::Continuation, false, b""), true),
        (frame(Opcode::Continuation, true, b"two"), false),
        (frame(Opcode::Pong, true, b""), false),
    ];
    let mut decoder = server();
    assert!(decoder.is_between_messages() && !decoder.is_in_message() && !decoder.is_ended());
    let mut was_in_message = false;
    for (frame, is_in_message) in stream {
        for len in 1..frame.len() {
            let mut front = frame[..len].to_vec();
            let mut cut = Decoder { ..decoder };
            while cut.next(&mut front, MAX).unwrap().part.is_some_and(|part| matches!(part, Part::Data { .. })) {
                front.clear();
            }
            let is_payload = frame[0] & 0x8 == 0 && len >= 6;
            assert_eq!(cut.is_in_message(), was_in_message || is_payload, "{len} bytes of {frame:02x?}");
            assert_eq!(cut.is_between_messages(), !cut.is_in_message(), "{len} bytes of {frame:02x?}");
            assert!(!cut.is_ended());
        }
        assert!(decoder.next(&mut frame.clone(), MAX).is_ok());
        was_in_message = is_in_message;
        assert_eq!((decoder.is_in_message(), decoder.is_between_messages()), (is_in_message, !is_in_message));
    }
    assert!(decoder.next(&mut frame(Opcode::Close, true, b""), MAX).is_ok());
    assert!(decoder.is_ended() && !decoder.is_in_message() && !decoder.is_between_messages());
}

#[test]
fn a_message_at_the_maximum_passes_and_one_byte_more_is_1009() {
    for (len, max) in [(0, 0), (1, 1), (125, 125), (126, 126), (65_535, 65_535), (65_536, 65_536), (70_000, 70_000)] {
        let bytes = frame(Opcode::Binary, true, &vec![1; len]);
        assert_eq!(feed(server(), max, [&bytes[..]]).violation, None, "{len}");
        let outcome = feed(server(), max, [&frame(Opcode::Binary, true, &vec![1; len + 1])[..]]);
        assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::TOO_BIG), "{len} + 1");
        assert_eq!(outcome.items, [], "refused at its header");
    }
}

#[test]
fn the_maximum_counts_all_fragments_and_no_control_frame() {
    let fragments = |last: &[u8]| {
        [
            frame(Opcode::Binary, false, &[1; 60]),
            frame(Opcode::Ping, true, &[2; 125]),
            frame(Opcode::Continuation, false, &[1; 30]),
            frame(Opcode::Continuation, true, last),
        ]
        .concat()
    };
    assert_eq!(feed(server(), 100, [&fragments(&[1; 10])[..]]).violation, None);
    let outcome = feed(server(), 100, [&fragments(&[1; 11])[..]]);
    assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::TOO_BIG));
    // The next message starts from nothing.
    let two = [fragments(&[1; 10]), fragments(&[1; 10])].concat();
    assert_eq!(feed(server(), 100, [&two[..]]).violation, None);
}

#[test]
fn declared_lengths_cannot_overflow_the_sum() {
    let huge = b"\x00\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0";
    let bytes = [&frame(Opcode::Binary, false, &[1; 9])[..], huge].concat();
    let outcome = feed(server(), u64::MAX - 1, [&bytes[..]]);
    assert_eq!(outcome.violation, None, "2^63 + 8 is below 2^64 - 2");
    let outcome = feed(server(), 1 << 63, [&bytes[..]]);
    assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::TOO_BIG));
}

#[test]
fn empty_fragments_at_the_cap_pass_and_one_more_is_1008() {
    let empties = |n: u16| {
        let mut bytes = frame(Opcode::Text, false, b"a");
        (0..n).for_each(|_| bytes.extend(frame(Opcode::Continuation, false, b"")));
        bytes
    };
    let end = frame(Opcode::Continuation, true, b"b");
    let passes = [empties(EMPTY_FRAGMENTS_MAX), end.clone()].concat();
    assert_eq!(whole(&passes).items, [text(b"ab")]);
    let outcome = whole(&[empties(EMPTY_FRAGMENTS_MAX + 1), end].concat());
    assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::POLICY));

    // Control frames between do not help; a byte of payload does.
    let ping = frame(Opcode::Ping, true, b"");
    let outcome = whole(&[empties(EMPTY_FRAGMENTS_MAX), ping, frame(Opcode::Continuation, false, b"")].concat());
    assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::POLICY));
    let byte = frame(Opcode::Continuation, false, b"x");
    let outcome = whole(&[empties(EMPTY_FRAGMENTS_MAX), byte, frame(Opcode::Continuation, false, b"")].concat());
    assert_eq!(outcome.violation, None);
}

#[test]
fn a_message_in_a_hundred_thousand_one_byte_fragments_arrives() {
    let mut bytes = frame(Opcode::Text, false, b"a");
    (0..100_000).for_each(|_| bytes.extend(frame(Opcode::Continuation, false, b"a")));
    bytes.extend(frame(Opcode::Continuation, true, b""));
    assert_eq!(whole(&bytes).items, [text(&[b'a'; 100_001])]);
}

#[test]
fn nothing_is_reported_after_a_close_whatever_comes() {
    for close in [&b""[..], b"\x03\xE8", b"\x0F\xA0"] {
        let mut bytes = frame(Opcode::Close, true, close);
        bytes.extend([0xFF; 300]);
        for chunk in [1, 7, 400] {
            let outcome = feed(server(), MAX, bytes.chunks(chunk));
            assert_eq!(outcome.violation, None);
            assert!(matches!(outcome.items[..], [Item::Close(..)]), "{:?}", outcome.items);
        }
    }
}

#[test]
fn every_legal_close_code_is_reported() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999u16] {
        let outcome = whole(&frame(Opcode::Close, true, &code.to_be_bytes()));
        assert_eq!(outcome.items, [Item::Close(Some(CloseCode::new(code)), String::new())]);
    }
    let longest = [&b"\x03\xE8"[..], &[b'r'; 123]].concat();
    let outcome = whole(&frame(Opcode::Close, true, &longest));
    assert_eq!(outcome.items, [Item::Close(Some(CloseCode::NORMAL), "r".repeat(123))]);
}

#[test]
fn with_deflate_rsv1_marks_the_first_frame_and_text_is_not_checked() {
    let deflate = || Decoder::new(Role::Server, true);
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, Opcode::Text, false, true, KEY, b"\xFF\xC0");
    encode_frame(&mut bytes, Opcode::Continuation, true, false, KEY, b"\x80");
    encode_frame(&mut bytes, Opcode::Text, true, false, KEY, b"plain");
    let compressed =
        Item::Data { text: true, compressed: true, first: true, last: true, bytes: b"\xFF\xC0\x80".to_vec() };
    assert_eq!(feed(deflate(), MAX, [&bytes[..]]).items, [compressed, text(b"plain")]);

    for (opcode, before) in [(Opcode::Continuation, true), (Opcode::Ping, false), (Opcode::Close, false)] {
        let mut bytes = if before { frame(Opcode::Binary, false, b"x") } else { Vec::new() };
        encode_frame(&mut bytes, opcode, true, true, KEY, b"");
        let outcome = feed(deflate(), MAX, [&bytes[..]]);
        assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::PROTOCOL_ERROR), "{opcode:?}");
    }
    // Plain text is checked as ever.
    let outcome = feed(deflate(), MAX, [&frame(Opcode::Text, true, b"\xFF")[..]]);
    assert_eq!(outcome.violation.map(|v| v.code), Some(CloseCode::INVALID_PAYLOAD));
}

#[test]
fn a_frame_of_64_mib_streams_through_a_4_kib_buffer() {
    let len = 64 << 20;
    let mut bytes = [0; HEADER_BYTES_MAX];
    let header = Header { fin: true, rsv1: false, opcode: Opcode::Binary, mask: Some(KEY), payload_bytes: len };
    let header_len = header.encode(&mut bytes);
    let mut decoder = server();
    assert_eq!(decoder.next(&mut bytes[..header_len], len), Ok(Step { consumed: 14, part: None }));
    let mut seen = 0;
    let mut is_last = false;
    while !is_last {
        let mut buffer = [0; 4096];
        let Ok(Step { consumed: 4096, part: Some(Part::Data { last, bytes, .. }) }) = decoder.next(&mut buffer, len)
        else {
            panic!("after {seen} bytes")
        };
        seen += bytes.len() as u64;
        is_last = last;
    }
    assert_eq!(seen, len);
}
