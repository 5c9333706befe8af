//! Hashes and signatures with a shared key: SHA-256 and HMAC-SHA256, by ring.

use ring::{digest, hmac};

/// The SHA-256 hash of `bytes` as lower-case hex.
///
/// ```
/// use katena_http::signatures::sha256_hex;
/// assert!(sha256_hex(b"").starts_with("e3b0c44298fc1c14"));
/// ```
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The HMAC-SHA256 of `message` under `key`.
///
/// ```
/// use katena_http::signatures::{hmac_sha256, verify_hmac_sha256};
/// let tag = hmac_sha256(b"key", b"message");
/// assert!(verify_hmac_sha256(b"key", b"message", &tag));
/// assert!(!verify_hmac_sha256(b"key", b"massage", &tag));
/// ```
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// True if `tag` is the HMAC-SHA256 of `message` under `key`. The time does not depend on where they differ.
pub fn verify_hmac_sha256(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, tag).is_ok()
}

/// `bytes` as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    digits.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // RFC 4231, test case 2.
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(!verify_hmac_sha256(b"k", b"m", &hmac_sha256(b"k", b"m")[..31]));
    }
}
