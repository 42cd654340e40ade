//! Frame headers: encode and parse (RFC 6455 section 5.2).
//!
//! Knows one frame's header bits and lengths. Must never know the connection's state: what a header means where it
//! stands is the decoder's business.

use super::close::Violation;

/// Longest header: 2 bytes, a 64-bit length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// Longest payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// What a frame is. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0x0,
    /// The first frame of a text message.
    Text = 0x1,
    /// The first frame of a binary message.
    Binary = 0x2,
    /// Closes the connection.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping, or stands alone as a heartbeat.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode with this number; `None` for the reserved ones.
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0x0 => Some(Opcode::Continuation),
            0x1 => Some(Opcode::Text),
            0x2 => Some(Opcode::Binary),
            0x8 => Some(Opcode::Close),
            0x9 => Some(Opcode::Ping),
            0xA => Some(Opcode::Pong),
            _ => None,
        }
    }

    /// Close, ping or pong: never fragmented, at most 125 bytes.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last (or only) frame of its message.
    pub fin: bool,
    /// The message is compressed (RFC 7692 section 6), on its first frame.
    pub rsv1: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key, on frames from a client.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow; below 2^63.
    pub payload_bytes: u64,
}

impl Header {
    /// Writes the header to the front of `out` and returns its length: 2 to 14 bytes, in the shortest form.
    pub fn encode(&self, out: &mut [u8; HEADER_BYTES_MAX]) -> usize {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out[0] = u8::from(self.fin) << 7 | u8::from(self.rsv1) << 6 | self.opcode as u8;
        let len = match self.payload_bytes {
            n @ 0..=125 => {
                out[1] = masked | n as u8;
                2
            }
            n @ 126..=0xFFFF => {
                out[1] = masked | 126;
                out[2..4].copy_from_slice(&(n as u16).to_be_bytes());
                4
            }
            n => {
                out[1] = masked | 127;
                out[2..10].copy_from_slice(&n.to_be_bytes());
                10
            }
        };
        match self.mask {
            Some(key) => {
                out[len..len + 4].copy_from_slice(&key);
                len + 4
            }
            None => len,
        }
    }

    /// Parses the header at the front of `bytes`; `None` while it is not whole. Returns it with its length.
    ///
    /// # Errors
    /// 1002, as soon as the byte at fault is there, for RSV2 or RSV3, a reserved opcode, a fragmented control frame or
    /// one beyond 125 bytes; once the header is whole, for a length that is not in its shortest form or at least 2^63.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let opcode = check_first(first)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = check_second(opcode, second)?;

        let (payload_bytes, len) = match second & 0x7F {
            126 => match bytes.get(2..4) {
                Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
                _ => return Ok(None),
            },
            127 => match bytes.get(2..10) {
                Some(&[a, b, c, d, e, f, g, h]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10),
                _ => return Ok(None),
            },
            n => (u64::from(n), 2),
        };
        let (mask, len) = match (masked, bytes.get(len..len + 4)) {
            (false, _) => (None, len),
            (true, Some(&[a, b, c, d])) => (Some([a, b, c, d]), len + 4),
            (true, _) => return Ok(None),
        };
        check_length(second & 0x7F, payload_bytes)?;
        Ok(Some((Header { fin: first & 0x80 != 0, rsv1: first & 0x40 != 0, opcode, mask, payload_bytes }, len)))
    }
}

/// The first byte's rules that need no context.
pub(crate) fn check_first(first: u8) -> Result<Opcode, Violation> {
    if first & 0x30 != 0 {
        return Err(Violation::protocol("reserved bit RSV2 or RSV3 is set"));
    }
    let Some(opcode) = Opcode::from_u8(first & 0x0F) else {
        return Err(Violation::protocol("reserved opcode"));
    };
    if opcode.is_control() {
        if first & 0x80 == 0 {
            return Err(Violation::protocol("fragmented control frame"));
        }
        if first & 0x40 != 0 {
            return Err(Violation::protocol("RSV1 on a control frame"));
        }
    }
    Ok(opcode)
}

/// The second byte's rules that need no context; returns the mask bit.
fn check_second(opcode: Opcode, second: u8) -> Result<bool, Violation> {
    if opcode.is_control() && usize::from(second & 0x7F) > CONTROL_PAYLOAD_BYTES_MAX {
        return Err(Violation::protocol("control frame beyond 125 bytes"));
    }
    Ok(second & 0x80 != 0)
}

/// RFC 6455 section 5.2: "the minimal number of bytes MUST be used", "the most significant bit MUST be 0".
fn check_length(form: u8, payload_bytes: u64) -> Result<(), Violation> {
    match (form, payload_bytes) {
        (126, 0..=125) | (127, 0..=0xFFFF) => Err(Violation::protocol("payload length is not in its shortest form")),
        (127, 0x8000_0000_0000_0000..) => Err(Violation::protocol("payload length has its highest bit set")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [u64; 9] = [0, 1, 125, 126, 127, 65_535, 65_536, u32::MAX as u64 + 1, (1 << 63) - 1];

    #[test]
    fn what_is_encoded_parses_back_and_every_shorter_front_is_incomplete() {
        for payload_bytes in LENGTHS {
            for mask in [None, Some([1, 2, 3, 4])] {
                for (fin, rsv1) in [(true, false), (false, false), (true, true)] {
                    let header = Header { fin, rsv1, opcode: Opcode::Binary, mask, payload_bytes };
                    let mut bytes = [0; HEADER_BYTES_MAX];
                    let len = header.encode(&mut bytes);
                    assert_eq!(Header::parse(&bytes[..len]), Ok(Some((header, len))));
                    for cut in 0..len {
                        assert_eq!(Header::parse(&bytes[..cut]), Ok(None), "{header:?} cut at {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_shortest_form_is_used() {
        let mut bytes = [0; HEADER_BYTES_MAX];
        for (payload_bytes, len) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (1 << 40, 10)] {
            let header = Header { fin: true, rsv1: false, opcode: Opcode::Text, mask: None, payload_bytes };
            assert_eq!(header.encode(&mut bytes), len);
            assert_eq!(Header { mask: Some([0; 4]), ..header }.encode(&mut bytes), len + 4);
        }
    }

    #[test]
    fn every_first_byte_parses_or_is_refused_by_the_rules() {
        for first in 0..=255u8 {
            let opcode = first & 0x0F;
            let legal = first & 0x30 == 0
                && match opcode {
                    0..=2 => true,
                    8..=10 => first & 0xC0 == 0x80,
                    _ => false,
                };
            assert_eq!(Header::parse(&[first, 0]).is_ok(), legal, "{first:#04x}");
            assert_eq!(Header::parse(&[first]).is_ok(), legal, "{first:#04x} alone");
        }
    }
}
