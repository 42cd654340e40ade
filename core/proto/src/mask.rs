//! Masking: XOR with a four-byte key, in place (RFC 6455 section 5.3).
//!
//! Knows bytes and a key; must never know what the bytes mean.

/// XORs `bytes` with `key`, repeated; `key[0]` meets the first byte. Returns the key turned so that it fits the byte
/// after the last one: pass it on, and a payload may be unmasked in any pieces. Vectorised by the compiler.
pub fn apply(bytes: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let wide = u64::from(u32::from_ne_bytes(key));
    let wide = wide << 32 | wide;
    let (chunks, tail) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, k) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= k;
    }
    let mut next = key;
    next.rotate_left(tail.len() % 4);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The RFC's own words, byte by byte: the oracle.
    fn naive(bytes: &mut [u8], key: [u8; 4], phase: usize) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[(phase + i) % 4];
        }
    }

    #[test]
    fn agrees_with_the_naive_form_at_every_length_alignment_and_phase() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let source: Vec<u8> = (0..200u32).map(|i| (i * 7 + 3) as u8).collect();
        for start in 0..8 {
            for len in 0..150 {
                for phase in 0..4 {
                    let (mut fast, mut slow) = (source.clone(), source.clone());
                    let mut turned = key;
                    turned.rotate_left(phase);
                    let next = apply(&mut fast[start..start + len], turned);
                    naive(&mut slow[start..start + len], key, phase);
                    assert_eq!(fast, slow, "start {start} len {len} phase {phase}");
                    assert_eq!(next[0], key[(phase + len) % 4]);
                }
            }
        }
    }

    #[test]
    fn a_payload_cut_into_pieces_unmasks_to_the_same_bytes() {
        let key = [1, 2, 3, 4];
        let source: Vec<u8> = (0..61).collect();
        let mut whole = source.clone();
        apply(&mut whole, key);
        for a in 0..source.len() {
            for b in a..source.len() {
                let mut pieces = source.clone();
                let key = apply(&mut pieces[..a], key);
                let key = apply(&mut pieces[a..b], key);
                apply(&mut pieces[b..], key);
                assert_eq!(pieces, whole, "cut at {a} and {b}");
            }
        }
    }
}
