//! What is signed is verified, by that key and by no other, and not after any change.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{Algorithm, peek};

fn pairs() -> Vec<(SigningKey, Keys)> {
    vec![
        (SigningKey::from_secret(SECRET).unwrap(), Keys::from_secret(SECRET).unwrap()),
        (SigningKey::from_pem(RSA).unwrap(), Keys::from_pem(RSA_PUBLIC).unwrap()),
        (SigningKey::from_pem(P256).unwrap(), Keys::from_pem(P256_PUBLIC).unwrap()),
        (SigningKey::from_pem(ED25519).unwrap(), Keys::from_pem(ED25519_PUBLIC).unwrap()),
    ]
}

#[test]
fn each_algorithm_signs_and_verifies_and_a_set_of_keys_does_the_same() {
    let kinds = ["oct", "RSA", "EC", "OKP"];
    for ((signer, keys), kind) in pairs().into_iter().zip(kinds) {
        let token = signer.sign(&object(claims()), Some("k")).unwrap();
        assert!(Verifier::new(keys, Rules::default()).verify(&token, NOW).is_ok(), "{kind}");
        let named = Keys::from_jwks(&set(&[with(jwk(kind), "kid", "k")])).unwrap();
        assert!(Verifier::new(named, Rules::default()).verify(&token, NOW).is_ok(), "{kind}");
        let other = Keys::from_jwks(&set(&[with(jwk(kind), "kid", "other")])).unwrap();
        assert_eq!(Verifier::new(other, Rules::default()).verify(&token, NOW), Err(Refusal::Key), "{kind}");
        let told = peek(&token).unwrap();
        assert_eq!((told.header["alg"].as_str(), &told.claims["sub"]), (Some(signer.algorithm().name()), &"u1".into()));
    }
}

#[test]
fn no_key_takes_what_another_kind_of_key_has_signed() {
    for (i, (signer, _)) in pairs().into_iter().enumerate() {
        let token = signer.sign(&object(claims()), None).unwrap();
        for (k, (_, keys)) in pairs().into_iter().enumerate() {
            let told = Verifier::new(keys, Rules::default()).verify(&token, NOW).map(|_| ());
            assert_eq!(told, if i == k { Ok(()) } else { Err(Refusal::Algorithm) }, "{i} {k}");
        }
    }
}

#[test]
fn without_a_kid_the_only_key_of_the_algorithm_is_meant() {
    let key = |kind: &str, kid: &str| with(jwk(kind), "kid", kid);
    let keys = |keys: &[Map<String, Value>]| Verifier::new(Keys::from_jwks(&set(keys)).unwrap(), Rules::default());
    let token = SigningKey::from_pem(P256).unwrap().sign(&object(claims()), None).unwrap();
    assert!(keys(&[key("EC", "a"), key("OKP", "b")]).verify(&token, NOW).is_ok());
    assert_eq!(keys(&[key("EC", "a"), key("EC", "b")]).verify(&token, NOW), Err(Refusal::Key));
    assert_eq!(keys(&[key("OKP", "b")]).verify(&token, NOW), Err(Refusal::Key));
    assert!(keys(&[key("RSA", "a")]).verify("..", NOW).is_err());
    assert_eq!(Algorithm::of("none"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_character_is_taken(at in any::<prop::sample::Index>(), new in "[A-Za-z0-9_.=-]", which in 0..4usize) {
        let (signer, keys) = pairs().swap_remove(which);
        let token = signer.sign(&object(claims()), None).unwrap();
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &new);
        prop_assume!(changed != token);
        prop_assert!(Verifier::new(keys, Rules::default()).verify(&changed, NOW).is_err());
    }

    #[test]
    fn nothing_makes_it_panic(text in "\\PC{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = verified(&text);
        let _ = verified(&format!("{}.{}.{}", base64(text.as_bytes()), base64(&bytes), base64(&bytes)));
        let _ = verified(&signed_text(&text, &text));
        let _ = peek(&text);
        let _ = Keys::from_jwks(&bytes);
        let _ = Keys::from_jwks(format!("{{\"keys\":[{text}]}}").as_bytes());
        let pem = |bytes: &[u8]| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
        };
        let _ = Keys::from_pem(pem(&bytes).as_bytes());
        let mut der = crate::der::block(RSA_PUBLIC, "PUBLIC KEY").unwrap();
        for (place, byte) in der.iter_mut().zip(&bytes) {
            if byte % 16 == 0 {
                *place = byte.wrapping_mul(7);
            }
        }
        let _ = Keys::from_pem(pem(&der).as_bytes());
    }
}
