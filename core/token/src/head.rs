//! A token's header (RFC 7515 section 4).

use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// How a token is signed (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2,048 to 8,192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this name, as it stands in `alg`; names are compared exactly.
    pub fn of(name: &str) -> Option<Self> {
        [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].into_iter().find(|a| a.name() == name)
    }

    /// Its name, as it stands in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

/// Members that change what a token means, or bring a key along: who does not know them must not take it.
const EXTENSIONS: [&str; 9] = ["crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c", "epk"];

/// What a header says.
#[derive(Debug)]
pub struct Head {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
}

/// Reads a header.
pub fn read(members: &Map<String, Value>) -> Result<Head, Refusal> {
    if EXTENSIONS.iter().any(|name| members.contains_key(*name)) {
        return Err(Refusal::Extension);
    }
    let algorithm = match members.get("alg") {
        Some(Value::String(name)) => Algorithm::of(name).ok_or(Refusal::Algorithm)?,
        _ => return Err(Refusal::Header),
    };
    let is_type = |name: &str| {
        let name = name.to_ascii_lowercase();
        matches!(name.strip_prefix("application/").unwrap_or(&name), "jwt" | "at+jwt")
    };
    // Nested tokens (RFC 7519 section 5.2) are for who can open them.
    match members.get("cty") {
        Some(Value::String(name)) if is_type(name) => return Err(Refusal::Extension),
        None | Some(Value::String(_)) => {}
        Some(_) => return Err(Refusal::Header),
    }
    match members.get("typ") {
        None => {}
        Some(Value::String(name)) if is_type(name) => {}
        Some(_) => return Err(Refusal::Header),
    }
    let kid = match members.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err(Refusal::Header),
    };
    Ok(Head { algorithm, kid })
}
