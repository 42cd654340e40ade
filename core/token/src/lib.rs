//! JSON Web Tokens, verified: RFC 7515 (signatures), 7517 (keys), 7518 (algorithms), 7519 (claims), 8037 (Ed25519), after the advice
//! of RFC 8725.
//!
//! Knows texts, keys and a time that it is told. Must never know a clock, a file, a socket, or who asks. Nothing of a token and no
//! part of a key stands in an error, or in what `Debug` shows.
//!
//! ```
//! use fanwire_token::{Claims, Keys, Rules, SigningKey, Verifier};
//!
//! let secret = b"a secret of thirty-two bytes, or more";
//! let mut claims = serde_json::Map::new();
//! claims.insert("sub".into(), "u1".into());
//! claims.insert("exp".into(), 1_900_000_000u64.into());
//! claims.insert("fanwire".into(), serde_json::json!({"subscribe": ["rover/*/imu"]}));
//! let token = SigningKey::from_secret(secret)?.sign(&claims, None)?;
//! let verifier = Verifier::new(Keys::from_secret(secret)?, Rules::default());
//! let claims: Claims = verifier.verify(&token, 1_800_000_000)?;
//! assert_eq!(claims.subscribe[0].as_str(), "rover/*/imu");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod claims;
mod der;
mod fingerprint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod head;
mod json;
mod jwks;
mod keys;
mod refusal;
mod sign;
mod verify;
mod weak;

pub use claims::{Claims, PATTERN_BYTES_MAX, PATTERNS_MAX, Rules};
pub use fingerprint::Fingerprint;
pub use head::Algorithm;
pub use jwks::{JWKS_BYTES_MAX, KEYS_MAX};
pub use keys::{KeyError, Keys};
pub use refusal::Refusal;
pub use sign::{SignError, SigningKey};
pub use verify::{Cost, TOKEN_BYTES_MAX, Unverified, Verifier, peek};

#[cfg(test)]
mod tests;
