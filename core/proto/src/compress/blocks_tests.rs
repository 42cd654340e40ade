//! The walker against libdeflate at every level, and against streams that are broken.

use super::super::tests::samples;
use super::*;
use flate2::{Decompress, FlushDecompress};
use libdeflater::{CompressionLvl, Compressor};

fn compressor(level: i32) -> Compressor {
    Compressor::new(CompressionLvl::new(level).unwrap())
}

/// libdeflate's own stream, and [`SLACK`] bytes of the worst kind.
fn padded(compressor: &mut Compressor, payload: &[u8]) -> Vec<u8> {
    let mut stream = vec![0xFF; compressor.deflate_compress_bound(payload.len())];
    let len = compressor.deflate_compress(payload, &mut stream).unwrap();
    stream.truncate(len);
    stream.extend([0xFF; SLACK]);
    stream
}

/// The payload as a client sees it, whose inflater goes on after it: nothing may have ended.
fn inflated(sync_flushed: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len + 1];
    let mut inflater = Decompress::new(false);
    for part in [sync_flushed, &[0, 0, 0xFF, 0xFF]] {
        let (read, written) = (inflater.total_in(), inflater.total_out() as usize);
        let status = inflater.decompress(part, &mut out[written..], FlushDecompress::Sync).unwrap();
        assert_eq!(inflater.total_in() - read, part.len() as u64, "all is read");
        assert_ne!(status, flate2::Status::StreamEnd);
    }
    out.truncate(inflater.total_out() as usize);
    out
}

fn check(blocks: &mut Blocks, compressor: &mut Compressor, payload: &[u8], what: &str) {
    let mut stream = padded(compressor, payload);
    let padding = blocks.open_end(&mut stream).unwrap_or_else(|| panic!("{what}: unreadable"));
    stream.truncate(stream.len() - SLACK);
    if padding == Padding::Short {
        stream.push(0);
    }
    assert!(inflated(&stream, payload.len()) == payload, "{what}");
}

#[test]
fn every_level_and_every_length_of_small_messages_opens_to_the_bit() {
    let (json, random) = (samples::json(9000, 1), samples::Random::new(2).bytes(9000));
    let mut blocks = Blocks::default();
    for level in [0, 1, 3, 6, 9, 12] {
        let mut compressor = compressor(level);
        for len in (1..400).chain((400..9000).step_by(97)) {
            check(&mut blocks, &mut compressor, &json[..len], &format!("json {len} at {level}"));
            check(&mut blocks, &mut compressor, &random[..len], &format!("random {len} at {level}"));
            check(&mut blocks, &mut compressor, &vec![b'a'; len], &format!("one letter {len} at {level}"));
        }
    }
}

#[test]
fn streams_of_several_blocks_open_to_the_bit() {
    let mut blocks = Blocks::default();
    for level in [0, 1, 2, 6, 9, 10] {
        let mut compressor = compressor(level);
        for len in [40 << 10, 65_535, 65_536, 300_000, 1 << 20] {
            for (name, payload) in samples::made(len) {
                check(&mut blocks, &mut compressor, &payload, &format!("{name} {len} at {level}"));
            }
        }
        for (name, payload) in samples::recorded() {
            check(&mut blocks, &mut compressor, &payload, &format!("{name} at {level}"));
        }
    }
}

/// The end that the padding tells and the end that decoding the block tells are one.
#[test]
fn the_padding_tells_the_same_end_as_decoding_does() {
    let mut told = 0;
    for level in [1, 6, 12] {
        let mut compressor = compressor(level);
        for seed in 0..300 {
            let payload = samples::json(60 + 13 * seed as usize, seed);
            let stream = padded(&mut compressor, &payload);
            let (mut blocks, mut bits) = (Blocks::default(), Bits { padded: &stream, at: 3 });
            if stream[0] & 7 != 0b101 {
                continue;
            }
            blocks.lengths.read(&mut bits).unwrap();
            let end = end_by_padding(&blocks.lengths, &stream[..stream.len() - SLACK]);
            blocks.skip(Coding::Dynamic, &mut bits).unwrap();
            told += usize::from(end.is_some());
            assert!(end.is_none_or(|end| end == bits.at), "level {level}, seed {seed}");
        }
    }
    assert!(told > 800, "the shortcut was tried only {told} times");
}

/// RFC 1951 by hand: all three kinds of block, with every tail a last byte can leave.
#[test]
fn hand_made_streams_open_to_the_bit() {
    /// Name, stream, where its last header begins and what its padding is.
    type Row = (&'static str, &'static [u8], Option<(usize, Padding)>);
    let rows: &[Row] = &[
        ("empty fixed block", &[0x03, 0x00], Some((0, Padding::Long))),
        ("Hello, fixed", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], Some((0, Padding::Long))),
        ("empty stored block", &[0x01, 0x00, 0x00, 0xff, 0xff], Some((0, Padding::Short))),
        ("stored block", &[0x01, 0x01, 0x00, 0xfe, 0xff, b'x'], Some((0, Padding::Short))),
        ("stored, then fixed", &[0x00, 0x01, 0x00, 0xfe, 0xff, b'x', 0x03, 0x00], Some((48, Padding::Long))),
        ("nothing", &[], None),
        ("no final block", &[0x00, 0x00, 0x00, 0xff, 0xff], None),
        ("stored block, too short", &[0x01, 0x02, 0x00, 0xfd, 0xff, b'x'], None),
        ("stored block, wrong complement", &[0x01, 0x01, 0x00, 0xff, 0xff, b'x'], None),
        ("reserved type", &[0x07, 0x00], None),
        ("bytes after the end", &[0x03, 0x00, 0x00], None),
    ];
    for &(name, stream, expected) in rows {
        let mut padded = [stream, &[0; SLACK]].concat();
        let last = Blocks::default().last(&padded);
        assert_eq!(last.map(|l| l.header), expected.map(|e| e.0), "{name}");
        assert_eq!(Blocks::default().open_end(&mut padded), expected.map(|e| e.1), "{name}");
    }
}

#[test]
fn broken_streams_give_none_or_an_end_and_never_a_panic() {
    let mut random = samples::Random::new(3);
    let mut blocks = Blocks::default();
    let whole = padded(&mut compressor(6), &samples::json(3000, 4));
    for _ in 0..20_000 {
        let mut stream = if random.next() & 1 == 0 {
            whole.clone()
        } else {
            let len = 8 + random.next() as usize % 60;
            random.bytes(len)
        };
        for _ in 0..1 + random.next() % 4 {
            let at = random.next() as usize % stream.len();
            stream[at] ^= 1 << (random.next() % 8);
        }
        let cut = 8 + random.next() as usize % (stream.len() - 7);
        stream.truncate(cut);
        let _ = blocks.open_end(&mut stream);
    }
}
