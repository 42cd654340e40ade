//! Public keys, each of a name: what their mathematics and their mixture allow to try.

use fanwire_token::{Refusal, SigningKey};
use serde_json::{Value, json};

use super::making::*;
use super::{Row, good, row};

const RSA: &str = include_str!("../../testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../testdata/rsa.pub.pem");
const P256: &str = include_str!("../../testdata/p256.pem");
const P256_PUBLIC: &str = include_str!("../../testdata/p256.pub.pem");
const ED25519: &str = include_str!("../../testdata/ed25519.pem");
const ED25519_PUBLIC: &str = include_str!("../../testdata/ed25519.pub.pem");

/// The three keys as a set.
pub fn keys() -> String {
    let rsa = unpem(RSA_PUBLIC);
    // 2,048 bits, and 65537: the last bytes are an integer of three.
    let n = &rsa[rsa.len() - 5 - 256..rsa.len() - 5];
    let x = unpem(ED25519_PUBLIC);
    json!({"keys": [
        {"kty": "RSA", "kid": "r", "use": "sig", "n": base64(n), "e": "AQAB"},
        p256_jwk(),
        {"kty": "OKP", "kid": "e", "crv": "Ed25519", "key_ops": ["verify"], "x": base64(&x[x.len() - 32..])},
    ]})
    .to_string()
}

fn p256_jwk() -> Value {
    let der = unpem(P256_PUBLIC);
    let (x, y) = der[der.len() - 64..].split_at(32);
    json!({"kty": "EC", "kid": "p", "alg": "ES256", "crv": "P-256", "x": base64(x), "y": base64(y)})
}

pub fn rows(make: &Make) -> Vec<Row> {
    let claims: Value = serde_json::from_str(&make.claims().text()).expect("JSON");
    let sound = |pem: &str, kid: Option<&str>| {
        let key = SigningKey::from_pem(pem.as_bytes()).expect("a key");
        key.sign(claims.as_object().expect("an object"), kid).expect("a signature")
    };
    let (r, p, e) = (sound(RSA, Some("r")), sound(P256, Some("p")), sound(ED25519, Some("e")));
    let mut rows = vec![
        good("RS256", r.clone()),
        good("ES256", p.clone()),
        good("EdDSA", e.clone()),
        good("no name, one key of that algorithm", sound(ED25519, None)),
        row("another key's name", sound(P256, Some("r")), Refusal::Algorithm),
        row("a name that is not there", sound(P256, Some("x")), Refusal::Key),
        row("RS256's signature under ES256's name", swapped(&p, &r), Refusal::Signature),
    ];
    rows.extend(other_algorithms(make, &r, &p, &e));
    rows.extend(bent(&r, &p, &e));
    rows
}

/// This token with another's signature.
fn swapped(token: &str, other: &str) -> String {
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    format!("{signed}.{}", other.rsplit_once('.').expect("a signature").1)
}

fn other_algorithms(make: &Make, r: &str, p: &str, e: &str) -> Vec<Row> {
    let claimed = |header: &Object, secret: &[u8]| signed_with(secret, header.text(), make.claims().text());
    let hs = |kid: &str| header().with("kid", &format!("\"{kid}\""));
    let headed = |token: &str, kid: &str, alg: &str| {
        let (_, rest) = token.split_once('.').expect("a payload");
        format!("{}.{rest}", base64(hs(kid).with("alg", &format!("\"{alg}\"")).text()))
    };
    let jwk = p256_jwk().to_string();
    let mut rows = vec![
        row("HS256 with the RSA key's PEM", claimed(&hs("r"), RSA_PUBLIC.as_bytes()), Refusal::Algorithm),
        row("HS256 with the PEM, trimmed", claimed(&hs("r"), RSA_PUBLIC.trim().as_bytes()), Refusal::Algorithm),
        row("HS256 with the PEM's bytes", claimed(&hs("r"), &unpem(RSA_PUBLIC)), Refusal::Algorithm),
        row("HS256 with the P-256 key's PEM", claimed(&hs("p"), P256_PUBLIC.as_bytes()), Refusal::Algorithm),
        row("HS256 with the Ed25519 key's PEM", claimed(&hs("e"), ED25519_PUBLIC.as_bytes()), Refusal::Algorithm),
        row("HS256 with the key as JSON", claimed(&hs("p"), jwk.as_bytes()), Refusal::Algorithm),
        row("HS256 without a name", claimed(&header().without("kid"), RSA_PUBLIC.as_bytes()), Refusal::Key),
        row("HS256 with nothing", claimed(&hs("r"), b""), Refusal::Algorithm),
    ];
    for (token, kid, alg) in [
        (r, "r", "PS256"),
        (r, "r", "RS384"),
        (r, "r", "RS512"),
        (r, "r", "none"),
        (r, "r", "ES256"),
        (p, "p", "ES384"),
        (p, "p", "ES256K"),
        (p, "p", "EdDSA"),
        (p, "p", "none"),
        (r, "p", "RS256"),
        (e, "e", "Ed25519"),
        (e, "e", "Ed448"),
        (e, "e", "ES256"),
        (e, "p", "EdDSA"),
    ] {
        rows.push(row(format!("{alg} with the key {kid}"), headed(token, kid, alg), Refusal::Algorithm));
    }
    rows
}

fn bent(r: &str, p: &str, e: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut bend = |name: &str, token: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let mut bytes = unbase64(signature);
        change(&mut bytes);
        rows.push(row(name, format!("{signed}.{}", base64(bytes)), Refusal::Signature));
    };
    bend("r = 0", p, &|bytes| bytes[..32].fill(0));
    bend("s = 0", p, &|bytes| bytes[32..].fill(0));
    bend("r = s = 0 (CVE-2022-21449)", p, &|bytes| bytes.fill(0));
    bend("r = s = all ones", p, &|bytes| bytes.fill(0xff));
    bend("a signature in DER", p, &|bytes| *bytes = der(bytes));
    bend("ECDSA of 63 bytes", p, &|bytes| bytes.truncate(63));
    bend("ECDSA of 65 bytes", p, &|bytes| bytes.push(0));
    bend("ECDSA of 96 bytes", p, &|bytes| bytes.resize(96, 0));
    bend("r and s changed about", p, &|bytes| bytes.rotate_left(32));
    bend("no ECDSA signature", p, &|bytes| bytes.clear());
    bend("RSA of zeros", r, &|bytes| bytes.fill(0));
    bend("RSA of one", r, &|bytes| {
        bytes.fill(0);
        bytes[255] = 1;
    });
    bend("RSA, a zero in front", r, &|bytes| bytes.insert(0, 0));
    bend("RSA of 255 bytes", r, &|bytes| bytes.truncate(255));
    bend("no RSA signature", r, &|bytes| bytes.clear());
    bend("Ed25519 of zeros", e, &|bytes| bytes.fill(0));
    bend("Ed25519 of the neutral point", e, &|bytes| {
        bytes.fill(0);
        bytes[0] = 1;
    });
    bend("Ed25519, S not reduced", e, &|bytes| bytes[63] |= 0xe0);
    bend("Ed25519 of 63 bytes", e, &|bytes| bytes.truncate(63));
    bend("Ed25519 of 65 bytes", e, &|bytes| bytes.push(0));
    rows
}

/// ECDSA's r and s as X.509 has them.
fn der(fixed: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let sign = if bytes[0] >= 0x80 { &[0][..] } else { &[] };
        [&[2, (sign.len() + bytes.len()) as u8], sign, bytes].concat()
    };
    let both = [number(&fixed[..32]), number(&fixed[32..])].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}
