//! A row for each way to bend a token: what it is refused for, so that none is refused for something else.

use serde_json::json;

use super::*;

/// Headers, beside claims that are fine and a signature that is right.
#[test]
fn headers_that_ask_for_something_else_are_refused() {
    let header = |text: &str| verified(&signed_text(text, &claims().to_string())).map(|_| ());
    assert_eq!(header(r#"{"alg":"HS256","typ":"JWT","kid":"any","x":1}"#), Ok(()));
    assert_eq!(header(r#"{"alg":"HS256","typ":"application/at+JWT"}"#), Ok(()));
    for (text, expected) in [
        (r#"{"alg":"none"}"#, Refusal::Algorithm),
        (r#"{"alg":"None"}"#, Refusal::Algorithm),
        (r#"{"alg":"nOnE"}"#, Refusal::Algorithm),
        (r#"{"alg":"hs256"}"#, Refusal::Algorithm),
        (r#"{"alg":"HS512"}"#, Refusal::Algorithm),
        (r#"{"alg":"PS256"}"#, Refusal::Algorithm),
        (r#"{"alg":"ES384"}"#, Refusal::Algorithm),
        (r#"{"alg":"HS256 "}"#, Refusal::Algorithm),
        (r#"{"alg":""}"#, Refusal::Algorithm),
        (r#"{"alg":"RS256"}"#, Refusal::Algorithm),
        (r#"{"alg":"ES256"}"#, Refusal::Algorithm),
        (r#"{"alg":["HS256"]}"#, Refusal::Header),
        (r#"{"alg":256}"#, Refusal::Header),
        (r#"{"alg":null}"#, Refusal::Header),
        (r#"{}"#, Refusal::Header),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Refusal::Header),
        (r#"{"alg":"none","alg":"HS256"}"#, Refusal::Header),
        (r#"{"alg":"HS256","kid":1}"#, Refusal::Header),
        (r#"{"alg":"HS256","kid":null}"#, Refusal::Header),
        (r#"{"alg":"HS256","typ":"JWE"}"#, Refusal::Header),
        (r#"{"alg":"HS256","typ":1}"#, Refusal::Header),
        (r#"{"alg":"HS256","crit":[]}"#, Refusal::Extension),
        (r#"{"alg":"HS256","crit":["exp"]}"#, Refusal::Extension),
        (r#"{"alg":"HS256","b64":false}"#, Refusal::Extension),
        (r#"{"alg":"HS256","zip":"DEF"}"#, Refusal::Extension),
        (r#"{"alg":"HS256","enc":"A128GCM"}"#, Refusal::Extension),
        (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#, Refusal::Extension),
        (r#"{"alg":"HS256","jku":"https://evil.example/keys"}"#, Refusal::Extension),
        (r#"{"alg":"HS256","x5u":"https://evil.example/cert"}"#, Refusal::Extension),
        (r#"{"alg":"HS256","x5c":["MII"]}"#, Refusal::Extension),
        (r#"["alg","HS256"]"#, Refusal::Header),
        (r#""HS256""#, Refusal::Header),
        (r#"{"alg":"HS256"}x"#, Refusal::Header),
        (r#"{"alg":"HS256","x":1e400}"#, Refusal::Header),
        ("", Refusal::Header),
    ] {
        assert_eq!(header(text), Err(expected), "{text}");
    }
    let nested = format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    assert_eq!(header(&nested), Err(Refusal::Header));
}

/// A kid is a name in the set and nothing else: no path, no query, no address.
#[test]
fn a_kid_is_compared_and_never_looked_up() {
    let keys = Keys::from_jwks(&set(&[with(jwk("oct"), "kid", "k1")])).unwrap();
    let verifier = Verifier::new(keys, Rules::default());
    let kid = |kid: &str| {
        let header = json!({"alg": "HS256", "kid": kid}).to_string();
        verifier.verify(&signed_text(&header, &claims().to_string()), NOW).map(|_| ())
    };
    assert_eq!(kid("k1"), Ok(()));
    for other in ["", "K1", "k1 ", "k1\0", "../../etc/passwd", "k1' OR '1'='1", "https://evil.example/k1", "/dev/null"]
    {
        assert_eq!(kid(other), Err(Refusal::Key), "{other:?}");
    }
}

#[test]
fn claims_that_are_none_are_refused() {
    let told = |text: &str| verified(&signed_text(r#"{"alg":"HS256"}"#, text)).map(|_| ());
    let later = NOW + 60;
    assert_eq!(told(&format!(r#"{{"exp":{later}}}"#)), Ok(()));
    for (text, expected) in [
        ("{}".to_owned(), Refusal::NoExpiry),
        (format!(r#"{{"exp":"{later}"}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later}.0}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later}.5}}"#), Refusal::Claims),
        (r#"{"exp":1e10}"#.into(), Refusal::Claims),
        (r#"{"exp":1e400}"#.into(), Refusal::Claims),
        (r#"{"exp":-1}"#.into(), Refusal::Claims),
        (r#"{"exp":null}"#.into(), Refusal::Claims),
        (r#"{"exp":true}"#.into(), Refusal::Claims),
        (r#"{"exp":[1900000000]}"#.into(), Refusal::Claims),
        (r#"{"exp":99999999999999999999999}"#.into(), Refusal::Claims),
        (r#"{"exp":0}"#.into(), Refusal::Expired),
        (format!(r#"{{"exp":{later},"exp":{later}}}"#), Refusal::Claims),
        (format!(r#"{{"exp":1,"exp":{later}}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"nbf":"1"}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"nbf":{later}}}"#), Refusal::NotYet),
        (format!(r#"{{"exp":{later},"iat":{later}}}"#), Refusal::NotYet),
        (format!(r#"{{"exp":{later},"iat":1.5}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"sub":1}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"jti":{{}}}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"fanwire":"**"}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"fanwire":["**"]}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"fanwire":{{"subscribe":"**"}}}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"fanwire":{{"subscribe":[1]}}}}"#), Refusal::Claims),
        (format!(r#"{{"exp":{later},"fanwire":{{"subscribe":[""]}}}}"#), Refusal::Patterns),
        (format!(r#"{{"exp":{later},"fanwire":{{"subscribe":["a*"]}}}}"#), Refusal::Patterns),
        (format!(r#"{{"exp":{later},"fanwire":{{"publish":["a//b"]}}}}"#), Refusal::Patterns),
        (format!(r#"{{"exp":{later},"fanwire":{{"publish":["chat/{{sub}}"]}}}}"#), Refusal::Subject),
        (format!(r#"{{"exp":{later},"sub":"a/b","fanwire":{{"publish":["chat/{{sub}}"]}}}}"#), Refusal::Subject),
        (format!(r#"{{"exp":{later},"sub":"**","fanwire":{{"subscribe":["{{sub}}"]}}}}"#), Refusal::Subject),
        ("[]".into(), Refusal::Claims),
        (String::new(), Refusal::Claims),
        (format!(r#"{{"exp":{later}}}{{}}"#), Refusal::Claims),
    ] {
        assert_eq!(told(&text), Err(expected), "{text}");
    }
    let many: Vec<u32> = (0..2_000).collect();
    let text = json!({"exp": later, "fanwire": {"subscribe": many.iter().map(|n| n.to_string()).collect::<Vec<_>>()}});
    assert!(matches!(told(&text.to_string()), Err(Refusal::TooLong | Refusal::Patterns)));
}

#[test]
fn texts_that_are_no_token_are_refused() {
    let good = signed(&claims());
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    for (name, token, expected) in [
        ("empty", String::new(), Refusal::Shape),
        ("one part", header.into(), Refusal::Shape),
        ("two parts", format!("{header}.{claims}"), Refusal::Shape),
        ("four parts", format!("{good}.{signature}"), Refusal::Shape),
        ("five parts, as encrypted ones have", format!("{good}.a.b"), Refusal::Shape),
        ("padding", format!("{good}="), Refusal::Shape),
        ("white space", format!("{good} "), Refusal::Shape),
        ("a line feed", format!("{header}.\n{claims}.{signature}"), Refusal::Shape),
        ("another alphabet", format!("{header}.{claims}.+/+/"), Refusal::Shape),
        ("stray bits", format!("{header}.{claims}.AR"), Refusal::Shape),
        ("no signature", format!("{header}.{claims}."), Refusal::Signature),
        ("half a signature", format!("{header}.{claims}.{}", &signature[..20]), Refusal::Signature),
        ("a longer signature", format!("{header}.{claims}.{signature}AAAA"), Refusal::Signature),
        ("another's signature", format!("{header}.{claims}.{}", base64(&[0; 32])), Refusal::Signature),
        ("dots", "..".into(), Refusal::Header),
        ("JSON serialisation", format!(r#"{{"payload":"{claims}","signature":"{signature}"}}"#), Refusal::Shape),
        ("too long", format!("{good}{}", "A".repeat(8_192)), Refusal::TooLong),
    ] {
        assert_eq!(verified(&token), Err(expected), "{name}");
    }
    assert!(verified(&good).is_ok());
}

#[test]
fn a_public_key_is_no_secret() {
    // Signed by HMAC with the text of the public key, which everybody has.
    for pem in [RSA_PUBLIC, P256_PUBLIC, ED25519_PUBLIC] {
        let forged = SigningKey::from_secret(pem).unwrap().sign(&object(claims()), None).unwrap();
        let verifier = Verifier::new(Keys::from_pem(pem).unwrap(), Rules::default());
        assert_eq!(verifier.verify(&forged, NOW), Err(Refusal::Algorithm));
    }
}

#[test]
fn signatures_on_a_curve_have_one_form() {
    let verifier = Verifier::new(Keys::from_pem(P256_PUBLIC).unwrap(), Rules::default());
    let token = SigningKey::from_pem(P256).unwrap().sign(&object(claims()), None).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = crate::json::unbase64(signature).unwrap();
    let (r, s) = signature.split_at(32);
    let integer = |n: &[u8]| [&[2, 33, 0][..], n].concat();
    let der = [&[0x30, 70][..], &integer(r), &integer(s)].concat();
    let zero = [0; 32];
    for (name, bytes) in [
        ("DER", der),
        ("r = 0", [&zero, s].concat()),
        ("s = 0", [r, &zero].concat()),
        ("both 0", vec![0; 64]),
        ("swapped", [s, r].concat()),
        ("all ones", vec![0xff; 64]),
        ("63 bytes", signature[..63].to_vec()),
        ("65 bytes", [&signature[..], &[0]].concat()),
        ("nothing", vec![]),
    ] {
        assert_eq!(verifier.verify(&format!("{signed}.{}", base64(&bytes)), NOW), Err(Refusal::Signature), "{name}");
    }
    assert!(verifier.verify(&token, NOW).is_ok());
}
