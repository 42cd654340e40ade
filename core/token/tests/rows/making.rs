//! Tokens made by hand, member by member, so that one thing of them can be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::{AUDIENCE, ISSUER, SECRET};

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn unbase64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// What stands in a file of PEM.
pub fn unpem(text: &str) -> Vec<u8> {
    let inner: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(inner).expect("base64")
}

/// A JSON object, written member by member.
#[derive(Clone)]
pub struct Object(Vec<(String, String)>);

impl Object {
    pub fn new(members: &[(&str, &str)]) -> Self {
        Object(members.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// With this member in place of the one of its name, or at the end.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        match changed.0.iter_mut().find(|(other, _)| other == name) {
            Some(member) => member.1 = value.to_owned(),
            None => changed.0.push((name.to_owned(), value.to_owned())),
        }
        changed
    }

    pub fn without(&self, name: &str) -> Self {
        Object(self.0.iter().filter(|(other, _)| other != name).cloned().collect())
    }

    /// With this member at the end, whether or not its name is there already.
    pub fn and(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.0.push((name.to_owned(), value.to_owned()));
        changed
    }

    pub fn text(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    }
}

pub fn header() -> Object {
    Object::new(&[("alg", "\"HS256\""), ("typ", "\"JWT\""), ("kid", "\"k1\"")])
}

/// Header and payload, signed with a secret.
pub fn signed_with(secret: &[u8], header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", base64(header), base64(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", base64(tag))
}

/// The same with the secret that the verifier has.
pub fn signed(header: &Object, claims: &Object) -> String {
    signed_with(SECRET, header.text(), claims.text())
}

pub fn secret_jwk(kid: &str, secret: &[u8]) -> Value {
    json!({"kty": "oct", "kid": kid, "alg": "HS256", "k": base64(secret)})
}

/// Makes tokens of a time.
pub struct Make {
    pub now: u64,
}

impl Make {
    /// Claims that are right.
    pub fn claims(&self) -> Object {
        let (before, exp) = ((self.now - 1_000).to_string(), (self.now + 600).to_string());
        Object::new(&[
            ("iss", &format!("\"{ISSUER}\"")),
            ("aud", &format!("\"{AUDIENCE}\"")),
            ("sub", "\"u1\""),
            ("jti", "\"t1\""),
            ("iat", &before),
            ("nbf", &before),
            ("exp", &exp),
            ("fanwire", r#"{"subscribe":["rover/*/imu","users/{sub}/**"],"publish":["chat/{sub}"]}"#),
        ])
    }

    /// With this header, and claims that are right.
    pub fn headed(&self, header: &Object) -> String {
        signed(header, &self.claims())
    }

    /// With one claim of another value.
    pub fn claiming(&self, name: &str, value: &str) -> String {
        signed(&header(), &self.claims().with(name, value))
    }

    /// Without one claim.
    pub fn lacking(&self, name: &str) -> String {
        signed(&header(), &self.claims().without(name))
    }

    /// The three parts of a token that is right.
    pub fn parts(&self) -> [String; 3] {
        let token = self.headed(&header());
        let mut parts = token.split('.').map(str::to_owned);
        std::array::from_fn(|_| parts.next().expect("three parts"))
    }
}
