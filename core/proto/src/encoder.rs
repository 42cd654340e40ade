//! Server frames: headers in front of payloads that others own, and whole control frames.
//!
//! Knows RFC 6455 sections 5.2 and 5.5. Server frames are whole messages, carry no mask and therefore are the same
//! bytes for everybody. Must never know who gets them. (A client's masked frames: [`super::client::encode_frame`].)

use arrayvec::ArrayVec;

use super::close::CloseCode;
use super::header::{CONTROL_PAYLOAD_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode};

/// Longest close reason: a control payload less the code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// A whole unmasked control frame, on the stack.
pub type ControlFrame = ArrayVec<u8, { 2 + CONTROL_PAYLOAD_BYTES_MAX }>;

/// Writes the header of an unmasked frame that is a whole message and returns its length: 2, 4 or 10 bytes.
pub fn header(out: &mut [u8; HEADER_BYTES_MAX], opcode: Opcode, payload_bytes: u64, rsv1: bool) -> usize {
    Header { fin: true, rsv1, opcode, mask: None, payload_bytes }.encode(out)
}

/// The length of the header that [`header`] writes for such a payload.
pub const fn header_len(payload_bytes: u64) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// A ping. Of `payload` the first 125 bytes travel.
pub fn ping(payload: &[u8]) -> ControlFrame {
    control(Opcode::Ping, payload)
}

/// A pong. Of `payload` the first 125 bytes travel: all of them if it came out of a ping.
pub fn pong(payload: &[u8]) -> ControlFrame {
    control(Opcode::Pong, payload)
}

/// A close frame; see [`close_payload`].
pub fn close(code: Option<CloseCode>, reason: &str) -> ControlFrame {
    let mut payload = [0; CONTROL_PAYLOAD_BYTES_MAX];
    let len = close_payload(&mut payload, code, reason);
    control(Opcode::Close, &payload[..len])
}

/// Writes a close frame's payload and returns its length: nothing without a code, or with one that must not travel
/// ([`CloseCode::is_legal`]); else the code and as much of `reason` as fits, cut between characters.
pub fn close_payload(out: &mut [u8; CONTROL_PAYLOAD_BYTES_MAX], code: Option<CloseCode>, reason: &str) -> usize {
    let Some(code) = code.filter(|code| code.is_legal()) else {
        return 0;
    };
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    out[..2].copy_from_slice(&code.to_u16().to_be_bytes());
    out[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    2 + reason.len()
}

/// A whole control frame. Of `payload` the first 125 bytes travel.
fn control(opcode: Opcode, payload: &[u8]) -> ControlFrame {
    let payload = &payload[..payload.len().min(CONTROL_PAYLOAD_BYTES_MAX)];
    let mut frame = ControlFrame::new();
    frame.extend([0x80 | opcode as u8, payload.len() as u8]);
    frame.extend(payload.iter().copied());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_len_says_what_header_writes() {
        for payload_bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 64 << 20] {
            let mut out = [0; HEADER_BYTES_MAX];
            assert_eq!(header(&mut out, Opcode::Binary, payload_bytes, false), header_len(payload_bytes));
        }
    }

    #[test]
    fn headers_are_those_of_the_rfc_examples() {
        // RFC 6455 section 5.7.
        let mut out = [0; HEADER_BYTES_MAX];
        let len = header(&mut out, Opcode::Text, 5, false);
        assert_eq!(out[..len], [0x81, 0x05]);
        let len = header(&mut out, Opcode::Binary, 256, false);
        assert_eq!(out[..len], [0x82, 0x7E, 0x01, 0x00]);
        let len = header(&mut out, Opcode::Binary, 65_536, false);
        assert_eq!(out[..len], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
        // RFC 7692 section 7.2.3.1: a compressed text message.
        let len = header(&mut out, Opcode::Text, 7, true);
        assert_eq!(out[..len], [0xC1, 0x07]);
    }

    #[test]
    fn control_frames_are_whole_and_never_beyond_125_bytes() {
        assert_eq!(ping(b"Hello")[..], *b"\x89\x05Hello");
        assert_eq!(pong(b"")[..], *b"\x8A\x00");
        assert_eq!(pong(&[7; 125]).len(), 127);
        assert!(pong(&[7; 125]).is_full(), "no more room than the longest needs");
        assert_eq!(ping(&[7; 126]).len(), 127);
        assert_eq!(ping(&[7; 126])[1], 125);
    }

    #[test]
    fn close_frames_carry_a_legal_code_and_a_reason_cut_between_characters() {
        assert_eq!(close(None, "unsaid")[..], *b"\x88\x00");
        assert_eq!(close(Some(CloseCode::NORMAL), "")[..], *b"\x88\x02\x03\xE8");
        assert_eq!(close(Some(CloseCode::GOING_AWAY), "bye")[..], *b"\x88\x05\x03\xE9bye");
        assert_eq!(close(Some(CloseCode::NO_STATUS), "never on the wire")[..], *b"\x88\x00");
        assert_eq!(close(Some(CloseCode::NORMAL), &"x".repeat(123)).len(), 127);
        assert_eq!(close(Some(CloseCode::NORMAL), &"x".repeat(124)).len(), 127);
        let frame = close(Some(CloseCode::NORMAL), &"é".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
