//! Compressed messages from clients: against a plain inflater, against itself in pieces, and within the maximum.

use super::input::{Cuts, Input};
use super::plain_inflate;
use crate::inflate::{InflateError, Inflater};

const MAXIMA: [usize; 6] = [4096, 0, 1, 100, 65_536, 100_000];
/// Stands in the buffer in front of the message.
const BEFORE: &[u8] = b"before";
/// So many final blocks are always taken, and so many bytes for each byte of the maximum.
const FINAL_BLOCKS: usize = 60;

/// One byte each: the maximum, the cuts. Then a compressed message.
pub fn inflate(data: &[u8]) {
    let mut input = Input::new(data);
    let max = input.pick(&MAXIMA);
    let cuts = Cuts::new(input.byte());
    let message = input.rest();

    let mut inflater = Inflater::new();
    let mut whole = BEFORE.to_vec();
    let result = inflater.inflate(message, max, &mut whole);
    check(&whole, max, result);

    // The same inflater, in the middle of a message that is then forgotten.
    let mut forgotten = Vec::new();
    inflater.begin(max, &forgotten);
    let _ = inflater.feed(&message[..message.len() / 2], &mut forgotten);
    let mut pieces = BEFORE.to_vec();
    inflater.begin(max, &pieces);
    let fed = cuts.of(message).try_for_each(|piece| inflater.feed(piece, &mut pieces));
    let in_pieces = fed.and_then(|()| inflater.finish());
    check(&pieces, max, in_pieces);
    assert_eq!(in_pieces, result, "the cuts matter");

    match (result, plain_inflate::inflate(message, max)) {
        (Ok(len), plain) => {
            let plain = plain.expect("inflated, but not what RFC 7692 lets a sender make");
            assert!(whole[BEFORE.len()..] == plain.bytes && len == plain.bytes.len(), "another message");
            assert!(pieces == whole, "another message in pieces");
        }
        (Err(error), Ok(plain)) => {
            let is_wordy = plain.final_blocks > FINAL_BLOCKS || message.len() > 2 * max + 1024;
            assert!(is_wordy, "{} bytes are refused: {error}", plain.bytes.len());
        }
        (Err(_), Err(_)) => {}
    }
}

fn check(out: &Vec<u8>, max: usize, result: Result<usize, InflateError>) {
    assert!(out.starts_with(BEFORE));
    let len = out.len() - BEFORE.len();
    assert!(len <= max.saturating_add(1), "{len} bytes of at most {max}");
    assert!(out.capacity() <= BEFORE.len() + max + 1, "room for {} bytes of at most {max}", out.capacity());
    match result {
        Ok(told) => assert!(told == len && len <= max),
        Err(error) => {
            let code = error.violation().code.to_u16();
            assert_eq!(code, if error == InflateError::TooBig { 1009 } else { 1007 });
        }
    }
}
