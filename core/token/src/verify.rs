//! From a text to claims: head, key, signature, claims, in this order.

use serde_json::{Map, Value};

use crate::claims::{self, Claims, Rules};
use crate::fingerprint::Fingerprint;
use crate::head;
use crate::json;
use crate::keys::Keys;
use crate::refusal::Refusal;

/// Longest token.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;

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

    /// What a token says, at a time in seconds since 1970. Nothing of its claims is looked at before its signature is verified.
    ///
    /// # Errors
    /// Why it is refused: for a log, not for who brought it.
    pub fn verify(&self, token: &str, now: u64) -> Result<Claims, Refusal> {
        let parts = Parts::of(token)?;
        let head = head::read(&json::object(&parts.header).ok_or(Refusal::Header)?)?;
        let key = self.keys.meant(head.kid.as_deref(), head.algorithm).ok_or(Refusal::Key)?;
        if key.material.algorithm() != head.algorithm {
            return Err(Refusal::Algorithm);
        }
        if !key.material.has_signed(parts.signed.as_bytes(), &parts.signature) {
            return Err(Refusal::Signature);
        }
        claims::read(&json::object(&parts.claims).ok_or(Refusal::Claims)?, key.fingerprint, &self.rules, now)
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
}
