//! Job: standard base64 with padding (RFC 4648 section 4), as binary payloads travel in `fanwire.json.v1`.
//! Knows: the alphabet. Must never know: messages.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = u32::from(group[0]) << 16 | u32::from(*group.get(1).unwrap_or(&0)) << 8 | u32::from(*group.get(2).unwrap_or(&0));
        for place in 0..4 {
            let is_padding = place > group.len();
            out.push(if is_padding { b'=' } else { ALPHABET[(word >> (18 - 6 * place)) as usize & 63] });
        }
    }
}

/// The bytes that `text` stands for; `None` where it is no base64 with its padding.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    let body = &text[..text.len() - padding];
    if padding > 2 || text.is_empty() && padding > 0 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in body.chunks(4) {
        let mut word = 0u32;
        for (place, byte) in group.iter().enumerate() {
            word |= u32::from(value_of(*byte)?) << (18 - 6 * place);
        }
        let bytes = [(word >> 16) as u8, (word >> 8) as u8, word as u8];
        out.extend_from_slice(&bytes[..group.len() - 1]);
    }
    Some(out)
}

fn value_of(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_s_own_examples_hold_both_ways() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn every_byte_survives() {
        for length in 0..=257 {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 7 + 3) as u8).collect();
            let mut out = Vec::new();
            encode(&bytes, &mut out);
            assert_eq!(decode(&out), Some(bytes));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["Z", "Zg", "Zg=", "Z===", "====", "Zm 9", "Zm9v!", "Zg==Zg==", "Zm9-"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
