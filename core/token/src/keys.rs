//! Keys that tokens are verified with.

use std::fmt;

use ring::agreement::{self, EphemeralPrivateKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};

use crate::der;
use crate::fingerprint::Fingerprint;
use crate::head::Algorithm;
use crate::jwks;
use crate::weak;

/// A secret shorter than the hash is refused (RFC 7518 section 3.2).
pub(crate) const SECRET_BYTES_MIN: usize = 32;
/// What every PEM has in it.
const PEM: &[u8] = b"-----BEGIN ";
/// Bits of an RSA key.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// What is wrong with keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}{problem}")]
pub struct KeyError {
    /// Which key of a set: empty, or like `key 2 (kid "a"): `.
    pub(crate) key: String,
    pub(crate) problem: String,
}

impl KeyError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        KeyError { key: String::new(), problem: problem.into() }
    }
}

/// A key by its algorithm.
pub(crate) enum Material {
    /// The fingerprint is that of the bytes, which are not kept.
    Secret {
        key: hmac::Key,
        fingerprint: Fingerprint,
    },
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point: 4, x, y.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key, and its name in its set.
pub(crate) struct Key {
    pub kid: Option<String>,
    /// Of what it is made of: under another name it is the same key, and another key of the same name is not.
    pub fingerprint: Fingerprint,
    pub material: Material,
}

impl Key {
    pub fn new(kid: Option<String>, material: Material) -> Self {
        Key { kid, fingerprint: material.fingerprint(), material }
    }
}

/// Keys that tokens are verified with: secrets, or public keys, never both.
pub struct Keys(Vec<Key>);

/// Never the keys themselves.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, key) in self.0.iter().enumerate() {
            let kid = key.kid.as_deref().unwrap_or_default();
            write!(f, "{}({}, {kid:?})", if n == 0 { "" } else { ", " }, key.material.algorithm().name())?;
        }
        f.write_str("]")
    }
}

impl Keys {
    /// A JWK set (RFC 7517 section 5). Keys of another algorithm, or that are not for signatures, are left out.
    ///
    /// # Errors
    /// It is none, or a key is unsafe (RSA below 2,048 bits, a secret below 32 bytes, a private key, a point off its curve), or there
    /// are two keys that a token could mean, or secrets beside public keys, or no key that can be used.
    pub fn from_jwks(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::checked(jwks::read(bytes)?)
    }

    /// One public key in PEM (RFC 7468 section 13): RSA, P-256 or Ed25519.
    ///
    /// # Errors
    /// It is none, or unsafe.
    pub fn from_pem(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::checked(vec![Key::new(None, der::public_key(bytes)?)])
    }

    /// One secret for HS256.
    ///
    /// # Errors
    /// It has less than 32 bytes.
    pub fn from_secret(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::checked(vec![Key::new(None, Material::secret(bytes)?)])
    }

    fn checked(keys: Vec<Key>) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::new("there is no key that can be used: HS256, RS256, ES256 or EdDSA is needed"));
        }
        if keys.len() > 1 && keys.iter().any(|key| key.kid.is_none()) {
            return Err(KeyError::new("a key beside others needs a kid"));
        }
        for (n, key) in keys.iter().enumerate() {
            if keys[..n].iter().any(|before| before.kid == key.kid) {
                return Err(KeyError::new(format!(
                    "the kid {:?} stands twice",
                    key.kid.as_deref().unwrap_or_default()
                )));
            }
        }
        Ok(Keys(keys))
    }

    /// Whether one has this fingerprint.
    pub(crate) fn has(&self, fingerprint: Fingerprint) -> bool {
        self.0.iter().any(|key| key.fingerprint == fingerprint)
    }

    /// Whether they are secrets, which must not be shown to anybody.
    pub fn are_secrets(&self) -> bool {
        // There are never both.
        self.0.iter().any(|key| key.material.algorithm() == Algorithm::Hs256)
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The names of their algorithms, each once: `ES256, RS256`.
    pub fn algorithms(&self) -> String {
        let mut names: Vec<&str> = self.0.iter().map(|key| key.material.algorithm().name()).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }

    /// The key that a token means: of its `kid`, or the only one of its algorithm. A key that has no name is the only one, and
    /// meant by every token.
    pub(crate) fn meant(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        match (kid, &self.0[..]) {
            (_, [only]) if only.kid.is_none() => Some(only),
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, keys) => {
                let mut fitting = keys.iter().filter(|key| key.material.algorithm() == algorithm);
                fitting.next().filter(|_| fitting.next().is_none())
            }
        }
    }
}

impl Material {
    pub fn secret(bytes: &[u8]) -> Result<Self, KeyError> {
        // RFC 8725 section 2.1: what everybody has must not pass for a secret.
        if bytes.windows(PEM.len()).any(|part| part == PEM) {
            return Err(KeyError::new("this is a key in PEM, which is no secret"));
        }
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(KeyError::new(format!("a secret has at least {SECRET_BYTES_MIN} bytes")));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Ok(Material::Secret { key, fingerprint: Fingerprint::of(&[&b"HS256:"[..], bytes].concat()) })
    }

    /// Modulus and exponent, without leading zeros.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::new(format!("an RSA key has {} to {} bits", RSA_BITS.start(), RSA_BITS.end())));
        }
        if n.last().is_none_or(|last| last % 2 == 0) || n[0] == 0 {
            return Err(KeyError::new("this is no RSA modulus"));
        }
        let exponent = e.iter().try_fold(0u64, |sum, b| sum.checked_mul(256)?.checked_add(u64::from(*b)));
        if !exponent.is_some_and(|e| (3..1 << 33).contains(&e) && e % 2 == 1) || e[0] == 0 {
            return Err(KeyError::new("this is no RSA exponent"));
        }
        if weak::is_roca(n) {
            return Err(KeyError::new("this RSA key was made by a faulty library (CVE-2017-15361)"));
        }
        Ok(Material::Rsa { n: n.to_vec(), e: e.to_vec() })
    }

    /// A point, which has to be on the curve.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 32 || y.len() != 32 {
            return Err(KeyError::new("a coordinate of P-256 has 32 bytes"));
        }
        let point = [&[4], x, y].concat();
        // Agreeing on a key is the one operation that looks at the point.
        let random = SystemRandom::new();
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, &point);
        let is_on_curve = EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random)
            .is_ok_and(|own| agreement::agree_ephemeral(own, &peer, |_| ()).is_ok());
        if !is_on_curve {
            return Err(KeyError::new("this point is not on P-256"));
        }
        Ok(Material::P256(point))
    }

    pub fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 32 {
            return Err(KeyError::new("a key of Ed25519 has 32 bytes"));
        }
        if weak::is_of_small_order(x) {
            return Err(KeyError::new("this point has a small order: a signature of zeros would be right for it"));
        }
        Ok(Material::Ed25519(x.to_vec()))
    }

    pub fn algorithm(&self) -> Algorithm {
        match self {
            Material::Secret { .. } => Algorithm::Hs256,
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        let of = |parts: &[&[u8]]| Fingerprint::of(&[self.algorithm().name().as_bytes(), &parts.concat()].join(&b':'));
        match self {
            Material::Secret { fingerprint, .. } => *fingerprint,
            Material::Rsa { n, e } => of(&[n, e]),
            Material::P256(key) | Material::Ed25519(key) => of(&[key]),
        }
    }

    /// Whether `signature` is this key's, of `message`.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        #[cfg(test)]
        SIGNATURES.set(SIGNATURES.get() + 1);
        let with = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match self {
            Material::Secret { key, .. } => hmac::verify(key, message, signature).is_ok(),
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Material::P256(point) => with(&signature::ECDSA_P256_SHA256_FIXED, point),
            Material::Ed25519(key) => with(&signature::ED25519, key),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// Signatures that this thread has looked at.
    pub(crate) static SIGNATURES: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}
