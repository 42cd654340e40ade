//! Tokens as issuers make them, keys as they are loaded, and what the specifications show. What attackers bend is in `tests/rows`.

mod keys;
mod published;
mod round_trip;

use serde_json::{Map, Value, json};

use crate::json::base64;
use crate::{Claims, Keys, Refusal, Rules, SigningKey, Verifier};

/// The tests' own keys, which sign nothing else.
const RSA: &[u8] = include_bytes!("../../testdata/rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../testdata/rsa.pub.pem");
const P256: &[u8] = include_bytes!("../../testdata/p256.pem");
const P256_PUBLIC: &[u8] = include_bytes!("../../testdata/p256.pub.pem");
const ED25519: &[u8] = include_bytes!("../../testdata/ed25519.pem");
const ED25519_PUBLIC: &[u8] = include_bytes!("../../testdata/ed25519.pub.pem");
const SECRET: &[u8] = b"a secret of the tests: 32 bytes, or more";
const NOW: u64 = 1_800_000_000;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("no object: {value}") };
    map
}

/// Claims that are fine.
fn claims() -> Value {
    json!({"sub": "u1", "exp": NOW + 60, "fanwire": {"subscribe": ["rover/*/imu"], "publish": ["chat/{sub}"]}})
}

fn verifier() -> Verifier {
    Verifier::new(Keys::from_secret(SECRET).unwrap(), Rules::default())
}

/// A token of this header and these claims, as texts, signed with the tests' secret.
fn signed_text(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    format!("{signed}.{}", base64(ring::hmac::sign(&key, signed.as_bytes()).as_ref()))
}

fn signed(claims: &Value) -> String {
    signed_text(r#"{"alg":"HS256"}"#, &claims.to_string())
}

fn verified(token: &str) -> Result<Claims, Refusal> {
    verifier().verify(token, NOW)
}

/// A point of P-256, Ed25519, or an RSA key out of the tests' files, as a JWK.
fn jwk(kind: &str) -> Map<String, Value> {
    let der = |pem: &[u8]| crate::der::block(pem, "PUBLIC KEY").unwrap();
    object(match kind {
        "EC" => {
            let der = der(P256_PUBLIC);
            let point = &der[der.len() - 64..];
            json!({"kty": "EC", "crv": "P-256", "x": base64(&point[..32]), "y": base64(&point[32..])})
        }
        "OKP" => {
            let der = der(ED25519_PUBLIC);
            json!({"kty": "OKP", "crv": "Ed25519", "x": base64(&der[der.len() - 32..])})
        }
        "RSA" => {
            // 2,048 bits, and 65537: the last bytes are an integer of three.
            let der = der(RSA_PUBLIC);
            let n = &der[der.len() - 5 - 256..der.len() - 5];
            json!({"kty": "RSA", "n": base64(n), "e": "AQAB"})
        }
        _ => json!({"kty": "oct", "k": base64(SECRET)}),
    })
}

fn set(keys: &[Map<String, Value>]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

fn with(mut key: Map<String, Value>, name: &str, value: impl Into<Value>) -> Map<String, Value> {
    key.insert(name.into(), value.into());
    key
}

#[test]
fn a_token_says_who_it_is_and_what_he_may() {
    let told = verified(&signed(&claims())).unwrap();
    let texts = |patterns: &[fanwire_proto::topic::Pattern]| {
        patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((texts(&told.subscribe), texts(&told.publish)), (vec!["rover/*/imu".into()], vec!["chat/u1".into()]));
    assert_eq!((told.subject.as_deref(), told.expires, told.id, told.issuer), (Some("u1"), NOW + 65, None, None));
}

#[test]
fn without_grants_the_rules_templates_hold_and_with_them_they_do_not() {
    let rules = Rules { subscribe: vec!["users/{sub}/**".into(), "news".into()], ..Rules::default() };
    let verifier = Verifier::new(Keys::from_secret(SECRET).unwrap(), rules);
    let subscribe = |claims: Value| {
        let told = verifier.verify(&signed(&claims), NOW)?;
        Ok(told.subscribe.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(subscribe(json!({"sub": "u1", "exp": NOW + 60})).as_deref(), Ok("users/u1/** news"));
    assert_eq!(subscribe(json!({"sub": "u1", "exp": NOW + 60, "fanwire": {}})).as_deref(), Ok(""));
    assert_eq!(subscribe(json!({"sub": "a/b", "exp": NOW + 60, "fanwire": {}})).as_deref(), Ok(""));
    for subject in [json!("a/b"), json!("*"), json!("**"), json!(""), json!("$sys"), json!("{sub}")] {
        assert_eq!(subscribe(json!({"sub": subject, "exp": NOW + 60})), Err(Refusal::Subject), "{subject}");
    }
    assert_eq!(subscribe(json!({"exp": NOW + 60})), Err(Refusal::Subject));
}

#[test]
fn the_claim_of_the_grants_can_be_another_or_one_within_another() {
    let token = signed(&json!({
        "exp": NOW + 60,
        "mercure": {"publish": ["a"]},
        "https://x.example/y": {"publish": ["b"]},
        "access": {"app": {"publish": ["c"]}},
    }));
    for (name, expected) in
        [("mercure", Some("a")), ("https://x.example/y", Some("b")), ("access.app", Some("c")), ("x", None)]
    {
        let rules = Rules { grants_claim: name.into(), ..Rules::default() };
        let told = Verifier::new(Keys::from_secret(SECRET).unwrap(), rules).verify(&token, NOW).unwrap();
        assert_eq!(told.publish.first().map(fanwire_proto::topic::Pattern::as_str), expected, "{name}");
    }
}

#[test]
fn issuer_and_audience_have_to_be_those_of_the_rules() {
    let rules = Rules { issuer: Some("i".into()), audience: Some("a".into()), ..Rules::default() };
    let verifier = Verifier::new(Keys::from_secret(SECRET).unwrap(), rules);
    for (iss, aud, expected) in [
        (json!("i"), json!("a"), Ok(())),
        (json!("i"), json!(["b", "a"]), Ok(())),
        (json!("j"), json!("a"), Err(Refusal::Issuer)),
        (json!("i"), json!("b"), Err(Refusal::Audience)),
        (json!("i"), json!([]), Err(Refusal::Audience)),
        (json!("i"), json!(["a", 1]), Err(Refusal::Claims)),
        (json!(1), json!("a"), Err(Refusal::Claims)),
        (json!(["i"]), json!("a"), Err(Refusal::Claims)),
        (json!("i"), json!({"a": 1}), Err(Refusal::Claims)),
    ] {
        let token = signed(&json!({"exp": NOW + 60, "iss": iss, "aud": aud}));
        assert_eq!(verifier.verify(&token, NOW).map(|_| ()), expected, "{iss} {aud}");
    }
    let missing = signed(&json!({"exp": NOW + 60, "aud": "a"}));
    assert_eq!(verifier.verify(&missing, NOW), Err(Refusal::Issuer));
}

/// RFC 7519 section 4.1.3: who does not find himself there must not take it.
#[test]
fn a_token_for_somebody_is_not_for_a_server_without_a_name() {
    for aud in [json!("a"), json!(["a"]), json!([]), json!("")] {
        assert_eq!(verified(&signed(&json!({"exp": NOW + 60, "aud": aud}))), Err(Refusal::Audience), "{aud}");
    }
    assert!(verified(&signed(&json!({"exp": NOW + 60}))).is_ok());
}

/// Strangers can have tokens refused as fast as they can send them.
#[test]
fn no_signature_is_looked_at_where_less_is_enough() {
    let keys = Keys::from_jwks(&set(&[with(jwk("EC"), "kid", "k")])).unwrap();
    let verifier = Verifier::new(keys, Rules { issuer: Some("i".into()), ..Rules::default() });
    let key = SigningKey::from_pem(P256).unwrap();
    let fine = json!({"exp": NOW + 60, "iss": "i"});
    let changed =
        |name: &str, value: Value| object(fine.clone()).into_iter().chain([(name.to_owned(), value)]).collect();
    let looks = |token: &str, expected: Refusal| {
        let before = crate::keys::SIGNATURES.get();
        assert_eq!(verifier.verify(token, NOW), Err(expected));
        crate::keys::SIGNATURES.get() - before
    };
    let token = |claims: Map<String, Value>, kid: &str| key.sign(&claims, Some(kid)).unwrap();
    for (claims, kid, refusal) in [
        (object(fine.clone()), "other", Refusal::Key),
        (changed("exp", json!(1)), "k", Refusal::Expired),
        (changed("exp", json!("1")), "k", Refusal::Claims),
        (changed("nbf", json!(NOW + 60)), "k", Refusal::NotYet),
        (changed("iss", json!("j")), "k", Refusal::Issuer),
        (changed("aud", json!("a")), "k", Refusal::Audience),
        (Map::new(), "k", Refusal::NoExpiry),
    ] {
        assert_eq!(looks(&token(claims, kid), refusal), 0, "{refusal}");
    }
    assert_eq!(looks("a.b", Refusal::Shape) + looks(&"a".repeat(9_000), Refusal::TooLong), 0);
    assert_eq!(looks(&signed(&fine), Refusal::Key), 0);
    // Long claims cost more than the signature.
    let padded = |bytes: usize| {
        let mut claims = changed("exp", json!(1));
        let without = Value::Object(claims.clone()).to_string().len() + r#","pad":"""#.len();
        claims.insert("pad".into(), "x".repeat(bytes - without).into());
        claims
    };
    assert_eq!(looks(&token(padded(1_024), "k"), Refusal::Expired), 0);
    assert_eq!(looks(&token(padded(1_025), "k"), Refusal::Expired), 1);
    // What only a right signature leaves.
    let malformed = changed("fanwire", json!({"publish": ["a//b"]}));
    assert_eq!(looks(&token(malformed, "k"), Refusal::Patterns), 1);
}

#[test]
fn a_key_is_known_by_what_it_is_made_of() {
    let of = |keys: &[Map<String, Value>]| Verifier::new(Keys::from_jwks(&set(keys)).unwrap(), Rules::default());
    for (kind, pem) in [("RSA", RSA), ("EC", P256), ("OKP", ED25519)] {
        let token = SigningKey::from_pem(pem).unwrap().sign(&object(claims()), None).unwrap();
        let key = of(&[with(jwk(kind), "kid", "a")]).verify(&token, NOW).unwrap().key;
        assert!(of(&[with(jwk(kind), "kid", "b")]).has_key(key), "{kind}");
        let others =
            ["RSA", "EC", "OKP"].into_iter().filter(|other| *other != kind).map(|other| with(jwk(other), "kid", other));
        assert!(!of(&others.collect::<Vec<_>>()).has_key(key) && !verifier().has_key(key), "{kind}");
    }
    let key = verified(&signed(&claims())).unwrap().key;
    assert!(of(&[jwk("oct")]).has_key(key));
    assert!(!of(&[object(json!({"kty": "oct", "k": base64(&[1; 32])}))]).has_key(key));
}

#[test]
fn every_limit_holds_at_it_and_one_past_it() {
    let expires = |exp: u64| verified(&signed(&json!({"exp": exp}))).map(|told| told.expires);
    assert_eq!(expires(NOW - 4), Ok(NOW + 1));
    assert_eq!(expires(NOW - 5), Err(Refusal::Expired));
    assert_eq!(expires(u64::MAX), Ok(u64::MAX));
    for name in ["nbf", "iat"] {
        let from = |moment: u64| verified(&signed(&json!({"exp": NOW + 60, name: moment}))).map(|_| ());
        assert_eq!((from(NOW + 5), from(NOW + 6)), (Ok(()), Err(Refusal::NotYet)), "{name}");
    }
    let patterns = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
        let token = signed(&json!({"exp": NOW + 60, "fanwire": {"subscribe": list}}));
        verified(&token).map(|told| told.subscribe.len())
    };
    assert_eq!((patterns(256), patterns(257)), (Ok(256), Err(Refusal::Patterns)));
    let bytes = |count: usize| {
        let token = signed(&json!({"exp": NOW + 60, "fanwire": {"subscribe": ["x".repeat(count)]}}));
        verified(&token).map(|told| told.subscribe.len())
    };
    assert_eq!((bytes(255), bytes(256)), (Ok(1), Err(Refusal::Patterns)));
    let header = |bytes: usize| {
        let text = format!("{{\"alg\":\"HS256\",\"x\":\"{}\"}}", "y".repeat(bytes - 22));
        assert_eq!(text.len(), bytes);
        verified(&signed_text(&text, &claims().to_string())).map(|_| ())
    };
    assert_eq!((header(1_024), header(1_025)), (Ok(()), Err(Refusal::Header)));
    let of_bytes = |count: usize| {
        let mut padding = 0;
        loop {
            let token = signed(&json!({"exp": NOW + 60, "x": "y".repeat(padding)}));
            match token.len() {
                len if len >= count => return (token.len(), verified(&token).map(|_| ())),
                _ => padding += 1,
            }
        }
    };
    let (len, told) = of_bytes(8_190);
    assert!((8_190..=8_192).contains(&len) && told == Ok(()), "{len}");
    assert_eq!(of_bytes(8_193).1, Err(Refusal::TooLong));
    assert!(Keys::from_secret(&[7; 32]).is_ok() && Keys::from_secret(&[7; 31]).is_err());
    assert!(SigningKey::from_secret(&[7; 32]).is_ok() && SigningKey::from_secret(&[7; 31]).is_err());
    let keys = |count: usize| {
        let keys: Vec<_> = (0..count).map(|n| with(jwk("OKP"), "kid", n.to_string())).collect();
        Keys::from_jwks(&set(&keys)).map(|keys| keys.len())
    };
    assert_eq!(keys(64), Ok(64));
    assert!(keys(65).is_err());
}

#[test]
fn keys_and_refusals_show_no_secret() {
    let keys = Keys::from_jwks(&set(&[with(jwk("oct"), "kid", "k1")])).unwrap();
    let shown =
        format!("{keys:?} {:?} {:?}", SigningKey::from_secret(SECRET).unwrap(), SigningKey::from_pem(RSA).unwrap());
    assert_eq!(shown, r#"[(HS256, "k1")] SigningKey(HS256) SigningKey(RS256)"#);
    let mut names: Vec<&str> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Refusal::ALL.len());
}
