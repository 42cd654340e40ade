//! What a key, or a text of a token, is known by where it must not be kept itself.

use std::fmt;

use ring::digest::{SHA256, digest};

/// The first half of a SHA-256: as long for every text, and the same for the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..16]);
        Fingerprint(half)
    }
}

/// Never shown: a secret, or a name, could be guessed by it.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_have_the_same_fingerprint_and_it_is_not_shown() {
        assert_eq!(Fingerprint::of(b"a"), Fingerprint::of(b"a"));
        assert_ne!(Fingerprint::of(b"a"), Fingerprint::of(b"b"));
        assert_eq!(format!("{:?}", Fingerprint::of(b"a")), "Fingerprint(…)");
    }
}
