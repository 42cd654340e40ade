//! JWK sets (RFC 7517).

use serde_json::{Map, Value};

use crate::head::Algorithm;
use crate::json;
use crate::keys::{Key, KeyError, Material};

/// Longest set.
pub const JWKS_BYTES_MAX: usize = 256 << 10;
/// Most keys of one.
pub const KEYS_MAX: usize = 64;
/// Longest name of one.
const KID_BYTES_MAX: usize = 255;
/// What a public key of RSA, a curve or Ed25519 has not (RFC 7518 section 6, RFC 8037 section 2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// The keys of a set that can be used.
pub fn read(bytes: &[u8]) -> Result<Vec<Key>, KeyError> {
    if bytes.len() > JWKS_BYTES_MAX {
        return Err(KeyError::new(format!("a set of keys has at most {JWKS_BYTES_MAX} bytes")));
    }
    let Some(set) = json::object(bytes) else {
        return Err(KeyError::new("this is no JSON object with each name once"));
    };
    let Some(Value::Array(members)) = set.get("keys") else {
        return Err(KeyError::new("this is no set of keys: `keys` is missing, or no array"));
    };
    if members.len() > KEYS_MAX {
        return Err(KeyError::new(format!("a set has at most {KEYS_MAX} keys")));
    }
    check_kinds(members)?;
    let mut keys = Vec::new();
    for (n, member) in members.iter().enumerate() {
        let Value::Object(member) = member else { return Err(KeyError::new(format!("key {}: no object", n + 1))) };
        let kid = member.get("kid").and_then(Value::as_str).filter(|kid| kid.len() <= KID_BYTES_MAX);
        let named = kid.map_or_else(String::new, |kid| format!(" (kid {kid:?})"));
        match material(member) {
            Ok(Some(material)) => keys.push(Key::new(kid.map(str::to_owned), material)),
            Ok(None) => {}
            Err(error) => return Err(KeyError { key: format!("key {}{named}: ", n + 1), ..error }),
        }
    }
    Ok(keys)
}

/// Secrets and public keys in one set are refused, whatever each of them is for: a set of public keys is shown to everybody.
fn check_kinds(members: &[Value]) -> Result<(), KeyError> {
    let secrets = members.iter().filter(|key| key["kty"] == "oct").count();
    match secrets > 0 && secrets < members.len() {
        true => Err(KeyError::new("secrets and public keys do not belong in one set")),
        false => Ok(()),
    }
}

/// A key; `None`: it is for something else.
fn material(key: &Map<String, Value>) -> Result<Option<Material>, KeyError> {
    let word = |name: &str| match key.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(KeyError::new(format!("`{name}` is no text"))),
    };
    let (kty, crv, alg) = (word("kty")?, word("crv")?, word("alg")?);
    if word("kid")?.is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
        return Err(KeyError::new(format!("a `kid` has at most {KID_BYTES_MAX} bytes")));
    }
    if matches!(kty, Some("RSA" | "EC" | "OKP")) && PRIVATE.iter().any(|name| key.contains_key(*name)) {
        return Err(KeyError::new("this is a private key, which belongs to who signs and nowhere else"));
    }
    let named = alg.and_then(Algorithm::of);
    let algorithm = match (kty, crv) {
        (None, _) => return Err(KeyError::new("`kty` is missing")),
        (Some("oct"), _) => Algorithm::Hs256,
        (Some("RSA"), _) => Algorithm::Rs256,
        (Some("EC"), Some("P-256")) => Algorithm::Es256,
        (Some("OKP"), Some("Ed25519")) => Algorithm::EdDsa,
        (Some("EC" | "OKP"), None) => return Err(KeyError::new("`crv` is missing")),
        // One of ours, but of another curve: as below.
        (Some("EC" | "OKP"), _) if named.is_some() => return Err(KeyError::new("`alg` does not fit `crv`")),
        _ => return Ok(None),
    };
    let is_signature = word("use")?.is_none_or(|what| what == "sig") && verifies(key)?;
    match named {
        // Somebody is confused, or wants us to be.
        Some(named) if named != algorithm => return Err(KeyError::new("`alg` does not fit `kty`")),
        Some(_) if !is_signature => {
            return Err(KeyError::new("`alg` says that it is for signatures, `use` or `key_ops` that it is not"));
        }
        None if !is_signature || alg.is_some() => return Ok(None),
        _ => {}
    }
    let bytes = |name: &str| match key.get(name) {
        Some(Value::String(text)) => {
            json::unbase64(text).ok_or_else(|| KeyError::new(format!("`{name}` is no base64url without padding")))
        }
        _ => Err(KeyError::new(format!("`{name}` is missing, or no text"))),
    };
    Ok(Some(match algorithm {
        Algorithm::Hs256 => Material::secret(&bytes("k")?)?,
        Algorithm::Rs256 => Material::rsa(&bytes("n")?, &bytes("e")?)?,
        Algorithm::Es256 => Material::p256(&bytes("x")?, &bytes("y")?)?,
        Algorithm::EdDsa => Material::ed25519(&bytes("x")?)?,
    }))
}

/// Whether `key_ops`, if it is there, has `verify`, and each word once (RFC 7517 section 4.3).
fn verifies(key: &Map<String, Value>) -> Result<bool, KeyError> {
    match key.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(words)) if words.iter().enumerate().all(|(n, word)| !words[..n].contains(word)) => {
            Ok(words.iter().any(|word| word == "verify"))
        }
        Some(Value::Array(_)) => Err(KeyError::new("`key_ops` has a word twice")),
        Some(_) => Err(KeyError::new("`key_ops` is no array")),
    }
}
