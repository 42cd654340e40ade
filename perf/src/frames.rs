//! Splits what a server sends into WebSocket frames: the client half of RFC 6455, as small as it can be.
//!
//! Knows unmasked frames and says what is wrong with any other. Written apart from the engine on purpose: what
//! checks the engine does not share its code. Never allocates.

/// One whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// FIN: the last frame of its message.
    pub is_final: bool,
    /// RSV1: the message is compressed (RFC 7692 section 6).
    pub is_compressed: bool,
    /// RFC 6455 section 5.2.
    pub opcode: u8,
    /// The payload.
    pub payload: &'a [u8],
}

/// Opcode of a text frame.
pub const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub const BINARY: u8 = 2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a ping.
pub const PING: u8 = 9;
/// Opcode of a pong.
pub const PONG: u8 = 10;

/// The first frame of `bytes` and the number of bytes it takes; `Ok(None)` while it is not complete.
///
/// # Errors
/// What no server may send.
#[inline]
pub fn split(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x30 != 0 || (first & 0x40 != 0 && !matches!(first & 15, 1 | 2)) {
        return Err("reserved bits set in a frame");
    }
    if second & 0x80 != 0 {
        return Err("a masked frame from a server");
    }
    let opcode = first & 15;
    let (length, head) = match second & 0x7f {
        126 => match bytes.get(2..4) {
            Some(digits) => (u16::from_be_bytes([digits[0], digits[1]]) as u64, 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10) {
            Some(digits) => (u64::from_be_bytes(digits.try_into().expect("eight bytes")), 10),
            None => return Ok(None),
        },
        short => (short as u64, 2),
    };
    if (head == 4 && length < 126) || (head == 10 && length < 65_536) {
        return Err("a length that is not written in the shortest form");
    }
    if opcode >= 8 && (length > 125 || first & 0x80 == 0) {
        return Err("a control frame that is too long or fragmented");
    }
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err("a reserved opcode");
    }
    let Some(end) = usize::try_from(length).ok().and_then(|length| length.checked_add(head)) else {
        return Err("a length beyond memory");
    };
    match bytes.get(head..end) {
        Some(payload) => {
            Ok(Some((Frame { is_final: first & 0x80 != 0, is_compressed: first & 0x40 != 0, opcode, payload }, end)))
        }
        None => Ok(None),
    }
}

/// Bytes that the first frame of `bytes` takes, once its head is there: to size a buffer.
pub fn first_frame_bytes(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? & 0x7f {
        126 => bytes.get(2..4).map(|d| 4 + u16::from_be_bytes([d[0], d[1]]) as usize),
        127 => bytes.get(2..10).map(|d| 10 + u64::from_be_bytes(d.try_into().expect("eight bytes")) as usize),
        short => Some(2 + short as usize),
    }
}

/// Appends a server's frame.
pub fn write_plain(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    write_head(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a client's frame. The masking key is zero, which RFC 6455 permits and which costs nothing.
pub fn write_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    write_head(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn write_head(out: &mut Vec<u8>, opcode: u8, length: usize, mask: u8) {
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(mask | length as u8),
        126..65_536 => {
            out.push(mask | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        write_masked(&mut masked, first & 15, payload);
        let head = masked.len() - payload.len();
        let mut out = vec![first, masked[1] & 0x7f];
        out.extend_from_slice(&masked[2..head - 4]);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn frames_of_every_length_form_are_found_and_wait_until_they_are_whole() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let bytes = server_frame(0x82, &vec![7; length]);
            let (frame, taken) = split(&bytes).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.payload.len(), taken), (BINARY, length, bytes.len()));
            assert_eq!(first_frame_bytes(&bytes), Some(bytes.len()));
            for cut in (0..bytes.len()).rev().take(20).chain(0..bytes.len().min(20)) {
                assert_eq!(split(&bytes[..cut]), Ok(None), "cut at {cut} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn what_no_server_may_send_is_an_error() {
        for bytes in [
            &[0xa1, 0][..],
            &[0x91, 0],
            &[0xc9, 0],
            &[0xc0, 0],
            &[0x81, 0x80, 0, 0, 0, 0],
            &[0x82, 126, 0, 125],
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x89, 126, 0, 126],
            &[0x09, 0],
            &[0x83, 0],
            &[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(split(bytes).is_err(), "{bytes:x?}");
        }
    }
}
