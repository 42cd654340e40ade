//! Making tokens: for operators, tests, and services that have no issuer of their own.

use std::fmt;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use serde_json::{Map, Value, json};

use crate::der;
use crate::head::Algorithm;
use crate::json::base64;
use crate::keys::{KeyError, SECRET_BYTES_MIN};

/// A token cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness to sign with")]
pub struct SignError;

enum Material {
    Secret(hmac::Key),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key to sign with. Never shown.
pub struct SigningKey(Material);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm().name())
    }
}

impl SigningKey {
    /// A secret, for HS256.
    ///
    /// # Errors
    /// It has less than 32 bytes.
    pub fn from_secret(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(KeyError::new(format!("a secret has at least {SECRET_BYTES_MIN} bytes")));
        }
        Ok(SigningKey(Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes))))
    }

    /// A private key in PEM (PKCS #8, RFC 5958): RSA, P-256 or Ed25519.
    ///
    /// # Errors
    /// It is none.
    pub fn from_pem(bytes: &[u8]) -> Result<Self, KeyError> {
        let der = der::block(bytes, "PRIVATE KEY")?;
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            return Ok(SigningKey(Material::Ed25519(pair)));
        }
        let ecdsa = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(ecdsa, &der, &SystemRandom::new()) {
            return Ok(SigningKey(Material::P256(pair)));
        }
        match RsaKeyPair::from_pkcs8(&der) {
            Ok(pair) => Ok(SigningKey(Material::Rsa(pair))),
            Err(error) => Err(KeyError::new(format!("this is no private key of RSA, P-256 or Ed25519 ({error})"))),
        }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Rsa(_) => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign(&self, claims: &Map<String, Value>, kid: Option<&str>) -> Result<String, SignError> {
        let mut header = json!({"alg": self.algorithm().name(), "typ": "JWT"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        self.seal(header.to_string().as_bytes(), Value::Object(claims.clone()).to_string().as_bytes())
    }

    /// A token of these parts, whatever they are.
    pub(crate) fn seal(&self, header: &[u8], claims: &[u8]) -> Result<String, SignError> {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let signature = self.signature(signed.as_bytes())?;
        Ok(format!("{signed}.{}", base64(&signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &self.0 {
            Material::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Material::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Material::P256(pair) => {
                pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()).map_err(|_| SignError)
            }
            Material::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, message, &mut signature).map_err(|_| SignError)?;
                Ok(signature)
            }
        }
    }
}
