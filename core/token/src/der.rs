//! Public keys in PEM: `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7) of the three kinds that are used here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::keys::{KeyError, Material};

/// Longest file.
const PEM_BYTES_MAX: usize = 16 << 10;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
/// The algorithm's identifiers, whole: object identifiers with their parameters.
const RSA: [u8; 13] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const P256: [u8; 19] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ED25519: [u8; 5] = [6, 3, 0x2b, 0x65, 0x70];

/// The key of a file in PEM.
pub fn public_key(file: &[u8]) -> Result<Material, KeyError> {
    let der = block(file, "PUBLIC KEY")?;
    let wrong = || KeyError::new("this is no public key of RSA, P-256 or Ed25519");
    let (info, rest) = value(&der, SEQUENCE).ok_or_else(wrong)?;
    let (algorithm, info) = value(info, SEQUENCE).ok_or_else(wrong)?;
    let (bits, after) = value(info, BIT_STRING).ok_or_else(wrong)?;
    // The first byte counts bits that are not used.
    let Some((0, key)) = bits.split_first().map(|(unused, key)| (*unused, key)) else { return Err(wrong()) };
    if !rest.is_empty() || !after.is_empty() {
        return Err(wrong());
    }
    match (algorithm, key) {
        (a, _) if a == RSA => {
            let (numbers, rest) = value(key, SEQUENCE).ok_or_else(wrong)?;
            let (n, numbers) = value(numbers, INTEGER).ok_or_else(wrong)?;
            let (e, behind) = value(numbers, INTEGER).ok_or_else(wrong)?;
            if !rest.is_empty() || !behind.is_empty() {
                return Err(wrong());
            }
            Material::rsa(n.strip_prefix(&[0]).unwrap_or(n), e.strip_prefix(&[0]).unwrap_or(e))
        }
        (a, [4, point @ ..]) if a == P256 && point.len() == 64 => Material::p256(&point[..32], &point[32..]),
        (a, key) if a == ED25519 => Material::ed25519(key),
        _ => Err(wrong()),
    }
}

/// The bytes of the one block of a file (RFC 7468), which has to be of this kind.
pub fn block(file: &[u8], kind: &str) -> Result<Vec<u8>, KeyError> {
    let text = std::str::from_utf8(file).ok().filter(|text| text.len() <= PEM_BYTES_MAX).map(str::trim);
    let text = text.ok_or_else(|| KeyError::new("this is no PEM"))?;
    let label = |line: &str| Some(line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?.to_owned());
    let labels: Vec<String> = text.lines().filter_map(label).collect();
    if kind != "PRIVATE KEY" && labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
        return Err(KeyError::new("this is a private key, which belongs to who signs and nowhere else"));
    }
    if let Some(problem) = labels.iter().filter(|label| *label != kind).find_map(|label| other_kind(label)) {
        return Err(KeyError::new(problem));
    }
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    if labels.len() > 1 {
        return Err(KeyError::new(format!("there are {} blocks of PEM, and one is needed: {begin}", labels.len())));
    }
    let inner = text.strip_prefix(&begin).and_then(|text| text.strip_suffix(&end));
    let inner = inner.ok_or_else(|| KeyError::new(format!("one block of PEM is needed: {begin}")))?;
    let inner: String = inner.split_whitespace().collect();
    STANDARD.decode(inner).map_err(|_| KeyError::new("this is no base64"))
}

/// What to do with a block that is of another kind, where that can be told.
fn other_kind(label: &str) -> Option<String> {
    Some(match label {
        "EC PRIVATE KEY" | "EC PARAMETERS" | "RSA PRIVATE KEY" => format!(
            "this is {label}, and PKCS #8 is needed: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW_FILE makes it"
        ),
        "ENCRYPTED PRIVATE KEY" => "this key is encrypted: openssl pkey -in FILE -out NEW_FILE takes that away".into(),
        "CERTIFICATE" => "this is a certificate: openssl x509 -in FILE -noout -pubkey shows its public key".into(),
        "RSA PUBLIC KEY" => {
            "this is PKCS #1: openssl rsa -RSAPublicKey_in -in FILE -pubout makes what is needed".into()
        }
        "PRIVATE KEY" | "PUBLIC KEY" => return None,
        _ => format!("{label} is no key that can be used here"),
    })
}

/// The contents of a value of DER with this tag, and what is behind it (X.690 section 8.1); lengths of up to two bytes, in their shortest
/// form.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first().filter(|n| **n > 0x7f)?), &rest[1..]),
        0x82 => {
            let n = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
            (usize::from(Some(n).filter(|n| *n > 0xff)?), &rest[2..])
        }
        _ => return None,
    };
    (first == tag && rest.len() >= length).then(|| rest.split_at(length))
}
