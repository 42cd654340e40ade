//! What clients may send and what they must not: RFC 7692's own examples, blocks made by hand, bombs.

use super::super::compress::tests::samples;
use super::super::compress::{Compressed, Deflater, Effort};
use super::*;
use InflateError::{Invalid, TooBig};

/// Writes DEFLATE bit by bit.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    len: usize,
}

impl Writer {
    /// A number, its lowest bit first.
    fn number(mut self, value: u32, bits: usize) -> Self {
        for bit in 0..bits {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            self.bytes[self.len / 8] |= ((value >> bit & 1) as u8) << (self.len % 8);
            self.len += 1;
        }
        self
    }

    /// A Huffman code, its highest bit first.
    fn code(self, code: u32, bits: usize) -> Self {
        self.number(code.reverse_bits() >> (32 - bits), bits)
    }

    /// The header of a block with the fixed codes.
    fn fixed(self, is_final: bool) -> Self {
        self.number(u32::from(is_final), 1).number(1, 2)
    }

    fn literals(self, text: &[u8]) -> Self {
        text.iter().fold(self, |w, &byte| {
            if byte < 144 { w.code(0x30 + u32::from(byte), 8) } else { w.code(0x190 + u32::from(byte) - 144, 9) }
        })
    }

    /// Five bytes again that were five bytes ago.
    fn match_5_at_5(self) -> Self {
        self.code(259 - 256, 7).code(4, 5).number(0, 1)
    }

    /// 258 times the last byte.
    fn match_258_at_1(self) -> Self {
        self.code(0xC0 + 285 - 280, 8).code(0, 5)
    }

    fn end_of_block(self) -> Self {
        self.code(0, 7)
    }

    /// Padding after a final block.
    fn padded(mut self) -> Self {
        self.len = self.bytes.len() * 8;
        self
    }

    /// The message's end: the header of the empty stored block whose rest is left out.
    fn message(self) -> Vec<u8> {
        self.number(0, 3).bytes
    }
}

fn hello() -> Writer {
    Writer::default().fixed(false).literals(b"Hello").end_of_block()
}

fn final_hello() -> Writer {
    Writer::default().fixed(true).literals(b"Hello").end_of_block().padded()
}

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn repeated(text: &[u8], times: usize) -> Result<Vec<u8>, InflateError> {
    Ok(text.repeat(times))
}

const MAX: usize = 1000;

type Row = (&'static str, Vec<u8>, Result<Vec<u8>, InflateError>);

fn table() -> Vec<Row> {
    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const FINAL_HELLO: [u8; 7] = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const STORED_HELLO: [u8; 10] = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    const FINAL_STORED_HELLO: [u8; 10] = [0x01, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    const EMPTY_STORED: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];
    const DYNAMIC: [u8; 45] = [
        0x05, 0xc0, 0x81, 0x00, 0x00, 0x00, 0x00, 0x00, 0x90, 0x56, 0xff, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    vec![
        // Legal.
        ("RFC 7692 7.2.3.1: one block", HELLO.to_vec(), Ok(b"Hello".to_vec())),
        ("RFC 7692 7.2.3.3: stored", cat(&[&STORED_HELLO, &[0]]), Ok(b"Hello".to_vec())),
        ("RFC 7692 7.2.3.4: final block", cat(&[&FINAL_HELLO, &[0]]), Ok(b"Hello".to_vec())),
        (
            "RFC 7692 7.2.3.5: two blocks",
            vec![0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            Ok(b"Hello".to_vec()),
        ),
        ("RFC 7692 7.2.3.6: empty", vec![0x00], Ok(vec![])),
        ("empty fixed block", vec![0x02, 0x00], Ok(vec![])),
        ("empty final block", vec![0x03, 0x00, 0x00], Ok(vec![])),
        ("empty stored blocks in front", cat(&[&EMPTY_STORED, &EMPTY_STORED, &HELLO]), Ok(b"Hello".to_vec())),
        ("only empty stored blocks", cat(&[&EMPTY_STORED.repeat(40), &[0]]), Ok(vec![])),
        ("final stored, stored", cat(&[&FINAL_STORED_HELLO, &STORED_HELLO, &[0]]), repeated(b"Hello", 2)),
        ("final stored, final fixed, fixed", cat(&[&FINAL_STORED_HELLO, &FINAL_HELLO, &HELLO]), repeated(b"Hello", 3)),
        ("final empty blocks between", cat(&[&HELLO[..], &TAIL, &[3, 0], &[3, 0], &HELLO]), repeated(b"Hello", 2)),
        ("hand-made block", hello().message(), repeated(b"Hello", 1)),
        ("match", hello().fixed(false).match_5_at_5().end_of_block().message(), repeated(b"Hello", 2)),
        (
            "match back over a final block",
            final_hello().fixed(false).match_5_at_5().end_of_block().message(),
            repeated(b"Hello", 2),
        ),
        (
            "match back over two final blocks",
            final_hello().fixed(true).end_of_block().padded().fixed(false).match_5_at_5().end_of_block().message(),
            repeated(b"Hello", 2),
        ),
        (
            "final blocks, 60 of them",
            cat(&[&(0..60).flat_map(|_| final_hello().bytes).collect::<Vec<_>>(), &[0]]),
            repeated(b"Hello", 60),
        ),
        (
            "as long as allowed",
            cat(&[&(0..200).flat_map(|_| cat(&[&HELLO, &TAIL])).collect::<Vec<_>>(), &[0]]),
            repeated(b"Hello", 200),
        ),
        ("no data", vec![], Ok(vec![])),
        // Not.
        (
            "one byte too long",
            cat(&[
                &(0..200).flat_map(|_| cat(&[&HELLO, &TAIL])).collect::<Vec<_>>(),
                &Writer::default().fixed(false).literals(b"x").end_of_block().message(),
            ]),
            Err(TooBig),
        ),
        (
            "small bomb",
            (0..40)
                .fold(Writer::default().fixed(false).literals(b"x"), |w, _| w.match_258_at_1())
                .end_of_block()
                .message(),
            Err(TooBig),
        ),
        ("empty blocks for ever", EMPTY_STORED.repeat(1000), Err(TooBig)),
        ("final blocks for ever", [0x03, 0x00].repeat(1000), Err(Invalid)),
        ("final block, and no more", FINAL_HELLO.to_vec(), Err(Invalid)),
        ("the tail, though it is to be left out", cat(&[&HELLO, &TAIL]), Err(Invalid)),
        ("nothing but the tail", TAIL.to_vec(), Err(Invalid)),
        ("block that is cut in its codes", HELLO[..3].to_vec(), Err(Invalid)),
        ("block that is cut in its end", HELLO[..6].to_vec(), Err(Invalid)),
        ("no empty stored block behind the last", hello().fixed(false).bytes, Err(Invalid)),
        ("stored block, cut", STORED_HELLO[..8].to_vec(), Err(Invalid)),
        ("stored block that the tail would fill", STORED_HELLO[..6].to_vec(), Err(Invalid)),
        ("stored block that the tail would fill in part", STORED_HELLO[..7].to_vec(), Err(Invalid)),
        (
            "stored block, length and complement differ",
            vec![0x00, 0x05, 0x00, 0x05, 0x00, 1, 2, 3, 4, 5, 0],
            Err(Invalid),
        ),
        ("stored block of 65,535 that never come", vec![0x00, 0xff, 0xff, 0x00, 0x00, 1, 2], Err(Invalid)),
        ("reserved block type", vec![0x06, 0x00], Err(Invalid)),
        ("reserved block type, final", vec![0x07, 0x00], Err(Invalid)),
        (
            "match before the beginning",
            Writer::default().fixed(false).match_5_at_5().end_of_block().message(),
            Err(Invalid),
        ),
        (
            "match before the beginning, by one",
            Writer::default().fixed(false).literals(b"Hell").match_5_at_5().message(),
            Err(Invalid),
        ),
        (
            "reserved length symbol 286",
            Writer::default().fixed(false).literals(b"x").code(0xC6, 8).message(),
            Err(Invalid),
        ),
        ("reserved distance symbol 30", hello().fixed(false).code(3, 7).code(30, 5).message(), Err(Invalid)),
        ("dynamic block, more lengths than symbols", DYNAMIC.to_vec(), Err(Invalid)),
        ("dynamic block without codes", vec![0x04, 0x00, 0x00, 0x00, 0x00], Err(Invalid)),
        ("zlib header in front", cat(&[&[0x78, 0x9c], &HELLO]), Err(Invalid)),
        ("gzip header in front", cat(&[&[0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3], &HELLO]), Err(Invalid)),
        ("plain text", b"Hello, this is not compressed".to_vec(), Err(Invalid)),
    ]
}

fn in_pieces<'a>(
    inflater: &mut Inflater,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    max: usize,
) -> Result<Vec<u8>, InflateError> {
    let mut out = b"before".to_vec();
    inflater.begin(max, &out);
    let len = pieces.into_iter().try_for_each(|piece| inflater.feed(piece, &mut out)).and_then(|()| inflater.finish());
    assert!(out.len() <= 6 + max + 1 && out.starts_with(b"before"));
    assert_eq!(len.unwrap_or(out.len() - 6), out.len() - 6);
    len.map(|_| out.split_off(6))
}

#[test]
fn hand_made_messages_get_the_verdict_of_the_rfc() {
    let mut inflater = Inflater::new();
    for (name, message, expected) in table() {
        let verdict = in_pieces(&mut inflater, [&message[..]], MAX);
        assert!(verdict == expected, "{name}: {verdict:?}");
    }
    assert!(table().len() >= 40);
}

#[test]
fn a_message_cut_anywhere_gets_the_same_verdict() {
    let mut inflater = Inflater::new();
    for (name, message, expected) in table() {
        assert!(in_pieces(&mut inflater, message.chunks(1), MAX) == expected, "{name}, byte by byte");
        for cut in 0..message.len().min(120) {
            let (a, b) = message.split_at(cut);
            assert!(in_pieces(&mut inflater, [a, &[], b], MAX) == expected, "{name}, cut at {cut}");
        }
    }
}

/// A step at a time, into so many bytes each.
fn in_steps(inflater: &mut Inflater, message: &[u8], room: usize, max: usize) -> Result<Vec<u8>, InflateError> {
    let (mut out, mut input) = (Vec::new(), message);
    inflater.begin(max, &[]);
    loop {
        let mut fresh = vec![0; room];
        let window = || Cow::Borrowed(&out[out.len().saturating_sub(WINDOW)..]);
        let step = inflater.step(input, &mut fresh, window)?;
        assert!(step.read > 0 || step.written > 0 || step.is_hungry, "no way forward");
        out.extend_from_slice(&fresh[..step.written]);
        input = &input[step.read..];
        if input.is_empty() && step.is_hungry {
            break;
        }
    }
    assert_eq!(inflater.finish()?, out.len());
    Ok(out)
}

#[test]
fn a_message_in_steps_gets_the_same_verdict() {
    let mut inflater = Inflater::new();
    for (name, message, expected) in table() {
        for room in [1, 2, 3, 100, 4_096] {
            assert!(in_steps(&mut inflater, &message, room, MAX) == expected, "{name}, {room} bytes at a time");
        }
    }
    let mut whole = Vec::new();
    assert_eq!(inflater.inflate(&bomb(), 1 << 20, &mut whole), Err(TooBig));
    assert_eq!(in_steps(&mut inflater, &bomb(), 65_536, 1 << 20), Err(TooBig));
}

#[test]
fn the_faults_are_1009_and_1007() {
    assert_eq!(TooBig.violation().code, CloseCode::TOO_BIG);
    assert_eq!(Invalid.violation().code, CloseCode::INVALID_PAYLOAD);
}

/// One inflater serves all connections: nothing of one client's message may come out in another's.
#[test]
fn nothing_of_an_earlier_message_can_be_reached() {
    let probe = Writer::default().fixed(false).match_5_at_5().end_of_block().message();
    let mut inflater = Inflater::new();
    let secret = samples::Random::new(1).bytes(50_000);
    let mut stored = Vec::new();
    for part in secret.chunks(10_000) {
        let len = part.len() as u16;
        stored.extend([&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), part].concat());
    }
    stored.push(0);
    for cut in [stored.len(), 20_000, 5] {
        let mut out = Vec::new();
        inflater.begin(1 << 20, &out);
        inflater.feed(&stored[..cut], &mut out).unwrap();
        if cut == stored.len() {
            assert_eq!(inflater.finish(), Ok(50_000));
            assert!(out == secret);
        }
        assert_eq!(inflater.inflate(&probe, MAX, &mut Vec::new()), Err(Invalid), "after {cut} bytes");
    }
    let after_final = final_hello().bytes;
    let mut out = Vec::new();
    assert_eq!(inflater.inflate(&cat(&[&after_final, &[0]]), MAX, &mut out), Ok(5));
    assert_eq!(inflater.inflate(&probe, MAX, &mut out), Err(Invalid), "after a final block");
}

#[test]
fn what_we_compress_comes_back() {
    let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
    let (mut message, mut out) = (Vec::new(), Vec::new());
    for len in (0..600).step_by(7).chain([1024, 4096, 9000, 40_000, 65_535, 65_536, 300_000, 1 << 20]) {
        for (name, payload) in samples::made(len) {
            message.clear();
            let Compressed::Deflated(_) = deflater.compress(&payload, Effort::Thorough, 15, &mut message) else {
                continue;
            };
            out.clear();
            assert_eq!(inflater.inflate(&message, len, &mut out), Ok(len), "{name} {len}");
            assert!(out == payload, "{name} {len}");
            let pieces = in_pieces(&mut inflater, message.chunks(1000), len);
            assert!(pieces.as_ref() == Ok(&payload), "{name} {len} in pieces");
            if len > 0 {
                assert_eq!(inflater.inflate(&message, len - 1, &mut Vec::new()), Err(TooBig), "{name} {len}");
            }
        }
    }
}

/// 1 GiB of zeros in 1.1 MB.
fn bomb() -> Vec<u8> {
    let mut mebibyte = Vec::new();
    let _ = Deflater::new().compress(&vec![0; 1 << 20], Effort::Fast, 15, &mut mebibyte);
    mebibyte.extend(TAIL);
    let mut bomb = mebibyte.repeat(1024);
    bomb.truncate(bomb.len() - TAIL.len());
    bomb
}

#[test]
fn a_bomb_is_stopped_at_the_maximum() {
    let bomb = bomb();
    assert!(bomb.len() < 1_300_000, "{}", bomb.len());
    let mut inflater = Inflater::new();
    for max in [0, 1, 1000, CHUNK - 1, CHUNK, 1 << 20, 5_000_000] {
        let mut out = Vec::new();
        assert_eq!(inflater.inflate(&bomb, max, &mut out), Err(TooBig));
        assert!(out.len() <= max + 1, "{} bytes came out", out.len());
        assert!(out.capacity() <= max + 1 + CHUNK, "{} bytes were reserved", out.capacity());

        out.clear();
        inflater.begin(max, &out);
        let fed = bomb.chunks(100).take_while(|piece| inflater.feed(piece, &mut out).is_ok()).count();
        assert!(fed * 100 <= max / 500 + 100, "stopped after {fed} pieces");
    }
}

#[test]
fn memory_follows_what_comes_out_not_what_may() {
    let mut out = Vec::new();
    assert_eq!(Inflater::new().inflate(&hello().message(), usize::MAX, &mut out), Ok(5));
    assert!(out.capacity() <= 1024, "{}", out.capacity());
}

#[test]
fn a_used_inflater_and_buffer_allocate_nothing_for_the_next_message() {
    let mut inflater = Inflater::new();
    let mut message = Vec::new();
    let _ = Deflater::new().compress(&samples::json(20_000, 1), Effort::Fast, 15, &mut message);
    let mut out = Vec::new();
    inflater.inflate(&message, 1 << 20, &mut out).unwrap();
    let (capacity, start) = (out.capacity(), out.as_ptr());
    for _ in 0..10 {
        out.clear();
        inflater.inflate(&message, 1 << 20, &mut out).unwrap();
        assert_eq!((out.capacity(), out.as_ptr()), (capacity, start));
    }
}

#[test]
fn noise_gets_a_verdict_and_leaves_the_inflater_usable() {
    let mut random = samples::Random::new(11);
    let mut inflater = Inflater::new();
    let mut whole = Vec::new();
    let _ = Deflater::new().compress(&samples::json(3000, 2), Effort::Fast, 15, &mut whole);
    for round in 0..10_000 {
        let mut message = if round % 2 == 0 { whole.clone() } else { random.bytes(round % 300) };
        for _ in 0..random.next() % 4 {
            if let Some(at) = (random.next() as usize).checked_rem(message.len()) {
                message[at] ^= 1 << (random.next() % 8);
            }
        }
        let verdict = in_pieces(&mut inflater, [&message[..]], MAX * 4);
        assert_eq!(in_pieces(&mut inflater, message.chunks(1 + round % 50), MAX * 4), verdict, "round {round}");
    }
    let mut out = Vec::new();
    assert_eq!(inflater.inflate(&hello().message(), 5, &mut out), Ok(5));
    assert_eq!(out, b"Hello");
}
