//! What a fuzzer does with its bytes: no input panics, and what is taken keeps every promise.
//!
//! Takes any bytes at all and panics where a promise is broken. `core/fuzz` hands them to libFuzzer. Never knows libFuzzer, and reads
//! no clock; where a key of P-256 is loaded random bytes are drawn, which decide nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::{Claims, Keys, PATTERN_BYTES_MAX, PATTERNS_MAX, Refusal, Rules, SigningKey, Verifier, peek};

const SECRET: &[u8] = b"no secret at all, but long enough to be one";
const NOW: u64 = 1_000;

/// The first byte says what the others are: a token, a set of keys, PEM, a header that is signed, claims that are signed.
///
/// # Panics
/// Where a promise is broken.
pub fn token(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    let key = SigningKey::from_secret(SECRET).expect("long enough");
    let verifier = Verifier::new(Keys::from_secret(SECRET).expect("long enough"), Rules::default());
    match what % 5 {
        0 => {
            let token = String::from_utf8_lossy(rest);
            let _ = peek(&token);
            assert!(verifier.verify(&token, NOW).is_err(), "nobody else knows the secret");
        }
        1 => keys_are_told_apart(rest),
        2 => {
            let _ = (Keys::from_pem(rest), SigningKey::from_pem(rest));
        }
        3 => {
            let Ok(token) = key.seal(rest, br#"{"exp":2000}"#) else { return };
            if verifier.verify(&token, NOW).is_ok() {
                header_asks_for_nothing(rest);
            }
        }
        _ => {
            let Ok(token) = key.seal(br#"{"alg":"HS256"}"#, rest) else { return };
            claims_are_as_they_say(verifier.verify(&token, NOW), rest);
        }
    }
}

fn header_asks_for_nothing(bytes: &[u8]) {
    let header = plain_object(bytes).expect("a header that is taken is one object of distinct names");
    assert_eq!(header.get("alg"), Some(&Value::from("HS256")));
    for name in ["crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"] {
        assert!(!header.contains_key(name), "{name}");
    }
    assert!(header.get("cty").and_then(Value::as_str).is_none_or(|cty| !cty.eq_ignore_ascii_case("jwt")));
}

fn claims_are_as_they_say(told: Result<Claims, Refusal>, bytes: &[u8]) {
    match told {
        Ok(claims) => {
            let plain = plain_object(bytes).expect("claims that are taken are one object of distinct names");
            let whole = |name: &str| plain.get(name).map(|value| value.as_u64().expect("a whole number"));
            assert_eq!(whole("exp").map(|exp| exp.saturating_add(5)), Some(claims.expires));
            assert_eq!(whole("iat"), claims.issued_at);
            assert!(claims.expires > NOW);
            assert!(whole("nbf").into_iter().chain(claims.issued_at).all(|moment| moment <= NOW + 5));
            assert!(!plain.contains_key("aud"));
            assert_eq!(plain.get("sub").map(|sub| sub.as_str().expect("a text").to_owned()), claims.subject);
            let lists = [&claims.subscribe, &claims.publish];
            assert!(lists.iter().all(|list| list.len() <= PATTERNS_MAX));
            assert!(lists.into_iter().flatten().all(|pattern| pattern.as_str().len() <= PATTERN_BYTES_MAX));
            assert!(plain.contains_key("fanwire") || lists.iter().all(|list| list.is_empty()));
        }
        Err(refusal) => {
            let around = [Refusal::Shape, Refusal::Header, Refusal::Key, Refusal::Signature];
            assert!(!around.contains(&refusal), "{refusal}");
            // What a plain reader refuses, ours does.
            let is_none = [Refusal::Claims, Refusal::TooLong].contains(&refusal);
            assert!(plain_object(bytes).is_some() || is_none, "{refusal}");
        }
    }
}

fn keys_are_told_apart(set: &[u8]) {
    let Ok(keys) = Keys::from_jwks(set) else { return };
    let count = keys.len();
    assert!(count > 0 && (keys.algorithms() == "HS256" || !keys.algorithms().contains("HS256")));
    let plain = plain_object(set).expect("a set that is taken is one object of distinct names");
    let members = plain["keys"].as_array().expect("keys");
    assert!(count <= members.len());
    let is_private = |key: &Value| ["RSA", "EC", "OKP"].iter().any(|kty| key["kty"] == *kty) && key.get("d").is_some();
    assert!(!members.iter().any(is_private));
    let mut names: Vec<&str> = members.iter().filter_map(|key| key["kid"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert!(count == 1 || count <= names.len(), "{count} keys, {} names", names.len());
    let verifier = Verifier::new(keys, Rules::default());
    assert!(verifier.verify("eyJhbGciOiJub25lIn0.eyJleHAiOjIwMDB9.", NOW).is_err());
}

/// The plain second reader: an object's members in their order; `None` if a name is there twice.
fn plain_object(bytes: &[u8]) -> Option<BTreeMap<String, Value>> {
    struct Members(Vec<(String, Value)>);
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Members;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = access.next_entry()? {
                members.push(member);
            }
            Ok(Members(members))
        }
    }
    impl<'de> Deserialize<'de> for Members {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(All)
        }
    }
    let Members(members) = serde_json::from_slice(bytes).ok()?;
    let all = members.len();
    let map: BTreeMap<_, _> = members.into_iter().collect();
    (map.len() == all).then_some(map)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn no_seed_and_nothing_of_the_corpus_breaks_a_promise() {
        let mut files = 0;
        for folder in ["seeds", "corpus"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join("token");
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.expect("a readable folder").path();
                println!("{}", path.display());
                super::token(&fs::read(&path).expect("a readable file"));
                files += 1;
            }
        }
        assert!(files >= 25, "only {files} files: this would prove nothing");
    }

    #[test]
    fn short_inputs_break_nothing() {
        for what in 0..=255 {
            super::token(&[what]);
            super::token(&[what, 0]);
            super::token(&[what, 255, 255]);
        }
        super::token(&[]);
    }
}
