//! Adler-32, RFC 1950 section 8.2.

const BASE: u32 = 65_521;
/// Sums of so many bytes do not overflow 32 bits.
const RUN: usize = 5_552;

/// The checksum. O(length).
pub(super) fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for run in bytes.chunks(RUN) {
        for &byte in run {
            a += u32::from(byte);
            b += a;
        }
        a %= BASE;
        b %= BASE;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_rfc_s_algorithm() {
        assert_eq!(adler32(b""), 1);
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398, "the article's example");
        // Bytes that overflow first, past several runs; the plain reading of the definition.
        let bytes = vec![0xFF; 3 * RUN + 7];
        let (mut a, mut b) = (1u64, 0u64);
        for &byte in &bytes {
            a = (a + u64::from(byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        assert_eq!(u64::from(adler32(&bytes)), b << 16 | a);
    }
}
