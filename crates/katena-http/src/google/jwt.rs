//! Signed statements (RFC 7519) with RSA and SHA-256, as service accounts make them (RFC 7523).

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use katena_core::Result;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use serde_json::Value;

use super::unauthenticated;

/// A private key in a PEM text: PKCS#8, or PKCS#1 as older tools write it.
pub(super) fn key(pem: &str) -> Result<KeyPair> {
    let block = |label: &str| {
        let text = pem.split_once(&format!("-----BEGIN {label}-----"))?.1;
        let text = text.split_once(&format!("-----END {label}-----"))?.0;
        let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        BASE64_STANDARD.decode(packed).ok()
    };
    let key = if let Some(der) = block("PRIVATE KEY") {
        KeyPair::from_pkcs8(&der).ok()
    } else {
        block("RSA PRIVATE KEY").and_then(|der| KeyPair::from_der(&der).ok())
    };
    key.ok_or_else(|| {
        unauthenticated("the private key is no RSA key in PEM form, or has fewer than 2048 bits")
    })
}

/// Header and claims with their signature.
pub(super) fn sign(key: &KeyPair, header: &Value, claims: &Value) -> Result<String> {
    let pack = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let said = format!("{}.{}", pack(header), pack(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), said.as_bytes(), &mut signature)
        .map_err(|_| unauthenticated("the private key can't sign"))?;
    Ok(format!("{said}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}
