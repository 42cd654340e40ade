//! From a text to claims: head, key, times and parties, signature, grants, mostly in this order. What costs least is looked at first, for a
//! stranger can have as many tokens refused as he likes; nothing is believed before the signature.

use serde_json::{Map, Value};

use crate::claims::{self, Claims, Rules};
use crate::fingerprint::Fingerprint;
use crate::head::{self, Algorithm};
use crate::json;
use crate::keys::{Key, Keys};
use crate::refusal::Refusal;

/// Longest token.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Longest header: it is read of whoever asks.
const HEADER_BYTES_MAX: usize = 1 << 10;
/// Longest claims that are read before the signature is known to be right.
const CHEAP_BYTES_MAX: usize = 1 << 10;

/// What it costs to verify a token that nothing speaks against but its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A microsecond: a secret's.
    Little,
    /// A public key's: 27 µs (RS256) to 70 (ES256).
    Signature,
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Verifier {
    keys: Keys,
    rules: Rules,
}

impl Verifier {
    /// One with these keys and rules.
    pub fn new(keys: Keys, rules: Rules) -> Self {
        Verifier { keys, rules }
    }

    /// Whether the key of this fingerprint is one of those that tokens are verified with.
    pub fn has_key(&self, fingerprint: Fingerprint) -> bool {
        self.keys.has(fingerprint)
    }

    /// The keys, for other rules.
    pub fn into_keys(self) -> Keys {
        self.keys
    }

    /// What costs little to see of a token, and what the rest of [`Verifier::verify`] costs.
    ///
    /// # Errors
    /// As [`Verifier::verify`], but for what only a right signature leaves.
    pub fn examine(&self, token: &str, now: u64) -> Result<Cost, Refusal> {
        let parts = Parts::of(token)?;
        let key = self.key_of(&parts)?;
        if parts.claims.len() <= CHEAP_BYTES_MAX {
            let claims = json::object(&parts.claims).ok_or(Refusal::Claims)?;
            claims::check(&claims, &self.rules, now)?;
        }
        Ok(if key.material.algorithm() == Algorithm::Hs256 { Cost::Little } else { Cost::Signature })
    }

    /// What a token says, at a time in seconds since 1970. Where claims are short, the signature is verified if nothing else refuses
    /// them: on a key of ES256 that is 70 µs, what comes before it 2 µs, and at most 25. Long ones are not read before it: a
    /// thousand members take longer than the signature.
    ///
    /// # Errors
    /// Why it is refused: for a log, not for who brought it. Whoever has made it may have chosen the reason, but for those that only a
    /// right signature leaves: [`Refusal::Subject`] and [`Refusal::Patterns`].
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, Refusal> {
        let parts = Parts::of(token)?;
        let key = self.key_of(&parts)?;
        let is_long = parts.claims.len() > CHEAP_BYTES_MAX;
        if is_long {
            parts.check_signature(key)?;
        }
        let claims = json::object(&parts.claims).ok_or(Refusal::Claims)?;
        let stated = claims::check(&claims, &self.rules, now)?;
        if !is_long {
            parts.check_signature(key)?;
        }
        claims::grant(stated, &claims, key.fingerprint, &self.rules)
    }

    /// The key that has to have signed.
    fn key_of(&self, parts: &Parts<'_>) -> Result<&Key, Refusal> {
        let header = Some(&parts.header).filter(|header| header.len() <= HEADER_BYTES_MAX);
        let head = head::read(&header.and_then(|header| json::object(header)).ok_or(Refusal::Header)?)?;
        let key = self.keys.meant(head.kid.as_deref(), head.algorithm).ok_or(Refusal::Key)?;
        if key.material.algorithm() == head.algorithm { Ok(key) } else { Err(Refusal::Algorithm) }
    }

    /// Whether one of the keys has signed it, whatever it says.
    #[cfg(test)]
    pub(crate) fn check_signature(&self, token: &str) -> Result<(), Refusal> {
        let parts = Parts::of(token)?;
        parts.check_signature(self.key_of(&parts)?)
    }
}

/// What a token says, whoever has made it: to be shown to a person, and never to be believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Unverified {
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
}

/// Takes a token apart.
///
/// # Errors
/// It is none.
pub fn peek(token: &str) -> Result<Unverified, Refusal> {
    let parts = Parts::of(token)?;
    let header = json::object(&parts.header).ok_or(Refusal::Header)?;
    let claims = json::object(&parts.claims).ok_or(Refusal::Claims)?;
    Ok(Unverified { header, claims })
}

/// The compact serialisation (RFC 7515 section 7.1), decoded.
struct Parts<'a> {
    /// What is signed: the first two parts as they came, with the dot between.
    signed: &'a str,
    header: Vec<u8>,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Shape)?;
        let decoded = |text: &str| json::unbase64(text).ok_or(Refusal::Shape);
        Ok(Parts { signed, header: decoded(header)?, claims: decoded(claims)?, signature: decoded(signature)? })
    }

    fn check_signature(&self, key: &Key) -> Result<(), Refusal> {
        match key.material.has_signed(self.signed.as_bytes(), &self.signature) {
            true => Ok(()),
            false => Err(Refusal::Signature),
        }
    }
}
