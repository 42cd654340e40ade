//! What clients make of what we send: inflaters of every window, three messages in a row.

pub(crate) mod samples;

use super::*;
use flate2::{Decompress, FlushDecompress, Status};

const EFFORTS: [Effort; 2] = [Effort::Fast, Effort::Thorough];
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// A client that keeps one inflater for the connection, as Node's WebSocket does, with the window it asked for.
struct Client(Decompress);

impl Client {
    fn new(window_bits: u8) -> Self {
        Self(Decompress::new_with_window_bits(false, window_bits))
    }

    /// The message, in pieces of an odd size, so that matches really go through the window.
    fn read(&mut self, message: &[u8], len: usize) -> Vec<u8> {
        let mut out = vec![0; len + 1];
        let mut filled = 0;
        for mut input in [message, &TAIL[..]] {
            while !input.is_empty() {
                let (read, written) = (self.0.total_in(), self.0.total_out());
                let end = (filled + 331).min(out.len());
                let status = self.0.decompress(input, &mut out[filled..end], FlushDecompress::Sync).expect("valid");
                assert_ne!(status, Status::StreamEnd, "nothing may end the stream");
                input = &input[(self.0.total_in() - read) as usize..];
                filled += (self.0.total_out() - written) as usize;
            }
        }
        out.truncate(filled);
        out
    }
}

/// Also what is not smaller, so that every kind of block is seen.
fn always(deflater: &mut Deflater, payload: &[u8], effort: Effort) -> Vec<u8> {
    let mut out = b"before".to_vec();
    if payload.is_empty() {
        assert_eq!(deflater.compress(payload, effort, 15, &mut out), Compressed::Deflated(1));
    } else {
        let len = deflater.sync_flushed(payload, effort, payload.len() + payload.len() / 1000 + 100, &mut out).unwrap();
        assert_eq!(len, out.len() - 6);
    }
    assert_eq!(&out[..6], b"before");
    out.split_off(6)
}

fn check(deflater: &mut Deflater, payload: &[u8], name: &str) {
    for effort in EFFORTS {
        let message = always(deflater, payload, effort);
        assert!(!message.ends_with(&TAIL) || payload.ends_with(&TAIL), "{name}: the tail is stripped");
        for bits in 9..=15 {
            if !Deflater::fits_window(payload.len(), bits) {
                let mut out = Vec::new();
                assert_eq!(deflater.compress(payload, effort, bits, &mut out), Compressed::BeyondWindow);
                assert!(out.is_empty());
                continue;
            }
            let mut client = Client::new(bits);
            for turn in 1..=3 {
                let read = client.read(&message, payload.len());
                assert!(read == payload, "{name}, {} bytes, {effort:?}, window {bits}, message {turn}", payload.len());
            }
        }
    }
}

#[test]
fn one_inflater_of_any_window_reads_three_messages_in_a_row() {
    let mut deflater = Deflater::new();
    for len in (0..130).chain([511, 512, 513, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193, 9000]) {
        for (name, payload) in samples::made(len) {
            check(&mut deflater, &payload, name);
        }
    }
}

#[test]
fn long_messages_of_several_blocks_are_read_too() {
    let mut deflater = Deflater::new();
    for len in [32_768, 32_769, 40_000, 65_535, 65_536, 65_537, 300_000, 1 << 20] {
        for (name, payload) in samples::made(len) {
            check(&mut deflater, &payload, name);
        }
    }
    for (name, payload) in samples::recorded() {
        check(&mut deflater, &payload, &name);
        for message in payload.chunks(1200).take(40) {
            check(&mut deflater, message, &name);
        }
    }
}

#[test]
fn a_message_that_would_not_become_smaller_leaves_the_output_alone() {
    let mut deflater = Deflater::new();
    let mut random = samples::Random::new(9);
    for len in [1, 2, 30, 100, 1000, 70_000] {
        let payload = random.bytes(len);
        let mut out = vec![1, 2, 3];
        assert_eq!(deflater.compress(&payload, Effort::Fast, 15, &mut out), Compressed::NotSmaller, "{len}");
        assert_eq!(out, [1, 2, 3]);
    }
}

#[test]
fn what_is_appended_is_smaller_than_the_message_and_needs_only_the_stated_capacity() {
    let mut deflater = Deflater::new();
    for len in [60, 100, 1000, 5000, 100_000] {
        let payload = samples::json(len, 5);
        let mut out = Vec::with_capacity(3 + Deflater::spare(len));
        out.extend([1, 2, 3]);
        let (capacity, start) = (out.capacity(), out.as_ptr());
        match deflater.compress(&payload, Effort::Thorough, 15, &mut out) {
            Compressed::Deflated(n) => assert!(n < len && out.len() == 3 + n),
            other => assert_eq!((other, len), (Compressed::NotSmaller, 60)),
        }
        assert_eq!((out.capacity(), out.as_ptr()), (capacity, start));
    }
}

/// A derived log may be thrown away and built again under a subscriber that has half a frame.
#[test]
fn the_same_message_gives_the_same_bytes_whatever_came_before() {
    let mut used = Deflater::new();
    for effort in EFFORTS {
        for (name, payload) in samples::made(5000).into_iter().chain(samples::made(200_000)) {
            let fresh = always(&mut Deflater::new(), &payload, effort);
            assert!(fresh == always(&mut used, &payload, effort), "{name}");
            assert!(fresh == always(&mut used, &payload, effort), "{name}, twice");
        }
    }
}

#[test]
fn the_empty_message_is_the_one_byte_of_the_rfc() {
    let mut out = Vec::new();
    assert_eq!(Deflater::new().compress(b"", Effort::Fast, 9, &mut out), Compressed::Deflated(1));
    assert_eq!(out, [0x00]);
}

#[test]
fn a_window_admits_messages_up_to_its_own_size() {
    for bits in 9..15 {
        assert!(Deflater::fits_window(1 << bits, bits));
        assert!(!Deflater::fits_window((1 << bits) + 1, bits));
    }
    assert!(Deflater::fits_window(usize::MAX, 15));
}

#[test]
fn a_compressor_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Deflater>();
}
