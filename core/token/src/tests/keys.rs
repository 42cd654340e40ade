//! Keys as they are loaded: which are taken, which are left out, and why the others are refused.

use serde_json::json;

use super::*;

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
        (
            "mixed, one of them for something else",
            vec![with(kid("oct", "a"), "alg", "HS512"), kid("EC", "b")],
            "in one set",
        ),
        ("private", vec![with(jwk("EC"), "d", "AQ")], "private key"),
        ("private RSA", vec![with(jwk("RSA"), "d", "AQ")], "private key"),
        ("a part of a private key", vec![with(jwk("RSA"), "qi", Value::Null)], "private key"),
        ("private, of another curve", vec![with(with(jwk("EC"), "crv", "P-521"), "d", "AQ")], "private key"),
        ("private, for encryption", vec![with(with(jwk("RSA"), "use", "enc"), "d", "AQ")], "private key"),
        (
            "encryption, with alg",
            vec![with(with(jwk("RSA"), "use", "enc"), "alg", "RS256")],
            "`use` or `key_ops` that it",
        ),
        ("secret for encryption", vec![with(with(jwk("oct"), "use", "enc"), "alg", "HS256")], "`use` or `key_ops`"),
        ("use empty, with alg", vec![with(with(jwk("EC"), "use", ""), "alg", "ES256")], "`use` or `key_ops`"),
        ("use null", vec![with(jwk("EC"), "use", Value::Null)], "`use` is no text"),
        ("alg a list", vec![with(jwk("EC"), "alg", json!(["ES256"]))], "`alg` is no text"),
        (
            "to sign alone, with alg",
            vec![with(with(jwk("EC"), "key_ops", json!(["sign"])), "alg", "ES256")],
            "`key_ops`",
        ),
        ("key_ops twice", vec![with(jwk("EC"), "key_ops", json!(["verify", "verify"]))], "a word twice"),
        ("no crv", vec![object(json!({"kty": "EC", "x": "AA", "y": "AA"}))], "`crv` is missing"),
        ("alg of another curve", vec![with(with(jwk("EC"), "crv", "P-384"), "alg", "ES256")], "does not fit `crv`"),
        ("Ed448 for EdDSA", vec![with(with(jwk("OKP"), "crv", "Ed448"), "alg", "EdDSA")], "does not fit `crv`"),
        ("no kty", vec![object(json!({"k": "AA"}))], "`kty` is missing"),
        ("Ed25519 of small order", vec![with(jwk("OKP"), "x", base64(&[0; 32]))], "small order"),
        (
            "the point at zero",
            vec![with(with(jwk("EC"), "x", base64(&[0; 32])), "y", base64(&[0; 32]))],
            "not on P-256",
        ),
        ("PEM as a secret", vec![object(json!({"kty": "oct", "k": base64(RSA_PUBLIC)}))], "no secret"),
        ("kid too long", vec![kid("EC", &"k".repeat(256))], "at most 255 bytes"),
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
        ("RSA with e = 65536", vec![with(jwk("RSA"), "e", "AQAA")], "exponent"),
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
    assert!(Keys::from_jwks(&set(&[kid("EC", &"k".repeat(255))])).is_ok());
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
        (b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----", "openssl x509"),
        (b"-----BEGIN RSA PUBLIC KEY-----\nAA\n-----END RSA PUBLIC KEY-----", "openssl rsa"),
        (b"-----BEGIN OPENSSH KEY-----\nAA\n-----END OPENSSH KEY-----", "OPENSSH KEY is no key that can be used here"),
        (b"-----BEGIN EC PRIVATE KEY-----\nAA\n-----END EC PRIVATE KEY-----", "private key"),
        (b"-----BEGIN PUBLIC KEY-----\n????\n-----END PUBLIC KEY-----\n", "no base64"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (b"\xff", "no PEM"),
    ] {
        let error = Keys::from_pem(pem).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let both = [RSA_PUBLIC, P256_PUBLIC].concat();
    assert!(Keys::from_pem(&both).unwrap_err().to_string().contains("there are 2 blocks of PEM, and one is needed"));
    assert!(Keys::from_pem(&[RSA_PUBLIC, RSA].concat()).unwrap_err().to_string().contains("private key"));
    let signing = |text: &str| SigningKey::from_pem(text.as_bytes()).unwrap_err().to_string();
    let block = |label: &str| format!("-----BEGIN {label}-----\nAA\n-----END {label}-----\n");
    let sec1 = signing(&block("EC PRIVATE KEY"));
    assert!(sec1.starts_with("this is EC PRIVATE KEY, and PKCS #8 is needed: openssl pkcs8 "), "{sec1}");
    let both = signing(&(block("EC PARAMETERS") + &block("EC PRIVATE KEY")));
    assert!(both.contains("PKCS #8 is needed"), "{both}");
    assert!(signing(&block("ENCRYPTED PRIVATE KEY")).contains("openssl pkey"));
    assert!(signing(&block("PRIVATE KEY").repeat(2)).contains("2 blocks of PEM"));
    assert!(SigningKey::from_pem(RSA_PUBLIC).is_err());
}
