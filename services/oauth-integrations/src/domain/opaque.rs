//! Random values that prove something by being known: states, tickets, cookies. Stored only as digests.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// 256 random bits in base64url.
const CHARACTERS: usize = 43;

/// A new value: 256 bits of the system's randomness.
pub fn generate() -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// A value that came from outside, if it has the form of one made here.
pub fn parse(text: &str) -> Option<SecretString> {
    let is_formed = text.len() == CHARACTERS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_formed.then(|| SecretString::from(text))
}

/// What is stored of a value.
pub fn digest(value: &SecretString) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(value.expose_secret().as_bytes()))
}

/// A value that only who knows `secret` can make, for one purpose: what a form carries beside the cookie.
pub fn derive(secret: &SecretString, purpose: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(purpose.len().to_be_bytes());
    hash.update(purpose.as_bytes());
    hash.update(secret.expose_secret().as_bytes());
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// Whether two texts are equal, in a time that does not tell where they differ.
pub fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s01_values_have_256_bits_and_never_come_twice() {
        let values: std::collections::HashSet<String> =
            (0..1000).map(|_| generate().expose_secret().to_owned()).collect();
        assert_eq!(values.len(), 1000);
        for value in values {
            assert_eq!(URL_SAFE_NO_PAD.decode(&value).unwrap().len(), 32);
            assert!(parse(&value).is_some());
        }
    }

    #[test]
    fn what_was_not_made_here_is_none() {
        for text in ["", "short", &"a".repeat(42), &"a".repeat(44), &"ä".repeat(22), &"/".repeat(43)] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn digests_and_derived_values_differ_by_value_and_purpose() {
        let (one, two) = (generate(), generate());
        assert_eq!(digest(&one), digest(&one));
        assert_ne!(digest(&one), digest(&two));
        assert_ne!(derive(&one, "a"), derive(&one, "b"));
        assert_ne!(derive(&one, "a"), derive(&two, "a"));
        assert!(is_same("a", "a") && !is_same("a", "b") && !is_same("a", "aa"));
    }
}
