//! Tokens as issuers make them, as attackers bend them, and as the specifications show them.

mod attacks;
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
fn a_set_that_could_be_misunderstood_is_refused() {
    let kid = |kind: &str, kid: &str| with(jwk(kind), "kid", kid);
    for (name, keys, problem) in [
        ("none", vec![], "no key that can be used"),
        ("mixed", vec![kid("oct", "a"), kid("EC", "b")], "do not belong in one set"),
        ("twice", vec![kid("EC", "a"), kid("OKP", "a")], "stands twice"),
        ("without a name", vec![kid("EC", "a"), jwk("OKP")], "needs a kid"),
        ("algorithm of another type", vec![with(jwk("EC"), "alg", "HS256")], "`alg` does not fit `kty`"),
        ("secret for RS256", vec![with(jwk("oct"), "alg", "RS256")], "`alg` does not fit `kty`"),
        ("private", vec![with(jwk("EC"), "d", "AQ")], "private key"),
        ("short secret", vec![object(json!({"kty": "oct", "k": base64(&[1; 31])}))], "at least 32 bytes"),
        ("padded secret", vec![object(json!({"kty": "oct", "k": format!("{}=", base64(&[1; 32]))}))], "no base64url"),
        ("no secret", vec![object(json!({"kty": "oct"}))], "`k` is missing"),
        ("coordinate too short", vec![with(jwk("EC"), "x", base64(&[1; 31]))], "32 bytes"),
        ("off the curve", vec![with(jwk("EC"), "x", base64(&[1; 32]))], "not on P-256"),
        ("Ed25519 too long", vec![with(jwk("OKP"), "x", base64(&[1; 33]))], "32 bytes"),
        ("RSA of 1024 bits", vec![with(jwk("RSA"), "n", base64(&[0xff; 128]))], "2048 to 8192 bits"),
        ("RSA of 8200 bits", vec![with(jwk("RSA"), "n", base64(&[0xff; 1_025]))], "2048 to 8192 bits"),
        ("RSA with a zero in front", vec![with(jwk("RSA"), "n", base64(&[&[0][..], &[0xff; 256]].concat()))], "RSA"),
        ("RSA with e = 1", vec![with(jwk("RSA"), "e", "AQ")], "exponent"),
        ("RSA with e = 2", vec![with(jwk("RSA"), "e", "Ag")], "exponent"),
        ("kid is a number", vec![with(jwk("EC"), "kid", 1)], "`kid` is no text"),
        ("key_ops is a text", vec![with(jwk("EC"), "key_ops", "verify")], "no array"),
    ] {
        let error = Keys::from_jwks(&set(&keys)).unwrap_err().to_string();
        assert!(error.contains(problem), "{name}: {error}");
    }
    for text in [&b"{}"[..], b"[]", b"", b"{\"keys\":{}}", b"{\"keys\":[1]}", b"{\"keys\":[],\"keys\":[]}"] {
        assert!(Keys::from_jwks(text).is_err());
    }
    assert!(Keys::from_jwks(&[b' '; (256 << 10) + 1]).unwrap_err().to_string().contains("at most"));
}

#[test]
fn keys_for_something_else_are_left_out() {
    let good = with(jwk("EC"), "kid", "good");
    for other in [
        object(json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "other"})),
        object(json!({"kty": "unheard-of"})),
        with(with(jwk("RSA"), "use", "enc"), "alg", "RSA-OAEP"),
        with(jwk("RSA"), "use", "enc"),
        with(jwk("RSA"), "alg", "PS256"),
        with(jwk("RSA"), "key_ops", json!(["sign"])),
    ] {
        assert_eq!(Keys::from_jwks(&set(&[good.clone(), other.clone()])).unwrap().len(), 1);
        assert!(Keys::from_jwks(&set(&[other])).unwrap_err().to_string().contains("no key that can be used"));
    }
}

/// Modulo every one of the primes 1, which is a power of everything.
#[test]
fn a_modulus_of_the_faulty_library_is_known() {
    let primes = [11u32, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    // The product of the primes, times a large even number, and one.
    let mut n = vec![0u8; 256];
    n[0] = 0x80;
    n[255] = 2;
    for prime in primes {
        let mut carry = 0u32;
        for byte in n.iter_mut().rev() {
            let product = u32::from(*byte) * prime + carry;
            *byte = product as u8;
            carry = product >> 8;
        }
        n.splice(0..0, (carry as u16).to_be_bytes().into_iter().filter(|b| *b != 0));
    }
    *n.last_mut().unwrap() |= 1;
    let error = Keys::from_jwks(&set(&[with(jwk("RSA"), "n", base64(&n))])).unwrap_err();
    assert!(error.to_string().contains("CVE-2017-15361"), "{error}");
    assert!(Keys::from_jwks(&set(&[jwk("RSA")])).is_ok());
}

#[test]
fn pem_of_other_kinds_is_refused_in_words() {
    for (pem, problem) in [
        (&include_bytes!("../../testdata/rsa1024.pub.pem")[..], "2048 to 8192 bits"),
        (include_bytes!("../../testdata/p384.pub.pem"), "no public key of RSA, P-256 or Ed25519"),
        (RSA, "private key"),
        (b"", "one block of PEM"),
        (b"-----BEGIN PUBLIC KEY-----\n????\n-----END PUBLIC KEY-----\n", "no base64"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (b"\xff", "no PEM"),
    ] {
        let error = Keys::from_pem(pem).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let both = [RSA_PUBLIC, P256_PUBLIC].concat();
    assert!(Keys::from_pem(&both).is_err());
    assert!(SigningKey::from_pem(RSA_PUBLIC).is_err());
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
