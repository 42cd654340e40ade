//! What we compress: read back by our inflater and by a plain one, within the window and the room that was promised.

use super::input::Input;
use super::plain_inflate;
use crate::compress::{Compressed, Deflater, Effort};
use crate::inflate::Inflater;
use std::cell::RefCell;

const BEFORE: &[u8] = b"before";
const PAYLOAD_BYTES_MAX: usize = 40_000;

thread_local! {
    /// As a shard has it: one for all messages. What it does for a message does not depend on those before.
    static DEFLATER: RefCell<Deflater> = RefCell::new(Deflater::new());
}

/// One byte each: window, effort, how often the rest is repeated, what is added to it each time. Then the payload's pattern.
pub fn deflate(data: &[u8]) {
    let mut input = Input::new(data);
    let window_bits = 9 + input.byte() % 7;
    let effort = input.pick(&[Effort::Fast, Effort::Thorough]);
    let (times, step) = (1 + usize::from(input.byte()), input.byte());
    let pattern = input.rest();
    let mut payload = Vec::new();
    for n in 0..times {
        let add = step.wrapping_mul(n as u8);
        payload.extend(pattern.iter().map(|byte| byte.wrapping_add(add)));
        payload.truncate(PAYLOAD_BYTES_MAX);
    }

    let mut out = Vec::with_capacity(BEFORE.len() + Deflater::spare(payload.len()));
    out.extend_from_slice(BEFORE);
    let place = out.as_ptr();
    let result = DEFLATER.with_borrow_mut(|deflater| deflater.compress(&payload, effort, window_bits, &mut out));
    assert_eq!(out.as_ptr(), place, "more room than promised");
    let Some(message) = out.strip_prefix(BEFORE) else { panic!("what stood before is gone") };
    assert_eq!(result == Compressed::BeyondWindow, !Deflater::fits_window(payload.len(), window_bits));
    let Compressed::Deflated(len) = result else {
        assert!(message.is_empty(), "{result:?}, but something was written");
        return;
    };
    assert_eq!(len, message.len());
    assert!(len < payload.len() || payload.is_empty(), "{len} bytes for {}", payload.len());
    let plain = plain_inflate::inflate(message, payload.len()).expect("what RFC 7692 lets a sender make");
    assert!(plain.bytes == payload, "another payload");
    assert_eq!(plain.final_blocks, 0, "some clients do not read on after a final block");
    assert!(plain.distance_max <= 1 << window_bits, "a match beyond the window");
    let mut again = Vec::new();
    assert_eq!(Inflater::new().inflate(message, payload.len(), &mut again), Ok(payload.len()));
    assert!(again == payload, "another payload of our own");
}
