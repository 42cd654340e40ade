//! Examples out of the specifications, and the vectors of Project Wycheproof.

use std::path::Path;

use serde_json::Value;

use super::*;

/// Whether a signature is taken: the payloads are no claims.
fn is_signed(keys: Result<Keys, crate::KeyError>, token: &str) -> bool {
    keys.is_ok_and(|keys| Verifier::new(keys, Rules::default()).check_signature(token).is_ok())
}

fn one(jwk: &str) -> Result<Keys, crate::KeyError> {
    Keys::from_jwks(format!("{{\"keys\":[{jwk}]}}").as_bytes())
}

/// RFC 7515 appendix A.1: HS256.
#[test]
fn the_example_with_a_secret_is_taken() {
    let key = r#"{"kty":"oct",
        "k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert!(is_signed(one(key), token));
    let claims = Verifier::new(one(key).unwrap(), Rules::default()).verify(token, 1_300_000_000).unwrap();
    assert_eq!((claims.issuer.as_deref(), claims.expires), (Some("joe"), 1_300_819_385));
    assert!(!is_signed(one(key), &token.replace("dBjf", "dBjg")));
}

/// RFC 7515 appendix A.3: ES256.
#[test]
fn the_example_on_p256_is_taken() {
    let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let token = "eyJhbGciOiJFUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(is_signed(one(key), token) && !is_signed(one(key), &token.replace("DtEh", "DtEi")));
}

/// RFC 8037 appendix A.4: Ed25519.
#[test]
fn the_example_with_ed25519_is_taken() {
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(is_signed(one(key), token) && !is_signed(one(key), &token.replace("hgyY", "hgyZ")));
}

/// The groups of a set of vectors, each with its keys. `None`: the vectors are not on this machine.
fn groups(file: &str) -> Option<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/wycheproof").join(file);
    let Ok(text) = std::fs::read(&path) else {
        println!("skipped: the vectors of Project Wycheproof are not beside the project");
        return None;
    };
    let set: Value = serde_json::from_slice(&text).expect("JSON");
    Some(set["testGroups"].as_array().expect("groups").clone())
}

fn keys_of(group: &Value) -> Result<Keys, crate::KeyError> {
    let key = group.get("public").or_else(|| group.get("private")).expect("a key");
    match key.get("keys") {
        Some(_) => Keys::from_jwks(key.to_string().as_bytes()),
        None => one(&key.to_string()),
    }
}

/// 367 and 370 are called invalid, and are to the byte what is called valid elsewhere. 372 and 373 are called valid, and have a
/// question mark where base64url has none.
#[test]
fn no_signature_that_the_vectors_call_invalid_is_taken() {
    let Some(groups) = groups("json_web_signature_test.json") else { return };
    let (mut taken, mut refused, mut other) = (0, 0, 0);
    for group in &groups {
        for test in group["tests"].as_array().expect("tests") {
            let (id, token) = (test["tcId"].as_u64().unwrap(), test["jws"].as_str().unwrap_or_default());
            let is_taken = is_signed(keys_of(group), token);
            match test["result"].as_str().unwrap() {
                "valid" if is_taken => taken += 1,
                "valid" if matches!(id, 372 | 373) => {}
                "valid" => {
                    other += 1;
                    assert!(keys_of(group).is_err() || !uses_ours(token), "{id} is valid");
                }
                _ if matches!(id, 367 | 370) => {}
                _ => {
                    assert!(!is_taken, "{id} is invalid: {}", test["comment"]);
                    refused += 1;
                }
            }
        }
    }
    assert!(taken >= 18 && refused >= 290, "{taken} taken, {refused} refused, {other} of other algorithms");
}

/// Whether the header names an algorithm that is verified here.
fn uses_ours(token: &str) -> bool {
    let header = token.split('.').next().and_then(crate::json::unbase64);
    let header = header.and_then(|bytes| crate::json::object(&bytes));
    header
        .and_then(|header| header.get("alg")?.as_str().map(|name| crate::Algorithm::of(name).is_some()))
        .unwrap_or(false)
}

#[test]
fn no_key_that_the_vectors_call_invalid_is_taken() {
    let Some(groups) = groups("json_web_key_test.json") else { return };
    let mut refused = 0;
    for group in &groups {
        for test in group["tests"].as_array().expect("tests") {
            let token = test["jws"].as_str().unwrap_or_default();
            if test["result"] == "invalid" {
                assert!(!is_signed(keys_of(group), token), "{}: {}", test["tcId"], test["comment"]);
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} refused");
}
