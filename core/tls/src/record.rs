//! A record's head (RFC 8446 section 5.1): kind, version, length.

use crate::alert::Alert;

/// Bytes before a record's content.
pub const HEADER_BYTES: usize = 5;
/// Longest content of one record.
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 14;
/// What TLS 1.3 allows a sealed content to be longer (section 5.2).
const EXPANSION_13: usize = 256;
/// What TLS 1.2 allows (RFC 5246 section 6.2.3).
const EXPANSION_12: usize = 2_048;
/// Longest record, its head included.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + PLAINTEXT_BYTES_MAX + EXPANSION_12;

/// What a record's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Alert,
    Handshake,
    Data,
}

impl Kind {
    pub fn byte(self) -> u8 {
        match self {
            Kind::Alert => 21,
            Kind::Handshake => 22,
            Kind::Data => 23,
        }
    }

    pub fn of(byte: u8) -> Option<Self> {
        [Kind::Alert, Kind::Handshake, Kind::Data].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// A record's head as it is sent; `length` is the sealed content's.
pub fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = (length as u16).to_be_bytes();
    [kind.byte(), 3, 3, high, low]
}

/// How long the record is that begins with `head`, its head included.
///
/// # Errors
/// The alert for a head that no sealed record has: known after its 5 bytes, before anything is kept for it.
pub fn record_bytes(head: [u8; HEADER_BYTES], is_13: bool) -> Result<usize, Alert> {
    let [kind, major, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // In TLS 1.3 a sealed record is application data from outside (section 5.2).
    match Kind::of(kind) {
        Some(Kind::Data) => {}
        Some(_) if !is_13 => {}
        _ => return Err(Alert::UNEXPECTED_MESSAGE),
    }
    if major != 3 {
        return Err(Alert::DECODE_ERROR);
    }
    if length > PLAINTEXT_BYTES_MAX + if is_13 { EXPANSION_13 } else { EXPANSION_12 } {
        return Err(Alert::RECORD_OVERFLOW);
    }
    Ok(HEADER_BYTES + length)
}
